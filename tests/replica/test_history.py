"""`md.history`, where the store keeps earlier values."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

import pytest

from kv_dict import (
    ConfigurationError,
    InMemoryAsyncBackend,
    RemoteKVMapping,
    SQLiteBackend,
    Unsupported,
    open_mapping,
)
from kv_dict.backends.sqlite import schema


@pytest.fixture(params=["memory", "sqlite"])
def md(request: pytest.FixtureRequest, tmp_path: Path):
    backend = (
        InMemoryAsyncBackend(history=3)
        if request.param == "memory"
        else SQLiteBackend(tmp_path / "md.db", history=3)
    )
    with RemoteKVMapping(backend, "ep1") as md:
        yield md


def test_the_last_values_are_kept(md: RemoteKVMapping) -> None:
    before = time.time()
    for n in range(5):
        md["n"] = n
        md["other"] = n
    md["n"] = {"x": 1}
    md["n"]["x"] = 2
    del md["n"]
    md["n"] = 9
    kept = md.history("n")
    assert [value for value, _, _ in kept] == [{"x": 1}, {"x": 2}, 9]
    assert all(before - 1 < version.time < time.time() + 1 for version in kept)
    revisions = [version.revision for version in kept]
    assert revisions == sorted(revisions)
    assert md.history("never") == []
    with pytest.raises(TypeError):
        md.history(1)


def test_without_any(tmp_path: Path) -> None:
    for url in ("memory://", f"sqlite://{tmp_path}/none.db"):
        with open_mapping(url) as md:
            md["n"] = 1
            with pytest.raises(Unsupported, match="history=N"):
                md.history("n")


def test_from_a_url(tmp_path: Path) -> None:
    with open_mapping("memory://?history=2") as md:
        md["n"] = 1
        assert [version.value for version in md.history("n")] == [1]
    with pytest.raises(ConfigurationError, match="from 0 to"):
        open_mapping("memory://?history=-1")


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
