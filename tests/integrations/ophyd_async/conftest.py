"""Mappings on every backend, a second writer of each, and RunEngines that are taken down."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from bluesky import RunEngine

from kv_dict import RemoteKVMapping
from kv_dict.backends import open_backend

HERE = Path(__file__).parent

DEADLINE = 30.0
"""Seconds that anything may take before a test gives up waiting for it."""

KINDS = ("memory", "sqlite", "redis", "postgres", "nats")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.beamline)


@pytest.fixture(scope="session", params=KINDS)
def keeper(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RemoteKVMapping]:
    """A mapping that keeps a backend of each kind open; its own items are of no interest."""
    kind = request.param
    if kind == "memory":
        url = "memory://"
    elif kind == "sqlite":
        url = f"sqlite://{tmp_path_factory.mktemp('signals')}/md.db"
    else:
        url = request.getfixturevalue(f"{kind}_url")
        name = f"kv_signals_{uuid.uuid4().hex[:8]}"
        url += {
            "redis": "",
            "postgres": f"?table={name}&create_table=true",
            "nats": f"/?bucket={name}&create_bucket=true",
        }[kind]
    with RemoteKVMapping(open_backend(url), "keeper", timeout=15) as keeper:
        yield keeper


@pytest.fixture
def entry_point() -> str:
    """One that nothing is stored under yet."""
    return f"ep-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def md(keeper: RemoteKVMapping, entry_point: str) -> Iterator[RemoteKVMapping]:
    """What signals are made on."""
    with RemoteKVMapping(keeper.backend, entry_point, reads="replica") as md:
        yield md


@pytest.fixture
def other(keeper: RemoteKVMapping, entry_point: str) -> Iterator[RemoteKVMapping]:
    """Another writer of the same items, of whom `md` learns from the store's watch alone."""
    with RemoteKVMapping(keeper.backend, entry_point) as other:
        yield other


def run(work: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine in an event loop of its own."""
    return asyncio.run(asyncio.wait_for(work, DEADLINE))


@pytest.fixture(name="run")
def run_fixture() -> Callable[[Coroutine[Any, Any, Any]], Any]:
    return run


@pytest.fixture
def RE() -> Iterator[RunEngine]:
    """A RunEngine, which is stopped with its loop and thread at the end."""
    engine = RunEngine({})
    yield engine
    if engine.state != "idle":
        engine.halt()
    engine.loop.call_soon_threadsafe(engine.loop.stop)
    engine._th.join(DEADLINE)
    assert not engine._th.is_alive()
    engine.loop.close()


class Documents(list[tuple[str, dict[str, Any]]]):
    """Callable that collects what a RunEngine emits."""

    __hash__ = object.__hash__  # a RunEngine keeps its callbacks in a set

    def __call__(self, name: str, document: dict[str, Any]) -> None:
        self.append((name, document))

    def of(self, kind: str) -> list[dict[str, Any]]:
        """Return the documents of one kind."""
        return [document for name, document in self if name == kind]


@pytest.fixture
def documents(RE: RunEngine) -> Documents:
    documents = Documents()
    RE.subscribe(documents)
    return documents
