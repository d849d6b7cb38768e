"""How long, and at what pace, a compare-and-set is tried again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Final

from kv_dict.errors import ConflictError

__all__ = ["attempts"]

_FIRST_PAUSE: Final = 0.0005
_LONGEST_PAUSE: Final = 0.002


def attempts(timeout: float, where: str) -> Iterator[Callable[[], float]]:
    """Yield, for each attempt, a function that tells the seconds left.

    Between attempts are growing random pauses, short ones: another writer that never rests leaves
    little room between two of its writes, and it takes many tries to hit it.

    The first retry follows at once: most conflicts are with one other writer, who is done.

    Raises
    ------
    ConflictError
        The time is over, and every attempt met a conflict.
    """
    deadline = time.monotonic() + timeout

    def left() -> float:
        return max(0.0, deadline - time.monotonic())

    yield left
    import random  # noqa: PLC0415 - conflicts are rare, and this is slow to import

    pause = 0.0
    while left() > pause:
        time.sleep(pause * random.random())  # noqa: S311 - spreads contenders, keeps no secret
        yield left
        pause = min(max(_FIRST_PAUSE, pause * 2), _LONGEST_PAUSE)
    raise ConflictError(
        f"{where} was changed by others at every attempt for {timeout:.3g} s; nothing was written"
    )
