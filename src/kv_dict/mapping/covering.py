"""Two scopes read as one: what is in the upper one covers what is in the lower one."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

from kv_dict.errors import ConflictError, OutcomeUnknown, Unavailable, Unsupported
from kv_dict.mapping.retry import attempts
from kv_dict.mapping.scope import Scope
from kv_dict.mapping.stored import Stored
from kv_dict.model import Operation

__all__ = ["Layers", "commit_both"]


class Layers(NamedTuple):
    """The scopes of a `LayeredMapping` at one moment.

    Attributes
    ----------
    over, under : Scope
        The upper and the lower one.
    is_below : callable
        Tells whether a key belongs to the lower one, and is looked for there only.
    """

    over: Scope
    under: Scope
    is_below: Callable[[str], bool]

    def __str__(self) -> str:
        points = self.over.space.entry_point, self.under.space.entry_point
        stores = dict.fromkeys((self.over.backend.url, self.under.backend.url))
        return f"entry_points={points!r}, backend={' and '.join(map(repr, stores))}"

    @property
    def timeout(self) -> float:
        """Seconds for each operation that is not given its own."""
        return min(self.over.timeout, self.under.timeout)

    def of(self, key: str) -> Scope:
        """Return the scope that a key belongs to: where it is written."""
        return self.under if self.is_below(key) else self.over

    def read(self, key: str, timeout: float | None = None) -> Stored:
        """Return what reads see of a checked key."""
        if self.is_below(key):
            return self.under.read(key, timeout)
        stored = self.over.read(key, timeout)
        if stored or not (below := self.under.read(key, timeout)):
            return stored
        return self._uncovered(below)

    def _uncovered(self, below: Stored) -> Stored:
        return _Uncovered(below, Stored(below.key, (), self.over.space, self.over.codec))

    def readable(self, timeout: float | None = None) -> list[tuple[Stored, Any]]:
        """Return every item that can be decoded, in order of the keys, with its value."""
        found = {
            stored.key: (self._uncovered(stored), value)
            if not self.is_below(stored.key)
            else (stored, value)
            for stored, value in self.under.readable(timeout)
        }
        for stored, value in self.over.readable(timeout):
            if not self.is_below(stored.key):
                found[stored.key] = stored, value
        return [found[key] for key in sorted(found)]

    def size(self) -> int:
        """Return how many items `readable` would return."""
        return len(self.readable())

    def plain(self) -> dict[str, Any]:
        """Return all items as a plain dict."""
        return {stored.key: value for stored, value in self.readable()}

    def live(self, stored: Stored, value: Any) -> Any:
        """Return the `value` of `stored`, writing through to where its key belongs."""
        return self.of(stored.key).live(stored, value)


class _Uncovered(Stored):
    """An item of the lower layer whose key belongs to the upper one, which has none.

    A changed value goes to the upper layer, if there still is none; the item below stays.

    Parameters
    ----------
    below : Stored
        What is read.
    above : Stored
        What is in the upper layer: nothing.
    """

    __slots__ = ("_above", "_below")

    def __init__(self, below: Stored, above: Stored) -> None:
        super().__init__(above.key, (), above._space, above._codec)
        self._below = below
        self._above = above

    def __bool__(self) -> bool:
        return True

    def value(self) -> Any:
        return self._below.value()

    def replacement(self, value: Any) -> list[Operation]:
        where = f"md[{self.key!r}]"
        if self._codec.encode(value, where) == self._codec.encode(self.value(), where):
            return []
        return self._above.replacement(value)


def commit_both(over: Scope, under: Scope, above: dict[str, Any], below: dict[str, Any]) -> None:
    """Assign items of both scopes, which are of one backend, in one commit; see `Scope.assign`."""
    parts = [(over, over.changes(above)), (under, under.changes(below))]
    guarded = over.local or under.local
    names = " and ".join(f"md[{key!r}]" for key in (*above, *below))
    for left in attempts(over.timeout, names):
        each = [(scope, scope.assignment(changes, guarded)) for scope, changes in parts]
        try:
            _commit(each, left())
        except ConflictError as conflict:
            for scope, _ in parts:
                mine = [key for key in conflict.keys if key.startswith(scope.space.prefix)]
                scope.refresh(mine, left())
        except Unsupported:  # no guards on several keys at once there: the plain promise holds
            if not guarded:
                raise
            guarded = False
        else:
            return


def _commit(parts: list[tuple[Scope, list[Operation]]], timeout: float) -> None:
    for scope, operations in parts:
        scope.permit(operations)
    timeout = min(scope.patience(timeout) for scope, _ in parts)
    together = [operation for _, operations in parts for operation in operations]
    asked = time.monotonic()
    try:
        revisions = parts[0][0].ask_to_commit(together, timeout)
    except (Unavailable, OutcomeUnknown):
        if not all(scope.may_hold_back for scope, _ in parts):
            raise
        for scope, operations in parts:
            scope.hold_back(operations)
        return
    for scope, operations in parts:
        mine, revisions = revisions[: len(operations)], revisions[len(operations) :]
        scope.committed(operations, mine, asked, timeout)
