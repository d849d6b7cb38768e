"""`PostgresBackend`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kv_dict.backend import (
    NO_HISTORY,
    Backend,
    Capabilities,
    Finding,
    check_history,
    check_operations,
)
from kv_dict.backends.postgres.address import Address
from kv_dict.backends.postgres.batch import batches
from kv_dict.backends.postgres.schema import creation_sql
from kv_dict.backends.postgres.spelling import spell_key
from kv_dict.backends.postgres.statements import entry_of
from kv_dict.backends.postgres.table import TableName
from kv_dict.errors import ConfigurationError, Unsupported
from kv_dict.model import Entry, Operation, Revision, Snapshot, WatchEvent

if TYPE_CHECKING:
    from kv_dict.backends.postgres.store import Client

__all__ = ["PostgresBackend"]


class PostgresBackend(Backend):
    """A table of PostgreSQL 13 or later, shared by any number of threads, processes and computers.

    An acknowledged write is as durable as the server's ``synchronous_commit`` makes it. Writes of
    other programs (psql, say) are counted and told like its own. Thread-safe and fork-safe.

    Parameters
    ----------
    dsn : str
        ``postgresql://user:password@host:5432/database``, with libpq's parameters behind ``?``
        (``sslmode``, ``sslrootcert``, ``target_session_attrs``, ...), or what all backends call
        ``ca_file``, ``cert_file``, ``key_file`` (TLS, with everything verified) and
        ``password_file``. What is not said comes from the environment (``PGUSER``, ``PGPASSFILE``,
        ...) as for psql. Without any word of TLS, that is libpq's ``sslmode=prefer``: encrypted if
        the server offers it, and nothing is verified.

        Several servers: ``postgresql://user@one:5432,two:5432/database``. The one that takes writes
        is used (``target_session_attrs=read-write`` if nothing else is said).
    table : str
        The table's name, spelt as in SQL: ``kv_store``, ``schema.kv_store``, ``"Any Name"``. Beside
        it are ``..._clock``, ``..._tombstones`` and ``..._history``.
    client : asyncpg.Pool or asyncpg.Connection, optional
        To be used instead of `dsn`; it stays the caller's to close. Operations run in its loop,
        which has to run in another thread than the one that uses a mapping. On a single connection
        operations and watches take turns, and no transaction may be open.
    create_table : bool
        Make the tables where they are missing, and upgrade a table with the two columns `k` and
        `v` (kv-dict 0.1) in place. Without it such a table can be read, not written. A table of
        before there was a history is upgraded when `history` asks for one.
    history : int, optional
        How many values of each key the table keeps from now on for `RemoteKVMapping.history`, the
        present one included; 0 for none, and those that are kept are forgotten. The table remembers
        it, for whoever writes. A new one keeps none.
    password_file : str or Path, optional
        A file that holds the password; read for each new connection.
    statement_cache_size : int
        0 for a server behind pgbouncer in transaction mode. (There is no LISTEN there: a watch
        then sees changes at its next look, within a second.)
    max_connections : int
        For each event loop that uses the backend. Each watch has one more.

    Notes
    -----
    Which privileges a program needs is told in the how-to guide on PostgreSQL. Pickles contain the
    DSN with its password.
    """

    def __init__(
        self,
        dsn: str = "postgresql://",
        table: str = "kv_store",
        *,
        client: Client | None = None,
        create_table: bool = False,
        history: int | None = None,
        password_file: str | Path | None = None,
        statement_cache_size: int = 100,
        max_connections: int = 8,
    ) -> None:
        if max_connections < 1 or statement_cache_size < 0:
            raise ConfigurationError("max_connections is at least 1, statement_cache_size 0")
        try:
            from kv_dict.backends.postgres.store import Store  # noqa: PLC0415 - with the driver
        except ImportError:
            raise ConfigurationError(
                "PostgreSQL needs the driver asyncpg: pip install 'kv-dict[postgres]'",
                layer="driver",
            ) from None
        self._address = Address.parse(dsn, password_file)
        self._table = TableName.parse(table)
        self._history = None if history is None else check_history(history)
        self._arguments = (table, create_table, history, statement_cache_size, max_connections)
        self._client = client
        self._store = Store(
            self,
            self._address,
            self._table,
            client,
            create=create_table,
            history=self._history,
            cache=statement_cache_size,
            limit=max_connections,
        )

    # -- what it is --------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        if self._client is not None:
            kind = type(self._client).__name__.lower()
            return f"postgresql://(an asyncpg {kind})?table={self._table}"
        name = self._arguments[0]
        if name == "kv_store":
            return self._address.masked
        return f"{self._address.masked}{'&' if '?' in self._address.masked else '?'}table={name}"

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(persistent=True, multi_process=True, ordered=True)

    @property
    def creation_sql(self) -> str:
        """The SQL that makes the tables, for an operator to run (``psql --single-transaction``).

        In the schema ``public``, if `table` names none.
        """
        # Its functions name the tables in full, so that they work with any search path.
        table = self._table.of(self._table.schema or "public")
        return creation_sql(table, history=self._history)

    # -- operations --------------------------------------------------------------------------------

    async def read(self, key: str, *, timeout: float) -> Entry | None:
        rows = await self._store.fetch(lambda sql: (sql.read, (spell_key(key),)), timeout)
        return entry_of(rows[0]) if rows else None

    async def read_tree(self, key: str, separator: str, *, timeout: float) -> Snapshot:
        rows = await self._store.fetch(lambda sql: sql.tree(key, separator), timeout)
        entries = [entry_of(row) for row in rows]
        entries.sort(key=lambda entry: entry.key)
        return Snapshot(tuple(entries))

    async def snapshot(self, prefix: str, *, timeout: float) -> Snapshot:
        rows = await self._store.fetch(lambda sql: sql.snapshot(prefix), timeout)
        revision = rows[0]["r"] if rows and len(rows[0]) > 4 else None
        return Snapshot(tuple([entry_of(row) for row in rows if row[0] is not None]), revision)

    async def history(self, key: str, *, timeout: float) -> tuple[Entry, ...]:
        rows = await self._store.fetch(lambda sql: sql.history(key), timeout)
        if not rows:
            raise Unsupported(f"{self.url}: {NO_HISTORY}")
        return tuple([entry_of(row) for row in rows if row[0] is not None])

    async def ping(self, *, timeout: float) -> None:
        await self._store.fetch(lambda sql: (sql.ping, ()), timeout)

    async def inspect(self, *, timeout: float) -> tuple[Finding, ...]:
        return await self._store.inspect(timeout)

    async def commit(
        self, operations: Sequence[Operation], *, timeout: float
    ) -> tuple[Revision | None, ...]:
        self.check_open()
        check_operations(operations)
        if not operations:
            return ()
        work = batches(operations)
        written = await self._store.commit(work, timeout)
        return tuple([None if at is None else written[at] for at in work.of_operation])

    def watch(self, prefix: str) -> AsyncGenerator[WatchEvent, None]:
        return self._store.watch(prefix)

    async def close(self) -> None:
        await self._store.close()

    def __reduce__(self) -> tuple[object, tuple[Any, ...]]:
        if self._client is not None:
            raise ConfigurationError(f"{self.url} cannot be pickled; give a dsn instead of client")
        address = self._address
        return _rebuild, (address.with_secrets(), address.password_file, *self._arguments)


def _rebuild(
    dsn: str,
    password_file: Path | None,
    table: str,
    create: bool,
    history: int | None,
    cache: int,
    limit: int,
) -> PostgresBackend:
    return PostgresBackend(
        dsn,
        table,
        create_table=create,
        history=history,
        password_file=password_file,
        statement_cache_size=cache,
        max_connections=limit,
    )
