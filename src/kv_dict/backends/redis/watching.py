"""One watch: its own connection, told of every change under its prefix, repaired when it is lost.

The connection is that of `Session`. Questions are asked in a worker thread, because they may wait;
between them the loop reads what the server pushes, so that a slow consumer leaves nothing waiting
in the server: names of changed keys are kept, once each, and asked for when the consumer is ready.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from typing import Final, TypeVar

from kv_dict.backends.delivered import Delivered
from kv_dict.backends.redis.index import Refused
from kv_dict.backends.redis.link import Lost
from kv_dict.backends.redis.session import Session, entry
from kv_dict.backends.redis.settings import Settings
from kv_dict.errors import KVDictError, Unavailable
from kv_dict.model import Deletion, Entry, Stale, Synced, WatchEvent

__all__ = ["Watch"]

_Result = TypeVar("_Result")

HEARTBEAT: Final = 1.0
PATIENCE: Final = 2.0
"""Seconds that an answer may take."""

SNAPSHOT_PATIENCE: Final = 15.0
PAUSE: Final = 0.2
MAX_CHANGED: Final = 10_000


class Watch:
    """Follows one prefix for one consumer. Belongs to the loop that it is made in."""

    def __init__(self, settings: Settings, prefix: str, check_open: Callable[[], None]) -> None:
        self._settings = settings
        self._prefix = prefix
        self._check_open = check_open
        self._loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()
        self._session: Session | None = None
        self._lost: Lost | None = None

    def wake(self) -> None:
        """Have it look whether the backend was closed; from any thread."""
        with suppress(RuntimeError):  # the loop is closed, and the watch with it
            self._loop.call_soon_threadsafe(self._wake.set)

    async def events(self) -> AsyncGenerator[WatchEvent, None]:
        """Yield as `Backend.watch` says."""
        delivered = Delivered()
        fresh = time.time()
        stale = synced = False
        try:
            while True:
                try:
                    entries = await self._begin()
                    for event in delivered.difference(entries):
                        yield event
                    yield Synced()
                    stale, synced = False, True
                    while True:
                        fresh = time.time()
                        everything, changes = await self._news()
                        if everything is not None:
                            for event in delivered.difference(everything):
                                yield event
                        for event in delivered.changes(changes):
                            yield event
                except (Lost, Refused, KVDictError) as error:
                    self._check_open()
                    if not (synced or isinstance(error, Lost | Refused | Unavailable)):
                        raise  # what cannot work has to be said; later it may be temporary
                    if not stale:
                        stale = True
                        yield Stale(fresh, f"{self._settings.url}: {error}")
                self._end()
                await self._wait(PAUSE)
                self._check_open()
        finally:
            self._end()

    # -- the connection --------------------------------------------------------------------------

    async def _begin(self) -> list[Entry]:
        self._lost = None
        self._session = await asyncio.to_thread(Session, self._settings, PATIENCE, watching=True)
        self._check_open()
        return await self._everything()

    async def _everything(self) -> list[Entry]:
        session = self._session
        assert session is not None  # noqa: S101 - `_begin` came before
        return await self._ask(
            lambda: session.snapshot(self._prefix, time.monotonic() + SNAPSHOT_PATIENCE)
        )

    def _end(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            self._loop.remove_reader(session.link.fileno())
            session.link.close()

    async def _ask(self, question: Callable[[], _Result]) -> _Result:
        """Return the answer to a question on the connection, and then listen again."""
        session = self._session
        assert session is not None  # noqa: S101 - `_begin` came before
        self._loop.remove_reader(session.link.fileno())
        answer = await asyncio.to_thread(question)
        self._listen()
        self._loop.add_reader(session.link.fileno(), self._listen)
        return answer

    def _listen(self) -> None:
        session = self._session
        if session is None:
            return
        try:
            session.link.collect()
        except Lost as lost:
            self._lost = lost
            self._loop.remove_reader(session.link.fileno())
        changed = session.index.changed
        if changed is not None and len(changed) > MAX_CHANGED:
            session.index.changed = None
        if self._lost or session.index.changed is None or session.index.changed:
            self._wake.set()

    async def _wait(self, seconds: float) -> bool:
        """Return at the next news, or after some seconds; whether there were any."""
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            return False
        self._wake.clear()
        return True

    async def _news(self) -> tuple[list[Entry] | None, list[Entry | Deletion]]:
        """Return all entries if anything may have changed, and what is known to have changed."""
        session = self._session
        assert session is not None  # noqa: S101 - `_begin` came before
        while True:
            heard = await self._wait(HEARTBEAT)
            self._check_open()
            if self._lost is not None:
                raise self._lost
            changed, session.index.changed = session.index.changed, set()
            by = time.monotonic() + PATIENCE
            if changed is None or not session.index.tracking:
                return await self._everything(), []
            keys = [key for key in changed if key.startswith(self._prefix)]
            if keys:
                found = await self._ask(lambda keys=keys, by=by: session.values(keys, by))  # type: ignore[misc]
                return None, [entry(k, found[k]) if k in found else Deletion(k) for k in keys]
            if not heard:
                await self._ask(lambda by=by: session.ask(by, b"PING"))  # type: ignore[misc]
                return None, []
