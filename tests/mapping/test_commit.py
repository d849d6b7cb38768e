"""Items with their revisions, and writing several if they are as expected, on every store."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kv_dict import (
    Backend,
    ConflictError,
    EncodeError,
    InMemoryAsyncBackend,
    RemoteKVMapping,
    SQLiteBackend,
)
from kv_dict.backends import open_backend


@pytest.fixture(params=["memory", "sqlite", "redis", "postgres", "nats"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Backend:
    value: Any = request.getfixturevalue
    match request.param:
        case "memory":
            return InMemoryAsyncBackend()
        case "sqlite":
            return SQLiteBackend(tmp_path / "md.db")
        case "redis":
            return open_backend(value("redis_url"))
        case "postgres":
            table = value("table")
            return open_backend(f"{value('postgres_url')}?table={table}&create_table=true")
        case _:
            return open_backend(f"{value('nats_url')}/?bucket={value('bucket')}&create_bucket=true")


@pytest.fixture(params=["server", "replica"])
def md(request: pytest.FixtureRequest, backend: Backend) -> Iterator[RemoteKVMapping]:
    with RemoteKVMapping(backend, f"ep-{id(backend)}", reads=request.param) as md:
        md.clear()
        yield md
        md.clear()


def test_a_guarded_commit_is_all_or_nothing(md: RemoteKVMapping) -> None:
    md.update(a=1, b=2, c=3)
    seen = {key: md.version(key).revision for key in "ab"}
    made = md.commit({"a": [1], "new": {"x": 1}}, delete=["b"], expected={**seen, "new": None})
    assert md.copy() == {"a": [1], "c": 3, "new": {"x": 1}}
    assert made["a"].revision == md.version("a").revision
    assert md.versions()["new"].value == {"x": 1}

    with pytest.raises(ConflictError, match=r"md\['a'\] is not as expected") as conflict:
        md.commit({"a": 2, "c": 4}, expected={"a": seen["a"]})
    assert conflict.value.keys == ("a",)
    with pytest.raises(ConflictError, match=r"md\['b'\], md\['c'\] are not as expected"):
        md.commit({"a": 5}, delete=["b", "c"], expected={"b": seen["b"], "c": None})
    assert md.copy() == {"a": [1], "c": 3, "new": {"x": 1}}


def test_what_is_not_expected_is_written_whatever_it_is(md: RemoteKVMapping) -> None:
    md["a"] = 1
    md.commit([("a", 2), ("b", 3)], delete=["not there"])
    assert md.copy() == {"a": 2, "b": 3}
    assert md.commit() == {}


def test_keys_below_are_part_of_an_item(md: RemoteKVMapping) -> None:
    with RemoteKVMapping(md.backend, f"{md.entry_point}:main") as below:
        below["sup1"] = 1
        md.sync()
        seen = md.version("main")
        assert seen.value == {"sup1": 1}
        below["sup2"] = 2
        md.sync()
        with pytest.raises(ConflictError):
            md.commit({"main": 5}, expected={"main": seen.revision})
        md.commit({"main": 5}, expected={"main": md.version("main").revision})
        assert md.copy() == {"main": 5}
        below.update(x=1, y=2)
        md.sync()
        md.commit(delete=["main"], expected={"main": md.version("main").revision})
        assert md.copy() == {}


def test_one_of_many_guarded_writers_wins_each_round() -> None:
    md = RemoteKVMapping(InMemoryAsyncBackend(), "ep")
    md["n"] = 0
    won = []

    def work() -> None:
        for _ in range(100):
            seen = md.version("n")
            try:
                md.commit({"n": seen.value + 1}, expected={"n": seen.revision})
            except ConflictError:
                continue
            won.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert md["n"] == len(won) >= 100
    md.close()


def test_bad_arguments_change_nothing() -> None:
    md = RemoteKVMapping(InMemoryAsyncBackend(), "ep")
    with pytest.raises(KeyError):
        md.version("a")
    with pytest.raises(ValueError, match="both put and deleted: a"):
        md.commit({"a": 1}, delete=["a"])
    with pytest.raises(ValueError, match="neither put nor deleted: b"):
        md.commit({"a": 1}, expected={"b": None})
    with pytest.raises(TypeError, match=r"keys .* are strings"):
        md.commit({1: 1})  # type: ignore[dict-item]
    with pytest.raises(EncodeError, match=r"md\['b'\]"):
        md.commit({"a": 1, "b": object()})
    assert md.copy() == {}
    md.close()
