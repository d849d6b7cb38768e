"""The views of keys, values and items, of the mapping and of the dicts inside it.

Those of the mapping answer each question from one snapshot. In a loop the values are live, in a
copy (``list(md.values())``) they are detached.
"""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, KeysView, Mapping, ValuesView
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from kv_dict.mapping.bulk import Caller, Drain, Offer, caller, marks

if TYPE_CHECKING:
    from kv_dict.mapping.nested import NestedDict
    from kv_dict.mapping.remote import RemoteKVMapping
    from kv_dict.mapping.scope import Scope
    from kv_dict.mapping.stored import Stored

__all__ = [
    "LiveItems",
    "LiveValues",
    "NestedKeys",
    "RemoteItems",
    "RemoteKeys",
    "RemoteValues",
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
        marks.drain = drain = Drain(caller(), self)
        return self._each(drain, dict.__iter__(self._mapping))

    def __reversed__(self) -> Iterator[Any]:
        marks.drain = drain = Drain(caller(), self)
        return self._each(drain, dict.__reversed__(self._mapping))

    def _each(self, drain: Drain, keys: Iterator[str]) -> Iterator[Any]:
        for key in keys:
            copy = drain.is_copy(caller())
            yield self._mapping.taken(key) if copy else self._mapping.child(key)

    def __len__(self) -> int:
        if marks.drain is not None:
            marks.drain.sized(self, caller())
        return dict.__len__(self._mapping)

    def __repr__(self) -> str:
        return repr(dict.values(self._mapping))


class LiveItems(_OfMapping, ItemsView[str, Any]):
    """Items of a nested dict."""

    _mapping: NestedDict

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        return self._each(caller(), dict.__iter__(self._mapping))

    def __reversed__(self) -> Iterator[tuple[str, Any]]:
        return self._each(caller(), dict.__reversed__(self._mapping))

    def _each(self, asked: Caller, keys: Iterator[str]) -> Iterator[tuple[str, Any]]:
        # dict(x.items()) does not ask for the length: one instruction is all there is to see.
        for key in keys:
            copy = caller() == asked
            yield key, self._mapping.taken(key) if copy else self._mapping.child(key)

    def __contains__(self, item: Any) -> bool:
        return item in dict.items(self._mapping)

    def __repr__(self) -> str:
        return repr(dict.items(self._mapping))


class RemoteKeys(_OfMapping, KeysView[str]):
    """Keys of a mapping."""

    _mapping: RemoteKVMapping

    def __init__(self, mapping: RemoteKVMapping, scope: Scope, by: Caller) -> None:
        super().__init__(mapping)
        self._scope = scope
        self._by = by

    def __iter__(self) -> Iterator[str]:
        if caller() != self._by:
            return iter(self._mapping)
        # Asked for its keys and listed by one instruction: dict(md), {**md}, d.update(md).
        items = self._scope.plain()
        keys = tuple(items)
        marks.offer = Offer(self._by, self._mapping, keys, items)
        return iter(keys)

    def __reversed__(self) -> Iterator[str]:
        return reversed(self._mapping)

    def __repr__(self) -> str:
        return f"{type(self._mapping).__name__}.keys({list(self._mapping)!r})"


class NestedKeys(_OfMapping, KeysView[str]):
    """Keys of a nested dict."""

    _mapping: NestedDict

    def __init__(self, mapping: NestedDict, by: Caller) -> None:
        super().__init__(mapping)
        self._by = by

    def __iter__(self) -> Iterator[str]:
        if caller() == self._by:  # dict(x), {**x}, d.update(x)
            marks.offer = Offer(self._by, self._mapping, tuple(dict.keys(self._mapping)))
        return dict.__iter__(self._mapping)

    def __reversed__(self) -> Iterator[str]:
        return dict.__reversed__(self._mapping)

    def __repr__(self) -> str:
        return repr(dict.keys(self._mapping))


class RemoteValues(_OfMapping, ValuesView[Any]):
    """Values of a mapping."""

    _mapping: RemoteKVMapping

    def __init__(self, mapping: RemoteKVMapping, scope: Scope) -> None:
        super().__init__(mapping)
        self._scope = scope
        self._listed = 0

    def __iter__(self) -> Iterator[Any]:
        return self._each(Drain(caller(), self), self._scope.readable())

    def __reversed__(self) -> Iterator[Any]:
        return self._each(Drain(caller(), self), self._scope.readable()[::-1])

    def _each(self, drain: Drain, readable: list[tuple[Stored, Any]]) -> Iterator[Any]:
        marks.drain = drain
        self._listed = len(readable)
        return self._yield(drain, readable)

    def _yield(self, drain: Drain, readable: list[tuple[Stored, Any]]) -> Iterator[Any]:
        for stored, value in readable:
            yield value if drain.is_copy(caller()) else self._scope.live(stored, value)

    def __len__(self) -> int:
        if marks.drain is not None and marks.drain.sized(self, caller()):
            return self._listed
        return len(self._mapping)

    def __contains__(self, value: object) -> bool:
        return value in self._scope.plain().values()

    def __repr__(self) -> str:
        return f"{type(self._mapping).__name__}.values({list(self._scope.plain().values())!r})"


class RemoteItems(_OfMapping, ItemsView[str, Any]):
    """Items of a mapping."""

    _mapping: RemoteKVMapping

    def __init__(self, mapping: RemoteKVMapping, scope: Scope) -> None:
        super().__init__(mapping)
        self._scope = scope
        self._listed = 0
        self._listed_by: Caller | None = None

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        return self._each(caller(), self._scope.readable())

    def __reversed__(self) -> Iterator[tuple[str, Any]]:
        return self._each(caller(), self._scope.readable()[::-1])

    def _each(self, asked: Caller, readable: list[tuple[Stored, Any]]) -> Iterator[tuple[str, Any]]:
        self._listed, self._listed_by = len(readable), asked
        return self._yield(asked, readable)

    def _yield(
        self, asked: Caller, readable: list[tuple[Stored, Any]]
    ) -> Iterator[tuple[str, Any]]:
        for stored, value in readable:
            copy = caller() == asked
            yield stored.key, value if copy else self._scope.live(stored, value)

    def __len__(self) -> int:
        return self._listed if caller() == self._listed_by else len(self._mapping)

    def __contains__(self, item: object) -> bool:
        if not (isinstance(item, tuple) and len(item) == 2):
            return False
        key, value = item
        return key in self._mapping and bool(self._mapping.get(key) == value)

    def __repr__(self) -> str:
        return f"{type(self._mapping).__name__}.items({list(self._scope.plain().items())!r})"
