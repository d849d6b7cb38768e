"""Servers that tests of several folders share: started when first asked for, one a session."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from kv_dict.testing.servers.redis import RedisServer


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a database that tests may empty: of KV_DICT_TEST_REDIS_URL, or of a new server."""
    if given := os.environ.get("KV_DICT_TEST_REDIS_URL"):
        yield given
        return
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server.url
