"""The SQL of the tables of a store, and of the triggers that keep revisions and tombstones.

The triggers, not the program, count revisions: so a row that somebody changes with psql is seen by
every watch and fails every stale guard, like any other write.

The first statement of a transaction that writes advances the clock, whose one row is then locked
until the transaction ends. So revisions are committed in the order in which they were given, and
no two writers wait for each other in a circle: each has the table first, then the clock, then rows.
All that one transaction writes has one revision.

What the program itself writes goes through one function, which does the triggers' work at once.
"""

from __future__ import annotations

import shlex
from typing import Final

from kv_dict.backend import MOST_KEPT
from kv_dict.backends.postgres.history import COLUMN, GRANTS, HISTORY, REMEMBER, REMEMBER_ALL
from kv_dict.backends.postgres.table import TableName

__all__ = ["REACH", "VERSION", "creation_command", "creation_sql", "upgrade_sql"]

VERSION: Final = 1

REACH: Final = 3600 * 1_000_000
"""How far back, in revisions, deletions are remembered: an hour.

A watch that has not read for longer compares with a snapshot instead.
"""

# A revision is the time in microseconds, or one more than the last if that is later.
# Counting from 1 would give two tables, or a table and its backup, the same revisions for different
# values, and a guard taken from the one would hold in the other.
_NOW: Final = "(extract(epoch FROM clock_timestamp()) * 1000000)::int8"

# True but within the commit function, which does by itself what the triggers do for other writers:
# they would take as long as the rest of it.
_FOREIGN: Final = "current_setting('kv_dict.committing', true) IS DISTINCT FROM {name}"

_ENTRIES: Final = """
CREATE TABLE {table} (
    k text COLLATE "C" PRIMARY KEY, v text NOT NULL, revision int8 NOT NULL, time timestamptz
);
"""

_FROM_TWO_COLUMNS: Final = """
LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE;
ALTER TABLE {table} ALTER COLUMN k TYPE text COLLATE "C", ALTER COLUMN v DROP DEFAULT,
    ALTER COLUMN v TYPE text USING {value};
ALTER TABLE {table} ADD COLUMN revision int8, ADD COLUMN time timestamptz;
UPDATE {table} SET revision = {now};
ALTER TABLE {table} ALTER COLUMN revision SET NOT NULL;
"""

_FUNCTIONS: Final = """
CREATE OR REPLACE FUNCTION {stamp}() RETURNS trigger LANGUAGE plpgsql AS $kv_dict$
DECLARE
    kept int4;
BEGIN
    SELECT c.revision, clock_timestamp(), c.history INTO NEW.revision, NEW.time, kept
        FROM {clock} c;
    IF TG_OP = 'UPDATE' AND NEW.k <> OLD.k THEN
        INSERT INTO {tombstones} VALUES (OLD.k, NEW.revision, NEW.time)
            ON CONFLICT (k) DO UPDATE SET revision = excluded.revision, time = excluded.time;
    END IF;
    {remember}
    RETURN NEW;
END $kv_dict$;

CREATE OR REPLACE FUNCTION {commit}(
    patience text, guarded text[], guards int8[], starts text[], ends text[], endless text,
    deleted text[], keys text[], vals text[], OUT written int8, OUT conflicts text[]
) LANGUAGE plpgsql AS $kv_dict$
DECLARE
    was text;
    kept int4;
    entry record;
BEGIN
    -- Planning takes longer than all the rest, and one plan is right for any keys; statistics of a
    -- young table would mislead it: a thousand prefixes would each read it all.
    was := set_config('plan_cache_mode', 'force_generic_plan', true);
    was := set_config('enable_seqscan', 'off', true);
    was := set_config('lock_timeout', patience, true);
    LOCK TABLE {table} IN ROW EXCLUSIVE MODE;
    UPDATE {clock} SET revision = greatest(revision + 1, {now})
        RETURNING revision, history INTO written, kept;
    IF guarded IS NOT NULL THEN
        SELECT array_agg(g.k) INTO conflicts FROM unnest(guarded, guards) AS g(k, guard)
            LEFT JOIN {table} e ON e.k = g.k COLLATE "C"
            WHERE g.guard <> coalesce(e.revision, -1);
        IF conflicts IS NOT NULL THEN
            RETURN;
        END IF;
    END IF;
    PERFORM pg_notify({channel}, '');
    was := set_config('kv_dict.committing', {name}, true);
    -- The limit keeps the planner from comparing every key of the table to each range.
    IF starts IS NOT NULL AND EXISTS (
        SELECT FROM unnest(starts, ends) AS r(s, e), LATERAL (
            SELECT FROM {table} t WHERE t.k >= r.s COLLATE "C" AND t.k < r.e COLLATE "C" LIMIT 1
        ) AS one
    ) THEN
        DELETE FROM {table} t USING unnest(starts, ends) AS r(s, e)
            WHERE t.k >= r.s COLLATE "C" AND t.k < r.e COLLATE "C";
    END IF;
    IF endless IS NOT NULL THEN
        DELETE FROM {table} t WHERE t.k >= endless COLLATE "C";
    END IF;
    IF deleted IS NOT NULL THEN
        DELETE FROM {table} t WHERE t.k = ANY (deleted COLLATE "C");
    END IF;
    IF array_length(keys, 1) = 1 THEN
        -- Nearly always, and of a key that is there.
        UPDATE {table} t SET v = vals[1], revision = written, time = clock_timestamp()
            WHERE t.k = keys[1] COLLATE "C";
        IF FOUND THEN
            keys := NULL;
        END IF;
    END IF;
    IF keys IS NOT NULL THEN
        INSERT INTO {table} (k, v, revision, time)
            SELECT p.k, p.v, written, clock_timestamp() FROM unnest(keys, vals) AS p(k, v)
            ON CONFLICT (k) DO UPDATE
                SET v = excluded.v, revision = excluded.revision, time = excluded.time;
    END IF;
    was := set_config('kv_dict.committing', '', true);
    {remember_all}
END $kv_dict$;
"""

_REST: Final = """
CREATE INDEX ON {table} (revision);
CREATE TABLE {tombstones} (
    k text COLLATE "C" PRIMARY KEY, revision int8 NOT NULL, time timestamptz NOT NULL
);
CREATE INDEX ON {tombstones} (revision);
CREATE TABLE {clock} (
    one bool PRIMARY KEY DEFAULT true CHECK (one),
    revision int8 NOT NULL, store uuid NOT NULL, format int4 NOT NULL,
    {column}
);
INSERT INTO {clock} VALUES (true, {now}, gen_random_uuid(), {version}, {kept});

CREATE OR REPLACE FUNCTION {begin}() RETURNS trigger LANGUAGE plpgsql AS $kv_dict$
BEGIN
    IF NOT EXISTS (SELECT FROM {clock} c WHERE c.xmin = pg_current_xact_id()::xid) THEN
        UPDATE {clock} SET revision = greatest(revision + 1, {now});
        PERFORM pg_notify({channel}, '');
    END IF;
    IF TG_OP = 'TRUNCATE' THEN
        INSERT INTO {tombstones}
            SELECT e.k, c.revision, clock_timestamp() FROM {table} e, {clock} c
            ON CONFLICT (k) DO UPDATE SET revision = excluded.revision, time = excluded.time;
    END IF;
    RETURN NULL;
END $kv_dict$;
CREATE TRIGGER kv_dict_begin BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON {table}
    FOR EACH STATEMENT WHEN ({foreign}) EXECUTE FUNCTION {begin}();

CREATE TRIGGER kv_dict_stamp BEFORE INSERT OR UPDATE ON {table}
    FOR EACH ROW WHEN ({foreign}) EXECUTE FUNCTION {stamp}();

CREATE OR REPLACE FUNCTION {bury}() RETURNS trigger LANGUAGE plpgsql AS $kv_dict$
BEGIN
    INSERT INTO {tombstones}
        SELECT g.k, c.revision, clock_timestamp() FROM gone g, {clock} c
        ON CONFLICT (k) DO UPDATE SET revision = excluded.revision, time = excluded.time;
    DELETE FROM {tombstones} WHERE revision < (SELECT c.revision FROM {clock} c) - {reach};
    RETURN NULL;
END $kv_dict$;
CREATE TRIGGER kv_dict_bury AFTER DELETE ON {table} REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION {bury}();
"""

_WITHOUT_HISTORY: Final = """
LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE;
ALTER TABLE {clock} ADD COLUMN {column};
"""


def creation_sql(
    table: TableName, upgrade_from: str | None = None, *, history: int | None = None
) -> str:
    """Return the SQL that makes the store, or that upgrades a table whose `v` has a certain type.

    Run it in one transaction.
    """
    begin = _ENTRIES if upgrade_from is None else _FROM_TWO_COLUMNS
    return _filled(begin + _FUNCTIONS + _REST + HISTORY, table, history or 0, upgrade_from)


def creation_command(table: TableName, *, history: int | None) -> str:
    """Return the command that prints `creation_sql`, for messages: the SQL itself is 250 lines."""
    arguments = f"table={table.sql()!r}" + (f", history={history}" if history else "")
    program = f"import kv_dict; print(kv_dict.PostgresBackend({arguments}).creation_sql)"
    return f"python -c {shlex.quote(program)}"


def upgrade_sql(table: TableName, history: int) -> str:
    """Return the SQL with which a store that could keep no history does; for one transaction."""
    set_history = "\nUPDATE {clock} SET history = {kept};\n"
    return _filled(_WITHOUT_HISTORY + _FUNCTIONS + HISTORY + GRANTS + set_history, table, history)


def _filled(text: str, table: TableName, kept: int, value_type: str | None = None) -> str:
    text = text.replace("{remember}", REMEMBER.strip())
    text = text.replace("{remember_all}", REMEMBER_ALL.strip())
    return text.format(
        table=table.sql(),
        clock=table.sql("_clock"),
        tombstones=table.sql("_tombstones"),
        history=table.sql("_history"),
        begin=table.sql("_begin"),
        stamp=table.sql("_stamp"),
        bury=table.sql("_bury"),
        forget=table.sql("_forget"),
        commit=table.sql("_commit"),
        tombstones_name=_literal(table.sql("_tombstones")),
        history_name=_literal(table.sql("_history")),
        channel=_literal(table.channel),
        name=_literal(str(table)),
        foreign=_FOREIGN.format(name=_literal(str(table))),
        now=_NOW,
        reach=REACH,
        version=VERSION,
        column=COLUMN,
        most=MOST_KEPT,
        kept=kept,
        value="convert_from(v, 'UTF8')" if value_type == "bytea" else "v::text",
    )


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
