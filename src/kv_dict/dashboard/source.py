"""`Source`: one entry point, followed for ever, whatever happens to its store.

An entry point has companions in the same store, which programs keep beside it: what its RunEngine
does (``@status``), who is there (``@presence``) and who is in control (``@baton``).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Final, Protocol

from kv_dict.coordination.beside import beside
from kv_dict.dashboard.layout import Layout
from kv_dict.errors import ClosedError, ConfigurationError, KVDictError
from kv_dict.mapping import Change, RemoteKVMapping

__all__ = ["COMPANIONS", "METADATA", "Listener", "Source"]

_log = logging.getLogger("kv_dict.dashboard")

METADATA: Final = "metadata"
COMPANIONS: Final = ("status", "presence", "baton")
RETRY: Final = 1.0
LOOK: Final = 0.2
"""Seconds between two looks at whether the store is away."""


class Listener(Protocol):
    """Who is told what a source learns, in the event loop."""

    def changed(self, source: Source, part: str, change: Change) -> None:
        """One key of the entry point, or of a companion, is another."""

    def forget(self, source: Source) -> None:
        """Drop what was told: it is not known to be true any more, and is told again."""

    def health(self, source: Source) -> None:
        """`Source.state` or what goes with it is another."""


class Source:
    """One entry point and its companions.

    Parameters
    ----------
    name : str
        What it is called in the API and on the page.
    opener : callable
        Returns the mapping, reading from a replica; called in a thread, again until it succeeds.
    layout : Layout
        What the board shows of it, and which keys nobody gets.

    Attributes
    ----------
    mapping : RemoteKVMapping or None
        None until the store was reached.
    state : {"connecting", "live", "stale", "failed"}
        ``"failed"``: the store is there, and cannot be used as it is configured.
    since : float
        Of `state`: when the last good news came, if it is stale; seconds since the epoch.
    reason : str
        For people.
    """

    def __init__(
        self, name: str, opener: Callable[[], RemoteKVMapping], layout: Layout | None = None
    ) -> None:
        self.name = name
        self.layout = layout or Layout()
        self._open = opener
        self.mapping: RemoteKVMapping | None = None
        self.state = "connecting"
        self.since = time.time()
        self.reason = ""

    def __repr__(self) -> str:
        return f"<Source {self.name!r}, {self.state}>"

    @property
    def about(self) -> dict[str, Any]:
        """What is told of it; nothing secret."""
        md = self.mapping
        return {
            "state": self.state,
            "since": self.since,
            "reason": self.reason,
            "url": "" if md is None else md.backend.url,
            "entry_point": "" if md is None else md.entry_point,
        }

    def open(self) -> None:
        """Open the mapping, in this thread: to find a mistake before anything is served.

        Raises
        ------
        ConfigurationError
            It can never be opened like this.
        Unavailable
            Not now; `follow` tries again.
        """
        if self.mapping is None:
            self.mapping = self._open()

    def close(self) -> None:
        """Close the mapping, in this thread."""
        md, self.mapping = self.mapping, None
        if md is not None:
            md.close()

    async def follow(self, listener: Listener) -> None:
        """Tell `listener` what is there and every change, until cancelled."""
        listener.health(self)
        try:
            while True:
                try:
                    await _in_thread(self.open)
                    await self._follow_parts(listener)
                except* KVDictError as group:
                    error = group.exceptions[0]
                    self._became(
                        listener,
                        "failed" if isinstance(error, ConfigurationError) else "connecting",
                        str(error),
                    )
                except* Exception:  # noqa: BLE001 - it is told, and the task goes on
                    _log.exception("%s: following it failed; it is begun again", self.name)
                    self._became(listener, "failed", "following it failed; the log says why")
                await _in_thread(self.close)
                listener.forget(self)
                await asyncio.sleep(RETRY)
        finally:
            await _in_thread(self.close)

    async def _follow_parts(self, listener: Listener) -> None:
        md = self.mapping
        assert md is not None  # noqa: S101 - it was opened
        followed = [md]
        try:
            await _in_thread(_open_companions, md, followed)
            async with asyncio.TaskGroup() as tasks:
                for part, mapping in zip((METADATA, *COMPANIONS), followed, strict=False):
                    tasks.create_task(self._follow(listener, part, mapping))
                tasks.create_task(self._look(listener, followed))
        finally:
            for companion_mapping in followed[1:]:
                await _in_thread(companion_mapping.close)

    async def _follow(self, listener: Listener, part: str, mapping: RemoteKVMapping) -> None:
        async with aclosing(mapping.changes()) as changes:
            async for change in changes:
                if part != METADATA:
                    listener.changed(self, part, change)
                elif not self.layout.hides(change.key):
                    shown = self.layout.shown(change.key, change.value)
                    listener.changed(self, part, replace(change, value=shown, previous=None))
        raise ClosedError(f"{self.name}: the mapping was closed")

    async def _look(self, listener: Listener, followed: list[RemoteKVMapping]) -> None:
        while True:
            await asyncio.sleep(LOOK)
            away = [since for m in followed if (since := m.stale_since) is not None]
            if away:
                self._became(listener, "stale", "the store cannot be reached", min(away))
            else:
                self._became(listener, "live", "")

    def _became(
        self, listener: Listener, state: str, reason: str, since: float | None = None
    ) -> None:
        if (state, reason) != (self.state, self.reason):
            self.state, self.reason = state, reason
            self.since = time.time() if since is None else since
            listener.health(self)


def _open_companions(md: RemoteKVMapping, opened: list[RemoteKVMapping]) -> None:
    if md.sep is None and not md.entry_point:
        return  # it has the whole store: nothing is beside it
    for companion in COMPANIONS:
        mapping = RemoteKVMapping(
            md.backend,
            beside(md, companion),
            md.sep,
            reads="replica",
            timeout=md.timeout,
        )
        opened.append(mapping)


async def _in_thread(function: Callable[..., object], *arguments: Any) -> None:
    """Call it in a thread; if cancelled, wait all the same, so that nothing is left open."""
    call = asyncio.ensure_future(asyncio.to_thread(function, *arguments))
    try:
        await asyncio.shield(call)
    except asyncio.CancelledError:
        await asyncio.wait([call])
        raise
