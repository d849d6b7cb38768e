"""From values to readings: since when, and whether they can be trusted."""

from __future__ import annotations

import time
from typing import Any, Final

from bluesky.protocols import Reading

from kv_dict.integrations.ophyd_async.datatypes import equal
from kv_dict.integrations.ophyd_async.item import Item, Present

__all__ = ["Readings"]

GOOD: Final = 0
DISCONNECTED: Final = -1
"""As bluesky's protocol has it: below 0 where nobody knows, as of a device that is disconnected."""
INVALID: Final = 3
"""As of an EPICS record: there is something, and it is not a value."""

_NEVER: Final = object()


class Readings:
    """Makes the readings of one item.

    Where the store does not know when a value was written, or only when something around it was,
    the time is that at which this value was first seen here.
    """

    def __init__(self, item: Item) -> None:
        self._item = item
        self._value: Any = _NEVER
        self._since = 0.0

    def of(self, present: Present, *, local: bool) -> Reading[Any]:
        """Return the reading of a value; one that is `local` may be of before an outage."""
        known = present.time is not None and not self._item.nested
        if known or not equal(self._value, present.value):
            self._value = present.value
            self._since = time.time() if present.time is None else present.time
        away = self._item.md.stale_since if local else None
        reading: Reading[Any] = {
            "value": present.value,
            "timestamp": self._since,
            "alarm_severity": GOOD if away is None else DISCONNECTED,
        }
        if away is not None:
            since = time.strftime("%H:%M:%S", time.localtime(away))
            reading["message"] = f"the last known value: the store is away since {since}"
        return reading

    def invalid(self, reason: str) -> Reading[Any]:
        """Return the last value again, marked as no longer true."""
        return {
            "value": self._value,
            "timestamp": self._since,
            "alarm_severity": INVALID,
            "message": reason,
        }
