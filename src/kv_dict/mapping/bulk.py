"""Telling a loop from a copy.

``dict(x)`` and ``list(x)`` ask `x` for one thing after the other, just as a loop does, but what
they collect is a copy: it has to be detached from the store, and of a whole mapping it should come
from one point in time and one round trip. No protocol says "I am being copied". Two things tell:

- Within one call into C, every question comes from the same bytecode instruction of the same frame,
  while a loop asks for its iterator in one instruction and for each item in another.
- A copy asks for the keys and then for each of them, in order, or for the iterator and then for the
  length, to know how much room it needs. `max` or an unpacking assignment do not.

So: what a copy takes out is detached, everything else is live. In doubt it is live.

The standard library's own mappings are looked through: ``dict(ChainMap(..., md))``, which bluesky
does for every run, is a copy of `md` by whoever called `dict`.
"""

from __future__ import annotations

import sys
import threading
import time
import weakref
from collections.abc import Iterable
from opcode import opname
from types import FrameType
from typing import Any, Final, TypeAlias

__all__ = ["Caller", "Drain", "Offer", "caller", "continues", "copier", "marks"]

_LOOKED_THROUGH: Final = frozenset({"_collections_abc", "collections", "collections.abc"})

_BETWEEN_OPERATOR_AND_ASSIGNMENT: Final = frozenset(
    {"CACHE", "COPY", "EXTENDED_ARG", "NOP", "SWAP"}
)

_LONGEST_GAP: Final = 0.05
"""Seconds between two questions of one call into C; much longer than any is."""


Caller: TypeAlias = tuple[object, int]
"""Who asks: a frame, which is kept from being taken for another, and the instruction it is at."""


def caller() -> Caller:
    """Return who called the function that calls this one."""
    frame: FrameType | None = sys._getframe(1).f_back
    while frame is not None and frame.f_globals.get("__name__") in _LOOKED_THROUGH:
        frame = frame.f_back
    return (object(), -1) if frame is None else (frame, frame.f_lasti)  # from C: like nobody else


def copier() -> Caller | None:
    """Return who makes a dict of a standard library's mapping that asks the caller, or None.

    `dict` asks such a mapping for its keys, and only the view of those asks for an iterator.
    """
    frame = sys._getframe(1).f_back
    view = None
    while frame is not None and frame.f_globals.get("__name__") in _LOOKED_THROUGH:
        frame, view = frame.f_back, frame
    if frame is None or view is None or "KeysView" not in _class_of(view):
        return None
    return frame, frame.f_lasti


def _class_of(frame: FrameType) -> str:
    return type(frame.f_locals.get("self")).__name__


def continues(operator: tuple[int, int]) -> bool:
    """Return whether the caller's caller's caller assigns what its `operator` returned.

    In ``md[key] += 1`` nothing but shuffling the stack is between the two; in ``x += 1`` and a
    later ``md[key] = x`` there is at least one instruction that stores or loads.

    Parameters
    ----------
    operator : tuple of int
        The identity of the frame that applied it, and the instruction it was at. The frame may be
        gone: one that has taken its place would have had to apply an operator of its own.
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

    __slots__ = ("_by", "_keys", "_of", "_until", "items")

    def __init__(
        self, by: Caller, of: object, keys: Iterable[str], items: dict[str, Any] | None = None
    ) -> None:
        self._by = by
        self._of = id(of)
        self._keys = list(keys)[::-1]
        self._until = time.monotonic() + _LONGEST_GAP
        self.items = items

    def holds_for(self, container: object, key: object, by: Caller) -> bool:
        """Return whether `container` is being copied, and `key` comes next (or after some)."""
        now = time.monotonic()
        if self._of != id(container) or self._by != by or now > self._until:
            return False
        self._until = now + _LONGEST_GAP
        while self._keys:
            if self._keys.pop() == key:
                if not self._keys:
                    marks.offer = None  # all of it was taken: let go of the frame
                return True
        return False


class Drain:
    """One iteration of a container, and whether somebody makes room for all of it.

    Belongs to its iterator: when that is gone, nobody can ask any more.

    Parameters
    ----------
    by : Caller
        Who asked for the iterator.
    of : object
        The container that was asked; it is not kept alive.
    count : int
        How many items it began with.
    """

    __slots__ = ("__weakref__", "_by", "_of", "_sized", "_until", "count")

    def __init__(self, by: Caller, of: object, count: int) -> None:
        self._by = by
        self._of = id(of)
        self._until = time.monotonic() + _LONGEST_GAP
        self._sized = False
        self.count = count

    def sized(self, container: object, by: Caller) -> bool:
        """Note that `by` asked for the length; return whether that is for this iteration."""
        self._sized = (
            self._of == id(container) and self._by == by and time.monotonic() <= self._until
        )
        return self._sized

    def is_copy(self, by: Caller) -> bool:
        """Return whether the item that `by` asks for goes into a copy."""
        return self._sized and self._by == by


class _Marks(threading.local):
    """What each thread did last. One is enough: within an instruction nobody else can ask."""

    offer: Offer | None = None
    _drain: Any = None  # a weak reference

    def begin(self, drain: Drain) -> Drain:
        """Note the iteration that begins."""
        self._drain = weakref.ref(drain)
        return drain

    def sized(self, container: object, by: Caller) -> Drain | None:
        """Return the iteration for which `by` just asked for the length of `container`, if any."""
        drain = None if self._drain is None else self._drain()
        return drain if drain is not None and drain.sized(container, by) else None


marks = _Marks()
