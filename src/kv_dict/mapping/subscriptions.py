"""Telling programs what changes: callbacks in threads of their own, and asynchronous iteration."""

from __future__ import annotations

import itertools
import logging
import queue
import threading
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import suppress
from typing import Final

from kv_dict.mapping.feed import Change, Feed, Source

__all__ = ["Subscriptions"]

_log = logging.getLogger("kv_dict")

CLOSE_TIMEOUT: Final = 1.0


class Subscriptions:
    """The subscriptions of one mapping. Thread-safe; a forked child has none.

    Parameters
    ----------
    sources : sequence of Source
        What is followed, as for `Feed`.
    is_lowest : callable, optional
        As for `Feed`.
    """

    def __init__(
        self, sources: Sequence[Source], is_lowest: Callable[[str], bool] = lambda name: False
    ) -> None:
        self._sources = sources
        self._is_lowest = is_lowest
        self._closed = False
        self._tokens = itertools.count()
        self._active: dict[int, _Subscription] = {}
        self._iterators: set[Callable[[], object]] = set()

    def subscribe(
        self,
        owner: object,
        callback: Callable[[Change], object],
        key: str | None,
        prefix: str | None,
        initial: bool,
    ) -> int:
        """Have `callback` called; see `RemoteKVMapping.subscribe`."""
        if not callable(callback):
            raise TypeError(f"callback must be callable, not {type(callback).__name__}")
        token = next(self._tokens)
        self._active[token] = _Subscription(
            owner, callback, lambda wake: self.feed(key, prefix, initial, wake)
        )
        if self._closed:  # meanwhile, and `close` may not have seen it
            self.close()
            self._sources[0].scope.check_open()
        return token

    def feed(
        self, key: str | None, prefix: str | None, initial: bool, wake: Callable[[], object]
    ) -> Feed:
        """Return what has to be told, to be taken at one's own pace; see `RemoteKVMapping.feed`."""
        if not callable(wake):
            raise TypeError(f"wake must be callable, not {type(wake).__name__}")
        return Feed(self._sources, key, prefix, initial, wake, self._is_lowest)

    def unsubscribe(self, token: int) -> None:
        """End one; KeyError if there is none of that token."""
        subscription = self._active.pop(token)
        subscription.end()
        subscription.join(CLOSE_TIMEOUT)

    async def changes(
        self, key: str | None, prefix: str | None, initial: bool
    ) -> AsyncGenerator[Change, None]:
        """Yield changes; see `RemoteKVMapping.changes`."""
        import asyncio  # noqa: PLC0415 - who is here has it imported

        loop, ready = asyncio.get_running_loop(), asyncio.Event()

        def wake() -> None:
            if not ready.is_set() and not loop.is_closed():
                loop.call_soon_threadsafe(ready.set)

        for source in self._sources:  # may have to wait for the store
            await asyncio.to_thread(source.follow)
        feed = self.feed(key, prefix, initial, wake)
        self._iterators.add(wake)
        try:
            while True:
                ready.clear()
                if self._closed:  # after clearing: what `close` sets from here on is seen
                    return
                for change in feed.take():
                    yield change
                    if self._closed:
                        return
                await ready.wait()
        finally:
            self._iterators.discard(wake)
            feed.close()

    def close(self) -> None:
        """End all of them."""
        self._closed = True
        ended = []
        while self._active:
            with suppress(KeyError):  # others end them too, each its own
                ended.append(self._active.popitem()[1])
                ended[-1].end()
        for wake in tuple(self._iterators):
            wake()
        deadline = time.monotonic() + CLOSE_TIMEOUT
        for subscription in ended:
            subscription.join(max(0.0, deadline - time.monotonic()))


class _Subscription:
    """One callback, and the thread that calls it; keeps the mapping that it belongs to alive."""

    def __init__(
        self,
        owner: object,
        callback: Callable[[Change], object],
        feed: Callable[[Callable[[], object]], Feed],
    ) -> None:
        self._owner = owner
        self._callback = callback
        # Not an Event: a Ctrl-C in its set(), by a write, would leave its lock behind.
        self._ready: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._ended = False
        self._feed = feed(self._wake)
        name = getattr(callback, "__qualname__", type(callback).__name__)
        self._thread = threading.Thread(
            target=self._run, name=f"kv_dict subscription {name}", daemon=True
        )
        self._wake()
        self._thread.start()

    def end(self) -> None:
        """Call nothing more."""
        self._ended = True
        self._feed.close()
        self._wake()

    def join(self, timeout: float) -> None:
        """Wait for a call that is under way, unless this is it."""
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout)

    def _wake(self) -> None:
        if self._ready.empty():
            self._ready.put(None)

    def _run(self) -> None:
        while True:
            self._ready.get()
            for change in self._feed.take():
                if self._ended:
                    return
                self._call(change)
            if self._ended:
                return

    def _call(self, change: Change) -> None:
        try:
            self._callback(change)
        except BaseException:  # noqa: BLE001 - sys.exit() too ends no thread that others rely on
            _log.exception("a subscriber failed on the change of %r; it stays", change.key)
