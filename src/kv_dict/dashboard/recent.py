"""What this process has seen of each item lately: for plots, timelines and the feed."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable
from typing import Final, NamedTuple

__all__ = ["Recent", "Seen"]

FOR_EACH: Final = 500
"""States of one item that are kept."""

BYTES: Final = 32 * 1024 * 1024
"""Of all of them."""

FEED: Final = 200
"""Changes that the feed begins with."""

_OVERHEAD: Final = 160


class Seen(NamedTuple):
    """One state of an item: JSON, or None where it was deleted, and when that was."""

    value: bytes | None
    time: float
    revision: str | None


class Recent:
    """The last states of each item, in bounded memory: what changed long ago is forgotten first.

    Parameters
    ----------
    for_each : int
        States of one item.
    limit : int
        Bytes of all of them.
    """

    def __init__(self, *, for_each: int = FOR_EACH, limit: int = BYTES) -> None:
        self._for_each = for_each
        self._limit = limit
        self._size = 0
        self._states: OrderedDict[Hashable, deque[Seen]] = OrderedDict()
        self.feed: deque[bytes] = deque(maxlen=FEED)

    def add(self, name: Hashable, seen: Seen) -> None:
        """Note a state."""
        states = self._states.setdefault(name, deque())
        self._states.move_to_end(name)
        states.append(seen)
        self._size += _size(seen)
        if len(states) > self._for_each:
            self._size -= _size(states.popleft())
        while self._size > self._limit and self._states:
            oldest = next(iter(self._states))
            of_oldest = self._states[oldest]
            self._size -= _size(of_oldest.popleft())
            if not of_oldest:
                del self._states[oldest]

    def of(self, name: Hashable) -> tuple[Seen, ...]:
        """Return the states of one item, oldest first."""
        return tuple(self._states.get(name, ()))


def _size(seen: Seen) -> int:
    return _OVERHEAD + len(seen.value or b"")
