"""The tables of a store, the triggers that keep revisions and tombstones, and how they are made.

The triggers, not the program, count revisions: so a row that somebody changes with psql is seen by
every watch and fails every stale guard, like any other write.

The first statement of a transaction that writes advances the clock, whose one row is then locked
until the transaction ends. So revisions are committed in the order in which they were given, and
no two writers wait for each other in a circle: each has the table first, then the clock, then rows.
All that one transaction writes has one revision.

What the program itself writes goes through one function, which does the triggers' work at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

from kv_dict.backends.postgres.table import TableName
from kv_dict.errors import ConfigurationError

if TYPE_CHECKING:
    import asyncpg

__all__ = ["REACH", "VERSION", "Layout", "Shape", "creation_sql", "look", "make"]

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

_UPGRADE: Final = """
LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE;
ALTER TABLE {table} ALTER COLUMN k TYPE text COLLATE "C", ALTER COLUMN v DROP DEFAULT,
    ALTER COLUMN v TYPE text USING {value};
ALTER TABLE {table} ADD COLUMN revision int8, ADD COLUMN time timestamptz;
UPDATE {table} SET revision = {now};
ALTER TABLE {table} ALTER COLUMN revision SET NOT NULL;
"""

_REST: Final = """
CREATE INDEX ON {table} (revision);
CREATE TABLE {tombstones} (
    k text COLLATE "C" PRIMARY KEY, revision int8 NOT NULL, time timestamptz NOT NULL
);
CREATE INDEX ON {tombstones} (revision);
CREATE TABLE {clock} (
    one bool PRIMARY KEY DEFAULT true CHECK (one),
    revision int8 NOT NULL, store uuid NOT NULL, format int4 NOT NULL
);
INSERT INTO {clock} VALUES (true, {now}, gen_random_uuid(), {version});

CREATE FUNCTION {begin}() RETURNS trigger LANGUAGE plpgsql AS $kv_dict$
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

CREATE FUNCTION {stamp}() RETURNS trigger LANGUAGE plpgsql AS $kv_dict$
BEGIN
    SELECT c.revision, clock_timestamp() INTO NEW.revision, NEW.time FROM {clock} c;
    IF TG_OP = 'UPDATE' AND NEW.k <> OLD.k THEN
        INSERT INTO {tombstones} VALUES (OLD.k, NEW.revision, NEW.time)
            ON CONFLICT (k) DO UPDATE SET revision = excluded.revision, time = excluded.time;
    END IF;
    RETURN NEW;
END $kv_dict$;
CREATE TRIGGER kv_dict_stamp BEFORE INSERT OR UPDATE ON {table}
    FOR EACH ROW WHEN ({foreign}) EXECUTE FUNCTION {stamp}();

CREATE FUNCTION {bury}() RETURNS trigger LANGUAGE plpgsql AS $kv_dict$
BEGIN
    INSERT INTO {tombstones}
        SELECT g.k, c.revision, clock_timestamp() FROM gone g, {clock} c
        ON CONFLICT (k) DO UPDATE SET revision = excluded.revision, time = excluded.time;
    DELETE FROM {tombstones} WHERE revision < (SELECT c.revision FROM {clock} c) - {reach};
    RETURN NULL;
END $kv_dict$;
CREATE TRIGGER kv_dict_bury AFTER DELETE ON {table} REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION {bury}();

CREATE FUNCTION {commit}(
    patience text, guarded text[], guards int8[], starts text[], ends text[], endless text,
    deleted text[], keys text[], vals text[], OUT written int8, OUT conflicts text[]
) LANGUAGE plpgsql AS $kv_dict$
DECLARE
    was text;
BEGIN
    -- Planning takes longer than all the rest, and one plan is right for any keys; statistics of a
    -- young table would mislead it: a thousand prefixes would each read it all.
    was := set_config('plan_cache_mode', 'force_generic_plan', true);
    was := set_config('enable_seqscan', 'off', true);
    was := set_config('lock_timeout', patience, true);
    LOCK TABLE {table} IN ROW EXCLUSIVE MODE;
    UPDATE {clock} SET revision = greatest(revision + 1, {now}) RETURNING revision INTO written;
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
    IF starts IS NOT NULL AND EXISTS (
        SELECT FROM unnest(starts, ends) AS r(s, e), {table} t
            WHERE t.k >= r.s COLLATE "C" AND t.k < r.e COLLATE "C"
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
END $kv_dict$;
"""


def creation_sql(table: TableName, upgrade_from: str | None = None) -> str:
    """Return the SQL that makes the store, or that upgrades a table whose `v` has a certain type.

    Run it in one transaction.
    """
    value = "convert_from(v, 'UTF8')" if upgrade_from == "bytea" else "v::text"
    text = (_ENTRIES if upgrade_from is None else _UPGRADE) + _REST
    return text.format(
        table=table.sql(),
        clock=table.sql("_clock"),
        tombstones=table.sql("_tombstones"),
        begin=table.sql("_begin"),
        stamp=table.sql("_stamp"),
        bury=table.sql("_bury"),
        commit=table.sql("_commit"),
        channel=_literal(table.channel),
        name=_literal(str(table)),
        foreign=_FOREIGN.format(name=_literal(str(table))),
        now=_NOW,
        reach=REACH,
        version=VERSION,
        value=value,
    )


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


class Shape(Enum):
    """What is found under the table's name."""

    MISSING = "missing"
    TWO_COLUMNS = "two columns"  # as kv-dict up to 0.1 made it
    STORE = "store"


@dataclass(frozen=True, slots=True)
class Layout:
    """A table as it was found; `value_type` is that of the column `v`."""

    shape: Shape
    table: TableName
    value_type: str = "text"


_LOOK = """
SELECT current_schema()::text AS own, current_setting('server_encoding') AS encoding,
    n.nspname::text AS schema, c.oid IS NOT NULL AS present,
    to_regclass(quote_ident(n.nspname) || '.' || quote_ident($2)) IS NOT NULL AS clock,
    (SELECT json_object_agg(a.attname, a.atttypid::regtype::text)::text FROM pg_attribute a
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) AS columns,
    EXISTS (SELECT FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid
        AND a.attnum = i.indkey[0] AND a.attname = 'k' WHERE i.indrelid = c.oid AND i.indisunique
        AND i.indnkeyatts = 1 AND i.indpred IS NULL) AS keyed
FROM (SELECT to_regclass($1) AS oid) AS named
    LEFT JOIN pg_class c ON c.oid = named.oid LEFT JOIN pg_namespace n ON n.oid = c.relnamespace
"""


async def look(connection: asyncpg.Connection[asyncpg.Record], table: TableName) -> Layout:
    """Return what is there.

    Raises
    ------
    ConfigurationError
        It is of another program, or of a newer kv_dict, or the database cannot hold every text.
    """
    import json  # noqa: PLC0415 - once a process

    row = await connection.fetchrow(_LOOK, table.sql(), table.name + "_clock")
    assert row is not None  # noqa: S101 - a SELECT without a table
    if row["encoding"] != "UTF8":
        raise ConfigurationError(
            f"the database's encoding is {row['encoding']}, and not every key fits into it; "
            "use a database made with ENCODING 'UTF8'"
        )
    schema = row["schema"] or table.schema or row["own"]
    if schema is None:
        raise ConfigurationError(
            f"no schema of the search path exists; name it: table='public.{table.name}'"
        )
    here = table.of(schema)
    if not row["present"]:
        return Layout(Shape.MISSING, here)
    columns: dict[str, str] = json.loads(row["columns"] or "{}")
    ours = {"k", "v", "revision", "time"} <= columns.keys()
    if ours and not row["clock"]:
        raise ConfigurationError(
            f"{here}_clock, which belongs to {here}, is missing; restore it from a backup"
        )
    if not ours:
        if columns.keys() != {"k", "v"} or not row["keyed"]:
            raise ConfigurationError(
                f"table {here} is of another program: its columns are not k, the key, and v. "
                "Nothing in it was changed; choose another name"
            )
        return Layout(Shape.TWO_COLUMNS, here, columns["v"])
    version = await connection.fetchval(f"SELECT format FROM {here.sql('_clock')}")
    if version is None or version > VERSION:
        raise ConfigurationError(
            f"table {here} was made by a newer kv-dict (its format is {version}, this one knows "
            f"up to {VERSION}); upgrade kv-dict"
            if version
            else f"{here}_clock is empty: it has to hold its one row; restore it from a backup"
        )
    return Layout(Shape.STORE, here)


async def make(connection: asyncpg.Connection[asyncpg.Record], table: TableName) -> Layout:
    """Make the store where it is not there, or upgrade what is; return what is there then.

    All or nothing, and any number of processes may do it at the same time.
    """
    async with connection.transaction():
        await connection.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", f"kv_dict {table.name}"
        )
        found = await look(connection, table)
        if found.shape is Shape.STORE:
            return found
        upgrade_from = None if found.shape is Shape.MISSING else found.value_type
        await connection.execute(creation_sql(found.table, upgrade_from))
    return Layout(Shape.STORE, found.table)
