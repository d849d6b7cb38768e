"""Scan ids: each number is given to one run, whatever sessions count in the same store.

bluesky asks its `scan_id_source` for a number, assigns it to ``md["scan_id"]``, and reads it back
for the start document. So the source does three things: it takes the number in one atomic step; it
pins it, so that this run reads its own whatever other sessions have taken since; and where runs go
on during an outage it has reserved numbers ahead of need, which nobody else will be given.

Reserved numbers are counted by an item of its own, beside the metadata: ``reserved`` of the entry
point ``<entry point>@scan_ids``. While one session counts, its numbers follow one another; when
another one has counted meanwhile, it begins behind what that one has reserved.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable, Coroutine, MutableMapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, overload
from weakref import WeakKeyDictionary, WeakSet

from kv_dict.backend import Backend
from kv_dict.coordination import beside
from kv_dict.errors import ConfigurationError, OutcomeUnknown, Unavailable
from kv_dict.mapping import LayeredMapping, RemoteKVMapping

__all__ = ["ScanIds", "async_scan_id_source", "scan_id_source"]

_log = logging.getLogger("kv_dict")

RESERVE: Final = 10
"""Numbers that are reserved where runs go on during an outage, unless told otherwise."""

AWAY_TIMEOUT: Final = 0.5
"""Seconds to wait for a store that is known to be away."""

Metadata: TypeAlias = MutableMapping[str, Any]


@dataclass
class _Reserve:
    """Numbers that nobody else is given: from `first` up to and with `last`."""

    first: int = 1
    last: int = 0


class ScanIds:
    """A source of scan ids for ``RunEngine(md, scan_id_source=...)``. Thread-safe.

    Parameters
    ----------
    start : int
        The least number to give.
    key : str
        The item that counts.
    reserve : int or None
        How many numbers to reserve for runs during an outage. None for 10 if the mapping goes on
        then (``on_outage="continue"``), and none if it does not: its writes fail, so no run begins.

    Examples
    --------
    >>> from kv_dict import InMemoryAsyncBackend, RemoteKVMapping
    >>> with RemoteKVMapping(InMemoryAsyncBackend(), "ep1") as md:
    ...     source = ScanIds(start=1000)
    ...     source(md), source(md)
    (1000, 1001)
    """

    def __init__(self, *, start: int = 1, key: str = "scan_id", reserve: int | None = None) -> None:
        for name, value, least in (("start", start, 0), ("reserve", reserve, 0)):
            if value is not None and (type(value) is not int or value < least):
                raise ConfigurationError(f"{name}={value!r}: a whole number, {least} or more")
        self._start = start
        self._key = key
        self._reserve = reserve
        self._begin()
        _sources.add(self)

    def _begin(self) -> None:
        """Reserve nothing yet; also in a forked child, where the numbers are the parent's."""
        self._lock = threading.Lock()
        self._reserves: WeakKeyDictionary[Backend, dict[str, _Reserve]] = WeakKeyDictionary()

    def __call__(self, md: Metadata) -> int:
        """Return the number of the next run, which nobody else is given.

        Raises
        ------
        Unavailable, OutcomeUnknown
            The store is away, and nothing is reserved.
        TypeError
            What counts is not a whole number.
        """
        number = self._take(md)
        _pin(md, number)
        return number

    async def next(self, md: Metadata) -> int:
        """Return the same as calling it, without keeping the event loop waiting for the store."""
        number = await asyncio.to_thread(self._take, md)
        _pin(md, number)
        return number

    def _take(self, md: Metadata) -> int:
        if isinstance(md, LayeredMapping):
            md = md.layer(self._key)
        with self._lock:
            if not isinstance(md, RemoteKVMapping):
                md[self._key] = number = self._after(md.get(self._key, 0))
                return number
            while True:
                entry_point = md.entry_point
                number = self._take_of(md, entry_point)
                if md.entry_point == entry_point:
                    return number  # otherwise it was switched meanwhile, and counts on its own

    def _take_of(self, md: RemoteKVMapping, entry_point: str) -> int:
        size = self._reserve
        if size is None:
            size = RESERVE if md.on_outage == "continue" else 0
        if size == 0:
            return int(md.transform(self._key, self._after, 0))
        number = self._take_reserving(md, entry_point, size)
        md.transform(self._key, lambda last: max(self._checked(last), number), 0)
        return number

    def _take_reserving(self, md: RemoteKVMapping, entry_point: str, size: int) -> int:
        reserves = self._reserves.setdefault(md.backend, {})
        reserve = reserves.setdefault(entry_point, _Reserve())
        try:
            taken = self._count(md, entry_point, reserve, size)
        except (Unavailable, OutcomeUnknown) as error:
            if reserve.first > reserve.last:
                raise Unavailable(
                    f"no scan id for this run: the store is away, and of {size} numbers reserved "
                    f"for that none is left (they are reserved when a run begins): {error}"
                ) from error
            _log.warning("the store is away: this run has the reserved scan id %d", reserve.first)
            taken = _Reserve(reserve.first + 1, reserve.last)
        reserves[entry_point] = taken
        return taken.first - 1

    def _count(
        self, md: RemoteKVMapping, entry_point: str, reserve: _Reserve, size: int
    ) -> _Reserve:
        """Take the next number in the store; return what is reserved behind it."""
        timeout = md.timeout if md.stale_since is None else min(md.timeout, AWAY_TIMEOUT)
        with (
            RemoteKVMapping(md.backend, entry_point, md.sep, timeout=timeout) as stored,
            RemoteKVMapping(
                md.backend, beside(stored, "scan_ids"), md.sep, timeout=timeout
            ) as counters,
        ):
            shown = self._checked(stored.get(self._key, 0))
            taken = reserve

            def extend(last: int) -> int:
                nonlocal taken
                mine = last == reserve.last and reserve.first <= reserve.last
                if mine and shown < reserve.first >= self._start:  # nobody else has counted since
                    taken = _Reserve(reserve.first + 1, last + 1)
                else:
                    number = self._after(max(last, shown))
                    taken = _Reserve(number + 1, number + size)
                return taken.last

            counters.transform(self._key, extend, 0)
        return taken

    def _after(self, last: Any) -> int:
        return max(self._checked(last) + 1, self._start)

    def _checked(self, last: Any) -> int:
        if type(last) is not int:
            raise TypeError(
                f"md[{self._key!r}] is {last!r:.60}, not a whole number, so it cannot count runs: "
                "assign the number of the last run to it"
            )
        return last


def _pin(md: Metadata, number: int) -> None:
    """Have the run that took it read it back: bluesky does, from ``md["scan_id"]``."""
    if isinstance(md, RemoteKVMapping | LayeredMapping):
        try:
            asyncio.get_running_loop()
        except RuntimeError:  # called by hand, and not by a RunEngine
            return
        md.pin("scan_id", number)


_sources: Final[WeakSet[ScanIds]] = WeakSet()


def _after_fork_in_child() -> None:
    for source in tuple(_sources):
        source._begin()


os.register_at_fork(after_in_child=_after_fork_in_child)

_shared: Final = ScanIds()


@overload
def scan_id_source(md: Metadata) -> int: ...
@overload
def scan_id_source(
    *, start: int = 1, key: str = "scan_id", reserve: int | None = None
) -> ScanIds: ...
def scan_id_source(md: Metadata | None = None, **options: Any) -> int | ScanIds:
    """Return the next scan id of `md`; or, of options alone, a source that does.

    ``RunEngine(md, scan_id_source=scan_id_source)`` gives each run a number of its own, however
    many sessions share the metadata. The options are those of `ScanIds`.

    Examples
    --------
    >>> from kv_dict.integrations.bluesky import scan_id_source
    >>> scan_id_source(md)
    1
    >>> scan_id_source(start=1000)(md)
    1000
    """
    if md is None:
        return ScanIds(**options)
    return (ScanIds(**options) if options else _shared)(md)


@overload
def async_scan_id_source(md: Metadata) -> Coroutine[Any, Any, int]: ...
@overload
def async_scan_id_source(
    *, start: int = 1, key: str = "scan_id", reserve: int | None = None
) -> Callable[[Metadata], Coroutine[Any, Any, int]]: ...
def async_scan_id_source(md: Metadata | None = None, **options: Any) -> Any:
    """Do as `scan_id_source`, with coroutines: the RunEngine's loop is not kept waiting."""
    source = (ScanIds(**options) if options else _shared).next
    return source if md is None else source(md)
