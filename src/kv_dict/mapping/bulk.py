"""Telling a loop from a copy.

``dict(x)`` and ``list(x)`` ask `x` for one thing after the other, just as a loop does, but what
they collect is a copy: it has to be detached from the store, and of a whole mapping it should come
from one point in time and one round trip. No protocol says "I am being copied". What does tell them
apart is the caller: within one call into C, every question comes from the same bytecode
instruction of the same frame, while a loop asks for its iterator in one instruction and for each
item in another.

So: what a single instruction takes out is a detached copy, what a loop sees is live. Where no
Python frame can be seen, everything is live.
"""

from __future__ import annotations

import itertools
import sys
import threading
from typing import Any, TypeAlias

__all__ = ["Caller", "Offer", "caller", "offers"]

Caller: TypeAlias = tuple[int, int]
"""A frame's identity and the instruction it is at."""


def caller(depth: int = 1) -> Caller:
    """Return who called the function that calls this one (``depth`` more frames up)."""
    try:
        frame = sys._getframe(depth + 1)
    except ValueError:  # called from C with no Python below
        return 0, next(_nobody)
    return id(frame), frame.f_lasti


_nobody = itertools.count()


class Offer:
    """The plain items of one `keys()` call, for the ``__getitem__`` calls of the same instruction.

    Parameters
    ----------
    by : Caller
        Who asked for the keys.
    of : object
        The container that was asked.
    items : dict or None
        What to hand out; None where the container takes its own copies.
    """

    __slots__ = ("by", "items", "of")

    def __init__(self, by: Caller, of: object, items: dict[str, Any] | None) -> None:
        self.by = by
        self.of = of
        self.items = items


class _Offers(threading.local):
    """The offer of each thread. One is enough: within an instruction nobody else can ask."""

    current: Offer | None = None


offers = _Offers()
