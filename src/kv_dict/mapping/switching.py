"""Making a mapping that of another entry point, for all who hold it."""

from __future__ import annotations

import time
from collections.abc import Callable

from kv_dict.backend import Backend
from kv_dict.errors import Unavailable
from kv_dict.keys import KeySpace
from kv_dict.locks import Turn
from kv_dict.mapping.feed import Source
from kv_dict.mapping.lifetime import ending
from kv_dict.mapping.scope import Scope
from kv_dict.mapping.subscriptions import Subscriptions

__all__ = ["Switching"]


class Switching:
    """The part of `RemoteKVMapping` that switches it."""

    _scope: Scope
    _source: Source
    _subscriptions: Subscriptions
    _switches: Turn
    _switch_checks: list[Callable[[str], object]]

    _open: Callable[[Backend, KeySpace, float], Scope]

    def switch(self, entry_point: str) -> None:
        """Make this the mapping of another entry point of the same store, in place.

        All who hold it see the other items from then on, and subscribers are told what is
        different, as changes. Nothing is copied, and nothing is removed.

        Parameters
        ----------
        entry_point : str
            Where to go.

        Raises
        ------
        Unavailable
            The store cannot be reached, or has not taken in time the writes that wait for it. All
            is as it was, as after any other error.
        RunOpenError
            A run is open, where `stay_during_runs` or a `BeamlineSession` looks after that.

        Notes
        -----
        Operations that are under way finish where they began. A container that was read before
        raises ConflictError when it is changed: read it again. A `pin` ends. See
        :doc:`/explanations/switching`.

        Examples
        --------
        >>> device_holds = md
        >>> md["sample"] = "Fe2O3"
        >>> md.switch("proposal-319")
        >>> device_holds.get("sample", "none yet")
        'none yet'
        """
        timeout = self._scope.timeout

        def busy() -> Unavailable:
            return Unavailable(f"md.switch: another one was not done within {timeout:g} s")

        self._switches.take(lambda left: self._switch(entry_point, left), timeout, busy)

    def before_switch(self, check: Callable[[str], object]) -> Callable[[], None]:
        """Have a function decide whether this mapping may be switched.

        Parameters
        ----------
        check : callable
            Called with the entry point before each switch, in the thread that switches. What it
            raises is what `switch` raises, and all is as it was.

        Returns
        -------
        callable
            Call it to have the function asked no more.

        Examples
        --------
        >>> def not_now(entry_point):
        ...     raise RuntimeError(f"not to {entry_point!r}: the shutter is open")
        >>> undo = md.before_switch(not_now)
        >>> md.switch("proposal-319")
        Traceback (most recent call last):
            ...
        RuntimeError: not to 'proposal-319': the shutter is open
        >>> undo()
        """
        self._switch_checks.append(check)

        def undo() -> None:
            if check in self._switch_checks:
                self._switch_checks.remove(check)

        return undo

    def check_switch(self, entry_point: str) -> None:
        """Raise what those who were given to `before_switch` say against a switch."""
        for check in tuple(self._switch_checks):
            check(entry_point)

    def _switch(self, entry_point: str, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        old = self._scope
        old.check_open()
        space = KeySpace(entry_point, old.space.sep)
        if space.prefix == old.space.prefix:
            return
        self.check_switch(entry_point)
        new = self._open(old.backend, space, old.timeout)
        try:
            new.ping()
            while not self._go(old, new):
                if not old.settled(deadline - time.monotonic()):
                    raise Unavailable(
                        f"md.switch({entry_point!r}): writes of {', '.join(old.waiting)} still "
                        "wait for the store; the mapping stays where it is"
                    )
        finally:
            if old.left_for is None:
                new.close()
            else:
                if self._source.scope is not new:  # an interrupt came in between: it is too late
                    self._arrive(new)
                old.release()

    def _go(self, old: Scope, new: Scope) -> bool:
        """Leave one scope for another; False if that has to wait for writes that wait there."""
        while True:
            if self._source.followed:
                new.follow()
            with ending:  # nobody subscribes, closes, or has a write wait meanwhile
                if self._source.followed and new.replica is None:
                    continue
                if not old.leave(new.space.entry_point):
                    return False
                self._arrive(new)
                return True

    def _arrive(self, new: Scope) -> None:
        self._scope = new
        self._source.move(new)
