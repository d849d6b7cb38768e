"""The SQLite backend: conformance, and what is its own."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from kv_dict import SQLiteBackend
from kv_dict.testing import BackendConformance, RawStore


class RawSQLite(RawStore):
    """Speaks SQL, as the sqlite3 shell would."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def open(self) -> SQLiteBackend:
        return SQLiteBackend(self._path)

    def open_keeping(self, history: int) -> SQLiteBackend:
        return SQLiteBackend(self._path, history=history)

    def get(self, key: str) -> bytes | None:
        rows = self._execute("SELECT CAST(value AS BLOB) FROM entries WHERE key = ?", key)
        return rows[0][0] if rows else None

    def put(self, key: str, value: bytes) -> None:
        self._execute(
            "INSERT OR REPLACE INTO entries (key, value) VALUES (?, ?)", key, value.decode()
        )

    def delete(self, key: str) -> None:
        self._execute("DELETE FROM entries WHERE key = ?", key)

    def keys(self) -> set[str]:
        return {row[0] for row in self._execute("SELECT key FROM entries")}

    def _execute(self, statement: str, *values: object) -> list[tuple]:
        connection = sqlite3.connect(self._path)
        try:
            with connection:
                return connection.execute(statement, values).fetchall()
        finally:
            connection.close()


class TestSQLiteBackend(BackendConformance):
    @pytest.fixture
    def raw(self, tmp_path: Path) -> RawStore:
        raw = RawSQLite(tmp_path / "md.db")
        backend = raw.open()
        backend.synchronous.ping(timeout=5)
        backend.synchronous.close()
        return raw
