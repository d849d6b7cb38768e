"""Operation by value kind, on a plain dict and on the mapping, side by side on every backend.

The plain dict is kept sorted by key, which is the order that the mapping promises.
"""

from __future__ import annotations

import copy
import datetime as dt
import decimal
import fractions
import json
import math
import pathlib
import uuid
from collections import ChainMap, OrderedDict, UserDict
from collections.abc import Callable, ItemsView, KeysView, Mapping, MutableMapping, ValuesView
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

from kv_dict import Backend, EncodeError, RemoteKVMapping

UTC_PLUS_2 = dt.timezone(dt.timedelta(hours=2))

VALUES: dict[str, Any] = {
    "none": None,
    "true": True,
    "false": False,
    "zero": 0,
    "int": -7,
    "int64": 2**63 - 1,
    "uint64": 2**64 - 1,
    "big-int": 2**64,
    "big-negative": -(2**63) - 1,
    "huge": 10**400,
    "float": 8.047,
    "negative-zero": -0.0,
    "tiny": 5e-324,
    "nan": math.nan,
    "inf": math.inf,
    "minus-inf": -math.inf,
    "str": "Ada",
    "empty-str": "",
    "unicode": "Å 中文 \U0001f600 \x00 \u2028",
    "looks-like-json": '{"a": [1]}',
    "empty-list": [],
    "empty-dict": {},
    "list": [1, "two", None, [3.5]],
    "dict": {"b": 1, "a": {"c": [1, {"d": None}]}},
    "dict-any-keys": {"": 1, ":": 2, "%3A": 3, "_value": 4, "é": 5},
    "looks-like-tag": {"$kv:set": [1]},
    "looks-escaped": {"$kv:escaped": {"$kv:set": [1]}},
    "bytes": b"\x00\xff",
    "bytearray": bytearray(b"abc"),
    "set": {1, "a", None},
    "empty-set": set(),
    "frozenset": frozenset({(1, 2), 3.5}),
    "complex": 1 - 2j,
    "decimal": decimal.Decimal("1.10"),
    "datetime": dt.datetime(2026, 11, 23, 9, 0, 0, 123456),  # noqa: DTZ001
    "aware": dt.datetime(2026, 11, 23, 9, 0, tzinfo=UTC_PLUS_2),
    "date": dt.date(2026, 11, 23),
    "time": dt.time(9, 0, 1),
    "timedelta": dt.timedelta(days=-1, microseconds=3),
    "uuid": uuid.UUID(int=5),
    "path": pathlib.Path("/data/raw"),
    "array": np.arange(6, dtype=">i2").reshape(2, 3),
    "array-nan": np.array([1.0, math.nan]),
    "empty-array": np.zeros((0, 3)),
    "array-0d": np.array(3.5),
    "array-str": np.array(["a", "bcd"]),
    "array-datetime": np.array(["2026-11-23", "NaT"], dtype="M8[ns]"),
    "mixed": {"a": [np.arange(2), {1, 2}, b"x"], "b": {"c": math.nan}},
}

# What is stored as something that compares equal, but is of another type: documented.
CONVERTED: dict[str, tuple[Any, Any]] = {
    "tuple": ((1, (2, 3)), [1, [2, 3]]),
    "np-int": (np.int32(5), 5),
    "np-float": (np.float32(0.5), 0.5),
    "np-float64": (np.float64(0.1), 0.1),
    "np-bool": (np.bool_(True), True),
    "np-str": (np.str_("a"), "a"),
    "np-complex": (np.complex128(1j), 1j),
    "np-datetime": (np.datetime64("2026-11-23T09:00:00", "s"), dt.datetime(2026, 11, 23, 9)),  # noqa: DTZ001
    "ordered-dict": (OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
    "dict-np-keys": ({np.str_("k"): np.int64(1)}, {"k": 1}),
}

REFUSED: dict[str, Any] = {
    "object": object(),
    "function": len,
    "type": int,
    "generator": (n for n in ()),
    "fraction": fractions.Fraction(1, 3),
    "dict-int-key": {1: "a"},
    "dict-none-key": {None: "a"},
    "user-dict": UserDict(a=1),
    "range": range(3),
    "memoryview": memoryview(b"a"),
    "object-array": np.array([object()]),
    "record-array": np.zeros(2, dtype=[("a", "i4")]),
    "lone-surrogate": "\ud800",
    "dict-surrogate-key": {"\udfff": 1},
    "longdouble": np.longdouble(1) / 3,
    "np-datetime-ns": np.datetime64("2026-11-23T09:00:00.123456789", "ns"),
}


def same(left: Any, right: Any) -> bool:
    """Return whether both are equal and of the same type at every depth; NaN equals NaN."""
    if isinstance(left, np.ndarray) or isinstance(right, np.ndarray):
        return (
            type(left) is type(right)
            and left.dtype == right.dtype
            and left.shape == right.shape
            and left.tobytes() == right.tobytes()
        )
    if isinstance(left, dict) and isinstance(right, dict):
        return list(left) == list(right) and all(same(left[k], right[k]) for k in right)
    if isinstance(left, list | tuple) and isinstance(right, list | tuple):
        return (
            isinstance(left, list) == isinstance(right, list)
            and len(left) == len(right)
            and all(map(same, left, right))
        )
    if isinstance(left, float) and isinstance(right, float) and type(left) is type(right):
        return repr(left) == repr(right)
    for container in (set, bytearray):
        if isinstance(left, container) and isinstance(right, container):
            return bool(left == right)
    return type(left) is type(right) and bool(left == right)


def outcome(function: Callable[[Any], Any], subject: Any) -> tuple[str, Any]:
    try:
        return "returned", function(subject)
    except Exception as error:
        return "raised", error


def compare(function: Callable[[Any], Any], plain: dict[str, Any], md: RemoteKVMapping) -> None:
    """Do one thing to both; the results, the errors and what is left have to be the same."""
    expected, wanted = outcome(function, plain)
    got, result = outcome(function, md)
    assert got == expected, f"the dict {expected} {wanted!r}, the mapping {got} {result!r}"
    if got == "raised":
        assert isinstance(result, type(wanted)), f"{result!r} for the dict's {wanted!r}"
        if isinstance(wanted, KeyError):
            assert type(result) is KeyError
    elif wanted is plain:
        assert result is md
    else:
        assert same(result, wanted), f"{result!r} instead of {wanted!r}"
    after = dict(sorted(plain.items()))
    assert same(dict(md), after)


# -- every value kind ------------------------------------------------------------------------------


VALUE_OPERATIONS: dict[str, Callable[[Any, Any], Any]] = {
    "set": lambda d, v: d.__setitem__("new", v),
    "set-present": lambda d, v: d.__setitem__("b", v),
    "get": lambda d, v: (d.__setitem__("b", v), d["b"])[1],
    "get-method": lambda d, v: (d.__setitem__("b", v), d.get("b"))[1],
    "pop": lambda d, v: (d.__setitem__("b", v), d.pop("b"))[1],
    "popitem": lambda d, v: (d.__setitem__("zz", v), d.popitem())[1],
    "pop-default": lambda d, v: d.pop("missing", v),
    "get-default": lambda d, v: d.get("missing", v),
    "setdefault-missing": lambda d, v: d.setdefault("missing", v),
    "setdefault-present": lambda d, v: d.setdefault("a", v),
    "update-dict": lambda d, v: d.update({"b": v, "n": v}),
    "update-pairs": lambda d, v: d.update([("b", v), ("n", v)]),
    "update-keywords": lambda d, v: d.update(b=v, n=v),
    "update-both": lambda d, v: d.update({"b": 0}, b=v),
    "copy": lambda d, v: (d.__setitem__("b", v), d.copy())[1],
    "copy.copy": lambda d, v: (d.__setitem__("b", v), copy.copy(d))[1],
    "deepcopy": lambda d, v: (d.__setitem__("b", v), copy.deepcopy(d))[1],
    "dict()": lambda d, v: (d.__setitem__("b", v), dict(d))[1],
    "unpack": lambda d, v: (d.__setitem__("b", v), {**d})[1],
    "values": lambda d, v: (d.__setitem__("b", v), list(d.values()))[1],
    "items": lambda d, v: (d.__setitem__("b", v), list(d.items()))[1],
    "or": lambda d, v: d | {"b": v},
    "ror": lambda d, v: {"b": v} | d,
    "in": lambda d, v: (d.__setitem__("b", v), "b" in d)[1],
    "del": lambda d, v: (d.__setitem__("b", v), d.__delitem__("b"))[1],
}


@pytest.mark.parametrize("operation", VALUE_OPERATIONS)
def test_operation_by_value_kind(operation: str, backend: Backend) -> None:
    function = VALUE_OPERATIONS[operation]
    wrong = {}
    for kind, value in VALUES.items():
        plain: dict[str, Any] = {"a": 1, "b": "two", "c": [3]}
        with RemoteKVMapping(backend, kind) as md:
            md.update(plain)
            try:
                # Each side gets its own copy: a dict would otherwise hold the very object.
                compare(lambda d, v=value: function(d, copy.deepcopy(v)), plain, md)
            except AssertionError as error:
                wrong[kind] = str(error).splitlines()[0]
    assert wrong == {}


@pytest.mark.parametrize("kind", CONVERTED)
def test_documented_conversions(kind: str, sep_md: RemoteKVMapping) -> None:
    given, kept = CONVERTED[kind]
    sep_md["x"] = given
    assert same(sep_md["x"], kept)
    assert same(sep_md.setdefault("y", {"in": [given]}), {"in": [kept]})


REFUSED_WRITES: dict[str, Callable[[Any, Any], Any]] = {
    "set": lambda d, v: d.__setitem__("x", v),
    "set-deep": lambda d, v: d.__setitem__("new", {"deep": [v]}),
    "update": lambda d, v: d.update({"x": 1, "y": v}),
    "setdefault": lambda d, v: d.setdefault("new", v),
    "ior": lambda d, v: d.__ior__({"new": v}),
    "nested-set": lambda d, v: d["x"].__setitem__("k", v),
    "nested-update": lambda d, v: d["x"].update(k=v, l=1),
    "nested-append": lambda d, v: d["x"]["l"].append(v),
    "nested-iadd": lambda d, v: d["x"]["l"].__iadd__([1, v]),
    "transform": lambda d, v: d.transform("x", lambda _: [v]),
}


@pytest.mark.parametrize("write", REFUSED_WRITES)
def test_refused_values_leave_everything_as_it_was(write: str, sep_md: RemoteKVMapping) -> None:
    wrong = {}
    for kind, value in REFUSED.items():
        sep_md.clear()
        sep_md["x"] = before = {"l": [1], "n": None}
        held = sep_md["x"]
        raised, _ = outcome(lambda d, v=value: REFUSED_WRITES[write](d, v), sep_md)
        with pytest.raises(EncodeError):
            held["l"].append(object())
        if raised != "raised" or sep_md != {"x": before} or held != before:
            wrong[kind] = raised, dict(sep_md)
    assert wrong == {}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_refused_is_a_type_error(kind: str, md: RemoteKVMapping) -> None:
    with pytest.raises(EncodeError) as caught:
        md["x"] = REFUSED[kind]
    assert isinstance(caught.value, TypeError)


# -- every operation -------------------------------------------------------------------------------


def _match_some(d: Any) -> Any:
    match d:
        case {"missing": _}:
            return "wrong"
        case {"a": x, "b": {"k": [first, *_]}}:
            return x, first
    return None


def _match_rest(d: Any) -> Any:
    match d:
        case {"a": x, **rest}:
            return x, rest
    return None


def _unpack(**items: Any) -> Any:
    return items


def _fstring(d: Any) -> str:
    return "{a} {b[k]}".format_map(d)


def _in_place_or(d: Any, other: Any) -> Any:
    before = d
    d |= other
    return d if d is before else "rebound"


def _updated(other: dict[str, Any], d: Any) -> Any:
    other.update(d)
    return other


def _pairs() -> Any:
    yield "b", 1
    yield "z", [2]


class Keyed:
    """Has keys() and items, and is no Mapping."""

    def keys(self) -> list[str]:
        return ["q", "a"]

    def __getitem__(self, key: str) -> str:
        return key.upper()


SAMPLE: dict[str, Any] = {"a": 1, "b": {"k": [1, 2], "l": "x"}, "c": [1, [2]], "d": None}

OPERATIONS: dict[str, Callable[[Any], Any]] = {
    "getitem": lambda d: d["b"],
    "getitem-missing": lambda d: d["nope"],
    "getitem-error-args": lambda d: _key_error_args(lambda: d["nope"]),
    "get": lambda d: d.get("a"),
    "get-none-value": lambda d: d.get("d", 5),
    "get-missing": lambda d: d.get("nope"),
    "get-missing-default": lambda d: d.get("nope", 5),
    "get-no-arguments": lambda d: d.get(),
    "contains": lambda d: ("a" in d, "nope" in d, "a" not in d),
    "contains-unhashable": lambda d: [] in d,
    "len": len,
    "bool": bool,
    "iter": list,
    "iter-twice": lambda d: [(x, y) for x in d for y in d],
    "reversed": lambda d: list(reversed(d)),
    "sorted": sorted,
    "min-max": lambda d: (min(d), max(d)),
    "tuple": tuple,
    "star": lambda d: [*d],
    "set": set,
    "enumerate": lambda d: list(enumerate(d)),
    "zip": lambda d: list(zip(d, d.values(), strict=True)),
    "next-iter": lambda d: next(iter(d)),
    "keys": lambda d: list(d.keys()),
    "keys-reversed": lambda d: list(reversed(d.keys())),
    "keys-len": lambda d: len(d.keys()),
    "keys-in": lambda d: ("a" in d.keys(), "z" in d.keys()),  # noqa: SIM118
    "keys-and": lambda d: d.keys() & {"a", "z"},
    "keys-and-list": lambda d: d.keys() & ["a", "z"],
    "keys-rand": lambda d: {"a", "z"} & d.keys(),
    "keys-or": lambda d: d.keys() | {"z", 1},
    "keys-sub": lambda d: d.keys() - {"a", 1},
    "keys-rsub": lambda d: {"a", "z"} - d.keys(),
    "keys-xor": lambda d: d.keys() ^ {"a", "z"},
    "keys-eq": lambda d: d.keys() == {"a", "b", "c", "d"},
    "keys-eq-list": lambda d: d.keys() == ["a", "b", "c", "d"],
    "keys-ne": lambda d: d.keys() != {"a"},
    "keys-lt": lambda d: (d.keys() < {"a"}, d.keys() < {"a", "b", "c", "d", "e"}),
    "keys-le-ge": lambda d: (d.keys() <= set("abcd"), d.keys() >= {"a"}),
    "keys-lt-list": lambda d: d.keys() < ["a"],
    "keys-disjoint": lambda d: (d.keys().isdisjoint("xyz"), d.keys().isdisjoint("a")),
    "keys-hash": lambda d: hash(d.keys()),
    "keys-kind": lambda d: isinstance(d.keys(), KeysView),
    "values": lambda d: list(d.values()),
    "values-reversed": lambda d: list(reversed(d.values())),
    "values-len": lambda d: len(d.values()),
    "values-in": lambda d: ([1, [2]] in d.values(), 1 in d.values(), 99 in d.values()),
    "values-eq": lambda d: d.values() == d.values(),
    "values-kind": lambda d: isinstance(d.values(), ValuesView),
    "items": lambda d: list(d.items()),
    "items-reversed": lambda d: list(reversed(d.items())),
    "items-len": lambda d: len(d.items()),
    "items-in": lambda d: [
        (k, v) in d.items() for k, v in [("a", 1), ("a", 2), ("z", 1), ("b", SAMPLE["b"])]
    ],
    "items-eq": lambda d: (d.items() == SAMPLE.items(), SAMPLE.items() == d.items()),
    "items-ne": lambda d: d.items() != {}.items(),
    "items-le": lambda d: (d.items() <= SAMPLE.items(), d.items() < SAMPLE.items()),
    "items-and": lambda d: d.items() & {("a", 1), ("z", 2)},
    "items-rand": lambda d: {("a", 1), ("z", 2)} & d.items(),
    "items-sub-unhashable": lambda d: d.items() - {("a", 1)},
    "items-or-unhashable": lambda d: d.items() | {("a", 1)},
    "items-disjoint": lambda d: d.items().isdisjoint([("z", 1)]),
    "items-kind": lambda d: isinstance(d.items(), ItemsView),
    "items-dict": lambda d: dict(d.items()),
    "kind": lambda d: (isinstance(d, MutableMapping), isinstance(d, Mapping)),
    "or": lambda d: d | {"a": 9, "z": 0},
    "or-empty": lambda d: d | {},
    "or-list": lambda d: d | [("a", 1)],
    "or-none": lambda d: d | None,
    "or-proxy": lambda d: d | MappingProxyType({"z": 1}),
    "ror": lambda d: {"z": 0, "a": 9} | d,
    "ror-list": lambda d: [("a", 1)] | d,
    "ior-dict": lambda d: _in_place_or(d, {"z": 0, "a": 9}),
    "ior-pairs": lambda d: _in_place_or(d, [("z", 0), ("a", 9)]),
    "ior-iterator": lambda d: _in_place_or(d, _pairs()),
    "ior-itself": lambda d: _in_place_or(d, d),
    "ior-none": lambda d: _in_place_or(d, None),
    "ior-int": lambda d: _in_place_or(d, 5),
    "copy": lambda d: d.copy(),
    "copy.copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "dict": dict,
    "unpack": lambda d: {**d},
    "unpack-twice": lambda d: {**d, "a": 5, **d},
    "unpack-call": lambda d: _unpack(**d),
    "unpack-call-clash": lambda d: _unpack(a=1, **d),
    "dict-keyword": lambda d: dict(d, a=5),
    "dict-update": lambda d: _updated({"z": 1}, d),
    "ordered-dict": lambda d: dict(OrderedDict(d)),
    "user-dict": lambda d: UserDict(d).data,
    "chain-map": lambda d: sorted(ChainMap({"z": 1}, d)),
    "chain-map-get": lambda d: ChainMap({"a": 5}, d)["c"],
    "proxy": lambda d: MappingProxyType(d)["b"],
    "proxy-dict": lambda d: dict(MappingProxyType(d)),
    "json": lambda d: json.dumps(dict(d), sort_keys=True),
    "json-copy": lambda d: json.loads(json.dumps(d.copy())),
    "format-map": _fstring,
    "match": _match_some,
    "match-rest": _match_rest,
    "percent": lambda d: "%(a)s %(d)s" % d,  # noqa: UP031
    "comprehension": lambda d: {k: v for k, v in d.items()},  # noqa: C416
    "get-map": lambda d: list(map(d.get, ["a", "z"])),
    "getitem-map": lambda d: list(map(d.__getitem__, d.keys())),
    "sorted-by-value": lambda d: sorted(d, key=lambda k: str(d[k])),
    "eq": lambda d: (d == SAMPLE, d == SAMPLE, d == {}, d != SAMPLE, d != SAMPLE, d != {}),
    "eq-int-keys": lambda d: (d == {1: 2}, d == {1: 2}),
    "eq-others": lambda d: (d == 5, d == None, d == [("a", 1)], d != 5),  # noqa: E711
    "eq-user-dict": lambda d: (d == UserDict(SAMPLE), UserDict(SAMPLE) == d),
    "eq-ordered-dict": lambda d: d == OrderedDict(reversed(SAMPLE.items())),
    "eq-itself": lambda d: d == d,
    "lt": lambda d: d < {},
    "hash": hash,
    "setdefault-none": lambda d: d.setdefault("new"),
    "setdefault-present": lambda d: d.setdefault("d", 5),
    "setdefault-no-arguments": lambda d: d.setdefault(),
    "pop": lambda d: d.pop("b"),
    "pop-missing": lambda d: d.pop("nope"),
    "pop-missing-none": lambda d: d.pop("nope", None),
    "pop-present-default": lambda d: d.pop("d", 5),
    "pop-no-arguments": lambda d: d.pop(),
    "pop-too-many": lambda d: d.pop("a", 1, 2),
    "popitem": lambda d: d.popitem(),
    "popitem-all": lambda d: [d.popitem() for _ in range(4)],
    "popitem-too-many": lambda d: [d.popitem() for _ in range(5)],
    "del": lambda d: d.__delitem__("a"),
    "del-missing": lambda d: d.__delitem__("nope"),
    "del-twice": lambda d: (d.__delitem__("a"), d.__delitem__("a")),
    "clear": lambda d: d.clear(),
    "clear-twice": lambda d: (d.clear(), d.clear(), len(d), list(d), bool(d)),
    "clear-argument": lambda d: d.clear(1),
    "update-nothing": lambda d: d.update(),
    "update-empty": lambda d: d.update({}),
    "update-dict": lambda d: d.update({"z": [1], "a": 2}),
    "update-pairs": lambda d: d.update([("z", 1), ["a", 2], "bc"]),
    "update-generator": lambda d: d.update(_pairs()),
    "update-zip": lambda d: d.update(zip("xyz", range(3), strict=True)),
    "update-keywords": lambda d: d.update(z=1, self=2, other=3),
    "update-both": lambda d: d.update({"z": 1}, z=2),
    "update-keyed": lambda d: d.update(Keyed()),
    "update-user-dict": lambda d: d.update(UserDict(z=1)),
    "update-itself": lambda d: d.update(d),
    "update-items": lambda d: d.update(d.items()),
    "update-repeated": lambda d: d.update([("z", 1), ("z", 2)]),
    "update-none": lambda d: d.update(None),
    "update-int": lambda d: d.update(5),
    "update-short": lambda d: d.update([("a",)]),
    "update-scalars": lambda d: d.update([1]),
    "update-two": lambda d: d.update({}, {}),
    "set-from-itself": lambda d: d.__setitem__("z", d["b"]),
    "set-list-of-itself": lambda d: d.__setitem__("z", [d["b"], d["c"]]),
    "swap": lambda d: _swap(d, "b", "c"),
    "iadd-list": lambda d: _iadd(d, "c", [3]),
    "iadd-int": lambda d: _iadd(d, "a", 3),
    "iadd-missing": lambda d: _iadd(d, "nope", 3),
    "iadd-wrong": lambda d: _iadd(d, "d", 3),
}

# Asking whether something is in there is no error, whatever it is.
MEMBERSHIP: dict[str, Callable[[Any], Any]] = {
    "contains-int": lambda d: 1 in d,
    "contains-none": lambda d: None in d,
    "contains-tuple": lambda d: ("a", 1) in d,
    "keys-and-int": lambda d: d.keys() & {"a", 1},
    "keys-rand-int": lambda d: {"a", 1} & d.keys(),
    "keys-rsub-int": lambda d: {"a", 1} - d.keys(),
    "keys-xor-int": lambda d: d.keys() ^ {"a", 1},
    "keys-eq-int": lambda d: d.keys() == {"a", "b", "c", 1},
    "keys-gt-int": lambda d: d.keys() > {1},
    "keys-disjoint-int": lambda d: d.keys().isdisjoint([1, 2]),
    "items-in-int": lambda d: (1, 1) in d.items(),
    "items-in-no-pair": lambda d: 5 in d.items(),
    "items-in-triple": lambda d: ("a", 1, 2) in d.items(),
    "items-in-str": lambda d: "ab" in d.items(),
    "items-eq-int": lambda d: d.items() == {1: 1, 2: 2, 3: 3, 4: 4}.items(),
    "items-and-int": lambda d: d.items() & {(1, 1)},
}


def _key_error_args(function: Callable[[], Any]) -> Any:
    try:
        function()
    except KeyError as error:
        return error.args
    return None


def _swap(d: Any, one: str, two: str) -> None:
    d[one], d[two] = d[two], d[one]


def _iadd(d: Any, key: str, value: Any) -> None:
    d[key] += value


@pytest.mark.parametrize("operation", OPERATIONS)
def test_operation(operation: str, sep_md: RemoteKVMapping) -> None:
    plain = copy.deepcopy(SAMPLE)
    sep_md.update(SAMPLE)
    compare(OPERATIONS[operation], plain, sep_md)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_operation_on_an_empty_one(operation: str, md: RemoteKVMapping) -> None:
    compare(OPERATIONS[operation], {}, md)


@pytest.mark.parametrize("operation", MEMBERSHIP)
def test_membership_of_what_is_no_key(operation: str, md: RemoteKVMapping) -> None:
    md.update(SAMPLE)
    compare(MEMBERSHIP[operation], copy.deepcopy(SAMPLE), md)


def test_order_is_that_of_the_keys_whatever_the_history(sep_md: RemoteKVMapping) -> None:
    names = ["b", "B", "10", "9", "é", "z", "", "\U0001f600", "\uffee", "a:b", "a", "a b", "%"]
    for name in names:
        sep_md[name] = name
    del sep_md["z"]
    sep_md["z"] = "again"
    assert list(sep_md) == sorted(names)
    assert list(reversed(sep_md)) == sorted(names, reverse=True)
    assert list(sep_md.items()) == sorted(sep_md.items())
    assert sep_md.popitem()[0] == max(names)


def test_fromkeys_writes_and_leaves_the_rest(backend: Backend) -> None:
    with RemoteKVMapping(backend, "ep1") as before:
        before["old"] = 1
        with RemoteKVMapping.fromkeys(
            iter("ba"), [0], backend=backend, entry_point="ep1"
        ) as mapping:
            assert mapping == {"old": 1, "a": [0], "b": [0]}
            mapping["a"].append(1)
            assert before == {"old": 1, "a": [0, 1], "b": [0]}  # not one list, unlike a dict's


def test_fromkeys_of_nothing_and_of_bad_keys(backend: Backend) -> None:
    with RemoteKVMapping.fromkeys([], backend=backend, entry_point="ep1") as mapping:
        assert mapping == {}
        with pytest.raises(TypeError):
            RemoteKVMapping.fromkeys(["a", 1], backend=backend, entry_point="ep1")
        with pytest.raises(EncodeError):
            RemoteKVMapping.fromkeys(["a"], object(), backend=backend, entry_point="ep1")
        assert mapping == {}


def test_equal_to_another_mapping(backend: Backend) -> None:
    with RemoteKVMapping(backend, "ep1") as one, RemoteKVMapping(backend, "ep2", "/") as two:
        one["a"] = two["a"] = {"k": [1]}
        assert one == two
        two["a"]["k"].append(2)
        assert one != two


@pytest.mark.parametrize("value", [math.nan, np.arange(3)], ids=["nan", "array"])
def test_equal_to_itself_whatever_is_in_it(value: Any, md: RemoteKVMapping) -> None:
    md["x"] = value
    assert {"x": value} == {"x": value}  # a dict compares by identity first
    assert md == md


@pytest.mark.parametrize("key", [1, None, ("a",), b"a", 1.5, True])
@pytest.mark.parametrize(
    "operation",
    [
        lambda d, k: d[k],
        lambda d, k: d.__setitem__(k, 1),
        lambda d, k: d.__delitem__(k),
        lambda d, k: d.pop(k),
        lambda d, k: d.setdefault(k, 1),
        lambda d, k: d.update({"z": 1, k: 1}),
        lambda d, k: d.__ior__({"z": 1, k: 1}),
    ],
)
def test_a_key_that_is_no_string_is_a_type_error(
    operation: Callable[[Any, Any], Any], key: Any, md: RemoteKVMapping
) -> None:
    md["a"] = 1
    with pytest.raises(TypeError, match="str"):
        operation(md, key)
    assert md == {"a": 1}
