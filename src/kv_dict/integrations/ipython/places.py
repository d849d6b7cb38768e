"""Reading, assigning and deleting what a path leads to; each is told as Python has it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from IPython.core.error import UsageError

from kv_dict.integrations.ipython.arguments import Path
from kv_dict.integrations.ipython.target import Target
from kv_dict.mapping.showing import one_line

__all__ = ["assign", "delete", "look", "steps_of"]


def look(target: Target, path: Path) -> Any:
    """Return what is there; a container is live.

    Raises
    ------
    UsageError
        Nothing is; says what is, if it is called alike.
    """
    return _walk(target, path)[0]


def assign(target: Target, path: Path, value: Any) -> str:
    """Assign an item of the mapping, or of a dict or list in it; return what was done.

    The step ``-`` is the end of a list.
    """
    *way, last = path
    around, name = _walk(target, way)
    if isinstance(around, list) and last == "-":
        around.append(value)
        return f"{name}.append({one_line(value)})"
    key = last if isinstance(around, Mapping) else _key(around, name, last)
    around[key] = value
    return f"{name}[{one_line(key)}] = {one_line(value)}"


def delete(target: Target, path: Path) -> str:
    """Remove an item, and return what was done."""
    *way, last = path
    around, name = _walk(target, way)
    key = _key(around, name, last)
    return f"deleted {name}[{one_line(key)}], which was {one_line(around.pop(key))}"


def steps_of(value: Any) -> Iterable[str]:
    """Return the steps that lead on from a value."""
    if isinstance(value, Mapping):
        return list(value)
    return [str(index) for index in range(len(value))] if isinstance(value, list) else []


def _walk(target: Target, path: Iterable[str]) -> tuple[Any, str]:
    """Return what is there, and how Python names it."""
    value: Any = target.mapping
    name = target.name
    for step in path:
        key = _key(value, name, step)
        value, name = value[key], f"{name}[{one_line(key)}]"
    return value, name


def _key(value: Any, name: str, step: str) -> Any:
    """Return the key or index that a step is in a value, where there has to be such an item."""
    if isinstance(value, Mapping):
        if step in value:
            return step
        near = get_close_matches(step, list(value), n=1, cutoff=0.6)
        hint = f"; did you mean {one_line(near[0])}?" if near else ""
        raise UsageError(f"there is no {name}[{one_line(step, 60)}]{hint}")
    if isinstance(value, list):
        if re.fullmatch(r"-?\d{1,9}", step) and -len(value) <= int(step) < len(value):
            return int(step)
        raise UsageError(f"{name} is a list of {len(value)}: there is no item {one_line(step, 60)}")
    raise UsageError(f"{name} is of type {type(value).__name__}: nothing is in it")
