"""What a PostgreSQL server may answer: each answer is told as what it means, and no more."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest
from asyncpg.exceptions import InternalClientError

from kv_dict import ConfigurationError, EncodeError, PostgresBackend, RemoteKVMapping, Unavailable
from kv_dict.backends.postgres import batch
from kv_dict.model import Put
from kv_dict.portal import face_of
from kv_dict.testing.raw.postgres import Elsewhere
from kv_dict.testing.waiting import until


@pytest.fixture
def backend(postgres_url: str, table: str) -> Iterator[PostgresBackend]:
    made = PostgresBackend(postgres_url, table, create_table=True)
    face_of(made).commit([Put("k", b"1")], timeout=5)
    yield made
    face_of(made).close()


@pytest.fixture
def person(sql: Elsewhere, table: str, backend: PostgresBackend) -> Iterator[str]:
    """A role that may use the table, and no more."""
    name = f"person_{table}"
    sql.execute(f"CREATE ROLE {name} LOGIN")
    sql.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table}, {table}_tombstones TO {name}")
    sql.execute(f"GRANT SELECT, UPDATE ON {table}_clock TO {name}")
    yield name
    sql.execute(f"DROP OWNED BY {name}")
    sql.execute(f"DROP ROLE {name}")


@pytest.fixture
def theirs(postgres_url: str, person: str, table: str) -> Iterator[PostgresBackend]:
    made = PostgresBackend(postgres_url.replace("postgres@", f"{person}@"), table)
    yield made
    face_of(made).close()


def holds(backend: PostgresBackend) -> bytes:
    entry = face_of(backend).read("k", timeout=5)
    assert entry is not None
    return entry.value


@pytest.fixture
def answers(sql: Elsewhere, table: str) -> Callable[[str], None]:
    """Have the server refuse every put with a certain SQLSTATE, the first two times."""

    def answer(state: str) -> None:
        sql.execute(
            f"CREATE SEQUENCE {table}_times; GRANT USAGE ON {table}_times TO PUBLIC; "
            f"CREATE FUNCTION {table}_refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            f"IF nextval('{table}_times') <= 2 THEN RAISE 'as ordered' USING ERRCODE = '{state}'; "
            "END IF; RETURN NEW; END $$; "
            f"CREATE TRIGGER refuse BEFORE UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION "
            f"{table}_refuse()"
        )

    return answer


@pytest.mark.parametrize(
    ("state", "error", "says"),
    [
        ("53100", Unavailable, "disk is full"),
        ("53200", Unavailable, "as ordered"),  # out of memory
        ("23514", Unavailable, "as ordered"),  # a CHECK of the operator's
        ("57014", Unavailable, "statement_timeout"),
        ("25006", Unavailable, "only reads"),
        ("54000", EncodeError, "cannot hold"),
        ("42501", ConfigurationError, "GRANT SELECT"),
    ],
)
def test_refused(
    backend: PostgresBackend,
    answers: Callable[[str], None],
    state: str,
    error: type[Exception],
    says: str,
) -> None:
    answers(state)
    for _ in range(2):
        with pytest.raises(error, match=says):
            face_of(backend).commit([Put("k", b"2")], timeout=5)
        assert holds(backend) == b"1"
    face_of(backend).commit([Put("k", b"3")], timeout=5)
    assert holds(backend) == b"3"


@pytest.mark.parametrize("state", ["40001", "40P01"])
def test_undone_for_another_writer_and_sent_again(
    backend: PostgresBackend, answers: Callable[[str], None], state: str
) -> None:
    answers(state)
    face_of(backend).commit([Put("k", b"2")], timeout=5)
    assert holds(backend) == b"2"


def test_no_connection_left(sql: Elsewhere, person: str, theirs: PostgresBackend) -> None:
    sql.execute(f"ALTER ROLE {person} CONNECTION LIMIT 0")
    with pytest.raises(Unavailable, match="no connection left"):
        face_of(theirs).commit([Put("k", b"2")], timeout=5)
    sql.execute(f"ALTER ROLE {person} CONNECTION LIMIT 5")
    face_of(theirs).commit([Put("k", b"2")], timeout=5)


@pytest.mark.parametrize("option", ["creat_table=true", "statement_timeout=soon"])
def test_options_that_the_server_refuses(postgres_url: str, option: str) -> None:
    backend = PostgresBackend(f"{postgres_url}?{option}")
    with pytest.raises(ConfigurationError, match=f"{option.partition('=')[0]}.*options in the URL"):
        face_of(backend).ping(timeout=5)
    face_of(backend).close()


def test_a_server_that_only_reads_for_a_while(
    sql: Elsewhere, person: str, theirs: PostgresBackend
) -> None:
    sql.execute(f"ALTER ROLE {person} SET default_transaction_read_only = on")
    assert holds(theirs) == b"1"
    with pytest.raises(Unavailable, match="only reads"):
        face_of(theirs).commit([Put("k", b"2")], timeout=5)
    sql.execute(f"ALTER ROLE {person} RESET default_transaction_read_only")
    face_of(theirs).commit([Put("k", b"2")], timeout=5)  # on a connection made since


def test_serializable_transactions(sql: Elsewhere, person: str, theirs: PostgresBackend) -> None:
    sql.execute(f"ALTER ROLE {person} SET default_transaction_isolation = serializable")
    with RemoteKVMapping(theirs, "ep1", timeout=15) as md:
        md["n"] = 0
        threads = [
            threading.Thread(target=lambda: [md.increment("n") for _ in range(20)])
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert md["n"] == 80


def test_timeouts_of_the_server(
    sql: Elsewhere, person: str, theirs: PostgresBackend, table: str
) -> None:
    sql.execute(f"ALTER ROLE {person} SET statement_timeout = 100")
    sql.execute(f"ALTER ROLE {person} SET idle_session_timeout = 100")
    face_of(theirs).ping(timeout=5)
    sql.execute("BEGIN")
    sql.execute(f"UPDATE {table} SET v = '9' WHERE k = 'k'")
    try:
        with pytest.raises(Unavailable, match="statement_timeout"):
            face_of(theirs).commit([Put("k", b"2")], timeout=5)
    finally:
        sql.execute("ROLLBACK")
    # The server hangs up on a connection that nobody uses: the next write makes a new one.
    query = f"SELECT count(*) FROM pg_stat_activity WHERE usename = '{person}'"
    for number in range(3):
        face_of(theirs).commit([Put("k", b"%d" % number)], timeout=5)
        until(lambda: sql.fetch(query)[0][0] == 0)
    assert holds(theirs) == b"2"


def test_what_the_driver_refuses_to_send_is_sent_on_another_connection(
    backend: PostgresBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a connection that the server has just hung up on: asyncpg sees that in its state."""
    send, refused = batch.Batch.send, []

    async def refuse_once(self: batch.Batch, *known: object) -> object:
        if not refused:
            refused.append(True)
            raise InternalClientError("cannot switch to state 12; another operation (2) is ...")
        return await send(self, *known)

    monkeypatch.setattr(batch.Batch, "send", refuse_once)
    face_of(backend).commit([Put("k", b"2")], timeout=5)
    assert refused
    assert holds(backend) == b"2"


def test_an_operator_ends_a_session(sql: Elsewhere, person: str, theirs: PostgresBackend) -> None:
    ended = f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename='{person}'"
    for number in range(5):
        face_of(theirs).commit([Put("k", b"%d" % number)], timeout=5)
        assert sql.fetch(ended)[0][0] is True
    assert holds(theirs) == b"4"


def test_two_columns_upgraded_under_a_running_program(
    postgres_url: str, sql: Elsewhere, table: str
) -> None:
    sql.execute(f"CREATE TABLE {table} (k text PRIMARY KEY, v jsonb NOT NULL)")
    sql.execute(f"INSERT INTO {table} VALUES ('ep1:a', '1')")
    running = PostgresBackend(postgres_url, table)
    with RemoteKVMapping(running, "ep1", timeout=5) as md:
        with pytest.raises(ConfigurationError, match="two columns only"):
            md["a"] = 2
        with RemoteKVMapping(PostgresBackend(postgres_url, table, create_table=True), "ep1") as new:
            assert new["a"] == 1
        md["a"] = 2
        assert dict(md) == {"a": 2}


def test_other_writers_within_one_transaction(
    backend: PostgresBackend, sql: Elsewhere, table: str
) -> None:
    """What the commit function does for itself, the triggers still do for everybody else."""
    call = f"SELECT {table}_commit('1000', NULL, NULL, NULL, NULL, NULL, NULL, '{{f}}', '{{1}}')"
    sql.execute(
        f"BEGIN; {call}; INSERT INTO {table} (k, v, revision) VALUES ('by hand', '1', 5); "
        f"SAVEPOINT s; {call.replace('{f}', '{g}')}; ROLLBACK TO s; "
        f"UPDATE {table} SET v = '2', revision = 7 WHERE k = 'k'; COMMIT"
    )
    entries = {entry.key: entry for entry in face_of(backend).snapshot("", timeout=5).entries}
    assert entries.keys() == {"k", "f", "by hand"}
    (last,) = {entry.revision for entry in entries.values()}
    assert face_of(backend).commit([Put("k", b"3", last)], timeout=5)[0] > last
