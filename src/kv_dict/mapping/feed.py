"""What one consumer has still to be told of a mapping, or of several read as one.

A feed stands between replicas and a consumer. The replicas put every change into it, in order, and
wait for nobody; the consumer takes them at its own pace. What a slow one has not taken is merged by
key once it is much, so that it costs bounded memory and still learns the last state.

When a mapping is switched, its feeds go with it: what is different there is told as changes, as if
they had happened at that moment, and nothing of the former entry point is told after them.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from kv_dict.errors import ConfigurationError, ConflictError, DecodeError
from kv_dict.keys import check_key
from kv_dict.mapping.lifetime import ending
from kv_dict.mapping.stored import Stored
from kv_dict.model import Deletion, Entry, Revision
from kv_dict.replica import Group, Replica
from kv_dict.replica.contents import Listener

if TYPE_CHECKING:
    from kv_dict.mapping.scope import Scope

__all__ = ["Change", "Feed", "Source"]

_log = logging.getLogger("kv_dict")

MAX_PENDING: Final = 10_000
"""Changes that a consumer may leave untaken before they are merged by key."""


@dataclass(frozen=True, slots=True)
class Change:
    """A change of one item of a mapping: it was written, or removed.

    Attributes
    ----------
    key : str
        The key of the mapping.
    kind : {"put", "delete"}
        Whether the item is there now.
    value : object
        The new value, plain and detached; None for a deletion.
    previous : object
        What this subscriber was told last, or what was there when it subscribed; None if nothing.
    revision : int, str, bytes or None
        The store's token of the new state, if it has one.
    time : float or None
        When it was written, in seconds since the epoch by the store's clock; of one's own writes by
        this computer's. None where the store does not know.
    initial : bool
        Part of what was there at the subscription.
    """

    key: str
    kind: Literal["put", "delete"]
    value: Any = None
    previous: Any = None
    revision: Revision | None = None
    time: float | None = None
    initial: bool = field(default=False, kw_only=True)


class Source:
    """The scope that a mapping has now, and the feeds that follow it there. Thread-safe.

    Parameters
    ----------
    scope : Scope
        The first one.
    """

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self._feeds: dict[Feed, int] = {}

    @property
    def followed(self) -> bool:
        """Whether there are feeds."""
        return bool(self._feeds)

    def follow(self) -> Scope:
        """Return the scope, followed; waits for the store."""
        while True:
            scope = self.scope
            try:
                scope.follow()
            except ConflictError:  # left meanwhile, for another one
                with ending:
                    if scope is self.scope:
                        raise
            else:
                return scope

    def attach(self, feed: Feed, layer: int, begin: Begin) -> None:
        """Have `feed` follow, as one of its layers; waits for the store."""
        while True:
            scope = self.follow()
            with ending:
                if scope is self.scope:
                    self._feeds[feed] = layer
                    feed.follow(layer, scope, begin)
                    return

    def detach(self, feed: Feed) -> None:
        """Move it no more."""
        with ending:
            self._feeds.pop(feed, None)

    def move(self, scope: Scope) -> None:
        """Go to another scope, whose replica is live if there are feeds."""
        with ending:
            self.scope = scope
            for feed, layer in self._feeds.items():
                feed.follow(layer, scope, Begin.SWITCHED)


class Begin(Enum):
    """How a consumer is told what is there when a feed begins to follow."""

    INITIAL = "as initial changes"
    KNOWN = "not at all"
    SWITCHED = "what is different"


class _Pending(NamedTuple):
    layer: int
    scope: Scope
    name: str
    group: Group
    news: Entry | Deletion


class _Begun(NamedTuple):
    layer: int
    scope: Scope
    groups: dict[str, Group]
    begin: Begin


class Feed:
    """What one consumer has still to be told.

    Parameters
    ----------
    sources : sequence of Source
        What is followed. Of several, an item of the first one hides those of the others.
    key, prefix : str or None
        Tell only of this key, or of keys that start so.
    initial : bool
        Begin with what is there.
    wake : callable
        Called, from any thread and often, when there is something to take, or when the store was
        lost or found again.
    is_lowest : callable, optional
        Tells whether a key is looked for in the last of several sources only.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        key: str | None,
        prefix: str | None,
        initial: bool,
        wake: Callable[[], object],
        is_lowest: Callable[[str], bool] = lambda name: False,
    ) -> None:
        if key is not None and prefix is not None:
            raise ConfigurationError("key= and prefix=: choose one")
        self._sources = tuple(sources)
        self._key = None if key is None else check_key(key)
        self._prefix = None if prefix is None else check_key(prefix)
        self._wake = wake
        self._is_lowest = is_lowest
        self._pid = os.getpid()
        self._lock = threading.RLock()  # reentrant, for signal handlers that use a mapping
        self._pending: deque[_Pending | _Begun] = deque()
        self._limit = MAX_PENDING
        self._followed: dict[int, tuple[Scope, Replica, Listener]] = {}
        self._held: list[dict[str, Stored]] = [{} for _ in self._sources]  # as the consumer knows
        try:
            for layer, source in enumerate(self._sources):
                source.attach(self, layer, Begin.INITIAL if initial else Begin.KNOWN)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Take note of nothing more."""
        for source in self._sources:
            source.detach(self)
        for _, replica, listener in self._followed.values():
            replica.unlisten(listener, self._stir)
        with self._lock:
            self._pending.clear()

    def follow(self, layer: int, scope: Scope, begin: Begin) -> None:
        """Follow a scope, whose replica is live, instead of what was followed as this layer."""
        replica = scope.replica
        if replica is None or os.getpid() != self._pid:  # the consumer is not in this process
            return
        if layer in self._followed:
            _, former, listener = self._followed[layer]
            former.unlisten(listener, self._stir)
        listener = partial(self._note, layer, scope)
        self._followed[layer] = scope, replica, listener

        def begun(groups: dict[str, Group]) -> None:
            there = {name: group for name, group in groups.items() if self._concerns(name)}
            with self._lock:
                self._pending.append(_Begun(layer, scope, there, begin))

        replica.listen(listener, begun, self._stir)
        if begin is Begin.SWITCHED:
            self._stir()

    # -- the consumer's side ---------------------------------------------------------------------

    def take(self) -> Iterator[Change]:
        """Yield what there is to tell, in order; one consumer at a time."""
        while True:
            with self._lock:
                if not self._pending:
                    self._limit = MAX_PENDING
                    return
                pending = self._pending.popleft()
            if isinstance(pending, _Begun):
                yield from self._take_begun(pending)
            elif self._is_current(pending) and (change := self._take_one(pending)) is not None:
                yield change

    def unreadable(self, name: str) -> DecodeError | None:
        """Return why an item that was told as deleted cannot be read, if it is there after all."""
        stored = self._shown(name)
        try:
            if stored is not None:
                stored.value()
        except DecodeError as error:
            return error
        return None

    def _is_current(self, pending: _Pending | _Begun) -> bool:
        """Return whether the mapping has not been switched since."""
        return self._followed[pending.layer][0] is pending.scope

    def _take_one(self, pending: _Pending) -> Change | None:
        layer, scope, name, group, news = pending
        before, after = self._hold(layer, scope, name, group)
        if before is after:
            return None  # hidden
        if after is not None and after is not self._held[layer].get(name):
            return _change(name, before, after, after.entries[-1])  # no longer hidden
        return _change(name, before, after, news)

    def _take_begun(self, begun: _Begun) -> Iterator[Change]:
        layer, scope, groups, begin = begun
        for name in sorted(self._held[layer].keys() | groups.keys()):
            if not self._is_current(begun):
                return
            before, after = self._hold(layer, scope, name, groups.get(name, ()))
            if begin is Begin.KNOWN or before is after:
                continue
            if before is not None and after is not None and before.is_like(after):
                continue
            of = Deletion(name) if after is None else after.entries[-1]
            change = _change(name, before, after, of, initial=begin is Begin.INITIAL)
            if change is not None:
                yield change

    def _hold(
        self, layer: int, scope: Scope, name: str, group: Group
    ) -> tuple[Stored | None, Stored | None]:
        """Take a state of a layer; return what is read of the key before, and then."""
        before = self._shown(name)
        if group:
            self._held[layer][name] = Stored(name, group, scope.space, scope.codec)
        else:
            self._held[layer].pop(name, None)
        return before, self._shown(name)

    def _shown(self, name: str) -> Stored | None:
        layers = self._held[-1:] if self._is_lowest(name) else self._held
        return next((held[name] for held in layers if name in held), None)

    # -- the replicas' side ----------------------------------------------------------------------

    def _concerns(self, name: str) -> bool:
        if self._key is not None:
            return name == self._key
        return self._prefix is None or name.startswith(self._prefix)

    def _note(
        self, layer: int, scope: Scope, name: str, group: Group, news: Entry | Deletion
    ) -> None:
        if self._concerns(name):
            with self._lock:
                self._pending.append(_Pending(layer, scope, name, group, news))
                if len(self._pending) > self._limit:
                    self._merge()
            self._stir()

    def _stir(self) -> None:
        """Wake the consumer. Its mistake is not that of the writer in whose thread this is."""
        try:
            self._wake()
        except Exception:  # noqa: BLE001 - whatever it is, it is told
            self._wake = _nobody
            _log.exception(
                "the wake function of a feed failed, and is not called again; what changes can "
                "still be taken (%s)",
                self._sources[0].scope,
            )

    def _merge(self) -> None:
        """Keep the last state of each key, in the order of the last changes."""
        last: dict[tuple[int, int, str | None], _Pending | _Begun] = {}
        for pending in self._pending:
            name = pending.name if isinstance(pending, _Pending) else None
            place = pending.layer, id(pending.scope), name
            last.pop(place, None)
            last[place] = pending
        self._pending = deque(last.values())
        self._limit = max(MAX_PENDING, 2 * len(last))


def _nobody() -> None:
    """Wake nobody."""


def _change(
    name: str,
    before: Stored | None,
    after: Stored | None,
    of: Entry | Deletion,
    *,
    initial: bool = False,
) -> Change | None:
    """Return how one state became another; None if neither can be read."""
    there, value = _value(after)
    was, previous = _value(before)
    if not there and not was:
        return None
    kind: Literal["put", "delete"] = "put" if there else "delete"
    return Change(name, kind, value, previous, of.revision, of.time, initial=initial)


def _value(stored: Stored | None) -> tuple[bool, Any]:
    if stored is None:
        return False, None
    try:
        return True, stored.value()
    except DecodeError:  # left out of listings too, which say so in the log
        return False, None
