"""Telling programs what changes: callbacks in threads of their own, and asynchronous iteration.

A feed stands between the replica and each consumer. The replica puts every change into it, in
order, and waits for nobody; the consumer takes them at its own pace. What a slow one has not taken
is merged by key once it is much, so that it costs bounded memory and still learns the last state.
"""

from __future__ import annotations

import itertools
import logging
import queue
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from kv_dict.errors import ConfigurationError, DecodeError
from kv_dict.keys import check_key
from kv_dict.mapping.stored import Stored
from kv_dict.model import Deletion, Entry, Revision
from kv_dict.replica import Group, Replica

if TYPE_CHECKING:
    from kv_dict.mapping.scope import Scope

__all__ = ["Change", "Feed", "Subscriptions"]

_log = logging.getLogger("kv_dict")

MAX_PENDING: Final = 10_000
"""Changes that a consumer may leave untaken before they are merged by key."""

CLOSE_TIMEOUT: Final = 1.0


@dataclass(frozen=True, slots=True)
class Change:
    """One item of a mapping became another, or went.

    Attributes
    ----------
    key : str
        The key of the mapping.
    kind : {"put", "delete"}
        Whether the item is there now.
    value : object
        The new value, plain and detached; None for a deletion.
    previous : object
        What this subscriber was told last, or what was there when it subscribed; None if nothing.
    revision : int, str, bytes or None
        The store's token of the new state, if it has one.
    time : float or None
        When it was written, in seconds since the epoch by the store's clock; of one's own writes by
        this computer's. None where the store does not know.
    initial : bool
        Part of what was there at the subscription.
    """

    key: str
    kind: Literal["put", "delete"]
    value: Any = None
    previous: Any = None
    revision: Revision | None = None
    time: float | None = None
    initial: bool = field(default=False, kw_only=True)


class _Pending(NamedTuple):
    key: str
    group: Group
    news: Entry | Deletion | None  # None: initial


class Feed:
    """What one consumer has still to be told.

    Parameters
    ----------
    scope : Scope
        What is followed.
    key, prefix : str or None
        Tell only of this key, or of keys that start so.
    initial : bool
        Begin with what is there.
    wake : callable
        Called, from any thread and often, when there is something to take, or when the store was
        lost or found again.
    """

    def __init__(
        self,
        scope: Scope,
        key: str | None,
        prefix: str | None,
        initial: bool,
        wake: Callable[[], object],
    ) -> None:
        if key is not None and prefix is not None:
            raise ConfigurationError("key= and prefix=: choose one")
        self._scope = scope
        self._key = None if key is None else check_key(key)
        self._prefix = None if prefix is None else check_key(prefix)
        self._wake = wake
        self._pending: deque[_Pending] = deque()
        self._limit = MAX_PENDING
        self._told: dict[str, Group] = {}
        self.replica: Replica = scope.follow()
        begin = self._present if initial else self._skip
        self.replica.listen(self._note, begin, self._stir)

    def close(self) -> None:
        """Take note of nothing more."""
        self.replica.unlisten(self._note, self._stir)
        self._pending.clear()

    def take(self) -> Iterator[Change]:
        """Yield what there is to tell, in order; one consumer at a time."""
        while True:
            try:
                name, group, news = self._pending.popleft()
            except IndexError:
                self._limit = MAX_PENDING
                return
            before = self._told.get(name, ())
            if group:
                self._told[name] = group
            else:
                self._told.pop(name, None)
            there, value = self._value(name, group)
            was, previous = self._value(name, before)
            if not there and not was:
                continue
            of = news if news is not None else group[-1]
            kind: Literal["put", "delete"] = "put" if there else "delete"
            yield Change(name, kind, value, previous, of.revision, of.time, initial=news is None)

    def unreadable(self, name: str) -> DecodeError | None:
        """Return why an item that was told as deleted cannot be read, if it is there after all."""
        group = self._told.get(name, ())
        try:
            if group:
                Stored(name, group, self._scope.space, self._scope.codec).value()
        except DecodeError as error:
            return error
        return None

    def _concerns(self, name: str) -> bool:
        if self._key is not None:
            return name == self._key
        return self._prefix is None or name.startswith(self._prefix)

    def _present(self, groups: dict[str, Group]) -> None:
        self._pending.extend(
            _Pending(name, group, None)
            for name, group in sorted(groups.items())
            if self._concerns(name)
        )

    def _skip(self, groups: dict[str, Group]) -> None:
        self._told.update((name, group) for name, group in groups.items() if self._concerns(name))

    def _note(self, name: str, group: Group, news: Entry | Deletion) -> None:
        if self._concerns(name):
            self._pending.append(_Pending(name, group, news))
            if len(self._pending) > self._limit:
                self._merge()
            self._stir()

    def _stir(self) -> None:
        """Wake the consumer. Its mistake is not that of the writer in whose thread this is."""
        try:
            self._wake()
        except Exception:  # noqa: BLE001 - whatever it is, it is told
            self._wake = _nobody
            _log.exception(
                "the wake function of a feed failed, and is not called again; what changes can "
                "still be taken (%s)",
                self._scope,
            )

    def _merge(self) -> None:
        """Keep the last state of each key, in the order of the last changes."""
        last: dict[str, _Pending] = {}
        while self._pending:
            pending = self._pending.popleft()
            last.pop(pending.key, None)
            last[pending.key] = pending
        self._pending.extend(last.values())
        self._limit = max(MAX_PENDING, 2 * len(last))

    def _value(self, name: str, group: Group) -> tuple[bool, Any]:
        if not group:
            return False, None
        try:
            return True, Stored(name, group, self._scope.space, self._scope.codec).value()
        except DecodeError:  # left out of listings too, which say so in the log
            return False, None


def _nobody() -> None:
    """Wake nobody."""


class Subscriptions:
    """The subscriptions of one mapping. Thread-safe; a forked child has none."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
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
        self._active[token] = _Subscription(owner, self._scope, callback, key, prefix, initial)
        if self._scope.closed:  # meanwhile, and `close` may not have seen it
            self.close()
            self._scope.check_open()
        return token

    def unsubscribe(self, token: int) -> None:
        """End one; KeyError if there is none of that token."""
        subscription = self._active.pop(token)
        subscription.end()
        subscription.join(CLOSE_TIMEOUT)

    def feed(
        self, key: str | None, prefix: str | None, initial: bool, wake: Callable[[], object]
    ) -> Feed:
        """Return what has to be told, to be taken at one's own pace; see `RemoteKVMapping.feed`."""
        if not callable(wake):
            raise TypeError(f"wake must be callable, not {type(wake).__name__}")
        return Feed(self._scope, key, prefix, initial, wake)

    async def changes(
        self, key: str | None, prefix: str | None, initial: bool
    ) -> AsyncGenerator[Change, None]:
        """Yield changes; see `RemoteKVMapping.changes`."""
        import asyncio  # noqa: PLC0415 - who is here has it imported

        loop, ready = asyncio.get_running_loop(), asyncio.Event()

        def wake() -> None:
            if not ready.is_set() and not loop.is_closed():
                loop.call_soon_threadsafe(ready.set)

        await asyncio.to_thread(self._scope.follow)  # may have to wait for the store
        feed = Feed(self._scope, key, prefix, initial, wake)
        self._iterators.add(wake)
        try:
            while True:
                ready.clear()
                if self._scope.closed:  # after clearing: what `close` sets from here on is seen
                    return
                for change in feed.take():
                    yield change
                    if self._scope.closed:
                        return
                await ready.wait()
        finally:
            self._iterators.discard(wake)
            feed.close()

    def close(self) -> None:
        """End all of them."""
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
        scope: Scope,
        callback: Callable[[Change], object],
        key: str | None,
        prefix: str | None,
        initial: bool,
    ) -> None:
        self._owner = owner
        self._callback = callback
        # Not an Event: a Ctrl-C in its set(), by a write, would leave its lock behind.
        self._ready: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._ended = False
        self._feed = Feed(scope, key, prefix, initial, self._wake)
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
