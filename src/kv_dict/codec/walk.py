"""From a Python value to what a strict JSON encoder takes, with the path of whatever it cannot."""

from __future__ import annotations

import math
from typing import Any

from kv_dict.codec.tags import MARK, Refused, tag

__all__ = ["MAX_DEPTH", "find_surrogate", "to_json"]

MAX_DEPTH = 100
"""The deepest nesting that is stored. orjson refuses 255 levels, and a tag may add two."""

_SMALLEST, _LARGEST = -(2**63), 2**64 - 1  # the integers that orjson reads back as integers


def to_json(value: Any, depth: int = 0) -> Any:
    """Return `value` in plain JSON types, sharing nothing mutable with it.

    Exact types are looked at first, in order of how often they occur; what is left (subclasses,
    tagged types, and what cannot be stored) goes through `kv_dict.codec.tags`.

    Raises
    ------
    Refused
        Something in `value` cannot be stored. Its path is put together on the way up, so that
        values that can be stored pay nothing for it.
    """
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return value
    if kind is int and _SMALLEST <= value <= _LARGEST:
        return value
    if kind is float and math.isfinite(value):
        return value
    if depth > MAX_DEPTH:
        raise Refused(f"it is nested deeper than {MAX_DEPTH} levels, or contains itself")
    if isinstance(value, dict):
        return _dict_to_json(value, depth)
    # The base classes' own iteration: that of a write-through container would wrap each item.
    if isinstance(value, list):
        return _items_to_json(list.__iter__(value), depth)
    if isinstance(value, tuple):
        return _items_to_json(tuple.__iter__(value), depth)
    return tag(value, depth, to_json)


def _items_to_json(items: Any, depth: int) -> list[Any]:
    result: list[Any] = []
    try:
        for item in items:
            result.append(to_json(item, depth + 1))
    except Refused as refused:
        refused.inside(len(result))
        raise
    return result


def _dict_to_json(value: dict[Any, Any], depth: int) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, item in dict.items(value):
        if not isinstance(key, str):
            raise Refused(f"its key {key!r:.80} is of type {type(key).__name__}; keys are strings")
        try:
            result[key if type(key) is str else str.__str__(key)] = to_json(item, depth + 1)
        except Refused as refused:
            refused.inside(key)
            raise
    if len(result) == 1 and next(iter(result)).startswith(MARK):
        return {f"{MARK}escaped": result}  # a dict that would read as a tag
    return result


def find_surrogate(value: Any) -> Refused | None:
    """Return where in `value`, made by `to_json`, a string has half of a surrogate pair."""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError as error:
            return Refused(f"character {error.start} of {value!r:.60} is a lone surrogate")
        return None
    steps: Any = ()
    if isinstance(value, dict):
        for key in value:
            if found := find_surrogate(key):
                return found
        steps = value.items()
    elif isinstance(value, list):
        steps = enumerate(value)
    for step, item in steps:
        if found := find_surrogate(item):
            found.inside(step)
            return found
    return None
