"""What tests of several folders share; servers are started when first asked for, one a session."""

from __future__ import annotations

import os
import ssl
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from kv_dict.testing.raw.postgres import Elsewhere
from kv_dict.testing.servers.nats import NatsServer
from kv_dict.testing.servers.postgres import PostgresServer
from kv_dict.testing.servers.redis import RedisServer
from kv_dict.testing.waiting import PATIENCE, until


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a database that tests may empty: of KV_DICT_TEST_REDIS_URL, or of a new server."""
    if given := os.environ.get("KV_DICT_TEST_REDIS_URL"):
        yield given
        return
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server.url


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a database where tests may do anything: KV_DICT_TEST_POSTGRES_URL, or a new one.

    Whoever owns it has to be a superuser. The new one may lose data to a power failure.
    """
    if given := os.environ.get("KV_DICT_TEST_POSTGRES_URL"):
        yield given
        return
    with PostgresServer(tmp_path_factory.mktemp("postgres") / "server", {"fsync": "off"}) as server:
        yield server.url


@pytest.fixture(scope="session")
def nats_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a server where tests may make buckets: KV_DICT_TEST_NATS_URL, or a new one."""
    if given := os.environ.get("KV_DICT_TEST_NATS_URL"):
        yield given
        return
    with NatsServer(tmp_path_factory.mktemp("nats")) as server:
        yield server.url


@pytest.fixture
def bucket() -> str:
    """The name of a bucket that does not exist yet."""
    return f"kv_dict_{uuid.uuid4().hex[:12]}"


@pytest.fixture
def table() -> str:
    """The name of a table that does not exist yet."""
    return f"kv_{uuid.uuid4().hex[:12]}"


@pytest.fixture(params=["sqlite", "redis", "postgres", "nats"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a store that is new, of each kind that several processes can share."""
    if request.param == "sqlite":
        return f"sqlite://{tmp_path}/md.db"
    name = request.getfixturevalue(f"{request.param}_url")
    if request.param == "postgres":
        return f"{name}?table={request.getfixturevalue('table')}&create_table=true"
    if request.param == "nats":
        return f"{name}?bucket={request.getfixturevalue('bucket')}&create_bucket=true"
    return str(name)


@pytest.fixture(scope="session")
def sql(postgres_url: str) -> Iterator[Elsewhere]:
    """A plain connection to the shared PostgreSQL."""
    there = Elsewhere(postgres_url)
    yield there
    there.close()


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ca.pem, server.pem and .key (of localhost), client.pem and .key."""
    folder = tmp_path_factory.mktemp("certificates")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    for name, identity in (("server", "localhost"), ("client", "client@beamline")):
        made = authority.issue_cert(identity, common_name=name)
        for number, blob in enumerate(made.cert_chain_pems):
            blob.write_to_path(folder / f"{name}.pem", append=number > 0)
        made.private_key_pem.write_to_path(folder / f"{name}.key")
        (folder / f"{name}.key").chmod(0o600)
    return folder


@pytest.fixture(scope="session")
def tls_context(certificates: Path) -> ssl.SSLContext:
    """What a server needs to speak TLS, and to ask clients for a certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.pem", certificates / "server.key")
    context.load_verify_locations(certificates / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    return context


@pytest.fixture
def make_engine() -> Iterator[Callable[..., Any]]:
    """A function that makes a RunEngine, which is stopped with its loop and thread at the end."""
    from bluesky import RunEngine

    engines: list[RunEngine] = []

    def make(md: Any = None, **options: Any) -> RunEngine:
        engines.append(RunEngine(md, **options))
        return engines[-1]

    yield make
    for engine in engines:
        if engine.state not in ("idle", "panicked"):
            engine.halt()
        engine.loop.call_soon_threadsafe(engine.loop.stop)
        engine._th.join(PATIENCE)
        assert not engine._th.is_alive()
        engine.loop.close()


@pytest.fixture
def eventually() -> Callable[[Callable[[], object]], None]:
    """A function that returns when what it is given is true: see `until`."""
    return until
