"""The history that a table of PostgreSQL keeps: other writers, upgrades and privileges."""

from __future__ import annotations

import asyncio
import pickle
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kv_dict import ConfigurationError, PostgresBackend, RemoteKVMapping, Unsupported
from kv_dict.model import Delete, Put
from kv_dict.portal import face_of
from kv_dict.testing.raw.postgres import Elsewhere
from kv_dict.testing.watching import Watching

FORMER = (Path(__file__).parent / "postgres_without_history.sql").read_text()
"""What made a table before there was a history."""

T = 10.0

Open = Callable[..., PostgresBackend]


@pytest.fixture
def opened(postgres_url: str, table: str) -> Iterator[Open]:
    """Return a function that opens a backend on the table; they are closed at the end."""
    backends: list[PostgresBackend] = []

    def open_one(url: str = postgres_url, **options: object) -> PostgresBackend:
        backend = PostgresBackend(url, table, **options)  # type: ignore[arg-type]
        backends.append(backend)
        return backend

    yield open_one
    for backend in backends:
        face_of(backend).close()


@pytest.fixture
def person(sql: Elsewhere, table: str) -> Iterator[str]:
    """Return a role that may log in, and nothing else."""
    name = f"{table}_person"
    sql.execute(f"CREATE ROLE {name} LOGIN")
    sql.execute(f"GRANT USAGE ON SCHEMA public TO {name}")
    yield name
    sql.execute(f"DROP OWNED BY {name}")
    sql.execute(f"DROP ROLE {name}")


def as_person(url: str, person: str) -> str:
    return url.replace("postgres@", f"{person}@")


def ping(backend: PostgresBackend) -> PostgresBackend:
    face_of(backend).ping(timeout=T)
    return backend


def put(backend: PostgresBackend, key: str, *values: str) -> None:
    for value in values:
        face_of(backend).commit([Put(key, value.encode())], timeout=T)


def values(backend: PostgresBackend, key: str) -> list[str]:
    return [entry.value.decode() for entry in face_of(backend).history(key, timeout=T)]


def make_former(sql: Elsewhere, table: str) -> None:
    sql.execute(f"BEGIN; {FORMER.replace('former', table)}; COMMIT")


# -- how many --------------------------------------------------------------------------------------


def test_the_table_remembers_how_many(opened: Open, sql: Elsewhere, table: str) -> None:
    put(opened(create_table=True, history=3), "a", "1", "2", "3", "4")
    plain = opened()
    put(plain, "a", "5")
    assert values(plain, "a") == ["3", "4", "5"]
    ping(opened(history=2))  # forgets at once, not with the next write of each key
    assert values(plain, "a") == ["4", "5"]
    ping(opened(history=4))
    put(plain, "a", "6", "7", "8")
    assert values(plain, "a") == ["5", "6", "7", "8"]
    sql.execute(f"UPDATE {table}_clock SET history = 1")  # an operator
    assert values(plain, "a") == ["8"]
    ping(opened(history=0))
    with pytest.raises(Unsupported, match="history=N"):
        values(plain, "a")
    put(plain, "a", "9")
    assert sql.fetch(f"SELECT * FROM {table}_history") == []
    ping(opened(history=2))
    assert values(plain, "a") == []  # from now on
    put(plain, "a", "10")
    assert values(plain, "a") == ["10"]


def test_a_pickle_asks_for_the_same(opened: Open) -> None:
    again = pickle.loads(pickle.dumps(opened(create_table=True, history=2)))
    put(again, "a", "1", "2", "3")
    assert values(again, "a") == ["2", "3"]
    face_of(again).close()


def test_what_an_operator_may_not_set(opened: Open, sql: Elsewhere, table: str) -> None:
    import asyncpg

    ping(opened(create_table=True))
    for wrong in ("-1", "NULL", "1000001"):
        with pytest.raises(asyncpg.IntegrityConstraintViolationError):
            sql.execute(f"UPDATE {table}_clock SET history = {wrong}")


def test_the_sql_for_an_operator_sets_it(sql: Elsewhere, opened: Open, postgres_url: str) -> None:
    backend = opened(history=2)
    with pytest.raises(ConfigurationError, match="create_table=True") as caught:
        ping(backend)
    assert "history=2).creation_sql" in str(caught.value)
    assert "gen_random_uuid(), 1, 2);" in backend.creation_sql
    sql.execute(f"BEGIN; {backend.creation_sql}; COMMIT")
    put(opened(), "a", "1", "2", "3")
    assert values(backend, "a") == ["2", "3"]


# -- other writers ---------------------------------------------------------------------------------


def test_what_psql_writes(opened: Open, sql: Elsewhere, table: str) -> None:
    backend = opened(create_table=True, history=3)
    put(backend, "a", "1")
    sql.execute(f"INSERT INTO {table} (k, v) VALUES ('a', '2') ON CONFLICT (k) DO NOTHING")
    assert values(backend, "a") == ["1"]  # nothing was written
    sql.execute(f"BEGIN; UPDATE {table} SET v = '3'; UPDATE {table} SET v = '4'; ROLLBACK")
    assert values(backend, "a") == ["1"]
    sql.execute(f"BEGIN; UPDATE {table} SET v = '3'; UPDATE {table} SET v = '4'; COMMIT")
    assert values(backend, "a") == ["1", "4"]  # what nobody else could ever see is no value
    sql.execute(f"UPDATE {table} SET k = 'b'")
    assert (values(backend, "a"), values(backend, "b")) == (["1", "4"], ["4"])
    sql.execute(f"INSERT INTO {table} (k, v) SELECT 'k' || n, n FROM generate_series(1, 100) n")
    sql.execute(f"UPDATE {table} SET v = v || '0' WHERE k <> 'b'")
    assert [values(backend, f"k{n}") for n in (1, 100)] == [["1", "10"], ["100", "1000"]]
    sql.execute(f"TRUNCATE {table}")
    assert values(backend, "b") == ["4"]
    entries = face_of(backend).history("k1", timeout=T)
    assert [entry.revision for entry in entries] == sorted({entry.revision for entry in entries})


def test_a_function_call_within_a_transaction_of_psql(
    opened: Open, sql: Elsewhere, table: str
) -> None:
    backend = opened(create_table=True, history=3)
    put(backend, "a", "0")
    call = f"SELECT {table}_commit('1000', NULL, NULL, NULL, NULL, NULL, NULL, '{{a}}', '{{%d}}')"
    sql.execute(f"BEGIN; UPDATE {table} SET v = '1'; {call % 2}; {call % 3}; COMMIT")
    assert values(backend, "a") == ["1", "2", "3"]


def test_a_change_of_how_many_hides_no_write(opened: Open, sql: Elsewhere, table: str) -> None:
    backend = ping(opened(create_table=True))

    async def work() -> None:
        async with Watching(backend, "") as watching:
            await watching.until_synced()
            await asyncio.to_thread(
                sql.execute,
                f"BEGIN; UPDATE {table}_clock SET history = 5; "
                f"INSERT INTO {table} (k, v) VALUES ('a', '1'); COMMIT",
            )
            await watching.until_state({"a": b"1"})

    asyncio.run(work())
    assert values(backend, "a") == ["1"]


# -- tables of before ------------------------------------------------------------------------------


def test_a_table_without_one_works_as_before(opened: Open, sql: Elsewhere, table: str) -> None:
    make_former(sql, table)
    for backend in (opened(), opened(create_table=True), opened(history=0)):
        put(backend, "a", "1")
        with pytest.raises(Unsupported, match="history=N"):
            values(backend, "a")
    assert sql.fetch(f"SELECT to_regclass('{table}_history') AS made")[0]["made"] is None


def test_a_table_without_one_is_upgraded(
    opened: Open, sql: Elsewhere, postgres_url: str, table: str, person: str
) -> None:
    make_former(sql, table)
    sql.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table}, {table}_tombstones TO {person}")
    sql.execute(f"GRANT SELECT, UPDATE ON {table}_clock TO {person}")
    running = opened(as_person(postgres_url, person))
    put(running, "a", "1")
    with pytest.raises(Unsupported):
        values(running, "a")
    asking = opened(as_person(postgres_url, person), create_table=True, history=4)
    with pytest.raises(ConfigurationError, match="to upgrade a table, to own it"):
        ping(asking)
    ping(opened(create_table=True, history=3))
    put(running, "a", "2", "3")  # it goes on, and what it writes is kept
    sql.execute(f"UPDATE {table} SET v = '4'")
    assert values(running, "a") == ["2", "3", "4"]
    assert values(asking, "a") == ["2", "3", "4"]  # now it may
    put(asking, "a", "5")
    assert values(running, "a") == ["2", "3", "4", "5"]
    face_of(running).commit([Delete("a")], timeout=T)


def test_who_may_not_upgrade_is_told_what_to_run(opened: Open, sql: Elsewhere, table: str) -> None:
    make_former(sql, table)
    asking = opened(history=2)
    for operation in (lambda: put(asking, "a", "1"), lambda: values(asking, "a")):
        with pytest.raises(ConfigurationError, match="create_table=True") as caught:
            operation()
    assert sql.fetch(f"SELECT * FROM {table}") == []
    script = str(caught.value).partition("transaction:\n")[2]
    sql.execute(f"BEGIN; {script}; COMMIT")
    put(asking, "a", "1", "2", "3")
    assert values(asking, "a") == ["2", "3"]


def test_writers_go_on_while_it_is_upgraded(opened: Open, sql: Elsewhere, table: str) -> None:
    make_former(sql, table)
    writing, upgraded = threading.Barrier(4), threading.Event()
    counted: dict[str, int] = {}

    def count(name: str) -> None:
        with RemoteKVMapping(opened(), "md", timeout=T) as md:
            more = 10
            while more:
                md.increment("all")
                counted[name] = md.increment(name)
                if counted[name] == 10:
                    writing.wait(T)
                more -= upgraded.is_set()

    threads = [threading.Thread(target=count, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    writing.wait(T)
    ping(opened(create_table=True, history=10))
    upgraded.set()
    for thread in threads:
        thread.join()
    total = sum(counted.values())
    with RemoteKVMapping(opened(), "md", timeout=T) as md:
        assert dict(md) == counted | {"all": total}
        kept = [version.value for version in md.history("all")]
        assert kept == list(range(total - 9, total + 1))


def test_a_table_of_two_columns(opened: Open, sql: Elsewhere, table: str) -> None:
    sql.execute(f"CREATE TABLE {table} (k text PRIMARY KEY, v text NOT NULL)")
    sql.execute(f"INSERT INTO {table} VALUES ('a', '1')")
    with pytest.raises(ConfigurationError, match="Upgrade it in place"):
        ping(opened(history=2))
    with pytest.raises(Unsupported, match="history=N"):
        values(opened(), "a")
    upgraded = opened(create_table=True, history=2)
    put(upgraded, "a", "2", "3", "4")
    assert values(upgraded, "a") == ["3", "4"]


# -- privileges ------------------------------------------------------------------------------------


def test_who_has_no_right_to_the_history(
    opened: Open, sql: Elsewhere, postgres_url: str, table: str, person: str
) -> None:
    owner = ping(opened(create_table=True))
    sql.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table}, {table}_tombstones TO {person}")
    sql.execute(f"GRANT SELECT, UPDATE ON {table}_clock TO {person}")
    theirs = opened(as_person(postgres_url, person))
    put(theirs, "a", "1")  # nothing is kept, and nothing is needed
    ping(opened(history=2))
    for operation in (lambda: put(theirs, "a", "2"), lambda: values(theirs, "a")):
        with pytest.raises(ConfigurationError, match=rf"GRANT SELECT, INSERT.* {table}_history TO"):
            operation()
    sql.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table}_history TO {person}")
    put(theirs, "a", "2")
    assert values(theirs, "a") == values(owner, "a") == ["2"]


def test_a_reader_reads_it_and_cannot_set_it(
    opened: Open, sql: Elsewhere, postgres_url: str, table: str, person: str
) -> None:
    put(opened(create_table=True, history=2), "a", "1")
    sql.execute(
        f"GRANT SELECT ON {table}, {table}_clock, {table}_tombstones, {table}_history TO {person}"
    )
    assert values(opened(as_person(postgres_url, person), history=2), "a") == ["1"]
    with pytest.raises(ConfigurationError, match="GRANT"):
        values(opened(as_person(postgres_url, person), history=3), "a")
