"""RunEngines that are taken down, and a wait for what has to come true."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from kv_dict import InMemoryAsyncBackend, RemoteKVMapping

DEADLINE = 30.0
"""Seconds that anything may take before a test gives up waiting for it."""


@pytest.fixture
def eventually() -> Callable[[Callable[[], object]], None]:
    """A function that returns when what it is given is true, and fails after the deadline."""

    def wait(condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + DEADLINE
        while not condition():
            assert time.monotonic() < deadline, "it did not come true"
            time.sleep(0.01)

    return wait


@pytest.fixture
def shared() -> Iterator[RemoteKVMapping]:
    """Metadata that keeps what it was."""
    with RemoteKVMapping(InMemoryAsyncBackend(history=10_000), "ep1") as md:
        yield md


@pytest.fixture
def make_engine() -> Iterator[Callable[..., Any]]:
    """A function that makes a RunEngine, which is stopped with its loop and thread at the end."""
    from bluesky import RunEngine

    engines: list[RunEngine] = []

    def make(md: Any = None, **options: Any) -> RunEngine:
        engines.append(RunEngine(md, **options))
        return engines[-1]

    yield make
    for engine in engines:
        if engine.state not in ("idle", "panicked"):
            engine.halt()
        engine.loop.call_soon_threadsafe(engine.loop.stop)
        engine._th.join(DEADLINE)
        assert not engine._th.is_alive()
        engine.loop.close()
