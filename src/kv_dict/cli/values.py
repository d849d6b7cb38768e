"""How values are shown to people, and how they are read from what people type."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from kv_dict.cli.output import Failure, Line, plain
from kv_dict.codec import JSONCodec
from kv_dict.codec.walk import to_json
from kv_dict.errors import DecodeError
from kv_dict.mapping.showing import harmless, literal

__all__ = ["as_json", "brief", "full", "typed"]

_SAMPLE: Final = 32
"""Bytes, or numbers of an array, that are shown of it."""

_REPEATED: Final = 60
"""Characters of what was typed that a message repeats."""

_LONGEST: Final = 400
"""Characters of one line for a value; the rest is for `get`."""


def as_json(value: Any) -> Any:
    """Return the JSON types that stand for a value in the store: types beyond JSON are tagged."""
    return to_json(value)


# -- showing ---------------------------------------------------------------------------------------


def brief(value: Any, longest: int = _LONGEST) -> Line:
    """Return a value in one line; of a long one the beginning."""
    line: Line = []
    left = longest
    for text, style in _pieces(value):
        if len(text) > left:
            return [*line, (text[:left], style), ("…", "faint")]
        line.append((text, style))
        left -= len(text)
    return line


def full(value: Any, indent: int = 0) -> Iterator[Line]:
    """Yield the lines that show a value, all of it: a container in one line if it fits there."""
    first, *more = _laid_out(value, indent)
    yield first
    yield from more


def _laid_out(value: Any, indent: int) -> Iterator[Line]:
    if isinstance(value, dict | list) and value:
        line = brief(value, 88 - indent)
        if line[-1] == ("…", "faint"):
            yield from _unfolded(value, indent)
            return
        yield line
        return
    yield list(_pieces(value, sample=None))


def _unfolded(value: Any, indent: int) -> Iterator[Line]:
    is_dict = isinstance(value, dict)
    yield [("{" if is_dict else "[", "")]
    pad = (" " * (indent + 2), "")
    last = len(value) - 1
    items = value.items() if is_dict else ((None, item) for item in value)
    for at, (key, item) in enumerate(items):
        begin: Line = [pad] if key is None else [pad, (literal(key), "key"), (": ", "")]
        comma = [("," if at < last else "", "")]
        lines = list(_laid_out(item, indent + 2))
        lines[0] = begin + lines[0]
        lines[-1] = lines[-1] + comma
        yield from lines
    yield [(" " * indent, ""), ("}" if is_dict else "]", "")]


def _pieces(value: Any, sample: int | None = _SAMPLE) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield literal(value if len(value) <= 100_000 or sample is None else value[:1000]), "string"
    elif value is None or isinstance(value, bool):
        yield json.dumps(value), "special"
    elif isinstance(value, int | float):
        yield _number(value), "number"
    elif isinstance(value, dict):
        yield from _listed("{", value.items(), "}", sample, named=True)
    elif isinstance(value, list):
        yield from _listed("[", ((None, item) for item in value), "]", sample)
    elif isinstance(value, set | frozenset):
        yield f"{type(value).__name__} ", "special"
        yield from _listed("{", ((None, i) for i in sorted(value, key=repr)), "}", sample)
    elif isinstance(value, bytes | bytearray):
        yield f"{type(value).__name__} ({len(value)}) ", "special"
        yield value[:sample].hex(" "), ""
        if sample is not None and len(value) > sample:
            yield " …", "faint"
    elif hasattr(value, "dtype"):
        shape = "x".join(map(str, value.shape)) or "scalar"
        yield f"array {shape} {value.dtype} ", "special"
        yield _array(value, sample), "number"
    else:
        yield f"{type(value).__name__} ", "special"
        yield harmless(str(value)), ""


def _number(value: float) -> str:
    if isinstance(value, int) and value.bit_length() > 4096:
        return hex(value)  # Python refuses to write it in decimal
    return repr(value)


def _listed(
    begin: str, items: Any, end: str, sample: int | None, *, named: bool = False
) -> Iterator[tuple[str, str]]:
    yield begin, ""
    for at, (key, item) in enumerate(items):
        if at:
            yield ", ", ""
        if named:
            yield literal(key), "key"
            yield ": ", ""
        yield from _pieces(item, sample)
    yield end, ""


def _array(value: Any, sample: int | None) -> str:
    import numpy as np

    with np.printoptions(threshold=sample or 10_000, edgeitems=3, linewidth=10_000):
        text = np.array2string(value, separator=", ")
    return harmless(" ".join(text.split()))


# -- reading ---------------------------------------------------------------------------------------


def typed(text: str, *, string: bool = False) -> Any:
    """Return the value that somebody typed: JSON, or else a word or sentence as it is.

    What looks as if it were meant to be something else than a string, and is no JSON, is refused.
    """
    if string:
        return text
    try:
        return JSONCodec().decode(text.encode("utf-8", "surrogateescape"), "the value given")
    except DecodeError as error:
        said = str(error)
        if "is not JSON" not in said:
            raise
    hint, shown = "; as a string: --string", literal(text[:_REPEATED])
    if len(text) <= _REPEATED:
        hint += f", or {plain([(shown, '')])} in quotes of the shell"
    if text[:1] in ("{", "[", '"') or not text.strip():
        raise Failure(f"the value {shown} is not JSON{hint}")
    if (spelt := _PYTHON.get(text)) is not None:
        raise Failure(f"JSON spells {text} as {spelt}{hint}")
    try:
        number = float(text)
    except ValueError:
        return text
    if len(text) > _REPEATED:
        raise Failure(f"the value {shown} ({len(text)} characters) is not JSON{hint}")
    raise Failure(f"JSON spells the number {text} as {as_json_number(number)}{hint}")


def as_json_number(number: float) -> str:
    """Return how JSON, or what Python makes of it, spells a number."""
    return json.dumps(int(number) if number.is_integer() and abs(number) < 2**53 else number)


_PYTHON: Final = {"True": "true", "False": "false", "None": "null"}
