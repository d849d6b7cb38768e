"""The NATS backend: conformance against a real server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kv_dict.testing import BackendConformance
from kv_dict.testing.raw.nats import RawNats


class TestNatsBackend(BackendConformance):
    @pytest.fixture
    def raw(self, nats_url: str, bucket: str) -> Iterator[RawNats]:
        raw = RawNats(nats_url, bucket)
        yield raw
        raw.close()


class TestBucketThatKeepsOneMessage(BackendConformance):
    """As ``nats kv add`` makes it if nothing is said of history."""

    @pytest.fixture
    def raw(self, nats_url: str, bucket: str) -> Iterator[RawNats]:
        raw = RawNats(nats_url, bucket, history=1)
        yield raw
        raw.close()
