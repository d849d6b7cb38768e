"""A store in this process's memory: for tests, simulations and trying things out."""

from __future__ import annotations

import bisect
import os
import threading
import time
import weakref
from collections.abc import AsyncGenerator, Sequence
from typing import Final

from kv_dict.backend import (
    Capabilities,
    SynchronousDriverBackend,
    SynchronousFace,
    check_operations,
    prefix_end,
)
from kv_dict.backends.delivered import Delivered
from kv_dict.errors import ConfigurationError, ConflictError
from kv_dict.model import (
    ABSENT,
    Delete,
    DeletePrefix,
    Deletion,
    Entry,
    Operation,
    Put,
    Revision,
    Snapshot,
    Synced,
    WatchEvent,
)

__all__ = ["InMemoryAsyncBackend"]

MAX_PENDING: Final = 10_000
"""Changes kept for a slow watch, by key; beyond it the watch compares with a new snapshot."""

# One lock for every store of the process: it is held for microseconds, and one is what a fork can
# take care of (a child must not inherit it locked by a thread that it does not have).
_lock = threading.Lock()
os.register_at_fork(
    before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release
)
_stores: weakref.WeakValueDictionary[int, InMemoryAsyncBackend] = weakref.WeakValueDictionary()


class InMemoryAsyncBackend(SynchronousDriverBackend):
    """Entries in a dict of this process, with the semantics of every other backend.

    Thread-safe. A forked child gets a copy that goes its own way. What is stored lives as long as
    the backend object, whether mappings on it are open or closed.

    Examples
    --------
    >>> from kv_dict import RemoteKVMapping
    >>> with RemoteKVMapping(InMemoryAsyncBackend(), "ep1") as md:
    ...     md["user"] = {"name": "Ada"}
    ...     dict(md)
    {'user': {'name': 'Ada'}}
    """

    def __init__(self) -> None:
        self._memory = _Memory(self)
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
        delivered = Delivered()
        entries: Sequence[Entry] = self._memory.add_watcher(watcher)
        try:
            for change in delivered.difference(entries):
                yield change
            yield Synced()
            while True:
                await watcher.wake.wait()
                self.check_open()
                pending = self._memory.take(watcher)
                if pending is None:
                    changes = delivered.difference(self._memory.snapshot(prefix, timeout=0).entries)
                else:
                    changes = delivered.changes(pending)
                for change in changes:
                    yield change
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
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self.wake.set)


class _Memory(SynchronousFace):
    def __init__(self, owner: InMemoryAsyncBackend) -> None:
        self._owner = owner
        self._entries: dict[str, Entry] = {}
        self._keys: list[str] = []  # sorted
        self._revision = 0
        self._watchers: set[_Watcher] = set()

    def read(self, key: str, *, timeout: float) -> Entry | None:
        self._owner.check_open()
        return self._entries.get(key)

    def read_tree(self, key: str, separator: str, *, timeout: float) -> Snapshot:
        self._owner.check_open()
        with _lock:
            own = self._entries.get(key)
            below = self._under(key + separator)
            return Snapshot((own, *below) if own else tuple(below), self._revision)

    def snapshot(self, prefix: str, *, timeout: float) -> Snapshot:
        self._owner.check_open()
        with _lock:
            return Snapshot(tuple(self._under(prefix)), self._revision)

    def commit(
        self, operations: Sequence[Operation], *, timeout: float
    ) -> tuple[Revision | None, ...]:
        self._owner.check_open()
        check_operations(operations)
        with _lock:
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
            for watcher in self._watchers:
                watcher.tell(events)
        return tuple(revisions)

    def ping(self, *, timeout: float) -> None:
        self._owner.check_open()

    def close(self) -> None:
        with _lock:
            self._owner.closed = True
            for watcher in self._watchers:
                watcher.nudge()

    # -- watches -------------------------------------------------------------------------------

    def add_watcher(self, watcher: _Watcher) -> Sequence[Entry]:
        """Begin to follow; return what is there at that point."""
        with _lock:
            self._watchers.add(watcher)
            return self._under(watcher.prefix)

    def remove_watcher(self, watcher: _Watcher) -> None:
        with _lock:
            self._watchers.discard(watcher)

    def take(self, watcher: _Watcher) -> list[Entry | Deletion] | None:
        """Return what is pending for `watcher`; None if that was too much to keep."""
        with _lock:
            pending, watcher.pending = watcher.pending, {}
            watcher.wake.clear()
        return None if pending is None else list(pending.values())

    # -- under the lock ------------------------------------------------------------------------

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
        return entry

    def _delete(self, key: str, now: float) -> Deletion:
        self._revision += 1
        del self._entries[key]
        del self._keys[bisect.bisect_left(self._keys, key)]
        return Deletion(key, self._revision, now)
