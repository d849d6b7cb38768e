"""`PostgresBackend`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from kv_dict.backend import Backend, Capabilities, check_operations
from kv_dict.backends.postgres.address import Address
from kv_dict.backends.postgres.batch import Batch, batches
from kv_dict.backends.postgres.schema import Shape, creation_sql
from kv_dict.backends.postgres.statements import Statements, entry_of
from kv_dict.backends.postgres.table import TableName
from kv_dict.errors import (
    ClosedError,
    ConfigurationError,
    ConflictError,
    KVDictError,
    OutcomeUnknown,
    Unavailable,
)
from kv_dict.model import Entry, Operation, Revision, Snapshot, Stale, WatchEvent

if TYPE_CHECKING:
    import asyncpg

__all__ = ["PostgresBackend"]

_Result = TypeVar("_Result")

_POLL: Final = 1.0
_RECONNECT: Final = 0.2
_LOOK_TIMEOUT: Final = 2.0
_CLOSE_TIMEOUT: Final = 2.0


class PostgresBackend(Backend):
    """A table of PostgreSQL 13 or later, shared by any number of threads, processes and computers.

    An acknowledged write is as durable as the server's ``synchronous_commit`` makes it. Writes of
    other programs (psql, say) are counted and told like its own. Thread-safe and fork-safe.

    Parameters
    ----------
    dsn : str
        ``postgresql://user:password@host:5432/database``, with libpq's parameters behind ``?``
        (``sslmode``, ``sslrootcert``, ``target_session_attrs``, ...). Several servers:
        ``postgresql://user@one:5432,two:5432/database?target_session_attrs=read-write``. What is
        not said comes from the environment (``PGUSER``, ``PGPASSFILE``, ...) as for psql.
    table : str
        The table's name, spelt as in SQL: ``kv_store``, ``schema.kv_store``, ``"Any Name"``. Beside
        it are ``..._clock`` and ``..._tombstones``.
    client : asyncpg.Pool, optional
        A pool to use instead of `dsn`; it stays the caller's to close. Operations run in its loop,
        which has to run in another thread than the one that uses a mapping.
    create_table : bool
        Make the tables where they are missing, and upgrade a table with the two columns `k` and
        `v` (kv-dict 0.1) in place. Without it such a table can be read, not written.
    password_file : str or Path, optional
        A file that holds the password; read for each new connection.
    statement_cache_size : int
        0 for a server behind pgbouncer in transaction mode. (There is no LISTEN there: a watch
        then sees changes at its next look, within a second.)
    max_connections : int
        For each event loop that uses the backend. Each watch has one more.

    Notes
    -----
    A program needs ``SELECT, INSERT, UPDATE, DELETE`` on the three tables and ``USAGE`` on their
    schema; to read only, ``SELECT``. Pickles contain the DSN with its password.
    """

    def __init__(
        self,
        dsn: str = "postgresql://",
        table: str = "kv_store",
        *,
        client: asyncpg.Pool[asyncpg.Record] | None = None,
        create_table: bool = False,
        password_file: str | Path | None = None,
        statement_cache_size: int = 100,
        max_connections: int = 8,
    ) -> None:
        try:
            import asyncpg  # noqa: PLC0415
        except ImportError:
            raise ConfigurationError(
                "PostgreSQL needs the driver asyncpg: pip install 'kv-dict[postgres]'"
            ) from None
        if max_connections < 1 or statement_cache_size < 0:
            raise ConfigurationError("max_connections is at least 1, statement_cache_size 0")
        if client is not None and not isinstance(client, asyncpg.Pool):
            raise ConfigurationError(
                f"client is a pool of asyncpg (asyncpg.create_pool), not {type(client).__name__}"
            )
        self._address = Address.parse(dsn, password_file)
        self._table = TableName.parse(table)
        self._arguments = (table, create_table, statement_cache_size, max_connections)
        self._create = create_table
        self._cache = statement_cache_size
        self._limit = max_connections
        self._client = client
        self._forget()
        _all.add(self)

    def _forget(self) -> None:
        """Begin with nothing: new, or in a child whose parent has the connections."""
        self._lock = threading.Lock()
        self._pools: dict[asyncio.AbstractEventLoop, Any] = {}
        self._wakes: set[Any] = set()
        self._statements: Statements | None = None
        self._pid = os.getpid()

    # -- what it is --------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        if self._client is not None:
            return f"postgresql://(an asyncpg pool)?table={self._table}"
        name = self._arguments[0]
        if name == "kv_store":
            return self._address.masked
        return f"{self._address.masked}{'&' if '?' in self._address.masked else '?'}table={name}"

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(persistent=True, multi_process=True, ordered=True)

    @property
    def creation_sql(self) -> str:
        """The SQL that makes the tables, for an operator to run (``psql --single-transaction``)."""
        return creation_sql(self._table)

    # -- operations --------------------------------------------------------------------------------

    async def read(self, key: str, *, timeout: float) -> Entry | None:
        from kv_dict.backends.postgres.spelling import spell_key  # noqa: PLC0415

        rows = await self._fetch(lambda sql: (sql.read, (spell_key(key),)), timeout)
        return entry_of(rows[0]) if rows else None

    async def read_tree(self, key: str, separator: str, *, timeout: float) -> Snapshot:
        rows = await self._fetch(lambda sql: sql.tree(key, separator), timeout)
        entries = [entry_of(row) for row in rows]
        entries.sort(key=lambda entry: entry.key)
        return Snapshot(tuple(entries))

    async def snapshot(self, prefix: str, *, timeout: float) -> Snapshot:
        rows = await self._fetch(lambda sql: sql.snapshot(prefix), timeout)
        revision = rows[0]["r"] if rows and len(rows[0]) > 4 else None
        return Snapshot(tuple([entry_of(row) for row in rows if row[0] is not None]), revision)

    async def ping(self, *, timeout: float) -> None:
        await self._fetch(lambda sql: (sql.ping, ()), timeout)

    async def commit(
        self, operations: Sequence[Operation], *, timeout: float
    ) -> tuple[Revision | None, ...]:
        self.check_open()
        check_operations(operations)
        if not operations:
            return ()
        work = batches(operations)
        written = await self._home(lambda: self._commit(work, timeout))
        return tuple([None if at is None else written[at] for at in work.of_operation])

    # -- in the loop of the connections ------------------------------------------------------------

    async def _fetch(
        self, ask: Callable[[Statements], tuple[str, tuple[Any, ...]]], timeout: float
    ) -> list[Any]:
        self.check_open()
        if self._client is None:
            return await self._fetch_here(ask, timeout)
        return await self._home(lambda: self._fetch_here(ask, timeout))

    async def _fetch_here(
        self, ask: Callable[[Statements], tuple[str, tuple[Any, ...]]], timeout: float
    ) -> list[Any]:
        from kv_dict.backends.postgres.explain import DRIVER_ERRORS, explain, lost  # noqa: PLC0415

        again = True  # once: reading twice does no harm, and a kept connection may have gone
        try:
            async with asyncio.timeout(timeout):
                while True:
                    sql = self._statements or await self._prepare()
                    pool = self._here() or await self._begin()
                    connection = await pool.acquire()
                    healthy = False
                    try:
                        statement, values = ask(sql)
                        rows: list[Any] = await connection.fetch(statement, *values)
                        healthy = True
                        return rows
                    except (*DRIVER_ERRORS, OSError) as error:
                        if not (again and lost(error)):
                            healthy = not lost(error)
                            raise
                        again = False
                    finally:
                        await pool.release(connection, healthy=healthy)
        except TimeoutError as error:
            raise Unavailable(f"{self.url}: no answer within {timeout:g} s") from error
        except (*DRIVER_ERRORS, OSError) as error:
            raise self._explained(error, explain) from error

    async def _commit(self, work: Batch, timeout: float) -> list[int | None]:
        from kv_dict.backends.postgres.explain import (  # noqa: PLC0415
            DRIVER_ERRORS,
            again_at_once,
            answered,
            explain,
        )

        deadline = asyncio.get_running_loop().time() + timeout
        sent = False
        try:
            async with asyncio.timeout_at(deadline):
                sql = self._statements or await self._prepare()
                if not sql.counted:
                    raise ConfigurationError(
                        f"{self.url}: the table has two columns only, as kv-dict 0.1 made it: it "
                        "can be read, not written. Upgrade it in place: open it once with "
                        "create_table=True, as its owner"
                    )
                while True:
                    pool = self._here() or await self._begin()
                    connection = await pool.acquire()
                    healthy = False
                    try:
                        left = deadline - asyncio.get_running_loop().time()
                        sent = True
                        written, conflicts = await work.send(connection, sql, left)
                        healthy = True
                        break
                    except (*DRIVER_ERRORS, OSError) as error:
                        healthy = answered(error)
                        if not again_at_once(error):
                            raise
                        sent = False
                    finally:
                        await pool.release(connection, healthy=healthy)
        except TimeoutError as error:
            raise self._unanswered(sent, f"no answer within {timeout:g} s") from error
        except (*DRIVER_ERRORS, OSError) as error:
            if sent and not answered(error):
                raise self._unanswered(sent, f"the connection was lost ({error})") from error
            raise self._explained(error, explain) from error
        if conflicts:
            raise ConflictError(f"changed by somebody else: {', '.join(conflicts)}", conflicts)
        return written

    def _unanswered(self, sent: bool, what: str) -> KVDictError:
        if sent:
            return OutcomeUnknown(f"{self.url}: {what}; the write may or may not have been applied")
        return Unavailable(f"{self.url}: {what}; nothing was written")

    def _explained(
        self, error: BaseException, explain: Callable[[BaseException, str, str], KVDictError]
    ) -> KVDictError:
        explained = explain(error, self.url, str(self._table))
        if isinstance(explained, ConfigurationError):
            self._statements = None  # look again next time: somebody may have put it right
        return explained

    # -- the table -----------------------------------------------------------------------------------

    async def _prepare(self) -> Statements:
        """Look at the table, and make it if that was asked for."""
        from kv_dict.backends.postgres.schema import look, make  # noqa: PLC0415

        pool = self._here() or await self._begin()
        connection = await pool.acquire()
        healthy = False
        try:
            layout = await look(connection, self._table)
            if layout.shape is not Shape.STORE and self._create:
                layout = await make(connection, self._table)
            healthy = True
        finally:
            await pool.release(connection, healthy=healthy)
        if layout.shape is Shape.MISSING:
            raise ConfigurationError(
                f"{self.url}: there is no table {layout.table}. Open it once with "
                "create_table=True (?create_table=true), as a user that may create tables, or "
                "have an operator run this SQL in one transaction:\n"
                f"{creation_sql(layout.table)}"
            )
        self._statements = Statements(layout)
        return self._statements

    # -- loops and connections -------------------------------------------------------------------------

    def _here(self) -> Any:
        pool = self._pools.get(asyncio.get_running_loop())
        if pool is not None and self.closed:
            self.check_open()
        return pool

    async def _begin(self) -> Any:
        """Return new connections for the running loop."""
        from kv_dict.backends.postgres.connections import (  # noqa: PLC0415
            ClientConnections,
            LoopConnections,
        )

        self.check_open()
        loop = asyncio.get_running_loop()
        with self._lock:
            ended = [self._pools.pop(old) for old in tuple(self._pools) if old.is_closed()]
            made: Any
            if self._client is not None:
                made = ClientConnections(self._client)
            else:
                made = LoopConnections(self._connect, self._limit)
            pool = self._pools.setdefault(loop, made)
        for old in ended:
            old.abandon()
        if pool is made and isinstance(made, LoopConnections):
            await made.begin()
        return pool

    async def _connect(self) -> Any:
        import asyncpg  # noqa: PLC0415

        while True:
            try:
                return await asyncpg.connect(
                    **self._address.arguments(), statement_cache_size=self._cache
                )
            except asyncpg.CannotConnectNowError:  # starting: it will be there in a moment
                await asyncio.sleep(0.02)

    async def _home(self, make: Callable[[], Awaitable[_Result]]) -> _Result:
        """Run a coroutine in the loop of the connections; that is this one, but for a client's."""
        if self._client is None:
            return await make()
        if self._pid != os.getpid():
            raise ConfigurationError(
                f"{self.url}: the pool is the parent process's; make a backend of its own here"
            )
        home: asyncio.AbstractEventLoop = self._client._loop  # noqa: SLF001 - it tells nobody else
        if home is asyncio.get_running_loop():
            return await make()
        if home.is_closed() or not home.is_running():
            raise ConfigurationError(
                f"{self.url}: the event loop of the pool does not run; a pool works only in the "
                "loop that it was made in"
            )

        async def there() -> _Result:
            return await make()

        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(there(), home))

    async def close(self) -> None:
        self.closed = True
        with self._lock:
            pools, self._pools = self._pools, {}
            wakes = tuple(self._wakes)
            self._statements = None
        for wake in wakes:
            wake.tell()
        here = asyncio.get_running_loop()
        for loop, pool in pools.items():
            if loop is here:
                await pool.close()
            elif loop.is_running():
                elsewhere = asyncio.run_coroutine_threadsafe(pool.close(), loop)
                with contextlib.suppress(TimeoutError, asyncio.CancelledError):
                    async with asyncio.timeout(_CLOSE_TIMEOUT):
                        await asyncio.wrap_future(elsewhere)
            else:
                pool.abandon()

    # -- the watch -----------------------------------------------------------------------------------

    async def watch(self, prefix: str) -> AsyncGenerator[WatchEvent, None]:
        from kv_dict.backends.postgres.explain import DRIVER_ERRORS, explain  # noqa: PLC0415
        from kv_dict.backends.postgres.follower import Follower, Wake  # noqa: PLC0415

        self.check_open()
        wake = Wake()
        follower = Follower(_Line(self), prefix, wake)
        self._wakes.add(wake)
        fresh, stale, begun = time.time(), False, False
        try:
            while True:
                reason = ""
                news: list[WatchEvent] = []
                try:
                    async with asyncio.timeout(_LOOK_TIMEOUT):
                        news = await self._home(follower.look)
                except ClosedError:
                    raise
                except TimeoutError:
                    reason = f"{self.url}: no answer within {_LOOK_TIMEOUT:g} s"
                except (*DRIVER_ERRORS, OSError, KVDictError) as error:
                    told = error if isinstance(error, KVDictError) else None
                    told = told or self._explained(error, explain)
                    if isinstance(told, ConfigurationError) and not begun:
                        raise told from error
                    self._statements = None
                    reason = str(told)
                if not reason:
                    for event in news:
                        yield event
                    fresh, stale, begun = time.time(), False, True
                elif not stale:
                    stale = True
                    yield Stale(fresh, reason)
                self.check_open()
                await wake.wait(_RECONNECT if stale else _POLL)
                self.check_open()
        finally:
            self._wakes.discard(wake)
            with contextlib.suppress(ConfigurationError):
                await self._home(follower.close)

    # -- copies ----------------------------------------------------------------------------------------

    def __reduce__(self) -> tuple[object, tuple[Any, ...]]:
        if self._client is not None:
            raise ConfigurationError(f"{self.url} cannot be pickled; give a dsn instead of client")
        return _rebuild, (self._address, *self._arguments)


class _Line:
    """The dedicated connection of a watch."""

    def __init__(self, backend: PostgresBackend) -> None:
        self._backend = backend

    async def connect(self) -> Any:
        backend = self._backend
        if backend._client is None:
            return await backend._connect()
        return await backend._client.acquire()

    async def disconnect(self, connection: Any) -> None:
        # Not back into a pool with a listener on it: the pool makes a new one.
        connection.terminate()
        if self._backend._client is not None:
            await self._backend._client.release(connection)

    async def statements(self) -> Statements:
        return self._backend._statements or await self._backend._prepare()


def _rebuild(
    address: Address, table: str, create_table: bool, cache: int, limit: int
) -> PostgresBackend:
    made = PostgresBackend(
        "postgresql://",
        table,
        create_table=create_table,
        statement_cache_size=cache,
        max_connections=limit,
    )
    made._address = address
    return made


_all: weakref.WeakSet[PostgresBackend] = weakref.WeakSet()
_abandoned: list[object] = []  # the parent's connections: closing them here would be using them


def _after_fork_in_child() -> None:
    for backend in tuple(_all):
        _abandoned.append((backend._pools, backend._wakes))
        pid = backend._pid
        backend._forget()
        if backend._client is not None:
            backend._pid = pid


os.register_at_fork(after_in_child=_after_fork_in_child)
