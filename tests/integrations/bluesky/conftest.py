"""Metadata of bluesky sessions."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kv_dict import InMemoryAsyncBackend, RemoteKVMapping


@pytest.fixture
def shared() -> Iterator[RemoteKVMapping]:
    """Metadata that keeps what it was."""
    with RemoteKVMapping(InMemoryAsyncBackend(history=10_000), "ep1") as md:
        yield md
