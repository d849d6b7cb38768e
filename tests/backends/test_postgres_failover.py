"""Several PostgreSQL servers: a primary dies, a standby takes over, one is cut off."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kv_dict import OutcomeUnknown, PostgresBackend, RemoteKVMapping, Unavailable
from kv_dict.backends import open_backend
from kv_dict.model import Put, Stale
from kv_dict.portal import face_of
from kv_dict.testing import Watching
from kv_dict.testing.proxy import FaultProxy
from kv_dict.testing.raw.postgres import Elsewhere
from kv_dict.testing.servers.postgres import PostgresServer, _bin, _prefix
from kv_dict.testing.servers.process import ServerError, free_port


class Standby(PostgresServer):
    """Follows a primary by streaming replication."""

    def __init__(self, folder: Path, primary: PostgresServer) -> None:
        super().__init__(folder)
        self.primary = primary

    def prepare(self) -> None:
        done = subprocess.run(
            [
                *(*_prefix(), str(_bin() / "pg_basebackup"), "-D", str(self.data)),
                *(
                    "--write-recovery-conf",
                    "--checkpoint=fast",
                    "--no-sync",
                    "-d",
                    self.primary.url,
                ),
            ],
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
        )
        if done.returncode != 0:
            raise ServerError(f"pg_basebackup: {done.stderr}")
        with (self.data / "postgresql.conf").open("a") as file:
            file.write(f"unix_socket_directories = '{self._short}'\n")


def both(primary: PostgresServer, standby: PostgresServer, table: str) -> str:
    return (
        f"postgresql://postgres@127.0.0.1:{primary.port},127.0.0.1:{standby.port}/postgres"
        f"?table={table}&create_table=true"
    )


@pytest.fixture
def primary(tmp_path: Path) -> Iterator[PostgresServer]:
    with PostgresServer(tmp_path / "primary", {"fsync": "off"}) as server:
        yield server


@pytest.fixture
def standby(tmp_path: Path, primary: PostgresServer) -> Iterator[Standby]:
    with Standby(tmp_path / "standby", primary) as server:
        yield server


def standbys(primary: Elsewhere, count: int) -> None:
    """Wait until so many standbys have replayed all."""
    deadline = time.monotonic() + 15
    query = (
        "SELECT count(*) FROM pg_stat_replication WHERE replay_lsn >= pg_current_wal_flush_lsn()"
    )
    while primary.fetch(query)[0][0] != count:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def cut_off(standby: Standby, primary: Elsewhere) -> None:
    """Let the standby receive nothing more."""
    sql = Elsewhere(standby.url)
    sql.execute("ALTER SYSTEM SET primary_conninfo = ''")
    sql.execute("SELECT pg_reload_conf()")
    sql.close()
    standbys(primary, 0)


def test_fail_over(primary: PostgresServer, standby: Standby, table: str) -> None:
    backend = open_backend(both(primary, standby, table))
    there = Elsewhere(primary.url)
    with RemoteKVMapping(backend, "ep1", timeout=5) as md:
        md.update(a=1, d={"x": 1})
        nested = md["d"]
        standbys(there, 1)

        reading = PostgresBackend(standby.url, table)
        assert face_of(reading).read("ep1:a", timeout=5).value == b"1"
        with pytest.raises(Unavailable, match="only reads"):
            face_of(reading).commit([Put("ep1:a", b"2")], timeout=5)
        only = open_backend(f"{standby.url}?target_session_attrs=read-write&table={table}")
        with pytest.raises(Unavailable, match="not what target_session_attrs asks for"):
            face_of(only).ping(timeout=5)
        face_of(only).close()

        async def watch() -> None:
            watching_backend = open_backend(both(primary, standby, table))
            async with Watching(watching_backend, "ep1:") as watching:
                await watching.until_synced()
                await asyncio.to_thread(cut_off, standby, there)
                await asyncio.to_thread(write_what_will_be_lost)
                await watching.until_state({"ep1:a": b"99", "ep1:d": b'{"x":1,"lost":1}'})
                await asyncio.to_thread(primary.kill)
                await watching.until(lambda w: w.count(Stale) == 1, "stale")
                await asyncio.to_thread(while_there_is_no_primary)
                await asyncio.to_thread(promote, standby)
                await asyncio.to_thread(afterwards)
                await watching.until_state({"ep1:a": b"3", "ep1:d": b'{"x":1,"y":2}'})
                assert watching.count(Stale) == 1
            await watching_backend.close()

        def write_what_will_be_lost() -> None:
            md["a"] = 99
            nested["lost"] = 1

        def while_there_is_no_primary() -> None:
            with pytest.raises((Unavailable, OutcomeUnknown)):
                md["a"] = 2
            with pytest.raises(Unavailable, match=r"nobody listens there.*target_session_attrs"):
                md["a"] = 2

        def afterwards() -> None:
            assert md["a"] == 1
            md["a"] = 3
            # Its guard is the revision of what was lost: it conflicts, and is applied to what is.
            nested["y"] = 2
            assert md == {"a": 3, "d": {"x": 1, "y": 2}}
            face_of(reading).commit([Put("other", b"1")], timeout=5)  # it may write now

        asyncio.run(watch())
        face_of(reading).close()
    there.close()


def promote(standby: Standby) -> None:
    sql = Elsewhere(standby.url)
    assert sql.fetch("SELECT pg_promote()")[0][0] is True
    sql.close()


@pytest.mark.parametrize("timeout", [0.5, 5])
def test_a_first_server_that_is_cut_off(postgres_url: str, table: str, timeout: float) -> None:
    port = int(postgres_url.rpartition(":")[2].partition("/")[0])
    with FaultProxy(port) as proxy:
        proxy.black_hole()
        url = postgres_url.replace(f":{port}", f":{proxy.port},127.0.0.1:{port}")
        backend = open_backend(f"{url}?table={table}&create_table=true")
        with RemoteKVMapping(backend, "ep1", timeout=timeout) as md:
            begun = time.monotonic()
            try:
                md["a"] = 1
            except Unavailable:
                assert timeout < 1, "there was time enough for the second one"
            assert time.monotonic() - begun < timeout + 4
            connections = proxy.connections
            md.timeout = 5
            for number in range(5):
                md["a"] = number
            assert dict(md) == {"a": 4}
            assert proxy.connections == connections, "the one that works is asked first"


def test_several_servers_of_which_one_is_up(postgres_url: str, table: str) -> None:
    here = postgres_url.partition("@")[2].partition("/")[0]
    url = f"postgresql://postgres@127.0.0.1:{free_port()},{here}/postgres"
    with RemoteKVMapping(open_backend(f"{url}?table={table}&create_table=true"), "ep1") as md:
        md["a"] = 1
        assert md.backend.url.endswith(f"/postgres?table={table}")
