"""What the values in the table of a layout have to be, and what is said of others.

Each function takes a value and where it is, for the ConfigurationError if it is of another kind.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields
from difflib import get_close_matches
from typing import Any, Final

from kv_dict.dashboard.hiding import hides
from kv_dict.errors import ConfigurationError

__all__ = [
    "choice",
    "flag",
    "items",
    "keys",
    "number",
    "pattern",
    "seconds",
    "steps",
    "table",
    "text",
]

LONGEST: Final = 200


def table(given: Any, where: str, kind: type) -> dict[str, Any]:
    """Return a table that has no other keys than the fields of `kind`."""
    if not isinstance(given, Mapping):
        raise ConfigurationError(f"{where}: a table, not {type(given).__name__}")
    known = [one.name for one in fields(kind)]
    for name in given:
        if name not in known:
            near = get_close_matches(str(name), known, n=1)
            hint = f"; did you mean {near[0]}?" if near else f" (known: {', '.join(known)})"
            raise ConfigurationError(f"{where}.{name} is not known{hint}")
    return dict(given)


def text(given: Any, where: str) -> str:
    """Return a text that is not too long."""
    if not isinstance(given, str) or len(given) > LONGEST:
        raise ConfigurationError(f"{where} = {given!r:.60}: a text of up to {LONGEST} characters")
    return given


def pattern(given: Any, where: str) -> str:
    """Return a pattern of what is hidden."""
    read = text(given, where)
    try:
        hides((read,), "")
    except ConfigurationError as error:
        raise ConfigurationError(f"{where} = {error}") from None
    return read


def items(given: Any, where: str) -> list[Any]:
    """Return a list."""
    if not isinstance(given, list | tuple):
        raise ConfigurationError(f"{where}: a list, not {type(given).__name__}")
    return list(given)


def number(given: Any, where: str) -> float:
    """Return a number that is finite."""
    if isinstance(given, bool) or not isinstance(given, int | float) or not math.isfinite(given):
        raise ConfigurationError(f"{where} = {given!r:.60}: a number")
    return given


def seconds(given: Any, where: str) -> float:
    """Return seconds, above 0."""
    if number(given, where) <= 0:
        raise ConfigurationError(f"{where} = {given!r}: seconds, above 0")
    return float(given)


def choice(given: Any, where: str, allowed: tuple[int, ...]) -> int:
    """Return a whole number that is one of those."""
    if isinstance(given, bool) or given not in allowed:
        raise ConfigurationError(
            f"{where} = {given!r:.60}: a whole number from {allowed[0]} to {allowed[-1]}"
        )
    return int(given)


def flag(given: Any, where: str) -> bool:
    """Return true or false."""
    if not isinstance(given, bool):
        raise ConfigurationError(f"{where} = {given!r:.60}: true or false")
    return given


def keys(given: Any, where: str) -> tuple[str, ...]:
    """Return the keys that one text, or a list of them, names."""
    keys = (given,) if isinstance(given, str) else tuple(items(given, where))
    if not keys or not all(isinstance(key, str) for key in keys):
        raise ConfigurationError(f"{where} = {given!r:.60}: a key, or a list of keys")
    return keys


def steps(given: Any, where: str) -> tuple[str | int, ...]:
    """Return the steps into a value that a text or a list names."""
    steps = tuple(given.split("/")) if isinstance(given, str) else tuple(items(given, where))
    if not all(isinstance(step, str | int) and not isinstance(step, bool) for step in steps):
        raise ConfigurationError(f"{where} = {given!r:.60}: keys and indexes")
    return steps
