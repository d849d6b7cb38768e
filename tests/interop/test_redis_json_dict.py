"""The same keys used by redis-json-dict and by this package, at the same time."""

from __future__ import annotations

import copy
import datetime as dt
import math
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import redis
from redis_json_dict import RedisJSONDict

from kv_dict import ConflictError, RedisBackend, RemoteKVMapping

PREFIX = "xas-"

# As each of the two may find it in the store.
JSON: dict[str, Any] = {
    "null": None,
    "true": True,
    "false": False,
    "zero": 0,
    "int": -7,
    "int64": -(2**63),
    "uint64": 2**64 - 1,
    "float": 8.047,
    "whole-float": 1.0,
    "negative-zero": -0.0,
    "huge": 1.7976931348623157e308,
    "tiny": 5e-324,
    "str": "Ada",
    "empty-str": "",
    "unicode": 'Å 中文 \U0001f600 \x00 \u2028 " \\',
    "looks-like-json": '{"a": [1]}',
    "empty-list": [],
    "list": [1, "two", None, [3.5, {"x": []}]],
    "empty-dict": {},
    "dict": {"b": 1, "a": {"c": [1, {"d": None}]}, "": {"é:*": True}},
}
KEYS = [
    *("", " ", "user", "é", "中文", "\U0001f600", "a\x00b", "a\nb", "a:b", "a%3Ab", "xas-"),
    *("*", "a*", "?", "[a-z]", "a[b", "a]b", "a\\b", "\\", "^", "{a}"),
]

# What ours can store and JSON cannot: as theirs sees it until every program is ours.
TAGGED: dict[str, tuple[Any, Any]] = {
    "nan": (math.nan, {"$kv:float": "nan"}),
    "inf": (math.inf, {"$kv:float": "inf"}),
    "big-int": (2**64 + 1, {"$kv:int": "18446744073709551617"}),
    "set": ({1}, {"$kv:set": [1]}),
    "bytes": (b"ab", {"$kv:bytes": "YWI="}),
    "datetime": (dt.datetime(2026, 11, 23), {"$kv:datetime": "2026-11-23T00:00:00"}),  # noqa: DTZ001
}

# What theirs takes, and what it then is in the store, for both.
CONVERTED_BY_THEIRS: dict[str, tuple[Any, Any]] = {
    "nan": (math.nan, None),
    "inf": ([math.inf, -math.inf], [None, None]),
    "tuple": ((1, (2,)), [1, [2]]),
    "array": (np.arange(3), [0, 1, 2]),
    "np-float": (np.float64(0.5), 0.5),
    "datetime": (dt.datetime(2026, 11, 23, 9), "2026-11-23T09:00:00"),  # noqa: DTZ001
}


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as client:
        client.flushdb()
        yield client


@pytest.fixture
def theirs(client: redis.Redis) -> RedisJSONDict:
    return RedisJSONDict(client, PREFIX)


@pytest.fixture
def ours(client: redis.Redis, redis_url: str) -> Iterator[RemoteKVMapping]:
    with RemoteKVMapping(RedisBackend(redis_url), PREFIX, sep=None) as md:
        yield md


def same(left: Any, right: Any) -> bool:
    """Return whether both are made of the same plain values, in the same order."""
    return repr(copy.deepcopy(left)) == repr(copy.deepcopy(right))


def stored(client: redis.Redis) -> dict[str, bytes | None]:
    return {key.decode(): client.get(key) for key in client.scan_iter()}


@pytest.mark.parametrize("kind", JSON)
def test_a_value_both_ways(
    kind: str, ours: RemoteKVMapping, theirs: RedisJSONDict, client: redis.Redis
) -> None:
    theirs["x"] = JSON[kind]
    ours["y"] = JSON[kind]
    assert same(ours["x"], JSON[kind])
    assert same(theirs["y"], JSON[kind])
    # A program that is replaced by the other changes no byte.
    assert client.get("xas-x") == client.get("xas-y")


@pytest.mark.parametrize("key", KEYS)
def test_a_key_both_ways(
    key: str, ours: RemoteKVMapping, theirs: RedisJSONDict, client: redis.Redis
) -> None:
    client.set("other", "1")
    for writer, reader in ((ours, theirs), (theirs, ours)):
        writer[key] = {"by": 1}
        writer[key]["by"] = 2
        assert stored(client) == {PREFIX + key: b'{"by":2}', "other": b"1"}
        assert list(reader) == list(writer) == [key]
        assert key in reader
        assert reader[key] == {"by": 2}
        assert len(reader) == 1
        del reader[key]
        assert list(writer) == []
        with pytest.raises(KeyError):
            writer[key]
    assert stored(client) == {"other": b"1"}


def test_every_operation_both_ways(ours: RemoteKVMapping, theirs: RedisJSONDict) -> None:
    for writer, reader in ((ours, theirs), (theirs, ours)):
        writer.update(JSON)
        assert dict(sorted(reader.items())) == dict(sorted(JSON.items()))
        writer["dict"]["a"]["c"].append([5])
        writer["dict"]["new"] = {"k": []}
        del writer["dict"]["b"]
        expected = {"a": {"c": [1, {"d": None}, [5]]}, "": {"é:*": True}, "new": {"k": []}}
        assert same(reader["dict"], expected)
        reader["dict"]["new"]["k"].extend([1, 2])
        assert writer["dict"]["new"] == {"k": [1, 2]}
        assert writer.pop("int") == -7
        assert "int" not in reader
        assert reader.setdefault("int", 3) == 3
        assert writer["int"] == 3
        assert len(writer) == len(reader) == len(JSON)
        reader.clear()
        assert len(writer) == 0


@pytest.mark.parametrize("kind", TAGGED)
def test_theirs_keeps_what_it_does_not_know(
    kind: str, ours: RemoteKVMapping, theirs: RedisJSONDict
) -> None:
    value, tag = TAGGED[kind]
    ours["x"] = {"v": value, "n": 1}
    assert theirs["x"] == {"v": tag, "n": 1}
    theirs["x"]["n"] = 2
    assert repr(ours["x"]) == repr({"v": value, "n": 2})


@pytest.mark.parametrize("kind", CONVERTED_BY_THEIRS)
def test_what_theirs_makes_of_other_types(
    kind: str, ours: RemoteKVMapping, theirs: RedisJSONDict
) -> None:
    value, kept = CONVERTED_BY_THEIRS[kind]
    theirs["x"] = value
    assert same(ours["x"], kept)
    assert same(theirs["x"], kept)


@pytest.mark.parametrize("prefix", ["xas-", "x*s-", "x?s-", "x[a]s-", "xas\\-", "xas", "x[", "é{"])
def test_neighbours_are_not_touched(prefix: str, client: redis.Redis, redis_url: str) -> None:
    names = ("xas-a", "xas2-a", "xas_2-a", "XAS-a", "axas-a", "xbs-a", "x[a", "x\\a", "\\a")
    neighbours = [name for name in names if not name.startswith(prefix)]
    for name in neighbours:
        client.set(name, '"neighbour"')
    theirs = RedisJSONDict(client, prefix)
    with RemoteKVMapping(RedisBackend(redis_url), prefix, sep=None) as ours:
        assert list(ours) == []
        theirs["a"] = {"n": 1}
        ours["b"] = {"n": 1}
        ours["a"]["n"] += 1
        assert dict(ours) == {"a": {"n": 2}, "b": {"n": 1}}
        assert theirs["b"] == {"n": 1}
        del ours["b"]
        ours.clear()
        assert stored(client) == dict.fromkeys(neighbours, b'"neighbour"')


def test_a_prefix_that_begins_another(client: redis.Redis, redis_url: str) -> None:
    """Flat keys have no boundary: both packages see ``xas-2-user`` below ``xas-``."""
    theirs = RedisJSONDict(client, "xas-2-")
    theirs["user"] = "Ada"
    with (
        RemoteKVMapping(RedisBackend(redis_url), "xas-", sep=None) as one,
        RemoteKVMapping(RedisBackend(redis_url), "xas-2-", sep=None) as two,
    ):
        one["user"] = "Lise"
        assert list(one) == sorted(RedisJSONDict(client, "xas-")) == ["2-user", "user"]
        assert dict(two) == dict(theirs) == {"user": "Ada"}
        two.clear()
        assert dict(one) == {"user": "Lise"}


def test_a_listing_knows_what_theirs_has_just_done(
    ours: RemoteKVMapping, theirs: RedisJSONDict
) -> None:
    for n in range(200):
        theirs[f"k{n % 20}"] = n
        assert dict(ours) == dict(theirs)
        if n % 3 == 0:
            del theirs[f"k{n % 20}"]
            assert list(ours) == sorted(theirs)
        if n % 50 == 0:
            theirs.clear()
            assert len(ours) == 0


PROGRAMS = {
    "theirs": """
import sys, redis
from redis_json_dict import RedisJSONDict
url, me = sys.argv[1:]
md = RedisJSONDict(redis.Redis.from_url(url), "xas-")
for n in range(100):
    md[f"{me}-{n}"] = n
    md[f"{me}-last"] = {"n": n}
    md[f"{me}-last"]["twice"] = 2 * n
    md.update({f"{me}-a": n, f"{me}-b": n})
    if n % 2:
        del md[f"{me}-{n}"]
""",
    "ours": """
import sys
from kv_dict import RedisBackend, RemoteKVMapping
url, me = sys.argv[1:]
with RemoteKVMapping(RedisBackend(url), "xas-", sep=None, timeout=30) as md:
    for n in range(100):
        md[f"{me}-{n}"] = n
        md["shared"][f"{me}-{n}"] = n
        md[f"{me}-last"] = {"n": n}
        md[f"{me}-last"]["twice"] = 2 * n
        md.update({f"{me}-a": n, f"{me}-b": n})
        md.increment("count")
        if n % 2:
            del md[f"{me}-{n}"]
""",
}


def test_processes_of_both_at_once(
    ours: RemoteKVMapping, theirs: RedisJSONDict, redis_url: str
) -> None:
    ours["shared"] = {}
    kinds = {"one": "theirs", "two": "ours", "three": "theirs", "four": "ours"}
    running = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAMS[kind], redis_url, me],
            stderr=subprocess.PIPE,
            text=True,
        )
        for me, kind in kinds.items()
    ]
    for process in running:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
    expected: dict[str, Any] = {
        "count": 200,
        "shared": {f"{me}-{n}": n for me in ("two", "four") for n in range(100)},
    }
    for me in kinds:
        expected |= {f"{me}-{n}": n for n in range(0, 100, 2)}
        expected |= {f"{me}-last": {"n": 99, "twice": 198}, f"{me}-a": 99, f"{me}-b": 99}
    assert dict(ours) == dict(theirs) == expected


def test_an_old_value_never_comes_back(
    ours: RemoteKVMapping, client: redis.Redis, redis_url: str
) -> None:
    """Ours changes parts of a value that theirs keeps replacing: whatever is lost is not theirs."""
    theirs = RedisJSONDict(client, PREFIX)
    theirs["d"] = {"generation": 0, "n": 0}
    last = 400
    replaced = threading.Event()

    def replace() -> None:
        for generation in range(1, last + 1):
            theirs["d"] = {"generation": generation, "n": 0}
        replaced.set()

    thread = threading.Thread(target=replace)
    thread.start()
    generations, changes = [], 0
    held = ours["d"]
    while not replaced.is_set() or changes == 0:
        try:
            held["n"] += 1
            changes += 1
        except ConflictError:
            pass
        ours["d"].increment("n")
        generations.append(ours["d"]["generation"])
    thread.join()
    assert generations == sorted(generations)
    assert ours["d"]["generation"] == last
