"""The types beyond JSON that are stored, each as an object of one tagged key.

``{"$kv:datetime": "2026-11-23T09:00:00"}`` for a datetime, and so on: the table at the end of this
module is the whole list, and the documentation's table is checked against it. A user's own dict
that would read as a tag is stored as ``{"$kv:escaped": {...}}``.
"""

from __future__ import annotations

import base64
import datetime as dt
import decimal
import enum
import pathlib
import sys
import uuid
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from kv_dict.errors import DecodeError

__all__ = ["MARK", "TAGS", "Refused", "restore", "tag"]

MARK = "$kv:"
_ESCAPED = f"{MARK}escaped"


class Refused(Exception):
    """Something that cannot be stored, on its way up to the codec that knows the whole path."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.path = ""

    def inside(self, step: object) -> None:
        """Note the key or index under which the culprit was found."""
        self.path = f"[{step!r}]{self.path}"


class _Walk(Protocol):
    def __call__(self, value: Any, depth: int) -> Any: ...


def tag(value: Any, depth: int, walk: _Walk) -> Any:
    """Return JSON for a `value` that is not of a JSON type itself.

    `walk` turns what is inside `value` to JSON in its turn. Raises Refused for a type that is
    not stored.
    """
    if isinstance(value, enum.Enum):
        return walk(value.value, depth + 1)
    kind = type(value)
    name = _NAMES.get(kind)
    if name is None:
        numpy = sys.modules.get("numpy")  # a value cannot be numpy's before numpy is imported
        if numpy is not None and isinstance(value, numpy.generic):
            return walk(_python_scalar(value), depth + 1)
        if numpy is not None and kind is numpy.ndarray:
            name = "ndarray"
        elif isinstance(value, pathlib.PurePath):
            name = "path"
        elif isinstance(value, set):
            name = "set"
        elif isinstance(value, bytearray):
            name = "bytearray"
        elif isinstance(value, str):
            return str.__str__(value)
        elif isinstance(value, int):
            return walk(int.__index__(value), depth)
        elif isinstance(value, float):
            return walk(float.__float__(value), depth)
        else:
            raise Refused(_advice(value))
    packed = TAGS[name].pack(value)
    if name in _WALKED:
        packed = [walk(_hashable(item), depth + 2) for item in packed]
        if name != "complex":
            packed.sort(key=repr)  # equal sets are equal bytes
    return {f"{MARK}{name}": packed}


def restore(value: Any, where: str) -> Any:
    """Return `value`, fresh from a JSON decoder, with every tag replaced by what it stands for.

    Raises
    ------
    DecodeError
        An unknown tag (written by a newer version?), or one whose content does not fit.
    """
    if isinstance(value, list):
        return [restore(item, where) for item in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        ((key, packed),) = value.items()
        if key.startswith(MARK):
            if key == _ESCAPED and isinstance(packed, dict):
                return {key: restore(item, where) for key, item in packed.items()}
            known = TAGS.get(key[len(MARK) :])
            if known is None:
                raise DecodeError(
                    f"{where} holds a value tagged {key!r}, which this version does not know; "
                    "a newer kv-dict may have written it"
                )
            try:
                return known.unpack(restore(packed, where))
            except DecodeError:
                raise
            except ImportError as error:
                raise DecodeError(
                    f"{where} holds a {key!r}; reading it needs {error.name}"
                ) from None
            except Exception as error:
                raise DecodeError(
                    f"{where} holds {key!r} with {packed!r:.60}, which does not fit: {error}"
                ) from error
    return {key: restore(item, where) for key, item in value.items()}


# -- numbers ---------------------------------------------------------------------------------------


def _pack_int(value: int) -> str:
    return str(value) if value.bit_length() < 4096 else hex(value)  # str() is slow, then refused


def _unpack_int(packed: str) -> int:
    return int(packed, 0)


def _pack_complex(value: complex) -> list[float]:
    return [value.real, value.imag]


# -- time ------------------------------------------------------------------------------------------


def _pack_moment(value: dt.datetime | dt.time) -> str:
    """Return ISO 8601, with the name of the time zone behind it (RFC 9557) where it has one."""
    offset = value.utcoffset()
    if offset is not None and offset.microseconds:
        raise Refused(f"{value!r:.80} has a time zone that is off by a fraction of a second")
    zone = getattr(value.tzinfo, "key", None)
    late = ";fold=1" if value.fold else ""
    return value.isoformat() + (f"[{zone}]" if zone else "") + late


def _unpack_moment(packed: str, read: Callable[[str], Any]) -> Any:
    text, late, _ = packed.partition(";fold=1")
    text, bracket, zone = text.partition("[")
    value = read(text)
    if bracket:
        import zoneinfo  # noqa: PLC0415 - rarely needed

        value = value.replace(tzinfo=zoneinfo.ZoneInfo(zone.removesuffix("]")))
    return value.replace(fold=1) if late else value


def _unpack_datetime(packed: str) -> dt.datetime:
    value: dt.datetime = _unpack_moment(packed, dt.datetime.fromisoformat)
    return value


def _unpack_time(packed: str) -> dt.time:
    value: dt.time = _unpack_moment(packed, dt.time.fromisoformat)
    return value


def _pack_timedelta(value: dt.timedelta) -> list[int]:
    return [value.days, value.seconds, value.microseconds]


# -- bytes and arrays ------------------------------------------------------------------------------


def _pack_bytes(value: bytes | bytearray) -> str:
    return base64.b64encode(value).decode()


def _unpack_bytes(packed: str) -> bytes:
    return base64.b64decode(packed, validate=True)


def _pack_array(value: Any) -> dict[str, Any]:
    kind, size = value.dtype.kind, value.dtype.itemsize
    if kind not in "biufcSUMm" or (kind == "f" and size > 8) or (kind == "c" and size > 16):
        raise Refused(
            f"it is an array of dtype {value.dtype} (objects, records and extended precision are "
            "not portable); store its .tolist(), or plain arrays"
        )
    return {
        "dtype": value.dtype.str,
        "shape": list(value.shape),
        "data": _pack_bytes(value.tobytes()),
    }


def _unpack_array(packed: dict[str, Any]) -> Any:
    import numpy as np  # noqa: PLC0415 - only values that hold arrays need it

    # Read-only (it views the bytes): a change in place could not be written through, so it is
    # refused instead of lost.
    return np.frombuffer(_unpack_bytes(packed["data"]), dtype=packed["dtype"]).reshape(
        packed["shape"]
    )


def _python_scalar(value: Any) -> Any:
    scalar = value.item()
    kind = value.dtype.kind
    if isinstance(scalar, type(value)) or (kind in "Mm" and isinstance(scalar, int | None)):
        raise Refused(
            f"{value!r:.60} is of dtype {value.dtype}, and Python has no such scalar; "
            "convert it, or store an array of one"
        )
    return scalar


# -- sets ------------------------------------------------------------------------------------------


def _hashable(item: Any) -> Any:
    return list(item) if isinstance(item, tuple) else item


def _as_member(item: Any) -> Any:
    """Return the tuple that a list from JSON was, before it went into a set."""
    return tuple(_as_member(inner) for inner in item) if isinstance(item, list) else item


def _unpack_set(packed: list[Any]) -> set[Any]:
    return {_as_member(item) for item in packed}


def _unpack_frozenset(packed: list[Any]) -> frozenset[Any]:
    return frozenset(_unpack_set(packed))


# -- the table -------------------------------------------------------------------------------------


class Tag(NamedTuple):
    """How one type is stored: `pack` to JSON types, `unpack` back."""

    type: type | None
    pack: Callable[[Any], Any]
    unpack: Callable[[Any], Any]


TAGS: dict[str, Tag] = {
    "int": Tag(int, _pack_int, _unpack_int),
    "float": Tag(float, str, float),
    "complex": Tag(complex, _pack_complex, lambda packed: complex(*packed)),
    "decimal": Tag(decimal.Decimal, str, decimal.Decimal),
    "datetime": Tag(dt.datetime, _pack_moment, _unpack_datetime),
    "date": Tag(dt.date, dt.date.isoformat, dt.date.fromisoformat),
    "time": Tag(dt.time, _pack_moment, _unpack_time),
    "timedelta": Tag(dt.timedelta, _pack_timedelta, lambda packed: dt.timedelta(*packed)),
    "bytes": Tag(bytes, _pack_bytes, _unpack_bytes),
    "bytearray": Tag(bytearray, _pack_bytes, lambda packed: bytearray(_unpack_bytes(packed))),
    "set": Tag(set, list, _unpack_set),
    "frozenset": Tag(frozenset, list, _unpack_frozenset),
    "uuid": Tag(uuid.UUID, str, uuid.UUID),
    "path": Tag(pathlib.Path, str, pathlib.Path),
    "ndarray": Tag(None, _pack_array, _unpack_array),
}
"""Every tag. ``ndarray`` has no type here because numpy is not imported before a value needs it."""

_NAMES = {known.type: name for name, known in TAGS.items() if known.type is not None}
_WALKED = {"complex", "set", "frozenset"}  # what is packed may itself need tags (NaN, say)


def _advice(value: Any) -> str:
    """Say what `value` is and what could be stored instead."""
    kind = f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
    known = f"{value!r:.60} is of type {kind}"
    if isinstance(value, dt.datetime):
        return f"{known}, more than a datetime; convert it, with .to_pydatetime() for a Timestamp"
    if callable(getattr(value, "model_dump", None)):
        return f"{known}; store its .model_dump()"
    if hasattr(value, "__dataclass_fields__"):
        return f"{known}; store dataclasses.asdict() of it"
    if callable(getattr(value, "tolist", None)):
        return f"{known}; store its .tolist() or a plain array"
    if hasattr(value, "keys") and hasattr(value, "__getitem__"):
        return f"{known}; store dict() of it"
    if hasattr(value, "__iter__"):
        return f"{known}; store list() of it"
    return f"{known}; store a number, a string, or a list or dict of them"
