"""Switching to another entry point in place, on every backend."""

from __future__ import annotations

import ast
import asyncio
import pickle
import threading
import time
from collections import ChainMap, Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import kv_dict.mapping
from kv_dict import (
    Backend,
    ClosedError,
    ConflictError,
    EncodeError,
    InMemoryAsyncBackend,
    RemoteKVMapping,
    Unavailable,
)
from kv_dict.backend import SynchronousFace
from kv_dict.replica import replica as replica_module

from ..away import Away

DEADLINE = 20.0


@pytest.fixture
def second(backend: Backend) -> Iterator[RemoteKVMapping]:
    """The other entry point, with something in it."""
    with RemoteKVMapping(backend, "ep2") as mapping:
        mapping.update(sample="CeO2", only="there")
        yield mapping


def test_every_holder_sees_the_other_items(
    md: RemoteKVMapping, second: RemoteKVMapping, stored: Callable[[], dict[str, bytes]]
) -> None:
    md.update(sample="Fe2O3", gone=1)
    early, chain, keys, items, values = md, ChainMap({}, md), md.keys(), md.items(), md.values()
    md.switch("ep2")
    expected = {"only": "there", "sample": "CeO2"}
    assert early["sample"] == chain["sample"] == "CeO2"
    assert dict(early) == dict(chain) == dict(items) == md.copy() == expected
    assert list(keys) == list(expected)
    assert list(values) == ["there", "CeO2"]
    assert "gone" not in md
    assert md.entry_point == "ep2"
    assert "'ep2'" in repr(md)
    md["new"] = {"x": [1]}
    md["new"]["x"].append(2)
    del md["only"]
    assert second == {"new": {"x": [1, 2]}, "sample": "CeO2"}
    assert stored() == {
        "ep1:gone": b"1",
        "ep1:sample": b'"Fe2O3"',
        "ep2:new": b'{"x":[1,2]}',
        "ep2:sample": b'"CeO2"',
    }
    md.switch("ep1")
    assert md == {"gone": 1, "sample": "Fe2O3"}


def test_of_each_layout(sep_md: RemoteKVMapping) -> None:
    sep_md["a"] = 1
    sep_md.switch("ep3")
    sep_md["a"] = 2
    sep_md.switch("ep1")
    assert sep_md == {"a": 1}


def test_containers_that_were_read_before_write_no_more(
    md: RemoteKVMapping, second: RemoteKVMapping
) -> None:
    md["scan"] = {"x": [1], "y": {2}}
    second["scan"] = {"x": [10]}
    scan, xs = md["scan"], md["scan"]["x"]
    md.switch("ep2")
    for change in (
        lambda: scan.update(z=1),
        lambda: xs.append(2),
        lambda: scan["x"].append(2),
        lambda: scan["y"].add(3),
        lambda: scan.increment("n"),
    ):
        with pytest.raises(
            ConflictError, match=r"was switched from 'ep1' to 'ep2': .* nothing was written; read"
        ):
            change()
    assert scan == {"x": [1], "y": {2}}  # it shows what was read
    assert md["scan"] == {"x": [10]}
    md["scan"]["x"].append(11)
    md.switch("ep1")
    assert md["scan"] == {"x": [1], "y": {2}}
    with pytest.raises(ConflictError):
        xs.append(3)  # nor does coming back revive it


def test_what_is_under_way_finishes_where_it_began(
    md: RemoteKVMapping, second: RemoteKVMapping
) -> None:
    """Including what has to read and write again after it, because others came in between."""
    begun, go = threading.Event(), threading.Event()
    calls = []

    def slowly(value: int) -> int:
        calls.append(value)
        begun.set()
        assert go.wait(DEADLINE)
        return value + 1

    md["n"] = 1
    second["n"] = 100
    results: list[int] = []
    worker = threading.Thread(target=lambda: results.append(md.transform("n", slowly)))
    worker.start()
    assert begun.wait(DEADLINE)
    loop = iter(md.items())
    md.switch("ep2")
    with RemoteKVMapping(md.backend, "ep1") as first:
        first["n"] = 5
        go.set()
        worker.join(DEADLINE)
        assert results == [6]
        assert calls == [1, 5]
        assert first["n"] == 6
    assert next(loop) == ("n", 1)
    assert md["n"] == second["n"] == 100


def test_in_place_operators_across_a_switch(md: RemoteKVMapping, second: RemoteKVMapping) -> None:
    md["names"] = ["a"]

    class Switching(list[str]):
        def __iter__(self) -> Iterator[str]:
            md.switch("ep2")
            return super().__iter__()

    with pytest.raises(ConflictError):
        md["names"] += Switching(["b"])
    assert md.entry_point == "ep2"
    assert "names" not in second


def test_pins_end(md: RemoteKVMapping, second: RemoteKVMapping) -> None:
    second["n"] = 7

    async def run() -> None:
        md.pin("n", 5)
        assert md["n"] == 5
        md.switch("ep2")
        assert md["n"] == 7
        md["n"] = 5
        assert second["n"] == 5

    asyncio.run(run())


def test_to_where_it_is(md: RemoteKVMapping) -> None:
    md["d"] = {}
    d = md["d"]
    md.switch("ep1")
    d["x"] = 1
    assert md["d"] == {"x": 1}


def test_bad_entry_points(md: RemoteKVMapping) -> None:
    md["a"] = 1
    with pytest.raises(TypeError, match="entry_point must be a string"):
        md.switch(2)  # type: ignore[arg-type]
    with pytest.raises(EncodeError, match="surrogate"):
        md.switch("\ud800")
    assert (md.entry_point, md["a"]) == ("ep1", 1)
    md.close()
    with pytest.raises(ClosedError):
        md.switch("ep2")


def test_timeout_options_and_pickle_go_along(backend: Backend, reads: str) -> None:
    def refuse_b(key: str, value: object) -> None:
        if key == "b":
            raise ValueError("not b")

    with RemoteKVMapping(backend, "ep1", None, reads=reads, check=refuse_b) as md:
        md.timeout = 7
        md.switch("ep2-")
        assert (md.timeout, md.reads, md.sep) == (7, reads, None)
        with pytest.raises(ValueError, match="not b"):
            md["b"] = 1
    with RemoteKVMapping(InMemoryAsyncBackend(), "ep1", reads=reads) as md:
        md.switch("ep2")
        md["a"] = 1
        with pickle.loads(pickle.dumps(md)) as again:
            assert again.entry_point == "ep2"
            assert again == {"a": 1}


def test_closing_after_a_switch_releases_everything(backend: Backend, reads: str) -> None:
    before = backend._retained
    md = RemoteKVMapping(backend, "ep1", reads=reads)
    md.subscribe(lambda change: None)
    md.switch("ep2")
    md.switch("ep3")
    assert backend._retained == before + 1
    assert {prefix for prefix, _ in replica_module._shared[backend]} == {"ep3:"}
    md.close()
    md.close()
    assert backend._retained == before
    assert backend not in replica_module._shared
    assert not backend.closed


def test_many_threads_switch_read_and_write(backend: Backend, reads: str) -> None:
    """Each entry point has one set of items: none ever shows or gets those of another."""
    points = ["ep1", "ep2", "ep3"]
    for point in points:
        with RemoteKVMapping(backend, point) as there:
            there.update(here=point, again=point, log={})
    with RemoteKVMapping(backend, "ep1", reads=reads) as md:
        stop, wrong, rounds = threading.Event(), [], Counter[str]()

        def guarded(work: Callable[[], object]) -> Callable[[], None]:
            def run() -> None:
                while not stop.is_set():
                    try:
                        work()
                    except ConflictError:  # a container of the entry point that was left
                        pass
                    except BaseException as error:
                        wrong.append(error)
                        raise
                    rounds[work.__name__] += 1

            return run

        def read() -> None:
            items = md.copy()
            assert items["here"] == items["again"], items

        def log() -> None:
            items = {key: value for key, value in md.items()}  # noqa: C416 - live
            items["log"][items["here"]] = True

        def transform() -> None:
            md.transform("n", lambda n: n + 1, 0)

        threads = [threading.Thread(target=guarded(work)) for work in (read, log, transform)]
        for thread in threads:
            thread.start()
        turns, deadline = 0, time.monotonic() + DEADLINE
        while not wrong and (turns < 30 or len(rounds) < 3 or min(rounds.values()) < 30):
            assert time.monotonic() < deadline, rounds
            turns += 1
            md.switch(points[turns % 3])
        stop.set()
        for thread in threads:
            thread.join(DEADLINE)
        assert not wrong
        for point in points:
            with RemoteKVMapping(backend, point) as there:
                assert set(there["log"]) <= {point}
                assert there["here"] == point


def test_each_operation_asks_for_the_scope_once() -> None:
    """So that a switch in the middle of one cannot have it read here and write there."""
    twice = []
    for path in Path(kv_dict.mapping.__file__).parent.glob("*.py"):
        for kind in ast.walk(ast.parse(path.read_text())):
            if not isinstance(kind, ast.ClassDef):
                continue
            for method in kind.body:
                if isinstance(method, ast.FunctionDef | ast.AsyncFunctionDef):
                    asked = sum(
                        isinstance(node, ast.Attribute)
                        and node.attr == "_scope"
                        and isinstance(node.ctx, ast.Load)
                        and isinstance(node.value, ast.Name)
                        and node.value.id == "self"
                        for node in ast.walk(method)
                    )
                    if asked > 1:
                        twice.append(f"{path.name}: {kind.name}.{method.name}")
    assert sorted(twice) == [
        "remote.py: RemoteKVMapping.close",  # until no switch has come in between
    ]


# -- a store that is away --------------------------------------------------------------------------


class AwayAtOnce(Away):
    """One that answers without a loop, too."""

    @property
    def synchronous(self) -> SynchronousFace:
        return self._memory


@pytest.mark.parametrize("reads", ["server", "replica"])
def test_all_stays_as_it_was_if_the_store_is_away(reads: str) -> None:
    backend = AwayAtOnce()
    with RemoteKVMapping(backend, "ep1", reads=reads, timeout=1) as md:
        md["d"] = {"x": 1}
        d, told = md["d"], []
        md.subscribe(told.append, initial=False)
        retained = backend._retained
        backend.away = True
        with pytest.raises(Unavailable, match="cut off"):
            md.switch("ep2")
        backend.away = False
        assert md.entry_point == "ep1"
        assert backend._retained == retained
        assert list(replica_module._shared[backend]) == [("ep1:", ":")]
        d["x"] = 2
        assert md["d"] == {"x": 2}
        assert backend.closed is False
        md.switch("ep2")
        assert md == {}


def test_who_has_a_say(md: RemoteKVMapping, second: RemoteKVMapping) -> None:
    md["sample"] = "Fe2O3"
    asked: list[str] = []

    def refuse(entry_point: str) -> None:
        asked.append(entry_point)
        raise PermissionError("not now")

    undo = md.before_switch(refuse)
    md.before_switch(asked.append)
    for change in (md.switch, md.check_switch):
        with pytest.raises(PermissionError, match="not now"):
            change("ep2")
    assert (md.entry_point, dict(md), asked) == ("ep1", {"sample": "Fe2O3"}, ["ep2", "ep2"])
    md.switch("ep1")  # no switch, so nobody is asked
    undo()
    undo()
    md.switch("ep2")
    assert (md["sample"], asked) == ("CeO2", ["ep2"] * 3)
