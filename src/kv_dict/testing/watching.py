"""Following a watch in a test: what it has said so far, and waiting for more under a deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from types import TracebackType
from typing import Final, Self

from kv_dict.backend import Backend
from kv_dict.model import Changes, Deletion, Entry, Snapshot, Stale, WatchEvent

__all__ = ["Watching"]

DEADLINE: Final = 15.0
"""Seconds that any expected event may take; only a failing test waits that long."""


class Watching:
    """A task that collects what ``backend.watch(prefix)`` yields.

    Attributes
    ----------
    events : list of WatchEvent
        Everything so far, in order.
    entries : dict of str to Entry
        What the events add up to.
    """

    def __init__(self, backend: Backend, prefix: str) -> None:
        self._backend = backend
        self._prefix = prefix
        self._news = asyncio.Condition()
        self._ended = False
        self.events: list[WatchEvent] = []
        self.entries: dict[str, Entry] = {}

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._follow(), name=f"watching {self._prefix}")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])  # what it raised is for `until` and `outcome` to tell

    async def _follow(self) -> None:
        try:
            async with aclosing(self._backend.watch(self._prefix)) as events:
                async for event in events:
                    self.events.append(event)
                    self.take(event)
                    await self._tell()
        finally:
            self._ended = True
            await self._tell()

    def take(self, event: WatchEvent) -> None:
        """Add an event to the state."""
        if isinstance(event, Snapshot):
            self.entries = {entry.key: entry for entry in event.entries}
        elif isinstance(event, Changes):
            for change in event.events:
                if isinstance(change, Entry):
                    self.entries[change.key] = change
                else:
                    self.entries.pop(change.key, None)

    @property
    def state(self) -> dict[str, bytes]:
        """The values by key."""
        return {key: entry.value for key, entry in self.entries.items()}

    async def _tell(self) -> None:
        async with self._news:
            self._news.notify_all()

    async def until(self, condition: Callable[[Self], bool], what: str) -> None:
        """Return when `condition` holds; AssertionError, with what was seen, if it never does."""
        try:
            async with asyncio.timeout(DEADLINE), self._news:
                while not condition(self):
                    if self._ended:
                        await self._task
                        raise AssertionError(f"the watch ended before {what}")
                    await self._news.wait()
        except TimeoutError:
            seen = f"{len(self.events)} events, the last {self.events[-5:]}; {self.state!r:.500}"
            raise AssertionError(f"not within {DEADLINE:g} s: {what}; saw {seen}") from None

    async def until_synced(self, times: int = 1) -> None:
        """Return when there were that many snapshots."""
        await self.until(lambda w: w.count(Snapshot) >= times, f"{times} snapshot(s)")

    async def until_state(self, state: dict[str, bytes]) -> None:
        """Return when the events add up to `state`."""
        await self.until(lambda w: w.state == state, f"the state {state!r:.500}")

    def count(self, kind: type[Snapshot | Changes | Stale]) -> int:
        """Return how many events of a kind there were."""
        return sum(isinstance(event, kind) for event in self.events)

    def changes(self) -> list[Entry | Deletion]:
        """Return every single change so far, in order."""
        return [
            change for event in self.events if isinstance(event, Changes) for change in event.events
        ]

    async def outcome(self) -> BaseException | None:
        """Wait for the watch to end by itself; return what it raised."""
        done, _ = await asyncio.wait([self._task], timeout=DEADLINE)
        assert done, "the watch did not end"  # noqa: S101 - this is a test
        return self._task.exception()
