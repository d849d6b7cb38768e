"""Where in a mapping, as people type it: ``sample``, ``sample/layers/0``.

A path is a key of the mapping, and steps into nested values: keys of dicts, indexes of lists. In a
key, ``/`` is written ``~1`` and ``~`` is written ``~0``, as in a JSON pointer (RFC 6901).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from kv_dict.errors import KVDictError
from kv_dict.mapping.showing import literal

__all__ = [
    "Path", "PathError", "as_typed", "look", "missing", "parse", "put", "remove", "shown", "spelt",
    "steps", "walk",
]  # fmt: skip

Path = tuple[str, ...]
"""The steps, the first of which is a key of the mapping."""

_LONGEST: Final = 100
"""Characters of a path that a message repeats."""


class PathError(KVDictError, LookupError):
    """A path is spelt wrong, or leads to nothing; the message says where it ends."""


# -- spelling --------------------------------------------------------------------------------------


def parse(text: str) -> Path:
    """Return the steps of a path.

    Raises
    ------
    PathError
        A ``~`` stands alone in it.

    Examples
    --------
    >>> parse("sample/layers/0"), parse("a~1b")
    (('sample', 'layers', '0'), ('a/b',))
    """
    if re.search(r"~(?![01])", text):
        raise PathError(
            f"{literal(text, _LONGEST)}: '~' in a key is written ~0, and '/' is written ~1"
        )
    return tuple(step.replace("~1", "/").replace("~0", "~") for step in text.split("/"))


def spelt(step: object) -> str:
    """Return a key as it is spelt in a path."""
    return str(step).replace("~", "~0").replace("/", "~1")


def shown(path: Sequence[str]) -> str:
    """Return a path for a message: in quotes, and of a long one the beginning."""
    return literal("/".join(map(spelt, path)), _LONGEST)


def as_typed(path: Sequence[str]) -> str:
    """Return a path for a listing: with quotes only where it needs them."""
    text = "/".join(map(spelt, path))
    return text if text.isprintable() and text.strip() == text != "" else literal(text)


# -- following -------------------------------------------------------------------------------------


def walk(root: Any, path: Sequence[str]) -> tuple[list[Any], Any]:
    """Return the steps as the keys and indexes that they are, and what is there.

    Parameters
    ----------
    root : Mapping
        A mapping, or a dict that stands for it.
    path : sequence of str
        The steps.

    Raises
    ------
    PathError
        A step leads to nothing; says what is there instead, if it is called alike.
    """
    keys: list[Any] = []
    value = root
    for at in range(len(path)):
        keys.append(_key(value, path, at))
        try:
            value = value[keys[-1]]
        except KeyError:
            raise missing(path[: at + 1], value) from None
    return keys, value


def look(root: Any, path: Sequence[str]) -> Any:
    """Return what is at a path; PathError if nothing is.

    >>> look({"sample": {"layers": [12.5, 8.0]}}, ("sample", "layers", "1"))
    8.0
    """
    return walk(root, path)[1]


def put(around: Any, path: Sequence[str], value: Any) -> None:
    """Assign the last step of a path in what is `around` it.

    An item of a dict is made where it is missing; the step ``-`` is the end of a list.
    """
    if isinstance(around, Mapping):
        around[path[-1]] = value  # type: ignore[index]
    elif isinstance(around, list) and path[-1] == "-":
        around.append(value)
    else:
        around[_key(around, path, len(path) - 1)] = value


def remove(around: Any, path: Sequence[str]) -> Any:
    """Remove the last step of a path from what is `around` it, and return what was there."""
    key = _key(around, path, len(path) - 1)
    try:
        return around.pop(key)
    except KeyError:
        raise missing(path, around) from None


def steps(value: Any) -> list[str]:
    """Return the steps that lead on from a value."""
    if isinstance(value, Mapping):
        return list(value)
    return [str(index) for index in range(len(value))] if isinstance(value, list) else []


def missing(path: Sequence[str], known: Iterable[str]) -> PathError:
    """Return the error for a path that is not there, with what was perhaps meant."""
    from difflib import get_close_matches  # noqa: PLC0415 - only who mistypes needs it

    known = list(known)
    step = path[-1]
    near = [key for key in known if key.casefold() == step.casefold()]
    near += [key for key in get_close_matches(step, known, n=3, cutoff=0.6) if key not in near]
    hint = ""
    if near:
        names = (shown([*path[:-1], key]) for key in near[:3])
        hint = f"; did you mean {' or '.join(names)}?"
    return PathError(f"there is no {shown(path)}{hint}")


def _key(value: Any, path: Sequence[str], at: int) -> Any:
    """Return the key or index that a step would be in a value."""
    step = path[at]
    if isinstance(value, Mapping):
        return step
    if isinstance(value, list):
        if not re.fullmatch(r"-?[0-9]{1,18}", step):
            raise PathError(
                f"{shown(path[:at])} is a list: its items have numbers, not {shown([step])}"
            )
        if -len(value) <= int(step) < len(value):
            return int(step)
        raise PathError(f"there is no {shown(path[: at + 1])}: the list has {len(value)} items")
    kind = "null" if value is None else type(value).__name__
    raise PathError(f"there is no {shown(path[: at + 1])}: {shown(path[:at])} is of type {kind}")
