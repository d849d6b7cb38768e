"""What subscribers are told of a switch, and what becomes of writes that wait for the store."""

from __future__ import annotations

import asyncio
import os
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import aclosing
from pathlib import Path

import pytest

from kv_dict import Change, InMemoryAsyncBackend, RemoteKVMapping, SQLiteBackend, Unavailable
from kv_dict.mapping import feed
from kv_dict.testing.waiting import until

DEADLINE = 10.0


class Told:
    """Collects changes, and waits for them."""

    def __init__(self) -> None:
        self._queue: queue.Queue[Change] = queue.Queue()

    def __call__(self, change: Change) -> None:
        self._queue.put(change)

    def next(self) -> tuple[str, str, object, object]:
        change = self._queue.get(timeout=DEADLINE)
        assert not change.initial
        return change.kind, change.key, change.value, change.previous


@pytest.fixture(params=["server", "replica"])
def md(request: pytest.FixtureRequest) -> Iterator[RemoteKVMapping]:
    backend = InMemoryAsyncBackend()
    with RemoteKVMapping(backend, "ep1", reads=request.param) as mapping:
        yield mapping


def test_subscribers_are_told_what_is_different(md: RemoteKVMapping) -> None:
    told, one, some = Told(), Told(), Told()
    md.update(gone=1, other=[1], same={"x": 1})
    with md.at("ep2") as second:
        second.update(new=True, other=[2], same={"x": 1})
        md.subscribe(told, initial=False)
        md.subscribe(one, key="other", initial=False)
        md.subscribe(some, prefix="n", initial=False)
        md.switch("ep2")
        assert [told.next() for _ in range(3)] == [
            ("delete", "gone", None, 1),
            ("put", "new", True, None),
            ("put", "other", [2], [1]),
        ]
        assert one.next() == ("put", "other", [2], [1])
        assert some.next() == ("put", "new", True, None)
        second["other"] = [3]  # followed from there on
        assert told.next() == one.next() == ("put", "other", [3], [2])
        with md.at("ep1") as first:  # and of the other, nothing any more
            first.update(gone=2, other=[4], n=1)
            second["next"] = 1
            assert told.next() == some.next() == ("put", "next", 1, None)
            md.switch("ep1")
            assert [told.next() for _ in range(5)] == [
                ("put", "gone", 2, None),
                ("put", "n", 1, None),
                ("delete", "new", None, True),
                ("delete", "next", None, 1),
                ("put", "other", [4], [3]),
            ]


def test_a_slow_subscriber_ends_with_the_last_state(
    md: RemoteKVMapping, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "MAX_PENDING", 20)
    go, state, ended = threading.Event(), {}, threading.Event()

    def slow(change: Change) -> None:
        go.wait(DEADLINE)
        assert state.get(change.key) == change.previous
        if change.kind == "put":
            state[change.key] = change.value
        else:
            del state[change.key]
        if change.key == "end":
            ended.set()

    md.subscribe(slow)
    for point in ("ep2", "ep3", "ep1", "ep2"):
        for n in range(100):
            md[f"k{n % 5}"] = f"{point} {n}"
        md[point] = True
        md.switch(point)
    md["end"] = True
    go.set()
    assert ended.wait(DEADLINE)
    assert state == dict(md)


def test_a_subscriber_may_switch(md: RemoteKVMapping) -> None:
    """As one session does that follows which proposal another one has chosen."""
    told = Told()
    with md.at("beamline") as beamline, md.at("p2") as second:
        second["sample"] = "CeO2"
        md.subscribe(told, initial=False)
        beamline.subscribe(lambda change: md.switch(change.value), key="current")
        beamline["current"] = "p2"
        assert told.next() == ("put", "sample", "CeO2", None)
        assert md.entry_point == "p2"


def test_iterators_go_along(md: RemoteKVMapping) -> None:
    with md.at("ep2") as second:
        second["a"] = 2

    async def run() -> list[object]:
        seen: list[object] = []
        async with aclosing(md.changes()) as changes:
            async for change in changes:
                seen.append(change.value)
                if change.value == 1:
                    await asyncio.to_thread(md.switch, "ep2")
                    await asyncio.to_thread(md.__setitem__, "b", 3)
                if change.value == 3:
                    return seen
        return seen

    md["a"] = 1
    assert asyncio.run(run()) == [1, 2, 3]


def test_subscribing_while_others_switch(md: RemoteKVMapping) -> None:
    with md.at("ep2") as second:
        second["where"] = "ep2"
    md["where"] = "ep1"
    stop = threading.Event()

    def switch() -> None:
        turn = 0
        while not stop.is_set():
            turn += 1
            md.switch(f"ep{turn % 2 + 1}")

    thread = threading.Thread(target=switch)
    thread.start()
    seen: list[list[object]] = []
    for _ in range(30):
        values: list[object] = []
        seen.append(values)
        md.subscribe(lambda change, values=values: values.append(change.value), key="where")
    stop.set()
    thread.join(DEADLINE)
    until(lambda: all(values and values[-1] == md["where"] for values in seen))


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_in_a_forked_child(md: RemoteKVMapping) -> None:
    told = Told()
    md.subscribe(told, initial=False)
    with md.at("ep2") as second:
        second["a"] = 2
    md["a"] = 1
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            md.switch("ep2")
            status = 0 if md["a"] == 2 else 2
        finally:
            os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0
    assert md["a"] == 1
    assert told.next() == ("put", "a", 1, None)


# -- writes that wait ------------------------------------------------------------------------------


@pytest.fixture
def away(tmp_path: Path) -> Iterator[Callable[[bool], None]]:
    """Take the folder of the file away, as a failing mount does, and bring it back."""
    folder, elsewhere = tmp_path / "store", tmp_path / "elsewhere"
    folder.mkdir()

    def move(gone: bool) -> None:
        if gone != elsewhere.exists():
            folder.rename(elsewhere) if gone else elsewhere.rename(folder)

    yield move
    move(False)


def test_writes_that_wait_reach_the_store_before_it_is_left(
    tmp_path: Path, away: Callable[[bool], None]
) -> None:
    backend = SQLiteBackend(tmp_path / "store" / "md.db")
    with RemoteKVMapping(
        backend, "ep1", reads="replica", on_outage="continue", timeout=DEADLINE
    ) as md:
        md["a"] = 1
        md.timeout = 1
        away(True)
        md["a"] = 2
        with pytest.raises(Unavailable):
            md.switch("ep2")
        assert (md.entry_point, md["a"], md.waiting) == ("ep1", 2, ("a",))
        away(False)
        md.timeout = DEADLINE
        md.switch("ep2")
        assert (md.waiting, dict(md)) == ((), {})
        with md.at("ep1") as first:
            assert first == {"a": 2}


def test_what_was_under_way_does_not_wait_where_nobody_is(
    tmp_path: Path, away: Callable[[bool], None]
) -> None:
    backend = SQLiteBackend(tmp_path / "store" / "md.db")
    with RemoteKVMapping(backend, "ep1", reads="replica", on_outage="continue", timeout=2) as md:
        md["a"] = 1

        def meanwhile(value: int) -> int:
            md.switch("ep2")
            away(True)
            return value + 1

        with pytest.raises(Unavailable):
            md.transform("a", meanwhile)
        assert md.waiting == ()
        away(False)
        with RemoteKVMapping(SQLiteBackend(tmp_path / "store" / "md.db"), "ep1") as first:
            assert first == {"a": 1}
