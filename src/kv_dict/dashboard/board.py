"""`Board`: what all sources know, ready to be sent."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any, Final

import orjson

from kv_dict.dashboard.encoding import as_item, as_news, revision_text, value_json
from kv_dict.dashboard.fanout import Fanout
from kv_dict.dashboard.recent import Recent, Seen
from kv_dict.dashboard.source import METADATA, Source
from kv_dict.errors import ConfigurationError
from kv_dict.mapping import Change

__all__ = ["Board", "by_name"]

Name = tuple[str, str, str]

KEPT_OF_LARGE: Final = 64 * 1024
"""Bytes of JSON beyond which an earlier value is not kept."""


def by_name(sources: Sequence[Source]) -> dict[str, Source]:
    """Return the sources by their names; ConfigurationError if two have the same, or for none."""
    named = {source.name: source for source in sources}
    if len(named) != len(sources) or not sources:
        names = ", ".join(source.name for source in sources)
        raise ConfigurationError(f"sources need names of their own: {names or 'there is none'}")
    return named


class Board:
    """What the sources tell, encoded once, for any number of readers. Of one event loop.

    Parameters
    ----------
    sources : sequence of Source
        Each of a name of its own.
    """

    def __init__(self, sources: Sequence[Source]) -> None:
        self.sources = by_name(sources)
        self.fanout = Fanout()
        self.recent = Recent()
        self._times: dict[Name, int] = {}
        self._latest: dict[Name, bytes] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    # -- life ------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Follow the sources."""
        self._spawn(self.fanout.run(), "beats")
        for source in self.sources.values():
            self._spawn(source.follow(self), f"source {source.name}")

    def _spawn(self, work: Any, name: str) -> None:
        task = asyncio.create_task(work, name=f"kv_dict dashboard {name}")
        self._tasks.add(task)

    async def end(self) -> None:
        """Have every reader end, and follow nothing any more."""
        self.fanout.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()

    # -- what sources tell -----------------------------------------------------------------------

    def changed(self, source: Source, part: str, change: Change) -> None:
        """See `Listener.changed`."""
        name = (source.name, part, change.key)
        there = change.kind == "put"
        value = value_json(change.value, change.key) if there else None
        previous = self._latest.get(name)
        now = time.time()
        count = self._times[name] = self._times.get(name, 0) + (not change.initial)
        revision = revision_text(change.revision, value)
        about = {"time": change.time, "seen": now, "revision": revision, "count": count}
        if change.initial:
            del about["seen"]
        self.fanout.put(name, as_item(name, value, about), gone=not there)
        if value is None:
            self._latest.pop(name, None)
            self._times.pop(name, None)
        else:
            self._latest[name] = value if len(value) <= KEPT_OF_LARGE else b'"(large)"'
        if part == METADATA:
            kept = None if value is None else self._latest[name]
            if not change.initial or change.time is not None:
                self.recent.add(name, Seen(kept, change.time or now, revision))
            if not change.initial:
                self.recent.feed.append(as_news(name, value, previous, about))

    def forget(self, source: Source) -> None:
        """See `Listener.forget`."""
        for name in [name for name in self._latest if name[0] == source.name]:
            del self._latest[name]
            self.fanout.put(name, as_item(name, None, {"time": None}), gone=True)

    def health(self, source: Source) -> None:
        """See `Listener.health`."""
        item = {"source": source.name, "health": source.about}
        self.fanout.put((source.name, "", ""), orjson.dumps(item))

    # -- for monitoring --------------------------------------------------------------------------

    def keys_of(self, source: Source) -> int:
        """Return how many keys of a source are known."""
        return sum(n[0] == source.name and n[1] == METADATA for n in self._latest)
