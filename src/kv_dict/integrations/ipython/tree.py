"""A mapping as a tree of lines."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any, Final

from kv_dict.integrations.ipython.target import Target
from kv_dict.mapping import LayeredMapping, RemoteKVMapping
from kv_dict.mapping.showing import label, one_line

__all__ = ["everything", "heading", "tree"]

_DEPTH: Final = 8
_LEAST: Final = 20
_KEY: Final = 24
"""Columns to which the values of one level are aligned; longer keys stick out."""


def heading(target: Target) -> str:
    """Return which mapping it is, where it lives, and whether that can be reached."""
    name, mapping = target.name, target.mapping
    if target.of:
        name += f" of the profile {label(target.of)}"
    if isinstance(mapping, LayeredMapping):
        over, under = mapping.over, mapping.under
        stores = " and ".join(dict.fromkeys((over.backend.url, under.backend.url)))
        where = f"{name}: {label(over.entry_point)} over {label(under.entry_point)} in {stores}"
    elif isinstance(mapping, RemoteKVMapping):
        where = f"{name}: {label(mapping.entry_point)} in {mapping.backend.url}"
    else:
        return f"{name}: a {type(mapping).__name__}, not stored by kv-dict"
    if (since := mapping.stale_since) is None:
        return where
    clock = time.strftime("%H:%M:%S", time.localtime(since))
    waiting = f"; {len(mapping.waiting)} waiting to be stored" if mapping.waiting else ""
    return f"{where}, away since {clock}: this is what was there then{waiting}"


def everything(target: Target, width: int) -> Iterator[str]:
    """Yield the lines that show a mapping: heading and tree; of layers, what is read of each."""
    yield heading(target)
    mapping = target.mapping
    items = dict(mapping)
    if isinstance(mapping, LayeredMapping):
        above = {key for key in mapping.over if not mapping.is_below(key)}
        below = {key: items.pop(key) for key in list(items) if key not in above}
    else:
        below = {}
    yield from tree(items, width)
    if below and isinstance(mapping, LayeredMapping):
        yield f"below, in {label(mapping.under.entry_point)}:"
        yield from tree(below, width)
    elif not items:
        yield "empty"


def tree(items: dict[str, Any], width: int) -> Iterator[str]:
    r"""Yield the lines that show `items`: dicts, and lists of containers, laid out.

    Parameters
    ----------
    items : dict
        Plain data.
    width : int
        Columns of the terminal; what is longer is cut.

    Examples
    --------
    >>> sample = {"name": "Fe2O3", "layers": [12.5, 8.0]}
    >>> print(*tree({"cycle": "2026-3", "sample": sample}, 80), sep="\n")
    cycle   '2026-3'
    sample
      name    'Fe2O3'
      layers  [12.5, 8.0]
    """
    yield from _lines(items.items(), width, 0)


def _lines(items: Iterable[tuple[object, Any]], width: int, depth: int) -> Iterator[str]:
    indent = "  " * depth
    labelled = [(label(key), value) for key, value in items]
    column = max((len(name) for name, _ in labelled if len(name) <= _KEY), default=0)
    for name, value in labelled:
        if depth < _DEPTH and (inside := _inside(value)) is not None:
            yield indent + name
            yield from _lines(inside, width, depth + 1)
        else:
            begin = f"{indent}{name:{column}}  "
            yield begin + one_line(value, max(width - len(begin), _LEAST))


def _inside(value: Any) -> Iterable[tuple[object, Any]] | None:
    """Return what is laid out below a value, if it is not shown in one line."""
    if isinstance(value, dict) and value:
        return value.items()
    if isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
        return ((f"[{index}]", item) for index, item in enumerate(value))
    return None
