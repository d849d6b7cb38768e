"""`kv-dict watch --live`: what is there, as a picture in the terminal that keeps up with it."""

from __future__ import annotations

import logging
import signal
import sys
import time
from collections import deque
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Final

from rich.console import Console
from rich.live import Live

from kv_dict.cli.difference import NOTHING, differences
from kv_dict.cli.layouts import layout_of
from kv_dict.cli.live_view import FRESH, Last, View
from kv_dict.cli.opening import Store
from kv_dict.dashboard.layout import Layout
from kv_dict.errors import ConfigurationError, DecodeError, Unavailable
from kv_dict.integrations.bluesky import Status, read_status
from kv_dict.mapping import Change, RemoteKVMapping

__all__ = ["Picture", "show"]

FRAME: Final = 0.05
"""Seconds for which changes are gathered for one picture."""

LOOK: Final = 0.2
"""Seconds between two looks at whether the store is away, and at the clock."""

ASK: Final = 0.5
"""Seconds between two questions what the RunEngine does, and the longest for an answer."""


def show(store: Store, key: str | None, prefix: str | None, file: Path | None) -> None:
    """Draw until Ctrl-C or SIGTERM, which leave the terminal as it was.

    Parameters
    ----------
    store : Store
        What is shown.
    key, prefix : str, optional
        Which keys are listed; without, all.
    file : Path, optional
        A file with the tiles, in place of what the profile says.
    """
    layout = layout_of(store.profile(), file)
    picture = Picture(layout)
    news: SimpleQueue[Change] = SimpleQueue()
    logging.getLogger("kv_dict").setLevel(logging.CRITICAL)  # outages are drawn
    console = Console(highlight=False)
    with store.open() as md:
        view = View(layout.title, layout.tiles, md.backend.url, md.entry_point, key, prefix)
        md.subscribe(news.put)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
        with Live(console=console, screen=True, auto_refresh=False) as drawn:
            shown: object = None
            while True:
                picture.take(news, md)
                if (now := (picture.state, console.size)) != shown:
                    drawn.update(view.draw(picture, console.size), refresh=True)
                    shown = now


class Picture:
    """What is known of the keys that are shown, and how long ago it changed.

    Parameters
    ----------
    layout : Layout
        What of it is shown.

    Attributes
    ----------
    values : dict
        Of each key, in order.
    when : dict
        When each was written or seen to change, in seconds since the epoch, if that is known.
    fresh : dict
        Places that changed just now, and when, by the monotonic clock.
    last : deque of Last
        The last changes, the newest first.
    status : Status or None
        Of the RunEngine.
    status_problem : str
        Why there is none although there should be.
    stale_since : float or None
        As that of the mapping.
    """

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.values: dict[str, Any] = {}
        self.when: dict[str, float] = {}
        self.fresh: dict[tuple[str, ...], float] = {}
        self.last: deque[Last] = deque(maxlen=3)
        self.status: Status | None = None
        self.status_problem = ""
        self.stale_since: float | None = None
        self._changes = 0
        self._ask_next = 0.0
        self._has_status = True

    @property
    def state(self) -> object:
        """What is another when there is something to be drawn: a change, or a second later."""
        stale = self.stale_since is not None
        return self._changes, tuple(self.fresh), stale, self.status, int(time.time())

    def take(self, news: SimpleQueue[Change], md: RemoteKVMapping) -> None:
        """Wait for news, but not for long, and take what comes until the next picture."""
        keys = len(self.values)
        try:
            self.change(news.get(timeout=LOOK))
            until = time.monotonic() + FRAME
            while (left := until - time.monotonic()) > 0:
                self.change(news.get(timeout=left))
        except Empty:
            pass  # it is a picture's turn
        if len(self.values) > keys:
            self.values = dict(sorted(self.values.items()))
        now = time.monotonic()
        self.fresh = {path: at for path, at in self.fresh.items() if now - at < FRESH}
        self.stale_since = md.stale_since
        if self._has_status and self.stale_since is None and now >= self._ask_next:
            self._ask_next = now + ASK
            self._ask(md)

    def change(self, change: Change) -> None:
        """Take one change."""
        key = change.key
        if self.layout.hides(key):
            return
        self._changes += 1
        value = self.layout.shown(key, change.value)
        previous = self.values.get(key, NOTHING)
        known = change.time or (None if change.initial else time.time())
        if change.kind == "delete":
            self.values.pop(key, None)
            self.when.pop(key, None)
        else:
            self.values[key] = value
            self.when.pop(key, None)
            if known is not None:
                self.when[key] = known
        if change.initial:
            return
        now = time.monotonic()
        for one in differences((key,), previous, value):
            self.fresh[one.path] = now
        self.last.appendleft(Last(known or time.time(), key, change.kind, previous, value))

    def _ask(self, md: RemoteKVMapping) -> None:
        self.status_problem = ""
        try:
            self.status = read_status(md, timeout=ASK)
        except Unavailable:
            return  # it shows soon: in `stale_since`
        except ConfigurationError:  # the whole store is watched, with nothing beside it
            self._has_status = False
        except DecodeError as error:
            self.status = None
            self.status_problem = str(error)
