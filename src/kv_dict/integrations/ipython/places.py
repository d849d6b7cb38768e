"""Reading, assigning and deleting what a path leads to."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from IPython.core.error import UsageError

from kv_dict.integrations.ipython.arguments import Path
from kv_dict.integrations.ipython.target import Target
from kv_dict.mapping.showing import one_line

__all__ = ["assign", "delete", "look", "steps_of", "written"]


def look(target: Target, path: Path) -> Any:
    """Return what is there; a container is live.

    Raises
    ------
    UsageError
        Nothing is; says what is, if it is called alike.
    """
    value: Any = target.mapping
    for at, step in enumerate(path):
        value = value[_step_into(target, value, path[:at], step)]
    return value


def assign(target: Target, path: Path, value: Any) -> None:
    """Assign an item of the mapping, or of a dict or list that is in it."""
    *way, last = path
    around = look(target, tuple(way))
    if isinstance(around, Mapping):
        around[last] = value  # type: ignore[index]  # all that are here are mutable
    elif isinstance(around, list) and last == "-":
        around.append(value)
    else:
        around[_step_into(target, around, tuple(way), last)] = value


def delete(target: Target, path: Path) -> Any:
    """Remove an item, and return what it was, detached."""
    *way, last = path
    around = look(target, tuple(way))
    return around.pop(_step_into(target, around, tuple(way), last))


def steps_of(value: Any) -> Iterable[str]:
    """Return the steps that lead on from a value."""
    if isinstance(value, Mapping):
        return list(value)
    return [str(index) for index in range(len(value))] if isinstance(value, list) else []


def written(target: Target, path: Path, around: Any = None) -> str:
    """Return a path as Python has it: ``RE.md['sample']['layers'][0]``."""
    text, value = target.name, target.mapping if around is None else around
    for step in path:
        index = isinstance(value, list)
        text += f"[{step if index else one_line(step)}]"
        if isinstance(value, Mapping):
            value = value.get(step)
        else:
            value = value[int(step)] if index and re.fullmatch(r"-?\d{1,9}", step) else None
    return text


def _step_into(target: Target, value: Any, way: Path, step: str) -> Any:
    here = written(target, way)
    if isinstance(value, Mapping):
        if step in value:
            return step
        near = get_close_matches(step, list(value), n=1, cutoff=0.6)
        hint = f"; did you mean {one_line(near[0])}?" if near else ""
        raise UsageError(f"there is no {here}[{one_line(step, 60)}]{hint}")
    if isinstance(value, list):
        if re.fullmatch(r"-?\d{1,9}", step) and -len(value) <= int(step) < len(value):
            return int(step)
        raise UsageError(f"{here} is a list of {len(value)}: there is no item {one_line(step, 60)}")
    raise UsageError(f"{here} is of type {type(value).__name__}: nothing is in it")
