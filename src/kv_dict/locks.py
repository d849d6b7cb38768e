"""A lock that a Ctrl-C cannot leave behind, and that a forked child finds free."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import Final, TypeVar

from kv_dict.errors import KVDictError, ReentryError

__all__ = ["Turn"]

_Result = TypeVar("_Result")


class Turn:
    """Lets one thread at a time work on something.

    Parameters
    ----------
    reentrant : bool
        Whether the thread whose turn it is may take another one inside. Without, it is refused: it
        could only be a signal handler, in the middle of something.

    Notes
    -----
    Between two bytecode instructions Python may raise KeyboardInterrupt, also between taking a lock
    and noting that it was taken. The ``with`` statement of a lock written in C has no such gap, but
    no timeout either. So the lock is taken with a timeout, taken again by a ``with``, and given
    back once; an interrupt in the few instructions before that is made good where it surfaces.
    """

    __slots__ = ("__weakref__", "_lock", "_pid", "_reentrant")

    def __init__(self, *, reentrant: bool = False) -> None:
        self._lock = threading.RLock()
        self._pid = os.getpid()
        self._reentrant = reentrant

    def take(
        self, work: Callable[[float], _Result], timeout: float, busy: Callable[[], KVDictError]
    ) -> _Result:
        """Return ``work(left)``, called when it is this thread's turn.

        Parameters
        ----------
        work : callable
            Gets the seconds that are left.
        timeout : float
            Seconds.
        busy : callable
            Makes the exception to raise when the turn does not come in time.

        Raises
        ------
        ReentryError
            This thread is in its turn already.
        """
        if self._pid != os.getpid():  # a thread of the parent, which is not here, may hold it
            self._renew()
        lock = self._lock
        deadline = time.monotonic() + timeout
        if lock._is_owned():  # type: ignore[attr-defined]
            if self._reentrant:
                return work(timeout)
            raise ReentryError(
                "called in the middle of another call of the same thread, from a signal handler "
                "it seems; note what is to be done there, and do it outside"
            )
        try:
            if not lock.acquire(timeout=timeout):
                raise busy()  # noqa: TRY301 - what follows is right for it too
            with lock:
                lock.release()
                return work(max(0.0, deadline - time.monotonic()))
        except BaseException:
            while lock._is_owned():  # type: ignore[attr-defined]
                lock.release()
            raise

    def try_take(self, work: Callable[[], None]) -> bool:
        """Call `work` if it can be this thread's turn at once; return whether it was called."""
        if self._pid != os.getpid():
            self._renew()
        lock = self._lock
        if lock._is_owned() or not lock.acquire(blocking=False):  # type: ignore[attr-defined]
            return False
        try:
            work()
        finally:
            lock.release()
        return True

    # -- around a fork ---------------------------------------------------------------------------

    def hold(self, timeout: float) -> bool:
        """Keep the turn over a fork; return whether it came in time."""
        return self._lock.acquire(timeout=timeout)

    def give(self) -> None:
        """Give back what `hold` kept."""
        self._lock.release()

    def _renew(self) -> None:
        with _renewing[0]:
            if self._pid != os.getpid():
                self._lock = threading.RLock()
                self._pid = os.getpid()


_renewing: Final = [threading.Lock()]


def _after_fork_in_child() -> None:
    _renewing[0] = threading.Lock()


os.register_at_fork(after_in_child=_after_fork_in_child)
