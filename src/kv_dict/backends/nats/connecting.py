"""Making connections, and making them again: a client of one's own, or one that was given."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import copy
import random
import ssl
from collections.abc import Callable
from typing import Final

from nats.aio.client import Client
from nats.errors import Error as NatsError

from kv_dict.backends.nats.client import OneConnection
from kv_dict.backends.nats.connection import Connection
from kv_dict.backends.nats.options import Options
from kv_dict.errors import ClosedError, ConfigurationError, KVDictError, Unavailable

__all__ = ["GivenConnection", "OwnConnection"]

RETRY_PAUSE: Final = 0.1
"""Seconds from one attempt to connect to the next."""

LOOK: Final = 0.02
"""Seconds between two looks whether somebody else's client is connected."""

_PASSING: Final = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)


class OwnConnection(Connection):
    """Connects by itself, for ever: after a loss with a new client, to the next server.

    Attributes
    ----------
    dead : bool
        It has ended for good; `ready` says why.
    ended : concurrent.futures.Future
        Done when nothing of it is left.
    """

    def __init__(self, options: Options, forget: Callable[[OwnConnection], None]) -> None:
        super().__init__(options.shown)
        self._options = options
        self._forget = forget
        self._servers = random.sample(options.servers, len(options.servers))
        self._change = asyncio.Event()
        self._up = False
        self._own: OneConnection | None = None
        self._last_error: Exception | None = None
        self._end: KVDictError | None = None
        self.dead = False
        self.ended: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._task = self.loop.create_task(self._live(), name="kv_dict NATS connection")
        self._task.add_done_callback(self._on_end)

    @property
    def up(self) -> bool:
        return self._up and self.client.is_connected

    async def ready(self, deadline: float) -> None:
        while not self.up:
            if self.dead:
                why = self._end or Unavailable(f"{self.where}: the connection has ended")
                raise copy.copy(why)  # each of those who wait gets one of its own
            self._change.clear()
            try:
                async with asyncio.timeout_at(deadline):
                    await self._change.wait()
            except TimeoutError:
                raise Unavailable(
                    f"{self.where} cannot be reached: "
                    f"{self._last_error or 'no connection within the timeout'}"
                ) from self._last_error

    def stop(self) -> None:
        """Disconnect for good; call it in the connection's loop. `ended` tells when it is done."""
        self._end = self._end or ClosedError(f"{self.where} was closed")
        self._task.cancel()

    async def look(self) -> None:
        await asyncio.sleep(0)  # the loop asks the system for news of the socket,
        await asyncio.sleep(0)  # and gets to them after what was waiting already
        if self._up and self._own is not None and self._own.broken:
            self._own.lost.set()
            self._up = False

    # -- life ------------------------------------------------------------------------------------

    async def _live(self) -> None:
        """Stay connected until stopped. The loop's end cancels it, and that disconnects too."""
        while True:
            server = self._servers.pop(0)
            self._servers.append(server)
            try:
                await self._stay(server)
            except KVDictError as error:
                self._end = error
                return
            except ImportError as error:
                self._end = ConfigurationError(f"{error}: pip install 'kv-dict[nats]'")
                return
            except (OSError, NatsError, ValueError) as error:
                self._last_error = error
                if refusal := self._refusal(server, error):
                    self._end = refusal
                    return
            await asyncio.sleep(RETRY_PAUSE / len(self._servers))

    async def _stay(self, server: str) -> None:
        """Connect to `server`, and return when that connection is lost."""
        client = OneConnection(secure=self._options.secure)
        try:
            await client.begin(server, self._options, self._on_error)
            self.client = self._own = client
            await self._listen()
            self._up = True
            self._change.set()
            await client.lost.wait()
            self._last_error = client.last_error or self._last_error
        finally:
            self._up = False
            self._lost()
            await client.hang_up()

    def _refusal(self, server: str, error: Exception) -> KVDictError | None:
        """Return what an error means if there is no use in trying again."""
        text = str(error)
        if isinstance(error, ssl.SSLError) and not isinstance(error, _PASSING):
            why = getattr(error, "verify_message", "") or error.reason or text
            return ConfigurationError(
                f"{server}: no TLS connection: {why}; check ca_file, cert_file and key_file, and "
                "that the server's certificate names this host",
                layer="tls",
            )
        if "authorization" in text.lower() or "authentication" in text.lower():
            return ConfigurationError(
                f"{self.where} does not let this program in: {text}; check user, password_file, "
                "token, credentials_file, nkey_seed_file and cert_file",
                layer="login",
            )
        return None

    def _on_end(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._end = self._end or Unavailable(f"{self.where}: {error}")
        self.dead = True
        self._forget(self)
        self._lost()
        self._change.set()
        self.ended.set_result(None)

    # -- what the driver tells -------------------------------------------------------------------

    async def _on_error(self, error: Exception) -> None:
        self._last_error = error
        denied = self._denied(error)
        if denied is not None and self._inbox.lower() in str(error).lower():
            self._end = denied  # no answer will ever come
            self._task.cancel()


class GivenConnection(Connection):
    """A client that the user connected, and that finds its server again, or is closed, by itself.

    It has the user's callbacks, none of ours: whether it is connected has to be looked at.
    """

    def __init__(self, where: str, client: Client) -> None:
        super().__init__(where)
        self.client = client
        self._lock = asyncio.Lock()

    @property
    def up(self) -> bool:
        return bool(self._inbox) and self.client.is_connected

    async def ready(self, deadline: float) -> None:
        while not self.client.is_connected:
            if self.client.is_closed:
                raise ClosedError(f"{self.where}: the client that was given is closed")
            if self.loop.time() + LOOK >= deadline:
                raise Unavailable(f"{self.where}: the client that was given is not connected")
            await asyncio.sleep(LOOK)
        async with self._lock:
            if not self._inbox:
                self._listening = await self._listen()

    async def look(self) -> None:
        await asyncio.sleep(0)  # the driver notices by itself

    async def end(self) -> None:
        """Leave the client as it was."""
        self._lost()
        if self._inbox and not self.client.is_closed:
            with contextlib.suppress(NatsError):
                await self._listening.unsubscribe()
