"""Telling from afar whether a session lives, without comparing two computers' clocks.

A session that lives counts, in the store. Whoever wants to know looks twice: a count that has
moved on was written in between, by somebody who was alive then. How long is "in between" is
measured by the looker's own clock alone.
"""

from __future__ import annotations

import math
import time
from collections.abc import Hashable
from typing import Any, Final

from kv_dict.errors import ConfigurationError

__all__ = ["Pulse", "check_seconds", "elapsed"]

_CLOCK: Final[int | None] = getattr(time, "CLOCK_BOOTTIME", None)


def elapsed() -> float:
    """Return seconds by a clock that is never set, and runs while the computer is suspended too.

    `time.monotonic` stands still then, on Linux: a laptop that was closed for an hour would go on
    believing in what it held before.
    """
    return time.monotonic() if _CLOCK is None else time.clock_gettime(_CLOCK)


def check_seconds(name: str, value: Any, least: float) -> float:
    """Return an option that is a number of seconds; ConfigurationError if it is none."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not (number and math.isfinite(value) and value >= least):
        raise ConfigurationError(f"{name}={value!r}: seconds, {least:g} or more")
    return float(value)


class Pulse:
    """How long a count has stood still, as seen from here.

    Examples
    --------
    >>> pulse = Pulse()
    >>> pulse.see(7, now=100.0), pulse.see(7, now=103.5), pulse.see(8, now=104.0)
    (0.0, 3.5, 0.0)
    >>> pulse.moved
    True
    """

    def __init__(self) -> None:
        self._seen: tuple[Hashable, float] | None = None  # replaced as one: threads may share it
        self.moved = False
        """Whether it has been seen to move."""

    def see(self, count: Hashable, now: float | None = None) -> float:
        """Note what was just read; return for how many seconds it has been the same.

        To be called after the store answered: what is counted from then on is less than what has
        really passed since it was written, never more.
        """
        now = elapsed() if now is None else now
        seen = self._seen
        if seen is not None and seen[0] == count:
            return now - seen[1]
        self.moved = seen is not None
        self._seen = count, now
        return 0.0
