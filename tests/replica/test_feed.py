"""Changes taken at one's own pace, and the present version of an item."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kv_dict import ConfigurationError, InMemoryAsyncBackend, RemoteKVMapping, SQLiteBackend

DEADLINE = 10.0


@pytest.fixture(params=["server", "replica"])
def md(request: pytest.FixtureRequest) -> Iterator[RemoteKVMapping]:
    with RemoteKVMapping(InMemoryAsyncBackend(), "ep1", reads=request.param) as md:
        yield md


def test_the_present_version(md: RemoteKVMapping) -> None:
    before = time.time()
    md["a"] = {"b": [1]}
    version = md.version("a")
    assert version.value == {"b": [1]}
    assert type(version.value["b"]) is list
    assert version.time is not None
    assert before - 1 < version.time < time.time() + 1
    md["a"]["b"].append(2)
    assert md.version("a").revision > version.revision
    with pytest.raises(KeyError, match="missing"):
        md.version("missing")
    with pytest.raises(TypeError, match="strings, not int"):
        md.version(5)


def test_changes_are_taken_when_it_suits(md: RemoteKVMapping) -> None:
    ready = threading.Event()
    md.update(a=1, b=1)
    feed = md.feed(ready.set, key="a")
    assert [(c.value, c.initial) for c in feed.take()] == [(1, True)]
    assert list(feed.take()) == []
    md["a"] = 2
    assert ready.wait(DEADLINE)
    md["b"] = 2
    del md["a"]
    md.sync()
    taken = [(change.key, change.kind, change.value) for change in feed.take()]
    assert taken[-1] == ("a", "delete", None)
    assert {key for key, *_ in taken} == {"a"}
    assert feed.unreadable("a") is None
    feed.close()
    ready.clear()
    md["a"] = 3
    md.sync()
    assert not ready.is_set()
    assert list(feed.take()) == []


def test_what_cannot_be_read_is_told_why() -> None:
    backend = InMemoryAsyncBackend()
    with (
        RemoteKVMapping(backend, "ep1", reads="replica") as md,
        RemoteKVMapping(backend, "ep1", json_encoder=lambda _: "{flawed") as other,
    ):
        md["a"] = 1
        feed = md.feed(lambda: None, key="a")
        other["a"] = 2
        md.sync()
        assert [change.kind for change in feed.take()] == ["put", "delete"]
        assert "which is not JSON" in str(feed.unreadable("a"))


def test_what_a_feed_cannot_be(md: RemoteKVMapping) -> None:
    with pytest.raises(TypeError, match="wake must be callable, not None"):
        md.feed(None)
    with pytest.raises(ConfigurationError, match="choose one"):
        md.feed(lambda: None, key="a", prefix="b")


def test_one_is_woken_when_the_store_is_lost_and_found(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "store", tmp_path / "elsewhere"
    folder.mkdir()
    with RemoteKVMapping(SQLiteBackend(folder / "md.db"), "ep1", reads="replica") as md:
        woken = threading.Semaphore(0)
        feeds = [md.feed(woken.release, initial=False), md.feed(woken.release, initial=False)]
        folder.rename(elsewhere)
        for _ in feeds:
            assert woken.acquire(timeout=DEADLINE)
        assert md.stale_since is not None
        feeds[0].close()
        elsewhere.rename(folder)
        assert woken.acquire(timeout=DEADLINE)
        assert md.stale_since is None
        assert not woken.acquire(blocking=False)
        assert list(feeds[1].take()) == []
