"""Values to bytes and back."""

from __future__ import annotations

import contextlib
import copy
import datetime as dt
import decimal
import enum
import json
import math
import pathlib
import uuid
import zoneinfo
from collections import OrderedDict, defaultdict, namedtuple
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kv_dict import DecodeError, EncodeError, InMemoryAsyncBackend, RemoteKVMapping
from kv_dict.codec import CustomCodec, JSONCodec
from kv_dict.codec.tags import TAGS
from kv_dict.codec.walk import MAX_DEPTH

CODEC = JSONCodec()
WHERE = "md['x']"


def through(value: Any) -> Any:
    data = CODEC.encode(value, WHERE)
    json.loads(data)  # any program can read the outside of it
    return CODEC.decode(data, WHERE)


def same(left: Any, right: Any) -> bool:
    """Return whether both are of one type and equal at every depth; NaN equals NaN."""
    if type(left) is not type(right):
        return False
    if isinstance(left, np.ndarray):
        return bool(
            left.dtype == right.dtype
            and left.shape == right.shape
            and left.tobytes() == right.tobytes()
        )
    if isinstance(left, dict):
        return list(left) == list(right) and all(same(left[k], right[k]) for k in left)
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, set | frozenset):
        return sorted(map(_spelt, left)) == sorted(map(_spelt, right))
    if isinstance(left, float | complex | decimal.Decimal):
        return repr(left) == repr(right)
    if isinstance(left, dt.datetime | dt.time):
        return (
            repr(left.replace(tzinfo=None)) == repr(right.replace(tzinfo=None))
            and left.fold == right.fold
            and left.utcoffset() == right.utcoffset()
            and getattr(left.tzinfo, "key", None) == getattr(right.tzinfo, "key", None)
        )
    return bool(left == right)


def _spelt(member: Any) -> str:
    """Return a set's member as text in which nested sets have an order."""
    if isinstance(member, tuple | frozenset):
        parts = [_spelt(item) for item in member]
        parts = sorted(parts) if isinstance(member, frozenset) else parts
        return f"{type(member).__name__}({', '.join(parts)})"
    return repr(member)


# -- every type ------------------------------------------------------------------------------------

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
zones = (
    st.none()
    | st.sampled_from([zoneinfo.ZoneInfo(n) for n in ("Europe/Zurich", "UTC", "Asia/Kolkata")])
    | st.integers(-23 * 3600, 23 * 3600).map(lambda s: dt.timezone(dt.timedelta(seconds=s)))
)
any_int = st.integers() | st.integers(-(2**66), 2**66)

OF_TAG: dict[str, st.SearchStrategy[Any]] = {
    "int": any_int,
    "float": st.floats(),
    "complex": st.complex_numbers(),
    "decimal": st.decimals(),
    "datetime": st.datetimes(timezones=zones, allow_imaginary=False),
    "date": st.dates(),
    "time": st.times(timezones=zones),
    "timedelta": st.timedeltas(),
    "bytes": st.binary(max_size=20),
    "bytearray": st.binary(max_size=20).map(bytearray),
    "uuid": st.uuids(),
    "path": text.filter(lambda t: "\x00" not in t).map(pathlib.Path),
    "ndarray": st.sampled_from(
        [
            np.arange(6).reshape(2, 3).astype(dtype)
            for dtype in ("i1", "u8", ">i4", "f2", "f4", ">f8", "c8", "c16", "?")
        ]
        + [
            np.array(["2026-11-23", "NaT"], dtype="M8[ns]"),
            np.array([1, 2], dtype="m8[s]"),
            np.array(["", "é"]),
            np.array([b"", b"a\x00b"]),
            np.zeros((0, 2)),
            np.zeros(()),
            np.arange(12).reshape(3, 4)[::2, ::-1],
            np.asfortranarray(np.arange(6.0).reshape(2, 3)),
            np.array([math.nan, -0.0, math.inf]),
        ]
    ),
}
hashables = st.recursive(
    st.none() | st.booleans() | any_int | st.floats(allow_nan=False) | text | st.binary(max_size=4),
    lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3),
    max_leaves=5,
)
OF_TAG["set"] = st.sets(hashables, max_size=4)
OF_TAG["frozenset"] = st.frozensets(hashables, max_size=4)

look_alikes = st.sampled_from(["$kv:", "$kv:set", "$kv:escaped", "$kv:nope", "$kv", "$kv:int"])
scalars = st.none() | st.booleans() | text | st.one_of(*OF_TAG.values())
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(text | look_alikes, inner, max_size=2)
        | st.dictionaries(look_alikes, inner, min_size=1, max_size=1)
    ),
    max_leaves=8,
)


def test_every_tag_is_tested() -> None:
    assert OF_TAG.keys() == TAGS.keys()


@pytest.mark.parametrize("tag", TAGS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_round_trip_of_a_type(tag: str, data: st.DataObject) -> None:
    value = data.draw(OF_TAG[tag])
    assert same(through(value), value)
    assert same(through({"in": [value]}), {"in": [value]})


@settings(max_examples=300, deadline=None)
@given(value=values)
@example(value={"$kv:escaped": {"$kv:escaped": {"$kv:set": [1]}}})
@example(value={"$kv:int": {"$kv:int": 2**70}})
@example(value={"$kv:set": [1], "more": 1})
@example(value={"$kv:escaped": 5})
@example(value={"$kv:": None})
def test_round_trip_of_anything(value: Any) -> None:
    given = copy.deepcopy(value)
    data = CODEC.encode(value, WHERE)
    assert same(CODEC.decode(data, WHERE), value)
    assert same(value, given)  # encoding changes nothing
    assert CODEC.encode(CODEC.decode(data, WHERE), WHERE) == data  # and is stable


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(value=JSON_VALUES)
def test_json_types_are_plain_json(value: Any) -> None:
    data = CODEC.encode(value, WHERE)
    assert same(json.loads(data), value)
    assert same(CODEC.decode(data, WHERE), value)


@settings(max_examples=200, deadline=None)
@given(value=JSON_VALUES, indent=st.sampled_from([None, 1]), ascii_only=st.booleans())
def test_json_of_others_is_read(value: Any, indent: int | None, ascii_only: bool) -> None:
    data = json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode()
    assert same(CODEC.decode(data, WHERE), value)


@settings(max_examples=100, deadline=None)
@given(items=st.lists(hashables, max_size=6))
def test_equal_sets_are_equal_bytes(items: list[Any]) -> None:
    backwards = set()
    for item in reversed(items):
        backwards.add(item)
    if same(set(items), backwards):  # 1 and True are equal, and the first one stays
        assert CODEC.encode(set(items), WHERE) == CODEC.encode(backwards, WHERE)


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Name(enum.StrEnum):
    ADA = "ada"


Point = namedtuple("Point", "x y")  # noqa: PYI024


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ((1, (2,)), [1, [2]]),
        (Point(1, 2), [1, 2]),
        (OrderedDict(b=1), {"b": 1}),
        (defaultdict(list, a=[1]), {"a": [1]}),
        (Colour.RED, "red"),
        (Level.HIGH, 3),
        (Name.ADA, "ada"),
        ({Name.ADA: {Level.HIGH}}, {"ada": {3}}),
        (np.int8(-5), -5),
        (np.uint64(2**64 - 1), 2**64 - 1),
        (np.float16(0.5), 0.5),
        (np.float64(math.nan), math.nan),
        (np.bool_(False), False),
        (np.str_("é"), "é"),
        (np.bytes_(b"a"), b"a"),
        (np.complex64(1j), 1j),
        (np.datetime64("2026-11-23"), dt.date(2026, 11, 23)),
        (np.datetime64("2026-11-23T09:00:00", "us"), dt.datetime(2026, 11, 23, 9)),  # noqa: DTZ001
        (np.timedelta64(5, "s"), dt.timedelta(seconds=5)),
        ([np.int64(1), {"a": np.float32(2)}], [1, {"a": 2.0}]),
        (pathlib.PurePosixPath("a/b"), pathlib.Path("a/b")),
        (decimal.Decimal("sNaN"), decimal.Decimal("sNaN")),
        ({True, 0}, {True, 0}),
    ],
)
def test_documented_conversions(value: Any, kept: Any) -> None:
    assert same(through(value), kept)


@pytest.mark.parametrize("sign", [1, -1])
def test_integers_of_thousands_of_digits(sign: int) -> None:
    value = sign * 10**5000
    assert through([value])[0] == value


def test_an_array_that_was_read_is_read_only() -> None:
    array = through(np.arange(3))
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 5


def test_decoding_makes_new_values() -> None:
    data = CODEC.encode({"l": [1], "s": {1}}, WHERE)
    one, two = CODEC.decode(data, WHERE), CODEC.decode(data, WHERE)
    one["l"].append(2)
    one["s"].clear()
    assert two == {"l": [1], "s": {1}}


# -- refused ---------------------------------------------------------------------------------------


class Model:
    def model_dump(self) -> dict[str, Any]:
        return {}


_self_list: list[Any] = [1]
_self_list.append(_self_list)
_self_dict: dict[str, Any] = {}
_self_dict["me"] = {"l": [_self_dict]}


class StampLike(dt.datetime):
    pass


BAD: dict[str, tuple[Any, str]] = {
    "object": (object(), "object"),
    "function": (print, "builtin_function"),
    "class": (int, "type"),
    "generator": (iter([1]), "list_iterator"),
    "range": (range(3), r"list\(\)"),
    "model": (Model(), "model_dump"),
    "datetime subclass": (StampLike(2026, 1, 1), "datetime"),
    "object array": (np.array([object()]), "dtype object"),
    "record array": (np.zeros(2, [("a", "i4")]), "tolist"),
    "long double": (np.longdouble(1), "no such scalar"),
    "nanoseconds": (np.datetime64(1, "ns"), "no such scalar"),
    "not a time": (np.datetime64("NaT", "s"), "NaT"),
    "not a timedelta": (np.timedelta64("NaT", "s"), "NaT"),
    "masked array": (np.ma.masked_array([1], [True]), "MaskedArray"),
    "surrogate": ("a\ud800", "character 1"),
    "int key": ({1: 2}, "key 1 is of type int"),
    "tuple key": ({(1,): 2}, "tuple"),
    "surrogate key": ({"\udc00": 2}, "surrogate"),
    "exception": (ValueError("a"), "ValueError"),
    "memoryview": (memoryview(b"a"), "memoryview"),
    "contains itself": (_self_list, "contains itself"),
    "contains itself deeper": (_self_dict, "contains itself"),
    "in a set": ({object}, "type"),
    "surrogate in a set": ({"\ud800"}, "surrogate"),
    "surrogate path": (pathlib.Path("\udcff"), "surrogate"),
}


@pytest.fixture
def md() -> Iterator[RemoteKVMapping]:
    with RemoteKVMapping(InMemoryAsyncBackend(), "ep1") as mapping:
        mapping["present"] = {"l": [1]}
        yield mapping
        assert mapping == {"present": {"l": [1]}}  # whatever the test did, nothing was written


@pytest.mark.parametrize("kind", BAD)
def test_the_culprit_is_named(kind: str, md: RemoteKVMapping) -> None:
    value, reason = BAD[kind]
    with pytest.raises(EncodeError, match=reason) as caught:
        md["scan"] = {"x": [0, 1, 2, value], "y": 1}
    assert str(caught.value).startswith("md['scan']['x'][3]")
    with pytest.raises(EncodeError, match=reason) as caught:
        md.update({"ok": 1, "scan": ((), {"a b": value})})
    assert str(caught.value).startswith("md['scan'][1]['a b']")
    with pytest.raises(EncodeError, match=r"^md\['scan'\]"):
        md.setdefault("scan", value)
    with pytest.raises(EncodeError, match=reason) as caught:
        md["present"]["l"].append([value])
    assert str(caught.value).startswith("md['present']['l'][1][0]")
    with pytest.raises(EncodeError, match=reason):
        md.transform("present", lambda _: {"new": value})


def test_an_encode_error_is_a_type_error(md: RemoteKVMapping) -> None:
    with pytest.raises(TypeError):
        md["a"] = object()


def nested(depth: int, innermost: Any, kind: type = list) -> Any:
    value = innermost
    for _ in range(depth):
        value = [value] if kind is list else {"$kv:set": value}
    return value


@pytest.mark.parametrize("kind", [list, dict])
@pytest.mark.parametrize("innermost", [1, math.nan, [], {1}, 2**70, np.arange(2)])
def test_the_deepest(kind: type, innermost: Any) -> None:
    deep = nested(MAX_DEPTH - 3, innermost, kind)
    assert repr(through(deep)) == repr(deep)
    with pytest.raises(EncodeError, match=f"deeper than {MAX_DEPTH}"):
        CODEC.encode(nested(MAX_DEPTH + 1, [innermost], kind), WHERE)


def test_far_too_deep() -> None:
    with pytest.raises(EncodeError, match="deeper") as caught:
        CODEC.encode(nested(50_000, 1), WHERE)
    assert len(str(caught.value)) < 250


# -- what others wrote -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b" ",
        b"{nope",
        b"\x80\x04]",
        b"\xff\xfe",
        b"nul",
        b"'a'",
        b"[1,]",
        b'{"a":1}x',
        b'"\xff"',
        b"1" * 5000,
        b"[" * 5000,
        b"[" * 5000 + b"]" * 5000,
        b'{"a":' * 5000 + b"1" + b"}" * 5000,
        b"[" * 5000 + b"1234567890123456789" + b"]" * 5000,
        b"[" * 900 + b'{"$kv:set":[1]}' + b"]" * 900,
        b"\x00",
    ],
    ids=lambda data: repr(data[:12]),
)
def test_foreign_bytes(data: bytes) -> None:
    with pytest.raises(DecodeError) as caught:
        CODEC.decode(data, "md['x']['y']")
    assert "md['x']['y']" in str(caught.value)
    assert len(str(caught.value)) < 300
    assert isinstance(caught.value, ValueError)


@settings(max_examples=300, deadline=None)
@given(data=st.binary(max_size=30) | st.text(max_size=20).map(lambda t: t.encode(errors="replace")))
def test_any_bytes_decode_or_raise_decode_error(data: bytes) -> None:
    with contextlib.suppress(DecodeError):  # and nothing else
        CODEC.decode(data, WHERE)


@pytest.mark.parametrize(
    "packed",
    [
        {"$kv:nope": 1},
        {"$kv:": 1},
        {"$kv:int": "x"},
        {"$kv:int": None},
        {"$kv:float": "x"},
        {"$kv:complex": [1, 2, 3]},
        {"$kv:complex": None},
        {"$kv:decimal": "x"},
        {"$kv:datetime": "yesterday"},
        {"$kv:datetime": "2026-11-23T09:00:00[Nowhere/Land]"},
        {"$kv:datetime": 5},
        {"$kv:date": ""},
        {"$kv:timedelta": [10**30, 0, 0]},
        {"$kv:bytes": "*"},
        {"$kv:bytes": "é"},
        {"$kv:set": 5},
        {"$kv:set": [{}]},
        {"$kv:uuid": "x"},
        {"$kv:path": 5},
        {"$kv:ndarray": {}},
        {"$kv:ndarray": {"dtype": "<i4", "shape": [3], "data": "AAAA"}},
        {"$kv:ndarray": {"dtype": "O", "shape": [1], "data": "AAAAAAAAAAA="}},
        {"$kv:escaped": 5},
    ],
    ids=json.dumps,
)
def test_broken_tags(packed: dict[str, Any]) -> None:
    for value in (packed, {"deep": [packed]}):
        with pytest.raises(DecodeError, match=r"\$kv:") as caught:
            CODEC.decode(json.dumps(value).encode(), WHERE)
        assert WHERE in str(caught.value)


def test_a_user_mistake_in_a_tag_does_not_break_reading_the_rest() -> None:
    with RemoteKVMapping(InMemoryAsyncBackend(), "ep1", json_encoder=json.dumps) as md:
        md.update({"bad": {"$kv:nope": 1}, "good": 1})
        assert md == {"good": 1}
        with pytest.raises(DecodeError, match="newer"):
            md["bad"]


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"NaN", math.nan),
        (b"[Infinity, -Infinity, 1]", [math.inf, -math.inf, 1]),
        (b'{"a": NaN, "b": {"$kv:set": [1]}}', {"a": math.nan, "b": {1}}),
        (b"18446744073709551616", 2**64),
        (b"-9223372036854775809", -(2**63) - 1),
        (b"[123456789012345678901234567890]", [123456789012345678901234567890]),
        (b'{"n": 9007199254740993, "f": 1.0}', {"n": 2**53 + 1, "f": 1.0}),
        (b"0.1234567890123456789012", 0.1234567890123456789012),
        (b"1E400", math.inf),
        (b'"1234567890123456789012"', "1234567890123456789012"),
        (b' \n{"a":\t1} ', {"a": 1}),
        (b'"\\u00e9\\ud83d\\ude00"', "é\U0001f600"),
        (b'{"a":1,"a":2}', {"a": 2}),
        (b"-0.0", -0.0),
        (b'"\\ud800"', "\ud800"),
    ],
)
def test_what_others_write_is_tolerated(data: bytes, value: Any) -> None:
    assert same(CODEC.decode(data, WHERE), value)


# -- custom coders ---------------------------------------------------------------------------------


def test_custom_coders_are_used() -> None:
    backend = InMemoryAsyncBackend()
    coders: dict[str, Callable[..., Any]] = {
        "json_encoder": lambda value: "#" + json.dumps(value),
        "json_decoder": lambda stored: json.loads(stored[1:]),
    }
    with RemoteKVMapping(backend, "ep1", **coders) as md:
        md["a"] = {"l": [1]}
        md["a"]["l"].append(2)
        md["b"] = md["a"]
        assert md == {"a": {"l": [1, 2]}, "b": {"l": [1, 2]}}
        assert backend.synchronous.read("ep1:a", timeout=1).value == b'#{"l": [1, 2]}'
        with pytest.raises(EncodeError, match=r"md\['c'\].*json_encoder"):
            md["c"] = {1, 2}
        with pytest.raises(EncodeError):
            md["a"]["l"].append(object())
        assert len(md) == 2
        backend.synchronous.commit([], timeout=1)
    with RemoteKVMapping(backend, "ep1") as plain:
        plain["c"] = 1
    with RemoteKVMapping(backend, "ep1", **coders) as md:
        assert set(md) == {"a", "b"}
        with pytest.raises(DecodeError, match=r"md\['c'\].*json_decoder"):
            md["c"]


def test_one_custom_coder_leaves_the_other_as_it_is() -> None:
    codec = CustomCodec(lambda value: json.dumps(value).encode(), None)
    assert codec.decode(codec.encode([1], WHERE), WHERE) == [1]
    assert codec.decode(b"NaN", WHERE) != codec.decode(b"NaN", WHERE)
    codec = CustomCodec(None, lambda stored: stored.upper())
    assert codec.decode(codec.encode({1}, WHERE), WHERE) == '{"$KV:SET":[1]}'


@pytest.mark.parametrize("data", [b"\xff", b"\x80\x04"])
def test_a_custom_decoder_of_bytes_that_are_no_text(data: bytes) -> None:
    with pytest.raises(DecodeError, match="json_decoder"):
        CustomCodec(None, json.loads).decode(data, WHERE)


@pytest.mark.parametrize(
    "encoder",
    [
        lambda value: json.dumps(value, ensure_ascii=False),  # a lone surrogate in its result
        lambda value: None,
        lambda value: 5,
        lambda value: [1, 2],
        lambda value: 1 / 0,
    ],
    ids=["surrogate", "none", "int", "list", "raises"],
)
def test_a_custom_encoder_that_gives_no_text(encoder: Callable[[Any], Any]) -> None:
    with (
        RemoteKVMapping(InMemoryAsyncBackend(), "ep1", json_encoder=encoder) as md,
        pytest.raises(EncodeError, match=r"md\['x'\]"),
    ):
        md["x"] = "\ud800"


@pytest.mark.parametrize("made", [OrderedDict, lambda pairs: defaultdict(int, pairs)])
def test_a_custom_decoder_of_other_dicts(made: Callable[[Any], Any]) -> None:
    """Whatever dict it makes, what is changed in there is either stored or refused."""

    def decoder(stored: str) -> Any:
        return json.loads(stored, object_pairs_hook=made)

    with RemoteKVMapping(InMemoryAsyncBackend(), "ep1", json_decoder=decoder) as md:
        md["x"] = {"d": {"n": 1}}
        md["x"]["d"]["n"] = 2
        assert md["x"] == {"d": {"n": 2}}
        assert md["x"]["d"]["n"] == 2


def test_a_uuid_path_and_date_read_as_their_types() -> None:
    value = {"u": uuid.UUID(int=1), "p": pathlib.Path("/a"), "d": dt.date(2026, 1, 1)}
    assert same(through(value), value)
