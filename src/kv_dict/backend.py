"""The contract between a mapping and a store.

A backend is one implementation of `Backend`. It is finished when the conformance suite of
`kv_dict.testing` passes against its real server; nothing else is known of it by the rest of the
program.

All keys are stored keys and all values bytes: a backend knows nothing of entry points, separators
or JSON. Every ``str`` that UTF-8 can encode is a key, the empty one included; a store with a
narrower alphabet escapes.
"""

from __future__ import annotations

import os
import threading
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Final

from kv_dict.errors import ClosedError, ConfigurationError, Unsupported
from kv_dict.model import DeletePrefix, Entry, Operation, Revision, Snapshot, WatchEvent

__all__ = [
    "MOST_KEPT",
    "NEVER_HISTORY",
    "NO_HISTORY",
    "Backend",
    "Capabilities",
    "Finding",
    "StoreMissing",
    "SynchronousDriverBackend",
    "SynchronousFace",
    "check_history",
    "check_operations",
    "prefix_end",
]

NO_HISTORY: Final = (
    "earlier values are not kept; open it once with history=N (in a URL ?history=8) to keep the "
    "last N of each key from now on"
)
"""What a store says that could keep a history and was not told to."""

NEVER_HISTORY: Final = (
    "keeps no earlier values of a key; SQLite, PostgreSQL, NATS and memory do, with history=N"
)
"""What is said of a store that cannot."""

MOST_KEPT: Final = 1_000_000
"""Values of each key that a history may have."""

_retain_lock = threading.Lock()  # held over a fork, so that no child inherits it locked
os.register_at_fork(
    before=_retain_lock.acquire,
    after_in_parent=_retain_lock.release,
    after_in_child=_retain_lock.release,
)


class StoreMissing(ConfigurationError):
    """There is no such table or bucket, and it was not to be made."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a backend promises beyond the contract.

    Attributes
    ----------
    persistent : bool
        Acknowledged writes survive the end of every process.
    multi_process : bool
        Several processes share the store, and each one's watch sees the others' writes.
    ordered : bool
        Revisions are integers that grow with the order of the commits.
    max_operations : int or None
        The most operations one commit can take; None for no limit of its own.
    longest_key : int or None
        Every key of up to so many bytes of UTF-8 can be stored, and one that is too long is an
        `EncodeError`; None for no limit that a key could meet.
    """

    persistent: bool
    multi_process: bool
    ordered: bool
    max_operations: int | None = None
    longest_key: int | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """What a store says of itself, and what that means to who keeps data in it.

    Attributes
    ----------
    name : str
        What it is about: ``"version"``, ``"encryption"``, ``"durability"``, ...
    found : str
        What is the case.
    advice : str
        What to change; empty where it is as it should be.
    """

    name: str
    found: str
    advice: str = ""


class SynchronousFace(ABC):
    """`Backend`'s operations as plain blocking calls, with the same semantics.

    Thread-safe. A driver with a native synchronous client implements it directly, which costs a
    fraction of asking an event loop in another thread; others are reached through such a loop.
    """

    @abstractmethod
    def read(self, key: str, *, timeout: float) -> Entry | None:
        """See `Backend.read`."""

    @abstractmethod
    def read_tree(self, key: str, separator: str, *, timeout: float) -> Snapshot:
        """See `Backend.read_tree`."""

    @abstractmethod
    def snapshot(self, prefix: str, *, timeout: float) -> Snapshot:
        """See `Backend.snapshot`."""

    @abstractmethod
    def commit(
        self, operations: Sequence[Operation], *, timeout: float
    ) -> tuple[Revision | None, ...]:
        """See `Backend.commit`."""

    def history(self, key: str, *, timeout: float) -> tuple[Entry, ...]:
        """See `Backend.history`."""
        raise Unsupported(f"this store {NEVER_HISTORY}")

    @abstractmethod
    def ping(self, *, timeout: float) -> None:
        """See `Backend.ping`."""

    @abstractmethod
    def close(self) -> None:
        """See `Backend.close`."""


class Backend(ABC):
    """A store: read, snapshot, commit, watch, ping, close.

    Every operation takes a `timeout` in seconds and ends within it, whatever the server does. The
    errors that any of them may raise:

    Unavailable
        The store could not be asked. For a commit it means more: nothing was written, and nothing
        of it will be written later.
    OutcomeUnknown
        (commit only) The request was sent and the answer did not come.
    ClosedError
        `close` was called.
    ConfigurationError
        The store is there but not usable as configured; the message says what to do.

    A driver's own exceptions and its silent retries of writes stay inside.

    Cancelling the task of a read is harmless. Cancelling a commit that is under way leaves its
    outcome unknown.
    """

    closed: bool = False
    _retained: int = 0

    # -- what it is ------------------------------------------------------------------------------

    @property
    @abstractmethod
    def url(self) -> str:
        """The URL of the store, with secrets masked: for messages, `repr` and logs."""

    @property
    @abstractmethod
    def capabilities(self) -> Capabilities:
        """What it promises beyond the contract."""

    @property
    def synchronous(self) -> SynchronousFace | None:
        """The native synchronous face, or None for a driver that is only asynchronous."""
        return None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.url}{' closed' if self.closed else ''}>"

    # -- operations ------------------------------------------------------------------------------

    @abstractmethod
    async def read(self, key: str, *, timeout: float) -> Entry | None:
        """Return the entry at `key` as the store holds it now, or None.

        Authoritative: it sees every write acknowledged anywhere before the call. It never answers
        from a cache or from a server's replica that may lag behind.
        """

    async def read_tree(self, key: str, separator: str, *, timeout: float) -> Snapshot:
        """Return the entry at `key` and all below it (keys that start with ``key + separator``).

        At one point in time. The default filters a `snapshot`; override it where the store can
        select exactly.
        """
        whole = await self.snapshot(key, timeout=timeout)
        below = key + separator
        return Snapshot(
            tuple(e for e in whole.entries if e.key == key or e.key.startswith(below)),
            whole.revision,
        )

    @abstractmethod
    async def snapshot(self, prefix: str, *, timeout: float) -> Snapshot:
        """Return every entry whose key starts with `prefix`, at one point in time.

        No commit is seen in part. The empty prefix means the whole store. `prefix` is literal:
        no character in it is a wildcard.
        """

    @abstractmethod
    async def commit(
        self, operations: Sequence[Operation], *, timeout: float
    ) -> tuple[Revision | None, ...]:
        """Apply all `operations`, in order, or none.

        Parameters
        ----------
        operations : sequence of Put, Delete or DeletePrefix
            No key may be named twice by puts and deletes. Guards are checked against the state
            before the commit.
        timeout : float
            Seconds.

        Returns
        -------
        tuple of (Revision or None)
            One for each operation: the new revision of a put, None for the others.

        Raises
        ------
        ConflictError
            Some guards did not hold; its ``keys`` names every one that did not.
        ValueError
            A key is named twice.
        """

    @abstractmethod
    def watch(self, prefix: str) -> AsyncGenerator[WatchEvent, None]:
        """Follow every entry whose key starts with `prefix`, by any writer, for ever.

        First a `Snapshot`, then `Changes` as they happen, and another `Snapshot` whenever what has
        changed is not known: after the connection was lost, when the consumer was too slow, when
        the store was made anew. A state that was soon replaced may be left out, the last state
        never is. A consumer that is slow costs bounded memory: what it missed is merged by key.

        While the store cannot be followed it yields `Stale`, once, and repairs the connection by
        itself; the next `Snapshot` says that it is followed again.

        Close the generator (``contextlib.aclosing``) to release what it holds. It raises
        `ClosedError` once the backend is closed.
        """

    async def history(self, key: str, *, timeout: float) -> tuple[Entry, ...]:
        """Return the values that `key` had, oldest first, as far back as the store keeps them.

        Deletions are left out. Empty for a key that never had a value, or none that is kept.

        Raises
        ------
        Unsupported
            The store keeps no earlier values; the message says whether it could.
        """
        raise Unsupported(f"{self.url}: this store {NEVER_HISTORY}")

    @abstractmethod
    async def ping(self, *, timeout: float) -> None:
        """Return if the store can be reached and used, or raise what an operation would raise."""

    async def inspect(self, *, timeout: float) -> tuple[Finding, ...]:
        """Return what the store says of itself: version, encryption, durability.

        For people (``kv-dict check``), who are told too what could not be found out.
        """
        return ()

    @abstractmethod
    async def close(self) -> None:
        """Release every connection, thread and watch. Idempotent, and bounded in time."""

    # -- shared use --------------------------------------------------------------------------------

    def retain(self) -> None:
        """Count one more user; a closed backend may be used again from here on."""
        with _retain_lock:
            self._retained += 1
            self.closed = False

    def release(self) -> bool:
        """Count one user less; True if that was the last, who should then `close`."""
        with _retain_lock:
            self._retained = max(0, self._retained - 1)
            return self._retained == 0

    def check_open(self) -> None:
        """Raise ClosedError after `close`."""
        if self.closed:
            raise ClosedError(f"{self.url} was closed; open a new mapping to use it again")


class SynchronousDriverBackend(Backend):
    """Base of backends whose driver is synchronous: the asynchronous face calls the native one.

    Reads are answered inline, because they are expected to take microseconds; commits, which may
    wait for a disk or a lock, run in a worker thread.
    """

    @property
    @abstractmethod
    def synchronous(self) -> SynchronousFace:
        """The native face that does the work."""

    async def read(self, key: str, *, timeout: float) -> Entry | None:  # noqa: D102
        return self.synchronous.read(key, timeout=timeout)

    async def read_tree(self, key: str, separator: str, *, timeout: float) -> Snapshot:  # noqa: D102
        return self.synchronous.read_tree(key, separator, timeout=timeout)

    async def snapshot(self, prefix: str, *, timeout: float) -> Snapshot:  # noqa: D102
        return self.synchronous.snapshot(prefix, timeout=timeout)

    async def commit(  # noqa: D102
        self, operations: Sequence[Operation], *, timeout: float
    ) -> tuple[Revision | None, ...]:
        import asyncio  # noqa: PLC0415 - takes longer to import than all of kv_dict

        return await asyncio.to_thread(self.synchronous.commit, operations, timeout=timeout)

    async def history(self, key: str, *, timeout: float) -> tuple[Entry, ...]:  # noqa: D102
        return self.synchronous.history(key, timeout=timeout)

    async def ping(self, *, timeout: float) -> None:  # noqa: D102
        self.synchronous.ping(timeout=timeout)

    async def close(self) -> None:  # noqa: D102
        self.synchronous.close()


def check_history(history: int) -> int:
    """Return how many values of each key to keep; ConfigurationError if that is no such number."""
    if type(history) is not int or not 0 <= history <= MOST_KEPT:
        raise ConfigurationError(
            f"history={history!r}: how many values of each key to keep, from 0 to {MOST_KEPT}"
        )
    return history


def check_operations(operations: Sequence[Operation]) -> None:
    """Raise ValueError if a key is named twice by puts and deletes."""
    seen: set[str] = set()
    for operation in operations:
        if not isinstance(operation, DeletePrefix):
            if operation.key in seen:
                raise ValueError(f"key {operation.key!r} is named twice in one commit")
            seen.add(operation.key)


def prefix_end(prefix: str) -> str | None:
    """Return the least string above every string that starts with `prefix`; None if there is none.

    Ordered by code point, as UTF-8 bytes are. Surrogates, which no stored key can hold, are
    stepped over.

    Examples
    --------
    >>> prefix_end("ep1:")
    'ep1;'
    """
    for end in range(len(prefix), 0, -1):
        last = ord(prefix[end - 1])
        if last < 0x10FFFF:
            following = 0xE000 if last + 1 == 0xD800 else last + 1
            return prefix[: end - 1] + chr(following)
    return None
