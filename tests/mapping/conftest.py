"""Backends and mappings for the tests of the mapping: native, on disk, and through the portal."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from pathlib import Path

import pytest
import redis

from kv_dict import (
    Backend,
    InMemoryAsyncBackend,
    PostgresBackend,
    RedisBackend,
    RemoteKVMapping,
    SQLiteBackend,
)
from kv_dict.backend import Capabilities
from kv_dict.model import Entry as StoredEntry
from kv_dict.model import Operation, Put, Revision, Snapshot, WatchEvent
from kv_dict.portal import face_of
from kv_dict.replica import replica as replica_module
from kv_dict.testing.raw.nats import RawNats
from kv_dict.testing.raw.postgres import Elsewhere


class AsynchronousOnly(Backend):
    """A memory backend as an asynchronous driver would offer it: without a synchronous face."""

    def __init__(self) -> None:
        self.inner = InMemoryAsyncBackend()

    @property
    def url(self) -> str:
        return "memory-async://"

    @property
    def capabilities(self) -> Capabilities:
        return self.inner.capabilities

    async def read(self, key: str, *, timeout: float) -> StoredEntry | None:
        return await self.inner.read(key, timeout=timeout)

    async def snapshot(self, prefix: str, *, timeout: float) -> Snapshot:
        return await self.inner.snapshot(prefix, timeout=timeout)

    async def commit(
        self,
        operations: Sequence[Operation],
        *,
        timeout: float,
    ) -> tuple[Revision | None, ...]:
        return await self.inner.commit(operations, timeout=timeout)

    def watch(self, prefix: str) -> AsyncGenerator[WatchEvent, None]:
        return self.inner.watch(prefix)

    async def ping(self, *, timeout: float) -> None:
        await self.inner.ping(timeout=timeout)

    async def close(self) -> None:
        # The entries outlive it, as those of a server would: only this door is shut.
        self.closed = True


class Shared:
    """A store of a server that all tests use, each of which finds it empty.

    Connecting, and making a table or a bucket, would take longer than most tests.

    Parameters
    ----------
    backend : Backend
        Never closed before the last test.
    empty : callable
        Empties it as another program would.
    """

    def __init__(self, backend: Backend, empty: Callable[[], object]) -> None:
        self._keeper = RemoteKVMapping(backend, "keeps-the-backend-open")
        self._empty = empty

    def emptied(self) -> Backend:
        self._empty()
        return self._keeper.backend

    def close(self) -> None:
        self._keeper.close()


@pytest.fixture(scope="session")
def shared_redis(redis_url: str) -> Iterator[Shared]:
    with redis.Redis.from_url(redis_url) as client:
        shared = Shared(RedisBackend(redis_url), client.flushdb)
        yield shared
        shared.close()


@pytest.fixture(scope="session")
def shared_postgres(postgres_url: str, sql: Elsewhere) -> Iterator[Shared]:
    table = "kv_of_mapping_tests"
    backend = PostgresBackend(postgres_url, table, create_table=True)
    face_of(backend).ping(timeout=15)
    shared = Shared(backend, lambda: sql.execute(f"DELETE FROM {table}"))
    yield shared
    shared.close()


@pytest.fixture(scope="session")
def shared_nats(nats_url: str) -> Iterator[Shared]:
    raw = RawNats(nats_url, "kv_of_mapping_tests")
    shared = Shared(raw.open(), lambda: raw.run(raw.js.purge_stream(f"KV_{raw.bucket}")))
    yield shared
    shared.close()
    raw.close()


@pytest.fixture(params=["memory", "replica", "sqlite", "asynchronous", "redis", "postgres", "nats"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    """An empty store of each kind; kept open for the whole test."""
    made: Backend
    if request.param in ("memory", "replica"):
        made = InMemoryAsyncBackend()
    elif request.param == "sqlite":
        made = SQLiteBackend(tmp_path / "md.db")
    elif request.param == "asynchronous":
        made = AsynchronousOnly()
    else:
        shared: Shared = request.getfixturevalue(f"shared_{request.param}")
        made = shared.emptied()
    with RemoteKVMapping(made, "keeps-the-backend-open"):
        yield made


@pytest.fixture
def reads(request: pytest.FixtureRequest, backend: Backend) -> str:
    """Where the reads of mappings on `backend` are answered."""
    return "replica" if "replica" in request.node.name else "server"


@pytest.fixture
def md(backend: Backend, reads: str) -> Iterator[RemoteKVMapping]:
    """The mapping under test."""
    with RemoteKVMapping(backend, "ep1", reads=reads) as mapping:
        yield mapping


@pytest.fixture
def other(backend: Backend, reads: str) -> Iterator[RemoteKVMapping]:
    """A second mapping on the same items, which shares no state with `md` but the store."""
    with RemoteKVMapping(backend, "ep1", reads=reads) as mapping:
        yield mapping


@pytest.fixture(params=[":", None], ids=["sep", "flat"])
def sep_md(
    request: pytest.FixtureRequest, backend: Backend, reads: str
) -> Iterator[RemoteKVMapping]:
    """A mapping of each layout."""
    with RemoteKVMapping(backend, "ep1", request.param, reads=reads) as mapping:
        yield mapping


@pytest.fixture
def put(backend: Backend) -> Callable[[dict[str, bytes]], None]:
    """Write stored keys behind the mapping's back; reads see them from there on."""

    def write(entries: dict[str, bytes]) -> None:
        operations = [Put(key, value) for key, value in entries.items()]
        asyncio.run(backend.commit(operations, timeout=5))
        for replica in replica_module._shared.get(backend, {}).values():
            replica.sync(5)

    return write


@pytest.fixture
def stored(backend: Backend) -> Callable[[], dict[str, bytes]]:
    """Read every stored key behind the mapping's back."""

    def read() -> dict[str, bytes]:
        snapshot = asyncio.run(backend.snapshot("", timeout=5))
        return {entry.key: entry.value for entry in snapshot.entries}

    return read
