"""The memory backend: conformance, and what is its own."""

from __future__ import annotations

import asyncio
import gc
import os
import pickle
import subprocess
import sys
import time
from contextlib import aclosing

import pytest

from kv_dict import ConfigurationError, InMemoryAsyncBackend, RemoteKVMapping
from kv_dict.backends import memory
from kv_dict.model import Changes, Delete, Put, Snapshot
from kv_dict.testing import BackendConformance, RawStore, Watching


class RawMemory(RawStore):
    """Looks into the dict itself."""

    def __init__(self) -> None:
        self._backend = InMemoryAsyncBackend()

    def open(self) -> InMemoryAsyncBackend:
        return self._backend

    def open_keeping(self, history: int) -> InMemoryAsyncBackend:
        self._backend = InMemoryAsyncBackend(history=history)
        return self._backend

    def get(self, key: str) -> bytes | None:
        entry = self._backend._memory._entries.get(key)
        return None if entry is None else entry.value

    def put(self, key: str, value: bytes) -> None:
        # There is no other program than this one: another thread's commit is as foreign as it gets.
        asyncio.run(self._backend.commit([Put(key, value)], timeout=1))

    def delete(self, key: str) -> None:
        asyncio.run(self._backend.commit([Delete(key)], timeout=1))

    def keys(self) -> set[str]:
        return set(self._backend._memory._entries)


class TestMemoryBackend(BackendConformance):
    @pytest.fixture
    def raw(self) -> RawStore:
        return RawMemory()


def test_an_overflowing_watch_compares_with_a_snapshot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "MAX_PENDING", 10)

    async def work() -> None:
        backend = InMemoryAsyncBackend()
        await backend.commit([Put("k00", b"first"), Put("k99", b"first")], timeout=1)
        async with aclosing(backend.watch("")) as events:
            watching = Watching(backend, "")  # adds up what it is given
            watching.take(await anext(events))
            assert watching.state == {"k00": b"first", "k99": b"first"}
            await backend.commit([Put(f"k{n:02}", b"second") for n in range(50)], timeout=1)
            await backend.commit([Delete("k99")], timeout=1)
            (watcher,) = backend._memory._watchers
            assert watcher.pending is None
            event = await anext(events)
            assert isinstance(event, Snapshot)
            watching.take(event)
        assert watching.state == {f"k{n:02}": b"second" for n in range(50)}
        assert backend._memory._watchers == set()

    asyncio.run(asyncio.wait_for(work(), 10))


def test_a_pickle_cannot_reach_another_process() -> None:
    backend = InMemoryAsyncBackend()
    with RemoteKVMapping(backend, "ep1") as md:
        md["a"] = 1
        assert pickle.loads(pickle.dumps(md)) == {"a": 1}
        program = "import pickle, sys; pickle.loads(sys.stdin.buffer.read())"
        done = subprocess.run(
            [sys.executable, "-c", program], input=pickle.dumps(md), capture_output=True, timeout=60
        )
    assert done.returncode == 1
    assert b"ConfigurationError: a memory:// store cannot be reached" in done.stderr
    data = pickle.dumps(backend)
    del backend, md
    gc.collect()
    with pytest.raises(ConfigurationError, match="after it is gone"):
        pickle.loads(data)


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_fork_does_not_inherit_a_held_lock() -> None:
    """Another thread uses the store at the time of the fork; the child must not wait for it."""
    import threading

    backend = InMemoryAsyncBackend()
    md = RemoteKVMapping(backend, "ep1")
    md["n"] = 0
    stop = threading.Event()

    def hammer() -> None:
        while not stop.is_set():
            md["n"] = 1

    thread = threading.Thread(target=hammer)
    thread.start()
    try:
        for _ in range(20):
            child = os.fork()
            if child == 0:
                md["n"] = 2
                ok = md["n"] == 2 and md.increment("n") == 3
                os._exit(0 if ok else 1)
            deadline = time.monotonic() + 20
            while (done := os.waitpid(child, os.WNOHANG))[0] == 0:
                if time.monotonic() > deadline:
                    os.kill(child, 9)
                    pytest.fail("the child hangs")
            assert done[1] == 0
    finally:
        stop.set()
        thread.join()


def test_a_busy_loop_is_told_once_however_much_there_is_to_tell() -> None:
    async def work() -> None:
        backend = InMemoryAsyncBackend()
        async with aclosing(backend.watch("")) as events:
            await anext(events)
            before = len(asyncio.get_running_loop()._ready)
            for n in range(1000):  # without giving the loop a turn
                backend.synchronous.commit([Put("k", str(n).encode())], timeout=1)
            assert len(asyncio.get_running_loop()._ready) <= before + 1
            event = await anext(events)
            assert isinstance(event, Changes)
            assert [change.value for change in event.events] == [b"999"]

    asyncio.run(asyncio.wait_for(work(), 10))
