"""What is found under the table's name, and making of it what is asked for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING

from kv_dict.backends.postgres.schema import VERSION, creation_sql, upgrade_sql
from kv_dict.backends.postgres.table import TableName
from kv_dict.errors import ConfigurationError

if TYPE_CHECKING:
    import asyncpg

__all__ = ["Layout", "Shape", "keep", "look", "make"]


class Shape(Enum):
    """What is found under the table's name."""

    MISSING = "missing"
    TWO_COLUMNS = "two columns"  # as kv-dict up to 0.1 made it
    STORE = "store"


@dataclass(frozen=True, slots=True)
class Layout:
    """A table as it was found.

    Attributes
    ----------
    value_type : str
        Of the column `v`.
    history : int or None
        How many values of each key are kept; None where the store cannot keep any.
    """

    shape: Shape
    table: TableName
    value_type: str = "text"
    history: int | None = None

    def serves(self, history: int | None) -> bool:
        """Return whether it can be written, and keep a history if one is asked for."""
        return self.shape is Shape.STORE and not (history and self.history is None)


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
    clock = await connection.fetchrow(
        f"SELECT format, (to_jsonb(c) ->> 'history')::int4 AS kept FROM {here.sql('_clock')} c"
    )
    version = None if clock is None else clock["format"]
    if clock is None or version is None or version > VERSION:
        raise ConfigurationError(
            f"table {here} was made by a newer kv-dict (its format is {version}, this one knows "
            f"up to {VERSION}); upgrade kv-dict"
            if version
            else f"{here}_clock is empty: it has to hold its one row; restore it from a backup"
        )
    return Layout(Shape.STORE, here, history=clock["kept"])


async def make(
    connection: asyncpg.Connection[asyncpg.Record], table: TableName, history: int | None
) -> Layout:
    """Make the store where it is not there, or upgrade what is; return what is there then.

    A store that can keep no history is upgraded if one is asked for. All or nothing, and any number
    of processes may do it at the same time.
    """
    async with connection.transaction():
        await connection.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", f"kv_dict {table.name}"
        )
        found = await look(connection, table)
        if found.shape is not Shape.STORE:
            upgrade_from = None if found.shape is Shape.MISSING else found.value_type
            statements = creation_sql(found.table, upgrade_from, history=history)
        elif history and found.history is None:
            statements = upgrade_sql(found.table, history)
        else:
            return found
        await connection.execute(statements)
    return Layout(Shape.STORE, found.table, history=history or 0)


async def keep(
    connection: asyncpg.Connection[asyncpg.Record], layout: Layout, history: int
) -> Layout:
    """Have the store keep so many values of each key from now on; return it as it is then.

    Raises
    ------
    ConfigurationError
        It cannot keep any.
    """
    if layout.history == history or (layout.history is None and not history):
        return layout
    if layout.history is None:
        told = f"history={history}: table {layout.table} was made by a kv-dict that kept none"
        if layout.shape is Shape.TWO_COLUMNS:
            raise ConfigurationError(
                f"{told}. Upgrade it in place: open it once with create_table=True, as its owner"
            )
        raise ConfigurationError(
            f"{told}; leave history= out, and it works as before. To keep one, open it once with "
            "create_table=True (&create_table=true), as its owner, or have an operator run this "
            f"SQL in one transaction:\n{upgrade_sql(layout.table, history)}"
        )
    clock = layout.table.sql("_clock")
    await connection.execute(f"UPDATE {clock} SET history = $1", history)
    return replace(layout, history=history)
