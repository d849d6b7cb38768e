"""The views of keys, values and items, of the mapping and of the dicts inside it.

Those of the mapping answer each question from one snapshot. In a loop the values are live; what is
drained by one instruction (``list(md.values())`` within one call into C) is detached.
"""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, KeysView, ValuesView
from typing import TYPE_CHECKING, Any

from kv_dict.mapping.bulk import Caller, Offer, caller, offers

if TYPE_CHECKING:
    from kv_dict.mapping.nested import NestedDict
    from kv_dict.mapping.remote import RemoteKVMapping

__all__ = ["LiveItems", "LiveValues", "RemoteItems", "RemoteKeys", "RemoteValues"]


class LiveValues(ValuesView[Any]):
    """Values of a nested dict."""

    _mapping: NestedDict

    def __iter__(self) -> Iterator[Any]:
        return (value for _, value in _nested_items(self._mapping, caller(), reverse=False))

    def __reversed__(self) -> Iterator[Any]:
        return (value for _, value in _nested_items(self._mapping, None, reverse=True))

    def __repr__(self) -> str:
        return repr(dict.values(self._mapping))


class LiveItems(ItemsView[str, Any]):
    """Items of a nested dict."""

    _mapping: NestedDict

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        return _nested_items(self._mapping, caller(), reverse=False)

    def __reversed__(self) -> Iterator[tuple[str, Any]]:
        return _nested_items(self._mapping, None, reverse=True)

    def __repr__(self) -> str:
        return repr(dict.items(self._mapping))


def _nested_items(
    mapping: NestedDict, asked: Caller | None, *, reverse: bool
) -> Iterator[tuple[str, Any]]:
    for key in dict.__reversed__(mapping) if reverse else dict.__iter__(mapping):
        yield key, mapping.taken(key) if caller() == asked else mapping.child(key)


class RemoteKeys(KeysView[str]):
    """Keys of a mapping."""

    _mapping: RemoteKVMapping

    def __init__(self, mapping: RemoteKVMapping, by: Caller) -> None:
        super().__init__(mapping)
        self._by = by

    def __iter__(self) -> Iterator[str]:
        if caller() != self._by:
            return iter(self._mapping)
        # Asked for its keys and listed by one instruction: dict(md), {**md}, d.update(md).
        items = self._mapping.plain()
        offers.current = Offer(self._by, self._mapping, items)
        return iter(tuple(items))

    def __reversed__(self) -> Iterator[str]:
        return reversed(self._mapping)

    def __repr__(self) -> str:
        return f"{type(self._mapping).__name__}.keys({list(self._mapping)!r})"


class RemoteValues(ValuesView[Any]):
    """Values of a mapping."""

    _mapping: RemoteKVMapping

    def __iter__(self) -> Iterator[Any]:
        return _drain(self._mapping, caller(), 1)

    def __reversed__(self) -> Iterator[Any]:
        return _drain(self._mapping, caller(), 1, reverse=True)

    def __contains__(self, value: object) -> bool:
        return value in self._mapping.plain().values()

    def __repr__(self) -> str:
        return f"{type(self._mapping).__name__}.values({list(self._mapping.plain().values())!r})"


class RemoteItems(ItemsView[str, Any]):
    """Items of a mapping."""

    _mapping: RemoteKVMapping

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        return _drain(self._mapping, caller(), None)

    def __reversed__(self) -> Iterator[tuple[str, Any]]:
        return _drain(self._mapping, caller(), None, reverse=True)

    def __repr__(self) -> str:
        return f"{type(self._mapping).__name__}.items({list(self._mapping.plain().items())!r})"


def _drain(
    mapping: RemoteKVMapping, asked: Caller, part: int | None, *, reverse: bool = False
) -> Iterator[Any]:
    """Yield items of one snapshot (or that part of each), live or detached as the caller goes."""
    readable = mapping.readable()
    for stored in reversed(readable) if reverse else readable:
        value = stored.value() if caller() == asked else mapping.live(stored)
        yield (stored.key, value) if part is None else value
