"""How long a scope is used: what it follows meanwhile, and the two ways in which it ends.

It is closed with its mapping, or the mapping leaves it for another entry point. What is left is not
followed any more, and containers that were read there write no more. But the operations that were
under way at that moment finish where they began: they ask the store, which the mapping still uses.
"""

from __future__ import annotations

import os
import sys
import threading
from typing import Final

from kv_dict.backend import Backend
from kv_dict.errors import ClosedError, ConflictError
from kv_dict.keys import KeySpace
from kv_dict.portal import face_of
from kv_dict.replica import Replica

__all__ = ["Lifetime", "ending"]

ending: Final = threading.RLock()
"""Guards whether a scope has ended, against what would have to be ended with it.

Used with ``with`` and nothing else, for microseconds.
"""
os.register_at_fork(
    before=ending.acquire,
    after_in_parent=ending.release,
    after_in_child=ending.release,
)


class Lifetime:
    """What a `Scope` uses, and until when. Thread-safe.

    Parameters
    ----------
    backend : Backend
        The store; retained until the end.
    space : KeySpace
        The entry point.
    timeout : float
        Seconds that following may take to begin.

    Attributes
    ----------
    closed : bool
        `close` was called.
    left_for : str or None
        The entry point that the mapping was switched to.
    replica : Replica or None
        What follows the store, for reads or for subscriptions.
    """

    def __init__(self, backend: Backend, space: KeySpace, timeout: float) -> None:
        self.backend = backend
        self.space = space
        self.timeout = timeout
        self.closed = False
        self.left_for: str | None = None
        self._released = False
        self.replica: Replica | None = None
        self._face = face_of(backend)
        backend.retain()

    def __str__(self) -> str:
        return f"entry_point={self.space.entry_point!r}, backend={self.backend.url!r}"

    @property
    def ended(self) -> bool:
        """Whether nothing is to be followed here any more."""
        return self.closed or self.left_for is not None

    def follow(self) -> Replica:
        """Return the replica, live; one that mappings of this layout on this backend share."""
        self.check_here()
        replica = self.replica
        if replica is None:
            replica = shared = Replica.shared(
                self.backend, self.space.prefix, self.space.first, self.space.sep
            )
            with ending:
                mine = self.replica is None and not self.ended
                if mine:
                    self.replica = shared
            if not mine:  # another thread was faster
                shared.release()
                self.check_here()
        try:
            replica.open(self.timeout)
        except ClosedError:  # released meanwhile
            self.check_here()
            raise
        return replica

    def close(self) -> None:
        """Release the backend, and close it if nobody else uses it. Idempotent."""
        with ending:
            self.closed = True
        self.release()

    def leave(self, entry_point: str) -> bool:
        """End it for a mapping that goes on elsewhere; False if writes wait for the store here.

        To be followed by `release`.
        """
        with ending:
            self.check_here()
            if self.waiting:
                return False
            self.left_for = entry_point
            return True

    def release(self) -> None:
        """Release what an ended scope used, once."""
        with ending:
            first, self._released = not self._released, True
        if first:
            if self.replica is not None:
                self.replica.release()
            if self.backend.release():
                self._face.close()

    @property
    def waiting(self) -> tuple[str, ...]:
        """The keys of writes that wait for the store."""
        replica = self.replica
        return () if replica is None else tuple(sorted(set(map(self.space.first, replica.waiting))))

    def settled(self, timeout: float) -> bool:
        """Wait until no write waits for the store any more; return whether that is so."""
        return self.replica is None or self.replica.settle(max(0.0, timeout))

    def ping(self) -> None:
        """Raise Unavailable if the store cannot be reached."""
        self._face.ping(timeout=self.timeout)

    def abandon(self) -> None:
        """End what nobody can use any more, without waiting: for a mapping that was forgotten."""
        if self.replica is not None and not self.ended and not sys.is_finalizing():
            self.replica.release(wait=False)

    def check_open(self) -> None:
        """Raise ClosedError after `close`."""
        if self.closed:
            raise ClosedError(
                f"this mapping ({self}) was closed; open a new one with open_mapping() or "
                "RemoteKVMapping(...)"
            )

    def check_here(self) -> None:
        """Raise ClosedError after `close`, ConflictError after `leave`."""
        self.check_open()
        if self.left_for is not None:
            raise ConflictError(
                f"the mapping was switched from {self.space.entry_point!r} to {self.left_for!r}: "
                "what was read before writes no more, and nothing was written; read it again"
            )
