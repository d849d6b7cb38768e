"""One state, told to many: what has changed since a reader last looked.

Nothing is queued for a reader. There is the last state of each item, in the order of the last
changes, and a reader is only a number: how far it has read. So a reader that stalls costs nobody
anything, and when it goes on it is told what is true by then. Each item is encoded once, and
readers that are equally far share the bytes of a frame.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final

__all__ = ["Counts", "Fanout"]

INTERVAL: Final = 0.05
"""Seconds between two frames, at least: an eye sees no more than that."""

BEAT: Final = 1.0
"""Seconds between two beats, which tell a reader that silence is not an outage."""

GONE_KEPT: Final = 10_000
"""Items that are gone and still known to be, so that a reader who was away is told."""


@dataclass(slots=True)
class Counts:
    """What happened so far, for monitoring."""

    changes: int = 0
    frames: int = 0
    bytes: int = 0
    resumed: int = 0
    snapshots: int = 0
    stalled: int = 0


@dataclass(slots=True)
class _Item:
    number: int
    data: bytes
    gone: bool


class Fanout:
    """The last state of each item, and what of it is new to whom. Of one event loop.

    Parameters
    ----------
    interval : float
        Seconds between two frames, at least.
    beat : float
        Seconds between two beats.
    gone_kept : int
        How many deletions are remembered. A reader who was away for longer gets everything.

    Attributes
    ----------
    epoch : str
        Part of every event id: those of another process, or of one before a restart, are not taken
        for its own.
    viewers : int
        Readers now.
    """

    def __init__(
        self, *, interval: float = INTERVAL, beat: float = BEAT, gone_kept: int = GONE_KEPT
    ) -> None:
        self.epoch = secrets.token_hex(4)
        self.counts = Counts()
        self.viewers = 0
        self.closed = False
        self.told = 0
        self.beats = 0
        self.beat_frame = b""
        self._interval = interval
        self._beat = beat
        self._gone_kept = gone_kept
        self._gone = 0
        self._floor = 0
        self._number = 0
        self._items: dict[Hashable, _Item] = {}
        self._frames: dict[int, bytes] = {}
        self._whole: tuple[int, bytes] = (-1, b"")
        self._turn = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._last_turn = 0.0

    def __len__(self) -> int:
        return len(self._items) - self._gone

    # -- telling ---------------------------------------------------------------------------------

    def put(self, name: Hashable, data: bytes, *, gone: bool = False) -> None:
        """Make `data`, one line of JSON, the state of an item; `gone` if that is no item any more.

        Readers are told at the next frame.
        """
        self._number += 1
        self.counts.changes += 1
        before = self._items.pop(name, None)
        self._gone += gone - (before is not None and before.gone)
        self._items[name] = _Item(self._number, data, gone)
        if self._gone > self._gone_kept:
            self._forget_deletions()
        if self._timer is None and not self.closed:
            loop = asyncio.get_running_loop()
            wait = self._last_turn + self._interval - loop.time()
            self._timer = loop.call_later(max(0.0, wait), self._next_turn)

    def _forget_deletions(self) -> None:
        """Forget the older half of them."""
        forget = self._gone - self._gone_kept // 2
        for name, item in tuple(self._items.items()):
            if item.gone:
                del self._items[name]
                self._floor = item.number
                self._gone -= 1
                forget -= 1
                if not forget:
                    return

    def _next_turn(self) -> None:
        self._timer = None
        self._last_turn = asyncio.get_running_loop().time()
        self.told = self._number
        self._frames.clear()
        self._wake()

    def _wake(self) -> None:
        self._turn.set()
        self._turn = asyncio.Event()

    async def run(self) -> None:
        """Send beats, until it is cancelled."""
        while True:
            self.beats += 1
            self.beat_frame = b'event: beat\ndata: {"time":%.3f}\n\n' % time.time()
            self._wake()
            await asyncio.sleep(self._beat)

    def close(self) -> None:
        """Have every reader end."""
        self.closed = True
        if self._timer is not None:
            self._timer.cancel()
        self._wake()

    # -- reading ---------------------------------------------------------------------------------

    def position(self, event_id: str | None) -> int | None:
        """Return how far a reader is that has seen `event_id`; None if it has to begin anew."""
        epoch, dash, number = (event_id or "").partition("-")
        if not dash or epoch != self.epoch or not (number.isascii() and number.isdigit()):
            return None
        position = int(number[:19])
        return position if self._floor <= position <= self._number else None

    def snapshot(self) -> tuple[int, bytes]:
        """Return a position, and ``{"id": ..., "items": [...]}``: everything up to there."""
        if self._whole[0] != self._number:
            items = b",".join([item.data for item in self._items.values() if not item.gone])
            whole = b'{"id":"%s","time":%.3f,"items":[%s]}' % (self._id(), time.time(), items)
            self._whole = self._number, whole
        return self._whole

    def since(self, position: int) -> bytes:
        """Return the event that brings a reader up to `told`; empty if it is there."""
        if position >= self.told:
            return b""
        frame = self._frames.get(position)
        if frame is None:
            new = []
            for item in reversed(self._items.values()):
                if item.number <= position:
                    break
                new.append(item.data)
            new.reverse()
            # All of what is there now, the part that is not told yet too; telling it twice is no
            # mistake, and the id says what is certain.
            frame = b"id: %s-%d\nevent: changes\ndata: [%s]\n\n" % (
                self.epoch.encode(),
                self.told,
                b",".join(new),
            )
            self._frames[position] = frame
        return frame

    async def turn(self) -> None:
        """Return when there is something new, a beat at least, or at the end."""
        if not self.closed:
            await self._turn.wait()

    def _id(self) -> bytes:
        return f"{self.epoch}-{self._number}".encode()
