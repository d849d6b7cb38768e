"""Getting the news: the watch, and who else may tell the replica something."""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from contextlib import aclosing
from typing import Final

from kv_dict.backend import Backend
from kv_dict.errors import ClosedError, DecodeError, KVDictError, Unavailable
from kv_dict.model import (
    Changes,
    Entry,
    Operation,
    Revision,
    Snapshot,
    Stale,
    WatchEvent,
)
from kv_dict.portal import Job, face_of, is_ending, sleep, spawn
from kv_dict.replica.contents import Contents, Group, Listener
from kv_dict.replica.delivery import Delivery, read

__all__ = ["Replica"]

_log = logging.getLogger("kv_dict")

RETRY: Final = 1.0
"""Seconds between two attempts of a watch that failed for good, as it seems."""

SETTLE_TIMEOUT: Final = 2.0


class Replica:
    """The entries of a store under one prefix, as of a moment ago. Thread-safe and fork-safe.

    Parameters
    ----------
    backend : Backend
        The store.
    prefix : str
        What is followed.
    group : callable
        Returns which group a stored key belongs to.

    Attributes
    ----------
    groups : dict of str to Group
        All that is held. Read it from any thread without a lock, and never change it.
    stale_since : float or None
        When the last good news came, in seconds since the epoch, while the store cannot be
        followed.
    asleep : bool
        Not followed: not opened yet, in a forked child, or closed. `open` wakes it, unless closed.
    """

    def __init__(self, backend: Backend, prefix: str, group: Callable[[str], str]) -> None:
        self._backend = backend
        self._prefix = prefix
        self._lock = threading.RLock()  # reentrant, for signal handlers that use a mapping
        self._users = 0
        self._job: Job | None = None
        self._settler: Job | None = None
        self._begun = threading.Event()
        self._failure: KVDictError | None = None
        self.stale_since: float | None = None
        self.asleep = True
        self._closed = False
        self._contents = Contents(prefix, group)
        self._delivery = Delivery(
            backend, self._contents, self._lock, str(self), self._see_to_doubts
        )
        self._stirs: tuple[Callable[[], object], ...] = ()
        self.groups = self._contents.groups
        _replicas.add(self)

    def __repr__(self) -> str:
        state = "asleep" if self.asleep else "live" if self.stale_since is None else "stale"
        return f"<Replica of {self._prefix!r} in {self._backend.url}, {state}>"

    def __str__(self) -> str:
        return f"{self._prefix!r} in {self._backend.url}"

    # -- life ------------------------------------------------------------------------------------

    @classmethod
    def shared(
        cls, backend: Backend, prefix: str, group: Callable[[str], str], sep: object
    ) -> Replica:
        """Return the replica that all mappings of one layout share; to be released."""
        new = cls(backend, prefix, group)
        with _sharing:
            replica = _shared.setdefault(backend, {}).setdefault((prefix, sep), new)
            replica._users += 1
            return replica

    def release(self, *, wait: bool = True) -> None:
        """Give it back; the last user's call ends the watch."""
        with _sharing:
            self._users -= 1
            if self._users > 0:
                return
            of_backend = _shared.get(self._backend, {})
            for name, replica in tuple(of_backend.items()):
                if replica is self:
                    del of_backend[name]
            if not of_backend:
                _shared.pop(self._backend, None)
        self.close(wait=wait)

    def open(self, timeout: float) -> None:
        """Return when the first snapshot is there; at once if it is.

        Raises
        ------
        Unavailable
            The store cannot be reached, or did not answer in time.
        ClosedError
            Its last user has released it, before or meanwhile.
        KVDictError
            What else the watch raised.
        """
        if self.asleep:
            with self._lock:
                if self._closed:
                    raise ClosedError(f"{self} is not followed any more")
                if self.asleep:
                    self._begun.clear()
                    self._failure = None
                    self._job = spawn(self._follow, f"replica of {self._prefix}")
                    self.asleep = False
        if not self._begun.wait(timeout):
            raise Unavailable(f"{self._backend.url}: no first snapshot within {timeout:g} s")
        failure = self._failure
        if failure is not None:
            raise type(failure)(*failure.args) from failure

    def close(self, *, wait: bool = True) -> None:
        """End the watch, and wait for that. What is held stays, and is no longer true."""
        if wait and self.stale_since is None:  # what waits may be on its way
            self.settle(SETTLE_TIMEOUT)
        with self._lock:
            jobs = self._job, self._settler, self._delivery.job
            self._job = self._settler = self._delivery.job = None
            self.asleep = self._closed = True
            self._failure = ClosedError(f"{self} is not followed any more")
            self._begun.set()  # for those who wait for the first snapshot
        for job in jobs:
            if job is not None:
                job.cancel(wait=wait)
        self.give_up("closed")

    # -- reading ---------------------------------------------------------------------------------

    def all(self) -> dict[str, Group]:
        """Return all groups at one point in time."""
        with self._lock:
            return self.groups.copy()

    def listen(
        self,
        listener: Listener,
        begin: Callable[[dict[str, Group]], object],
        stir: Callable[[], object],
    ) -> None:
        """Call `begin` with what there is, and have every change from there on told.

        `stir` is called after `stale_since` was set or reset, from the loop thread.
        """
        with self._lock:
            begin(self.groups)
            self._contents.listeners = (*self._contents.listeners, listener)
            self._stirs = (*self._stirs, stir)

    def unlisten(self, listener: Listener, stir: Callable[[], object]) -> None:
        """Tell it nothing more."""
        with self._lock:
            known = self._contents.listeners
            self._contents.listeners = tuple(other for other in known if other != listener)
            self._stirs = tuple(other for other in self._stirs if other != stir)

    def sync(self, timeout: float) -> None:
        """Return when it holds all that was acknowledged, to anybody, before the call."""
        deadline = time.monotonic() + timeout
        face = face_of(self._backend)
        asked = time.monotonic()
        snapshot = face.snapshot(self._prefix, timeout=timeout)
        with self._lock:
            self._contents.asked_for(snapshot, asked)
        while self._contents.doubts:
            for key in tuple(self._contents.doubts):
                self.ask(key, deadline - time.monotonic())

    # -- what is learnt apart from the watch -----------------------------------------------------

    def committed(
        self, operations: Sequence[Operation], revisions: Sequence[Revision | None], asked: float
    ) -> set[str]:
        """Take note of an acknowledged commit, sent at `asked`; return the keys in doubt."""
        with self._lock:
            doubted = self._contents.committed(operations, revisions, asked)
            self._see_to_doubts()
            return doubted

    def answered(self, name: str, entries: Sequence[Entry], asked: float) -> None:
        """Take note of what the store answered at `asked` for one group."""
        with self._lock:
            self._contents.answered(name, entries, asked)
            self._see_to_doubts()

    def ask(self, key: str, timeout: float) -> None:
        """Ask the store for one key, again if other news come meanwhile that may be newer.

        Raises
        ------
        Unavailable
            It does not tell within `timeout` seconds.
        """
        face = face_of(self._backend)
        deadline = time.monotonic() + timeout
        while (asked := time.monotonic()) < deadline:
            try:
                entry = face.read(key, timeout=deadline - asked)
            except DecodeError:
                entry = None  # of another program, and left out of a snapshot too
            with self._lock:
                if self._contents.answer(key, entry, asked):
                    return
        raise Unavailable(f"{self}: {key!r} has changed at every look for {timeout:.3g} s")

    # -- writes that wait for the store ----------------------------------------------------------

    @property
    def waiting(self) -> tuple[str, ...]:
        """The stored keys of writes that wait for the store."""
        return self._delivery.waiting

    def settle(self, timeout: float) -> bool:
        """Wait for what waits to be on the store; return whether it is."""
        return self._delivery.settle(timeout)

    def hold_back(self, operations: Sequence[Operation]) -> tuple[Revision | None, ...]:
        """Show what a commit would have made, and commit it when the store is back."""
        with self._lock:
            revisions = self._delivery.hold_back(operations)
            if self.stale_since is None:  # the watch has not noticed an outage, and may not
                self._see_to_waiting()
            return revisions

    def give_up(self, why: str) -> None:
        """Say what is lost, if something waits that nobody will store any more."""
        self._delivery.give_up(why)

    def _see_to_waiting(self) -> None:
        if not self.asleep:
            self._delivery.begin()

    # -- the watch, in the loop thread -----------------------------------------------------------

    async def _follow(self) -> None:
        while True:
            try:
                async with aclosing(self._backend.watch(self._prefix)) as events:
                    async for event in events:
                        self._take(event)
            except ClosedError as error:
                return self._ended(error)
            except KVDictError as error:
                if not self._begun.is_set():
                    return self._ended(error)
                self._lost(time.time(), str(error))
            except Exception:  # noqa: BLE001 - it is told, and the task goes on
                if is_ending():
                    return None
                _log.exception("%s: the watch failed; it is begun again", self)
                self._lost(time.time(), "the watch failed")
            await sleep(RETRY)

    def _ended(self, error: KVDictError) -> None:
        """Have the next use begin anew, or raise what this one raises."""
        with self._lock:  # not before `open` has finished
            self._failure = error
            self.asleep = True
            self._begun.set()

    def _take(self, event: WatchEvent) -> None:
        if isinstance(event, Stale):
            self._lost(event.since, event.reason)
            return
        with self._lock:
            if isinstance(event, Changes):
                self._contents.watched(event.events, event.asked)
            else:
                self._contents.begin(event)
            self._see_to_doubts()
            self._see_to_waiting()
        if isinstance(event, Snapshot):
            self._found()

    def _lost(self, since: float, reason: str) -> None:
        if not self._begun.is_set():
            self._failure = Unavailable(reason)
            self._begun.set()
        elif self.stale_since is None:
            _log.warning("%s: reads show what was there, as long as this lasts: %s", self, reason)
        if self.stale_since is None:
            self.stale_since = since
            self._stir()

    def _found(self) -> None:
        if self.stale_since is not None:
            was, self.stale_since = self.stale_since, None
            if self._failure is None:
                _log.warning("%s: live again, after %.1f s", self, time.time() - was)
            self._stir()
        self._failure = None
        self._begun.set()

    def _stir(self) -> None:
        for stir in self._stirs:
            stir()

    # -- doubts ----------------------------------------------------------------------------------

    def _see_to_doubts(self) -> None:
        if self._contents.doubts and self._settler is None and not self.asleep:
            self._settler = spawn(self._settle, f"doubts of {self._prefix}")

    async def _settle(self) -> None:
        while True:
            with self._lock:
                doubts = tuple(self._contents.doubts)
                if not doubts:
                    self._settler = None
                    return
            for key in doubts:
                asked = time.monotonic()
                try:
                    entry = await read(self._backend, key)
                except KVDictError:  # an outage: the watch has it too, and a snapshot ends it
                    await sleep(RETRY)
                    break
                with self._lock:
                    self._contents.answer(key, entry, asked)

    def after_fork(self) -> None:
        """Forget, in a child, what belongs to the parent's threads; the next use begins anew."""
        self._lock = threading.RLock()
        self._begun = threading.Event()
        self._job = self._settler = None
        self._contents.after_fork()
        self._delivery.after_fork(self._lock)
        self._stirs = ()
        self.asleep = True


# Reentrant, because the garbage collector may release, inside, the replica of a forgotten mapping.
_sharing = threading.RLock()
_shared: weakref.WeakKeyDictionary[Backend, dict[tuple[str, object], Replica]] = (
    weakref.WeakKeyDictionary()
)
_replicas: weakref.WeakSet[Replica] = weakref.WeakSet()


@atexit.register
def _at_exit() -> None:
    for replica in tuple(_replicas):
        replica.give_up("the process ends")


def _after_fork_in_child() -> None:
    global _sharing  # noqa: PLW0603 - a thread of the parent may hold it
    _sharing = threading.RLock()
    for replica in tuple(_replicas):
        replica.after_fork()


os.register_at_fork(after_in_child=_after_fork_in_child)
