"""What can go wrong with a PostgreSQL server: each has an error of its own, and nothing is lost."""

from __future__ import annotations

import asyncio
import os
import shlex
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from kv_dict import (
    ConfigurationError,
    ConflictError,
    OutcomeUnknown,
    PostgresBackend,
    RemoteKVMapping,
    Unavailable,
)
from kv_dict.backends import open_backend
from kv_dict.backends.postgres.batch import batches
from kv_dict.backends.postgres.layout import Layout, Shape
from kv_dict.backends.postgres.statements import Statements
from kv_dict.backends.postgres.table import TableName
from kv_dict.model import Delete, DeletePrefix, Put, Stale
from kv_dict.portal import face_of
from kv_dict.testing import Watching
from kv_dict.testing.raw.postgres import Elsewhere
from kv_dict.testing.servers.postgres import PostgresServer


@pytest.fixture
def backend(postgres_url: str, table: str) -> Iterator[PostgresBackend]:
    made = PostgresBackend(postgres_url, table, create_table=True)
    face_of(made).ping(timeout=5)
    yield made
    face_of(made).close()


@pytest.fixture(scope="module")
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """A server to be killed and frozen."""
    with PostgresServer(tmp_path_factory.mktemp("postgres") / "server") as server:
        yield server


@pytest.fixture
def server(own_server: PostgresServer) -> Iterator[PostgresServer]:
    yield own_server
    if own_server._process is None:
        own_server.start()


def value(backend: PostgresBackend, key: str) -> bytes | None:
    entry = face_of(backend).read(key, timeout=5)
    return None if entry is None else entry.value


# -- servers that are not there --------------------------------------------------------------------


def test_nobody_listens() -> None:
    backend = PostgresBackend("postgresql://postgres@127.0.0.1:1/postgres")
    begun = time.monotonic()
    with pytest.raises(Unavailable, match="nobody listens there"):
        face_of(backend).read("k", timeout=5)
    with pytest.raises(Unavailable, match="nobody listens there"):
        face_of(backend).commit([Put("k", b"1")], timeout=5)
    assert time.monotonic() - begun < 5
    face_of(backend).close()


def test_a_frozen_server_hangs_nobody(server: PostgresServer, table: str) -> None:
    backend = PostgresBackend(server.url, table, create_table=True)
    face = face_of(backend)
    face.commit([Put("k", b"1")], timeout=5)
    server.freeze()
    try:
        for operation, error in (
            (lambda: face.read("k", timeout=0.3), Unavailable),
            (lambda: face.snapshot("", timeout=0.3), Unavailable),
            (lambda: face.ping(timeout=0.3), Unavailable),
        ):
            begun = time.monotonic()
            with pytest.raises(error, match=r"within 0\.3 s"):
                operation()
            assert time.monotonic() - begun < 4
        fresh = face_of(PostgresBackend(server.url, table))
        with pytest.raises(Unavailable):  # not even connected: surely not written
            fresh.commit([Put("k", b"2")], timeout=0.3)
    finally:
        server.thaw()
    assert value(backend, "k") == b"1"
    face.commit([Put("k", b"3")], timeout=5)
    server.freeze()
    try:
        with pytest.raises(OutcomeUnknown, match="may or may not"):
            face.commit([Put("k", b"4")], timeout=0.3)
    finally:
        server.thaw()
    assert value(backend, "k") in (b"3", b"4")
    fresh.close()
    face.close()


def test_after_a_restart_the_next_operation_works(server: PostgresServer, table: str) -> None:
    with RemoteKVMapping(
        PostgresBackend(server.url, table, create_table=True), "ep1", timeout=5
    ) as md:
        for number in range(3):
            md["n"] = number
            (server.kill if number % 2 else server.stop)()
            with pytest.raises((Unavailable, OutcomeUnknown)):
                md["n"] = 99
            server.start()
            assert md["n"] == number
            md["n"] = number + 1
            assert md["n"] == number + 1


def test_no_acknowledged_write_is_lost(server: PostgresServer, table: str) -> None:
    backend = PostgresBackend(server.url, table, create_table=True)
    face = face_of(backend)
    face.ping(timeout=5)
    acknowledged: list[set[str]] = [set() for _ in range(4)]
    refused: list[set[str]] = [set() for _ in range(4)]
    enough, stop = threading.Event(), threading.Event()
    errors: list[BaseException] = []

    def write(who: int) -> None:
        number = 0
        try:
            while not stop.is_set():
                key = f"{who}:{number}"
                number += 1
                try:
                    face.commit([Put(key, b"1")], timeout=3)
                except Unavailable:
                    refused[who].add(key)
                    stop.wait(0.01)
                except OutcomeUnknown:
                    pass
                else:
                    acknowledged[who].add(key)
                if sum(map(len, acknowledged)) >= 150:
                    enough.set()
        except BaseException as error:
            errors.append(error)
            enough.set()

    threads = [threading.Thread(target=write, args=(who,)) for who in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(3):
            assert enough.wait(20)
            server.kill()
            server.start()
            before = sum(map(len, acknowledged))
            deadline = time.monotonic() + 15
            while sum(map(len, acknowledged)) < before + 50 and time.monotonic() < deadline:
                stop.wait(0.01)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert errors == []
    present = {entry.key for entry in face.snapshot("", timeout=5).entries}
    assert set().union(*acknowledged) <= present
    assert set().union(*refused) & present == set()
    assert len(present) > 250
    face.close()


def test_a_watch_tells_what_went_during_an_outage(server: PostgresServer, table: str) -> None:
    backend = PostgresBackend(server.url, table, create_table=True)

    async def work() -> None:
        await backend.commit([Put("p:stays", b"1"), Put("p:goes", b"1")], timeout=5)
        async with Watching(backend, "p:") as watching:
            await watching.until_synced()
            port = server.port
            await asyncio.to_thread(server.kill)
            await watching.until(lambda w: w.count(Stale) == 1, "stale")
            # Somebody deletes while the watch cannot come near: on another port.
            server.port = port_of_nobody()
            server.start()  # here: it ends with the thread that starts it
            other = await asyncpg.connect(server.url)
            await other.execute(f"DELETE FROM {table} WHERE k = 'p:goes'")
            other.terminate()
            await asyncio.to_thread(server.stop)
            server.port = port
            server.start()
            await watching.until_state({"p:stays": b"1"})
            await watching.until_synced(2)
            await backend.commit([Put("p:new", b"1")], timeout=5)
            await watching.until_state({"p:stays": b"1", "p:new": b"1"})
        await backend.close()

    asyncio.run(work())


def port_of_nobody() -> int:
    from kv_dict.testing.servers.process import free_port

    return free_port()


def test_a_frozen_server_makes_a_watch_stale(server: PostgresServer, table: str) -> None:
    backend = PostgresBackend(server.url, table, create_table=True)

    async def work() -> None:
        async with Watching(backend, "") as watching:
            await watching.until_synced()
            server.freeze()
            try:
                await watching.until(lambda w: w.count(Stale) == 1, "stale")
            finally:
                server.thaw()
            await watching.until_synced(2)
        await backend.close()

    asyncio.run(work())


# -- configuration ---------------------------------------------------------------------------------


@pytest.fixture
def person(sql: Elsewhere, table: str) -> Iterator[str]:
    """A role without any rights, whose password is never shown."""
    name = f"person_{table}"
    sql.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'hush-hush'")
    yield name
    sql.execute(f"DROP OWNED BY {name}")
    sql.execute(f"DROP ROLE {name}")


def as_person(postgres_url: str, person: str) -> str:
    return postgres_url.replace("postgres@", f"{person}:hush-hush@")


def test_a_wrong_password(tmp_path: Path) -> None:
    with PostgresServer(tmp_path / "server") as server:
        connect = Elsewhere(server.url)
        connect.execute("ALTER ROLE postgres PASSWORD 'right'")
        connect.close()
        rules = server.data / "pg_hba.conf"
        rules.write_text("host all all 127.0.0.1/32 scram-sha-256\n")
        server.stop()
        # As a rule it is ready when it lets somebody in without a password.
        server.ready = lambda: not _refused(server.port)  # type: ignore[method-assign]
        server.start()
        url = server.url.replace("postgres@", "postgres:hush-hush@")
        backend = PostgresBackend(url)
        with pytest.raises(ConfigurationError, match="password authentication failed") as caught:
            face_of(backend).ping(timeout=5)
        assert "hush" not in str(caught.value) + repr(backend) + backend.url
        assert "hush" not in variables(caught.value)
        face_of(backend).close()
        secret = tmp_path / "password"
        secret.write_text("right\n")
        backend = open_backend(f"{server.url}?create_table=true&password_file={secret}")
        face_of(backend).commit([Put("k", b"1")], timeout=5)
        face_of(backend).close()
        secret.unlink()
        backend.retain()
        with pytest.raises(ConfigurationError, match=r"password_file=.*password: No such file"):
            face_of(backend).ping(timeout=5)
        face_of(backend).close()


def test_a_password_is_in_no_variable_of_a_traceback(
    postgres_url: str, server: PostgresServer
) -> None:
    server.freeze()
    try:
        for url in (postgres_url.replace("/postgres", "/nowhere"), server.url, f"{server.url}?a=b"):
            secret = url.replace("postgres@", "postgres:hush-hush@")
            backend = PostgresBackend(secret + ("&" if "?" in url else "?") + "sslpassword=hush")
            with pytest.raises((ConfigurationError, Unavailable)) as caught:
                face_of(backend).ping(timeout=0.3)
            shown = variables(caught.value)
            assert "servers.py" in shown, "the frames of the failure are among them"
            assert "hush" not in shown
            face_of(backend).close()
    finally:
        server.thaw()


def variables(error: BaseException) -> str:
    """Return every variable of every frame of an error and its causes, but for those of tests."""
    told = []
    following: BaseException | None = error
    while following is not None:
        for frame, _ in traceback.walk_tb(following.__traceback__):
            if frame.f_code.co_filename != __file__:
                told.append(f"{frame.f_code.co_filename}: {frame.f_locals!r}")
        following = following.__cause__ or following.__context__
    return "\n".join(told)


def _refused(port: int) -> bool:
    import socket

    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def test_a_missing_database(postgres_url: str) -> None:
    backend = PostgresBackend(postgres_url.replace("/postgres", "/nowhere_at_all"))
    with pytest.raises(ConfigurationError, match="nowhere_at_all"):
        face_of(backend).ping(timeout=5)
    face_of(backend).close()


@pytest.mark.parametrize("name", ["{}", """"It's {}\""""])
def test_a_missing_table_says_what_to_run(
    postgres_url: str, sql: Elsewhere, table: str, name: str
) -> None:
    backend = PostgresBackend(postgres_url, name.format(table))
    with pytest.raises(ConfigurationError, match="create_table=True") as caught:
        face_of(backend).commit([Put("k", b"1")], timeout=5)
    python, *command = shlex.split(str(caught.value).partition("the SQL that this prints: ")[2])
    assert python == "python"
    script = subprocess.check_output([sys.executable, *command], text=True, timeout=60)
    sql.execute(f"BEGIN; {script}; COMMIT")
    face_of(backend).commit([Put("k", b"1")], timeout=5)
    assert value(backend, "k") == b"1"
    face_of(backend).close()


def test_privileges(
    postgres_url: str, sql: Elsewhere, table: str, person: str, backend: PostgresBackend
) -> None:
    face_of(backend).commit([Put("k", b"1")], timeout=5)
    theirs = PostgresBackend(as_person(postgres_url, person), table)
    with pytest.raises(ConfigurationError, match="GRANT SELECT, INSERT, UPDATE, DELETE"):
        face_of(theirs).read("k", timeout=5)
    tables = f"{table}, {table}_clock, {table}_tombstones"
    sql.execute(f"GRANT SELECT ON {tables} TO {person}")
    assert value(theirs, "k") == b"1"
    with pytest.raises(ConfigurationError, match="GRANT SELECT, INSERT, UPDATE, DELETE"):
        face_of(theirs).commit([Put("k", b"2")], timeout=5)
    sql.execute(f"GRANT INSERT, UPDATE, DELETE ON {table}, {table}_tombstones TO {person}")
    sql.execute(f"GRANT UPDATE ON {table}_clock TO {person}")
    face_of(theirs).commit([Put("k", b"2"), DeletePrefix("x"), Delete("y")], timeout=5)
    assert value(backend, "k") == b"2"
    face_of(theirs).close()
    makes = PostgresBackend(as_person(postgres_url, person), table + "_new", create_table=True)
    with pytest.raises(ConfigurationError, match="CREATE on the schema"):
        face_of(makes).ping(timeout=5)
    face_of(makes).close()


@pytest.mark.parametrize(
    "columns",
    [
        "id int, name text",
        "k text, v text",  # without a primary key
        "k text PRIMARY KEY, v text, owner text NOT NULL",
        "k text, v text, PRIMARY KEY (k, v)",
    ],
)
@pytest.mark.parametrize("create", [True, False])
def test_a_table_of_another_program(
    postgres_url: str, sql: Elsewhere, table: str, columns: str, create: bool
) -> None:
    sql.execute(f"CREATE TABLE {table} ({columns})")
    backend = PostgresBackend(postgres_url, table, create_table=create)
    with pytest.raises(ConfigurationError, match="of another program"):
        face_of(backend).commit([Put("k", b"1")], timeout=5)
    with pytest.raises(ConfigurationError, match="of another program"):
        face_of(backend).read("k", timeout=5)
    assert sql.fetch(f"SELECT * FROM {table}") == []
    face_of(backend).close()


def test_a_store_whose_clock_is_gone(
    postgres_url: str, sql: Elsewhere, table: str, backend: PostgresBackend
) -> None:
    sql.execute(f"ALTER TABLE {table}_clock RENAME TO {table}_lost")
    again = PostgresBackend(postgres_url, table, create_table=True)
    with pytest.raises(ConfigurationError, match=f"{table}_clock.* is missing; restore"):
        face_of(again).ping(timeout=5)
    face_of(again).close()


def test_tables_that_were_dropped_are_made_again(
    postgres_url: str, sql: Elsewhere, table: str, backend: PostgresBackend
) -> None:
    face_of(backend).commit([Put("k", b"1")], timeout=5)
    names = (table, f"{table}_clock", f"{table}_tombstones", f"{table}_history")
    sql.execute(f"DROP TABLE {', '.join(names)}")  # their functions stay
    with pytest.raises(ConfigurationError, match="dropped or changed"):
        face_of(backend).commit([Put("k", b"2")], timeout=5)
    face_of(backend).commit([Put("l", b"3")], timeout=5)
    assert [entry.key for entry in face_of(backend).snapshot("", timeout=5).entries] == ["l"]


def test_a_newer_format(
    postgres_url: str, sql: Elsewhere, table: str, backend: PostgresBackend
) -> None:
    sql.execute(f"UPDATE {table}_clock SET format = 99")
    newer = PostgresBackend(postgres_url, table)
    with pytest.raises(ConfigurationError, match="made by a newer kv-dict"):
        face_of(newer).read("k", timeout=5)
    face_of(newer).close()


@pytest.mark.parametrize("column", ["text", "jsonb", "json", "bytea", "varchar"])
def test_a_table_of_kv_dict_0_1(postgres_url: str, sql: Elsewhere, table: str, column: str) -> None:
    sql.execute(f"CREATE TABLE {table} (k text PRIMARY KEY, v {column} NOT NULL)")
    sql.execute(f"INSERT INTO {table} VALUES ('ep1:b', '[1, 2]'), ('ep1:a', '1'), ('ep10:c', '2')")
    old = PostgresBackend(postgres_url, table)
    with RemoteKVMapping(old, "ep1", timeout=5) as md:
        assert dict(md) == {"a": 1, "b": [1, 2]}
        assert md["b"] == [1, 2]
        with pytest.raises(ConfigurationError, match="Upgrade it in place"):
            md["a"] = 2

        async def work() -> None:
            async with Watching(old, "ep1:") as watching:
                await watching.until_synced()
                await asyncio.to_thread(sql.execute, f"UPDATE {table} SET v = '3' WHERE k='ep1:a'")
                await watching.until_state({"ep1:a": b"3", "ep1:b": b"[1, 2]"})

        if column == "jsonb":  # nothing tells of a change there: it takes a second
            asyncio.run(work())
        else:
            sql.execute(f"UPDATE {table} SET v = '3' WHERE k='ep1:a'")
        with RemoteKVMapping(
            PostgresBackend(postgres_url, table, create_table=True), "ep1", timeout=5
        ) as upgraded:
            assert dict(upgraded) == {"a": 3, "b": [1, 2]}
            upgraded["b"].append(3)
            # The program of kv-dict 0.1 goes on writing as it did.
            sql.execute(
                f"INSERT INTO {table} (k, v) VALUES ($1, $2) "
                "ON CONFLICT (k) DO UPDATE SET v = excluded.v",
                "ep1:a",
                "4",
            )
            assert dict(upgraded) == {"a": 4, "b": [1, 2, 3]}


def test_several_processes_make_the_table_at_once(
    postgres_url: str, table: str, sql: Elsewhere
) -> None:
    program = (
        "import sys; from kv_dict import PostgresBackend, RemoteKVMapping\n"
        f"with RemoteKVMapping(PostgresBackend({postgres_url!r}, {table!r}, create_table=True),"
        " 'ep1', timeout=15) as md:\n"
        "    sys.stdin.readline(); md[sys.argv[1]] = 1"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    writers = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", program, f"k{n}"],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            text=True,
        )
        for n in range(4)
    ]
    for writer in writers:
        writer.stdin.write("go\n")
        writer.stdin.flush()
    assert [writer.communicate(timeout=30)[1] for writer in writers] == [""] * 4
    rows = sql.fetch(f"SELECT k FROM {table} ORDER BY k")
    assert [row["k"] for row in rows] == [f"ep1:k{n}" for n in range(4)]


# -- other writers ---------------------------------------------------------------------------------


def test_a_watch_sees_what_psql_does(sql: Elsewhere, table: str, backend: PostgresBackend) -> None:
    async def work() -> None:
        async with Watching(backend, "p:") as watching:
            await watching.until_synced()

            async def psql(statement: str) -> None:
                await asyncio.to_thread(sql.execute, statement)

            await psql(f"INSERT INTO {table} (k, v) VALUES ('p:a', '1'), ('p:b', '1'), ('q', '1')")
            await watching.until_state({"p:a": b"1", "p:b": b"1"})
            await psql(f"UPDATE {table} SET v = '2' WHERE k = 'p:a'")
            await watching.until_state({"p:a": b"2", "p:b": b"1"})
            await psql(f"UPDATE {table} SET k = 'p:c' WHERE k = 'p:b'")
            await watching.until_state({"p:a": b"2", "p:c": b"1"})
            await psql(f"DELETE FROM {table} WHERE k = 'p:a'")
            await watching.until_state({"p:c": b"1"})
            await psql(f"DELETE FROM {table}; INSERT INTO {table} (k, v) VALUES ('p:c', '9')")
            await watching.until_state({"p:c": b"9"})
            await psql(f"TRUNCATE {table}")
            await watching.until_state({})

    asyncio.run(work())


def test_a_watch_finds_out_that_the_table_was_restored(
    sql: Elsewhere, table: str, backend: PostgresBackend
) -> None:
    async def work() -> None:
        await backend.commit([Put("a", b"1"), Put("b", b"1")], timeout=5)
        async with Watching(backend, "") as watching:
            await watching.until_state({"a": b"1", "b": b"1"})
            # As pg_restore --clean does, and a write right after it.
            tables = ("", "_clock", "_tombstones", "_history")
            triggers = ("_begin", "_stamp", "_bury", "_forget")
            again = "".join(f"DROP TABLE {table}{end};" for end in tables)
            functions = "".join(f"DROP FUNCTION {table}{end};" for end in (*triggers, "_commit"))
            await asyncio.to_thread(
                sql.execute,
                f"BEGIN; {again} {functions} {backend.creation_sql}; "
                f"INSERT INTO {table} (k, v) VALUES ('b', '2'); COMMIT",
            )
            await watching.until_state({"b": b"2"})
            await backend.commit([Put("c", b"1")], timeout=5)
            await watching.until_state({"b": b"2", "c": b"1"})

    asyncio.run(work())


def test_revisions_do_not_recur_after_a_restore(
    sql: Elsewhere, table: str, backend: PostgresBackend
) -> None:
    face = face_of(backend)
    (first,) = face.commit([Put("k", b"1")], timeout=5)
    sql.execute(f"CREATE TABLE {table}_backup AS SELECT * FROM {table}_clock")
    (second,) = face.commit([Put("k", b"2")], timeout=5)
    sql.execute(f"UPDATE {table}_clock c SET revision = b.revision FROM {table}_backup b")
    (third,) = face.commit([Put("k", b"3")], timeout=5)
    assert len({first, second, third}) == 3
    with pytest.raises(ConflictError):
        face.commit([Put("k", b"4", second)], timeout=5)


def test_a_lock_of_somebody_else_ends_in_unavailable(
    sql: Elsewhere, table: str, backend: PostgresBackend
) -> None:
    face = face_of(backend)
    face.commit([Put("k", b"1")], timeout=5)
    sql.execute("BEGIN")
    try:
        sql.execute(f"UPDATE {table} SET v = '2' WHERE k = 'k'")
        with pytest.raises(Unavailable, match="held the table"):
            face.commit([Put("k", b"3")], timeout=0.5)
        assert value(backend, "k") == b"1"
    finally:
        sql.execute("ROLLBACK")
    face.commit([Put("k", b"4")], timeout=5)
    assert value(backend, "k") == b"4"


# -- operations ------------------------------------------------------------------------------------


def test_operations_keep_their_order(backend: PostgresBackend) -> None:
    face = face_of(backend)
    face.commit([Put("p:old", b"0")], timeout=5)
    revisions = face.commit(
        [Put("p:a", b"1"), DeletePrefix("p:"), Put("p:b", b"2"), DeletePrefix("\U0010ffff")],
        timeout=5,
    )
    assert revisions[1] is None
    (entry,) = face.snapshot("", timeout=5).entries
    assert (entry.key, entry.revision) == ("p:b", revisions[2])


def test_a_writer_that_vanishes_in_the_middle_holds_up_nobody_for_long(
    postgres_url: str, backend: PostgresBackend, table: str
) -> None:
    """As a computer does that loses its network between two statements of one commit."""

    class Vanishing:
        def __init__(self, connection: asyncpg.Connection) -> None:
            self._connection = connection
            self.vanished = asyncio.Event()

        def __getattr__(self, name: str) -> object:
            return getattr(self._connection, name)

        async def fetchrow(self, *arguments: object) -> object:
            row = await self._connection.fetchrow(*arguments)
            self.vanished.set()
            await asyncio.Event().wait()
            return row

    async def work() -> None:
        connection = await asyncpg.connect(postgres_url)
        one = Vanishing(connection)
        batch = batches([Put("p:a", b"1"), DeletePrefix("p:"), Put("p:b", b"2")])
        assert len(batch.steps) == 2
        sending = asyncio.create_task(batch.send(one, Statements(layout), 0.5))
        await one.vanished.wait()
        await backend.commit([Put("k", b"1")], timeout=10)
        sending.cancel()
        await asyncio.wait([sending])
        connection.terminate()
        assert [e.key for e in (await backend.snapshot("", timeout=5)).entries] == ["k"]
        await backend.close()

    layout = Layout(Shape.STORE, TableName("public", table))
    asyncio.run(work())
    backend.retain()


def test_any_bytes_are_a_value(backend: PostgresBackend, sql: Elsewhere, table: str) -> None:
    for stored in (b"\xff\x00", b"a\x00b", b"\\x41", b"\\", b"plain"):
        face_of(backend).commit([Put("k", stored)], timeout=5)
        assert value(backend, "k") == stored


def test_a_child_makes_its_own_connections(backend: PostgresBackend) -> None:
    face = face_of(backend)
    face.commit([Put("k", b"parent")], timeout=5)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            mine = face_of(backend)
            mine.commit([Put("k", mine.read("k", timeout=5).value + b" and child")], timeout=5)
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert value(backend, "k") == b"parent and child"


# -- names and secrets -----------------------------------------------------------------------------


def test_odd_names_of_tables_are_safe(postgres_url: str, table: str, sql: Elsewhere) -> None:
    schema = table
    sql.execute(f'CREATE SCHEMA "{schema}"')
    for name in ('"it\'s; DROP TABLE ""x"""', '"Ünïcode 表"', "Folded_Name"):
        backend = PostgresBackend(postgres_url, f"{schema}.{name}", create_table=True)
        face_of(backend).commit([Put("k", b"1")], timeout=5)
        assert value(backend, "k") == b"1"
        face_of(backend).close()
    assert sql.fetch(f"SELECT k FROM {schema}.folded_name")[0]["k"] == "k"
    sql.execute(f'DROP SCHEMA "{schema}" CASCADE')


@pytest.mark.parametrize("name", ["", "a b", "a;b", 'a"b', "a.b.c", '"a$b"', "x" * 51, "1a"])
def test_what_is_no_name_of_a_table(postgres_url: str, name: str) -> None:
    with pytest.raises(ConfigurationError, match="table="):
        PostgresBackend(postgres_url, name)


@pytest.mark.parametrize(
    ("dsn", "shown"),
    [
        ("postgresql://u:hush@h/d", "postgresql://u:***@h/d"),
        ("postgres://u:hu%40sh@h:5/d?sslmode=require", "postgresql://u:***@h:5/d?sslmode=require"),
        ("postgresql://u:p@hush@h/d", "postgresql://u:***@h/d"),
        ("postgresql://u@h/d?password=hush", "postgresql://u@h/d?password=***"),
        ("postgresql://u@a:1,b:2/d", "postgresql://u@a:1,b:2/d"),
    ],
)
def test_secrets_are_never_shown(dsn: str, shown: str) -> None:
    backend = open_backend(dsn)
    assert backend.url == shown
    assert "hush" not in repr(backend) + repr(vars(backend))


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("postgresql://h/d?create_table=perhaps", "true or false"),
        ("postgresql://h/d?max_connections=0", "at least 1"),
        ("postgresql://h/d#hush", "as %23"),
        ("postgresql://u:hush/word@h/d", "is %2F"),
        ("postgresql://u:hush?word@h/d", "is %3F"),
        ("postgresql://u:12?hush@h/d", "is %3F"),
        ("postgresql://h:port/d", "is expected"),
        ("postgresql://h/d?target_session_attrs=prefer-standby", "read-write"),
        ("postgresql://u:p@h/d?password_file=x", "not both"),
    ],
)
def test_urls_that_cannot_work(url: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says) as caught:
        open_backend(url)
    assert "hush" not in str(caught.value)


def test_without_the_driver() -> None:
    program = (
        "import sys; sys.modules['asyncpg'] = None\n"
        "from kv_dict.backends import open_backend\n"
        "try: open_backend('postgresql://h/d')\n"
        "except ValueError as error: assert \"pip install 'kv-dict[postgres]'\" in str(error)\n"
        "else: sys.exit('no error')"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment)


def test_without_prepared_statements_as_behind_pgbouncer(postgres_url: str, table: str) -> None:
    url = f"{postgres_url}?statement_cache_size=0&create_table=true&table={table}"
    backend = open_backend(url)
    face_of(backend).commit([Put("p:a", b"1"), Put("p:b", b"2")], timeout=5)
    assert [e.key for e in face_of(backend).snapshot("p:", timeout=5).entries] == ["p:a", "p:b"]
    face_of(backend).close()
