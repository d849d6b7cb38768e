"""A store that goes away and comes back: what reads show, what writes do, what is left of it."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nats
import pytest

from kv_dict import (
    ConfigurationError,
    ConflictError,
    InMemoryAsyncBackend,
    NatsBackend,
    RemoteKVMapping,
    SQLiteBackend,
    Unavailable,
)
from kv_dict.testing.servers.nats import NatsServer
from kv_dict.testing.waiting import until

DEADLINE = 10.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "store").mkdir()
    return tmp_path / "store"


@pytest.fixture
def away(folder: Path) -> Iterator[Callable[[bool], None]]:
    """Take the folder of the file away, as a failing mount does, and bring it back."""
    elsewhere = folder.with_name("elsewhere")

    def move(gone: bool) -> None:
        if gone != elsewhere.exists():
            folder.rename(elsewhere) if gone else elsewhere.rename(folder)

    yield move
    move(False)


def mapping(folder: Path, **options: object) -> RemoteKVMapping:
    backend = SQLiteBackend(folder / "md.db")
    return RemoteKVMapping(backend, "ep1", reads="replica", timeout=2, **options)


def test_reads_go_on_and_writes_say_what_is_true(
    folder: Path, away: Callable[[bool], None], caplog: pytest.LogCaptureFixture
) -> None:
    with mapping(folder) as md:
        md["a"] = {"b": 1}
        before = time.time()
        away(True)
        until(lambda: md.stale_since is not None)
        assert before - 1 < md.stale_since < time.time()
        assert md["a"] == {"b": 1}
        for write in (
            lambda: md.update(a=2),
            lambda: md["a"].update(b=2),
            lambda: md.increment("n"),
            lambda: md.pop("a"),
            md.clear,
            md.sync,
        ):
            with pytest.raises(Unavailable, match="is gone"):
                write()
        assert dict(md) == {"a": {"b": 1}}
        away(False)
        until(lambda: md.stale_since is None)
        md["a"]["b"] = 3
        assert md["a"] == {"b": 3}
    levels = [record.levelno for record in caplog.records]
    assert levels == [logging.WARNING, logging.WARNING]
    assert "reads show what was there" in caplog.text
    assert "live again, after" in caplog.text


def test_what_was_deleted_meanwhile_is_noticed(folder: Path, away: Callable[[bool], None]) -> None:
    with mapping(folder) as md:
        md.update(kept=1, deleted=1)
        told = []
        md.subscribe(told.append, initial=False)
        away(True)
        until(lambda: md.stale_since is not None)
        elsewhere = folder.with_name("elsewhere")
        with RemoteKVMapping(SQLiteBackend(elsewhere / "md.db"), "ep1") as other:
            del other["deleted"]
            other["new"] = 1
        away(False)
        until(lambda: dict(md) == {"kept": 1, "new": 1})
        until(lambda: len(told) == 2)
        assert {(change.key, change.kind) for change in told} == {
            ("deleted", "delete"),
            ("new", "put"),
        }


def test_a_store_that_is_away_cannot_be_opened(folder: Path, away: Callable[[bool], None]) -> None:
    with mapping(folder) as md:
        md["a"] = 1
    away(True)
    with pytest.raises(ConfigurationError, match="there is no folder"):
        mapping(folder)
    away(False)
    with mapping(folder) as md:
        assert md["a"] == 1


# -- on_outage="continue" ------------------------------------------------------------------------


def test_writes_wait_for_the_store(
    folder: Path, away: Callable[[bool], None], caplog: pytest.LogCaptureFixture
) -> None:
    with mapping(folder, on_outage="continue") as md:
        md.update(a=1, d={"x": 1}, gone=1)
        away(True)
        md["a"] = 2
        md["new"] = [1]
        md["new"].append(2)
        md["d"]["y"] = 2
        assert md.increment("n") == 1
        assert md.increment("n") == 2
        del md["gone"]
        with pytest.raises(KeyError):
            del md["never"]
        expected = {"a": 2, "d": {"x": 1, "y": 2}, "n": 2, "new": [1, 2]}
        assert dict(md) == expected
        assert md.waiting == ("a", "d", "gone", "n", "new")
        away(False)
        until(lambda: md.waiting == ())
        assert dict(md) == expected
        with RemoteKVMapping(SQLiteBackend(folder / "md.db"), "ep1") as other:
            assert dict(other) == expected
            other["a"] = 3
            until(lambda: md["a"] == 3)  # followed as ever
        md["a"] += 1
        assert md["a"] == 4
    assert "what is written now waits for it" in caplog.text
    assert "that waited are stored" in caplog.text


def test_what_others_wrote_meanwhile_stays(
    folder: Path, away: Callable[[bool], None], caplog: pytest.LogCaptureFixture
) -> None:
    with mapping(folder, on_outage="continue") as md:
        md.update(both=0, mine=0, theirs=0, same=0)
        away(True)
        md.update(both="mine", mine="mine", same="same")
        elsewhere = folder.with_name("elsewhere")
        with RemoteKVMapping(SQLiteBackend(elsewhere / "md.db"), "ep1") as other:
            other.update(both="theirs", theirs="theirs", same="same")
        assert md["both"] == "mine"
        away(False)
        until(lambda: md.waiting == ())
        expected = {"both": "theirs", "mine": "mine", "theirs": "theirs", "same": "same"}
        until(lambda: dict(md) == expected)
        with RemoteKVMapping(SQLiteBackend(folder / "md.db"), "ep1") as other:
            assert dict(other) == expected
    dropped = [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR]
    assert len(dropped) == 1
    assert "'ep1:both' is dropped: others have written it meanwhile" in dropped[0]


def test_more_writes_while_the_first_are_on_their_way(
    folder: Path, away: Callable[[bool], None]
) -> None:
    with mapping(folder, on_outage="continue") as md:
        for round_ in range(5):
            away(True)
            md["n"] = f"{round_} during"
            away(False)
            md["n"] = f"{round_} after"
            md["n"] = f"{round_} last"
            until(lambda: md.waiting == ())
            with RemoteKVMapping(SQLiteBackend(folder / "md.db"), "ep1") as other:
                assert other["n"] == md["n"] == f"{round_} last"


def test_conflicts_among_threads_while_it_waits(folder: Path, away: Callable[[bool], None]) -> None:
    with mapping(folder, on_outage="continue") as md:
        md["d"] = {"n": 0}
        away(True)
        one, two = md["d"], md["d"]
        one["a"] = 1
        two["b"] = 2
        assert md["d"] == {"n": 0, "a": 1, "b": 2}
        _ = two["n"]
        one["n"] = 5
        with pytest.raises(ConflictError):
            two["n"] = 1
        away(False)
        until(lambda: md.waiting == ())
        assert md["d"] == {"n": 5, "a": 1, "b": 2}


def test_what_still_waits_at_the_end_is_said(
    folder: Path, away: Callable[[bool], None], caplog: pytest.LogCaptureFixture
) -> None:
    with mapping(folder, on_outage="continue") as md:
        away(True)
        md["a"] = 1
    assert "never stored" in caplog.text
    assert "'ep1:a'" in caplog.text


def test_guarded_commits_of_several_keys_wait_too(
    folder: Path, away: Callable[[bool], None]
) -> None:
    with mapping(folder, on_outage="continue") as md:
        md.update(a=1, b=1)
        away(True)
        seen = {key: md.version(key).revision for key in "ab"}
        md.commit({"a": 2, "b": 2}, expected=seen)
        with pytest.raises(ConflictError, match="are not as expected"):
            md.commit({"a": 3, "b": 3}, expected=seen)
        away(False)
        until(lambda: md.waiting == ())
        assert dict(md) == {"a": 2, "b": 2}


def test_threads_that_take_turns_during_an_outage(
    folder: Path, away: Callable[[bool], None]
) -> None:
    with mapping(folder, on_outage="continue") as md:
        md.update({f"k{number:02}": number for number in range(40)})
        away(True)
        until(lambda: md.stale_since is not None)
        with ThreadPoolExecutor(4) as threads:
            popped = list(threads.map(lambda _: md.popitem()[0], range(40)))
        assert sorted(popped) == [f"k{number:02}" for number in range(40)]
        md["left"] = 1
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(lambda n: md.clear() if n % 2 else md.update(left=n), range(40)))
        away(False)
        until(lambda: md.waiting == ())


def test_one_that_is_refused_takes_no_others_with_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Of a bucket without batches, which refuses guarded commits of several keys."""

    async def make(url: str) -> None:
        client = await nats.connect(url)
        await client.jetstream().create_key_value(bucket="kv_dict", max_value_size=100)
        await client.close()

    with NatsServer(tmp_path / "nats") as server:
        asyncio.run(make(server.url))
        backend = NatsBackend(server.url)
        with RemoteKVMapping(
            backend, "ep1", reads="replica", timeout=DEADLINE, on_outage="continue"
        ) as md:
            md["a"] = 1
            server.kill()
            until(lambda: md.stale_since is not None)
            md.update(a=2, b="x" * 1000, c=3)
            server.start()
            until(lambda: md.waiting == ())
            assert dict(md) == {"a": 2, "c": 3}
            with RemoteKVMapping(backend, "ep1") as other:
                assert dict(other) == {"a": 2, "c": 3}
    (refused,) = [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR]
    assert "to 'ep1:b' is dropped" in refused
    assert 'It was to become "xxx' in refused
    assert refused.endswith("xxx... (1,002 bytes), and is absent")


@pytest.mark.parametrize("ending", ["close", "forget", "keep"])
def test_a_process_that_ends_says_what_it_takes_with_it(tmp_path: Path, ending: str) -> None:
    program = """if True:
        import pathlib, sys
        from kv_dict import RemoteKVMapping, SQLiteBackend
        folder, ending = pathlib.Path(sys.argv[1]), sys.argv[2]
        folder.mkdir()
        backend = SQLiteBackend(folder / "md.db")
        md = RemoteKVMapping(backend, "ep1", reads="replica", timeout=2, on_outage="continue")
        md["a"] = 1
        if ending == "keep":
            md.subscribe(print, initial=False, key="b")  # whose thread holds it to the end
        folder.rename(folder.with_name("elsewhere"))
        md["a"] = 2
        if ending == "close":
            md.close()
    """
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, tmp_path / "store", ending],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stderr.count("what waited for the store is never stored: ('ep1:a',)") == 1
    assert "Traceback" not in done.stderr


def test_what_waits_is_the_parents(folder: Path, away: Callable[[bool], None]) -> None:
    """A child that stored it too could undo what its parent has written since."""
    with mapping(folder, on_outage="continue") as md:
        md["a"] = "before"
        away(True)
        until(lambda: md.stale_since is not None)  # nothing is on its way: it waits for the watch
        md["a"] = "during"
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                until(folder.exists)
                seen = repr((md.waiting, md["a"]))
                md["b"] = "of the child"
                os.write(writing, seen.encode())
                os._exit(0)
            finally:
                os._exit(1)
        md["a"] = "later"
        md._scope.replica._see_to_waiting = lambda: None  # the parent is slower
        away(False)
        assert os.waitpid(child, 0)[1] == 0
        assert os.read(reading, 1000).decode() == "((), 'before')"
        del md._scope.replica._see_to_waiting
        md["c"] = "wakes it"
        md._scope.replica._see_to_waiting()
        until(lambda: md.waiting == ())
        with RemoteKVMapping(SQLiteBackend(folder / "md.db"), "ep1") as other:
            assert dict(other) == {"a": "later", "b": "of the child", "c": "wakes it"}
        os.close(reading)
        os.close(writing)


def test_options() -> None:
    backend = InMemoryAsyncBackend()
    with pytest.raises(ConfigurationError, match="needs reads='replica'"):
        RemoteKVMapping(backend, "ep1", on_outage="continue")
    with pytest.raises(ConfigurationError, match="'fail' or 'continue'"):
        RemoteKVMapping(backend, "ep1", reads="replica", on_outage="panic")
