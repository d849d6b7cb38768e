"""Stores that kv-dict 0.1.7 uses at the same time.

It has the same name as this package, so it is installed in a folder of its own and runs in a
process of its own, with the drivers that are here.
"""

from __future__ import annotations

import importlib.util
import json
import math
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from kv_dict import (
    ConfigurationError,
    NatsBackend,
    PostgresBackend,
    RemoteKVMapping,
)
from kv_dict.testing.raw import RawStore
from kv_dict.testing.raw.nats import RawNats
from kv_dict.testing.raw.postgres import Elsewhere, RawPostgres
from kv_dict.testing.raw.redis import RawRedis

VERSION = "kv-dict==0.1.7"

VALUES: dict[str, Any] = {
    "null": None,
    "true": True,
    "false": False,
    "zero": 0,
    "int": -7,
    "uint64": 2**64 - 1,
    "float": 8.047,
    "whole-float": 1.0,
    "negative-zero": -0.0,
    "tiny": 5e-324,
    "str": "Ada",
    "empty-str": "",
    "unicode": 'Å 中文 \U0001f600 \x00 \u2028 " \\',
    "empty-list": [],
    "list": [1, "two", None, [3.5, {"x": []}]],
    "empty-dict": {},
    "dict": {"b": 1, "a": {"c": [1, {"d": None}]}, "": {"é:*": True}},
}

# What only one of the two writes as plain JSON: as the other reads it.
THEIRS_ONLY = {"nan": math.nan, "inf": [math.inf, -math.inf], "big-int": 2**64 + 1}
OURS_ONLY: dict[str, tuple[Any, Any]] = {
    "nan": (math.nan, {"$kv:float": "nan"}),
    "big-int": (2**64 + 1, {"$kv:int": "18446744073709551617"}),
    "set": ({1}, {"$kv:set": [1]}),
}

# Stored keys below others, as other programs write them.
TREES: dict[str, dict[str, Any]] = {
    "below": {"main:sup1": {"x": 1}, "main:sup2": 2},
    "deep": {"main:a:b:c": 1, "main:a:d": [1]},
    "scalar with children": {"main": 5, "main:sup1": 1},
    "list with children": {"main": [5], "main:sup1": {"x": []}},
    "null with children": {"main": None, "main:a:b": 1},
    "dict with children": {"main": {"own": 1}, "main:sup1": {"x": 1}},
    "scalars in between": {"main": 1, "main:a": 2, "main:a:b": 3},
    "hidden scalar": {"main": {"sup1": 1, "own": 2}, "main:sup1": 3},
    "hidden by a dict": {"main": {"sup1": 1, "own": 2}, "main:sup1": {"x": 3}},
    "merged": {"main": {"sup1": {"x": 1}, "own": 2}, "main:sup1": {"y": 3}},
    "merged deep": {"main": {"a": {"b": {"x": 1}}}, "main:a:b:y": 2, "main:a:c": 3},
    "neighbours": {"main": {"x": 1}, "main2": 2, "main-a:b": 3},
}


class Upstream:
    """The process of upstream.py, whose commands are methods here."""

    def __init__(self, folder: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("upstream.py")), str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __getattr__(self, command: str) -> Callable[..., Any]:
        return lambda *arguments: self._ask([command, *arguments])

    def _ask(self, request: list[Any]) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        if "error" in answer:
            raise TheirError(answer["error"])
        return answer["value"]

    def end(self) -> None:
        self._process.communicate(timeout=10)
        assert self._process.returncode == 0


class TheirError(Exception):
    """What a command raised there."""


@dataclass
class Pair:
    """One store, the two packages' mappings on it, and what looks behind both."""

    theirs: Upstream
    ours: RemoteKVMapping
    raw: RawStore


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with kv-dict 0.1.7 alone in it."""
    folder = tmp_path_factory.mktemp("upstream")
    if uv := os.environ.get("UV") or shutil.which("uv"):
        installer = [uv, "pip", "install", "--python", sys.executable]
    elif importlib.util.find_spec("pip"):
        installer = [sys.executable, "-m", "pip", "install"]
    else:
        pytest.fail(f"neither uv nor pip is here to install {VERSION} with: pip install uv")
    done = subprocess.run(
        [*installer, "--quiet", "--no-deps", "--target", str(folder), VERSION],
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    if done.returncode:
        pytest.fail(f"{VERSION} cannot be installed: {done.stderr}")
    return folder


@pytest.fixture(scope="module")
def theirs(installed: Path) -> Iterator[Upstream]:
    upstream = Upstream(installed)
    yield upstream
    upstream.end()


@pytest.fixture
def redis_store(redis_url: str, theirs: Upstream) -> RawRedis:
    theirs.open("RedisBackend", redis_url, {}, ":")
    return RawRedis(redis_url)


@pytest.fixture
def postgres_store(postgres_url: str, table: str, sql: Elsewhere, theirs: Upstream) -> RawPostgres:
    theirs.open("PostgresBackend", postgres_url, {"table": table, "create_table": True}, ":")
    return RawPostgres(postgres_url, table, sql)


@pytest.fixture
def nats_store(nats_url: str, bucket: str, theirs: Upstream) -> Iterator[RawNats]:
    raw = RawNats(nats_url, bucket)
    # Its keys are NATS's names, where only a dot can separate; ours spells ':' as that dot.
    theirs.open("NatsBackend", nats_url, {"bucket": bucket}, ".")
    yield raw
    raw.close()


@pytest.fixture(params=["redis", "postgres", "nats"])
def pair(request: pytest.FixtureRequest, theirs: Upstream) -> Iterator[Pair]:
    """An empty store."""
    raw: RawStore = request.getfixturevalue(f"{request.param}_store")
    with RemoteKVMapping(raw.open(), "ep1") as ours:
        assert dict(ours) == {}  # and its tables are made
        yield Pair(theirs, ours, raw)


def same(left: Any, right: Any) -> bool:
    return json.dumps(left, sort_keys=True) == json.dumps(right, sort_keys=True)


def agree(pair: Pair) -> Any:
    """Check that both read the same, item by item and as a whole; return it."""
    read = pair.ours.copy()
    assert same(read, pair.theirs.copy())
    assert list(pair.ours) == pair.theirs.keys()
    for key, value in read.items():
        assert same(pair.ours[key], value)
        assert same(pair.theirs.get(key), value)
    return read


def test_values(pair: Pair) -> None:
    pair.theirs.update(VALUES)
    assert same(dict(pair.ours), VALUES)
    agree(pair)
    for key, value in VALUES.items():
        pair.ours[f"{key}-by-ours"] = value
    assert same(pair.theirs.copy(), VALUES | {f"{k}-by-ours": v for k, v in VALUES.items()})


def test_values_that_only_one_writes_plainly(pair: Pair) -> None:
    for kind, value in THEIRS_ONLY.items():
        pair.theirs.set([kind], {"v": value, "n": 1})
        assert repr(pair.ours[kind]) == repr({"v": value, "n": 1})
        pair.ours[kind]["n"] = 2  # and from here on it is tagged
    for kind, (value, tag) in OURS_ONLY.items():
        pair.ours[kind] = {"v": value, "n": 1}
        assert pair.theirs.get(kind) == {"v": tag, "n": 1}
        pair.theirs.set([kind, "n"], 2)
        assert repr(pair.ours[kind]) == repr({"v": value, "n": 2})


def test_nested_changes_and_deletes_both_ways(pair: Pair) -> None:
    ours, theirs = pair.ours, pair.theirs
    theirs.set(["d"], {"l": [1], "e": {"x": 1}})
    ours["d"]["l"].append(2)
    theirs.append(["d", "l"], 3)
    ours["d"]["e"]["y"] = {}
    theirs.set(["d", "e", "y", "z"], 1)
    held = ours["d"]
    theirs.delete("d", "e", "x")
    held["new"] = 1  # read before theirs changed it
    assert agree(pair) == {"d": {"l": [1, 2, 3], "e": {"y": {"z": 1}}, "new": 1}}
    ours.update(a=1, b=2)
    theirs.delete("a")
    del ours["b"]
    assert list(agree(pair)) == ["d"]
    with pytest.raises(KeyError):
        ours["a"]
    with pytest.raises(TheirError, match="KeyError"):
        theirs.get("b")
    theirs.clear()
    assert agree(pair) == {}
    ours["c"] = 1
    ours.clear()
    assert agree(pair) == {}


@pytest.mark.parametrize("tree", TREES)
def test_stored_keys_below_others(tree: str, pair: Pair) -> None:
    def fill() -> None:
        pair.ours.clear()
        for key, value in TREES[tree].items():
            pair.raw.put(f"ep1:{key}", json.dumps(value).encode())

    fill()
    read = agree(pair)
    pair.ours["main"]["new"] = {"n": 1}
    assert agree(pair) == read | {"main": read["main"] | {"new": {"n": 1}}}
    for step in read["main"]:
        fill()
        pair.ours["main"][step] = "changed"
        assert agree(pair) == read | {"main": read["main"] | {step: "changed"}}
        fill()
        del pair.ours["main"][step]
        kept = {other: part for other, part in read["main"].items() if other != step}
        # Where only the value of the key itself is left, it is that value again.
        left = kept["_value"] if kept.keys() == {"_value"} else kept
        assert agree(pair) == read | {"main": left}
    fill()
    pair.theirs.delete("main")
    others = {key: value for key, value in read.items() if key != "main"}
    assert agree(pair) == others
    fill()
    del pair.ours["main"]
    assert agree(pair) == others
    fill()
    pair.theirs.set(["main", "by", "x"] if "by" in read["main"] else ["main", "by"], 1)
    agree(pair)
    pair.ours["main"] = {"replaced": True}
    assert agree(pair) == others | {"main": {"replaced": True}}


def test_a_part_that_theirs_writes_beside_a_stored_one(pair: Pair) -> None:
    """Theirs writes all of a changed value to its top key; what is stored below stays there."""
    pair.raw.put("ep1:main:sup1:offset", b"1")
    pair.theirs.set(["main", "sup1", "gain"], 2)
    assert agree(pair) == {"main": {"sup1": {"gain": 2, "offset": 1}}}
    pair.ours["main"]["sup1"]["gain"] = 3
    assert agree(pair) == {"main": {"sup1": {"gain": 3, "offset": 1}}}
    del pair.ours["main"]["sup1"]["gain"]
    assert agree(pair) == {"main": {"sup1": {"offset": 1}}}


def test_both_at_once(pair: Pair) -> None:
    """Each writes keys of its own."""
    each = 50
    pair.ours["shared"] = {}
    thread = threading.Thread(target=lambda: pair.theirs.assign_many("theirs", each))
    thread.start()
    for n in range(each):
        pair.ours[f"ours{n}"] = n
        pair.ours["shared"][f"k{n}"] = n
        pair.ours.increment("count")
    thread.join()
    expected: dict[str, Any] = {"count": each, "shared": {f"k{n}": n for n in range(each)}}
    for n in range(each):
        expected |= {f"ours{n}": n, f"theirs{n}": n}
    assert agree(pair) == expected


def test_keys_that_are_spelt_otherwise(pair: Pair) -> None:
    """A separator in a key is escaped; the other package shows it as it is stored."""
    if isinstance(pair.raw, RawNats):
        pair.ours["a b"] = 1
        assert pair.theirs.keys() == ["a=20b"]
        pair.theirs.set(["c=20d"], 2)
        assert dict(pair.ours) == {"a b": 1, "c d": 2}
        pair.theirs.set(["x=y"], 3)  # no key of ours is spelt so
        assert dict(pair.ours) == {"a b": 1, "c d": 2}
        return
    pair.ours["a:b"] = 1
    assert pair.theirs.keys() == ["a%3Ab"]
    pair.theirs.set(["c%3Ad"], 2)
    assert dict(pair.ours) == {"a:b": 1, "c:d": 2}
    pair.theirs.set(["100%"], 3)
    assert pair.ours["100%"] == 3


def test_an_empty_key_ends_their_listing(pair: Pair) -> None:
    pair.ours[""] = 1
    if isinstance(pair.raw, RawNats):
        assert pair.theirs.keys() == ["="]
        return
    with pytest.raises(TheirError, match="ValueError"):
        pair.theirs.keys()


# -- the table and the bucket that it makes --------------------------------------------------------


@pytest.fixture
def their_table(postgres_store: RawPostgres, theirs: Upstream) -> Upstream:
    theirs.update(VALUES)
    return theirs


def test_their_table_as_it_is(
    their_table: Upstream, postgres_url: str, table: str, sql: Elsewhere
) -> None:
    with RemoteKVMapping(PostgresBackend(postgres_url, table), "ep1") as ours:
        assert same(dict(ours), VALUES)
        their_table.set(["int"], 8)
        assert ours["int"] == 8
        with pytest.raises(ConfigurationError, match="create_table"):
            ours["int"] = 9
    found = sql.fetch("SELECT attname FROM pg_attribute WHERE attrelid = $1::text::regclass "
                      "AND attnum > 0", table)  # fmt: skip
    assert [row["attname"] for row in found] == ["k", "v"]


def test_their_table_upgraded_in_place(
    their_table: Upstream, postgres_url: str, table: str
) -> None:
    with RemoteKVMapping(PostgresBackend(postgres_url, table, create_table=True), "ep1") as ours:
        assert same(dict(ours), VALUES)
        ours["int"] = 9
        assert their_table.get("int") == 9  # a statement it prepared before the upgrade
        their_table.set(["int"], 10)
        assert ours["int"] == 10
        their_table.delete("float")
        assert "float" not in ours
        held = ours["dict"]
        their_table.set(["dict", "b"], 2)
        held["new"] = 1
        assert their_table.get("dict") == VALUES["dict"] | {"b": 2, "new": 1}
        assert same(their_table.copy(), dict(ours))


def test_their_bucket(theirs: Upstream, nats_url: str, bucket: str) -> None:
    options = {"bucket": bucket, "create_bucket": True}
    theirs.open("NatsBackend", nats_url, options, ".")
    theirs.update(VALUES)
    with RemoteKVMapping(NatsBackend(nats_url, bucket), "ep1") as ours:
        assert same(dict(ours), VALUES)
        ours["int"] = 8
        ours["dict"]["b"] = 2
        del ours["float"]
        assert same(theirs.copy(), dict(ours))
    with RemoteKVMapping(NatsBackend(nats_url, bucket, create_bucket=True), "ep1") as ours:
        ours.update(int=9, zero=1)  # which has to be allowed to a bucket first
        theirs.set(["true"], 0)
        assert same(theirs.copy(), dict(ours))
