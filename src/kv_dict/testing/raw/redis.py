"""A Redis database as redis-cli sees it."""

from __future__ import annotations

import redis

from kv_dict import RedisBackend
from kv_dict.testing.raw import RawStore

__all__ = ["RawRedis"]


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
            value: bytes | None = client.get(key)
            return value

    def put(self, key: str, value: bytes) -> None:
        with self._client() as client:
            client.set(key, value)

    def delete(self, key: str) -> None:
        with self._client() as client:
            client.delete(key)

    def keys(self) -> set[str]:
        with self._client() as client:
            return {key.decode() for key in client.scan_iter(count=1000)}
