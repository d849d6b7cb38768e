"""What every container inside a mapping has in common: its tie to the store, and its mutators."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from threading import get_ident
from typing import Any, ClassVar, Final, SupportsIndex

from kv_dict.mapping.bulk import continues
from kv_dict.mapping.held import Action, Held
from kv_dict.mapping.place import Moves
from kv_dict.mapping.scope import Scope

__all__ = ["Container", "give", "kept", "plain"]

_UNREAD: Final = object()


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
    reads : dict
        What each thread has read: by the thread and the key or index of the item, what it was
        (`kv_dict.mapping.place.LIVE` for a container).
    operator : tuple of int, or None
        Who applied an in-place operator, if that was the last change: frame and instruction.
    """

    __slots__ = ("held", "operator", "parent", "reads")

    def __init__(self, held: Held, parent: Container | None) -> None:
        self.held = held
        self.parent = parent
        self.reads: dict[tuple[int, Any], Any] = {}
        self.operator: tuple[int, int] | None = None


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

    # -- changing --------------------------------------------------------------------------------

    def change(self, action: Action) -> Any:
        """Apply `action` to this container, in the store."""
        if self.tie is None:
            return action(self)
        self.tie.operator = None
        return self.tie.held.mutate(self, action)

    def assign(self, item: Any, action: Action) -> None:
        """Apply an `action` that assigns `item`, and that may depend on what was read of it."""
        if self.tie is None:
            action(self)
            return
        self.tie.operator = None
        was = self.tie.reads.pop((get_ident(), item), _UNREAD)
        self.tie.held.mutate(self, action, None if was is _UNREAD else (item, was))

    def note_read(self, item: Any, value: Any) -> None:
        """Remember that an item was read, and what it was."""
        if self.tie is not None:
            self.tie.reads[get_ident(), item] = value

    def is_assigned_by_operator(self, scope: Scope, key: str) -> bool:
        """Return whether the caller's caller is in ``md[key] += ...``, and this is what it read.

        The operator has written already then.
        """
        tie = self.tie
        return (
            tie is not None
            and tie.operator is not None
            and tie.parent is None
            and (tie.held.scope is scope or tie.held.scope.left_for is not None)
            and tie.held.stored.key == key
            and continues(tie.operator)
        )

    # -- what is inside, and around --------------------------------------------------------------

    def is_assigned_back(self, value: Any) -> bool:
        """Return whether the caller's caller is in ``x[item] += ...``, for an `x` that is this.

        `value`, read from here, has written already what the operator did to it then.
        """
        tie = value.tie if isinstance(value, Container) else None
        return (
            tie is not None
            and tie.operator is not None
            and tie.parent is self
            and continues(tie.operator)
        )

    def step_to(self, child: Container) -> Any:
        """Return the key or index of `child`, None if it is not in here."""
        return None

    def show(self, value: Any, moved: Moves) -> None:
        """Become like the plain `value`, keeping the containers inside that are still there."""
        raise NotImplementedError

    # -- copies ----------------------------------------------------------------------------------

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


def kept(old: Any, new: Any, moved: Moves) -> Any:
    """Return `old` made to show `new` if it is a container of that kind, otherwise `new`."""
    if isinstance(old, Container) and old.base is type(new):
        old.show(new, moved)
        return old
    return new


# -- mutating methods ----------------------------------------------------------------------------

_ITERATING: Final = frozenset(
    {
        "__iadd__",
        "__iand__",
        "__ior__",
        "__isub__",
        "__ixor__",
        "difference_update",
        "extend",
        "intersection_update",
        "symmetric_difference_update",
        "update",
    }
)
"""Methods that iterate their arguments; the others would store them."""


def give(kind: type[Container], mutators: str, in_place: str) -> None:
    """Define the mutating methods of a kind of container, by the names its base class has."""
    for name in mutators.split():
        setattr(kind, name, _mutator(kind.base, name))
    for name in in_place.split():
        setattr(kind, name, _in_place(kind.base, name))


def _mutator(base: type, name: str) -> Any:
    method = getattr(base, name)

    def mutate(self: Container, /, *args: Any, **kwargs: Any) -> Any:
        if name in _ITERATING:  # an iterator could not be iterated again
            args = tuple([list(arg) if isinstance(arg, Iterator) else arg for arg in args])
        return self.change(lambda target: method(target, *args, **kwargs))

    mutate.__name__ = name
    mutate.__qualname__ = f"Nested{base.__name__.capitalize()}.{name}"
    mutate.__doc__ = f"As `{base.__name__}.{name}`, in the store."
    return mutate


def _in_place(base: type, name: str) -> Any:
    operate = _mutator(base, name)
    method = getattr(base, name)

    def mutate(self: Container, other: Any, /) -> Any:
        # Whether the other operand fits is the base class's decision; ask it on a plain copy.
        if isinstance(other, Iterator):
            other = list(other)
        if method(plain(self), other) is NotImplemented:
            return NotImplemented
        operate(self, other)
        if self.tie is not None:
            frame = sys._getframe(1)
            self.tie.operator = id(frame), frame.f_lasti
        return self

    mutate.__name__ = name
    mutate.__doc__ = f"As `{base.__name__}.{name}`, in the store."
    return mutate
