"""What a read returns for a container: a real dict, list, set or bytearray that writes through.

Each holds plain data, as its base class does, so whatever takes a dict takes it. Its mutating
methods go to `Held.mutate`; reading methods are the base class's own. A container inside is wrapped
when it is first asked for, and stays the same object from then on. Copies of any kind are plain.

One made by calling the class, as a library may do with ``type(x)(...)``, belongs to no mapping and
is just its base class.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, SupportsIndex

from kv_dict.mapping.arithmetic import adding
from kv_dict.mapping.bulk import Drain, caller, marks
from kv_dict.mapping.container import Container, give, kept, plain
from kv_dict.mapping.held import Held, shape_lock
from kv_dict.mapping.place import LIVE, NOTHING, Moves, follow, item_of
from kv_dict.mapping.scope import Scope
from kv_dict.mapping.stored import Stored
from kv_dict.mapping.views import LiveItems, LiveValues, NestedKeys

__all__ = ["NestedBytearray", "NestedDict", "NestedList", "NestedSet", "live"]


def live(scope: Scope, stored: Stored, value: Any) -> Any:
    """Return the plain `value` of `stored`, wrapped if it is a container."""
    kind = _KINDS.get(type(value))
    if kind is None:
        return value
    held = Held(scope, stored)
    held.top = top = kind.wrapping(value, held, None)
    return top


class NestedDict(Container, dict[str, Any]):
    """A dict inside a mapping."""

    __slots__ = ("tie",)
    base = dict

    # -- reading ---------------------------------------------------------------------------------

    def __getitem__(self, key: str) -> Any:
        item = dict.get(self, key, NOTHING)
        if not isinstance(item, _CONTAINERS):
            self.note_read(key, item)
            return dict.__getitem__(self, key)
        offer = marks.offer
        if offer is not None and offer.holds_for(self, key, caller()):
            return plain(item)
        self.note_read(key, LIVE)
        return self.child(key)

    def get(self, key: str, default: Any = None) -> Any:
        """As `dict.get`; a container is live."""
        try:
            return self[key]
        except KeyError:
            return default

    def __contains__(self, key: object) -> bool:
        present = dict.__contains__(self, key)
        if not present:
            self.note_read(key, NOTHING)
        return present

    def child(self, key: str) -> Any:
        """Return an item, live."""
        item = dict.__getitem__(self, key)
        if type(item) in _KINDS and self.tie is not None:
            with shape_lock:
                item = dict.__getitem__(self, key)
                if kind := _KINDS.get(type(item)):
                    item = kind.wrapping(item, self.tie.held, self)
                    dict.__setitem__(self, key, item)
        return item

    def taken(self, key: str) -> Any:
        """Return an item, detached."""
        return plain(dict.__getitem__(self, key))

    def keys(self) -> Any:
        """As `dict.keys`."""
        return NestedKeys(self, caller())

    def values(self) -> Any:
        """As `dict.values`; containers are live in a loop, detached in a copy."""
        return LiveValues(self)

    def items(self) -> Any:
        """As `dict.items`; containers are live in a loop, detached in a copy."""
        return LiveItems(self)

    def __iter__(self) -> Iterator[str]:
        # Defining this is what makes dict(x) ask for keys() and items instead of taking them raw.
        return dict.__iter__(self)

    def __or__(self, other: Any) -> Any:
        return plain(self) | plain(other) if isinstance(other, dict) else NotImplemented

    def __ror__(self, other: Any) -> Any:
        return plain(other) | plain(self) if isinstance(other, dict) else NotImplemented

    @classmethod
    def fromkeys(cls, iterable: Iterable[Any], value: Any = None, /) -> Any:
        """As `dict.fromkeys`: a plain dict."""
        return dict.fromkeys(iterable, value)

    # -- mutating --------------------------------------------------------------------------------

    def __setitem__(self, key: str, value: Any) -> None:
        own = dict.get(self, key) is value
        if not (own and self.is_assigned_back(value)):
            self.assign(key, lambda target: _put(target, key, value, own))

    def setdefault(self, key: str, default: Any = None) -> Any:
        """As `dict.setdefault`; a container is live."""
        self.change(lambda target: dict.setdefault(target, key, default))
        return self[key]

    def transform(self, key: str, function: Callable[[Any], Any], default: Any = ...) -> Any:
        """Replace one item by ``function(item)``, atomically; see `RemoteKVMapping.transform`."""

        def replace(target: dict[str, Any]) -> Any:
            if key not in target and default is ...:
                raise KeyError(key)
            dict.__setitem__(target, key, function(plain(dict.get(target, key, default))))

        self.change(replace)
        return self.taken(key)

    def increment(self, key: str, by: float = 1) -> Any:
        """Add `by` to one item (0 if missing), atomically; see `RemoteKVMapping.increment`."""
        return self.transform(key, adding(by, key), 0)

    def step_to(self, child: Container) -> Any:
        for key, item in dict.items(self):
            if item is child:
                return key
        return None

    def show(self, value: dict[str, Any], moved: Moves) -> None:
        known = moved.get(id(self), {})
        shown = {
            key: item if known.get(key, key) is None else kept(dict.get(self, key), item, moved)
            for key, item in value.items()
        }
        for key in dict.keys(self) - shown.keys():
            dict.__delitem__(self, key)
        if list(dict.keys(self)) != list(shown)[: dict.__len__(self)]:
            dict.clear(self)  # another order
        dict.update(self, shown)

    def _ipython_key_completions_(self) -> list[str]:
        return list(dict.keys(self))


give(NestedDict, "__delitem__ clear pop popitem update", "__ior__")


class NestedList(Container, list[Any]):
    """A list inside a mapping."""

    __slots__ = ("tie",)
    base = list

    # -- reading ---------------------------------------------------------------------------------

    def __getitem__(self, index: Any) -> Any:
        item = list.__getitem__(self, index)
        if isinstance(index, slice):
            return plain(item)
        if not isinstance(item, _CONTAINERS):
            self.note_read(index, item)
            return item
        self.note_read(index, LIVE)
        return self.child(index)

    def child(self, index: SupportsIndex) -> Any:
        """Return an item, live."""
        item = list.__getitem__(self, index)
        if type(item) in _KINDS and self.tie is not None:
            with shape_lock:
                item = list.__getitem__(self, index)
                if kind := _KINDS.get(type(item)):
                    item = kind.wrapping(item, self.tie.held, self)
                    list.__setitem__(self, index, item)
        return item

    def __iter__(self) -> Iterator[Any]:
        return self._each(marks.begin(Drain(caller(), self, list.__len__(self))))

    def _each(self, drain: Drain) -> Iterator[Any]:
        index = 0
        while index < list.__len__(self):  # the loop's body may change it
            copy = drain.is_copy(caller())
            yield plain(list.__getitem__(self, index)) if copy else self.child(index)
            index += 1

    def __len__(self) -> int:
        marks.sized(self, caller())
        return list.__len__(self)

    def __reversed__(self) -> Iterator[Any]:
        for index in range(list.__len__(self) - 1, -1, -1):
            yield self.child(index)

    def __add__(self, other: Any) -> Any:
        return plain(self) + plain(other) if isinstance(other, list) else NotImplemented

    def __radd__(self, other: Any) -> Any:
        return plain(other) + plain(self) if isinstance(other, list) else NotImplemented

    def __mul__(self, times: SupportsIndex) -> Any:
        return plain(self) * times

    __rmul__ = __mul__

    # -- mutating --------------------------------------------------------------------------------

    def __setitem__(self, index: Any, value: Any) -> None:
        if isinstance(index, slice):
            items = list(value) if isinstance(value, Iterator) else value
            self.change(lambda target: list.__setitem__(target, index, items))
        else:
            own = isinstance(value, Container) and value is list.__getitem__(self, index)
            if not (own and self.is_assigned_back(value)):
                self.assign(index, lambda target: _put(target, index, value, own))

    def step_to(self, child: Container) -> Any:
        for index, item in enumerate(list.__iter__(self)):
            if item is child:
                return index
        return None

    def show(self, value: list[Any], moved: Moves) -> None:
        shown = list(value)
        old = list(list.__iter__(self))
        known = moved.get(id(self), {})
        for index, item in enumerate(old):
            if isinstance(item, Container):
                to = known[index] if index in known else follow(old, index, value)
                if to is not None and shown[to] is value[to]:
                    shown[to] = kept(item, value[to], moved)
        list.__setitem__(self, slice(None), shown)


give(
    NestedList,
    "__delitem__ append clear extend insert pop remove reverse sort",
    "__iadd__ __imul__",
)


class NestedSet(Container, set[Any]):
    """A set inside a mapping."""

    __slots__ = ("tie",)
    base = set

    def __repr__(self) -> str:
        return repr(plain(self))

    def show(self, value: set[Any], moved: Moves) -> None:
        set.update(self, value)
        set.intersection_update(self, value)


give(
    NestedSet,
    "add clear difference_update discard intersection_update pop remove "
    "symmetric_difference_update update",
    "__iand__ __ior__ __isub__ __ixor__",
)


class NestedBytearray(Container, bytearray):
    """A bytearray inside a mapping. What is changed through a memoryview of it is not stored."""

    __slots__ = ("tie",)
    base = bytearray

    def __repr__(self) -> str:
        return repr(plain(self))

    def show(self, value: bytearray, moved: Moves) -> None:
        bytearray.__setitem__(self, slice(None), value)


give(
    NestedBytearray,
    "__delitem__ __setitem__ append clear extend insert pop remove reverse",
    "__iadd__ __imul__",
)


def _put(target: Any, item: Any, value: Any, own: bool) -> None:
    """Assign an item of a plain container, unless it is its `own` and there as it was."""
    if not (own and item_of(target, item) == value):
        target[item] = value


_CONTAINERS = (dict, list, set, bytearray)
_KINDS: dict[type, type[Any]] = {
    dict: NestedDict,
    list: NestedList,
    set: NestedSet,
    bytearray: NestedBytearray,
}
