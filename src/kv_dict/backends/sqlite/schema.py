"""The tables of a kv_dict file, and the triggers that keep revisions and tombstones.

The triggers, not the program, count revisions: so a row that somebody changes with the ``sqlite3``
shell is seen by every watch and fails every stale guard, like any other write.
"""

from __future__ import annotations

from typing import Final

__all__ = ["APPLICATION_ID", "CREATE", "TOMBSTONES_KEPT", "VERSION"]

APPLICATION_ID: Final = 0x6B766474  # "kvdt": how file(1) and this program know such a file
VERSION: Final = 1
TOMBSTONES_KEPT: Final = 10_000
"""A watch that is further behind than this many revisions compares with a snapshot instead."""

_NOW = "(julianday('now') - 2440587.5) * 86400.0"

_STAMP = f"""
    UPDATE clock SET revision = revision + 1;
    UPDATE entries SET revision = (SELECT revision FROM clock), time = {_NOW}
        WHERE key = NEW.key;
    DELETE FROM tombstones WHERE key = NEW.key;
"""

_BURY = f"""
    UPDATE clock SET revision = revision + 1;
    INSERT OR REPLACE INTO tombstones
        VALUES (OLD.key, (SELECT revision FROM clock), {_NOW});
    DELETE FROM tombstones WHERE revision < (SELECT revision FROM clock) - {TOMBSTONES_KEPT};
"""

CREATE: Final = (
    """CREATE TABLE entries (
        key TEXT NOT NULL PRIMARY KEY, value NOT NULL, revision INTEGER, time REAL
    ) WITHOUT ROWID""",
    "CREATE INDEX entries_by_revision ON entries (revision)",
    """CREATE TABLE tombstones (
        key TEXT NOT NULL PRIMARY KEY, revision INTEGER NOT NULL, time REAL NOT NULL
    ) WITHOUT ROWID""",
    "CREATE INDEX tombstones_by_revision ON tombstones (revision)",
    "CREATE TABLE clock (revision INTEGER NOT NULL)",
    "INSERT INTO clock VALUES (0)",
    f"CREATE TRIGGER entries_insert AFTER INSERT ON entries BEGIN {_STAMP} END",
    f"CREATE TRIGGER entries_update AFTER UPDATE OF value ON entries BEGIN {_STAMP} END",
    f"""CREATE TRIGGER entries_rename AFTER UPDATE OF key ON entries
        WHEN OLD.key <> NEW.key BEGIN {_BURY} {_STAMP} END""",
    f"CREATE TRIGGER entries_delete AFTER DELETE ON entries BEGIN {_BURY} END",
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {VERSION}",
)
