"""What is kept from readers: patterns of paths, and values without what they match.

A pattern is a path as on the command line, ``proposal/pi_email``, each of whose steps may have
``*``, ``?`` and ``[abc]``. One without a ``/`` counts at every depth; a ``/`` in front makes it
count at the top only. As in other paths, ``/`` in a key is ``~1``, and ``~`` is ``~0``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from fnmatch import translate
from functools import lru_cache
from typing import Any, TypeAlias

from kv_dict.errors import ConfigurationError
from kv_dict.mapping.paths import PathError, parse

__all__ = ["hides", "without_hidden"]

Step: TypeAlias = "re.Pattern[str]"
Steps: TypeAlias = "tuple[Step, ...]"


def hides(patterns: tuple[str, ...], key: str) -> bool:
    """Return whether a key of the mapping is hidden, with all that is in it.

    Raises
    ------
    ConfigurationError
        A pattern is none.
    """
    anywhere, from_top = _compiled(patterns)
    return _is_hidden(key, anywhere, from_top)


def without_hidden(patterns: tuple[str, ...], key: str, value: Any) -> Any:
    """Return the value of a key without the parts that are hidden: the same object if none is.

    An item of a list that is hidden is None, so that the others keep their places.
    """
    if not patterns:
        return value
    anywhere, from_top = _compiled(patterns)
    return _seen(value, anywhere, _inside(from_top, key))


def _seen(value: Any, anywhere: Sequence[Step], here: Sequence[Steps]) -> Any:
    """Return what is left of a value; `here` are the rests of the patterns that led into it."""
    # The base classes' own iteration: that of a write-through container would wrap each item.
    if isinstance(value, dict):
        kept: dict[Any, Any] = {}
        same = True
        for key, item in dict.items(value):
            if _is_hidden(str(key), anywhere, here):
                same = False
                continue
            kept[key] = _seen(item, anywhere, _inside(here, str(key)))
            same = same and kept[key] is item
        return value if same else kept
    if isinstance(value, list):
        items = [
            None if _is_hidden(str(at), (), here) else _seen(item, anywhere, _inside(here, str(at)))
            for at, item in enumerate(list.__iter__(value))
        ]
        same = all(new is old for new, old in zip(items, list.__iter__(value), strict=True))
        return value if same else items
    return value


def _is_hidden(step: str, anywhere: Iterable[Step], here: Iterable[Steps]) -> bool:
    return any(p.match(step) for p in anywhere) or any(
        len(steps) == 1 and steps[0].match(step) for steps in here
    )


def _inside(here: Iterable[Steps], step: str) -> list[Steps]:
    return [steps[1:] for steps in here if len(steps) > 1 and steps[0].match(step)]


@lru_cache(maxsize=64)
def _compiled(patterns: tuple[str, ...]) -> tuple[tuple[Step, ...], tuple[Steps, ...]]:
    """Return the patterns that count at every depth, and those that begin at the top."""
    anywhere, from_top = [], []
    for pattern in patterns:
        try:
            steps = parse(pattern.removeprefix("/"))
        except PathError as error:
            raise ConfigurationError(str(error)) from None
        if "" in steps:
            raise ConfigurationError(f"{pattern!r:.60}: a path with an empty step hides nothing")
        if "**" in steps:
            raise ConfigurationError(
                f"{pattern!r:.60}: '*' is one step; what has no '/' is hidden at every depth"
            )
        read = tuple(re.compile(translate(step)) for step in steps)
        if "/" in pattern:
            from_top.append(read)
        else:
            anywhere.append(read[0])
    return tuple(anywhere), tuple(from_top)
