"""The tables of a kv_dict file, and the triggers that keep revisions and tombstones.

The triggers, not the program, count revisions: so a row that somebody changes with the ``sqlite3``
shell is seen by every watch and fails every stale guard, like any other write.
"""

from __future__ import annotations

from typing import Final

__all__ = ["APPLICATION_ID", "CREATE", "REACH", "UPGRADE", "VERSION"]

APPLICATION_ID: Final = 0x6B766474  # "kvdt": how file(1) and this program know such a file
VERSION: Final = 2

REACH: Final = 3600 * 1000 << 10
"""How far back, in revisions, deletions are remembered: an hour.

A watch that has not read for longer compares with a snapshot instead.
"""

_SECONDS = "(julianday('now') - 2440587.5) * 86400.0"

# A revision is the time in units of 1/1024 millisecond, or one more than the last if that is later.
# Counting from 1 would give two files, or a file and its backup, the same revisions for different
# values, and a guard taken from the one would hold in the other.
_NEXT = f"max(revision + 1, CAST({_SECONDS} * 1000 AS INTEGER) << 10)"

_STAMP = f"""
    UPDATE clock SET revision = {_NEXT};
    UPDATE entries SET revision = (SELECT revision FROM clock), time = {_SECONDS}
        WHERE key = NEW.key;
    DELETE FROM tombstones WHERE key = NEW.key;
    INSERT OR REPLACE INTO history SELECT key, revision, value, time FROM entries
        WHERE key = NEW.key AND (SELECT history FROM clock) > 0;
    DELETE FROM history WHERE key = NEW.key AND revision <= (
        SELECT revision FROM history WHERE key = NEW.key
        ORDER BY revision DESC LIMIT 1 OFFSET (SELECT history FROM clock));
"""

_BURY = f"""
    UPDATE clock SET revision = {_NEXT};
    INSERT OR REPLACE INTO tombstones
        VALUES (OLD.key, (SELECT revision FROM clock), {_SECONDS});
    DELETE FROM tombstones WHERE revision < (SELECT revision FROM clock) - {REACH};
"""

_TRIGGERS = (
    f"CREATE TRIGGER entries_insert AFTER INSERT ON entries BEGIN {_STAMP} END",
    f"CREATE TRIGGER entries_update AFTER UPDATE OF value ON entries BEGIN {_STAMP} END",
    f"""CREATE TRIGGER entries_rename AFTER UPDATE OF key ON entries
        WHEN OLD.key <> NEW.key BEGIN {_BURY} {_STAMP} END""",
    f"CREATE TRIGGER entries_delete AFTER DELETE ON entries BEGIN {_BURY} END",
)

_HISTORY = """CREATE TABLE history (
    key TEXT NOT NULL, revision INTEGER NOT NULL, value NOT NULL, time REAL,
    PRIMARY KEY (key, revision)
) WITHOUT ROWID"""

CREATE: Final = (
    """CREATE TABLE entries (
        key TEXT NOT NULL PRIMARY KEY, value NOT NULL, revision INTEGER, time REAL
    ) WITHOUT ROWID""",
    "CREATE INDEX entries_by_revision ON entries (revision)",
    """CREATE TABLE tombstones (
        key TEXT NOT NULL PRIMARY KEY, revision INTEGER NOT NULL, time REAL NOT NULL
    ) WITHOUT ROWID""",
    "CREATE INDEX tombstones_by_revision ON tombstones (revision)",
    _HISTORY,
    "CREATE TABLE clock (revision INTEGER NOT NULL, history INTEGER NOT NULL DEFAULT 0)",
    "INSERT INTO clock VALUES (0, 0)",
    *_TRIGGERS,
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {VERSION}",
)

UPGRADE: Final = (
    _HISTORY,
    "ALTER TABLE clock ADD COLUMN history INTEGER NOT NULL DEFAULT 0",
    *(f"DROP TRIGGER entries_{event}" for event in ("insert", "update", "rename", "delete")),
    *_TRIGGERS,
    f"PRAGMA user_version = {VERSION}",
)
"""From format 1, which kept no history."""
