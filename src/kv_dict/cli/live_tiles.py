"""What the tiles of a layout say of the values that are there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from kv_dict.cli.output import plain
from kv_dict.cli.values import brief
from kv_dict.dashboard.layout import Rule, Tile
from kv_dict.mapping.showing import harmless

__all__ = ["Reading", "reading"]

_NOT_THERE: Final = object()
_LONGEST: Final = 200


@dataclass(frozen=True, slots=True)
class Reading:
    """One tile as it is to be shown; its texts are harmless to a terminal.

    Attributes
    ----------
    key : str
        The key whose value it is; the first of the tile's, if none is there.
    label, text, unit, remark, detail : str
        What it is called, its value and unit, what a rule says of it, and what is below.
    state : str or None
        Of the rule that holds.
    is_set : bool
        Whether there is a value.
    max_age : float or None
        Seconds after which it is old.
    """

    key: str
    label: str
    text: str
    unit: str
    remark: str
    detail: str
    state: str | None
    is_set: bool
    max_age: float | None


def reading(tile: Tile, values: Mapping[str, Any]) -> Reading | None:
    """Return what a tile shows of these values; None if it is optional and none is there."""
    key = next((key for key in tile.key if key in values), None)
    if key is None and tile.optional:
        return None
    value = _NOT_THERE if key is None else _look(values[key], tile.path)
    is_set = value is not _NOT_THERE and value is not None
    rule = _judged(tile.rules, value) if is_set else None
    key = tile.key[0] if key is None else key
    return Reading(
        key=key,
        label=harmless(tile.label or key),
        text=_named(value, tile.digits) if is_set else "not set",
        unit=harmless(tile.unit) if is_set else "",
        remark=harmless(rule.text) if rule else "",
        detail=_detail(tile.detail, values),
        state=rule.state if rule else None,
        is_set=is_set,
        max_age=tile.max_age,
    )


def _detail(detail: Sequence[str | int], values: Mapping[str, Any]) -> str:
    value = _look(dict(values), detail) if detail else None
    return "" if value is None or value is _NOT_THERE else _named(value, None)


def _look(value: Any, path: Sequence[str | int]) -> Any:
    for step in path:
        if isinstance(value, dict) and str(step) in value:
            value = value[str(step)]
        elif isinstance(value, list) and str(step).isdecimal() and int(step) < len(value):
            value = value[int(step)]
        else:
            return _NOT_THERE
    return value


def _named(value: Any, digits: int | None) -> str:
    """Return a value that may be a thing with a name."""
    if isinstance(value, dict) and isinstance(value.get("name"), str):
        value = value["name"]
    if isinstance(value, str):
        return harmless(value[:_LONGEST])
    if digits is not None and isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value:.{digits}f}"
    return plain(brief(value, _LONGEST))


def _judged(rules: Sequence[Rule], value: Any) -> Rule | None:
    """Return the first rule that holds."""
    number = isinstance(value, int | float | Decimal) and not isinstance(value, bool)
    for rule in rules:
        if number and rule.below is not None and value < rule.below:
            return rule
        if number and rule.above is not None and value > rule.above:
            return rule
        if rule.equals is not None and _alike(rule.equals, value):
            return rule
    return None


def _alike(wanted: Any, value: Any) -> bool:
    if isinstance(wanted, str) and isinstance(value, str):
        return wanted.casefold() == value.casefold()
    if isinstance(wanted, bool) or isinstance(value, bool):
        return wanted is value
    return isinstance(value, int | float) and bool(wanted == value)
