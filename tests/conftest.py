"""The servers that several folders of tests share: each started once, when first needed."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session")
def nats_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real NATS server: one for all tests, or the one that KV_DICT_TEST_NATS_URL names."""
    from kv_dict.testing.servers.nats import NatsServer

    given = os.environ.get("KV_DICT_TEST_NATS_URL")
    if given:
        yield given
        return
    with NatsServer(tmp_path_factory.mktemp("nats")) as server:
        yield server.url


@pytest.fixture
def bucket() -> str:
    """The name of a bucket that does not exist yet."""
    return f"kv_dict_{uuid.uuid4().hex[:12]}"
