"""The NATS backend: conformance against a real server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Client

from kv_dict.backends.nats.client import OneConnection
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


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=6),
            st.sampled_from([b":", b"\r\n", b" ", b"\x1c", b"Nats-Time-Stamp: 1"]),
        )
    )
)
def test_headers_are_parsed_as_the_driver_does(parts: list[bytes]) -> None:
    raw = b"".join(parts)
    theirs = Client._parse_header_lines(raw)
    assert OneConnection._parse_header_lines(raw) == {n: v for n, v in theirs.items() if n}
