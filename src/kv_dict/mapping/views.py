"""The views of keys, values and items, of the mapping and of the dicts inside it.

Those of the mapping answer each question from one snapshot. In a loop the values are live; what is
drained by one instruction (``list(md.values())`` within one call into C) is detached.
"""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, KeysView, Mapping, ValuesView
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from kv_dict.mapping.bulk import Caller, Offer, caller, offers

if TYPE_CHECKING:
    from kv_dict.mapping.nested import NestedDict
    from kv_dict.mapping.remote import RemoteKVMapping
    from kv_dict.mapping.scope import Scope

__all__ = ["LiveItems", "LiveValues", "RemoteItems", "RemoteKeys", "RemoteValues"]


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
        return _nested(self._mapping, caller(), dict.__iter__(self._mapping), values=True)

    def __reversed__(self) -> Iterator[Any]:
        return _nested(self._mapping, caller(), dict.__reversed__(self._mapping), values=True)

    def __repr__(self) -> str:
        return repr(dict.values(self._mapping))


class LiveItems(_OfMapping, ItemsView[str, Any]):
    """Items of a nested dict."""

    _mapping: NestedDict

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        return _nested(self._mapping, caller(), dict.__iter__(self._mapping), values=False)

    def __reversed__(self) -> Iterator[tuple[str, Any]]:
        return _nested(self._mapping, caller(), dict.__reversed__(self._mapping), values=False)

    def __repr__(self) -> str:
        return repr(dict.items(self._mapping))


def _nested(
    mapping: NestedDict, asked: Caller, keys: Iterator[str], *, values: bool
) -> Iterator[Any]:
    for key in keys:
        value = mapping.taken(key) if caller() == asked else mapping.child(key)
        yield value if values else (key, value)


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
        offers.current = Offer(self._by, self._mapping, items)
        return iter(tuple(items))

    def __reversed__(self) -> Iterator[str]:
        return reversed(self._mapping)

    def __repr__(self) -> str:
        return f"{type(self._mapping).__name__}.keys({list(self._mapping)!r})"


class RemoteValues(_OfMapping, ValuesView[Any]):
    """Values of a mapping."""

    _mapping: RemoteKVMapping

    def __init__(self, mapping: RemoteKVMapping, scope: Scope) -> None:
        super().__init__(mapping)
        self._scope = scope

    def __iter__(self) -> Iterator[Any]:
        return _drain(self._scope, caller(), 1)

    def __reversed__(self) -> Iterator[Any]:
        return _drain(self._scope, caller(), 1, reverse=True)

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

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        return _drain(self._scope, caller(), None)

    def __reversed__(self) -> Iterator[tuple[str, Any]]:
        return _drain(self._scope, caller(), None, reverse=True)

    def __repr__(self) -> str:
        return f"{type(self._mapping).__name__}.items({list(self._scope.plain().items())!r})"


def _drain(
    scope: Scope, asked: Caller, part: int | None, *, reverse: bool = False
) -> Iterator[Any]:
    """Yield items of one snapshot (or that part of each), live or detached as the caller goes."""
    from kv_dict.mapping.nested import live  # noqa: PLC0415 - its dicts have views of this module

    readable = scope.readable()
    for stored in reversed(readable) if reverse else readable:
        value = stored.value() if caller() == asked else live(scope, stored)
        yield (stored.key, value) if part is None else value
