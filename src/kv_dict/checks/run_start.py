"""What bluesky accepts as metadata of a run.

The RunEngine puts ``RE.md`` into the start document of each run, and has that validated by the
schema of event-model. What does not fit is found out when the run begins: too late, and far from
the line that assigned it. These are the same rules, to be asked when a value is assigned.

They are those of event-model 1.24 and bluesky 1.15. The tests ask both and compare, value by value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, TypeAlias

from kv_dict.errors import CheckError

__all__ = ["check_run_start"]

_Rule: TypeAlias = Callable[[Any, str], None]
"""Raises `_Refused` if a value is wrong; is told where it is."""

_FORBIDDEN: Final = "./"


class _Refused(Exception):
    """Something is not as bluesky wants it."""

    def __init__(self, where: str, value: Any, wanted: str) -> None:
        super().__init__(f"{where} is {value!r:.60}, and bluesky wants {wanted}")


def check_run_start(key: str, value: Any) -> None:
    """Raise CheckError if no run could begin with `value` under `key` in its metadata.

    Examples
    --------
    >>> check_run_start("sample", {"name": "Fe2O3"})
    >>> check_run_start("sample", ["Fe2O3"])
    Traceback (most recent call last):
        ...
    kv_dict.errors.CheckError: md['sample'] is ['Fe2O3'], and bluesky wants a string or a dict ...
    """
    where = f"md[{key!r}]"
    try:
        _check_name(key, where)
        _check_names(value, where)
        _RULES.get(key, _any)(value, where)
    except _Refused as refused:
        raise CheckError(f"{refused}; nothing was written") from None


# -- keys ----------------------------------------------------------------------------------------


def _check_name(key: str, where: str) -> None:
    if not key or any(character in key for character in _FORBIDDEN):
        raise _Refused(
            f"the key of {where}", key, "keys that are not empty and have no '.' and no '/' in them"
        )


def _check_names(value: Any, where: str) -> None:
    """Check the keys of dicts in dicts. What is in a list is free."""
    if isinstance(value, dict):
        for key, item in value.items():
            inside = f"{where}[{key!r}]"
            _check_name(key, inside)
            _check_names(item, inside)


# -- values --------------------------------------------------------------------------------------


def _any(value: Any, where: str) -> None:
    """Accept everything."""


def _nothing(value: Any, where: str) -> None:
    raise _Refused(where, value, "to make that itself, for each run; use another key")


def _of(kind: type, wanted: str) -> _Rule:
    def rule(value: Any, where: str) -> None:
        if not isinstance(value, kind):
            raise _Refused(where, value, wanted)

    return rule


def _whole_number(value: Any, where: str) -> None:
    whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    if isinstance(value, bool) or not whole:
        raise _Refused(where, value, "a whole number")


def _exactly(text: str) -> _Rule:
    def rule(value: Any, where: str) -> None:
        if value != text:
            raise _Refused(where, value, repr(text))

    return rule


def _list_of(item: _Rule, wanted: str) -> _Rule:
    def rule(value: Any, where: str) -> None:
        shape = getattr(value, "shape", None)  # of a numpy array
        if not isinstance(value, list) and not shape:
            raise _Refused(where, value, wanted)
        for index in range(len(value)):
            item(value[index], f"{where}[{index}]")

    return rule


def _dict_of(
    wanted: str,
    required: Mapping[str, _Rule] = MappingProxyType({}),
    optional: Mapping[str, _Rule] = MappingProxyType({}),
) -> _Rule:
    rules = {**required, **optional}

    def rule(value: Any, where: str) -> None:
        if not isinstance(value, dict) or not required.keys() <= value.keys():
            raise _Refused(where, value, wanted)
        for key, of_item in rules.items():
            if key in value:
                of_item(value[key], f"{where}[{key!r}]")

    return rule


def _either(wanted: str, *rules: _Rule) -> _Rule:
    def rule(value: Any, where: str) -> None:
        for each in rules:
            try:
                each(value, where)
            except _Refused:
                continue
            return
        raise _Refused(where, value, wanted)

    return rule


_string = _of(str, "a string")
_strings = _list_of(_string, "a list of strings")

_dimension = _list_of(_either("a string or a list of strings", _string, _strings), "a list")

_of_events = {"field": _string, "location": _exactly("event"), "stream": _string}
_calculation = _dict_of(
    "a dict with 'callable'",
    {"callable": _string},
    {"args": _list_of(_any, "a list"), "kwargs": _of(dict, "a dict")},
)
_projected = _either(
    "a linked, calculated or static projection, as event-model describes it",
    _dict_of("one of events", {**_of_events, "type": _exactly("linked")}),
    _dict_of(
        "a calculated one",
        {**_of_events, "type": _exactly("calculated"), "calculation": _calculation},
    ),
    _dict_of("a static one", {"type": _exactly("static"), "value": _any}),
)


def _projections(value: Any, where: str) -> None:
    _of(dict, "a dict")(value, where)
    for key, item in value.items():
        _projected(item, f"{where}[{key!r}]")


_RULES: Final[Mapping[str, _Rule]] = {
    "data_groups": _strings,
    "data_session": _string,
    "group": _string,
    "hints": _dict_of("a dict", optional={"dimensions": _list_of(_dimension, "a list of lists")}),
    "owner": _string,
    "project": _string,
    "projections": _list_of(
        _dict_of(
            "a dict with 'configuration', 'projection' and 'version'",
            {"configuration": _of(dict, "a dict"), "projection": _projections, "version": _string},
            {"name": _string},
        ),
        "a list of dicts",
    ),
    "sample": _either("a string or a dict", _string, _of(dict, "a dict")),
    "scan_id": _whole_number,
    "time": _nothing,
    "uid": _nothing,
}
