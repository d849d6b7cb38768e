"""Where in a mapping: ``sample``, ``sample/layers/0``.

A path is a key of the mapping, and steps into nested values: keys of dicts, indexes of lists. In a
key, ``/`` is written ``~1`` and ``~`` is written ``~0``, as in a JSON pointer (RFC 6901).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import click

from kv_dict.cli.output import Failure
from kv_dict.cli.values import literal
from kv_dict.mapping.container import plain

__all__ = [
    "Path", "branches", "changed", "look", "missing", "shown", "shown_path", "spelt", "without",
]  # fmt: skip


def spelt(step: object) -> str:
    """Return a key as it is spelt in a path."""
    return str(step).replace("~", "~0").replace("/", "~1")


class Path(click.ParamType):  # type: ignore[type-arg]  # generic in newer ones only
    """A path as click reads one: a tuple of steps, the first of which is a key of the mapping."""

    name = "path"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[str, ...]:
        """Return the steps; a spelling that is none is wrong usage."""
        if isinstance(value, tuple):
            return value
        if re.search(r"~(?![01])", value):
            self.fail(f"{value!r}: '~' in a key is written ~0, and '/' is written ~1", param, ctx)
        return tuple(step.replace("~1", "/").replace("~0", "~") for step in value.split("/"))

    def shell_complete(self, ctx: Any, param: Any, incomplete: str) -> Any:
        """Return what could follow, if the store tells soon."""
        from kv_dict.cli.completion import complete_path

        return complete_path(ctx, incomplete)


def shown(steps: Sequence[str]) -> str:
    """Return a path for a message."""
    return literal("/".join(map(spelt, steps)))


def shown_path(steps: Sequence[str]) -> str:
    """Return a path for a listing: as it may be typed, with quotes only where it needs them."""
    path = "/".join(map(spelt, steps))
    return path if path.isprintable() and path.strip() == path != "" else literal(path)


def look(value: Any, path: Sequence[str]) -> Any:
    """Return what is in `value`, that of the key ``path[0]``, at the rest of the path."""
    for at in range(1, len(path)):
        value = _inside(value, path, at)
    return value


def changed(value: Any, path: Sequence[str], new: Any) -> Any:
    """Return a `value`, that of the key ``path[0]``, with `new` at the rest of the path.

    An item of a dict is made where it is missing, but not the dict; ``-`` is the end of a list.
    """
    if len(path) == 1:
        return new
    value = plain(value)
    around = look(value, path[:-1])
    step = path[-1]
    if isinstance(around, dict):
        around[step] = new
    elif isinstance(around, list) and step == "-":
        around.append(new)
    else:
        _inside(around, path, len(path) - 1)
        around[int(step)] = new
    return value


def without(value: Any, path: Sequence[str]) -> Any:
    """Return a `value`, that of the key ``path[0]``, without what is at the rest of the path."""
    value = plain(value)
    around = look(value, path[:-1])
    _inside(around, path, len(path) - 1)
    del around[path[-1] if isinstance(around, dict) else int(path[-1])]
    return value


def _inside(value: Any, path: Sequence[str], at: int) -> Any:
    step = path[at]
    if isinstance(value, dict):
        if step in value:
            return value[step]
        raise missing(path[: at + 1], value)
    if isinstance(value, list):
        if re.fullmatch(r"-?[0-9]{1,18}", step):
            if -len(value) <= int(step) < len(value):
                return value[int(step)]
            raise Failure(f"there is no {shown(path[: at + 1])}: the list has {len(value)} items")
        raise Failure(f"{shown(path[:at])} is a list: its items have numbers, not {shown([step])}")
    kind = "null" if value is None else type(value).__name__
    raise Failure(f"there is no {shown(path[: at + 1])}: {shown(path[:at])} is of type {kind}")


def missing(path: Sequence[str], known: Iterable[str]) -> Failure:
    """Return the error for a path that is not there, with what was perhaps meant."""
    from difflib import get_close_matches

    known = list(known)
    step = path[-1]
    near = [key for key in known if key.casefold() == step.casefold()]
    near += [key for key in get_close_matches(step, known, n=3, cutoff=0.6) if key not in near]
    hint = ""
    if near:
        names = (shown([*path[:-1], key]) for key in near[:3])
        hint = f"; did you mean {' or '.join(names)}?"
    return Failure(f"there is no {shown(path)}{hint}")


def branches(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the steps into a value, and what is there."""
    if isinstance(value, dict):
        yield from value.items()
    elif isinstance(value, list):
        yield from ((str(at), item) for at, item in enumerate(value))
