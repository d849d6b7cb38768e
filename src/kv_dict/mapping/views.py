"""The views of keys, values and items, of the mapping and of the dicts inside it.

Those of the mapping answer each question from one snapshot. In a loop the values are live, in a
copy (``list(md.values())``) they are detached.
"""

from __future__ import annotations

from collections.abc import ItemsView, Iterable, Iterator, KeysView, Mapping, ValuesView
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from kv_dict.mapping.bulk import Caller, Drain, Offer, caller, marks

if TYPE_CHECKING:
    from kv_dict.mapping.nested import NestedDict
    from kv_dict.mapping.reading import Readable, Reading
    from kv_dict.mapping.stored import Stored

__all__ = [
    "LiveItems",
    "LiveValues",
    "NestedKeys",
    "RemoteItems",
    "RemoteKeys",
    "RemoteValues",
    "listing",
]


class _OfMapping:
    """The `mapping` attribute that dict's views have."""

    _mapping: Mapping[str, Any]

    @property
    def mapping(self) -> MappingProxyType[str, Any]:
        """The mapping that this is a view of, read-only."""
        return MappingProxyType(self._mapping)


class LiveValues(_OfMapping, ValuesView[Any]):
    """Values of a nested dict."""

    _mapping: NestedDict

    def __iter__(self) -> Iterator[Any]:
        drain = marks.begin(Drain(caller(), self, dict.__len__(self._mapping)))
        return (_part(self._mapping, key, drain, caller()) for key in dict.keys(self._mapping))

    def __reversed__(self) -> Iterator[Any]:
        return (self._mapping.child(key) for key in dict.__reversed__(self._mapping))

    def __len__(self) -> int:
        marks.sized(self, caller())
        return dict.__len__(self._mapping)

    def __repr__(self) -> str:
        return repr(dict.values(self._mapping))


class LiveItems(_OfMapping, ItemsView[str, Any]):
    """Items of a nested dict."""

    _mapping: NestedDict

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        drain = marks.begin(Drain(caller(), self, dict.__len__(self._mapping)))
        return (
            (key, _part(self._mapping, key, drain, caller())) for key in dict.keys(self._mapping)
        )

    def __reversed__(self) -> Iterator[tuple[str, Any]]:
        return ((key, self._mapping.child(key)) for key in dict.__reversed__(self._mapping))

    def __len__(self) -> int:
        marks.sized(self, caller())
        return dict.__len__(self._mapping)

    def __contains__(self, item: Any) -> bool:
        return item in dict.items(self._mapping)

    def __repr__(self) -> str:
        return repr(dict.items(self._mapping))


def _part(mapping: NestedDict, key: str, drain: Drain, by: Caller) -> Any:
    return mapping.taken(key) if drain.is_copy(by) else mapping.child(key)


class NestedKeys(_OfMapping, KeysView[str]):
    """Keys of a nested dict."""

    _mapping: NestedDict

    def __init__(self, mapping: NestedDict, by: Caller) -> None:
        super().__init__(mapping)
        self._by = by

    def __iter__(self) -> Iterator[str]:
        if caller() == self._by:  # dict(x), {**x}, d.update(x)
            marks.offer = Offer(self._by, self._mapping, dict.keys(self._mapping))
        return dict.__iter__(self._mapping)

    def __reversed__(self) -> Iterator[str]:
        return dict.__reversed__(self._mapping)

    def __repr__(self) -> str:
        return repr(dict.keys(self._mapping))


def listing(keys: Iterable[str], drain: Drain) -> Iterator[str]:
    """Yield `keys`; the `drain` lives as long as this is not through."""
    yield from tuple(keys)
    drain.count = 0


class _Remote(_OfMapping):
    """A view of a mapping; after a switch, of what the mapping is then."""

    _mapping: Reading

    def __len__(self) -> int:
        drain = marks.sized(self, caller())
        # The count of what is being listed costs no other snapshot.
        return len(self._mapping) if drain is None else drain.count


class _RemoteSet(_Remote):
    """Set operations and comparisons of a mapping's view, each on one snapshot.

    The view of a plain dict does them; item by item, as the abstract class would, each item would
    be a question to the store.
    """

    def now(self) -> Any:
        """Return the view of a plain dict with what is stored now."""
        raise NotImplementedError


def _on_snapshot(name: str) -> Any:
    def operate(self: _RemoteSet, other: Any, /) -> Any:
        return getattr(self.now(), name)(other.now() if isinstance(other, _RemoteSet) else other)

    operate.__name__ = name
    operate.__doc__ = "As that of a dict's view, on one snapshot."
    return operate


for _name in (
    *("__and__", "__rand__", "__or__", "__ror__", "__sub__", "__rsub__", "__xor__", "__rxor__"),
    *("__eq__", "__ne__", "__le__", "__lt__", "__ge__", "__gt__", "isdisjoint"),
):
    setattr(_RemoteSet, _name, _on_snapshot(_name))


class RemoteKeys(_RemoteSet, KeysView[str]):
    """Keys of a mapping."""

    def __init__(self, mapping: Reading, by: Caller) -> None:
        super().__init__(mapping)
        self._by = by

    def now(self) -> Any:
        return self._mapping.copy().keys()

    def __iter__(self) -> Iterator[str]:
        by, items = caller(), self._mapping.copy()
        if by == self._by:
            # Asked for its keys and listed by one instruction: dict(md), {**md}, d.update(md).
            marks.offer = Offer(by, self._mapping, items, items)
        return listing(items, marks.begin(Drain(by, self, len(items))))

    def __reversed__(self) -> Iterator[str]:
        return reversed(self._mapping)

    def __repr__(self) -> str:
        return f"{type(self._mapping).__name__}.keys({list(self._mapping)!r})"


class RemoteValues(_Remote, ValuesView[Any]):
    """Values of a mapping."""

    def __iter__(self) -> Iterator[Any]:
        scope = self._mapping._scope
        return self._each(caller(), scope, scope.readable())

    def __reversed__(self) -> Iterator[Any]:
        scope = self._mapping._scope
        return self._each(caller(), scope, scope.readable()[::-1])

    def _each(
        self, by: Caller, scope: Readable, readable: list[tuple[Stored, Any]]
    ) -> Iterator[Any]:
        drain = marks.begin(Drain(by, self, len(readable)))
        return (
            value if drain.is_copy(caller()) else scope.live(stored, value)
            for stored, value in readable
        )

    def __contains__(self, value: object) -> bool:
        return value in self._mapping.copy().values()

    def __repr__(self) -> str:
        return f"{type(self._mapping).__name__}.values({list(self._mapping.copy().values())!r})"


class RemoteItems(_RemoteSet, ItemsView[str, Any]):
    """Items of a mapping."""

    def now(self) -> Any:
        return self._mapping.copy().items()

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        scope = self._mapping._scope
        return self._each(caller(), scope, scope.readable())

    def __reversed__(self) -> Iterator[tuple[str, Any]]:
        scope = self._mapping._scope
        return self._each(caller(), scope, scope.readable()[::-1])

    def _each(
        self, by: Caller, scope: Readable, readable: list[tuple[Stored, Any]]
    ) -> Iterator[Any]:
        drain = marks.begin(Drain(by, self, len(readable)))
        return (
            (stored.key, value if drain.is_copy(caller()) else scope.live(stored, value))
            for stored, value in readable
        )

    def __contains__(self, item: object) -> bool:
        if not (isinstance(item, tuple) and len(item) == 2):
            return False
        key, value = item
        return key in self._mapping and bool(self._mapping.get(key) == value)

    def __repr__(self) -> str:
        return f"{type(self._mapping).__name__}.items({list(self._mapping.copy().items())!r})"
