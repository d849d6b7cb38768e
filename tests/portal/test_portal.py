"""A mapping on a backend that is only asynchronous: threads, loops, deadlines."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import AsyncGenerator, Iterator, Sequence

import pytest

from kv_dict import (
    InMemoryAsyncBackend,
    LoopThreadError,
    OutcomeUnknown,
    ReentryError,
    RemoteKVMapping,
    Unavailable,
    portal,
)
from kv_dict.backend import Backend, Capabilities
from kv_dict.model import Entry, Operation, Revision, Snapshot, WatchEvent


class Asynchronous(Backend):
    """Delegates to a memory backend, from a loop; `before` is awaited first, to inject faults."""

    def __init__(self) -> None:
        self.inner = InMemoryAsyncBackend()
        self.threads: set[str] = set()
        self.cancelled = 0

    async def before(self) -> None:
        await asyncio.sleep(0)

    async def _arrive(self) -> None:
        self.threads.add(threading.current_thread().name)
        try:
            await self.before()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise

    @property
    def url(self) -> str:
        return "test://"

    @property
    def capabilities(self) -> Capabilities:
        return self.inner.capabilities

    async def read(self, key: str, *, timeout: float) -> Entry | None:
        await self._arrive()
        return await self.inner.read(key, timeout=timeout)

    async def snapshot(self, prefix: str, *, timeout: float) -> Snapshot:
        await self._arrive()
        return await self.inner.snapshot(prefix, timeout=timeout)

    async def commit(
        self, operations: Sequence[Operation], *, timeout: float
    ) -> tuple[Revision | None, ...]:
        await self._arrive()
        return await self.inner.commit(operations, timeout=timeout)

    async def watch(self, prefix: str) -> AsyncGenerator[WatchEvent, None]:
        async for event in self.inner.watch(prefix):
            yield event

    async def ping(self, *, timeout: float) -> None:
        await self._arrive()

    async def close(self) -> None:
        await self.inner.close()
        self.closed = True


@pytest.fixture
def backend() -> Asynchronous:
    return Asynchronous()


@pytest.fixture
def md(backend: Asynchronous) -> Iterator[RemoteKVMapping]:
    with RemoteKVMapping(backend, "ep1", timeout=2) as md:
        yield md


def test_one_loop_thread_serves_every_mapping(md: RemoteKVMapping, backend: Asynchronous) -> None:
    with RemoteKVMapping(Asynchronous(), "other") as other:
        md["a"] = other["a"] = {"b": 1}
        md["a"]["b"] += 1
        assert (dict(md), dict(other)) == ({"a": {"b": 2}}, {"a": {"b": 1}})
        assert backend.threads | other.backend.threads == {"kv_dict loop"}
    (thread,) = [thread for thread in threading.enumerate() if thread.name == "kv_dict loop"]
    assert thread.daemon


def test_the_default_read_tree_is_exact(md: RemoteKVMapping) -> None:
    with RemoteKVMapping(md.backend, "ep1:main") as below:
        below["sup1"] = 7
    md["main2"] = 0
    assert md["main"] == {"sup1": 7}


def test_from_its_own_loop_it_is_refused(md: RemoteKVMapping, backend: Asynchronous) -> None:
    caught: list[BaseException] = []

    async def use_the_mapping() -> None:
        try:
            md["a"]
        except LoopThreadError as error:
            caught.append(error)

    backend.before = use_the_mapping  # type: ignore[method-assign]
    md["b"] = 1
    assert "asyncio.to_thread" in str(caught[0])


def test_from_another_running_loop_it_works(md: RemoteKVMapping) -> None:
    """As bluesky calls it: blocking, on the RunEngine's loop."""

    async def run() -> dict:
        md["scan_id"] = md.get("scan_id", 0) + 1
        return dict(md)

    assert asyncio.run(run()) == {"scan_id": 1}


def test_many_threads_at_once(md: RemoteKVMapping) -> None:
    threads = [
        threading.Thread(target=lambda: [md.increment("n") for _ in range(50)]) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert md["n"] == 400


@pytest.mark.parametrize("how", ["awaits for ever", "blocks the loop"])
def test_a_backend_that_misses_its_deadline(
    md: RemoteKVMapping, backend: Asynchronous, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(portal, "GRACE", 0.05)
    md.timeout = 0.1
    md["n"] = 1
    release = threading.Event()
    healthy = backend.before

    async def stuck() -> None:
        if how == "awaits for ever":
            await asyncio.Event().wait()
        release.wait(30)

    backend.before = stuck  # type: ignore[method-assign]
    started = time.monotonic()
    with pytest.raises(Unavailable, match="no answer within"):
        md["n"]
    backend.before = stuck  # type: ignore[method-assign]
    with pytest.raises(OutcomeUnknown, match="may or may not have been written"):
        md.update(n=2)
    assert time.monotonic() - started < 10
    release.set()
    backend.before = healthy  # type: ignore[method-assign]
    md.timeout = 5
    assert md["n"] in (1, 2)  # it works again
    if how == "awaits for ever":
        assert backend.cancelled == 2


def test_errors_cross_with_their_type_and_cause(md: RemoteKVMapping, backend: Asynchronous) -> None:
    async def fail() -> None:
        raise Unavailable("server is away") from ConnectionResetError("by peer")

    backend.before = fail  # type: ignore[method-assign]
    with pytest.raises(Unavailable, match="server is away") as caught:
        md["a"] = 1
    assert isinstance(caught.value.__cause__, ConnectionResetError)


def test_a_signal_handler_while_the_loop_is_made(
    md: RemoteKVMapping, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused: list[ReentryError] = []
    make = asyncio.new_event_loop

    def handler(*_: object) -> None:
        try:
            md["seen"] = 1
        except ReentryError as error:
            refused.append(error)

    def interrupted() -> asyncio.AbstractEventLoop:
        signal.raise_signal(signal.SIGUSR1)
        return make()

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        monkeypatch.setattr(portal, "_current", None)
        monkeypatch.setattr(asyncio, "new_event_loop", interrupted)
        md["n"] = 1
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert len(refused) == 1
    assert dict(md) == {"n": 1}
    made = portal._portal()
    made.loop.call_soon_threadsafe(made.loop.stop)
    made._thread.join()
    made.loop.close()
