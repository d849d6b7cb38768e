"""The connections of one backend: one for each event loop that uses it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import weakref
from typing import Final

from nats.aio.client import Client

from kv_dict.backends.nats.connecting import GivenConnection, OwnConnection
from kv_dict.backends.nats.connection import Connection
from kv_dict.backends.nats.options import Options

__all__ = ["Connections"]

CLOSE_PATIENCE: Final = 2.0


class Connections:
    """One for each event loop, or the one of the client that was given.

    A loop that ends by ``asyncio.run`` takes its connection with it. A forked child has none of its
    parent's.
    """

    def __init__(self, options: Options, client: Client | None) -> None:
        self._options = options
        self._client = client
        self._given: GivenConnection | None = None
        self._by_loop: dict[asyncio.AbstractEventLoop, OwnConnection] = {}
        _all.add(self)

    def here(self) -> Connection:
        """Return the connection of the running loop; it may still be connecting."""
        if self._client is not None:
            if self._given is None:
                self._given = GivenConnection(self._options.shown, self._client)
            return self._given
        loop = asyncio.get_running_loop()
        connection = self._by_loop.get(loop)
        if connection is None or connection.dead:
            for other in [other for other in tuple(self._by_loop) if other.is_closed()]:
                self._by_loop.pop(other, None)
            connection = OwnConnection(self._options, self._forget)
            self._by_loop[loop] = connection
        return connection

    def _forget(self, connection: OwnConnection) -> None:
        if self._by_loop.get(connection.loop) is connection:
            del self._by_loop[connection.loop]

    async def close(self) -> None:
        """Close all of them, in their own loops; bounded in time."""
        if self._given is not None:
            given, self._given = self._given, None
            await given.end()
        here = asyncio.get_running_loop()
        endings = []
        for connection in tuple(self._by_loop.values()):
            loop = connection.loop
            if loop is here:
                connection.stop()
                endings.append(asyncio.wrap_future(connection.ended))
            elif not loop.is_closed():
                with contextlib.suppress(RuntimeError):  # it was closed just now
                    loop.call_soon_threadsafe(connection.stop)
                    if loop.is_running():
                        endings.append(asyncio.wrap_future(connection.ended))
        if endings:
            await asyncio.wait(endings, timeout=CLOSE_PATIENCE)

    def stop(self) -> None:
        """Have each of them end in its own loop, without waiting; from any thread, at any time."""
        for connection in tuple(self._by_loop.values()):
            with contextlib.suppress(RuntimeError):  # its loop is closed, and took it along
                connection.loop.call_soon_threadsafe(connection.stop)

    def abandon(self) -> object:
        """Forget, in a child, the connections of the parent, without touching their sockets."""
        abandoned = (self._by_loop, self._given)
        self._by_loop, self._given = {}, None
        return abandoned


_all: weakref.WeakSet[Connections] = weakref.WeakSet()
_abandoned: list[object] = []  # never closed: that would end the parent's


def _after_fork_in_child() -> None:
    _abandoned.extend([connections.abandon() for connections in tuple(_all)])


os.register_at_fork(after_in_child=_after_fork_in_child)
