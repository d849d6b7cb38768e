"""Servers that tests of several folders share: started when first asked for, one a session."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator

import pytest

from kv_dict.testing.servers.nats import NatsServer
from kv_dict.testing.servers.redis import RedisServer


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a database that tests may empty: of KV_DICT_TEST_REDIS_URL, or of a new server."""
    if given := os.environ.get("KV_DICT_TEST_REDIS_URL"):
        yield given
        return
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server.url


@pytest.fixture(scope="session")
def nats_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a server where tests may make buckets: of KV_DICT_TEST_NATS_URL, or a new one."""
    if given := os.environ.get("KV_DICT_TEST_NATS_URL"):
        yield given
        return
    with NatsServer(tmp_path_factory.mktemp("nats")) as server:
        yield server.url


@pytest.fixture
def bucket() -> str:
    """The name of a bucket that does not exist yet."""
    return f"kv_dict_{uuid.uuid4().hex[:12]}"
