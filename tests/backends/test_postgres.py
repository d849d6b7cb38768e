"""The PostgreSQL backend: conformance against a real server."""

from __future__ import annotations

import json

import pytest

from kv_dict import PostgresBackend, RemoteKVMapping
from kv_dict.portal import face_of
from kv_dict.testing import BackendConformance, RawStore
from kv_dict.testing.raw.postgres import Elsewhere, RawPostgres


class TestPostgresBackend(BackendConformance):
    @pytest.fixture
    def raw(self, postgres_url: str, table: str, sql: Elsewhere) -> RawStore:
        raw = RawPostgres(postgres_url, table, sql)
        backend = raw.open()
        face_of(backend).ping(timeout=15)
        face_of(backend).close()
        return raw


class TestTableThatKeepsAHistory(BackendConformance):
    """Every promise of the contract, with the triggers at work that keep earlier values."""

    @pytest.fixture
    def raw(self, postgres_url: str, table: str, sql: Elsewhere) -> RawStore:
        raw = RawPostgres(postgres_url, table, sql)
        backend = raw.open_keeping(2)
        face_of(backend).ping(timeout=15)
        face_of(backend).close()
        return raw


def test_a_commit_reads_no_keys_of_others(postgres_url: str, table: str, sql: Elsewhere) -> None:
    """Of a table that has grown since its statistics were taken, if they ever were."""
    with RemoteKVMapping(PostgresBackend(postgres_url, table, create_table=True), "ep1") as md:
        md.update({f"k{n}": n for n in range(100)})
    sql.execute(
        f"INSERT INTO \"{table}\" (k, v) SELECT 'others:' || n, 1 FROM generate_series(1, 20000) n"
    )
    keys = [f"ep1:k{n}" for n in range(100)]
    below, after = [key + ":" for key in keys], [key + ";" for key in keys]
    explained = sql.fetch(
        f'EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT * FROM "{table}_commit"'
        "('1s', NULL, NULL, $1, $2, NULL, NULL, $3, $4)",
        below,
        after,
        keys,
        ["2"] * len(keys),
    )
    plan = json.loads(explained[0][0])[0]["Plan"]
    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < 5_000
