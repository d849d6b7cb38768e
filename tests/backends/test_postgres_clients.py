"""One PostgreSQL backend in many threads and loops, and on clients that the user made."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator

import asyncpg
import pytest

from kv_dict import (
    ClosedError,
    ConfigurationError,
    KVDictError,
    OutcomeUnknown,
    PostgresBackend,
    RemoteKVMapping,
    Unavailable,
)
from kv_dict.backends.postgres import connections
from kv_dict.model import Put, Stale
from kv_dict.portal import face_of
from kv_dict.testing import Watching
from kv_dict.testing.raw.postgres import Elsewhere


@pytest.fixture
def backend(postgres_url: str, table: str) -> Iterator[PostgresBackend]:
    made = PostgresBackend(postgres_url, table, create_table=True)
    face_of(made).ping(timeout=5)
    yield made
    face_of(made).close()


def sessions(sql: Elsewhere, name: str) -> int:
    """Return how many connections call themselves `name`."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1"
    return int(sql.fetch(query, name)[0][0])


def test_a_connection_that_was_idle_for_long_is_tried_before_a_write(
    backend: PostgresBackend, sql: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    face = face_of(backend)
    face.read("k", timeout=5)
    monkeypatch.setattr(connections, "_QUIET", 0.0)
    for number in range(3):
        face.commit([Put("k", b"%d" % number)], timeout=5)
        face.read("k", timeout=5)
    sql.fetch(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE pid <> pg_backend_pid() AND datname = current_database()"
    )
    face.commit([Put("k", b"3")], timeout=5)
    assert face.read("k", timeout=5).value == b"3"


def test_many_threads_and_loops(postgres_url: str, table: str, sql: Elsewhere) -> None:
    name = f"many_{table}"
    url = f"{postgres_url}?application_name={name}"
    backend = PostgresBackend(url, table, create_table=True, max_connections=3)
    errors: list[BaseException] = []
    most = 0

    async def in_a_loop(who: int) -> None:
        async def one(number: int) -> None:
            await backend.commit([Put(f"ep1:{who}-{number}", b"1")], timeout=15)
            assert await backend.read("ep1:n", timeout=15) is not None

        await asyncio.gather(*(one(number) for number in range(10)))

    def in_a_thread(who: int) -> None:
        for _ in range(10):
            md.increment("n")
            md["d"][str(who)] = who

    def work(who: int) -> None:
        try:
            asyncio.run(in_a_loop(who)) if who % 2 else in_a_thread(who)
        except BaseException as error:
            errors.append(error)

    with RemoteKVMapping(backend, "ep1", timeout=15) as md:
        md.update(n=0, d={})
        threads = [threading.Thread(target=work, args=(who,)) for who in range(8)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            most = max(most, sessions(sql, name))
        assert errors == []
        assert (md["n"], md["d"]) == (40, {str(who): who for who in range(0, 8, 2)})
        assert len(md) == 2 + 4 * 10
        assert most <= 3 * 5  # four loops, and the one behind the mapping
    deadline = time.monotonic() + 15
    while sessions(sql, name) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert sessions(sql, name) == 0


def test_a_pool_of_the_users(postgres_url: str, table: str, backend: PostgresBackend) -> None:
    async def work() -> None:
        async with asyncpg.create_pool(postgres_url, min_size=1, max_size=3) as pool:
            mine = PostgresBackend(client=pool, table=table)
            await mine.commit([Put("p:a", b"1")], timeout=5)

            def elsewhere() -> object:  # a mapping in another thread than the pool's loop
                with RemoteKVMapping(mine, "p", timeout=5) as md:
                    md["b"] = 2
                    return dict(md)

            async with Watching(mine, "p:") as watching:
                await watching.until_synced()
                mine.retain()
                assert await asyncio.to_thread(elsewhere) == {"a": 1, "b": 2}
                await watching.until_state({"p:a": b"1", "p:b": b"2"})
                await mine.close()
                assert isinstance(await watching.outcome(), ClosedError)
            assert await pool.fetchval("SELECT 1") == 1

    asyncio.run(work())


def test_a_connection_of_the_users(postgres_url: str, table: str, backend: PostgresBackend) -> None:
    async def work() -> None:
        connection = await asyncpg.connect(postgres_url)
        mine = PostgresBackend(client=connection, table=table)

        def elsewhere() -> None:
            with RemoteKVMapping(mine, "p", timeout=10) as md:
                md["n"] = 0
                counters = [
                    threading.Thread(target=lambda: [md.increment("n") for _ in range(10)])
                    for _ in range(4)
                ]
                for thread in counters:
                    thread.start()
                for thread in counters:
                    thread.join()
                assert md["n"] == 40

        mine.retain()
        async with Watching(mine, "p:") as watching:
            await watching.until_synced()
            await asyncio.to_thread(elsewhere)
            await watching.until_state({"p:n": b"40"})
            await asyncio.to_thread(face_of(backend).commit, [Put("p:m", b"1")], timeout=5)
            await watching.until_state({"p:n": b"40", "p:m": b"1"})
            assert watching.count(Stale) == 0
        # It is as it was: nothing listens, and it is open.
        assert await connection.fetch("SELECT pg_listening_channels()") == []
        async with connection.transaction():
            with pytest.raises(ConfigurationError, match="in a transaction of yours"):
                await mine.commit([Put("p:n", b"41")], timeout=5)
        await connection.close()
        with pytest.raises(Unavailable, match="closed"):
            await mine.commit([Put("p:n", b"42")], timeout=5)
        with pytest.raises(Unavailable, match="closed"):
            await mine.read("p:n", timeout=5)
        await mine.close()

    asyncio.run(work())
    assert face_of(backend).read("p:n", timeout=5).value == b"40"


def test_a_pool_that_was_closed(postgres_url: str, table: str, backend: PostgresBackend) -> None:
    async def work() -> PostgresBackend:
        pool = await asyncpg.create_pool(postgres_url, min_size=1, max_size=2)
        mine = PostgresBackend(client=pool, table=table)
        await mine.commit([Put("k", b"1")], timeout=5)
        async with Watching(mine, "") as watching:
            await watching.until_synced()
            pool.terminate()
            await watching.until(lambda w: w.count(Stale) == 1, "stale")
            with pytest.raises(Unavailable, match="pool is clos"):
                await mine.commit([Put("k", b"2")], timeout=5)
            with pytest.raises(Unavailable, match="pool is clos"):
                await mine.read("k", timeout=5)
        return mine

    mine = asyncio.run(work())
    with pytest.raises(ConfigurationError, match="event loop of the client does not run"):
        face_of(mine).read("k", timeout=5)
    assert face_of(backend).read("k", timeout=5).value == b"1"


def test_a_mapping_in_the_very_loop_of_its_pool(
    postgres_url: str, table: str, backend: PostgresBackend
) -> None:
    """It waits for itself, but not for ever, and says what it waited for."""

    async def work() -> list[KVDictError]:
        async with asyncpg.create_pool(postgres_url, min_size=1, max_size=2) as pool:
            mine = PostgresBackend(client=pool, table=table)
            await mine.commit([Put("p:a", b"1")], timeout=5)
            md = RemoteKVMapping(mine, "p", timeout=0.2)
            errors = []
            for use in (lambda: md["a"], lambda: md.update(a=2)):
                with pytest.raises(KVDictError, match="loop of the client is busy") as caught:
                    use()
                errors.append(caught.value)
            await asyncio.to_thread(md.close)
            return errors

    read, write = asyncio.run(work())
    assert isinstance(read, Unavailable)
    assert isinstance(write, OutcomeUnknown)


def test_what_is_no_client() -> None:
    with pytest.raises(ConfigurationError, match="a pool or a connection of asyncpg"):
        PostgresBackend(client=object())
