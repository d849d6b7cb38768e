"""JSON that people have written: what would be lost in silence is refused."""

from __future__ import annotations

import json
from typing import Any

__all__ = ["parse_json"]


def parse_json(document: str | bytes) -> Any:
    """Return the value of a JSON document in which no object has a key twice.

    Raises
    ------
    ValueError
        It is no JSON, or an object has a key twice: `json` would keep the last of them.
    RecursionError
        It is nested too deeply.

    Examples
    --------
    >>> parse_json('{"scan_id": 7, "scan_id": 8}')
    Traceback (most recent call last):
        ...
    ValueError: the key 'scan_id' is there twice in one object
    """
    return json.loads(document, object_pairs_hook=_members)


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!r} is there twice in one object")
    return made
