"""What is stored of a baton: one item, so that each change of it is one compare-and-set."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Self

from kv_dict.coordination.session import Session
from kv_dict.errors import DecodeError

__all__ = ["BatonRecord", "Handover", "Request"]

KEPT: Final = 32
"""How many handovers, and how many requests, are kept."""


@dataclass(frozen=True, slots=True)
class Handover:
    """One change of hands of a baton, as its log keeps it.

    Attributes
    ----------
    token : int
        The fencing token from here on.
    what : {"acquired", "released", "expired", "stolen"}
        ``"expired"``: taken over from a session that had not renewed for its lease.
    by, previous : str
        Who did it, and who held it before, as people read it; empty if nobody did.
    reason : str
        Why, where it was stolen.
    time : float
        When, in seconds since the epoch, by the clock of who did it: for people.
    """

    token: int
    what: str
    by: str
    previous: str
    reason: str
    time: float

    def __str__(self) -> str:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.time))
        of = f" from {self.previous}" if self.previous and self.what != "released" else ""
        why = f": {self.reason}" if self.reason else ""
        what = "taken over, not renewed," if self.what == "expired" else self.what
        return f"{when}  token {self.token}  {what} by {self.by}{of}{why}"


@dataclass(frozen=True, slots=True)
class Request:
    """Somebody asks the holder for the baton: who, why, and when by the clock of who asks."""

    by: str
    reason: str
    time: float


@dataclass(frozen=True, slots=True)
class BatonRecord:
    """The state of a baton.

    Attributes
    ----------
    token : int
        The fencing token: greater with every change of hands, never less.
    claim : str
        Which `Baton` object holds it; empty if none does.
    holder : Session or None
        Of which session.
    since : float
        When it took it, in seconds since the epoch, by its own clock: for people.
    lease : float
        Seconds without a renewal after which others may take it over.
    renewals : int
        Counted by the holder; what others watch.
    requests : tuple of Request
        Who has asked this holder for it.
    log : tuple of Handover
        The last 32 changes of hands, oldest first.
    """

    token: int = 0
    claim: str = ""
    holder: Session | None = None
    since: float = 0.0
    lease: float = 0.0
    renewals: int = 0
    requests: tuple[Request, ...] = ()
    log: tuple[Handover, ...] = ()

    # -- what may happen to it ---------------------------------------------------------------------

    def taken(self, what: str, by: Session, claim: str, lease: float, reason: str = "") -> Self:
        """Return it in other hands, with the next token."""
        now = time.time()
        line = Handover(self.token + 1, what, str(by), str(self.holder or ""), reason, now)
        return type(self)(self.token + 1, claim, by, now, lease, log=(*self.log, line)[-KEPT:])

    def renewed(self) -> Self:
        """Return it with a sign of life of its holder."""
        return replace(self, renewals=self.renewals + 1)

    def released(self) -> Self:
        """Return it in nobody's hands."""
        who = str(self.holder or "")
        line = Handover(self.token, "released", who, who, "", time.time())
        return replace(self, claim="", holder=None, requests=(), log=(*self.log, line)[-KEPT:])

    def asked(self, by: Session, reason: str) -> Self:
        """Return it with a request to its holder."""
        request = Request(str(by), reason, time.time())
        return replace(self, requests=(*self.requests, request)[-KEPT:])

    # -- as it is stored ---------------------------------------------------------------------------

    def as_item(self) -> dict[str, Any]:
        """Return what is stored of it."""
        return asdict(self)

    @classmethod
    def from_item(cls, item: Any, where: str) -> Self:
        """Return the record of a stored item, None or an empty one being a new baton's.

        Raises
        ------
        DecodeError
            It is something else.
        """
        if not item and (item is None or isinstance(item, dict)):
            return cls()
        try:
            match item:
                case {
                    "token": int(token),
                    "claim": str(claim),
                    "holder": holder,
                    "since": float() | int() as since,
                    "lease": float() | int() as lease,
                    "renewals": int(renewals),
                    "requests": list(requests),
                    "log": list(log),
                } if (holder is None) is (claim == ""):
                    return cls(
                        token,
                        claim,
                        None if holder is None else Session.from_item(holder),
                        since,
                        lease,
                        renewals,
                        tuple(Request(**one) for one in requests),
                        tuple(Handover(**one) for one in log),
                    )
        except (TypeError, ValueError) as error:
            raise cls._unreadable(where, item) from error
        raise cls._unreadable(where, item)

    @staticmethod
    def _unreadable(where: str, item: Any) -> DecodeError:
        return DecodeError(
            f"{where} holds {item!r:.60}, which is not the record of a baton; see that no session "
            "uses it, and delete it"
        )
