"""Waiting for what comes true in its own time and tells nobody."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

__all__ = ["PATIENCE", "until"]

PATIENCE: Final = 30.0
"""Seconds that anything may take on a busy machine before nobody waits for it any more."""

_PAUSE: Final = 0.002


def until(condition: Callable[[], object], patience: float = PATIENCE) -> None:
    """Return when `condition` is true.

    Parameters
    ----------
    condition : callable
        Is asked again and again.
    patience : float
        Seconds.

    Raises
    ------
    TimeoutError
        It did not come true.
    """
    deadline = time.monotonic() + patience
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"it did not come true within {patience:g} s")
        time.sleep(_PAUSE)
