"""The Redis backend: conformance against a real server, and what is its own."""

from __future__ import annotations

import pytest
import redis

from kv_dict import RedisBackend
from kv_dict.testing import BackendConformance, RawStore


class RawRedis(RawStore):
    """Plain SET, GET and DEL, as redis-cli would."""

    def __init__(self, url: str) -> None:
        self._url = url
        with self._client() as client:
            client.flushdb()

    def _client(self) -> redis.Redis:
        return redis.Redis.from_url(self._url)

    def open(self) -> RedisBackend:
        return RedisBackend(self._url)

    def get(self, key: str) -> bytes | None:
        with self._client() as client:
            return client.get(key)

    def put(self, key: str, value: bytes) -> None:
        with self._client() as client:
            client.set(key, value)

    def delete(self, key: str) -> None:
        with self._client() as client:
            client.delete(key)

    def keys(self) -> set[str]:
        with self._client() as client:
            return {key.decode() for key in client.scan_iter(count=1000)}


class TestRedisBackend(BackendConformance):
    @pytest.fixture
    def raw(self, redis_url: str) -> RawStore:
        return RawRedis(redis_url)
