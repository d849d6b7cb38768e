"""Containers inside a mapping, side by side with plain ones."""

from __future__ import annotations

import collections
import copy
import itertools
import json
import operator
import pickle
import pprint
import random
import sys
import threading
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import jsonschema
import msgpack
import numpy as np
import orjson
import pytest

from kv_dict import Backend, ConflictError, EncodeError, InMemoryAsyncBackend, RemoteKVMapping

PLAIN_TYPES = {dict, list, set, bytearray}


def assert_plain(value: Any) -> None:
    """Assert that every container in `value` is of a built-in type itself."""
    if isinstance(value, dict | list | set | bytearray):
        assert type(value) in PLAIN_TYPES
    if isinstance(value, dict):
        for item in dict.values(value):
            assert_plain(item)
    elif isinstance(value, list):
        for item in list.__iter__(value):
            assert_plain(item)


def same(left: Any, right: Any) -> bool:
    """Return whether both are equal, dicts in the same order too."""
    if left != right:
        return False
    if isinstance(left, dict):
        return list(left) == list(right) and all(same(left[k], right[k]) for k in left)
    if isinstance(left, list):
        return all(map(same, left, right))
    return True


def outcome(function: Callable[[Any], Any], subject: Any) -> tuple[Any, Any]:
    try:
        return None, function(subject)
    except Exception as error:
        return type(error), None


# Where the container under test is, and the way to it.
PLACES: dict[str, tuple[Callable[[Any], Any], tuple[Any, ...]]] = {
    "depth 1": (lambda v: v, ()),
    "in a dict": (lambda v: {"before": [1], "in": v, "after": {}}, ("in",)),
    "in a list": (lambda v: [[], v, {"n": 1}], (1,)),
    "depth 3": (lambda v: {"l": [{"k": v, "s": {1}}, 2], "m": {}}, ("l", 0, "k")),
    "depth 4": (lambda v: [{"d": {"l": [None, v]}}], (0, "d", "l", 1)),
}


def walk(value: Any, path: tuple[Any, ...]) -> Any:
    for step in path:
        value = value[step]
    return value


def _iop(name: str, other: Any) -> Callable[[Any], Any]:
    function = getattr(operator, name)

    def apply(x: Any) -> Any:
        result = function(x, copy.deepcopy(other))
        assert result is x
        return "itself"

    return apply


def _keywords(**items: Any) -> Any:
    return items


def _gen(items: Any) -> Any:
    yield from items


DICT: dict[str, Any] = {"b": 1, "a": [1, 2], "c": {"k": None}, "d": {3}}
DICT_OPERATIONS: dict[str, Callable[[Any], Any]] = {
    "set": lambda x: x.__setitem__("new", {"v": [1]}),
    "set-present": lambda x: x.__setitem__("b", 2),
    "set-container": lambda x: x.__setitem__("a", {"now": "a dict"}),
    "set-own-child": lambda x: x.__setitem__("z", x["a"]),
    "set-itself-same": lambda x: x.__setitem__("a", x["a"]),
    "set-int-key": lambda x: x.__setitem__([], 1),
    "del": lambda x: x.__delitem__("b"),
    "del-missing": lambda x: x.__delitem__("nope"),
    "del-unhashable": lambda x: x.__delitem__([]),
    "pop": lambda x: x.pop("a"),
    "pop-missing": lambda x: x.pop("nope"),
    "pop-default": lambda x: x.pop("nope", 5),
    "pop-none": lambda x: x.pop("nope", None),
    "pop-no-arguments": lambda x: x.pop(),
    "popitem": lambda x: x.popitem(),
    "popitem-all": lambda x: [x.popitem() for _ in range(4)],
    "popitem-too-many": lambda x: [x.popitem() for _ in range(5)],
    "clear": lambda x: x.clear(),
    "setdefault": lambda x: x.setdefault("new", []),
    "setdefault-none": lambda x: x.setdefault("new"),
    "setdefault-present": lambda x: x.setdefault("b", []),
    "setdefault-append": lambda x: x.setdefault("new", []).append(1),
    "setdefault-present-append": lambda x: x.setdefault("a", []).append(1),
    "update-dict": lambda x: x.update({"b": 0, "z": [1]}),
    "update-pairs": lambda x: x.update([("b", 0), ["z", 1]]),
    "update-generator": lambda x: x.update(_gen([("b", 0), ("z", 1)])),
    "update-keywords": lambda x: x.update(self=1, b=0),
    "update-both": lambda x: x.update({"z": 1}, z=2),
    "update-itself": lambda x: x.update(x),
    "update-items": lambda x: x.update(x.items()),
    "update-nothing": lambda x: x.update(),
    "update-none": lambda x: x.update(None),
    "update-short": lambda x: x.update([("a",)]),
    "ior": _iop("ior", {"b": 0, "z": [1]}),
    "ior-pairs": _iop("ior", [("b", 0), ("z", 1)]),
    "ior-none": _iop("ior", None),
    "ior-int": _iop("ior", 5),
    "iadd": _iop("iadd", {}),
    "reorder": lambda x: x.__setitem__("b", x.pop("b")),
    "child-append": lambda x: x["a"].append(3),
    "child-augmented": lambda x: operator.setitem(x, "b", x["b"] + 1),
    "get-child-append": lambda x: x.get("a").append(3),
    "swap": lambda x: _swap(x, "a", "c"),
    "swap-same-kind": lambda x: (x.__setitem__("e", [9]), _swap(x, "a", "e"))[0],
    "rotate": lambda x: _rotate(x, "a", "b", "c"),
    "move": lambda x: x.__setitem__("moved", x.pop("a")),
    "keys-remove": lambda x: [x.pop(k) for k in list(x.keys())],
    "values-change": lambda x: [v.clear() for v in x.values() if isinstance(v, list | set | dict)],
    "items-change": lambda x: [v.clear() for _, v in x.items() if isinstance(v, list)],
    "reversed-values": lambda x: [
        v.clear() for v in reversed(x.values()) if isinstance(v, list | dict)
    ],
    "delete-in-loop": lambda x: [x.__delitem__(k) for k in x],
    "fromkeys": lambda x: x.fromkeys("ab", 1),
    "read-only": lambda x: (
        x | {"z": 1},
        {"z": 1} | x,
        x.copy(),
        len(x),
        "a" in x,
        1 in x,
        x == {},
    ),
    "or-none": lambda x: x | None,
    "items-and": lambda x: x.items() & {("b", 1)},
    "views": lambda x: (list(x), list(x.keys()), list(x.values()), list(x.items())),
    "views-reversed": lambda x: (
        list(reversed(x)),
        list(reversed(x.keys())),
        list(reversed(x.values())),
        list(reversed(x.items())),
    ),
    "views-sets": lambda x: (x.keys() & {"a", 1}, x.keys() - {"a"}, x.items() == x.copy().items()),
    "items-in": lambda x: (("b", 1) in x.items(), 5 in x.items()),
    "repr": repr,
    "str-views": lambda x: (str(x), f"{x}"),
    "hash": hash,
    "kwargs": lambda x: _keywords(**x),
}


def _swap(x: Any, one: Any, two: Any) -> None:
    x[one], x[two] = x[two], x[one]


def _rotate(x: Any, one: Any, two: Any, three: Any) -> None:
    x[one], x[two], x[three] = x[two], x[three], x[one]


LIST: list[Any] = [3, {"n": 2}, [1], {"n": 1}, 3, "x"]
LIST_OPERATIONS: dict[str, Callable[[Any], Any]] = {
    "append": lambda x: x.append({"n": [1]}),
    "append-own": lambda x: x.append(x[1]),
    "append-two": lambda x: x.append(1, 2),
    "extend": lambda x: x.extend([1, [2]]),
    "extend-generator": lambda x: x.extend(_gen([1, [2]])),
    "extend-str": lambda x: x.extend("ab"),
    "extend-itself": lambda x: x.extend(x),
    "extend-dict": lambda x: x.extend({"k": 1}),
    "extend-int": lambda x: x.extend(5),
    "insert": lambda x: x.insert(1, []),
    "insert-far": lambda x: (x.insert(-100, "first"), x.insert(100, "last"))[0],
    "insert-str": lambda x: x.insert("a", 1),
    "remove": lambda x: x.remove(3),
    "remove-container": lambda x: x.remove({"n": 1}),
    "remove-own-child": lambda x: x.remove(x[3]),
    "remove-missing": lambda x: x.remove(99),
    "pop": lambda x: x.pop(),
    "pop-first": lambda x: x.pop(0),
    "pop-container": lambda x: x.pop(-3),
    "pop-far": lambda x: x.pop(99),
    "pop-str": lambda x: x.pop("a"),
    "pop-all": lambda x: [x.pop() for _ in range(7)],
    "clear": lambda x: x.clear(),
    "reverse": lambda x: x.reverse(),
    "sort-mixed": lambda x: x.sort(),
    "sort-key": lambda x: x.sort(key=str),
    "sort-key-reverse": lambda x: x.sort(key=str, reverse=True),
    "sort-key-raises": lambda x: x.sort(key=lambda v: v["n"]),
    "sort-positional": lambda x: x.sort(str),
    "set": lambda x: x.__setitem__(0, {"z": 1}),
    "set-negative": lambda x: x.__setitem__(-1, [1]),
    "set-far": lambda x: x.__setitem__(99, 1),
    "set-str": lambda x: x.__setitem__("a", 1),
    "set-own-child": lambda x: x.__setitem__(0, x[1]),
    "set-slice": lambda x: x.__setitem__(slice(1, 3), [7, 8, 9]),
    "set-slice-empty": lambda x: x.__setitem__(slice(1, 1), [[7]]),
    "set-slice-generator": lambda x: x.__setitem__(slice(1, 3), _gen([7])),
    "set-slice-itself": lambda x: x.__setitem__(slice(None), x),
    "set-slice-reversed": lambda x: x.__setitem__(slice(None), x[::-1]),
    "set-slice-sorted": lambda x: x.__setitem__(slice(None), sorted(x, key=str)),
    "set-slice-int": lambda x: x.__setitem__(slice(1, 3), 5),
    "set-step": lambda x: x.__setitem__(slice(None, None, 2), [7, 8, 9]),
    "set-step-generator": lambda x: x.__setitem__(slice(None, None, -2), _gen([7, 8, 9])),
    "set-step-wrong-size": lambda x: x.__setitem__(slice(None, None, 2), [7]),
    "set-step-zero": lambda x: x.__setitem__(slice(None, None, 0), [7]),
    "del": lambda x: x.__delitem__(1),
    "del-negative": lambda x: x.__delitem__(-1),
    "del-far": lambda x: x.__delitem__(99),
    "del-slice": lambda x: x.__delitem__(slice(1, 3)),
    "del-step": lambda x: x.__delitem__(slice(None, None, 2)),
    "del-negative-step": lambda x: x.__delitem__(slice(4, 0, -3)),
    "del-all": lambda x: x.__delitem__(slice(None)),
    "del-str": lambda x: x.__delitem__("a"),
    "iadd": _iop("iadd", [1, [2]]),
    "iadd-tuple": _iop("iadd", (1, 2)),
    "iadd-str": _iop("iadd", "ab"),
    "iadd-int": _iop("iadd", 5),
    "iadd-itself": lambda x: x.__iadd__(x) is x,
    "imul": _iop("imul", 2),
    "imul-zero": _iop("imul", 0),
    "imul-negative": _iop("imul", -1),
    "imul-float": _iop("imul", 1.5),
    "imul-list": _iop("imul", [1]),
    "ior": _iop("ior", [1]),
    "swap": lambda x: _swap(x, 1, 3),
    "swap-kinds": lambda x: _swap(x, 0, 2),
    "swap-negative": lambda x: _swap(x, -3, 1),
    "rotate": lambda x: _rotate(x, 1, 2, 3),
    "shuffle": lambda x: random.Random(5).shuffle(x),
    "rotate-by-pop": lambda x: x.append(x.pop(0)),
    "move-container": lambda x: x.insert(0, x.pop(3)),
    "child": lambda x: x[1].update(n=5, m=[1]),
    "child-negative": lambda x: x[-3].update(n=5),
    "child-augmented": lambda x: operator.setitem(x, 0, x[0] + 1),
    "child-augmented-negative": lambda x: operator.setitem(x, -2, x[-2] + 1),
    "two-siblings": lambda x: _set_both(x[1], x[3]),
    "two-siblings-twice": lambda x: (_set_both(x[1], x[3]), _set_both(x[3], x[1]))[0],
    "siblings-held-in-a-loop": lambda x: [v.update(n=9) for v in [x[1], x[3]]],
    "for": lambda x: [v.update(n=9) for v in x if isinstance(v, dict)],
    "for-enumerate": lambda x: [v.update(n=i) for i, v in enumerate(x) if isinstance(v, dict)],
    "for-reversed": lambda x: [v.update(n=9) for v in reversed(x) if isinstance(v, dict)],
    "for-zip": lambda x: [v.update(n=9) for v, _ in zip(x, "abcd", strict=False) if v == {"n": 1}],
    "for-filter": lambda x: [v.update(n=9) for v in filter(lambda v: isinstance(v, dict), x)],
    "for-islice": lambda x: [v.update(n=9) for v in itertools.islice(x, 1, 2)],
    "for-append": lambda x: [x.append(0) for v in x if v == 3],
    "for-remove": lambda x: [x.remove(v) for v in x],
    "next": lambda x: next(v for v in x if isinstance(v, dict)).update(n=9),
    "next-iter": lambda x: _second(iter(x)).update(n=9),
    "unpack": lambda x: _unpack(x),
    "unpack-star": lambda x: _unpack_star(x),
    "match": lambda x: _match(x),
    "max": lambda x: max(x, key=lambda v: isinstance(v, dict)).update(n=9),
    "getter": lambda x: operator.itemgetter(1)(x).update(n=9),
    "copy": lambda x: (x.copy(), x[:], x[1:4], x[::-2], x + [1], [1] + x, x * 2, 2 * x),  # noqa: RUF005
    "add-tuple": lambda x: x + (1,),  # noqa: RUF005
    "radd-tuple": lambda x: (1,) + x,  # noqa: RUF005
    "mul-str": lambda x: x * "a",
    "read": lambda x: (x.index(3), x.index(3, 1), x.count(3), 3 in x, {"n": 1} in x, len(x)),
    "index-own-child": lambda x: (x.index(x[3]), x.count(x[3]), x[3] in x),
    "index-missing": lambda x: x.index(99),
    "getitem-far": lambda x: x[99],
    "getitem-str": lambda x: x["a"],
    "compare": lambda x: (x < [4], x <= [3], x > [2], x == [], x != []),
    "compare-wrong": lambda x: x < 5,
    "iter": lambda x: (list(x), tuple(x), [*x], list(reversed(x)), list(enumerate(x))),
    "repr": repr,
    "hash": hash,
}


def _set_both(one: Any, two: Any) -> None:
    one["n"] = 10
    two["n"] = 20


def _second(iterator: Any) -> Any:
    next(iterator)
    return next(iterator)


def _unpack(x: Any) -> None:
    _, second, *_ = x
    second["n"] = 9


def _unpack_star(x: Any) -> None:
    _, *rest = x
    rest[0]["n"] = 9
    rest.append("only in the new list")


def _match(x: Any) -> Any:
    match x:
        case [first, {"n": n} as second, *_]:
            second["n"] = 9
            return first, n
    return None


SET: set[Any] = {1, 2, "a", (1, 2)}
SET_OPERATIONS: dict[str, Callable[[Any], Any]] = {
    "add": lambda x: x.add(3),
    "add-present": lambda x: x.add(1),
    "add-unhashable": lambda x: x.add([]),
    "discard": lambda x: x.discard(1),
    "discard-missing": lambda x: x.discard(99),
    "remove": lambda x: x.remove("a"),
    "remove-missing": lambda x: x.remove(99),
    "remove-unhashable": lambda x: x.remove([]),
    "pop-all": lambda x: {x.pop() for _ in range(4)},
    "pop-too-many": lambda x: {x.pop() for _ in range(5)},
    "pop-argument": lambda x: x.pop(1),
    "clear": lambda x: x.clear(),
    "update": lambda x: x.update([3], (4,), {5}, _gen([6]), "b"),
    "update-nothing": lambda x: x.update(),
    "update-int": lambda x: x.update(5),
    "difference_update": lambda x: x.difference_update([1], _gen([2])),
    "intersection_update": lambda x: x.intersection_update([1, 2], _gen([2])),
    "symmetric_difference_update": lambda x: x.symmetric_difference_update([1, 9]),
    "symmetric_difference_update-itself": lambda x: x.symmetric_difference_update(x),
    "ior": _iop("ior", {9}),
    "iand": _iop("iand", {1, 9}),
    "isub": _iop("isub", {1, 9}),
    "ixor": _iop("ixor", {1, 9}),
    "isub-itself": lambda x: x.__isub__(x) is x,
    "ior-frozenset": _iop("ior", frozenset({9})),
    "ior-keys": _iop("ior", {"k": 1}.keys()),
    "ior-list": _iop("ior", [9]),
    "iand-int": _iop("iand", 9),
    "iadd": _iop("iadd", {9}),
    "read": lambda x: (1 in x, len(x), x <= {1}, x >= {1}, x == SET, x.isdisjoint([7]), bool(x)),
    "copies": lambda x: (x.copy(), x | {7}, {7} | x, x & {1}, x - {1}, x ^ {1}, x.union([7])),
    "sorted": lambda x: sorted(x, key=str),
    "or-list": lambda x: x | [1],
    "hash": hash,
}

BYTES = bytearray(b"hello\x00\xff")
BYTES_OPERATIONS: dict[str, Callable[[Any], Any]] = {
    "append": lambda x: x.append(33),
    "append-large": lambda x: x.append(256),
    "append-bytes": lambda x: x.append(b"a"),
    "extend": lambda x: x.extend(b"ab"),
    "extend-generator": lambda x: x.extend(_gen([1, 2])),
    "extend-wrong": lambda x: x.extend([256]),
    "insert": lambda x: x.insert(1, 65),
    "pop": lambda x: x.pop(),
    "pop-first": lambda x: x.pop(0),
    "pop-far": lambda x: x.pop(99),
    "remove": lambda x: x.remove(ord("l")),
    "remove-missing": lambda x: x.remove(1),
    "reverse": lambda x: x.reverse(),
    "clear": lambda x: x.clear(),
    "set": lambda x: x.__setitem__(0, 72),
    "set-far": lambda x: x.__setitem__(99, 72),
    "set-large": lambda x: x.__setitem__(0, 300),
    "set-slice": lambda x: x.__setitem__(slice(0, 2), b"HEY"),
    "set-slice-generator": lambda x: x.__setitem__(slice(0, 2), _gen([1, 2, 3])),
    "set-slice-itself": lambda x: x.__setitem__(slice(0, 2), x),
    "set-step": lambda x: x.__setitem__(slice(None, None, 3), b"abc"),
    "del": lambda x: x.__delitem__(0),
    "del-slice": lambda x: x.__delitem__(slice(None, None, 2)),
    "del-far": lambda x: x.__delitem__(99),
    "iadd": _iop("iadd", b"ab"),
    "iadd-list": _iop("iadd", [1, 2]),
    "iadd-str": _iop("iadd", "ab"),
    "imul": _iop("imul", 2),
    "imul-zero": _iop("imul", 0),
    "read": lambda x: (x[0], x[:3], x[::-1], x + b"a", x * 2, x.find(b"l"), x == BYTES, bytes(x)),
    "methods": lambda x: (x.upper(), x.hex(), x.split(b"l"), x.copy(), x.startswith(b"he")),
    "hash": hash,
}

CASES = [
    pytest.param(start, function, id=f"{type(start).__name__}-{name}")
    for start, table in (
        (DICT, DICT_OPERATIONS),
        (LIST, LIST_OPERATIONS),
        (SET, SET_OPERATIONS),
        (BYTES, BYTES_OPERATIONS),
    )
    for name, function in table.items()
]


def detach(result: Any) -> Any:
    return copy.deepcopy(result)


@pytest.mark.parametrize(("start", "function"), CASES)
def test_operation(
    start: Any, function: Callable[[Any], Any], md: RemoteKVMapping, other: RemoteKVMapping
) -> None:
    for number, (place, (wrap, path)) in enumerate(PLACES.items()):
        key = f"k{number}"
        plain = wrap(copy.deepcopy(start))
        md[key] = plain
        top = md[key]
        container = walk(top, path)
        # Warm: children that are already wrapped take another way than those that are not.
        if number % 2 and isinstance(container, dict | list):
            kept = list(container.values() if isinstance(container, dict) else reversed(container))
        else:
            kept = []
        expected, wanted = outcome(function, walk(plain, path))
        got, result = outcome(function, container)
        assert got == expected, place
        assert same(result, wanted), f"{place}: {result!r} for {wanted!r}"
        assert same(other[key], plain), f"{place}: stored {other[key]!r} for {plain!r}"
        assert same(top, plain), f"{place}: local {top!r} for {plain!r}"
        assert same(md[key], plain), place
        assert walk(top, path) is container, place
        del kept


# What these put somewhere else is a copy: the handle of the old one may refuse, or follow.
RELOCATE = {
    *("append-own", "move", "move-container", "rotate", "rotate-by-pop", "set-own-child"),
    *("set-slice-itself", "set-slice-reversed", "set-slice-sorted", "shuffle"),
    *("swap", "swap-kinds", "swap-negative", "swap-same-kind", "update-items", "update-itself"),
}


@pytest.mark.parametrize("start", [DICT, LIST], ids=["dict", "list"])
def test_children_held_before_stay_or_conflict(start: Any, backend: Backend) -> None:
    """A child that an operation left in place goes on writing; one it took out refuses."""
    table = DICT_OPERATIONS if isinstance(start, dict) else LIST_OPERATIONS
    wrong = []
    with RemoteKVMapping(backend, "ep1") as md:
        for name, function in table.items():
            plain = copy.deepcopy(start)
            md["x"] = {"in": plain}
            steps = [s for s in _steps(plain) if isinstance(plain[s], dict | list)]
            x = md["x"]["in"]
            held = [(x[step], plain[step]) for step in steps]
            outcome(function, plain)
            outcome(function, x)
            for number, (live, model) in enumerate(held):
                there = [s for s in _steps(plain) if plain[s] is model]
                before = md["x"].copy()
                if len(there) > 1:
                    continue  # one object at two places: a store has no such thing
                change = _change(number)
                if there:
                    error, _ = outcome(change, live)
                    if error is ConflictError and name in RELOCATE and md["x"] == before:
                        break
                    change(model)
                    if error is not None or md["x"] != {"in": plain} or x != plain:
                        wrong.append((name, error))
                else:
                    error, _ = outcome(change, live)
                    if error is not ConflictError or md["x"] != before:
                        wrong.append((name, error))
                    break
    assert wrong == [], wrong


def _steps(plain: Any) -> list[Any]:
    return list(plain) if isinstance(plain, dict) else list(range(len(plain)))


def _change(number: int) -> Callable[[Any], Any]:
    def change(x: Any) -> None:
        if isinstance(x, dict):
            x["changed"] = number
        else:
            x.append(f"changed {number}")

    return change


# -- identity and copies ---------------------------------------------------------------------------


def test_identity(md: RemoteKVMapping) -> None:
    md["x"] = {"a": {"b": [{"c": 1}]}, "l": [[1], [1]]}
    x = md["x"]
    assert x["a"] is x["a"]
    assert x["a"]["b"][0] is x["a"]["b"][-1]
    assert x.get("a") is x["a"]
    assert x.setdefault("a", 5) is x["a"]
    assert [v for v in x.values()][0] is x["a"]  # noqa: C416, RUF015
    assert next(iter(x["l"])) is x["l"][0]
    assert x["l"][0] is not x["l"][1]
    a, first, second = x["a"], x["l"][0], x["l"][1]
    x["new"] = 1
    second.append(2)
    assert x["a"] is a
    assert x["l"][0] is first
    assert x["l"][1] is second
    x["l"].reverse()
    assert x["l"][0] is second
    assert x["l"][1] is first
    x["l"].insert(0, 0)
    assert x["l"][2] is first
    first.append(3)
    assert md["x"]["l"] == [0, [1, 2], [1, 3]]


COPIES: dict[str, Callable[[Any], Any]] = {
    "copy": lambda x: x.copy(),
    "copy.copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda x: pickle.loads(pickle.dumps(x)),
    "pickle-0": lambda x: pickle.loads(pickle.dumps(x, 0)),
    "constructor": lambda x: dict(x) if isinstance(x, dict) else list(x),
    "display": lambda x: {**x} if isinstance(x, dict) else [*x],
    "or": lambda x: x | {} if isinstance(x, dict) else x + [],  # noqa: RUF005
    "ror": lambda x: {} | x if isinstance(x, dict) else [] + x,  # noqa: RUF005
    "keyword": lambda x: dict(**x) if isinstance(x, dict) else x * 1,
    "update": lambda x: _updated(x),
    "sorted": lambda x: dict(sorted(x.items())) if isinstance(x, dict) else sorted(x, key=str),
    "slice": lambda x: dict(list(x.items())) if isinstance(x, dict) else x[:],
    "values": lambda x: list(x.values()) if isinstance(x, dict) else tuple(x),
    "items": lambda x: list(x.items()) if isinstance(x, dict) else x[::-1],
    "pop": lambda x: copy.copy(x).popitem()[1] if isinstance(x, dict) else x.copy().pop(),
    "ordered": lambda x: collections.OrderedDict(x) if isinstance(x, dict) else [*x],
}


def _updated(x: Any) -> Any:
    if isinstance(x, dict):
        result: dict[str, Any] = {}
        result.update(x)
        return result
    items: list[Any] = []
    items.extend(x)
    items[len(items) :] = x
    items += x
    return items


def _spoil(value: Any) -> None:
    if isinstance(value, dict):
        for item in list(value.values()):
            _spoil(item)
        value["spoilt"] = True
    elif isinstance(value, list):
        for item in list(value):
            _spoil(item)
        value.append("spoilt")
    elif isinstance(value, tuple | collections.deque):
        for item in value:
            _spoil(item)
    elif isinstance(value, set | bytearray):
        value.clear()


@pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
@pytest.mark.parametrize("start", [{"d": {"l": [{"s": {1}}]}, "l": [[1], {"k": bytearray(b"x")}]}])
@pytest.mark.parametrize("name", COPIES)
def test_copies_are_plain_and_detached(
    name: str, start: dict[str, Any], warm: bool, md: RemoteKVMapping
) -> None:
    before = {"dict": start, "list": list(start.values())}
    md.update(before)
    subjects = [md["dict"], md["list"], md["dict"]["d"], md["dict"]["l"], md["list"][1]]
    for x in subjects:
        if warm:
            _touch(x)
        left = copy.deepcopy(x)
        copied = COPIES[name](x)
        if type(copied) in PLAIN_TYPES:
            assert_plain(copied)
        else:
            for item in copied.values() if isinstance(copied, dict) else copied:
                assert_plain(item)
        _spoil(copied)
        assert x == left
    assert md == before


def _touch(value: Any) -> None:
    if isinstance(value, dict):
        for key in value:
            _touch(value[key])
    elif isinstance(value, list):
        for index in range(len(value)):
            _touch(value[index])


@pytest.mark.parametrize(
    "function",
    [dict, lambda d: {**d}, lambda d: d.copy(), copy.deepcopy, lambda d: d | {}, lambda d: {} | d],
)
def test_copies_of_the_mapping_are_plain(
    function: Callable[[Any], Any], md: RemoteKVMapping
) -> None:
    md["x"] = before = {"l": [{"k": 1}]}
    copied = function(md)
    assert_plain(copied)
    _spoil(copied)
    assert md == {"x": before}


def test_what_is_assigned_is_copied(md: RemoteKVMapping) -> None:
    given: dict[str, Any] = {"l": [1]}
    md["x"] = given
    md["y"] = {"in": [md["x"]]}
    x = md["x"]
    x["copy"] = x["l"]
    _spoil(given)
    x["l"].append(2)
    assert md == {"x": {"l": [1, 2], "copy": [1]}, "y": {"in": [{"l": [1]}]}}


# -- in-place operators and assignment -------------------------------------------------------------


def test_augmented_assignment_applies_once(sep_md: RemoteKVMapping) -> None:
    md = sep_md
    md.update({"l": [0], "d": {"l": [0], "n": 1}, "s": {0}, "b": bytearray(b"a"), "n": 1})
    md["l"] += [1]
    md["l"] *= 2
    md["d"] |= {"m": 1}
    md["d"]["l"] += [1]
    md["d"]["l"][0] += 5
    md["d"]["n"] += 1
    md["s"] |= {1}
    md["s"] -= {0}
    md["s"] ^= {2}
    md["s"] &= {1, 2, 3}
    md["b"] += b"b"
    md["n"] += 1
    assert md == {
        "l": [0, 1, 0, 1],
        "d": {"l": [5, 1], "n": 2, "m": 1},
        "s": {1, 2},
        "b": bytearray(b"ab"),
        "n": 2,
    }


def test_assigning_a_handle_after_an_in_place_operator(md: RemoteKVMapping) -> None:
    """`h += ...` writes by itself; a later `md[key] = h` is an assignment like any other."""
    for store in ({}, md):
        store["l"] = [1]
        h = store["l"]
        h += [2]
        store["l"] = []
        store["l"] = h
        assert store["l"] == [1, 2]


def test_assigning_a_handle_after_somebody_else_wrote(
    md: RemoteKVMapping, other: RemoteKVMapping
) -> None:
    md["l"] = [1]
    h = md["l"]
    h += [2]
    other["l"] = ["theirs"]
    md["l"] = h
    assert other["l"] == [1, 2]


def test_assigning_a_handle_back_after_its_key_was_deleted(md: RemoteKVMapping) -> None:
    for store in ({}, md):
        store["d"] = {"n": 1}
        d = store["d"]
        d |= {"m": 2}
        del store["d"]
        store["d"] = d
        assert store["d"] == {"n": 1, "m": 2}


def test_nested_replacement_by_the_same_kind_detaches_the_old_one(md: RemoteKVMapping) -> None:
    """As in a dict: ``x["a"] = other`` puts another object there and leaves the first one alone."""
    md["x"] = {"a": {"v": 1}, "l": [1, 2]}
    x = md["x"]
    a, numbers = x["a"], x["l"]
    x["a"] = {"v": 2}
    x["l"] = [3]
    assert x["a"] is not a
    assert (a, numbers) == ({"v": 1}, [1, 2])
    with pytest.raises(ConflictError):
        a["v"] = 5
    with pytest.raises(ConflictError):
        numbers.append(5)
    assert md["x"] == x == {"a": {"v": 2}, "l": [3]}


REPLACEMENTS: dict[str, Callable[[Any], Any]] = {
    "other kind": lambda x: x.__setitem__("a", [1]),
    "scalar": lambda x: x.__setitem__("a", 5),
    "del": lambda x: x.__delitem__("a"),
    "pop": lambda x: x.pop("a"),
    "clear": lambda x: x.clear(),
    "update": lambda x: x.update(a=None),
}


@pytest.mark.parametrize("how", REPLACEMENTS)
@pytest.mark.parametrize("who", ["same handle", "another handle", "another mapping"])
def test_a_child_whose_place_is_gone_conflicts(
    how: str, who: str, md: RemoteKVMapping, other: RemoteKVMapping
) -> None:
    md["x"] = {"a": {"deep": {"v": 1}}, "b": 1}
    x = md["x"]
    a, deep = x["a"], x["a"]["deep"]
    REPLACEMENTS[how]({"same handle": x, "another handle": md["x"]}.get(who, other["x"]))
    left = other["x"].copy()
    with pytest.raises(ConflictError):
        deep["v"] = 2
    with pytest.raises(ConflictError):
        a["w"] = 2
    with pytest.raises(ConflictError):
        a.clear()
    assert md["x"] == left


@pytest.mark.parametrize("replace", [lambda m: m.pop("x"), lambda m: m.update(x=[1])])
def test_a_value_that_is_gone_conflicts(
    replace: Callable[[Any], Any], md: RemoteKVMapping, other: RemoteKVMapping
) -> None:
    md["x"] = {"a": {"v": 1}}
    x = md["x"]
    replace(other)
    left = dict(other)
    for change in (
        lambda: x["a"].update(v=2),
        lambda: x.clear(),
        lambda: x.update(v=2),
        lambda: x.pop("a"),
    ):
        with pytest.raises(ConflictError):
            change()
    assert md == left


# -- several handles -------------------------------------------------------------------------------


def test_two_handles_change_different_fields(md: RemoteKVMapping, other: RemoteKVMapping) -> None:
    md["d"] = {"n": 1, "l": [1], "e": {"k": 0}}
    x, y, z = md["d"], md["d"], other["d"]
    x["a"] = 1
    y["b"] = 2
    z["c"] = 3
    x["l"].append(2)
    y["l"].append(3)
    z["e"]["k"] = 4
    x["e"]["j"] = 5
    y["n"] += 1
    del z["a"]
    everything = {"n": 2, "l": [1, 2, 3], "e": {"k": 4, "j": 5}, "b": 2, "c": 3}
    assert md["d"] == everything
    assert z == everything


READ_MODIFY_WRITE: dict[str, tuple[Any, Callable[[Any], Any]]] = {
    "int": (1, lambda x: operator.setitem(x, "n", x["n"] + 1)),
    "str": ("a", lambda x: operator.setitem(x, "n", x["n"] + "b")),
    "get": (1, lambda x: operator.setitem(x, "n", x.get("n", 0) + 1)),
    "by another field": (1, lambda x: operator.setitem(x, "n", x["n"] + x["m"])),
    "with a look elsewhere": (1, lambda x: operator.setitem(x, "n", x["n"] + len(x["s"]))),
    "decimal": (Decimal(1), lambda x: operator.setitem(x, "n", x["n"] + 1)),
    "complex": (1j, lambda x: operator.setitem(x, "n", x["n"] + 1)),
    "bytes": (b"a", lambda x: operator.setitem(x, "n", x["n"] + b"b")),
    "frozenset": (frozenset({1}), lambda x: operator.setitem(x, "n", x["n"] | {len(x["n"]) + 1})),
    "missing": (None, lambda x: operator.setitem(x, "new", x.get("new", 0) + 1)),
    "absent": (None, lambda x: operator.setitem(x, "new", (x["new"] if "new" in x else 0) + 1)),  # noqa: SIM401
    "of a copied list": ([1], lambda x: operator.setitem(x, "n", x["n"] + [len(x["n"]) + 1])),
}


@pytest.mark.parametrize("what", READ_MODIFY_WRITE)
def test_read_modify_write_through_a_stale_handle_conflicts(
    what: str, md: RemoteKVMapping, other: RemoteKVMapping
) -> None:
    start, change = READ_MODIFY_WRITE[what]
    md["d"] = {"n": start, "m": 10, "s": "abc"}
    x, y = md["d"], other["d"]
    change(y)
    left = md["d"].copy()
    with pytest.raises(ConflictError):
        change(x)
    assert md["d"] == left


def test_read_modify_write_of_a_list_item_through_a_stale_handle(
    md: RemoteKVMapping, other: RemoteKVMapping
) -> None:
    for index in (0, -1, 1):
        md["l"] = [1, 2, 3]
        x = md["l"]
        other["l"][index] += 10
        with pytest.raises(ConflictError):
            x[index] += 1
        assert sum(other["l"]) == 16


def test_an_assignment_after_a_read_is_a_read_modify_write(
    md: RemoteKVMapping, other: RemoteKVMapping
) -> None:
    """Whatever else was changed in between: nothing tells it from one that depends on the read."""
    md["d"] = {"n": 1, "m": 1}
    x = md["d"]
    n = x["n"]
    x["unrelated"] = 0
    other["d"].update(n=2, m=2)
    with pytest.raises(ConflictError, match="do it again"):
        x["n"] = n + 2
    x["n"] = 3  # was told
    x["m"] = 3  # was not read
    assert other["d"] == {"n": 3, "m": 3, "unrelated": 0}


def test_threads_that_share_a_handle_lose_nothing(md: RemoteKVMapping) -> None:
    md["d"] = {"n": 0}
    shared = md["d"]

    def work() -> None:
        for _ in range(100):
            while True:
                try:
                    shared["n"] += 1
                except ConflictError:
                    continue
                break

    threads = [threading.Thread(target=work) for _ in range(4)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert md["d"] == {"n": 400}


def test_assigning_back_a_child_that_others_removed_stores_it(
    md: RemoteKVMapping, other: RemoteKVMapping
) -> None:
    md["d"] = {"l": [1], "m": [[1], [2]], "z": 1}
    x = md["d"]
    y = x["l"]
    del other["d"]["l"]
    with pytest.raises(ConflictError, match="others have made it 'nothing'"):
        x["l"] = y
    x["l"] = y
    assert x == md["d"] == {"l": [1], "m": [[1], [2]], "z": 1}
    first = x["m"][0]
    other["d"]["m"][0] = "theirs"
    with pytest.raises(ConflictError, match="others have made it 'theirs'"):
        x["m"][0] = first
    x["m"][0] = first
    assert x == md["d"] == {"l": [1], "m": [[1], [2]], "z": 1}
    x["l"] = x["l"]
    x["l"].append(2)
    assert md["d"]["l"] == [1, 2]


def call(function: Any, *arguments: Any) -> Any:
    """Stand for any wrapper: a retry, an executor, a remote procedure call."""
    return function(*arguments)


def test_questions_through_one_function_are_no_copy(
    md: RemoteKVMapping, other: RemoteKVMapping
) -> None:
    md["a"] = {"n": 0}
    items = call(iter, md.items())
    _, value = call(next, items)
    value["n"] = 1
    assert md["a"] == {"n": 1}
    names = call(list, call(md.keys))
    other["a"] = {"n": 99}
    assert names == ["a"]
    assert call(md.__getitem__, "a") == {"n": 99}
    chain = collections.ChainMap({}, md)

    def steps() -> Any:
        yield list
        other["a"] = {"n": 100}
        yield operator.itemgetter("a")

    assert [function(chain) for function in steps()][1] == {"n": 100}
    x = md["a"]
    iterator, length = call(iter, md), call(len, md)
    other["b"] = 1
    assert (length, call(len, md), list(iterator), x) == (1, 2, ["a"], {"n": 100})


def test_after_a_conflict_a_fresh_handle_works(md: RemoteKVMapping, other: RemoteKVMapping) -> None:
    md["d"] = {"n": 1}
    x = md["d"]
    other["d"]["n"] = 5
    with pytest.raises(ConflictError):
        x["n"] += 1
    md["d"]["n"] += 1
    assert other["d"] == {"n": 6}


def test_a_list_item_is_followed_when_others_shift_it(
    md: RemoteKVMapping, other: RemoteKVMapping
) -> None:
    md["l"] = [{"id": 1}, {"id": 2}]
    second = md["l"][1]
    other["l"].insert(0, {"id": 0})
    second["v"] = "two"
    assert md["l"] == [{"id": 0}, {"id": 1}, {"id": 2, "v": "two"}]


def test_a_list_item_that_others_removed_conflicts(
    md: RemoteKVMapping, other: RemoteKVMapping
) -> None:
    md["l"] = [{"id": 1}, {"id": 2}, {"id": 3}]
    second = md["l"][1]
    del other["l"][1]
    with pytest.raises(ConflictError):
        second["v"] = 1
    assert md["l"] == [{"id": 1}, {"id": 3}]


def test_a_list_item_that_others_replaced_in_place_by_another_one(
    md: RemoteKVMapping, other: RemoteKVMapping
) -> None:
    """Removed and appended: the length is the same, and the item at the index is another one."""
    md["l"] = [{"id": 1}, {"id": 2}, {"id": 3}]
    first = md["l"][0]
    theirs = other["l"]
    theirs.append({"id": 4})
    theirs.pop(0)
    with pytest.raises(ConflictError):
        first["v"] = "of 1"
    assert md["l"] == [{"id": 2}, {"id": 3}, {"id": 4}]


def test_equal_list_items_are_not_taken_for_one_another(
    md: RemoteKVMapping, other: RemoteKVMapping
) -> None:
    md["l"] = [{"k": 1}, {"k": 1}]
    first = md["l"][0]
    other["l"][0]["theirs"] = True
    first["mine"] = True
    assert md["l"] == [{"k": 1, "theirs": True, "mine": True}, {"k": 1}]


def test_increment_and_transform_never_lose(md: RemoteKVMapping, other: RemoteKVMapping) -> None:
    md["d"] = {"n": 1, "l": [1]}
    x, y = md["d"], other["d"]
    assert y.increment("n", 10) == 11
    assert x.increment("n") == 12
    assert x.increment("new") == 1
    assert y.transform("l", lambda items: [*items, 2]) == [1, 2]
    assert x.transform("l", lambda items: [*items, 3]) == [1, 2, 3]
    with pytest.raises(KeyError):
        x.transform("nope", str)
    with pytest.raises(TypeError):
        x.increment("l")
    assert md["d"] == {"n": 12, "l": [1, 2, 3], "new": 1}


# -- iterators as arguments ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "store_one",
    [
        lambda x, v: x["l"].append(v),
        lambda x, v: x["l"].insert(0, v),
        lambda x, v: x["l"].__setitem__(0, v),
        lambda x, v: x["d"].__setitem__("k", v),
        lambda x, v: x["d"].setdefault("k", v),
        lambda x, v: x["d"].update(k=v),
        lambda x, v: x["s"].add(v),
    ],
)
def test_an_iterator_is_no_value(store_one: Callable[[Any, Any], Any], md: RemoteKVMapping) -> None:
    """Only what a list or dict would iterate is iterated; an iterator to be stored is refused."""
    md["x"] = before = {"l": [0], "d": {}, "s": set()}
    with pytest.raises(EncodeError):
        store_one(md["x"], iter([1, 2]))
    assert md["x"] == before


def test_what_an_iterator_raises_is_raised(md: RemoteKVMapping) -> None:
    def broken() -> Any:
        yield 1
        raise ZeroDivisionError

    md["x"] = {"l": [0]}
    with pytest.raises(ZeroDivisionError):
        md["x"]["l"].extend(broken())
    assert md["x"] == {"l": [0]}


def test_a_bad_value_changes_nothing_locally(md: RemoteKVMapping) -> None:
    md["x"] = {"l": [0, {"k": 1}]}
    x = md["x"]
    child = x["l"][1]
    for change in (
        lambda: x.update(a=1, b=object()),
        lambda: x["l"].extend([1, object()]),
        lambda: x["l"].__setitem__(slice(None), [object()]),
        lambda: child.__setitem__(1, 2),
        lambda: x.__setitem__(("t",), 2),
    ):
        with pytest.raises(EncodeError):
            change()
        assert x == md["x"] == {"l": [0, {"k": 1}]}
        assert x["l"][1] is child


# -- loops -----------------------------------------------------------------------------------------


def test_loops_write_through(sep_md: RemoteKVMapping) -> None:
    md = sep_md
    md.update({"l": [{"k": 0}, {"k": 0}], "d": {"a": {"k": 0}, "b": {"k": 0}}})
    for d in md["l"]:
        d["k"] += 1
    for number, d in enumerate(md["l"]):
        d["number"] = number
    for d in reversed(md["l"]):
        d["k"] += 1
    [d.update(c=1) for d in md["l"]]
    for v in md["d"].values():
        v["k"] += 1
    for _, v in md["d"].items():  # noqa: PERF102
        v["k"] += 1
    for key in md["d"]:
        md["d"][key]["k"] += 1
    for key, value in md.items():
        (value[0] if key == "l" else value["a"])["from"] = key
    for value in md.values():
        (value[0] if isinstance(value, list) else value["a"])["v"] = True
    for value in reversed(md.values()):
        (value[1] if isinstance(value, list) else value["b"])["r"] = True
    assert md == {
        "l": [
            {"k": 2, "number": 0, "c": 1, "from": "l", "v": True},
            {"k": 2, "number": 1, "c": 1, "r": True},
        ],
        "d": {"a": {"k": 3, "from": "d", "v": True}, "b": {"k": 3, "r": True}},
    }


def test_a_dispatcher_is_no_copy(md: RemoteKVMapping) -> None:
    """Every call from one line of one function, as in a loop that serves requests."""
    md["x"] = {"a": {"k": 0}}
    x = md["x"]
    results = [None] * 4
    calls: list[Any] = [
        (dict.keys, x),
        (x.keys,),
        (operator.getitem, x, "a"),
        (x.__getitem__, "a"),
    ]
    for number, (function, *arguments) in enumerate(calls):
        results[number] = function(*arguments)
    results[2]["k"] = 1
    results[3]["l"] = 2
    assert md["x"] == {"a": {"k": 1, "l": 2}}


def test_generator_functions_and_threads_of_iteration(md: RemoteKVMapping) -> None:
    md["l"] = [{"k": 0}, {"k": 0}]

    def each() -> Any:
        yield from md["l"]

    for d in each():
        d["k"] = 1
    for one, two in zip(md["l"], md["l"], strict=True):
        one["one"] = True
        two["two"] = True
    assert md["l"] == [{"k": 1, "one": True, "two": True}] * 2


# -- other libraries -------------------------------------------------------------------------------

TREE: dict[str, Any] = {"a": [1, {"b": None, "c": [1.5, "x"]}], "d": {"e": {"f": True}}}


@pytest.mark.parametrize(
    "function",
    [
        json.dumps,
        lambda x: json.dumps(x, indent=1),
        lambda x: json.dumps(x, sort_keys=True),
        lambda x: "".join(json.JSONEncoder().iterencode(x)),
        orjson.dumps,
        lambda x: orjson.dumps(x, option=orjson.OPT_SORT_KEYS),
        msgpack.packb,
        lambda x: msgpack.unpackb(msgpack.packb(x)),
        repr,
        str,
        pprint.pformat,
        lambda x: pprint.pformat(x, width=10),
        lambda x: pickle.loads(pickle.dumps(x)),
        lambda x: isinstance(x, dict) and isinstance(x["a"], list),
        lambda x: np.asarray(x["a"][1]["c"][:1]).tolist(),
        lambda x: x == copy.deepcopy(TREE) and copy.deepcopy(TREE) == x,
    ],
)
def test_libraries_see_plain_data(function: Callable[[Any], Any], md: RemoteKVMapping) -> None:
    md["x"] = TREE
    x = md["x"]
    assert function(x) == function(copy.deepcopy(TREE))
    _touch(x)
    assert function(x) == function(copy.deepcopy(TREE))


def test_numpy_and_jsonschema(md: RemoteKVMapping) -> None:
    md["x"] = {"matrix": [[1, 2], [3, 4]], "n": 1}
    x = md["x"]
    assert np.asarray(x["matrix"]).tolist() == [[1, 2], [3, 4]]
    assert np.array(x["matrix"][0]).dtype.kind == "i"
    schema = {
        "type": "object",
        "properties": {"matrix": {"type": "array", "items": {"type": "array"}}},
        "required": ["n"],
    }
    jsonschema.validate(x, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(x["matrix"], schema)


def test_a_made_up_container_belongs_to_nobody(md: RemoteKVMapping) -> None:
    md["x"] = before = {"l": [1], "s": {1}, "b": bytearray(b"a")}
    x = md["x"]
    for part in (x, x["l"], x["s"], x["b"]):
        made = type(part)(part)
        made.clear()
        assert len(made) == 0
    assert md["x"] == before


def test_handles_of_two_mappings_do_not_mix() -> None:
    backend = InMemoryAsyncBackend()
    with RemoteKVMapping(backend, "ep1") as one, RemoteKVMapping(backend, "ep2") as two:
        one["l"] = [1]
        two["l"] = [9]
        handle = one["l"]
        handle += [2]
        two["l"] = handle
        assert two["l"] == [1, 2]
        two["l"].append(3)
        assert one["l"] == [1, 2]
