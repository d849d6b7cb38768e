"""Stored keys below another, as other programs write them, read and changed as nested values."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from kv_dict import ConflictError, DecodeError, RemoteKVMapping
from kv_dict.codec import JSONCodec
from kv_dict.keys import KeySpace
from kv_dict.mapping.stored import Stored, group
from kv_dict.model import ABSENT, Delete, Entry, Operation, Put

Write = Callable[[dict[str, bytes]], None]
Read = Callable[[], dict[str, bytes]]

MAIN = {
    "ep1:main": b'{"own":1}',
    "ep1:main:sup1": b"7",
    "ep1:main:sup2": b'{"l":[1]}',
    "ep1:main:sup3:deep": b'"x"',
    "ep1:main:sup4": b"4",
    "ep1:main:sup4:a": b"5",
    "ep1:mainly": b"0",
}
MAIN_VALUE = {
    "own": 1,
    "sup1": 7,
    "sup2": {"l": [1]},
    "sup3": {"deep": "x"},
    "sup4": {"_value": 4, "a": 5},
}


def changed(before: dict[str, bytes], put: dict[str, bytes], *gone: str) -> dict[str, bytes]:
    after = before | put
    for key in gone:
        del after[key]
    return after


@pytest.mark.parametrize(
    ("entries", "value"),
    [
        ({"ep1:main:sup1": b"7"}, {"sup1": 7}),
        ({"ep1:main": b"1", "ep1:main:sup1": b"7"}, {"_value": 1, "sup1": 7}),
        ({"ep1:main": b"null", "ep1:main:sup1": b"7"}, {"_value": None, "sup1": 7}),
        ({"ep1:main": b"[1]", "ep1:main:a:b": b"7"}, {"_value": [1], "a": {"b": 7}}),
        ({"ep1:main": b'{"a":1}', "ep1:main:b": b"2"}, {"a": 1, "b": 2}),
        ({"ep1:main": b"{}", "ep1:main:b": b"2"}, {"b": 2}),
        ({"ep1:main:a": b"1", "ep1:main:a:b:c": b"2"}, {"a": {"_value": 1, "b": {"c": 2}}}),
        ({"ep1:main:": b"1", "ep1:main::": b"2"}, {"": {"_value": 1, "": 2}}),
        ({"ep1:main:a%3Ab": b"1"}, {"a:b": 1}),
        (MAIN, MAIN_VALUE),
    ],
)
def test_read(entries: dict[str, bytes], value: Any, md: RemoteKVMapping, put: Write) -> None:
    put(entries)
    assert md["main"] == value
    assert md.get("main") == value
    assert "main" in md
    assert dict(md)["main"] == value
    assert dict(md.items())["main"] == value
    assert md.setdefault("main", 0) == value
    assert "sup1" not in md


def test_a_flat_mapping_knows_no_children(put: Write, backend: Any) -> None:
    put(MAIN)
    with RemoteKVMapping(backend, "ep1:", None) as flat:
        assert flat["main"] == {"own": 1}
        assert flat["main:sup1"] == 7
        assert len(flat) == len(MAIN)
        del flat["main"]
        assert flat["main:sup1"] == 7


CHANGES: dict[str, tuple[Callable[[Any], Any], dict[str, bytes], tuple[str, ...]]] = {
    "assign a child": (
        lambda x: x.__setitem__("sup1", 8),
        {"ep1:main:sup1": b"8"},
        (),
    ),
    "assign its own": (lambda x: x.__setitem__("own", 2), {"ep1:main": b'{"own":2}'}, ()),
    "a new one": (lambda x: x.__setitem__("new", 2), {"ep1:main": b'{"own":1,"new":2}'}, ()),
    "mutate a child": (
        lambda x: x["sup2"]["l"].append(2),
        {"ep1:main:sup2": b'{"l":[1,2]}'},
        (),
    ),
    "deep": (lambda x: x["sup3"].__setitem__("deep", "y"), {"ep1:main:sup3:deep": b'"y"'}, ()),
    "new below": (lambda x: x["sup3"].__setitem__("n", 1), {"ep1:main:sup3:n": b"1"}, ()),
    "scalar": (lambda x: x["sup4"].__setitem__("_value", 9), {"ep1:main:sup4": b"9"}, ()),
    "delete a child": (lambda x: x.__delitem__("sup1"), {}, ("ep1:main:sup1",)),
    "delete its own": (lambda x: x.__delitem__("own"), {"ep1:main": b"{}"}, ()),
    "delete a subtree": (lambda x: x.pop("sup4"), {}, ("ep1:main:sup4", "ep1:main:sup4:a")),
    "delete a scalar": (lambda x: x["sup4"].__delitem__("_value"), {}, ("ep1:main:sup4",)),
    "collapse a subtree": (
        lambda x: x.__setitem__("sup4", 1),
        {"ep1:main:sup4": b"1"},
        ("ep1:main:sup4:a",),
    ),
    "update": (
        lambda x: x.update(sup1=0, own=0, sup4={"_value": 1, "a": 2}),
        {
            "ep1:main": b'{"own":0}',
            "ep1:main:sup1": b"0",
            "ep1:main:sup4": b"1",
            "ep1:main:sup4:a": b"2",
        },
        (),
    ),
    "nothing": (lambda x: x.update(x.copy()), {}, ()),
}


@pytest.mark.parametrize("name", CHANGES)
def test_change(
    name: str, md: RemoteKVMapping, other: RemoteKVMapping, put: Write, stored: Read
) -> None:
    change, written, gone = CHANGES[name]
    put(MAIN)
    x, plain = md["main"], md["main"].copy()
    change(x)
    change(plain)
    assert stored() == changed(MAIN, written, *gone)
    assert other["main"] == plain
    assert x == plain


@pytest.mark.parametrize("value", [5, None, [1], {"sup1": 1}, {}, "x"])
@pytest.mark.parametrize(
    "assign",
    [
        lambda d, v: d.__setitem__("main", v),
        lambda d, v: d.update(main=v),
        lambda d, v: d.transform("main", lambda _: v) and None,
    ],
    ids=["set", "update", "transform"],
)
def test_assigning_the_whole(
    assign: Callable[[Any, Any], Any], value: Any, md: RemoteKVMapping, put: Write
) -> None:
    put(MAIN)
    assign(md, value)
    assert md == {"main": value, "mainly": 0}


@pytest.mark.parametrize("value", [5, {"sup1": 1}, {}])
def test_assigning_collapses(value: Any, md: RemoteKVMapping, put: Write, stored: Read) -> None:
    put(MAIN)
    md["main"] = value
    assert stored() == {
        "ep1:main": json.dumps(value, separators=(",", ":")).encode(),
        "ep1:mainly": b"0",
    }


@pytest.mark.parametrize(
    "remove",
    [lambda d: d.__delitem__("main"), lambda d: d.pop("main"), lambda d: d.pop("main", 0)],
)
def test_removing(
    remove: Callable[[Any], Any], md: RemoteKVMapping, put: Write, stored: Read
) -> None:
    put(MAIN)
    assert remove(md) in (None, MAIN_VALUE)
    assert stored() == {"ep1:mainly": b"0"}
    assert "main" not in md
    with pytest.raises(KeyError):
        md.pop("main")


def test_popitem_takes_the_whole(md: RemoteKVMapping, put: Write, stored: Read) -> None:
    put({"ep1:z": b"1", "ep1:z:y": b"2", "ep1:a:b": b"3"})
    assert md.popitem() == ("z", {"_value": 1, "y": 2})
    assert md.popitem() == ("a", {"b": 3})
    assert stored() == {}


def test_clear(md: RemoteKVMapping, put: Write, stored: Read) -> None:
    put(MAIN | {"ep10:main:a": b"1", "ep1": b"2"})
    md.clear()
    assert stored() == {"ep10:main:a": b"1", "ep1": b"2"}


def test_clearing_a_nested_one_leaves_an_empty_dict(
    md: RemoteKVMapping, put: Write, stored: Read
) -> None:
    put({"ep1:main:a:b": b"1", "ep1:main:c": b"2"})
    md["main"]["a"].clear()
    assert md["main"] == {"a": {}, "c": 2}
    md["main"].clear()
    assert md["main"] == {}
    assert stored() == {"ep1:main": b"{}"}


def test_deleting_the_last_child_leaves_an_empty_dict(md: RemoteKVMapping, put: Write) -> None:
    put({"ep1:main:a": b"1"})
    x = md["main"]
    del x["a"]
    assert x == md["main"] == {}


def test_deleting_the_last_child_of_a_scalar(md: RemoteKVMapping, put: Write) -> None:
    """What is left is the scalar that is stored; what was a dict because of the child is gone."""
    put({"ep1:main": b"4", "ep1:main:a": b"5"})
    x = md["main"]
    del x["a"]
    assert md["main"] == 4
    with pytest.raises(ConflictError, match="is a int now"):
        x["b"] = 1
    assert md["main"] == 4


def test_assigning_a_nested_value_of_that_name(md: RemoteKVMapping, put: Write) -> None:
    put({"ep1:main:a": b"5", "ep1:main:b:c": b"5"})
    x = md["main"]
    x["b"] = {"_value": 1}
    assert x == md["main"] == {"a": 5, "b": {"_value": 1}}


def test_other_writers_between_read_and_write(
    md: RemoteKVMapping, put: Write, stored: Read
) -> None:
    put({"ep1:main:a": b"1", "ep1:main:b": b'{"k":[]}'})
    x = md["main"]
    put({"ep1:main:a": b"2", "ep1:main:c": b"3"})
    x["b"]["k"].append(1)
    x["d"] = 4
    assert md["main"] == {"a": 2, "b": {"k": [1]}, "c": 3, "d": 4}
    put({"ep1:main:a": b"9"})
    with pytest.raises(ConflictError):
        x["a"] += 1
    assert stored()["ep1:main:a"] == b"9"


def test_a_child_that_others_add_below_is_not_shadowed(md: RemoteKVMapping, put: Write) -> None:
    put({"ep1:main": b'{"own":1}', "ep1:main:a": b"1"})
    x = md["main"]
    put({"ep1:main:new": b"5"})
    x["new"] = 6
    assert md["main"]["new"] == 6


def test_undecodable_children(md: RemoteKVMapping, put: Write, stored: Read) -> None:
    put({"ep1:main": b"1", "ep1:main:bad": b"\xff", "ep1:ok": b"1"})
    with pytest.raises(DecodeError, match=r"md\['main'\]\['bad'\]"):
        md["main"]
    assert md == {"ok": 1}
    md["main"] = 5
    assert stored() == {"ep1:main": b"5", "ep1:ok": b"1"}


@pytest.mark.parametrize(
    "remove", [lambda d: d.__delitem__("bad"), lambda d: d.pop("bad", None), lambda d: d.clear()]
)
def test_what_cannot_be_decoded_can_be_removed(
    remove: Callable[[Any], Any], md: RemoteKVMapping, put: Write, stored: Read
) -> None:
    """Either it is removed, or an error is raised and it is still there."""
    put({"ep1:bad": b"{nope"})
    try:
        remove(md)
    except DecodeError:
        assert stored() == {"ep1:bad": b"{nope"}
    else:
        assert stored() == {}


def test_del_of_what_cannot_be_decoded(md: RemoteKVMapping, put: Write) -> None:
    put({"ep1:bad": b"{nope"})
    del md["bad"]
    assert "bad" not in md


# -- the rule itself -------------------------------------------------------------------------------

SPACE = KeySpace("ep1", ":")
CODEC = JSONCodec()

steps = st.sampled_from(["a", "b", "c", "a:b", "", "%3A", "_value"])
plain_steps = st.sampled_from(["a", "b", "c", "a:b", "", "%3A"])
scalars = st.none() | st.booleans() | st.integers(-2, 3) | st.sampled_from(["", "x", 1.5])
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(steps, inner, max_size=4),
    max_leaves=8,
)


def as_stored(entries: dict[str, bytes]) -> Stored:
    ordered = tuple(Entry(key, value, n) for n, (key, value) in enumerate(sorted(entries.items())))
    return Stored("k", ordered, SPACE, CODEC)


def apply(operations: list[Operation], stored: Stored) -> dict[str, bytes]:
    """Apply guarded operations as a backend does, each guard checked against what was there."""
    revisions = {entry.key: entry.revision for entry in stored.entries}
    entries = {entry.key: entry.value for entry in stored.entries}
    named = [operation.key for operation in operations]
    assert len(set(named)) == len(named)
    for operation in operations:
        if isinstance(operation, Put):
            assert operation.expected == revisions.get(operation.key, ABSENT)
            assert entries.get(operation.key) != operation.value
            entries[operation.key] = operation.value
        else:
            assert isinstance(operation, Delete)
            assert operation.expected == revisions.get(operation.key, ABSENT)
            entries.pop(operation.key, None)
    return entries


def shadow_free(entries: dict[str, bytes]) -> bool:
    """Return whether no entry's own dict has a key that a stored key below it has too."""
    paths = {tuple(SPACE.split(key)): json.loads(value) for key, value in entries.items()}
    for path, value in paths.items():
        below = {other[len(path)] for other in paths if other[: len(path)] == path != other}
        if below & (set(value) if isinstance(value, dict) else {"_value"}):
            return False
    return True


def trees(names: st.SearchStrategy[str]) -> st.SearchStrategy[dict[str, bytes]]:
    paths = st.lists(names, max_size=3).map(lambda path: SPACE.join(["k", *path]))
    return st.dictionaries(paths, values.map(lambda v: CODEC.encode(v, "")), max_size=6)


def scalars(entries: dict[str, bytes]) -> list[Any]:
    decoded = [json.loads(value) for value in entries.values()]
    return [value for value in decoded if not isinstance(value, dict)]


def leaves_only_the_scalar(scalar: Any, new: Any) -> bool:
    """Return whether somewhere in `new` nothing but a stored scalar may be left."""
    if isinstance(new, dict):
        return new == {"_value": scalar} or any(
            leaves_only_the_scalar(scalar, part) for part in new.values()
        )
    return False


@settings(max_examples=400, deadline=None)
@given(entries=trees(steps), new=values)
@example(entries={"ep1:k": b"1", "ep1:k:a": b"2"}, new={"_value": {"x": 1}, "a": 2})
@example(entries={"ep1:k": b"1", "ep1:k:a": b"2"}, new={"_value": 2})
@example(entries={"ep1:k:a:b": b"1"}, new={"a": {}})
@example(entries={"ep1:k": b'{"a":1}', "ep1:k:a:b": b"2"}, new={"a": {"_value": 1, "b": 2}})
@example(entries={"ep1:k": b'{"a":{"b":1}}', "ep1:k:a:c": b"2"}, new={"a": {"c": 2}})
@example(entries={"ep1:k": b'{"a":{"b":1}}', "ep1:k:a": b"2"}, new={"a": {"c": 3}})
def test_a_replacement_reads_as_what_was_assigned(entries: dict[str, bytes], new: Any) -> None:
    assume(not any(leaves_only_the_scalar(scalar, new) for scalar in scalars(entries)))
    stored = as_stored(entries)
    operations = stored.replacement(new)
    left = apply(operations, stored)
    assert as_stored(left).value() == new
    after = stored.after(operations, [n + 100 for n in range(len(operations))])
    assert {entry.key: entry.value for entry in after.entries} == left
    assert after.value() == new


@settings(max_examples=300, deadline=None)
@given(entries=trees(plain_steps).filter(bool))
def test_the_value_itself_needs_no_operation(entries: dict[str, bytes]) -> None:
    if shadow_free(entries):
        stored = as_stored(entries)
        assert stored.replacement(stored.value()) == []


@settings(max_examples=200, deadline=None)
@given(entries=trees(steps).filter(bool))
def test_a_shadowed_part_is_not_touched_by_writing_the_value_back(
    entries: dict[str, bytes],
) -> None:
    """Also where two entries claim one key, nothing is written that nobody asked for."""
    stored = as_stored(entries)
    assert stored.replacement(stored.value()) == []


@settings(max_examples=200, deadline=None)
@given(entries=trees(steps))
def test_removal_leaves_nothing(entries: dict[str, bytes]) -> None:
    stored = as_stored(entries)
    assert apply(stored.removal(), stored) == {}
    assert bool(stored) == bool(entries)


@settings(max_examples=200, deadline=None)
@given(entries=trees(steps).filter(bool))
def test_values_are_new_each_time(entries: dict[str, bytes]) -> None:
    stored = as_stored(entries)
    first, second = stored.value(), stored.value()
    assert first == second
    assert stored.same_as(as_stored(entries))
    if isinstance(first, dict | list):
        assert first is not second
        first.clear()
        assert stored.value() == second


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(
        st.lists(steps, min_size=1, max_size=3).map(SPACE.join),
        values.map(lambda v: CODEC.encode(v, "")),
        max_size=8,
    )
)
def test_grouping_a_snapshot(entries: dict[str, bytes]) -> None:
    snapshot = [Entry(key, value, 1) for key, value in sorted(entries.items())]
    grouped = group(snapshot, SPACE, CODEC)
    assert [s.key for s in grouped] == sorted({SPACE.first(key) for key in entries})
    assert sorted(e.key for s in grouped for e in s.entries) == sorted(entries)
    for stored in grouped:
        assert [e.key for e in stored.entries] == sorted(e.key for e in stored.entries)
        stored.value()
