"""A TCP proxy in front of a server that fails as networks do, or that speaks TLS for it."""

from __future__ import annotations

import asyncio
import ssl
import threading
from contextlib import suppress
from typing import Any, Final

from kv_dict.closing import Closing

__all__ = ["FaultProxy"]

_PIECE: Final = 1 << 16
_PATIENCE: Final = 10.0
_LOOK: Final = 0.05


class FaultProxy(Closing):
    """Passes connections to a server's port, until told otherwise. Runs in a thread of its own.

    Thread-safe.

    Parameters
    ----------
    port : int
        Of the server, on 127.0.0.1.
    tls : ssl.SSLContext, optional
        Speak TLS with the clients, and plain text with the server.

    Attributes
    ----------
    port : int
        Where clients connect, on 127.0.0.1.
    server_port : int
        May be changed: new connections then go elsewhere.
    connections : int
        How many it has accepted so far.

    Examples
    --------
    >>> import socket
    >>> with socket.create_server(("127.0.0.1", 0)) as server:
    ...     with FaultProxy(server.getsockname()[1]) as proxy:
    ...         proxy.black_hole()  # what is sent is swallowed, both ways, with no word of it
    ...         proxy.heal()        # as before; connections that lost bytes are cut
    ...         proxy.cut()         # every connection breaks; new ones are passed on
    """

    def __init__(self, port: int, tls: ssl.SSLContext | None = None) -> None:
        self.server_port = port
        self.connections = 0
        self._tls = tls
        self._swallowing = False
        self._answers_left: int | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="kv_dict fault proxy", daemon=True
        )
        self._thread.start()
        self._server: asyncio.Server = self._there(self._listen())
        self.port: int = self._server.sockets[0].getsockname()[1]

    # -- faults ----------------------------------------------------------------------------------

    @property
    def idle(self) -> bool:
        """Whether nobody is connected."""
        return not self._writers

    def black_hole(self) -> None:
        """Swallow everything in both directions from now on; connections stay open."""
        self._swallowing = True

    def cut(self) -> None:
        """Break every connection, as a restarted router does; new ones are passed on."""
        self._there(self._abort())

    def cut_answers(self, after: int = 0) -> None:
        """Deliver requests, but break the connection in place of an answer, until `heal`.

        Parameters
        ----------
        after : int
            So many answers, pieces of what the server sends, are still delivered.
        """
        self._answers_left = after

    def heal(self) -> None:
        """Pass everything again. Connections that lost bytes are cut: they could not go on."""
        lost, self._swallowing, self._answers_left = self._swallowing, False, None
        if lost:
            self.cut()

    # -- life ------------------------------------------------------------------------------------

    def close(self) -> None:
        """Break every connection and end the thread. Idempotent."""
        if self._loop.is_closed():
            return

        async def end() -> None:
            self._server.close()
            # Not by cancelling: that of a connection just accepted would be logged as an error.
            while tasks := asyncio.all_tasks() - {asyncio.current_task()}:
                await self._abort()
                await asyncio.wait(tasks, timeout=_LOOK)

        self._there(end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_PATIENCE)
        self._loop.close()

    # -- in the loop's thread --------------------------------------------------------------------

    def _there(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_PATIENCE)

    async def _listen(self) -> asyncio.Server:
        return await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)

    async def _abort(self) -> None:
        for writer in tuple(self._writers):
            writer.transport.abort()
        await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        try:
            inside = await asyncio.open_connection("127.0.0.1", self.server_port)
            self._writers.add(inside[1])
            try:
                async with asyncio.TaskGroup() as pumps:
                    pumps.create_task(self._pump(reader, inside[1], answers=False))
                    pumps.create_task(self._pump(inside[0], writer, answers=True))
            finally:
                self._writers.discard(inside[1])
                inside[1].transport.abort()
        except OSError:
            pass  # no server: the client finds its connection broken
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    async def _pump(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, *, answers: bool
    ) -> None:
        with suppress(OSError):
            while data := await source.read(_PIECE):
                if self._swallowing:
                    continue
                if answers and self._answers_left is not None:
                    if self._answers_left == 0:
                        break
                    self._answers_left -= 1
                target.write(data)
                await target.drain()
        # Both ends go: what is in the one direction alone is of no use to these protocols. What was
        # passed already is delivered first.
        target.close()
