"""The protocol of the baton: how one contender takes it, keeps it, and learns that it is gone.

Why two cannot hold it at a time, though no two clocks are compared. A renewal is *asked for* by the
holder at its time a, and is *committed* at c > a. Another session *reads* it and has the answer at
its time r > c. The holder counts its lease from a, and stops believing at a + lease. The other one
counts from r, and takes over only after r + lease (and a tenth more, for clocks that run at
different speeds), with a compare-and-set that fails if any renewal was committed meanwhile. As
a < c < r, the holder has stopped before the other one begins, wherever either is delayed, stopped
or cut off. Both use a clock that goes on while a process is stopped or a computer sleeps.

Stealing does not wait: for as long as the robbed one has not noticed, both believe. So whatever the
baton protects should refuse a token that is less than the greatest it has seen (fencing).
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from kv_dict.coordination.pulse import Pulse, elapsed
from kv_dict.coordination.record import BatonRecord, Handover
from kv_dict.coordination.session import Session
from kv_dict.errors import NotHolder
from kv_dict.mapping import RemoteKVMapping

__all__ = ["Lease"]

MARGIN: Final = 1.1
"""How much longer than the lease others wait: no two clocks differ so much in speed."""


@dataclass(frozen=True, slots=True)
class _Grip:
    """What this contender holds: which token, and until when it can be sure of it."""

    token: int
    until: float


class _Leave(Exception):
    """Raised within a transformation to write nothing."""

    def __init__(self, record: BatonRecord) -> None:
        super().__init__()
        self.record = record


class Lease:
    """One contender for the baton. Each method is one compare-and-set; thread-safe.

    Parameters
    ----------
    items : RemoteKVMapping
        Where batons are, with ``reads="server"``.
    name : str
        Which one.
    seconds : float
        The lease.
    program : str or None
        What this session is called.
    clock : callable
        Seconds by the contender's own clock.
    """

    def __init__(
        self,
        items: RemoteKVMapping,
        name: str,
        seconds: float,
        program: str | None = None,
        clock: Callable[[], float] = elapsed,
    ) -> None:
        self._items = items
        self._name = name
        self._seconds = seconds
        self._program = program
        self._clock = clock
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._claim = uuid.uuid4().hex
        self.session = Session.here(self._program)
        self._pulse = Pulse()
        self._grip: _Grip | None = None
        self._record = BatonRecord()  # as it was last written by this contender
        self.lost: BatonRecord | None = None
        """As it was when this contender found that it had lost it."""
        self.loss: Handover | None = None
        """Who took it from this contender."""

    def _after_fork(self) -> None:
        """Have a forked child begin anew: what its parent holds is not the child's."""
        if os.getpid() != self._pid:
            self._begin()

    # -- without asking the store ----------------------------------------------------------------

    @property
    def token(self) -> int | None:
        """The fencing token, if this contender has not learnt of its loss."""
        grip = self._grip
        return grip.token if grip is not None and os.getpid() == self._pid else None

    @property
    def held(self) -> bool:
        """Whether nobody else can have it by now, unless it was stolen."""
        grip = self._grip
        return grip is not None and os.getpid() == self._pid and self._clock() < grip.until

    # -- asking it -------------------------------------------------------------------------------

    def read(self) -> BatonRecord:
        """Return the record as the store has it now."""
        return self._parse(self._items.get(self._name))

    def still(self, record: BatonRecord) -> float:
        """Return for how many seconds a record that was just read has not been renewed."""
        # With the claim: a store that lost everything counts from 1 again, for somebody else.
        return self._pulse.see((record.claim, record.token, record.renewals), self._clock())

    def attempt(self) -> BatonRecord | None:
        """Take it, if it is free or its holder gone; None, or the record of who has it."""

        def take(record: BatonRecord) -> BatonRecord:
            if record.claim == self._claim:  # an earlier attempt whose outcome was unknown
                return record.renewed()
            if not record.claim:
                return self._mine(record, "acquired")
            if self.still(record) > record.lease * MARGIN:
                return self._mine(record, "expired")
            raise _Leave(record)

        try:
            self._change(take)
        except _Leave as left:
            return left.record
        return None

    def steal(self, reason: str) -> None:
        """Take it from whoever has it."""
        self._change(
            lambda record: (
                record.renewed()
                if record.claim == self._claim
                else self._mine(record, "stolen" if record.claim else "acquired", reason)
            )
        )

    def renew(self) -> BatonRecord:
        """Give a sign of life; NotHolder if it is gone, and `lost` says to whom."""
        self._after_fork()
        grip = self._grip
        if grip is None:
            raise NotHolder("the baton is not held here")

        def renew(record: BatonRecord) -> BatonRecord:
            if record == BatonRecord():  # the store lost it, and nobody has taken it since
                return self._record.renewed()
            if (record.claim, record.token) != (self._claim, grip.token):
                raise _Leave(record)
            return record.renewed()

        try:
            return self._change(renew, only=grip.token)
        except _Leave as left:
            if self._grip is not None and self._grip.token == grip.token:
                self._grip, self.lost = None, left.record
                later = (line for line in left.record.log if line.token > grip.token)
                self.loss = next(later, None)
            raise NotHolder("the baton is not held here any more") from None

    def release(self) -> bool:
        """Give it up, here first and then in the store; False if it was gone already.

        An exception says that the store does not know yet: the lease will end it.
        """
        self._after_fork()
        grip, self._grip = self._grip, None
        if grip is None:
            return False

        def release(item: Any) -> Any:
            record = self._parse(item)
            if (record.claim, record.token) != (self._claim, grip.token):
                raise _Leave(record)
            return record.released().as_item()

        try:
            self._items.transform(self._name, release, {})
        except _Leave:
            return False
        return True

    def ask(self, reason: str) -> BatonRecord:
        """Leave a request to the holder, and return its record; nothing if nobody holds it."""

        def ask(item: Any) -> Any:
            record = self._parse(item)
            if not record.claim:
                raise _Leave(record)
            return record.asked(self.session, reason).as_item()

        try:
            return self._parse(self._items.transform(self._name, ask, {}))
        except _Leave as left:
            return left.record

    # -- helpers -----------------------------------------------------------------------------------

    def _change(
        self, function: Callable[[BatonRecord], BatonRecord], *, only: int | None = None
    ) -> BatonRecord:
        """Change the record into one that is held here, and count the lease from before asking."""
        self._after_fork()
        asked = self._clock()
        item = self._items.transform(
            self._name, lambda item: function(self._parse(item)).as_item(), {}
        )
        record = self._parse(item)
        grip = self._grip
        if only is None or (grip is not None and grip.token == only):  # not released meanwhile
            self._grip = _Grip(record.token, asked + record.lease)
            self._record, self.lost, self.loss = record, None, None
        return record

    def _mine(self, record: BatonRecord, what: str, reason: str = "") -> BatonRecord:
        return record.taken(what, self.session, self._claim, self._seconds, reason)

    def _parse(self, item: Any) -> BatonRecord:
        return BatonRecord.from_item(item, f"{self._items.entry_point}[{self._name!r}]")
