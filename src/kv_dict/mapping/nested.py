"""What a read returns for a container: a real dict, list, set or bytearray that writes through.

Each holds plain data, as its base class does, so whatever takes a dict takes it. Its mutating
methods go to `Held.mutate`; reading methods are the base class's own. A container inside is wrapped
when it is first asked for, and stays the same object from then on. Copies of any kind are plain.

One made by calling the class, as a library may do with ``type(x)(...)``, belongs to no mapping and
is just its base class.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar, SupportsIndex

from kv_dict.mapping.bulk import Caller, Offer, caller, offers
from kv_dict.mapping.held import Held, shape_lock
from kv_dict.mapping.place import Moves, follow
from kv_dict.mapping.stored import Stored
from kv_dict.mapping.views import LiveItems, LiveValues

if TYPE_CHECKING:
    from kv_dict.mapping.remote import RemoteKVMapping

__all__ = ["Container", "NestedBytearray", "NestedDict", "NestedList", "NestedSet", "live", "plain"]


def live(mapping: RemoteKVMapping, stored: Stored) -> Any:
    """Return the value of `stored`, wrapped if it is a container."""
    value = stored.value()
    kind = _KINDS.get(type(value))
    if kind is None:
        return value
    held = Held(mapping, stored)
    held.top = top = kind.wrapping(value, held, None)
    return top


def plain(value: Any) -> Any:
    """Return a detached deep copy in which every container is of its plain base class."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in dict.items(value)}
    if isinstance(value, list):
        return [plain(item) for item in list.__iter__(value)]
    if isinstance(value, set):
        return set(value)
    if isinstance(value, bytearray):
        return bytearray(value)
    return value  # what else the codec makes is immutable


class Tie:
    """What ties a container to the store.

    Attributes
    ----------
    held : Held
        The state behind it and behind the containers around it.
    parent : Container or None
        The container it is in; None for the outermost.
    read : tuple of one key or index, or None
        The scalar item that was read last, if nothing was changed since.
    in_place : bool
        Whether the last change was an in-place operator, whose assignment is about to follow.
    """

    __slots__ = ("held", "in_place", "parent", "read")

    def __init__(self, held: Held, parent: Container | None) -> None:
        self.held = held
        self.parent = parent
        self.read: tuple[Any] | None = None
        self.in_place = False


class Container:
    """What the nested containers have in common. The other base is `base`.

    Attributes
    ----------
    tie : Tie or None
        None for one that belongs to no mapping.
    """

    __slots__ = ()

    base: ClassVar[type]
    tie: Tie | None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.tie = None  # type: ignore[misc]  # the slot is in each subclass, beside the base's data

    @classmethod
    def wrapping(cls, value: Any, held: Held, parent: Container | None) -> Any:
        """Return a container with the items of the plain `value`."""
        self = cls(value)
        self.tie = Tie(held, parent)  # type: ignore[misc]
        return self

    def change(self, action: Callable[[Any], Any], read: tuple[Any] | None = None) -> Any:
        """Apply `action` to this container, in the store."""
        if self.tie is None:
            return action(self)
        self.tie.in_place = False
        self.tie.read = None
        return self.tie.held.mutate(self, action, read)

    def step_to(self, child: Container) -> Any:
        """Return the key or index of `child`, None if it is not in here."""
        return None

    def show(self, value: Any, moved: Moves) -> None:
        """Become like the plain `value`, keeping the containers inside that are still there."""
        raise NotImplementedError

    def assigned_after_operator(self, mapping: RemoteKVMapping, key: str) -> bool:
        """Return whether this is being assigned to where it was read, by ``mapping[key] += ...``.

        The operator has written already then.
        """
        tie = self.tie
        if tie is None or not tie.in_place or tie.parent is not None:
            return False
        tie.in_place = False
        return tie.held.mapping is mapping and tie.held.stored.key == key

    def _read_of(self, item: Any) -> tuple[Any] | None:
        """Return ``(item,)`` if `item` is what was read last."""
        read = (item,)
        return read if self.tie is not None and self.tie.read == read else None

    def _is_parent_of(self, value: Any) -> bool:
        return isinstance(value, Container) and value.tie is not None and value.tie.parent is self

    def copy(self) -> Any:
        """Return a plain, detached deep copy."""
        return plain(self)

    def __copy__(self) -> Any:
        return plain(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return plain(self)

    def __reduce_ex__(self, protocol: SupportsIndex) -> Any:
        copied = plain(self)
        return self.base, ((bytes(copied) if self.base is bytearray else copied),)


def _kept(old: Any, new: Any, moved: Moves) -> Any:
    """Return `old` made to show `new` if it is a container of that kind, otherwise `new`."""
    if isinstance(old, Container) and old.base is type(new):
        old.show(new, moved)
        return old
    return new


def _mutator(base: type, name: str) -> Any:
    method = getattr(base, name)

    def mutate(self: Container, *args: Any, **kwargs: Any) -> Any:
        given = [list(arg) if isinstance(arg, Iterator) else arg for arg in args]  # may be replayed
        return self.change(lambda target: method(target, *given, **kwargs))

    mutate.__name__ = name
    mutate.__qualname__ = f"Nested{base.__name__.capitalize()}.{name}"
    mutate.__doc__ = f"As `{base.__name__}.{name}`, in the store."
    return mutate


def _in_place(base: type, name: str) -> Any:
    operate = _mutator(base, name)
    method = getattr(base, name)

    def mutate(self: Container, other: Any) -> Any:
        # Whether the other operand fits is the base class's decision; ask it on a plain copy.
        if isinstance(other, Iterator):
            other = list(other)
        if method(plain(self), other) is NotImplemented:
            return NotImplemented
        operate(self, other)
        if self.tie is not None:
            self.tie.in_place = True
        return self

    mutate.__name__ = name
    mutate.__doc__ = f"As `{base.__name__}.{name}`, in the store."
    return mutate


def _give(kind: type[Container], mutators: str, in_place: str) -> None:
    for name in mutators.split():
        setattr(kind, name, _mutator(kind.base, name))
    for name in in_place.split():
        setattr(kind, name, _in_place(kind.base, name))


class NestedDict(Container, dict[str, Any]):
    """A dict inside a mapping."""

    __slots__ = ("tie",)
    base = dict

    # -- reading ---------------------------------------------------------------------------------

    def __getitem__(self, key: str) -> Any:
        item = dict.__getitem__(self, key)
        if type(item) in _PLAIN_SCALARS:
            if self.tie is not None:
                self.tie.read = (key,)
            return item
        offer = offers.current
        if offer is not None and offer.of is self and offer.by == caller():
            return plain(item)
        return self.child(key)

    def get(self, key: str, default: Any = None) -> Any:
        """As `dict.get`; a container is live."""
        try:
            return self[key]
        except KeyError:
            return default

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
        offers.current = Offer(caller(), self, None)
        return dict.keys(self)

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
        if self._is_parent_of(value) and dict.get(self, key) is value:
            return  # x[key] += ...: the operator has written already
        self.change(lambda target: dict.__setitem__(target, key, value), self._read_of(key))

    def setdefault(self, key: str, default: Any = None) -> Any:
        """As `dict.setdefault`; a container is live."""
        self.change(lambda target: dict.setdefault(target, key, default))
        return self[key]

    def transform(self, key: str, function: Callable[[Any], Any], default: Any = ...) -> Any:
        """Replace one item by ``function(item)``, atomically; see `RemoteKVMapping.transform`."""

        def replace(target: dict[str, Any]) -> Any:
            if key not in target and default is ...:
                raise KeyError(key)
            new = function(plain(dict.get(target, key, default)))
            dict.__setitem__(target, key, new)
            return new

        return self.change(replace)

    def increment(self, key: str, by: float = 1) -> Any:
        """Add `by` to one item (0 if missing), atomically; see `RemoteKVMapping.increment`."""
        return self.transform(key, adding(by, key), 0)

    def step_to(self, child: Container) -> Any:
        for key, item in dict.items(self):
            if item is child:
                return key
        return None

    def show(self, value: dict[str, Any], moved: Moves) -> None:
        shown = {key: _kept(dict.get(self, key), item, moved) for key, item in value.items()}
        if list(dict.keys(self)) != list(shown):
            for key in dict.keys(self) - shown.keys():
                dict.__delitem__(self, key)
            if list(dict.keys(self)) != list(shown)[: dict.__len__(self)]:
                dict.clear(self)  # another order
        dict.update(self, shown)

    def _ipython_key_completions_(self) -> list[str]:
        return list(dict.keys(self))


_give(NestedDict, "__delitem__ clear pop popitem update", "__ior__")


class NestedList(Container, list[Any]):
    """A list inside a mapping."""

    __slots__ = ("tie",)
    base = list

    # -- reading ---------------------------------------------------------------------------------

    def __getitem__(self, index: Any) -> Any:
        item = list.__getitem__(self, index)
        if isinstance(index, slice):
            return plain(item)
        if type(item) in _PLAIN_SCALARS:
            if self.tie is not None:
                self.tie.read = (index,)
            return item
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
        return self._each(caller())

    def _each(self, asked: Caller) -> Iterator[Any]:
        index = 0
        while index < len(self):  # the loop's body may change it
            item = list.__getitem__(self, index)
            if type(item) not in _PLAIN_SCALARS:
                item = plain(item) if caller() == asked else self.child(index)
            yield item
            index += 1

    def __reversed__(self) -> Iterator[Any]:
        for index in range(len(self) - 1, -1, -1):
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
        if self._is_parent_of(value) and list.__getitem__(self, index) is value:
            return  # x[index] += ...: the operator has written already
        if isinstance(value, Iterator):
            value = list(value)
        self.change(lambda target: list.__setitem__(target, index, value), self._read_of(index))

    def step_to(self, child: Container) -> Any:
        for index, item in enumerate(list.__iter__(self)):
            if item is child:
                return index
        return None

    def show(self, value: list[Any], moved: Moves) -> None:
        shown = list(value)
        old = list(list.__iter__(self))
        known = moved.get(id(self))
        for index, item in enumerate(old):
            if isinstance(item, Container):
                to = follow(old, index, value) if known is None else known.get(index)
                if to is not None and shown[to] is value[to]:
                    shown[to] = _kept(item, value[to], moved)
        list.__setitem__(self, slice(None), shown)


_give(
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


_give(
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


_give(
    NestedBytearray,
    "__delitem__ __setitem__ append clear extend insert pop remove reverse",
    "__iadd__ __imul__",
)

_KINDS: dict[type, type[Any]] = {
    dict: NestedDict,
    list: NestedList,
    set: NestedSet,
    bytearray: NestedBytearray,
}
_PLAIN_SCALARS = frozenset({str, int, float, bool, type(None)})


def adding(by: float, where: object) -> Callable[[Any], Any]:
    """Return a function that adds `by` to a number, and refuses what is not one."""

    def add(value: Any) -> Any:
        for number in (value, by):
            if isinstance(number, bool) or not isinstance(number, int | float):
                raise TypeError(
                    f"increment({where!r}): {number!r:.60} is of type {type(number).__name__}, "
                    "not a number"
                )
        return value + by

    return add
