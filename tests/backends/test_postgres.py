"""The PostgreSQL backend: conformance, and what is its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kv_dict.mapping.portal import face_of
from kv_dict.testing import BackendConformance, RawStore
from kv_dict.testing.postgres import Elsewhere, RawPostgres, new_table, server_url


@pytest.fixture(scope="module")
def sql() -> Iterator[Elsewhere]:
    there = Elsewhere(server_url())
    yield there
    there.close()


class TestPostgresBackend(BackendConformance):
    @pytest.fixture
    def raw(self, sql: Elsewhere) -> RawStore:
        raw = RawPostgres(server_url(), new_table(), sql)
        backend = raw.open()
        face_of(backend).ping(timeout=15)
        face_of(backend).close()
        return raw
