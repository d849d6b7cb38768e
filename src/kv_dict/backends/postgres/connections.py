"""Connections, kept for each event loop that uses a backend.

asyncpg's own pool sends a second statement after each use, to reset the session; nothing that is
done here leaves anything in a session.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Final, Protocol, TypeAlias

import asyncpg

from kv_dict.backends.postgres.explain import DRIVER_ERRORS

__all__ = ["ClientConnections", "Connection", "Connections", "LoopConnections"]

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

_QUIET: Final = 30.0
"""Seconds after which an unused connection is asked whether it still works, as a firewall may have
forgotten it: a write on it would end in OutcomeUnknown."""

_PATIENCE: Final = 0.5


class Connections(Protocol):
    """What gives connections to operations in one loop."""

    async def acquire(self) -> Connection:
        """Return a connection that works, as far as is known."""

    async def release(self, connection: Connection, *, healthy: bool) -> None:
        """Take it back."""

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

    async def acquire(self) -> Connection:
        await self._slots.acquire()
        try:
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


class ClientConnections:
    """Connections of a pool that the user made, and closes."""

    def __init__(self, pool: asyncpg.Pool[asyncpg.Record]) -> None:
        self._pool = pool

    async def acquire(self) -> Connection:
        return await self._pool.acquire()

    async def release(self, connection: Connection, *, healthy: bool) -> None:
        if not healthy:
            connection.terminate()
        await self._pool.release(connection)

    async def close(self) -> None:
        """Nothing: it is the user's."""

    def abandon(self) -> None:
        """Nothing."""


async def _works(connection: Connection) -> bool:
    try:
        async with asyncio.timeout(_PATIENCE):
            await connection.execute("")
    except (*DRIVER_ERRORS, OSError):
        connection.terminate()
        return False
    return True
