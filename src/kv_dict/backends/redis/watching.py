"""One watch: its own connection, told of every change under its prefix, repaired when it is lost.

The connection is that of `Session`. The loop reads what the server pushes, so that a slow consumer
leaves nothing waiting in the server: names of changed keys are kept, once each, and asked for when
the consumer is ready. Connecting and searching may wait, and are done in a worker thread.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Collection, Iterator, Sequence
from contextlib import suppress
from typing import Any, Final

from kv_dict.backends.redis.index import Refused
from kv_dict.backends.redis.link import Lost
from kv_dict.backends.redis.resp import NOTHING, ErrorReply, pack
from kv_dict.backends.redis.routes import Route
from kv_dict.backends.redis.session import Session, entry
from kv_dict.errors import KVDictError, Unavailable
from kv_dict.model import Changes, Deletion, Entry, Snapshot, Stale, WatchEvent

__all__ = ["Watch"]

HEARTBEAT: Final = 1.0
PATIENCE: Final = 2.0
"""Seconds that an answer may take."""

SNAPSHOT_PATIENCE: Final = 15.0
SEARCH: Final = 60.0
"""Seconds between two searches: for what no server tells of, such as SWAPDB."""

PAUSE: Final = 0.2
MAX_CHANGED: Final = 10_000
REQUEST: Final = 1 << 14


class Watch:
    """Follows one prefix for one consumer. Belongs to the loop that it is made in.

    Attributes
    ----------
    told : bool
        The server tells it of every change: it need not be woken for those of this process.
    """

    def __init__(self, route: Route, prefix: str, check_open: Callable[[], None]) -> None:
        self.told = False
        self._route = route
        self._prefix = prefix
        self._check_open = check_open
        self._loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()
        self._session: Session | None = None
        self._lost: Lost | None = None
        self._answer: asyncio.Future[Any] | None = None
        self._search_at = 0.0

    def wake(self, keys: Collection[str] = ()) -> None:
        """Have it look whether the backend was closed, or keys changed; from any thread."""
        with suppress(RuntimeError):  # the loop is closed, and the watch with it
            self._loop.call_soon_threadsafe(self._note, keys)

    def _note(self, keys: Collection[str]) -> None:
        session = self._session
        if session is not None and session.index.changed is not None:
            session.index.changed.update(keys)
        self._wake.set()

    async def events(self) -> AsyncGenerator[WatchEvent, None]:
        """Yield as `Backend.watch` says."""
        fresh = time.time()
        stale = begun = False
        try:
            while True:
                try:
                    yield await self._begin()
                    stale, begun = False, True
                    while True:
                        fresh = time.time()
                        if (news := await self._news()) is not None:
                            yield news
                except (Lost, Refused, KVDictError) as error:
                    self._check_open()
                    if not (begun or isinstance(error, Lost | Refused | Unavailable)):
                        raise  # what cannot work has to be said; later it may be temporary
                    if not stale:
                        stale = True
                        named = isinstance(error, KVDictError)  # the others know of no server
                        yield Stale(fresh, str(error) if named else f"{self._route.url}: {error}")
                self._end()
                await self._wait(PAUSE)
                self._check_open()
        finally:
            self._end()

    # -- the connection --------------------------------------------------------------------------

    async def _begin(self) -> Snapshot:
        self._lost = None
        self._session = await asyncio.to_thread(Session, self._route, PATIENCE, watching=True)
        self._check_open()
        return await self._everything()

    def _end(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            self._loop.remove_reader(session.link.fileno())
            session.link.close()

    async def _everything(self) -> Snapshot:
        """Return all entries, found by searching: in a thread, because that may take long."""
        session, asked = self._here(), time.monotonic()
        session.index.doubt()
        self._loop.remove_reader(session.link.fileno())
        entries = await asyncio.to_thread(
            lambda: session.snapshot(self._prefix, time.monotonic() + SNAPSHOT_PATIENCE)
        )
        self.told = session.index.tracking
        self._search_at = time.monotonic() + (SEARCH if self.told else HEARTBEAT)
        self._loop.add_reader(session.link.fileno(), self._listen)
        self._listen()
        return Snapshot(tuple(entries), asked=asked)

    async def _ask(self, *parts: bytes) -> Any:
        """Return the reply to a command, while listening goes on."""
        link = self._here().link
        answer = self._answer = self._loop.create_future()
        # It does not wait: all questions before it were read, and this one is small.
        link.send(pack(*parts), time.monotonic() + PATIENCE)
        try:
            async with asyncio.timeout(PATIENCE):
                reply = await answer
        except TimeoutError:
            raise Lost("no answer in time", late=True) from None
        if type(reply) is ErrorReply:
            raise Refused(reply)
        return reply

    def _listen(self) -> None:
        session = self._session
        if session is None:
            return
        try:
            reply = session.link.take()
            if reply is not NOTHING and self._answer is not None and not self._answer.done():
                self._answer.set_result(reply)
                reply = session.link.take()
            session.link.expect_nothing(reply)
        except Lost as lost:
            self._lost = lost
            self._loop.remove_reader(session.link.fileno())
            if self._answer is not None and not self._answer.done():
                self._answer.set_exception(lost)
        changed = session.index.changed
        if changed is not None and len(changed) > MAX_CHANGED:
            session.index.changed = None
        if self._lost or session.index.changed is None or session.index.changed:
            self._wake.set()

    def _here(self) -> Session:
        assert self._session is not None  # noqa: S101 - `_begin` came before
        return self._session

    # -- news ------------------------------------------------------------------------------------

    async def _wait(self, seconds: float) -> bool:
        """Return at the next news, or after some seconds; whether there were any."""
        if not self._wake.is_set():
            try:
                async with asyncio.timeout(seconds):
                    await self._wake.wait()
            except TimeoutError:
                return False
        self._wake.clear()
        return True

    async def _news(self) -> Snapshot | Changes | None:
        """Return what has changed, or everything if that is not known; None if nothing has."""
        session = self._here()
        while True:
            heard = await self._wait(HEARTBEAT)
            self._check_open()
            if self._lost is not None:
                raise self._lost
            changed, session.index.changed = session.index.changed, set()
            if changed is None or time.monotonic() > self._search_at:
                return await self._everything()
            keys = [key for key in changed if key.startswith(self._prefix)]
            if keys:
                asked = time.monotonic()
                return Changes(await self._values(keys), asked)
            if not heard:
                await self._ask(*session.probe)
                return None

    async def _values(self, keys: Sequence[str]) -> tuple[Entry | Deletion, ...]:
        found: list[Entry | Deletion] = []
        for some in batches(keys):
            values = await self._ask(b"MGET", *[key.encode() for key in some])
            found += [
                Deletion(key) if value is None else entry(key, value)
                for key, value in zip(some, values, strict=True)
            ]
        return tuple(found)


def batches(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    """Yield runs of `keys`, each for a command that an empty buffer of a socket takes at once."""
    first = size = 0
    for at, key in enumerate(keys):
        size += 4 * len(key) + 16
        if size > REQUEST and at > first:
            yield keys[first:at]
            first, size = at, 4 * len(key) + 16
    yield keys[first:]
