"""Bringing writes that were held back to the store, once it is there again."""

from __future__ import annotations

import itertools
import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

from kv_dict.backend import Backend
from kv_dict.errors import ConflictError, DecodeError, KVDictError, OutcomeUnknown, Unavailable
from kv_dict.model import Deletion, Entry, Operation, Revision
from kv_dict.portal import Job, is_ending, sleep, spawn
from kv_dict.replica.contents import Contents
from kv_dict.replica.held_back import Waiting

__all__ = ["Delivery", "read"]

_log = logging.getLogger("kv_dict")

RETRY: Final = 1.0
TIMEOUT: Final = 2.0
_BATCH: Final = 100
_SHOWN: Final = 200  # bytes of a value in the log


class Delivery:
    """Commits the writes of one replica that wait. Thread-safe.

    Parameters
    ----------
    backend : Backend
        The store.
    contents : Contents
        What the replica holds, and what waits in it.
    lock : RLock
        The replica's, which guards `contents`.
    place : str
        What the replica follows, for the log.
    learnt : callable
        Called, with the lock, after `contents` was told what the store holds.

    Attributes
    ----------
    job : Job or None
        What commits them; the replica cancels it when it is closed.
    """

    def __init__(
        self,
        backend: Backend,
        contents: Contents,
        lock: threading.RLock,
        place: str,
        learnt: Callable[[], None],
    ) -> None:
        self.job: Job | None = None
        self._backend = backend
        self._contents = contents
        self._lock = lock
        self._place = place
        self._learnt = learnt
        self._settling: list[queue.SimpleQueue[None]] = []  # who waits until nothing waits

    @property
    def waiting(self) -> tuple[str, ...]:
        """The stored keys of the writes that wait."""
        with self._lock:
            return tuple(self._contents.held_back.waiting)

    def hold_back(self, operations: Sequence[Operation]) -> tuple[Revision | None, ...]:
        """Have a commit wait; return the revisions that it has meanwhile."""
        with self._lock:
            if not self._contents.held_back.waiting:
                _log.warning("%s: the store is away; what is written now waits for it", self._place)
            return self._contents.hold_back(operations)

    def begin(self) -> None:
        """Commit what waits, in the loop thread, if that is not under way."""
        with self._lock:
            if self._contents.held_back.waiting and self.job is None:
                self.job = spawn(self._deliver, f"held back of {self._place}")

    def settle(self, timeout: float) -> bool:
        """Wait for what waits to be on the store; return whether it is."""
        # Not an Event: a Ctrl-C in it, in a write that is held back, would leave its lock behind.
        settled: queue.SimpleQueue[None] = queue.SimpleQueue()
        with self._lock:
            if not self._contents.held_back.waiting:
                return True
            self._settling.append(settled)
        try:
            settled.get(timeout=timeout)
        except queue.Empty:
            return False
        finally:
            with self._lock:
                if settled in self._settling:
                    self._settling.remove(settled)
        return True

    def give_up(self, why: str) -> None:
        """Say what is lost, if something waits that nobody will store any more."""
        with self._lock:
            waiting = self.waiting
            self._contents.held_back.waiting.clear()
        if waiting:
            _log.error(
                "%s: %s; what waited for the store is never stored: %s", self._place, why, waiting
            )

    def after_fork(self, lock: threading.RLock) -> None:
        """Forget, in a child, what belongs to the parent's threads."""
        self._lock = lock
        self._settling = []
        self.job = None

    # -- in the loop thread ----------------------------------------------------------------------

    async def _deliver(self) -> None:
        """Commit what waits; what others have written meanwhile stays."""
        most = _BATCH
        while True:
            with self._lock:
                waiting = self._contents.held_back.waiting
                batch = dict(itertools.islice(waiting.items(), most))
                if not batch:
                    self.job = None
                    for settled in self._settling:
                        settled.put(None)
                    return
            operations = [one.operation for one in batch.values()]
            asked = time.monotonic()
            try:
                revisions = await self._backend.commit(operations, timeout=TIMEOUT)
            except ConflictError as conflict:
                for key in set(conflict.keys) & batch.keys():
                    await self._drop(key, batch[key], "others have written it meanwhile")
            except (Unavailable, OutcomeUnknown):
                await sleep(RETRY)
            except KVDictError as error:
                if len(batch) > 1:
                    most = 1  # one by one: the others are not to be lost with it
                    continue
                for key, one in batch.items():
                    await self._drop(key, one, str(error))
            except Exception:  # noqa: BLE001 - it is told, and what waits goes on waiting
                if is_ending():
                    return
                _log.exception("%s: what waits could not be stored; it is tried again", self._place)
                await sleep(RETRY)
            else:
                _log.warning("%s: %d write(s) that waited are stored", self._place, len(batch))
                with self._lock:
                    for (key, one), revision in zip(batch.items(), revisions, strict=True):
                        self._contents.delivered(key, one, one.entry(revision), asked)
                    self._learnt()

    async def _drop(self, key: str, one: Waiting, why: str) -> None:
        """Show what the store holds in place of what waited, unless that is the same."""
        while True:
            asked = time.monotonic()
            try:
                entry = await read(self._backend, key)
            except KVDictError:
                await sleep(RETRY)
                continue
            break
        if not one.is_done_by(entry):
            _log.error(
                "%s: what was written here to %r is dropped: %s. It was to become %s, and is %s",
                *(self._place, key, why, _shown(one.becomes), _shown(entry)),
            )
        with self._lock:
            self._contents.delivered(key, one, entry, asked)
            self._learnt()


async def read(backend: Backend, key: str) -> Entry | None:
    """Return what the store holds of a key; None for what a snapshot leaves out, too."""
    try:
        return await backend.read(key, timeout=TIMEOUT)
    except DecodeError:
        return None


def _shown(state: Entry | Deletion | None) -> str:
    """Return a state as the log shows it."""
    if not isinstance(state, Entry):
        return "absent"
    text = state.value[:_SHOWN].decode("utf-8", "replace")
    return text if len(state.value) <= _SHOWN else f"{text}... ({len(state.value):,} bytes)"
