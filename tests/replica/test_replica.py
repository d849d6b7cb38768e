"""The replica and its subscriptions, on stores of this computer."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import pickle
import queue
import threading
import warnings
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from kv_dict import (
    ClosedError,
    ConfigurationError,
    InMemoryAsyncBackend,
    RemoteKVMapping,
    SQLiteBackend,
)
from kv_dict.mapping import feed
from kv_dict.mapping.feed import Change
from kv_dict.model import Delete, Put
from kv_dict.replica import contents
from kv_dict.replica import replica as replica_module
from kv_dict.testing.waiting import until

DEADLINE = 10.0


@pytest.fixture
def backend() -> InMemoryAsyncBackend:
    return InMemoryAsyncBackend()


@pytest.fixture
def md(backend: InMemoryAsyncBackend) -> Iterator[RemoteKVMapping]:
    with RemoteKVMapping(backend, "ep1", reads="replica") as md:
        yield md


class Told:
    """Collects changes, and waits for them."""

    def __init__(self) -> None:
        self._queue: queue.Queue[Change] = queue.Queue()

    def __call__(self, change: Change) -> None:
        self._queue.put(change)

    def next(self) -> Change:
        return self._queue.get(timeout=DEADLINE)

    def nothing(self) -> bool:
        try:
            self._queue.get(timeout=0.05)
        except queue.Empty:
            return True
        return False


# -- reading -------------------------------------------------------------------------------------


def test_reads_ask_nobody(backend: InMemoryAsyncBackend, md: RemoteKVMapping) -> None:
    md.update(a=1, b={"c": [1]})

    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("the store was asked")

    for name in ("read", "read_tree", "snapshot"):
        setattr(backend._memory, name, refuse)
    assert md["a"] == 1
    assert dict(md) == {"a": 1, "b": {"c": [1]}}
    assert "x" not in md
    assert len(md) == 2
    assert list(reversed(md)) == ["b", "a"]
    md["a"] = 2  # nor do writes of what nobody else has changed
    md["b"]["c"].append(2)
    md.increment("a")
    del md["b"]
    assert md == {"a": 3}


def test_nothing_done_to_a_value_reaches_the_replica(md: RemoteKVMapping) -> None:
    given = {"x": [1]}
    md["a"] = given
    given["x"].append("given")
    md.copy()["a"]["x"].append("copied")
    dict.__setitem__(md["a"], "y", "behind its back")
    list.append(md["a"]["x"], "behind its back")
    assert md["a"] == {"x": [1]}


def test_mappings_of_one_layout_share_a_replica(backend: InMemoryAsyncBackend) -> None:
    with (
        RemoteKVMapping(backend, "ep1", reads="replica") as one,
        RemoteKVMapping(backend, "ep1", reads="replica") as two,
        RemoteKVMapping(backend, "ep1", None, reads="replica") as flat,
        RemoteKVMapping(backend, "ep2", reads="replica") as other,
    ):
        assert one._scope.replica is two._scope.replica
        assert len({id(m._scope.replica) for m in (one, two, flat, other)}) == 3
        one["a"] = 1
        assert two["a"] == 1
        one.close()
        two["a"] = 2
        flat.sync()
        assert two["a"] == flat[":a"] == 2
    assert backend not in replica_module._shared
    assert backend._memory._watchers == set()


def test_others_changes_arrive(tmp_path: Path) -> None:
    path = tmp_path / "md.db"
    with (
        RemoteKVMapping(SQLiteBackend(path), "ep1", reads="replica") as md,
        RemoteKVMapping(SQLiteBackend(path), "ep1") as other,
    ):
        other.update(a=1, b=2)
        until(lambda: dict(md) == {"a": 1, "b": 2})
        other["a"] = 3
        md.sync()  # at once, whenever the watch looks next
        assert md["a"] == 3
        del other["a"]
        md.sync()
        assert dict(md) == {"b": 2}
        other["b"] = 10
        assert md.increment("b") == 11  # on what is stored, not on what was known
        other["n"] = {"x": 1}
        md.sync()
        x = md["n"]
        other["n"]["y"] = 2
        x["z"] = 3
        assert other["n"] == md["n"] == {"x": 1, "y": 2, "z": 3}


def test_a_conflicting_assignment_is_done_again(tmp_path: Path) -> None:
    path = tmp_path / "md.db"
    with (
        RemoteKVMapping(SQLiteBackend(path, poll_interval=60), "ep1", reads="replica") as md,
        RemoteKVMapping(SQLiteBackend(path), "ep1") as other,
    ):
        other.update(a=1, b={"c": 1})  # which `md` does not know of
        md["a"] = 2
        md.update(b=2, c=3)
        assert dict(md) == dict(other) == {"a": 2, "b": 2, "c": 3}
        other["d"] = 4
        md.clear()
        assert dict(md) == dict(other) == {}
        other["e"] = 1
        assert md.setdefault("e", 2) == 1


def test_closing_the_backend_ends_reads(backend: InMemoryAsyncBackend) -> None:
    md = RemoteKVMapping(backend, "ep1", reads="replica")
    md["a"] = 1
    backend.synchronous.close()
    with pytest.raises(ClosedError):
        until(lambda: md["a"] is None)
    md.close()
    with pytest.raises(ClosedError):
        md["a"]


def test_a_forked_child_follows_by_itself(tmp_path: Path) -> None:
    with (
        RemoteKVMapping(SQLiteBackend(tmp_path / "md.db"), "ep1", reads="replica") as md,
        RemoteKVMapping(SQLiteBackend(tmp_path / "md.db"), "ep1") as other,
    ):
        md["a"] = 1
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            status = 1
            try:
                assert md["a"] == 1
                told = Told()
                md.subscribe(told, initial=False)
                os.write(write, b"!")
                assert told.next().value == 2
                md["b"] = 3
                status = 0
            finally:
                os._exit(status)
        assert os.read(read, 1) == b"!"
        other["a"] = 2
        assert os.waitpid(child, 0)[1] == 0
        until(lambda: dict(md) == {"a": 2, "b": 3})
        os.close(read)
        os.close(write)


def test_a_pickle_reads_as_the_original(md: RemoteKVMapping) -> None:
    with pickle.loads(pickle.dumps(md)) as again:
        assert again.reads == "replica"
        again["a"] = 1
        assert md["a"] == 1


def test_a_forgotten_mapping_is_followed_no_longer(tmp_path: Path) -> None:
    backend = SQLiteBackend(tmp_path / "md.db")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        RemoteKVMapping(backend, "ep1", reads="replica")
        gc.collect()
    assert backend not in replica_module._shared


def test_unknown_reads() -> None:
    with pytest.raises(ConfigurationError, match="'server' or 'replica'"):
        RemoteKVMapping(InMemoryAsyncBackend(), "ep1", reads="mirror")


def test_undecodable_values_are_left_out(
    backend: InMemoryAsyncBackend, md: RemoteKVMapping, caplog: pytest.LogCaptureFixture
) -> None:
    told = Told()
    md.subscribe(told)
    backend.synchronous.commit([Put("ep1:a", b"{"), Put("ep1:b", b"1")], timeout=1)
    md.sync()
    assert dict(md) == {"b": 1}
    assert "left out" in caplog.text
    assert told.next().key == "b"
    backend.synchronous.commit([Put("ep1:b", b"}")], timeout=1)
    assert told.next().kind == "delete"


def test_the_count_is_that_of_what_is_listed(
    backend: InMemoryAsyncBackend, md: RemoteKVMapping
) -> None:
    def store(key: str, value: bytes | None) -> None:
        operation = Delete(f"ep1:{key}") if value is None else Put(f"ep1:{key}", value)
        backend.synchronous.commit([operation], timeout=1)
        md.sync()

    assert len(md) == 0
    assert not md
    for key, value, count in (
        ("a", b"1", 1),
        ("b", b"{", 1),
        ("b:below", b"2", 1),  # the key is the same, and cannot be read either
        ("b", b"2", 2),
        ("a", b"}", 1),
        ("a", b"1", 2),
        ("c", b"[]", 3),
        ("a", None, 2),
        ("a", None, 2),
        ("b", None, 2),
        ("b:below", None, 1),
    ):
        store(key, value)
        assert len(md) == len(list(md)) == len(md.keys()) == count
    md.clear()
    assert len(md) == 0


def test_a_pinned_key_counts(backend: InMemoryAsyncBackend, md: RemoteKVMapping) -> None:
    async def task() -> list[int]:
        counts = [len(md)]
        md.pin("scan_id", 7)
        counts.append(len(md))
        return counts

    md["a"] = 1
    assert asyncio.run(task()) == [1, 2]
    assert len(md) == 1


def test_deleted_keys_are_not_remembered_for_ever(
    backend: InMemoryAsyncBackend, md: RemoteKVMapping, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contents, "MEMORY", -1.0)
    for n in range(3000):
        md[f"k{n}"] = 1
        del md[f"k{n}"]
    assert len(md._scope.replica._contents._known) < 1500
    assert len(md._scope.replica._contents._gone) < 1500
    until(
        lambda: len(md._scope.replica._contents._sweeps) < 10
    )  # those that the watch has not passed


# -- subscriptions -------------------------------------------------------------------------------


def test_what_a_change_says(backend: InMemoryAsyncBackend, md: RemoteKVMapping) -> None:
    md["there"] = {"x": 1}
    told = Told()
    token = md.subscribe(told)
    first = told.next()
    assert (first.key, first.kind, first.value, first.previous) == ("there", "put", {"x": 1}, None)
    assert first.initial
    assert first.time is not None
    md["there"]["x"] = 2
    second = told.next()
    assert (second.value, second.previous, second.initial) == ({"x": 2}, {"x": 1}, False)
    assert second.revision > first.revision
    assert type(second.value) is dict
    backend.synchronous.commit([Put("ep1:there:y", b"3")], timeout=1)  # another program, below
    assert told.next().value == {"x": 2, "y": 3}
    backend.synchronous.commit([Delete("ep1:there"), Delete("ep1:there:y")], timeout=1)
    gone = told.next()
    while gone.kind == "put":
        gone = told.next()
    assert (gone.key, gone.kind, gone.value) == ("there", "delete", None)
    md.unsubscribe(token)
    md["there"] = 1
    assert told.nothing()
    with pytest.raises(KeyError):
        md.unsubscribe(token)


def test_every_own_write_is_told(md: RemoteKVMapping) -> None:
    told = Told()
    md.subscribe(told, key="n", initial=False)
    for n in range(100):
        md["n"] = n
    assert [told.next().value for _ in range(100)] == list(range(100))


def test_filters(md: RemoteKVMapping) -> None:
    md.update(ab=1, ac=1, b=1)
    of_key, of_prefix, later = Told(), Told(), Told()
    md.subscribe(of_key, key="b")
    md.subscribe(of_prefix, prefix="a")
    md.subscribe(later, initial=False)
    assert of_key.next().key == "b"
    assert [of_prefix.next().key for _ in range(2)] == ["ab", "ac"]
    assert later.nothing()
    md.update(ab=2, b=2, c=2)
    assert of_key.next().value == 2
    assert of_prefix.next().value == 2
    assert of_prefix.nothing()
    assert [later.next().key for _ in range(3)] == ["ab", "b", "c"]
    with pytest.raises(ConfigurationError, match="choose one"):
        md.subscribe(of_key, key="a", prefix="b")
    with pytest.raises(TypeError, match="callable"):
        md.subscribe("callback")


def test_a_subscriber_of_a_mapping_that_asks_the_store(backend: InMemoryAsyncBackend) -> None:
    with (
        RemoteKVMapping(backend, "ep1") as md,
        RemoteKVMapping(backend, "ep1") as other,
    ):
        told = Told()
        md.subscribe(told)
        other["a"] = 1
        assert told.next().value == 1
        md["a"] = 2
        assert told.next().previous == 1
        assert md.reads == "server"


def test_one_that_raises_is_logged_and_stays(
    md: RemoteKVMapping, caplog: pytest.LogCaptureFixture
) -> None:
    told = Told()

    def careless(change: Change) -> None:
        told(change)
        raise RuntimeError("careless")

    md.subscribe(careless)
    md["a"] = 1
    assert told.next().value == 1
    md["a"] = 2
    assert told.next().value == 2
    assert "careless" in caplog.text
    assert caplog.records[0].levelno == logging.ERROR


def test_a_slow_one_delays_nobody_and_misses_no_last_state(
    md: RemoteKVMapping, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "MAX_PENDING", 50)
    go, slow, quick = threading.Event(), [], Told()

    def wait(change: Change) -> None:
        go.wait(DEADLINE)
        slow.append(change)

    md.subscribe(wait)
    md.subscribe(quick)
    for n in range(1000):
        md[f"k{n % 7}"] = n
        assert quick.next().value == n
    md["last"] = True
    del md["k0"]
    go.set()
    until(lambda: slow and slow[-1].kind == "delete")
    state = {}
    for change in slow:
        state[change.key] = change.value
        if change.kind == "delete":
            del state[change.key]
    assert state == dict(md)
    assert len(slow) < 150


def test_a_callback_may_use_the_mapping_and_unsubscribe(md: RemoteKVMapping) -> None:
    done = threading.Event()

    def once(change: Change) -> None:
        if change.key == "go":
            md["seen"] = change.value
            md.unsubscribe(token)
            done.set()

    token = md.subscribe(once)
    md["go"] = 1
    assert done.wait(DEADLINE)
    assert md["seen"] == 1


def test_a_subscription_keeps_its_mapping(backend: InMemoryAsyncBackend) -> None:
    told = Told()
    md = RemoteKVMapping(backend, "ep1", reads="replica")
    token = md.subscribe(told)
    subscribed = [md.unsubscribe]
    del md
    gc.collect()
    with RemoteKVMapping(backend, "ep1") as other:
        other["a"] = 1
    assert told.next().value == 1
    subscribed[0].__self__.close()
    del token


def test_closing_ends_subscriptions(backend: InMemoryAsyncBackend) -> None:
    before = threading.active_count()
    with RemoteKVMapping(backend, "ep1", reads="replica") as md:
        md.subscribe(print)
        md.subscribe(print)
        assert threading.active_count() >= before + 2
    assert not [t for t in threading.enumerate() if "subscription" in t.name]


def test_iterating_over_changes(backend: InMemoryAsyncBackend, md: RemoteKVMapping) -> None:
    md["a"] = 0

    async def follow() -> list[Any]:
        seen = []
        async with aclosing(md.changes(prefix="a")) as changes:
            async for change in changes:
                seen.append(change.value)
                if change.value == 5:
                    return seen
                await asyncio.to_thread(md.increment, "a")
        return seen

    assert asyncio.run(follow()) == [0, 1, 2, 3, 4, 5]
    assert md._scope.replica._contents.listeners == ()


def test_iteration_ends_with_the_mapping(backend: InMemoryAsyncBackend) -> None:
    async def follow() -> list[Change]:
        md = RemoteKVMapping(backend, "ep1", reads="replica")
        asyncio.get_running_loop().call_later(0.05, md.close)
        return [change async for change in md.changes()]

    assert asyncio.run(asyncio.wait_for(follow(), DEADLINE)) == []
