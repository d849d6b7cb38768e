"""What is shown of a RunEngine, and how a reader finds it."""

from __future__ import annotations

import threading
import time
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Final, Self
from weakref import WeakKeyDictionary

from kv_dict.backend import Backend
from kv_dict.coordination import Pulse
from kv_dict.coordination.beside import open_beside
from kv_dict.errors import DecodeError
from kv_dict.mapping import LayeredMapping, RemoteKVMapping

__all__ = ["ENDED", "ITEM", "Status", "read_status"]

ITEM: Final = "run"
"""The item of ``<entry point>@status`` that shows a RunEngine, unless it is given another name."""

ENDED: Final = "ended"
"""The state of a session that has said goodbye."""

MISSED: Final = 3
"""After so many renewals that did not come, a status is stale."""

_SLACK: Final = 30.0
"""Seconds by which two computers' clocks may differ where nothing better than clocks is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """A RunEngine as it was last seen. Times are in seconds since the epoch, by its own clock.

    Attributes
    ----------
    state : str
        A RunEngine's: ``"idle"``, ``"running"``, ``"pausing"``, ``"paused"``, ``"suspending"``,
        ``"stopping"``, ``"aborting"``, ``"halting"``, ``"panicked"``; or ``"ended"``: the session
        was closed.
    suspended : bool
        Whether a suspender holds it up: no beam, say.
    plan_name : str or None
        The plan under way, or the last one.
    plan_args : dict of str to str
        Its arguments, each as a line of text, as bluesky notes them at the start of a run.
    plan_started : float or None
        When it began.
    scan_id : int or None
    uid : str or None
        Of the run that is open, the innermost one, or of the last one.
    started : float or None
        When that run began.
    points_done, points_expected : int, int or None
        Points of its primary stream, and how many there will be, if its start document says so.
    estimated_finish : float or None
        When the last of them will be there if it goes on like this. None while it is paused.
    runs_open, runs_done : int
        Runs of the plan that are open, and that have been closed.
    exit_status : {"success", "abort", "fail"} or None
        How the last run, or the last plan, ended. None until one has.
    last_error : str or None
        Why the last that did not succeed did not.
    host, pid, user, program, session : str, int, str, str, str
        Where the RunEngine is, and whose; `session` is unlike any other's.
    updated : float
        When this was written.
    renewals : int
        Counted by the session, so that others see that it lives.
    renewed_every : float
        Seconds between two of them, at most.
    stale : bool
        What is shown may not be true any more: the session has not renewed it for three times as
        long. Told by the reader, and not stored.

    Examples
    --------
    >>> status = Status(state="running", plan_name="scan", points_done=7, points_expected=51)
    >>> print(status)
    running scan, point 7 of 51
    """

    state: str = "idle"
    suspended: bool = False
    plan_name: str | None = None
    plan_args: dict[str, str] = field(default_factory=dict)
    plan_started: float | None = None
    scan_id: int | None = None
    uid: str | None = None
    started: float | None = None
    points_done: int = 0
    points_expected: int | None = None
    estimated_finish: float | None = None
    runs_open: int = 0
    runs_done: int = 0
    exit_status: str | None = None
    last_error: str | None = None
    host: str = ""
    pid: int = 0
    user: str = ""
    program: str = ""
    session: str = ""
    updated: float = 0.0
    renewals: int = 0
    renewed_every: float = 0.0
    stale: bool = False

    def __str__(self) -> str:
        """Return a line for a prompt or a display."""
        words = [self.state]
        if self.state not in ("idle", ENDED):
            words += [self.plan_name or "a plan"]
            if self.scan_id is not None and self.runs_open:
                words[-1] += f" #{self.scan_id}"
            if self.points_expected:
                words[-1] += f", point {self.points_done} of {self.points_expected}"
            elif self.points_done:
                words[-1] += f", point {self.points_done}"
            if self.suspended:
                words += ["(suspended)"]
        if self.stale:
            words += ["(stale)"]
        return " ".join(words)

    def as_item(self) -> dict[str, Any]:
        """Return what is stored of it."""
        item = asdict(self)
        del item["stale"]
        return item

    @classmethod
    def from_item(cls, item: Any) -> Self:
        """Return the status of a stored item; fields that this version does not know are ignored.

        Raises
        ------
        DecodeError
            It is something else.
        """
        if not isinstance(item, dict) or not isinstance(item.get("state"), str):
            raise DecodeError(f"{item!r:.60} is not the status of a RunEngine")
        known = {one.name for one in fields(cls)} - {"stale"}
        status = cls(**{name: value for name, value in item.items() if name in known})
        for name, kind in _KINDS.items():
            if not isinstance(getattr(status, name), kind):
                raise DecodeError(f"the status of a RunEngine has {name}={item[name]!r:.60}")
        return status


_NUMBER: Final = (int, float)
_MAYBE: Final = (int, float, type(None))
_TEXT: Final = (str, type(None))
_KINDS: Final[dict[str, Any]] = {
    "suspended": bool,
    "plan_name": _TEXT,
    "plan_args": dict,
    "plan_started": _MAYBE,
    "scan_id": (int, type(None)),
    "uid": _TEXT,
    "started": _MAYBE,
    "points_done": int,
    "points_expected": (int, type(None)),
    "estimated_finish": _MAYBE,
    "runs_open": int,
    "runs_done": int,
    "exit_status": _TEXT,
    "last_error": _TEXT,
    "host": str,
    "pid": int,
    "user": str,
    "program": str,
    "session": str,
    "updated": _NUMBER,
    "renewals": int,
    "renewed_every": _NUMBER,
}

_pulses: WeakKeyDictionary[Backend, dict[tuple[str, str], Pulse]] = WeakKeyDictionary()
_lock = threading.Lock()


def read_status(
    md: RemoteKVMapping | LayeredMapping, name: str = ITEM, *, timeout: float = 1.0
) -> Status | None:
    """Return what is shown of the RunEngine that uses this metadata; None if none ever did.

    Parameters
    ----------
    md : RemoteKVMapping or LayeredMapping
        The metadata that is shared.
    name : str
        Which RunEngine, where several are shown.
    timeout : float
        Seconds.

    Raises
    ------
    Unavailable
        The store cannot be asked.
    DecodeError
        What is there is not a status.

    Notes
    -----
    Thread-safe. Whether it is stale is measured by this process's own clock, once it has seen
    it change. Before, the clocks of the two computers are compared, and may differ by half a
    minute.

    Examples
    --------
    >>> read_status(md) is None
    True
    """
    with open_beside(md, "status", timeout=timeout) as items:
        item = items.get(name)
        backend, where = items.backend, items.entry_point
    if item is None:
        return None
    status = Status.from_item(item)
    with _lock:
        pulses = _pulses.setdefault(backend, {})
        pulse = pulses.setdefault((where, name), Pulse())
        still = pulse.see((status.session, status.renewals))
        moved = pulse.moved
    if not moved:
        still = max(still, time.time() - status.updated - _SLACK)
    return replace(status, stale=status.state != ENDED and still > MISSED * status.renewed_every)
