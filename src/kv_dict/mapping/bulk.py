"""Telling a loop from a copy.

``dict(x)`` and ``list(x)`` ask `x` for one thing after the other, just as a loop does, but what
they collect is a copy: it has to be detached from the store, and of a whole mapping it should come
from one point in time and one round trip. No protocol says "I am being copied". Two things tell:

- Within one call into C, every question comes from the same bytecode instruction of the same frame,
  while a loop asks for its iterator in one instruction and for each item in another.
- A copy asks for the keys and then for each of them, or for the iterator and then for the length,
  to know how much room it needs. `max` or an unpacking assignment do not.

So: what a copy takes out is detached, everything else is live. Where no Python frame can be seen,
everything is live.

The standard library's own mappings are looked through: `dict(ChainMap(..., md))`, which bluesky
does for every run, is a copy of `md` by whoever called `dict`.
"""

from __future__ import annotations

import itertools
import sys
import threading
from collections.abc import Iterable
from opcode import opname
from types import FrameType
from typing import Any, Final, TypeAlias

__all__ = ["Caller", "Drain", "Offer", "caller", "continues", "copier", "marks"]

Caller: TypeAlias = tuple[int, int]
"""A frame's identity and the instruction it is at."""

_nobody = itertools.count()

_BETWEEN_OPERATOR_AND_ASSIGNMENT: Final = frozenset(
    {"CACHE", "COPY", "EXTENDED_ARG", "NOP", "SWAP"}
)


_LOOKED_THROUGH: Final = frozenset({"_collections_abc", "collections", "collections.abc"})


def caller() -> Caller:
    """Return who called the function that calls this one."""
    frame: FrameType | None = sys._getframe(1).f_back
    while frame is not None and frame.f_globals.get("__name__") in _LOOKED_THROUGH:
        frame = frame.f_back
    if frame is None:  # called from C with no Python below
        return 0, next(_nobody)
    return id(frame), frame.f_lasti


def copier() -> Caller | None:
    """Return who copies a standard library's mapping that asks the caller; None if nobody does."""
    frame = sys._getframe(1).f_back
    through = False
    while frame is not None and frame.f_globals.get("__name__") in _LOOKED_THROUGH:
        frame, through = frame.f_back, True
    if frame is None or not through:
        return None
    if opname[frame.f_code.co_code[frame.f_lasti]] == "FOR_ITER":  # a loop over its items()
        return None
    return id(frame), frame.f_lasti


def continues(operator: Caller) -> bool:
    """Return whether the caller's caller's caller assigns what its `operator` returned.

    In ``md[key] += 1`` nothing but shuffling the stack is between the two; in ``x += 1`` and a
    later ``md[key] = x`` there is at least one instruction that stores or loads.
    """
    frame = sys._getframe(3)
    first, last = operator[1] + 2, frame.f_lasti
    if id(frame) != operator[0] or not first < last:
        return False
    code = frame.f_code.co_code[first:last:2]
    return all(opname[operation] in _BETWEEN_OPERATOR_AND_ASSIGNMENT for operation in code)


class Offer:
    """The keys of one `keys()` call, for the ``__getitem__`` calls of the same instruction.

    Parameters
    ----------
    by : Caller
        Who asked for the keys.
    of : object
        The container that was asked; it is not kept alive.
    keys : iterable of str
        What will be asked for, in this order, if it is a copy.
    items : dict, optional
        Plain values to hand out; None where the container takes its own copies.
    """

    __slots__ = ("_by", "_keys", "_of", "items")

    def __init__(
        self, by: Caller, of: object, keys: Iterable[str], items: dict[str, Any] | None = None
    ) -> None:
        self._by = by
        self._of = id(of)
        self._keys = iter(keys)
        self.items = items

    def holds_for(self, container: object, key: object, by: Caller) -> bool:
        """Return whether `container` is being copied, and `key` comes next (or after some)."""
        return self._of == id(container) and self._by == by and any(k == key for k in self._keys)


class Drain:
    """One iteration of a container, and whether somebody makes room for all of it.

    Parameters
    ----------
    by : Caller
        Who asked for the iterator.
    of : object
        The container that was asked; it is not kept alive.
    count : int
        How many items it began with.
    """

    __slots__ = ("_by", "_of", "_sized", "count")

    def __init__(self, by: Caller, of: object, count: int) -> None:
        self._by = by
        self._of = id(of)
        self._sized = False
        self.count = count

    def sized(self, container: object, by: Caller) -> bool:
        """Note that `by` asked for the length; return whether that is for this iteration."""
        if self._of == id(container) and self._by == by:
            self._sized = True
            return True
        return False

    def is_copy(self, by: Caller) -> bool:
        """Return whether the item that `by` asks for goes into a copy."""
        return self._sized and self._by == by


class _Marks(threading.local):
    """What each thread did last. One is enough: within an instruction nobody else can ask."""

    offer: Offer | None = None
    drain: Drain | None = None


marks = _Marks()
