"""What the tests of several backends use."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from kv_dict import RedisBackend, RemoteKVMapping


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    """A plain client of the shared Redis, emptied."""
    with redis.Redis.from_url(redis_url) as client:
        client.flushdb()
        yield client


@pytest.fixture
def shared(redis_url: str, client: redis.Redis) -> Iterator[RemoteKVMapping]:
    """A mapping on the shared Redis, empty."""
    with RemoteKVMapping(RedisBackend(redis_url), "ep1") as md:
        yield md
