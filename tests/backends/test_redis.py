"""The Redis backend: conformance against a real server."""

from __future__ import annotations

import pytest

from kv_dict.testing import BackendConformance, RawStore
from kv_dict.testing.raw.redis import RawRedis


class TestRedisBackend(BackendConformance):
    @pytest.fixture
    def raw(self, redis_url: str) -> RawStore:
        return RawRedis(redis_url)
