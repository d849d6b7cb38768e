"""`kv-dict check`: every store healthy, and each layer failing in turn."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from kv_dict import SQLiteBackend, open_mapping
from kv_dict.testing.raw.postgres import Elsewhere
from kv_dict.testing.servers.nats import NatsServer
from kv_dict.testing.servers.redis import RedisServer

from .conftest import Run, lines


def steps(run: Run, url: str, *more: str, status: int = 0) -> dict[str, dict[str, Any]]:
    result = run("check", "--json", "--url", url, *more, status=status)
    found = {line["layer"]: line for line in lines(result)}
    assert "secret" not in result.output
    return found


def failed(found: dict[str, dict[str, Any]]) -> dict[str, Any]:
    (one,) = [step for step in found.values() if step["status"] == "fail"]
    assert list(found.values())[-1] is one  # it ends there
    return one


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(
        tmp_path / "redis",
        *("--requirepass", "secret", "--user", "reader", "on", ">secret", "~*", "&*"),
        *("+@read", "+@connection", "+info"),
    ) as server:
        yield server


# -- healthy ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["sqlite", "redis", "postgres", "nats", "memory"])
def test_a_healthy_store(
    run: Run, request: pytest.FixtureRequest, tmp_path: Path, table: str, bucket: str, kind: str
) -> None:
    value = request.getfixturevalue
    url = {
        "sqlite": lambda: f"sqlite://{tmp_path / 'a.db'}",
        "memory": lambda: "memory://",
        "redis": lambda: value("redis_url"),
        "postgres": lambda: f"{value('postgres_url')}?table={table}&create_table=true",
        "nats": lambda: f"{value('nats_url')}/?bucket={bucket}&create_bucket=true",
    }[kind]()
    with_network = [] if kind in ("sqlite", "memory") else ["name", "connect"]
    found = steps(run, url, "--entry-point", "xas")
    for layer in [
        "configuration",
        "driver",
        *with_network,
        "login" if with_network else "answer",
        "store",
        "read",
        "write",
        "watch",
    ]:
        assert found[layer]["status"] == "ok", found[layer]
    assert {step["status"] for step in found.values()} <= {"ok", "warn"}
    if kind != "memory":
        assert found["version"]["found"]
        with open_mapping(url, entry_point="") as everything:
            assert [key for key in everything if "check" in key] == []
    assert "write" not in steps(run, url, "--read-only")
    shown = run("check", "--url", url).stdout
    assert shown.startswith("ok    configuration  ")


def test_durability_is_judged(run: Run, tmp_path: Path, sql: Elsewhere, postgres_url: str) -> None:
    with RedisServer(
        tmp_path / "r",
        *("--appendfsync", "everysec", "--maxmemory", "100mb"),
        *("--maxmemory-policy", "allkeys-lru"),
    ) as server:
        found = steps(run, server.url)
        assert "loses the last second" in found["durability"]["found"]
        assert "appendfsync always" in found["durability"]["advice"]
        assert found["eviction"]["status"] == "warn"
    with RedisServer(tmp_path / "r2", "--appendonly", "no") as server:
        assert "appendonly yes" in steps(run, server.url)["durability"]["advice"]
    off = f"{postgres_url}?create_table=true&options=-csynchronous_commit%3Doff"
    told = steps(run, off)["durability"]
    assert told["status"] == "warn"


# -- each layer ------------------------------------------------------------------------------------


def test_what_is_no_configuration(run: Run, tmp_path: Path) -> None:
    assert failed(steps(run, "nothing", status=2))["layer"] == "configuration"
    assert failed(steps(run, "redis://h/0?x=1", status=2))["layer"] == "configuration"
    (tmp_path / "text.db").write_text("this is no database" * 100)
    broken = failed(steps(run, f"sqlite://{tmp_path / 'text.db'}", status=2))
    assert "not a SQLite database" in broken["found"]


def test_a_driver_that_is_missing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)
    missing = failed(steps(run, "redis://127.0.0.1:1/0", status=2))
    assert missing["layer"] == "driver"
    assert "pip install 'kv-dict[redis]'" in missing["found"]


@pytest.mark.parametrize("scheme", ["redis", "postgresql", "nats"])
def test_no_such_name_and_nobody_there(run: Run, scheme: str) -> None:
    nameless = failed(steps(run, f"{scheme}://no-such-host.invalid/", status=3))
    assert nameless["layer"] == "name"
    silent = failed(steps(run, f"{scheme}://127.0.0.1:1/", status=3))
    assert silent["layer"] == "connect"
    assert "is the server running" in silent["advice"]


def test_one_of_several_servers_is_enough(run: Run, nats_url: str, bucket: str) -> None:
    url = f"{nats_url},127.0.0.1:1/?bucket={bucket}&create_bucket=true"
    found = run("check", "--json", "--url", url)
    statuses = [line["status"] for line in lines(found) if line["layer"] == "connect"]
    assert sorted(statuses) == ["ok", "warn"]


def test_a_server_that_does_not_answer(run: Run, redis: RedisServer) -> None:
    redis.freeze()
    mute = failed(steps(run, redis.url, "--timeout", "0.3", status=3))
    assert mute["layer"] == "answer"


def test_no_tls_where_it_is_asked_for(run: Run, redis: RedisServer, certificates: Path) -> None:
    url = f"rediss://127.0.0.1:{redis.port}/0?ca_file={certificates / 'ca.pem'}"
    mute = failed(steps(run, url, "--timeout", "0.5", status=3))  # it waits for more
    assert mute["layer"] == "answer"
    assert "TLS on this port" in mute["advice"]


def test_a_certificate_that_is_not_trusted(
    run: Run, tmp_path: Path, certificates: Path, bucket: str
) -> None:
    tls = f"""tls {{ cert_file: "{certificates / "server.pem"}", """
    tls += f"""key_file: "{certificates / "server.key"}" }}\n"""
    with NatsServer(tmp_path / "nats", tls) as server:
        options = f"bucket={bucket}&create_bucket=true"
        url = f"tls://localhost:{server.port}/?{options}"
        assert failed(steps(run, url, status=2))["layer"] == "encryption"
        found = steps(run, f"{url}&ca_file={certificates / 'ca.pem'}")
        assert found["encryption"]["found"].startswith("TLSv1")


def test_a_wrong_password(run: Run, redis: RedisServer, tmp_path: Path) -> None:
    for url in (redis.url, f"redis://:wrong@127.0.0.1:{redis.port}/0"):
        assert failed(steps(run, url, status=2))["layer"] == "login"
    users = "authorization { user: bl, password: secret }\n"
    with NatsServer(tmp_path / "nats", users) as server:
        url = f"nats://bl:wrong@127.0.0.1:{server.port}/"
        assert failed(steps(run, url, status=2))["layer"] == "login"


def test_a_role_that_is_missing(run: Run, postgres_url: str) -> None:
    url = postgres_url.replace("postgres@", "nobody_here@")
    refused = failed(steps(run, url, status=2))
    assert refused["layer"] == "login"


def test_a_bucket_or_table_that_is_missing(
    run: Run, nats_url: str, postgres_url: str, bucket: str, table: str
) -> None:
    for url in (f"{nats_url}/?bucket={bucket}", f"{postgres_url}?table={table}"):
        found = steps(run, url, status=2)
        assert failed(found)["layer"] == "store"
        assert found["login"]["status"] == "ok"
        assert "\n" not in found["store"]["found"]


# -- rights ----------------------------------------------------------------------------------------


def test_a_redis_user_who_may_only_read(run: Run, redis: RedisServer) -> None:
    url = f"redis://reader:secret@127.0.0.1:{redis.port}/0"
    found = steps(run, url, status=2)
    refused = failed(found)
    assert refused["layer"] == "rights"
    assert "--read-only" in refused["advice"]
    assert found["read"]["status"] == "ok"
    assert "not told" in found["durability"]["found"]
    assert steps(run, url, "--read-only")["watch"]["status"] == "ok"


def test_a_postgres_user_who_may_only_read(
    run: Run, sql: Elsewhere, postgres_url: str, table: str
) -> None:
    with open_mapping(f"{postgres_url}?table={table}&create_table=true") as md:
        md["a"] = 1
    reader = f"reader_{table}"
    sql.execute(f"CREATE ROLE {reader} LOGIN")
    try:
        sql.execute(f"GRANT SELECT ON {table}, {table}_tombstones, {table}_clock TO {reader}")
        url = f"{postgres_url.replace('postgres@', f'{reader}@')}?table={table}"
        found = steps(run, url, status=2)
        assert failed(found)["layer"] == "rights"
        assert found["user"]["found"] == reader
        assert steps(run, url, "--read-only")["watch"]["status"] == "ok"
    finally:
        sql.execute(f"DROP OWNED BY {reader}")
        sql.execute(f"DROP ROLE {reader}")


def test_a_file_that_others_lock(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "md.db"
    with open_mapping(SQLiteBackend(path).url) as md:
        md["a"] = 1
    with closing(sqlite3.connect(path, isolation_level=None)) as blocking:
        blocking.execute("BEGIN IMMEDIATE")
        found = steps(run, f"sqlite://{path}", "--timeout", "0.3", status=3)
    assert failed(found)["layer"] == "write"
    assert found["read"]["status"] == "ok"
