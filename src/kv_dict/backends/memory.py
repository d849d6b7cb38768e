"""A store in this process's memory: for tests, simulations and trying things out."""

from __future__ import annotations

import bisect
import os
import time
import weakref
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Final, TypeVar

from kv_dict.backend import (
    NO_HISTORY,
    Capabilities,
    SynchronousDriverBackend,
    SynchronousFace,
    check_history,
    check_operations,
    prefix_end,
)
from kv_dict.errors import ConfigurationError, ConflictError, Unavailable, Unsupported
from kv_dict.locks import Turn
from kv_dict.model import (
    ABSENT,
    Changes,
    Delete,
    DeletePrefix,
    Deletion,
    Entry,
    Operation,
    Put,
    Revision,
    Snapshot,
    WatchEvent,
)

__all__ = ["InMemoryAsyncBackend"]

MAX_PENDING: Final = 10_000
"""Changes kept for a slow watch, by key; beyond it the watch compares with a new snapshot."""

_PATIENCE: Final = 5.0
"""Seconds that a watch waits for its turn, which others keep for microseconds."""

_Result = TypeVar("_Result")

_stores: weakref.WeakValueDictionary[int, InMemoryAsyncBackend] = weakref.WeakValueDictionary()


class InMemoryAsyncBackend(SynchronousDriverBackend):
    """Entries in a dict of this process, with the semantics of every other backend.

    Thread-safe. A forked child gets a copy that goes its own way. What is stored lives as long as
    the backend object, whether mappings on it are open or closed.

    Parameters
    ----------
    history : int
        How many values of each key are kept for `RemoteKVMapping.history`, the present one
        included; 0 for none.

    Examples
    --------
    >>> from kv_dict import RemoteKVMapping
    >>> with RemoteKVMapping(InMemoryAsyncBackend(), "ep1") as md:
    ...     md["user"] = {"name": "Ada"}
    ...     dict(md)
    {'user': {'name': 'Ada'}}
    """

    def __init__(self, *, history: int = 0) -> None:
        self._memory = _Memory(self, check_history(history))
        _stores[id(self)] = self

    @property
    def url(self) -> str:
        return "memory://"

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(persistent=False, multi_process=False, ordered=True)

    @property
    def synchronous(self) -> SynchronousFace:
        return self._memory

    async def commit(
        self, operations: Sequence[Operation], *, timeout: float
    ) -> tuple[Revision | None, ...]:
        return self._memory.commit(operations, timeout=timeout)  # waits for nothing: no thread

    async def watch(self, prefix: str) -> AsyncGenerator[WatchEvent, None]:
        self.check_open()
        watcher = _Watcher(prefix)
        news: WatchEvent = self._memory.add_watcher(watcher)
        try:
            while True:
                yield news
                await watcher.wake.wait()
                pending = self._memory.take(watcher)
                self.check_open()  # after taking: what is nudged from here on wakes the next wait
                if pending is None:
                    news = self._memory.snapshot(prefix, timeout=_PATIENCE)
                else:
                    news = Changes(tuple(pending))
        finally:
            self._memory.remove_watcher(watcher)

    def __reduce__(self) -> tuple[object, tuple[int, int]]:
        return _same_store, (os.getpid(), id(self))


def _same_store(pid: int, identity: int) -> InMemoryAsyncBackend:
    store = _stores.get(identity) if pid == os.getpid() else None
    if store is None:
        raise ConfigurationError(
            "a memory:// store cannot be reached from another process, or after it is gone; "
            "use sqlite:// or a server for what several processes share"
        )
    return store


class _Watcher:
    """What one watch has not yet told its consumer. `wake` belongs to the consumer's loop."""

    def __init__(self, prefix: str) -> None:
        import asyncio  # noqa: PLC0415 - only a watch needs it

        self.prefix = prefix
        self.pending: dict[str, Entry | Deletion] | None = {}  # None: overflown
        self.wake = asyncio.Event()
        self.loop = asyncio.get_running_loop()
        self._woken = False

    def tell(self, events: Sequence[Entry | Deletion]) -> None:
        for event in events:
            if not event.key.startswith(self.prefix):
                continue
            if self.pending is not None:
                self.pending.pop(event.key, None)  # keep the order of the last changes
                self.pending[event.key] = event
                if len(self.pending) > MAX_PENDING:
                    self.pending = None
        self.nudge()

    def nudge(self) -> None:
        if not self._woken and not self.loop.is_closed():
            self._woken = True  # once, however much there is to tell
            self.loop.call_soon_threadsafe(self.wake.set)

    def take(self) -> list[Entry | Deletion] | None:
        """Return what is pending; None if that was too much to keep."""
        pending, self.pending = self.pending, {}
        self.wake.clear()
        self._woken = False
        return None if pending is None else list(pending.values())


class _Memory(SynchronousFace):
    def __init__(self, owner: InMemoryAsyncBackend, history: int) -> None:
        self._owner = owner
        self._kept = history
        self._history: dict[str, deque[Entry]] = {}
        self._turn = Turn()
        self._entries: dict[str, Entry] = {}
        self._keys: list[str] = []  # sorted
        self._revision = 0
        self._watchers: set[_Watcher] = set()

    def read(self, key: str, *, timeout: float) -> Entry | None:
        self._owner.check_open()
        return self._entries.get(key)

    def read_tree(self, key: str, separator: str, *, timeout: float) -> Snapshot:
        def select(_: float) -> Snapshot:
            own = self._entries.get(key)
            below = self._under(key + separator)
            return Snapshot((own, *below) if own else tuple(below), self._revision)

        return self._in_turn(select, timeout)

    def snapshot(self, prefix: str, *, timeout: float) -> Snapshot:
        return self._in_turn(lambda _: self._snapshot(prefix), timeout)

    def commit(
        self, operations: Sequence[Operation], *, timeout: float
    ) -> tuple[Revision | None, ...]:
        check_operations(operations)
        return self._in_turn(lambda _: self._commit(operations), timeout)

    def history(self, key: str, *, timeout: float) -> tuple[Entry, ...]:
        if not self._kept:
            raise Unsupported(f"memory://: {NO_HISTORY}")
        return self._in_turn(lambda _: tuple(self._history.get(key, ())), timeout)

    def ping(self, *, timeout: float) -> None:
        self._owner.check_open()

    def close(self) -> None:
        self._owner.closed = True
        for watcher in tuple(self._watchers):
            watcher.nudge()

    def _in_turn(self, work: Callable[[float], _Result], timeout: float) -> _Result:
        self._owner.check_open()
        return self._turn.take(work, timeout, lambda: Unavailable("memory:// is busy"))

    # -- watches -------------------------------------------------------------------------------

    def add_watcher(self, watcher: _Watcher) -> Snapshot:
        """Begin to follow; return what is there at that point."""

        def add(_: float) -> Snapshot:
            self._watchers.add(watcher)
            return self._snapshot(watcher.prefix)

        return self._in_turn(add, _PATIENCE)

    def remove_watcher(self, watcher: _Watcher) -> None:
        self._watchers.discard(watcher)

    def take(self, watcher: _Watcher) -> list[Entry | Deletion] | None:
        """Return what is pending for `watcher`; None if that was too much to keep."""
        return self._in_turn(lambda _: watcher.take(), _PATIENCE)

    # -- in turn -------------------------------------------------------------------------------

    def _commit(self, operations: Sequence[Operation]) -> tuple[Revision | None, ...]:
        conflicts = [op.key for op in operations if not self._as_expected(op)]  # type: ignore[union-attr]
        if conflicts:
            raise ConflictError(f"changed by somebody else: {', '.join(conflicts)}", conflicts)
        now = time.time()
        revisions: list[Revision | None] = []
        events: list[Entry | Deletion] = []
        for operation in operations:
            if isinstance(operation, Put):
                events.append(self._put(operation, now))
                revisions.append(self._revision)
            else:
                if isinstance(operation, Delete):
                    doomed = [operation.key] if operation.key in self._entries else []
                else:
                    doomed = [entry.key for entry in self._under(operation.prefix)]
                events.extend(self._delete(key, now) for key in doomed)
                revisions.append(None)
        for watcher in tuple(self._watchers):
            watcher.tell(events)
        return tuple(revisions)

    def _snapshot(self, prefix: str) -> Snapshot:
        return Snapshot(tuple(self._under(prefix)), self._revision, time.monotonic())

    def _under(self, prefix: str) -> list[Entry]:
        end = prefix_end(prefix)
        first = bisect.bisect_left(self._keys, prefix)
        last = len(self._keys) if end is None else bisect.bisect_left(self._keys, end)
        return [self._entries[key] for key in self._keys[first:last]]

    def _as_expected(self, operation: Operation) -> bool:
        if isinstance(operation, DeletePrefix) or operation.expected is None:
            return True
        entry = self._entries.get(operation.key)
        if operation.expected is ABSENT:
            return entry is None
        return entry is not None and entry.revision == operation.expected

    def _put(self, put: Put, now: float) -> Entry:
        self._revision += 1
        if put.key not in self._entries:
            bisect.insort(self._keys, put.key)
        entry = self._entries[put.key] = Entry(put.key, put.value, self._revision, now)
        if self._kept:
            self._history.setdefault(put.key, deque(maxlen=self._kept)).append(entry)
        return entry

    def _delete(self, key: str, now: float) -> Deletion:
        self._revision += 1
        del self._entries[key]
        del self._keys[bisect.bisect_left(self._keys, key)]
        return Deletion(key, self._revision, now)
