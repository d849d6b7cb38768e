"""One client connection in one event loop, and the ones that a backend has in its loops."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import os
import ssl
import weakref
from collections.abc import Callable
from typing import Any, Final

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import ConnectionClosedError, OutboundBufferLimitError
from nats.errors import Error as NatsError

from kv_dict.backends.nats.options import Options
from kv_dict.errors import ClosedError, ConfigurationError, KVDictError, Unavailable

__all__ = ["Connection", "Connections", "NoReply"]

CLOSE_PATIENCE: Final = 2.0
NO_RESPONDERS: Final = "503"
RETRY_PAUSE: Final = 0.05

Receiver = Callable[[Msg | Exception], None]


class NoReply(Exception):  # never leaves this package
    """A request was sent, or may have been, and its answer did not come."""


class Connection:
    """A client that connects, and connects again, by itself. Belongs to the loop it is made in.

    Requests wait, each to its deadline, until it is connected. Those whose answer is still out when
    the connection is lost end at once with `NoReply`.

    Attributes
    ----------
    losses : int
        How often it was lost: who remembers it knows whether it is still the same.
    cached : object
        What the bucket's module knows of the bucket; forgotten when the connection is lost.
    """

    def __init__(self, options: Options, ended: Callable[[Connection], None]) -> None:
        self._options = options
        self._ended = ended
        self.loop = asyncio.get_running_loop()
        self.client = Client()
        self.losses = 0
        self.cached: Any = None
        self.dead = False
        self.ended: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._up = asyncio.Event()
        self._over = asyncio.Event()
        self._failure: KVDictError | None = None
        self._last_error: Exception | None = None
        self._waiting: dict[str, Receiver] = {}
        self._count = 0
        self._inbox = ""
        self.on_loss: set[Callable[[], None]] = set()
        self._task = self.loop.create_task(self._live(), name="kv_dict NATS connection")
        self._task.add_done_callback(self._on_end)

    # -- life ----------------------------------------------------------------------------------

    async def _live(self) -> None:
        """Connect, and stay until stopped. The loop's end cancels it, and that closes it too."""
        try:
            await self.client.connect(
                **self._options.arguments(),
                error_cb=self._on_error,
                disconnected_cb=self._on_disconnected,
                reconnected_cb=self._on_reconnected,
                closed_cb=self._on_closed,
            )
            await self._listen()
            self._up.set()
            await self._over.wait()
        except KVDictError as error:
            self._failure = error
        except ImportError as error:
            self._failure = ConfigurationError(f"{error}: pip install 'kv-dict[nats]'")
        except (OSError, NatsError, ValueError) as error:
            self._failure = Unavailable(f"{self._options.shown}: {error}")
        finally:
            self._finish()
            with contextlib.suppress(Exception):
                async with asyncio.timeout(CLOSE_PATIENCE / 2):
                    await self.client.close()
                    # A client that was cancelled while it closed takes itself for closed.
                    transport: Any = self.client._transport
                    if transport is not None:
                        transport.close()
                        await transport.wait_closed()

    def _finish(self) -> None:
        self.dead = True
        self._ended(self)
        self._lose()
        self._up.set()  # whoever waits for it learns that it is over

    def _on_end(self, task: asyncio.Task[None]) -> None:
        if not self.dead:  # cancelled before it began
            self._finish()
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failure = self._failure or Unavailable(f"{self._options.shown}: {error}")
        self.ended.set_result(None)

    async def _listen(self) -> None:
        self._inbox = self.client.new_inbox()
        await self.client.subscribe(
            f"{self._inbox}.*", cb=self._on_reply, pending_bytes_limit=0, pending_msgs_limit=0
        )

    def stop(self) -> None:
        """Disconnect for good; call it in the connection's loop. `ended` tells when it is done."""
        self._failure = self._failure or ClosedError(f"{self._options.shown} was closed")
        if self.client.is_connected and self._up.is_set():
            self._over.set()
        else:
            self._task.cancel()

    async def _on_error(self, error: Exception) -> None:
        self._last_error = error
        text = str(error).lower()
        if (
            isinstance(error, ssl.SSLCertVerificationError | FileNotFoundError | PermissionError)
            or "authorization" in text
            or "authentication" in text
        ):
            self._failure = ConfigurationError(
                f"{self._options.shown} does not let this program in: {error}; check user, "
                "password_file, token, credentials, nkeys_seed, ca and certificate"
            )
            self._task.cancel()

    async def _on_disconnected(self) -> None:
        self._lose()

    async def _on_reconnected(self) -> None:
        self._up.set()

    async def _on_closed(self) -> None:
        self._over.set()
        if not self._up.is_set():
            self._task.cancel()

    def _lose(self) -> None:
        self.losses += 1
        self.cached = None
        self._up.clear()
        waiting, self._waiting = self._waiting, {}
        for receive in waiting.values():
            receive(NoReply("the connection was lost before the answer came"))
        for tell in tuple(self.on_loss):
            tell()

    # -- use -----------------------------------------------------------------------------------

    async def ready(self, deadline: float) -> None:
        """Return when it is connected.

        Raises
        ------
        Unavailable
            It was not, by the deadline: nothing was sent.
        """
        while not (self._up.is_set() and self.client.is_connected):
            if self.dead:
                raise self._failure or Unavailable(
                    f"{self._options.shown} ended the connection: {self.client.last_error}"
                )
            if self._up.is_set():  # the client knows better, and says so in a moment
                self._up.clear()
                if self.client.is_closed:
                    self._over.set()
            try:
                async with asyncio.timeout_at(deadline):
                    await self._up.wait()
            except TimeoutError:
                why = self._last_error or "no connection within the timeout"
                raise Unavailable(
                    f"{self._options.shown} cannot be reached: {why}; nothing was written"
                ) from self._last_error
        if self.dead:
            raise self._failure or Unavailable(f"{self._options.shown}: the connection has ended")

    async def request(
        self,
        subject: str,
        payload: bytes = b"",
        headers: dict[str, str] | None = None,
        *,
        deadline: float,
    ) -> Msg:
        """Send a request once, and return the answer.

        Raises
        ------
        Unavailable
            It was not sent.
        NoReply
            It was or may have been sent.
        """
        answer: asyncio.Future[Msg] = self.loop.create_future()

        def receive(news: Msg | Exception) -> None:
            if not answer.done():
                if isinstance(news, Exception):
                    answer.set_exception(news)
                else:
                    answer.set_result(news)

        token = await self._send(subject, payload, headers, receive, deadline)
        try:
            async with asyncio.timeout_at(deadline):
                return await answer
        except TimeoutError:
            raise NoReply("no answer within the timeout") from None
        finally:
            self._waiting.pop(token, None)

    async def collect(
        self, subject: str, payload: bytes, *, deadline: float
    ) -> tuple[list[Msg], dict[str, str]]:
        """Send a request with several answers; return them, and the headers of what ended them."""
        answers: list[Msg] = []
        end: asyncio.Future[dict[str, str]] = self.loop.create_future()

        def receive(news: Msg | Exception) -> None:
            if end.done():
                return
            if isinstance(news, Exception):
                end.set_exception(news)
            elif news.headers and "Status" in news.headers:
                end.set_result(news.headers)
            elif not news.headers:  # an error, as JSON
                answers[:] = [news]
                end.set_result({"Status": "error"})
            else:
                answers.append(news)

        token = await self._send(subject, payload, None, receive, deadline)
        try:
            async with asyncio.timeout_at(deadline):
                return answers, await end
        except TimeoutError:
            raise NoReply("no complete answer within the timeout") from None
        finally:
            self._waiting.pop(token, None)

    async def _send(
        self,
        subject: str,
        payload: bytes,
        headers: dict[str, str] | None,
        receive: Receiver,
        deadline: float,
    ) -> str:
        while True:
            if not (self._up.is_set() and self.client.is_connected):
                await self.ready(deadline)
            self._count += 1
            token = str(self._count)
            self._waiting[token] = receive
            try:
                async with asyncio.timeout_at(deadline):
                    await self.client.publish(subject, payload, f"{self._inbox}.{token}", headers)
            except (OutboundBufferLimitError, ConnectionClosedError):
                self._waiting.pop(token, None)  # it was lost a moment ago; nothing was sent
                self._up.clear()
                if self.client.is_closed:
                    self._over.set()
                    await asyncio.sleep(0)
            except TimeoutError:
                self._waiting.pop(token, None)
                raise NoReply("the server did not take the request within the timeout") from None
            else:
                return token

    async def publish(self, subject: str, payload: bytes, headers: dict[str, str]) -> None:
        """Send without an answer; `Unavailable` if it cannot be sent."""
        try:
            await self.client.publish(subject, payload, headers=headers)
        except (OutboundBufferLimitError, ConnectionClosedError) as error:
            raise Unavailable(f"{self._options.shown}: the connection was lost") from error

    async def ask(self, subject: str, payload: bytes = b"", *, deadline: float) -> Msg:
        """Send a request that changes nothing, again and again until it is answered.

        Raises
        ------
        Unavailable
            It was not, by the deadline.
        """
        while True:
            try:
                answer = await self.request(subject, payload, deadline=deadline)
            except NoReply as error:
                if self.loop.time() >= deadline:
                    raise Unavailable(f"{self._options.shown}: {error}") from None
                continue
            if not answer.headers or answer.headers.get("Status") != NO_RESPONDERS:
                return answer
            if self.loop.time() + RETRY_PAUSE >= deadline:
                raise Unavailable(
                    f"{self._options.shown}: JetStream does not answer; it has to be enabled "
                    "(nats-server -js), and needs a majority of its servers"
                )
            await asyncio.sleep(RETRY_PAUSE)

    async def subscribe(self, subject: str, callback: Any) -> Subscription:
        """Subscribe; the callback has to be quick."""
        return await self.client.subscribe(
            subject, cb=callback, pending_bytes_limit=0, pending_msgs_limit=0
        )

    async def _on_reply(self, message: Msg) -> None:
        receive = self._waiting.get(message.subject[len(self._inbox) + 1 :])
        if receive is not None:
            receive(message)


class _Given(Connection):
    """A client that the user connected, and will close."""

    def __init__(self, options: Options, client: Client, ended: Callable[[Connection], None]):
        self._given = client
        super().__init__(options, ended)
        self.client = client

    async def _live(self) -> None:
        listening: Subscription | None = None
        try:
            self._inbox = self.client.new_inbox()
            listening = await self.subscribe(f"{self._inbox}.*", self._on_reply)
            self._up.set()
            await self._over.wait()
        except NatsError as error:
            self._failure = Unavailable(f"{self._options.shown}: {error}")
        finally:
            self._finish()
            if listening is not None:
                with contextlib.suppress(Exception):
                    await listening.unsubscribe()


class Connections:
    """The connections of one backend, one for each event loop that uses it.

    A loop that ends by ``asyncio.run`` takes its connection with it. A forked child has none of its
    parent's.
    """

    def __init__(self, options: Options, client: Client | None) -> None:
        self._options = options
        self._client = client
        self._by_loop: dict[asyncio.AbstractEventLoop, Connection] = {}
        _all.add(self)

    def here(self) -> Connection:
        """Return the connection of the running loop; it may still be connecting."""
        loop = asyncio.get_running_loop()
        connection = self._by_loop.get(loop)
        if connection is None or connection.dead:
            for other in [other for other in tuple(self._by_loop) if other.is_closed()]:
                self._by_loop.pop(other, None)
            connection = (
                Connection(self._options, self._forget)
                if self._client is None
                else _Given(self._options, self._client, self._forget)
            )
            self._by_loop[loop] = connection
        return connection

    def _forget(self, connection: Connection) -> None:
        if self._by_loop.get(connection.loop) is connection:
            del self._by_loop[connection.loop]

    async def close(self) -> None:
        """Close all of them, in their own loops; bounded in time."""
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

    def abandon(self) -> object:
        """Forget, in a child, the connections of the parent, without touching their sockets."""
        abandoned, self._by_loop = self._by_loop, {}
        return abandoned


_all: weakref.WeakSet[Connections] = weakref.WeakSet()
_abandoned: list[object] = []  # never closed: that would end the parent's


def _after_fork_in_child() -> None:
    _abandoned.extend([connections.abandon() for connections in tuple(_all)])


os.register_at_fork(after_in_child=_after_fork_in_child)
