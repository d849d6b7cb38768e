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
    NatsBackend,
    PostgresBackend,
    RedisBackend,
    RemoteKVMapping,
    SQLiteBackend,
)
from kv_dict.backend import Capabilities
from kv_dict.model import Entry as StoredEntry
from kv_dict.model import Operation, Put, Revision, Snapshot, WatchEvent


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


def empty_redis(url: str) -> RedisBackend:
    with redis.Redis.from_url(url) as client:
        client.flushdb()
    return RedisBackend(url)


@pytest.fixture(params=["memory", "sqlite", "asynchronous", "redis", "postgres", "nats"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    """A new, empty store of each kind; kept open for the whole test."""
    made: Backend
    if request.param == "memory":
        made = InMemoryAsyncBackend()
    elif request.param == "sqlite":
        made = SQLiteBackend(tmp_path / "md.db")
    elif request.param == "redis":
        made = empty_redis(request.getfixturevalue("redis_url"))
    elif request.param == "postgres":
        made = PostgresBackend(
            request.getfixturevalue("postgres_url"),
            request.getfixturevalue("table"),
            create_table=True,
        )
    elif request.param == "nats":
        made = NatsBackend(
            request.getfixturevalue("nats_url"),
            request.getfixturevalue("bucket"),
            create_bucket=True,
        )
    else:
        made = AsynchronousOnly()
    keeper = RemoteKVMapping(made, "keeps-the-backend-open")
    yield made
    keeper.close()


@pytest.fixture
def md(backend: Backend) -> Iterator[RemoteKVMapping]:
    """The mapping under test."""
    with RemoteKVMapping(backend, "ep1") as mapping:
        yield mapping


@pytest.fixture
def other(backend: Backend) -> Iterator[RemoteKVMapping]:
    """A second mapping on the same items, which shares no state with `md` but the store."""
    with RemoteKVMapping(backend, "ep1") as mapping:
        yield mapping


@pytest.fixture(params=[":", None], ids=["sep", "flat"])
def sep_md(request: pytest.FixtureRequest, backend: Backend) -> Iterator[RemoteKVMapping]:
    """A mapping of each layout."""
    with RemoteKVMapping(backend, "ep1", request.param) as mapping:
        yield mapping


@pytest.fixture
def put(backend: Backend) -> Callable[[dict[str, bytes]], None]:
    """Write stored keys behind the mapping's back."""

    def write(entries: dict[str, bytes]) -> None:
        operations = [Put(key, value) for key, value in entries.items()]
        asyncio.run(backend.commit(operations, timeout=5))

    return write


@pytest.fixture
def stored(backend: Backend) -> Callable[[], dict[str, bytes]]:
    """Read every stored key behind the mapping's back."""

    def read() -> dict[str, bytes]:
        snapshot = asyncio.run(backend.snapshot("", timeout=5))
        return {entry.key: entry.value for entry in snapshot.entries}

    return read
