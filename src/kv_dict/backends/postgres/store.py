"""What the backend does in an event loop: reading, committing, following."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, Final, TypeAlias, TypeVar

import asyncpg

from kv_dict.backend import Backend, Finding, StoreMissing
from kv_dict.backends.postgres.address import Address
from kv_dict.backends.postgres.batch import Batch
from kv_dict.backends.postgres.connections import (
    Connection,
    Connections,
    LoopConnections,
    OneConnection,
    PoolConnections,
)
from kv_dict.backends.postgres.explain import (
    DRIVER_ERRORS,
    again_at_once,
    explain,
    lost,
    read_only,
    undone,
    unsent,
)
from kv_dict.backends.postgres.follower import Follower, Wake
from kv_dict.backends.postgres.layout import Shape, keep, look, make
from kv_dict.backends.postgres.schema import creation_command
from kv_dict.backends.postgres.servers import Servers
from kv_dict.backends.postgres.statements import Statements
from kv_dict.backends.postgres.table import TableName
from kv_dict.errors import (
    ClosedError,
    ConfigurationError,
    ConflictError,
    KVDictError,
    OutcomeUnknown,
    Unavailable,
)
from kv_dict.model import Stale, WatchEvent

__all__ = ["Client", "Store"]

_Result = TypeVar("_Result")
Ask: TypeAlias = Callable[[Statements], tuple[str, tuple[Any, ...]] | None]
Client: TypeAlias = "asyncpg.Pool[asyncpg.Record] | Connection"

_FAILURES: Final = (*DRIVER_ERRORS, OSError)  # a TimeoutError is an OSError: catch it first
_POLL: Final = 1.0
_RECONNECT: Final = 0.2
_LOOK_TIMEOUT: Final = 2.0
_CLOSE_TIMEOUT: Final = 2.0
_CROSSING: Final = 0.5
"""Seconds more than its own deadline that another loop gets to answer."""


class Store:
    """The connections of a backend, for each event loop that uses it. Thread-safe, fork-safe."""

    def __init__(
        self,
        owner: Backend,
        address: Address,
        table: TableName,
        client: Client | None,
        *,
        create: bool,
        history: int | None,
        cache: int,
        limit: int,
    ) -> None:
        if client is not None and not isinstance(client, asyncpg.Pool | asyncpg.Connection):
            raise ConfigurationError(
                "client is a pool or a connection of asyncpg (asyncpg.create_pool, "
                f"asyncpg.connect), not {type(client).__name__}"
            )
        self._owner = owner
        self._servers = Servers(address, owner.url, cache)
        self._table = table
        self._client = client
        self._create = create
        self._history = history
        self._limit = limit
        self._pid = os.getpid()
        self._forget()
        _all.add(self)

    def _forget(self) -> None:
        """Begin with nothing: new, or in a child whose parent has the connections."""
        self._lock = threading.Lock()
        self._pools: dict[asyncio.AbstractEventLoop, Connections] = {}
        self._wakes: set[Wake] = set()
        self._statements: Statements | None = None

    # -- reading and committing --------------------------------------------------------------------

    async def fetch(self, ask: Ask, timeout: float) -> list[Any]:
        """Return the rows that `ask` asks of the table; none where it has nothing to ask of it."""
        self._owner.check_open()
        if self._client is None:
            return await self._fetch(ask, timeout)
        return await self._home(lambda: self._fetch(ask, timeout), timeout)

    async def _fetch(self, ask: Ask, timeout: float) -> list[Any]:
        again = True  # once: reading twice does no harm, and a kept connection may have gone
        try:
            async with asyncio.timeout(timeout):
                while True:
                    sql = self._statements or await self._prepare()
                    # Somebody may have upgraded it since it was looked at.
                    asked = ask(sql) or ask(await self._prepare())
                    if asked is None:
                        return []
                    pool = self._here() or await self._begin()
                    connection = await pool.acquire()
                    healthy = False
                    try:
                        statement, values = asked
                        rows: list[Any] = await connection.fetch(statement, *values)
                        healthy = True
                        return rows
                    except _FAILURES as error:
                        if not (again and lost(error)):
                            healthy = not lost(error)
                            raise
                        again = False
                    finally:
                        await pool.release(connection, healthy=healthy)
        except TimeoutError as error:
            raise Unavailable(f"{self._owner.url}: no answer within {timeout:g} s") from error
        except _FAILURES as error:
            raise self._explained(error) from error

    async def inspect(self, timeout: float) -> tuple[Finding, ...]:
        """See `Backend.inspect`."""
        from kv_dict.backends.postgres.inspecting import QUESTION, findings  # noqa: PLC0415

        (row,) = await self.fetch(lambda sql: (QUESTION, ()), timeout)
        return findings(row)

    async def commit(self, work: Batch, timeout: float) -> list[int | None]:
        """Return the revision of each step."""
        self._owner.check_open()
        if self._client is None:
            return await self._commit(work, timeout)
        return await self._home(lambda: self._commit(work, timeout), timeout, writing=True)

    async def _commit(self, work: Batch, timeout: float) -> list[int | None]:
        deadline = asyncio.get_running_loop().time() + timeout
        sent = tried = False
        try:
            async with asyncio.timeout_at(deadline):
                sql = self._statements or await self._prepare()
                if not sql.counted:
                    sql = await self._prepare()  # somebody may have upgraded it
                    self._check_counted(sql)
                while True:
                    pool = self._here() or await self._begin()
                    connection = await pool.acquire(certain=True)
                    healthy = False
                    try:
                        left = deadline - asyncio.get_running_loop().time()
                        sent = True
                        written, conflicts = await work.send(connection, sql, left)
                        healthy = True
                        break
                    except _FAILURES as error:
                        healthy = undone(error) and not lost(error) and not read_only(error)
                        if not again_at_once(error) and (tried or not unsent(error)):
                            raise
                        tried, sent = tried or unsent(error), False
                    finally:
                        await pool.release(connection, healthy=healthy)
        except TimeoutError as error:
            raise self._unanswered(sent, f"no answer within {timeout:g} s") from error
        except _FAILURES as error:
            if sent and not undone(error):
                raise self._unanswered(sent, f"the connection was lost ({error})") from error
            raise self._explained(error) from error
        if conflicts:
            raise ConflictError(f"changed by somebody else: {', '.join(conflicts)}", conflicts)
        return written

    def _unanswered(self, sent: bool, what: str) -> KVDictError:
        if sent:
            return OutcomeUnknown(
                f"{self._owner.url}: {what}; the write may or may not have been applied"
            )
        return Unavailable(f"{self._owner.url}: {what}")

    def _explained(self, error: BaseException) -> KVDictError:
        explained = explain(error, self._owner.url, str(self._table))
        if isinstance(explained, ConfigurationError):
            self._statements = None  # look again next time: somebody may have put it right
        return explained

    # -- the table ---------------------------------------------------------------------------------

    async def _prepare(self) -> Statements:
        """Look at the table, and make it if that was asked for."""
        pool = self._here() or await self._begin()
        connection = await pool.acquire(certain=True)
        healthy = False
        try:
            layout = await look(connection, self._table)
            if self._create and not layout.serves(self._history):
                layout = await make(connection, self._table, self._history)
            if layout.shape is not Shape.MISSING and self._history is not None:
                layout = await keep(connection, layout, self._history)
            healthy = True
        finally:
            await pool.release(connection, healthy=healthy)
        if layout.shape is Shape.MISSING:
            raise StoreMissing(
                f"{self._owner.url}: there is no table {layout.table}. Open it once with "
                "create_table=True (in a URL ?create_table=true), as a user that may create "
                "tables; or have an operator run, in one transaction, the SQL that this prints: "
                f"{creation_command(layout.table, history=self._history)}",
                layer="store",
            )
        self._statements = Statements(layout)
        return self._statements

    async def statements(self) -> Statements:
        """Return the statements on the table as it was found."""
        return self._statements or await self._prepare()

    def _check_counted(self, sql: Statements) -> None:
        if not sql.counted:
            raise ConfigurationError(
                f"{self._owner.url}: the table has two columns only, as kv-dict 0.1 made it: it "
                "can be read, not written. Upgrade it in place: open it once with "
                "create_table=True, as its owner",
                layer="store",
            )

    # -- loops and connections ---------------------------------------------------------------------

    async def connections(self) -> Connections:
        """Return the connections of the running loop."""
        return self._here() or await self._begin()

    def _here(self) -> Connections | None:
        return self._pools.get(asyncio.get_running_loop())

    async def _begin(self) -> Connections:
        """Return new connections for the running loop."""
        loop = asyncio.get_running_loop()
        with self._lock:
            self._owner.check_open()
            ended = [self._pools.pop(old) for old in tuple(self._pools) if old.is_closed()]
            made: Connections
            if self._client is None:
                made = LoopConnections(self._servers.connect, self._limit)
            elif isinstance(self._client, asyncpg.Pool):
                made = PoolConnections(self._client)
            else:
                made = OneConnection(self._client)
            pool = self._pools.setdefault(loop, made)
        for old in ended:
            old.abandon()
        if pool is made and isinstance(made, LoopConnections):
            await made.begin()
        return pool

    async def _home(
        self, make: Callable[[], Awaitable[_Result]], timeout: float, *, writing: bool = False
    ) -> _Result:
        """Run a coroutine in the loop of the connections; that is this one, but for a client's."""
        if self._client is None:
            return await make()
        if self._pid != os.getpid():
            raise ConfigurationError(
                f"{self._owner.url}: the client is the parent process's; make a backend of "
                "its own here"
            )
        home: asyncio.AbstractEventLoop = self._client._loop  # asyncpg has no other way to tell
        if home is asyncio.get_running_loop():
            return await make()
        if home.is_closed() or not home.is_running():
            raise ConfigurationError(
                f"{self._owner.url}: the event loop of the client does not run; a client works "
                "only in the loop that it was made in"
            )

        async def there() -> _Result:
            return await make()

        crossing = asyncio.run_coroutine_threadsafe(there(), home)
        try:
            async with asyncio.timeout(timeout + _CROSSING):
                return await asyncio.wrap_future(crossing)
        except TimeoutError:
            raise self._unanswered(
                writing, "the event loop of the client is busy or blocked"
            ) from None

    async def close(self) -> None:
        """See `Backend.close`."""
        with self._lock:
            self._owner.closed = True
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

    # -- the watch ---------------------------------------------------------------------------------

    async def watch(self, prefix: str) -> AsyncGenerator[WatchEvent, None]:
        """See `Backend.watch`."""
        self._owner.check_open()
        wake = Wake()
        follower = Follower(self, prefix, wake)
        self._wakes.add(wake)
        fresh, stale, begun = time.time(), False, False
        try:
            while True:
                reason = ""
                news: WatchEvent | None = None
                try:
                    async with asyncio.timeout(_LOOK_TIMEOUT):
                        news = await self._home(follower.look, _LOOK_TIMEOUT)
                except ClosedError:
                    raise
                except TimeoutError:
                    reason = f"{self._owner.url}: no answer within {_LOOK_TIMEOUT:g} s"
                except (*_FAILURES, KVDictError) as error:
                    told = error if isinstance(error, KVDictError) else None
                    told = told or self._explained(error)
                    if isinstance(told, ConfigurationError) and not begun:
                        raise told from error
                    self._statements = None
                    reason = str(told)
                if not reason:
                    if news is not None:
                        yield news
                    fresh, stale, begun = time.time(), False, True
                elif not stale:
                    stale = True
                    yield Stale(fresh, reason)
                self._owner.check_open()
                await wake.wait(_RECONNECT if stale else _POLL)
                self._owner.check_open()
        finally:
            self._wakes.discard(wake)
            with contextlib.suppress(ConfigurationError, Unavailable):
                await self._home(follower.close, _CLOSE_TIMEOUT)


_all: weakref.WeakSet[Store] = weakref.WeakSet()
_abandoned: list[object] = []  # the parent's connections: closing them here would be using them


def _after_fork_in_child() -> None:
    for store in tuple(_all):
        _abandoned.append((store._pools, store._wakes))
        store._forget()


os.register_at_fork(after_in_child=_after_fork_in_child)
