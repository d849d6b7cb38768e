"""Connections, kept for each event loop that uses a backend.

asyncpg's own pool sends a second statement after each use, to reset the session; nothing that is
done here leaves anything in a session.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Final, Protocol, TypeAlias

import asyncpg

from kv_dict.backends.postgres.explain import DRIVER_ERRORS
from kv_dict.errors import ConfigurationError

__all__ = ["Connection", "Connections", "LoopConnections", "OneConnection", "PoolConnections"]

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
Listener: TypeAlias = Callable[..., None]

_QUIET: Final = 30.0
"""Seconds after which an unused connection is asked whether it still works, as a firewall may have
forgotten it: a write on it would end in OutcomeUnknown."""

_PATIENCE: Final = 0.5


_ROUNDS: Final = 4
"""Rounds of a loop after which a connection that is closed by now knows it. The first one hears of
it, the second reads it, the third tells, and TLS passes it on in the fourth."""


class Connections(Protocol):
    """What gives connections to operations in one loop."""

    async def acquire(self, *, certain: bool = False) -> Connection:
        """Return a connection that works, as far as is known; `certain`: as of this moment."""

    async def release(self, connection: Connection, *, healthy: bool) -> None:
        """Take it back."""

    async def dedicate(self) -> Connection:
        """Return a connection for a watch."""

    async def retire(self, connection: Connection, channel: str, listener: Listener) -> None:
        """Take back one that was dedicated, and that `listener` listens on."""

    def turn(self) -> AbstractAsyncContextManager[object]:
        """Return what to hold while a dedicated connection is used."""

    async def close(self) -> None:
        """Let go of all."""

    def abandon(self) -> None:
        """Let go of all, where their loop has ended."""


class LoopConnections:
    """Connections of one event loop: up to `limit` at a time, the last used first.

    They are closed when the loop ends (`asyncio.run` does so before it returns).
    """

    def __init__(self, connect: Callable[[], Awaitable[Connection]], limit: int) -> None:
        self.loop = asyncio.get_running_loop()
        self._connect = connect
        self._slots = asyncio.Semaphore(limit)
        self._idle: list[tuple[float, Connection]] = []
        self._closed = False
        self._ending = self._until_the_loop_ends()

    async def begin(self) -> None:
        """Have the loop close them before it ends."""
        await anext(self._ending)

    async def acquire(self, *, certain: bool = False) -> Connection:
        await self._slots.acquire()
        try:
            if certain and self._idle:
                await _settle()
            while self._idle:
                since, connection = self._idle.pop()
                if connection.is_closed():
                    continue
                if self.loop.time() - since < _QUIET or await _works(connection):
                    return connection
            return await self._connect()
        except BaseException:
            self._slots.release()
            raise

    async def release(self, connection: Connection, *, healthy: bool) -> None:
        self._slots.release()
        if healthy and not self._closed and not connection.is_closed():
            self._idle.append((self.loop.time(), connection))
        else:
            connection.terminate()
            # What befell this one has befallen the unused ones too: a restart, say.
            while self._idle:
                self._idle.pop()[1].terminate()

    async def dedicate(self) -> Connection:
        return await self._connect()

    async def retire(self, connection: Connection, channel: str, listener: Listener) -> None:
        connection.terminate()

    def turn(self) -> AbstractAsyncContextManager[object]:
        return contextlib.nullcontext()

    async def close(self) -> None:
        self._closed = True
        await self._ending.aclose()

    def abandon(self) -> None:
        self._closed = True
        while self._idle:
            _, connection = self._idle.pop()
            with contextlib.suppress(RuntimeError):  # its loop is closed
                connection.terminate()

    async def _until_the_loop_ends(self) -> AsyncGenerator[None, None]:
        # A loop's end closes its asynchronous generators: the only notice of it there is.
        try:
            yield
        finally:
            self._closed = True
            while self._idle:
                self._idle.pop()[1].terminate()
            await asyncio.sleep(0)  # the transports close in the loop's next round
            await asyncio.sleep(0)


class PoolConnections:
    """Connections of a pool that the user made, and closes."""

    def __init__(self, pool: asyncpg.Pool[asyncpg.Record]) -> None:
        self._pool = pool

    async def acquire(self, *, certain: bool = False) -> Connection:
        if certain:
            await _settle()
        return await self._pool.acquire()

    async def release(self, connection: Connection, *, healthy: bool) -> None:
        if not healthy:
            connection.terminate()
        await self._pool.release(connection)

    async def dedicate(self) -> Connection:
        return await self._pool.acquire()

    async def retire(self, connection: Connection, channel: str, listener: Listener) -> None:
        # Not back into the pool with a listener on it: the pool makes a new one.
        connection.terminate()
        await self._pool.release(connection)

    def turn(self) -> AbstractAsyncContextManager[object]:
        return contextlib.nullcontext()

    async def close(self) -> None:
        """Nothing: it is the user's."""

    def abandon(self) -> None:
        """Nothing."""


class OneConnection:
    """One connection that the user made, and closes: operations and watches take turns on it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = asyncio.Lock()

    async def acquire(self, *, certain: bool = False) -> Connection:
        await self._lock.acquire()
        if certain:
            await _settle()
        if not self._connection.is_closed() and self._connection.is_in_transaction():
            self._lock.release()
            raise ConfigurationError(
                "the connection given as client= is in a transaction of yours: what is written "
                "now would not last until you commit; give a pool, or a connection of its own"
            )
        return self._connection

    async def release(self, connection: Connection, *, healthy: bool) -> None:
        self._lock.release()

    async def dedicate(self) -> Connection:
        return self._connection

    async def retire(self, connection: Connection, channel: str, listener: Listener) -> None:
        connection.remove_termination_listener(listener)
        with contextlib.suppress(*DRIVER_ERRORS, OSError):
            async with asyncio.timeout(_PATIENCE), self._lock:
                await connection.remove_listener(channel, listener)

    def turn(self) -> AbstractAsyncContextManager[object]:
        return self._lock

    async def close(self) -> None:
        """Nothing: it is the user's."""

    def abandon(self) -> None:
        """Nothing."""


async def _settle() -> None:
    for _ in range(_ROUNDS):
        await asyncio.sleep(0)


async def _works(connection: Connection) -> bool:
    try:
        async with asyncio.timeout(_PATIENCE):
            await connection.execute("SELECT")  # asyncpg chokes on the answer to an empty query
    except (*DRIVER_ERRORS, OSError):
        connection.terminate()
        return False
    return True
