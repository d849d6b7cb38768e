"""What `increment` does to a value."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["adding"]


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
