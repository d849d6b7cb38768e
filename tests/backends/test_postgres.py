"""The PostgreSQL backend: conformance against a real server."""

from __future__ import annotations

import pytest

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
