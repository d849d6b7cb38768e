"""Requests and their answers over one client, in one event loop."""

from __future__ import annotations

import asyncio
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import Any, Final, NamedTuple, TypeVar

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import ConnectionClosedError, ConnectionDrainingError, OutboundBufferLimitError

from kv_dict.errors import ConfigurationError, KVDictError, Unavailable

__all__ = ["PATIENCE", "Connection", "NoReply"]

NO_RESPONDERS: Final = "503"
RETRY_PAUSE: Final = 0.05
PATIENCE: Final = 0.5
"""Seconds before a question is asked again, longer each time: whom it went to may be gone,
as the leader of a bucket is while the cluster elects another."""

_NOT_SENT: Final = (OutboundBufferLimitError, ConnectionClosedError, ConnectionDrainingError)
_DENIED: Final = re.compile(r'permissions violation for (\w+).* (?:to|of) "([^"]*)"', re.IGNORECASE)

_Answer = TypeVar("_Answer")


class NoReply(Exception):  # never leaves this package
    """A request was sent, or may have been, and its answer did not come."""


class _Waiting(NamedTuple):
    subject: str
    receive: Callable[[Msg | Exception], None]


class Connection(ABC):
    """What the rest of the backend asks a server with. Belongs to the loop it is made in.

    Requests wait, each to its deadline, until there is a connection. Those whose answer is still
    out when it is lost end at once with `NoReply`.

    Parameters
    ----------
    where : str
        The servers, for messages.

    Attributes
    ----------
    client : Client
        The driver's; another one after a loss.
    cached : tuple of (BucketState, float) or None
        What the bucket's module knows of the bucket; forgotten when the connection is lost.
    on_loss : set of callables
        Called when the connection is lost.
    """

    def __init__(self, where: str) -> None:
        self.where = where
        self.loop = asyncio.get_running_loop()
        self.client = Client()
        self.cached: tuple[Any, float] | None = None
        self.on_loss: set[Callable[[], None]] = set()
        self._waiting: dict[str, _Waiting] = {}
        self._count = 0
        self._inbox = ""

    @abstractmethod
    async def ready(self, deadline: float) -> None:
        """Return when it is connected; `Unavailable` if it is not by the deadline."""

    @property
    @abstractmethod
    def up(self) -> bool:
        """Whether a request can be sent now."""

    @abstractmethod
    async def look(self) -> None:
        """Notice a loss that is known already; what was sent now would have no known outcome."""

    # -- asking ----------------------------------------------------------------------------------

    async def request(
        self,
        subject: str,
        payload: bytes = b"",
        headers: dict[str, str] | None = None,
        *,
        deadline: float,
        patience: float = math.inf,
    ) -> Msg:
        """Send a request once, and return the answer, for which it waits `patience` seconds.

        Raises
        ------
        Unavailable, ConfigurationError
            It was not sent, or refused unread.
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

        return await self._exchange(subject, payload, headers, receive, answer, deadline, patience)

    async def collect(
        self, subject: str, payload: bytes, *, deadline: float, patience: float
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

        headers = await self._exchange(subject, payload, None, receive, end, deadline, patience)
        return answers, headers

    async def _exchange(
        self,
        subject: str,
        payload: bytes,
        headers: dict[str, str] | None,
        receive: Callable[[Msg | Exception], None],
        answer: asyncio.Future[_Answer],
        deadline: float,
        patience: float,
    ) -> _Answer:
        while True:
            if not self.up:
                await self.ready(deadline)
            self._count += 1
            token = str(self._count)
            self._waiting[token] = _Waiting(subject, receive)
            try:
                # Does not wait: what the socket does not take yet is kept, to be sent or dropped.
                await self.client.publish(subject, payload, f"{self._inbox}.{token}", headers)
                break
            except _NOT_SENT:  # it was lost a moment ago; nothing was sent
                del self._waiting[token]
                await asyncio.sleep(0)
            except BaseException:
                self._waiting.pop(token, None)
                raise
        until = min(deadline, self.loop.time() + patience)
        timer = self.loop.call_at(until, receive, NoReply("no answer within the timeout"))
        try:
            return await answer
        finally:
            timer.cancel()
            self._waiting.pop(token, None)

    async def ask(self, subject: str, payload: bytes = b"", *, deadline: float) -> Msg:
        """Send a request that changes nothing, again and again until it is answered.

        Raises
        ------
        Unavailable
            It was not, by the deadline.
        """
        patience = PATIENCE
        while True:
            try:
                answer = await self.request(subject, payload, deadline=deadline, patience=patience)
            except NoReply as error:
                if self.loop.time() >= deadline:
                    raise Unavailable(f"{self.where}: {error}") from None
                patience *= 1.5
                continue
            if not answer.headers or answer.headers.get("Status") != NO_RESPONDERS:
                return answer
            if self.loop.time() + RETRY_PAUSE >= deadline:
                raise Unavailable(
                    f"{self.where}: JetStream does not answer; it has to be enabled "
                    "(nats-server -js), and needs a majority of its servers"
                )
            await asyncio.sleep(RETRY_PAUSE)

    async def publish(
        self, subject: str, payload: bytes = b"", headers: dict[str, str] | None = None
    ) -> None:
        """Send without an answer; `Unavailable` if it cannot be sent."""
        try:
            await self.client.publish(subject, payload, headers=headers)
        except _NOT_SENT as error:
            raise Unavailable(f"{self.where}: the connection was lost") from error

    async def subscribe(
        self, subject: str, callback: Callable[[Msg], Awaitable[None]]
    ) -> Subscription:
        """Subscribe; the callback has to be quick. It ends with the connection."""
        return await self.client.subscribe(
            subject, cb=callback, pending_bytes_limit=0, pending_msgs_limit=0
        )

    # -- for those who define `ready` ------------------------------------------------------------

    async def _listen(self) -> Subscription:
        """Make a new inbox for answers."""
        self._inbox = self.client.new_inbox()
        return await self.subscribe(f"{self._inbox}.*", self._on_reply)

    async def _on_reply(self, message: Msg) -> None:
        waiting = self._waiting.get(message.subject[len(self._inbox) + 1 :])
        if waiting is not None:
            waiting.receive(message)

    def _denied(self, error: Exception) -> KVDictError | None:
        """End the requests that the server refuses to this user; None if that is not what it says.

        It names the subject in lower case, and does not say for which request.
        """
        found = _DENIED.search(str(error))
        if found is None:
            return None
        verb = "subscribe" if found[1].lower() == "subscription" else "publish"
        denied = found[2]
        if verb == "subscribe":
            denied = denied.replace(self._inbox.lower(), self._inbox)
        for waiting in tuple(self._waiting.values()):
            if waiting.subject.lower() == denied.lower():
                denied = waiting.subject
                waiting.receive(self._not_permitted(verb, denied))
        return self._not_permitted(verb, denied)

    def _not_permitted(self, verb: str, subject: str) -> ConfigurationError:
        return ConfigurationError(
            f"{self.where}: this user may not {verb} to {subject}; give it the permission",
            layer="permission",
        )

    def _lost(self) -> None:
        self.cached = None
        waiting, self._waiting = self._waiting, {}
        for request in waiting.values():
            request.receive(NoReply("the connection was lost before the answer came"))
        for tell in tuple(self.on_loss):
            tell()
