"""What the documents and states of a RunEngine say about how far it is."""

from __future__ import annotations

import math
import operator
import reprlib
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

__all__ = ["Progress"]

_LONGEST: Final = 200
"""Characters of an argument of a plan, and of an error."""

_MOST_ARGUMENTS: Final = 20

_PAUSED: Final = ("pausing", "paused")

_short: Final = reprlib.Repr()
_short.maxstring = _short.maxother = _LONGEST
_short.maxlist = _short.maxtuple = _short.maxdict = 10


@dataclass(slots=True)
class _Run:
    """One run, open or over."""

    uid: str
    scan_id: int | None
    started: float
    expected: int | None
    points: dict[str, int] = field(default_factory=dict)
    """The number of the last point, by the name of its stream."""
    timed: tuple[int, float] | None = None
    """A point that the rate is measured from: its number and time."""
    latest: tuple[int, float] = (0, 0.0)

    def note(self, stream: str, number: int) -> None:
        self.points[stream] = number
        if stream == "primary" or "primary" not in self.points:
            now = time.time()
            self.latest = number, now
            if self.timed is None or number <= self.timed[0]:  # the first one, or a replay
                self.timed = number, now

    def resumed_after(self, seconds: float) -> None:
        """Leave the time of a pause out of the rate."""
        if self.timed is not None:
            self.timed = self.timed[0], self.timed[1] + seconds

    @property
    def done(self) -> int:
        if "primary" in self.points:
            return self.points["primary"]
        return max(self.points.values(), default=0)

    def finish(self) -> float | None:
        """Return when the last point will be there, at the rate of those that are."""
        if self.expected is None or self.timed is None:
            return None
        (first, since), (last, at) = self.timed, self.latest
        if last <= first or at <= since:
            return None
        return at + max(0, self.expected - last) * (at - since) / (last - first)


class Progress:
    """Follows one RunEngine. Thread-safe; each method takes microseconds.

    Attributes
    ----------
    changes : int
        Counts what was told.
    """

    def __init__(self, state: str) -> None:
        self.changes = 0
        self._lock = threading.Lock()
        self._state = state
        self._paused_at: float | None = None
        self._plan: dict[str, Any] = {"plan_name": None, "plan_args": {}, "plan_started": None}
        self._plan_over = True
        self._runs: dict[str, _Run] = {}
        self._last: _Run | None = None
        self._streams: dict[str, tuple[_Run, str]] = {}
        self._runs_done = 0
        self._exit_status: str | None = None
        self._error: str | None = None

    # -- what happens ------------------------------------------------------------------------------

    def state(self, state: str) -> None:
        """Note a new state of the RunEngine."""
        with self._lock:
            self.changes += 1
            self._state = state
            if state in _PAUSED:
                self._paused_at = self._paused_at or time.time()
            elif self._paused_at is not None:
                for run in self._runs.values():
                    run.resumed_after(time.time() - self._paused_at)
                self._paused_at = None

    def plan_began(self, name: str) -> None:
        """Note that a plan begins; what is known of the last one is over."""
        with self._lock:
            self.changes += 1
            self._plan = {"plan_name": name, "plan_args": {}, "plan_started": time.time()}
            self._plan_over = False
            self._runs, self._streams, self._last = {}, {}, None
            self._runs_done = 0
            self._exit_status = self._error = None

    def plan_ended(self, exit_status: str, error: BaseException | None) -> None:
        """Note how it ended: with an error, if that is why."""
        with self._lock:
            self.changes += 1
            self._plan_over = True
            self._exit_status = exit_status
            if error is not None:
                self._error = _line(f"{type(error).__name__}: {error}")

    def document(self, name: str, doc: Mapping[str, Any]) -> None:
        """Note a document."""
        match name:
            case "event":
                self._point(doc["descriptor"], doc["seq_num"])
            case "event_page":
                if doc["seq_num"]:
                    self._point(doc["descriptor"], doc["seq_num"][-1])
            case "stream_datum":
                self._point(doc["descriptor"], doc["seq_nums"]["stop"] - 1)
            case "start":
                self._start(doc)
            case "descriptor":
                with self._lock:
                    run, stream = self._runs.get(doc["run_start"]), doc.get("name", "primary")
                    if run is not None and _counts(stream):
                        self._streams[doc["uid"]] = run, stream
            case "stop":
                self._stop(doc)

    def _point(self, descriptor: str, number: int) -> None:
        with self._lock:
            if (found := self._streams.get(descriptor)) is not None:
                self.changes += 1
                found[0].note(found[1], number)

    def _start(self, doc: Mapping[str, Any]) -> None:
        run = _Run(doc["uid"], doc.get("scan_id"), doc["time"], _expected(doc))
        arguments = doc.get("plan_args")
        with self._lock:
            self.changes += 1
            self._runs[run.uid] = run
            if isinstance(arguments, Mapping):
                first = list(arguments.items())[:_MOST_ARGUMENTS]
                self._plan["plan_args"] = {str(key): _line(value) for key, value in first}
            if doc.get("plan_name"):
                self._plan["plan_name"] = _line(doc["plan_name"])

    def _stop(self, doc: Mapping[str, Any]) -> None:
        with self._lock:
            self.changes += 1
            run = self._runs.pop(doc["run_start"], None)
            if run is not None:
                self._last = run
                self._streams = {u: s for u, s in self._streams.items() if s[0] is not run}
            self._runs_done += 1
            self._exit_status = doc["exit_status"]
            reason = doc.get("reason")
            if reason and not (self._plan_over and self._error):  # which names its type, too
                self._error = _line(reason)

    # -- what is known -----------------------------------------------------------------------------

    def fields(self) -> dict[str, Any]:
        """Return the fields of a `Status` that are about plans and runs."""
        with self._lock:
            run = next(reversed(self._runs.values()), self._last)
            known = self._plan | {
                "state": self._state,
                "runs_open": len(self._runs),
                "runs_done": self._runs_done,
                "exit_status": self._exit_status,
                "last_error": self._error,
            }
            if run is not None:
                known |= {
                    "scan_id": run.scan_id,
                    "uid": run.uid,
                    "started": run.started,
                    "points_done": run.done,
                    "points_expected": run.expected,
                }
                if self._runs and self._paused_at is None:
                    known["estimated_finish"] = run.finish()
            return known


def _counts(stream: str) -> bool:
    """Return whether the events of a stream are points of a scan."""
    return stream not in ("baseline", "interruptions") and not stream.endswith("_monitor")


def _expected(start: Mapping[str, Any]) -> int | None:
    """Return how many points a run will have, as its start document tells."""
    shape = start.get("shape")
    for value, more in (
        (start.get("num_points"), 0),
        (math.prod(shape) if isinstance(shape, list | tuple) and shape else None, 0),
        (start.get("num_intervals"), 1),
    ):
        try:
            number = operator.index(value) + more  # type: ignore[arg-type]  # it may be None
        except TypeError:
            continue
        if number > 0:
            return number
    return None


def _line(value: Any) -> str:
    text = value if isinstance(value, str) else _short.repr(value)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
