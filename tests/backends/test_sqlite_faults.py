"""What can be wrong with a file: each has an error that says what to do, and nothing is lost."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from kv_dict import (
    ClosedError,
    ConfigurationError,
    DecodeError,
    EncodeError,
    OutcomeUnknown,
    RemoteKVMapping,
    SQLiteBackend,
    Unavailable,
)
from kv_dict.backends.sqlite import backend as backend_module
from kv_dict.backends.sqlite.file import DatabaseFile, network_file_system
from kv_dict.backends.sqlite.schema import REACH
from kv_dict.model import Put, Snapshot, Stale
from kv_dict.testing import Watching


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "md.db"


@pytest.fixture
def md(path: Path) -> Iterator[RemoteKVMapping]:
    with RemoteKVMapping(SQLiteBackend(path), "ep1", timeout=1) as md:
        md["n"] = 1
        yield md


def sql(path: Path, *statements: str) -> list[tuple]:
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        for statement in statements:
            rows = connection.execute(statement).fetchall()
        return rows
    finally:
        connection.close()


# -- a file that is not ours ---------------------------------------------------------------------


def test_another_programs_database_is_not_touched(path: Path) -> None:
    sql(path, "PRAGMA journal_mode = DELETE", "CREATE TABLE theirs (x)")
    before = path.read_bytes()
    with (
        RemoteKVMapping(SQLiteBackend(path), "ep1") as md,
        pytest.raises(ConfigurationError, match="another program; nothing in it was changed"),
    ):
        md["a"] = 1
    assert path.read_bytes() == before


def test_a_file_that_is_no_database_is_not_touched(path: Path) -> None:
    path.write_text("This is my diary, and not a database at all.\n" * 50)
    before = path.read_bytes()
    with (
        RemoteKVMapping(SQLiteBackend(path), "ep1") as md,
        pytest.raises(ConfigurationError, match="is not a SQLite database"),
    ):
        md["a"] = 1
    assert path.read_bytes() == before


def test_a_newer_format_is_refused(md: RemoteKVMapping, path: Path) -> None:
    sql(path, "PRAGMA user_version = 99")
    with (
        RemoteKVMapping(SQLiteBackend(path), "ep1") as newer,
        pytest.raises(ConfigurationError, match="made by a newer kv-dict"),
    ):
        newer["a"]


def test_an_empty_file_becomes_a_store(path: Path) -> None:
    path.touch()
    with RemoteKVMapping(SQLiteBackend(path), "ep1") as md:
        md["a"] = 1
        assert md["a"] == 1


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with (
        RemoteKVMapping(SQLiteBackend(tmp_path / "no" / "md.db"), "ep1") as md,
        pytest.raises(ConfigurationError, match="there is no folder"),
    ):
        md["a"]
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_place_of_the_file(tmp_path: Path) -> None:
    with (
        RemoteKVMapping(SQLiteBackend(tmp_path), "ep1") as md,
        pytest.raises(ConfigurationError, match=r"is a folder; name a file in it: .*/metadata\.db"),
    ):
        md["a"]


def test_a_damaged_file(path: Path) -> None:
    with RemoteKVMapping(SQLiteBackend(path), "ep1") as md:
        md.update({f"k{n}": "x" * 500 for n in range(200)})
    with path.open("r+b") as file:  # the pages behind the first, which still says what it is
        file.seek(4096)
        file.write(b"\xa5" * (path.stat().st_size - 4096))
    with (
        RemoteKVMapping(SQLiteBackend(path), "ep1") as md,
        pytest.raises(Unavailable, match="is damaged; restore a backup"),
    ):
        dict(md)


# -- what the system refuses ---------------------------------------------------------------------

UNPRIVILEGED = """
import os, sys
from kv_dict import KVDictError, RemoteKVMapping, SQLiteBackend
if os.getuid() == 0:                      # root may write anything: be somebody else
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
md = RemoteKVMapping(SQLiteBackend(sys.argv[1]), "ep1", timeout=2)
try:
    md["a"] = 2
except KVDictError as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize(("folder", "file"), [(0o555, 0o444), (0o777, 0o444), (0o555, 0o666)])
def test_read_only(tmp_path: Path, folder: int, file: int) -> None:
    place = Path(subprocess.check_output(["mktemp", "-d"], text=True).strip())  # others may enter
    try:
        path = place / "md.db"
        with RemoteKVMapping(SQLiteBackend(path), "ep1") as md:
            md["a"] = 1
        path.chmod(file)
        place.chmod(folder)
        done = subprocess.run(
            [sys.executable, "-c", UNPRIVILEGED, str(path)],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("Unavailable"), done.stdout
        assert "permissions" in done.stdout or "read-only" in done.stdout
        with RemoteKVMapping(SQLiteBackend(path), "ep1") as md:
            assert md["a"] == 1
    finally:
        place.chmod(0o700)
        shutil.rmtree(place)


LIMITED = """
import resource, signal, sys
from kv_dict import KVDictError, open_mapping
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
for size in range(0, 60_000, 4096):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    for attempt in range(2):
        try:
            with open_mapping(sys.argv[1]) as md:
                md["a"] = 1
        except KVDictError as error:
            print(error)
"""


def test_a_file_that_may_not_grow(path: Path) -> None:
    """Wherever the disk refuses, that is told: not what SQLite says of tidying up after it."""
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, f"sqlite://{path}"],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    told = done.stdout.splitlines()
    assert told
    assert [line for line in told if "the disk" not in line] == []
    with RemoteKVMapping(SQLiteBackend(path), "md") as md:
        assert md["a"] == 1


def test_a_full_disk(md: RemoteKVMapping) -> None:
    """SQLite reports a page limit that is reached as it does a disk that is full."""
    writer = md.backend.synchronous._writer

    def allow(more: int) -> None:
        def limit(connection: sqlite3.Connection, deadline: float) -> None:
            (pages,) = connection.execute("PRAGMA page_count").fetchone()
            connection.execute(f"PRAGMA max_page_count = {pages + more}")

        writer.use(limit, 1)

    allow(2)
    with pytest.raises(Unavailable, match="the disk is full; free some space; nothing was written"):
        md.update(a="x" * 100_000, n=2)
    assert dict(md) == {"n": 1}
    allow(1000)  # space was freed
    md.update(a="x" * 100_000, n=2)
    assert md["n"] == 2


def test_a_value_beyond_sqlites_limit(md: RemoteKVMapping) -> None:
    md.backend.synchronous._writer.use(
        lambda connection, _: connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 10_000), 1
    )  # a billion, usually
    with pytest.raises(EncodeError, match="larger than SQLite can hold"):
        md.update(a="x" * 20_000, n=2)
    assert dict(md) == {"n": 1}
    md["a"] = "x" * 1000


def test_an_error_while_committing_leaves_the_outcome_unknown(
    md: RemoteKVMapping, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
    shared = md.backend.synchronous._writer

    class Failing:
        def __init__(self, connection: sqlite3.Connection) -> None:
            self._connection = connection

        def __getattr__(self, name: str) -> object:
            return getattr(self._connection, name)

        def execute(self, statement: str, *values: object) -> object:
            if statement == "COMMIT":
                raise error
            return self._connection.execute(statement, *values)

    monkeypatch.setattr(shared, "_connection", Failing(shared._connection))
    with pytest.raises(OutcomeUnknown, match=r"failed while committing \(disk I/O error\)"):
        md["n"] = 2
    monkeypatch.undo()
    assert md.increment("n") in (2, 3)


# -- others --------------------------------------------------------------------------------------


def test_a_writer_that_keeps_the_lock(md: RemoteKVMapping, path: Path) -> None:
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    started = time.monotonic()
    with pytest.raises(Unavailable, match="another process held the lock"):
        md["n"] = 2
    assert 0.9 < time.monotonic() - started < md.timeout + 2
    assert md["n"] == 1  # readers do not wait
    assert dict(md) == {"n": 1}
    other.execute("ROLLBACK")
    md["n"] = 2
    assert md["n"] == 2
    other.close()


def test_waiting_threads_take_turns(md: RemoteKVMapping) -> None:
    each = 50

    def work() -> None:
        for _ in range(each):
            md["n"] = md.increment("total")

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert md["total"] == 8 * each


def test_a_removed_file_is_not_made_again_behind_its_users_back(
    md: RemoteKVMapping, path: Path, tmp_path: Path
) -> None:
    away = tmp_path / "away.db"
    path.rename(away)
    for work in (lambda: md["n"], lambda: md.update(n=2), lambda: dict(md)):
        with pytest.raises(Unavailable, match="is gone"):
            work()
    assert not path.exists()
    away.rename(path)
    assert md["n"] == 1
    md["n"] = 2
    assert md["n"] == 2


def replace(path: Path, **items: object) -> None:
    """Put another store in the place of one, as an operator restoring a backup would."""
    new = path.with_name("new.db")
    with RemoteKVMapping(SQLiteBackend(new), "ep1") as md:
        md.update(items)
    for suffix in ("-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)
    new.rename(path)


def test_a_replaced_file_is_followed(md: RemoteKVMapping, path: Path) -> None:
    held = md.setdefault("d", {"old": 1})
    replace(path, n=7, d={"new": 1})
    assert dict(md) == {"n": 7, "d": {"new": 1}}
    held["more"] = 2
    assert md["d"] == {"new": 1, "more": 2}
    assert md.increment("n") == 8


def test_a_write_into_a_file_that_is_replaced_meanwhile_is_of_unknown_outcome(
    md: RemoteKVMapping, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = md.backend.synchronous
    check = store._check

    def replace_then_check(*arguments: object) -> None:
        replace(path, n=7)
        check(*arguments)

    monkeypatch.setattr(store, "_check", replace_then_check)
    with pytest.raises(OutcomeUnknown, match="was replaced by another file during the write"):
        md["n"] = 2
    monkeypatch.undo()
    assert md["n"] == 7


# -- the watch -----------------------------------------------------------------------------------


def test_a_watch_survives_a_removed_and_a_replaced_file(path: Path) -> None:
    async def work() -> None:
        backend = SQLiteBackend(path)
        await backend.commit([Put("ep1:a", b"1"), Put("ep1:b", b"1")], timeout=5)
        async with Watching(backend, "ep1:") as watching:
            await watching.until_synced()
            away = path.with_name("away.db")
            path.rename(away)  # noqa: ASYNC240 - takes no time
            await watching.until(lambda w: w.count(Stale) == 1, "stale")
            away.rename(path)
            await watching.until_synced(2)
            assert watching.state == {"ep1:a": b"1", "ep1:b": b"1"}
            await asyncio.to_thread(replace, path, b=2, c=3)
            await watching.until_state({"ep1:b": b"2", "ep1:c": b"3"})
            stale = next(event for event in watching.events if isinstance(event, Stale))
            assert "is gone" in stale.reason
            assert abs(stale.since - time.time()) < 60
        await backend.close()

    asyncio.run(work())


def test_a_watch_survives_a_restore_in_place(path: Path) -> None:
    async def work() -> None:
        backend = SQLiteBackend(path)
        await backend.commit([Put("a", b"1"), Put("b", b"1")], timeout=5)
        backup = sqlite3.connect(path.with_name("backup.db"))
        source = sqlite3.connect(path)
        source.backup(backup)
        for n in range(20):
            await backend.commit([Put("a", str(n).encode()), Put("c", b"1")], timeout=5)
        async with Watching(backend, "") as watching:
            await watching.until_state({"a": b"19", "b": b"1", "c": b"1"})
            backup.backup(source)  # the file's revisions go back
            await watching.until_state({"a": b"1", "b": b"1"})
            await backend.commit([Put("d", b"1")], timeout=5)
            await watching.until_state({"a": b"1", "b": b"1", "d": b"1"})
        source.close()
        backup.close()
        await backend.close()

    asyncio.run(work())


def test_a_watch_that_fell_behind_the_tombstones(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The trigger forgets old deletions; a watch that is too far behind must still learn them."""
    monkeypatch.setattr(backend_module, "REACH", 1)

    async def work() -> None:
        backend = SQLiteBackend(path, poll_interval=0.05)
        await backend.commit([Put(f"k{n}", b"1") for n in range(100)], timeout=5)
        events = backend.watch("")
        watching = Watching(backend, "")  # adds up what it is given
        watching.take(await anext(events))
        assert len(watching.state) == 100
        sql(path, "DELETE FROM entries WHERE key <> 'k7'", "DELETE FROM tombstones")
        event = await anext(events)
        assert isinstance(event, Snapshot)
        watching.take(event)
        assert set(watching.state) == {"k7"}
        await events.aclose()
        await backend.close()

    asyncio.run(asyncio.wait_for(work(), 20))


def test_tombstones_are_forgotten_in_time(md: RemoteKVMapping, path: Path) -> None:
    (revision,) = sql(path, "SELECT revision FROM clock")[0]
    for key, age in (("young", 0.9), ("old", 1.1)):
        sql(path, f"INSERT INTO tombstones VALUES ('{key}', {revision - int(age * REACH)}, 0)")
    md.pop("n")
    assert sql(path, "SELECT key FROM tombstones ORDER BY key") == [("ep1:n",), ("young",)]


# -- what it is and where ------------------------------------------------------------------------


def test_an_acknowledged_write_is_on_the_disk(md: RemoteKVMapping) -> None:
    for shared in (md.backend.synchronous._writer, md.backend.synchronous._reader):
        md["n"]
        modes = shared.use(
            lambda connection, _: [
                connection.execute(f"PRAGMA {name}").fetchone()[0]
                for name in ("journal_mode", "synchronous")
            ],
            1,
        )
        assert modes == [b"wal", 2]


def test_the_shell_shows_and_changes_json(md: RemoteKVMapping, path: Path) -> None:
    md["d"] = {"energy": 8.047}
    assert sql(path, "SELECT value ->> '$.energy' FROM entries WHERE key = 'ep1:d'") == [(8.047,)]
    held = md["d"]
    sql(path, "UPDATE entries SET value = json_set(value, '$.by', 'hand') WHERE key = 'ep1:d'")
    held["energy"] = 9.0
    assert md["d"] == {"energy": 9.0, "by": "hand"}
    sql(path, "UPDATE entries SET key = 'ep1:moved' WHERE key = 'ep1:d'")
    sql(path, "INSERT INTO entries (key, value) VALUES ('ep1:number', 5)")
    assert dict(md) == {"moved": {"energy": 9.0, "by": "hand"}, "n": 1, "number": 5}


def test_a_network_file_system_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounts = tmp_path / "mounts"
    home = tmp_path / "a home"
    home.mkdir()
    escaped = str(home).replace(" ", "\\040")
    mounts.write_text(f"/dev/sda1 / ext4 rw 0 0\nserver:/export {escaped} nfs4 rw,vers=4.2 0 0\n")
    assert network_file_system(home / "md.db", mounts) == "nfs4"
    assert network_file_system(tmp_path / "md.db", mounts) is None
    assert network_file_system(tmp_path / "md.db", tmp_path / "none") is None

    monkeypatch.setattr(
        "kv_dict.backends.sqlite.file.network_file_system",
        lambda path: network_file_system(path, mounts),
    )
    backend = SQLiteBackend(home / "md.db")
    with RemoteKVMapping(backend, "ep1") as md, pytest.warns(RuntimeWarning, match="nfs4"):
        md["a"] = 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with RemoteKVMapping(SQLiteBackend(tmp_path / "md.db"), "ep1") as md:
            md["a"] = 1


@pytest.mark.parametrize("path", ["", ":memory:"])
def test_a_store_has_to_be_a_file(path: str) -> None:
    with pytest.raises(ConfigurationError, match="a file is needed"):
        SQLiteBackend(path)


@pytest.mark.parametrize("interval", [0, -1, 61, float("nan")])
def test_poll_interval_has_bounds(path: Path, interval: float) -> None:
    with pytest.raises(ConfigurationError, match="poll_interval"):
        SQLiteBackend(path, poll_interval=interval)


def test_connecting_gives_up_within_the_timeout(path: Path) -> None:
    """A connection that holds the whole file keeps another from finding out what it is."""
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("PRAGMA locking_mode = EXCLUSIVE")
    other.execute("BEGIN EXCLUSIVE")
    other.execute("CREATE TABLE x (y)")
    started = time.monotonic()
    with pytest.raises(Unavailable, match="held the lock"):
        DatabaseFile(path).connect(timeout=0.5)
    assert time.monotonic() - started < 5
    other.execute("ROLLBACK")
    other.close()


def test_a_backup_is_a_store_like_any_other(md: RemoteKVMapping, path: Path) -> None:
    """VACUUM INTO makes a file without WAL, in which readers would keep writers out."""
    backup = path.with_name("backup.db")
    sql(path, f"VACUUM INTO '{backup}'")
    with RemoteKVMapping(SQLiteBackend(backup), "ep1", timeout=1) as again:
        assert again == {"n": 1}
        reader = sqlite3.connect(backup, isolation_level=None)
        assert reader.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM entries").fetchall()
        again["n"] = 2
        reader.close()


def test_foreign_rows_that_are_not_text(
    md: RemoteKVMapping, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sql(
        path,
        "INSERT INTO entries (key, value) VALUES ('ep1:bad value', CAST(x'ff22' AS TEXT))",
        "INSERT INTO entries (key, value) VALUES (CAST(x'6570313aff' AS TEXT), '1')",
    )
    assert dict(md) == {"n": 1}
    assert "is not text" in caplog.text
    with pytest.raises(DecodeError, match="bad value"):
        md["bad value"]
    del md["bad value"]
    md["m"] = 2
    assert list(md) == ["m", "n"]


def test_a_write_that_takes_too_long_is_not_made(md: RemoteKVMapping) -> None:
    md.timeout = 0.05
    with pytest.raises(Unavailable, match="took longer than its timeout; nothing was written"):
        md.update({f"k{n}": n for n in range(100_000)})
    md.timeout = 5
    assert dict(md) == {"n": 1}


def test_closing_while_others_use_it_leaves_nothing_open(path: Path) -> None:
    for _ in range(10):
        md = RemoteKVMapping(SQLiteBackend(path), "ep1")
        store = md.backend.synchronous

        def work(md: RemoteKVMapping = md) -> None:
            while True:
                try:
                    md["n"] = md.get("n", 0)
                except ClosedError:
                    break

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        md["mine"] = 1
        md.close()
        for thread in threads:
            thread.join()
        assert (store._reader._connection, store._writer._connection) == (None, None)


def test_a_watch_sees_a_restore_with_a_write_on_top(path: Path) -> None:
    async def work() -> None:
        backend = SQLiteBackend(path, poll_interval=0.2)
        await backend.commit([Put("a", b"1")], timeout=5)
        live, backup = sqlite3.connect(path), sqlite3.connect(path.with_name("backup.db"))
        live.backup(backup)
        await backend.commit([Put("later", b"1")], timeout=5)
        async with Watching(backend, "") as watching:
            await watching.until_state({"a": b"1", "later": b"1"})
            backup.backup(live)
            await backend.commit([Put("b", b"1")], timeout=5)  # before the watch looks again
            await watching.until_state({"a": b"1", "b": b"1"})
        live.close()
        backup.close()
        await backend.close()

    asyncio.run(work())


def test_a_watch_outlives_a_file_that_is_no_store_for_a_while(path: Path) -> None:
    async def work() -> None:
        backend = SQLiteBackend(path)
        await backend.commit([Put("a", b"1")], timeout=5)
        async with Watching(backend, "") as watching:
            await watching.until_synced()
            away = path.with_name("away.db")
            sql(path, "PRAGMA wal_checkpoint(TRUNCATE)")
            path.rename(away)  # noqa: ASYNC240 - takes no time
            for suffix in ("-wal", "-shm"):
                Path(f"{path}{suffix}").unlink()  # noqa: ASYNC240
            path.write_text("This is not a database.\n" * 50)  # noqa: ASYNC240
            await watching.until(lambda w: w.count(Stale) == 1, "stale")
            away.rename(path)
            await watching.until_synced(2)
        await backend.close()
        with pytest.raises(ConfigurationError):
            await anext(SQLiteBackend(path.with_name("none") / "x.db").watch(""))

    asyncio.run(work())
