"""What mappings have in common: reading as a dict does, views, and copies that are plain."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any, Protocol, Self

from kv_dict.errors import EncodeError
from kv_dict.keys import check_key
from kv_dict.mapping.bulk import Drain, Offer, caller, copier, marks
from kv_dict.mapping.container import Container, plain
from kv_dict.mapping.stored import Stored
from kv_dict.mapping.views import RemoteItems, RemoteKeys, RemoteValues, listing

__all__ = ["Readable", "Reading", "as_dict"]


class Readable(Protocol):
    """What a mapping reads from: one `kv_dict.mapping.scope.Scope`, or several as one."""

    @property
    def timeout(self) -> float:
        """Seconds for each operation that is not given its own."""

    def read(self, key: str, timeout: float | None = None) -> Stored:
        """Return what reads see of a checked key; falsy if nothing."""

    def readable(self, timeout: float | None = None) -> list[tuple[Stored, Any]]:
        """Return every item that can be decoded, in order of the keys, with its value."""

    def size(self) -> int:
        """Return how many items `readable` would return."""

    def plain(self) -> dict[str, Any]:
        """Return all items as a plain dict."""

    def live(self, stored: Stored, value: Any) -> Any:
        """Return the `value` of `stored`, writing through if it is a container."""


class Reading(MutableMapping[str, Any]):
    """The reading half of a mapping.

    Each operation asks for the scope once: a mapping may be switched to another one meanwhile, and
    what began on one scope finishes there.
    """

    __hash__ = None  # type: ignore[assignment]  # equal to dicts, which have none

    _scope: Readable

    def __getitem__(self, key: str) -> Any:
        offer = marks.offer
        if offer is not None and offer.items is not None:
            if offer.holds_for(self, key, caller()):
                return offer.items.pop(key)
            marks.offer = None
        scope = self._scope
        stored = scope.read(check_key(key))
        if not stored:
            raise KeyError(key)
        return scope.live(stored, stored.value())

    def get(self, key: str, default: Any = None) -> Any:
        """Return ``self[key]``, or `default` if there is none."""
        scope = self._scope
        stored = scope.read(check_key(key))
        return scope.live(stored, stored.value()) if stored else default

    def __contains__(self, key: object) -> bool:
        hash(key)  # as a dict: what is not hashable is a TypeError
        try:
            return bool(self._scope.read(check_key(key)))
        except (TypeError, EncodeError):
            if isinstance(key, str) and key.isascii():
                raise
            return False  # what cannot be a key is not there

    def __iter__(self) -> Iterator[str]:
        items = self._scope.plain()
        if (by := copier()) is not None:
            marks.offer = Offer(by, self, items, items)
        return listing(items, marks.begin(Drain(caller(), self, len(items))))

    def __reversed__(self) -> Iterator[str]:
        return reversed(tuple(self._scope.plain()))

    def __len__(self) -> int:
        drain = marks.sized(self, caller())
        # The count of what is being listed costs no other snapshot.
        return self._scope.size() if drain is None else drain.count

    def keys(self) -> RemoteKeys:
        """Return a set-like view of the keys."""
        return RemoteKeys(self, caller())

    def values(self) -> RemoteValues:
        """Return a view of the values: live in a loop, detached in a copy."""
        return RemoteValues(self)

    def items(self) -> RemoteItems:
        """Return a set-like view of the items: live in a loop, detached in a copy."""
        return RemoteItems(self)

    def __eq__(self, other: object) -> bool:
        if other is self:
            return True
        if isinstance(other, Mapping):
            return self.copy() == (other.copy() if isinstance(other, Reading) else other)
        return NotImplemented

    def __ior__(self, other: Any) -> Self:
        self.update(other)
        return self

    # -- copies ----------------------------------------------------------------------------------

    def copy(self) -> dict[str, Any]:
        """Return a plain, detached deep copy."""
        return self._scope.plain()

    def __copy__(self) -> dict[str, Any]:
        return self.copy()

    def __deepcopy__(self, memo: dict[int, Any]) -> dict[str, Any]:
        return self.copy()

    def __or__(self, other: Any) -> dict[str, Any]:
        return self.copy() | dict(other) if isinstance(other, Mapping) else NotImplemented

    def __ror__(self, other: Any) -> dict[str, Any]:
        return dict(other) | self.copy() if isinstance(other, Mapping) else NotImplemented


def as_dict(other: Any, more: dict[str, Any]) -> dict[Any, Any]:
    """Return the items that `dict.update` would take from its arguments."""
    if isinstance(other, Reading):
        items = other.copy()
    elif isinstance(other, Container):
        items = plain(other)
    else:
        items = dict(other)
    items.update(more)
    return items
