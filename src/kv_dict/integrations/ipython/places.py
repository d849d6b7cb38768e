"""Reading, assigning and deleting what a path leads to; each is told as Python has it."""

from __future__ import annotations

from typing import Any

from kv_dict.integrations.ipython.target import Target
from kv_dict.mapping.paths import Path, put, remove, walk
from kv_dict.mapping.showing import one_line

__all__ = ["assign", "delete"]


def assign(target: Target, path: Path, value: Any) -> str:
    """Assign an item of the mapping, or of a dict or list in it; return what was done.

    Raises
    ------
    PathError
        What should be around it is not there.
    """
    around, name = _around(target, path)
    put(around, path, value)
    if isinstance(around, list) and path[-1] == "-":
        return f"{name}.append({one_line(value)})"
    return f"{name}[{_subscript(around, path)}] = {one_line(value)}"


def delete(target: Target, path: Path) -> str:
    """Remove an item, and return what was done; PathError if there is none."""
    around, name = _around(target, path)
    value = remove(around, path)
    return f"deleted {name}[{_subscript(around, path)}], which was {one_line(value)}"


def _around(target: Target, path: Path) -> tuple[Any, str]:
    """Return what is around the last step of a path, and how Python names it."""
    keys, around = walk(target.mapping, path[:-1])
    return around, target.name + "".join(f"[{one_line(key)}]" for key in keys)


def _subscript(around: Any, path: Path) -> str:
    return one_line(int(path[-1]) if isinstance(around, list) else path[-1])
