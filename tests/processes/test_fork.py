"""A forked child uses the mapping it inherited, and does not disturb its parent."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kv_dict import InMemoryAsyncBackend, RemoteKVMapping, SQLiteBackend
from kv_dict.backend import SynchronousFace

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")


class AsynchronousOnly(InMemoryAsyncBackend):
    """A backend that the mapping reaches through the loop thread."""

    hide = True

    @property
    def synchronous(self) -> SynchronousFace:
        return None if self.hide else self._memory  # type: ignore[return-value]

    async def read_tree(self, key, separator, *, timeout):
        return self._memory.read_tree(key, separator, timeout=timeout)

    async def close(self) -> None:
        self._memory.close()


def in_child(work: Callable[[], object]) -> None:
    """Fork; fail unless `work` ends well in the child, within a deadline."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        except BaseException:  # the status tells; the traceback helps
            import traceback

            traceback.print_exc()
        finally:
            os._exit(status)
    deadline = time.monotonic() + 30
    while (done := os.waitpid(child, os.WNOHANG))[0] == 0:
        if time.monotonic() > deadline:
            os.kill(child, 9)
            os.waitpid(child, 0)
            pytest.fail("the child hangs")
        time.sleep(0.005)
    assert done[1] == 0


@pytest.fixture
def md(tmp_path: Path) -> Iterator[RemoteKVMapping]:
    with RemoteKVMapping(SQLiteBackend(tmp_path / "md.db"), "ep1") as md:
        yield md


def test_both_go_on_and_see_each_other(md: RemoteKVMapping) -> None:
    md["d"] = {"parent": 1}
    held = md["d"]

    def work() -> None:
        assert md["d"] == {"parent": 1}
        held["child"] = 2
        assert md.increment("n") == 1

    in_child(work)
    assert md["d"] == {"parent": 1, "child": 2}
    held["parent"] = 3
    assert md["d"] == {"parent": 3, "child": 2}
    assert md.increment("n") == 2


def test_a_fork_in_the_middle_of_others_work(md: RemoteKVMapping) -> None:
    """Other threads hold the connections' locks at the moment of the fork."""
    md["d"] = {"n": 0}
    stop = threading.Event()

    def hammer() -> None:
        while not stop.is_set():
            md["d"].increment("n")
            dict(md)

    threads = [threading.Thread(target=hammer) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for n in range(10):
            in_child(lambda n=n: md.update({f"child{n}": md["d"]["n"]}))
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert sorted(md) == sorted(["d", *(f"child{n}" for n in range(10))])


def test_the_child_may_close(md: RemoteKVMapping) -> None:
    md["n"] = 1
    in_child(md.close)
    assert md.increment("n") == 2


def test_the_loop_thread_is_started_again_in_a_child() -> None:
    with RemoteKVMapping(AsynchronousOnly(), "ep1") as md:
        md["n"] = 1  # starts the loop thread here

        def work() -> None:
            assert md["n"] == 1
            md["n"] = 2
            assert md["n"] == 2

        in_child(work)
        assert md["n"] == 1  # a copy of memory is the child's own


def test_a_child_of_a_process_with_a_running_loop(md: RemoteKVMapping) -> None:
    async def work() -> None:
        md["n"] = 1
        await asyncio.to_thread(in_child, lambda: md.increment("n"))

    asyncio.run(work())
    assert md["n"] == 2


def test_a_fork_while_other_threads_open_and_close(tmp_path: Path) -> None:
    """Whatever guards what is open must not be inherited locked."""
    shared = InMemoryAsyncBackend()
    stop = threading.Event()

    def churn() -> None:
        while not stop.is_set():
            RemoteKVMapping(shared, "ep1").close()
            with RemoteKVMapping(SQLiteBackend(tmp_path / "churn.db"), "ep1") as md:
                md["n"] = 1

    threads = [threading.Thread(target=churn) for _ in range(3)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    for thread in threads:
        thread.start()
    try:
        for _ in range(40):
            in_child(lambda: RemoteKVMapping(shared, "ep1").close())
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        sys.setswitchinterval(interval)
