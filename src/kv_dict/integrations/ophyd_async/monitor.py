"""One monitored signal: from changes of the mapping to readings, in an event loop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any

from bluesky.protocols import Reading

from kv_dict.errors import KVDictError
from kv_dict.integrations.ophyd_async.datatypes import equal
from kv_dict.integrations.ophyd_async.item import Item, Present
from kv_dict.integrations.ophyd_async.readings import Readings
from kv_dict.mapping import Change

__all__ = ["Monitor"]

_log = logging.getLogger("kv_dict")


class Monitor:
    """Calls a callback with each reading that differs from the one before, until it is closed.

    To be made and closed in the event loop that it calls in. The first call is made at once.

    Parameters
    ----------
    item : Item
        Whose changes are told. Its mapping is followed already.
    readings : Readings
        What makes readings of them.
    loop : asyncio.AbstractEventLoop
        Where the callback is called.
    callback : callable
        Called with a reading.

    Raises
    ------
    KeyError, DecodeError
        There is no value to begin with.
    """

    def __init__(
        self,
        item: Item,
        readings: Readings,
        loop: asyncio.AbstractEventLoop,
        callback: Callable[[Reading[Any]], object],
    ) -> None:
        self._item = item
        self._readings = readings
        self._loop = loop
        self._callback = callback
        self._closed = False
        self._reason: str | None = None
        self._present: Present
        self._told: Reading[Any]
        self._feed = item.md.feed(self._wake, key=item.key)
        try:
            changes = list(self._feed.take())
            self._present = self._of(changes[-1]) if changes else self._absent()
            self._tell(readings.of(self._present, local=True))
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Call nothing more."""
        self._closed = True
        self._feed.close()

    def _wake(self) -> None:
        """Have `_take` called in the loop; called from any thread."""
        with contextlib.suppress(RuntimeError):  # the loop was closed: nobody is there to be told
            self._loop.call_soon_threadsafe(self._take)

    def _take(self) -> None:
        for change in self._feed.take():
            self._note(change)
        if not self._closed and self._reason is None:
            # Not a change but the store may have been lost or found.
            self._tell_if_new(self._readings.of(self._present, local=True))

    def _note(self, change: Change) -> None:
        if self._closed:  # by a callback just now
            return
        try:
            self._present = self._of(change)
        except (KVDictError, KeyError) as error:
            reason = str(error.args[0])
            if reason != self._reason:
                _log.error("a monitored signal keeps its last value, marked as invalid: %s", reason)
            self._reason = reason
            self._tell_if_new(self._readings.invalid(reason))
        else:
            self._reason = None
            self._tell_if_new(self._readings.of(self._present, local=True))

    def _of(self, change: Change) -> Present:
        if change.kind == "put":
            return Present(self._item.value_in(change.value), change.time)
        return self._absent()

    def _absent(self) -> Present:
        """Return the value where the mapping tells of none: it is missing, or cannot be decoded."""
        if (error := self._feed.unreadable(self._item.key)) is not None:
            raise error
        return Present(self._item.missing(), None)

    def _tell_if_new(self, reading: Reading[Any]) -> None:
        told = self._told
        if (
            equal(told["value"], reading["value"])
            and told["alarm_severity"] == reading["alarm_severity"]
            and told.get("message") == reading.get("message")
        ):
            return
        self._tell(reading)

    def _tell(self, reading: Reading[Any]) -> None:
        self._told = reading
        try:
            self._callback(reading)
        except Exception:  # noqa: BLE001 - one listener's mistake, told and survived
            _log.exception("a callback failed on the reading of %s; it stays", self._item.uri)
