"""Telling programs what changes: callbacks in threads of their own, and asynchronous iteration."""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import AsyncGenerator, Callable, Sequence
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
        self._active.pop(token).close()

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
            while not self._closed:
                ready.clear()
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
        for token in tuple(self._active):
            self.unsubscribe(token)
        for wake in tuple(self._iterators):
            wake()


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
        self._ready = threading.Event()
        self._ended = False
        self._feed = feed(self._ready.set)
        name = getattr(callback, "__qualname__", type(callback).__name__)
        self._thread = threading.Thread(
            target=self._run, name=f"kv_dict subscription {name}", daemon=True
        )
        self._ready.set()
        self._thread.start()

    def close(self) -> None:
        """Call nothing more; wait a moment for a call that is under way."""
        self._ended = True
        self._feed.close()
        self._ready.set()
        if threading.current_thread() is not self._thread:
            self._thread.join(CLOSE_TIMEOUT)

    def _run(self) -> None:
        while True:
            self._ready.wait()
            self._ready.clear()
            for change in self._feed.take():
                if self._ended:
                    return
                self._call(change)
            if self._ended:
                return

    def _call(self, change: Change) -> None:
        try:
            self._callback(change)
        except Exception:  # noqa: BLE001 - one subscriber's mistake, told and survived
            _log.exception("a subscriber failed on the change of %r; it stays", change.key)
