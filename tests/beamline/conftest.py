"""Stores that can be reopened, RunEngines that are taken down, and simulated devices."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kv_dict import Backend, InMemoryAsyncBackend, RemoteKVMapping, SQLiteBackend
from kv_dict.backend import Capabilities
from kv_dict.model import Put

DEADLINE = 30.0
"""Seconds that anything may take before a test gives up waiting for it."""


class AsyncOnlyBackend(Backend):
    """A backend without a synchronous face: every call crosses into the portal's loop thread."""

    def __init__(self, inner: Backend) -> None:
        self.inner = inner
        inner.retain()

    @property
    def url(self) -> str:
        return f"async+{self.inner.url}"

    @property
    def capabilities(self) -> Capabilities:
        return self.inner.capabilities

    async def read(self, key: str, *, timeout: float) -> Any:
        await asyncio.sleep(0)  # as a driver, which gives way at least once
        return await self.inner.read(key, timeout=timeout)

    async def read_tree(self, key: str, separator: str, *, timeout: float) -> Any:
        await asyncio.sleep(0)
        return await self.inner.read_tree(key, separator, timeout=timeout)

    async def snapshot(self, prefix: str, *, timeout: float) -> Any:
        await asyncio.sleep(0)
        return await self.inner.snapshot(prefix, timeout=timeout)

    async def commit(self, operations: Any, *, timeout: float) -> Any:
        await asyncio.sleep(0)
        return await self.inner.commit(operations, timeout=timeout)

    def watch(self, prefix: str) -> Any:
        return self.inner.watch(prefix)

    async def ping(self, *, timeout: float) -> None:
        await self.inner.ping(timeout=timeout)

    async def close(self) -> None:
        self.closed = True


class Store:
    """A store that mappings are opened on, again and again."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind = kind
        self.path = folder / "md.db"
        memory = InMemoryAsyncBackend()
        self._memory = AsyncOnlyBackend(memory) if kind == "portal" else memory
        self._open: list[RemoteKVMapping] = []

    def backend(self) -> Backend:
        """Return a backend as a newly started program would make it."""
        return SQLiteBackend(self.path) if self.kind == "sqlite" else self._memory

    def open(self) -> RemoteKVMapping:
        """Return a new mapping on what is stored."""
        mapping = RemoteKVMapping(self.backend(), "ep1")
        self._open.append(mapping)
        return mapping

    def write_raw(self, key: str, value: bytes) -> None:
        """Write as another program would, past the mapping."""

        async def write() -> None:
            backend = self.backend()
            backend.retain()
            await backend.commit([Put(key, value)], timeout=DEADLINE)
            if backend.release():
                await backend.close()

        asyncio.run(write())

    def close(self) -> None:
        """Close every mapping."""
        while self._open:
            self._open.pop().close()


@pytest.fixture(params=["memory", "sqlite", "portal"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    store = Store(request.param, tmp_path)
    yield store
    store.close()


@pytest.fixture
def sqlite_store(tmp_path: Path) -> Iterator[Store]:
    store = Store("sqlite", tmp_path)
    yield store
    store.close()


@pytest.fixture
def md(store: Store) -> RemoteKVMapping:
    return store.open()


@pytest.fixture
def RE(md: RemoteKVMapping, make_engine: Callable[..., Any]) -> Any:
    return make_engine(md)


class Devices:
    """Two motors and a point detector of ophyd-async's own simulation."""

    def __init__(self) -> None:
        from ophyd_async.core import init_devices
        from ophyd_async.sim import PatternGenerator, SimMotor, SimPointDetector

        with init_devices():
            x = SimMotor()
            y = SimMotor()
            det = SimPointDetector(PatternGenerator(), num_channels=2)
        self.x, self.y, self.det = x, y, det

    def quick(self) -> Any:
        """Plan: let the detector's exposure take no time worth waiting for."""
        from bluesky import plan_stubs as bps

        yield from bps.abs_set(self.det.acquire_time, 0.001, wait=True)


@pytest.fixture
def devices(RE: Any) -> Devices:
    devices = Devices()
    RE(devices.quick())
    return devices


class Documents(list[tuple[str, dict[str, Any]]]):
    """Callable that collects what a RunEngine emits."""

    __hash__ = object.__hash__  # a RunEngine keeps its callbacks in a set

    def __call__(self, name: str, document: dict[str, Any]) -> None:
        self.append((name, document))

    def of(self, kind: str) -> list[dict[str, Any]]:
        """Return the documents of one kind."""
        return [document for name, document in self if name == kind]

    @property
    def starts(self) -> list[dict[str, Any]]:
        return self.of("start")


@pytest.fixture
def documents(RE: Any) -> Documents:
    documents = Documents()
    RE.subscribe(documents)
    return documents


class Program:
    """Another Python process, told what to do by lines on its standard input."""

    def __init__(self, source: str, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", source, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def tell(self, line: str) -> None:
        """Send one line."""
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def hear(self) -> str:
        """Return its next line; pytest's own timeout bounds the wait."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            _, errors = self.process.communicate(timeout=DEADLINE)
            pytest.fail(f"the other process ended with {self.process.returncode}:\n{errors}")
        return line.rstrip("\n")

    def end(self) -> str:
        """Wait for its end; return what else it wrote."""
        output, errors = self.process.communicate(timeout=DEADLINE)
        assert self.process.returncode == 0, errors
        return output


@pytest.fixture
def start_program() -> Iterator[Callable[..., Program]]:
    programs: list[Program] = []

    def start(source: str, *arguments: str) -> Program:
        programs.append(Program(source, *arguments))
        return programs[-1]

    yield start
    for program in programs:
        if program.process.poll() is None:
            program.process.kill()
        program.process.communicate(timeout=DEADLINE)
