"""A server of the test's own, of each kind, that it may kill, freeze and cut off."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kv_dict.testing.proxy import FaultProxy
from kv_dict.testing.servers import NatsServer, PostgresServer, RedisServer, ServerProcess

KINDS = {"redis": RedisServer, "postgres": PostgresServer, "nats": NatsServer}


@pytest.fixture(params=KINDS)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ServerProcess]:
    """A running server, with the settings that make every acknowledged write durable."""
    with KINDS[request.param](tmp_path / "server") as server:
        yield server


@pytest.fixture
def proxy(server: ServerProcess) -> Iterator[FaultProxy]:
    """A proxy in front of `server`."""
    with FaultProxy(server.port) as proxy:
        yield proxy
