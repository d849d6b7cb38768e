"""How long, and at what pace, a compare-and-set is tried again."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from typing import Final

from kv_dict.errors import ConflictError

__all__ = ["attempts"]

_FIRST_PAUSE: Final = 0.0005
_LONGEST_PAUSE: Final = 0.02


def attempts(timeout: float, where: str) -> Iterator[float]:
    """Yield the seconds left for each attempt, with growing random pauses between them.

    The first retry follows at once: most conflicts are with one other writer, who is done.

    Raises
    ------
    ConflictError
        The time is over, and every attempt met a conflict.
    """
    deadline = time.monotonic() + timeout
    yield timeout
    pause = 0.0
    while (left := deadline - time.monotonic()) > pause:
        time.sleep(pause * random.random())  # noqa: S311 - spreads contenders, keeps no secret
        yield left
        pause = min(max(_FIRST_PAUSE, pause * 2), _LONGEST_PAUSE)
    raise ConflictError(
        f"{where} was changed by others at every attempt for {timeout:.3g} s; nothing was written"
    )
