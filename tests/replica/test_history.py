"""`md.history`, where the store keeps earlier values."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kv_dict import (
    Backend,
    ConfigurationError,
    InMemoryAsyncBackend,
    NatsBackend,
    PostgresBackend,
    RemoteKVMapping,
    SQLiteBackend,
    Unsupported,
    open_mapping,
)
from kv_dict.backends import open_backend
from kv_dict.backends.sqlite import schema


@pytest.fixture
def backend(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Backend:
    """Return a backend on an empty store that keeps three values of each key."""

    def given(name: str) -> str:
        return str(request.getfixturevalue(name))

    match kind:
        case "memory":
            return InMemoryAsyncBackend(history=3)
        case "sqlite":
            return SQLiteBackend(tmp_path / "md.db", history=3)
        case "postgres":
            return PostgresBackend(
                given("postgres_url"), given("table"), create_table=True, history=3
            )
        case _:
            return NatsBackend(given("nats_url"), given("bucket"), create_bucket=True, history=3)


@pytest.fixture
def md(backend: Backend) -> Iterator[RemoteKVMapping]:
    with RemoteKVMapping(backend, "ep1", timeout=15) as md:
        yield md


@pytest.mark.parametrize("kind", ["memory", "sqlite", "postgres", "nats"])
def test_the_last_values_are_kept(kind: str, md: RemoteKVMapping) -> None:
    before = time.time()
    for n in range(5):
        md["n"] = n
        md["other"] = n
    md["n"] = {"x": 1}
    md["n"]["x"] = 2
    assert [value for value, _, _ in md.history("n")] == [4, {"x": 1}, {"x": 2}]
    del md["n"]
    md["n"] = 9
    kept = md.history("n")
    # A bucket counts a deletion as one of the three.
    assert [value for value, _, _ in kept] == [{"x": 1}, {"x": 2}, 9][-2 if kind == "nats" else 0 :]
    assert all(before - 1 < version.time < time.time() + 1 for version in kept)
    revisions = [version.revision for version in kept]
    assert revisions == sorted(revisions)
    assert md.history("never") == []
    with pytest.raises(TypeError):
        md.history(1)


def test_without_any(tmp_path: Path, postgres_url: str, redis_url: str, table: str) -> None:
    for url in (
        "memory://",
        f"sqlite://{tmp_path}/none.db",
        f"{postgres_url}?table={table}&create_table=true",
        redis_url,
    ):
        with RemoteKVMapping(open_backend(url), "md", timeout=15) as md:
            md["n"] = 1
            with pytest.raises(Unsupported, match="history=N") as refused:
                md.history("n")
            assert str(refused.value).startswith(md.backend.url)
    assert "Redis keeps no earlier values" in str(refused.value)


def test_from_a_url(postgres_url: str, nats_url: str, table: str, bucket: str) -> None:
    for url in (
        "memory://?history=2",
        f"{postgres_url}?table={table}&create_table=true&history=2",
        f"{nats_url}/?bucket={bucket}&create_bucket=true&history=2",
    ):
        with RemoteKVMapping(open_backend(url), "md", timeout=15) as md:
            for n in range(3):
                md["n"] = n
            assert [version.value for version in md.history("n")] == [1, 2]


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("memory://?history=-1", "history=-1.*from 0 to"),
        ("sqlite:none.db?history=1000001", "history=1000001.*from 0 to"),
        ("postgresql://nobody@nowhere/x?history=-1", "history=-1.*from 0 to"),
        ("postgresql://nobody@nowhere/x?history=all", "history=all"),
        ("nats://nowhere/?history=0", "history=0.*from 1 to 64"),
        ("nats://nowhere/?history=65", "history=65.*from 1 to 64"),
        ("redis://nowhere/?history=8", "history"),
    ],
)
def test_what_is_no_number_of_values(url: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        open_mapping(url)


def test_a_file_remembers_how_many(tmp_path: Path) -> None:
    path = tmp_path / "md.db"
    with RemoteKVMapping(SQLiteBackend(path, history=2), "ep1") as md:
        md.update(a=1, b=1)
    with RemoteKVMapping(SQLiteBackend(path), "ep1") as md:
        md["a"] = 2
        md["a"] = 3
        assert [version.value for version in md.history("a")] == [2, 3]
    with sqlite3.connect(path) as shell:  # anybody's writes are kept
        shell.execute("UPDATE entries SET value = '4' WHERE key = 'ep1:a'")
    shell.close()
    with RemoteKVMapping(SQLiteBackend(path, history=0), "ep1") as md:
        assert [version.value for version in md.history("a")] == [3, 4]
        md["a"] = 5
        with pytest.raises(Unsupported):
            md.history("a")


def test_a_file_of_the_first_format_is_upgraded(tmp_path: Path) -> None:
    path = tmp_path / "md.db"
    with RemoteKVMapping(SQLiteBackend(path), "ep1") as md:
        md["a"] = 1
    with sqlite3.connect(path) as shell:  # back to how it was made then
        triggers = [statement for statement in schema.CREATE if "TRIGGER" in statement]
        for event in ("insert", "update", "rename", "delete"):
            shell.execute(f"DROP TRIGGER entries_{event}")
        shell.execute("ALTER TABLE clock DROP COLUMN history")
        shell.execute("DROP TABLE history")
        for statement in triggers:
            head, kept, _ = statement.partition("INSERT OR REPLACE INTO history")
            shell.execute(f"{head} END" if kept else statement)
        shell.execute("PRAGMA user_version = 1")
    shell.close()
    with RemoteKVMapping(SQLiteBackend(path, history=8), "ep1") as md:
        assert md["a"] == 1
        md["a"] = 2
        assert [version.value for version in md.history("a")] == [2]
