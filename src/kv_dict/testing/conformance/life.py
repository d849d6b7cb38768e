"""Opening, closing, and what a backend says of itself."""

from __future__ import annotations

import pickle

import pytest

from kv_dict.backend import Backend
from kv_dict.errors import ClosedError
from kv_dict.model import (
    Put,
)
from kv_dict.portal import face_of
from kv_dict.testing.conformance.base import ConformanceBase, T
from kv_dict.testing.raw import RawStore

__all__ = ["LifeConformance"]


class LifeConformance(ConformanceBase):
    """Opening, closing, and what a backend says of itself."""

    def test_ping(self, backend: Backend) -> None:
        face_of(backend).ping(timeout=T)

    def test_after_close_every_operation_says_so(self, raw: RawStore) -> None:
        backend = raw.open()
        face = face_of(backend)
        face.commit([Put("k", b"1")], timeout=T)
        face.close()
        face.close()
        for operation in (
            lambda: face.read("k", timeout=T),
            lambda: face.read_tree("k", ":", timeout=T),
            lambda: face.snapshot("", timeout=T),
            lambda: face.commit([Put("k", b"2")], timeout=T),
            lambda: face.ping(timeout=T),
            lambda: self.run(backend, lambda: anext(backend.watch(""))),
        ):
            with pytest.raises(ClosedError, match="closed"):
                operation()
        assert raw.get("k") == b"1"

    def test_a_new_user_opens_it_again(self, raw: RawStore) -> None:
        backend = raw.open()
        backend.retain()
        self.commit(backend, Put("k", b"1"))
        assert backend.release()
        face_of(backend).close()
        backend.retain()
        backend.retain()
        entry = self.read(backend, "k")
        assert entry is not None
        assert entry.value == b"1"
        assert not backend.release()
        assert backend.release()
        face_of(backend).close()

    def test_a_persistent_store_outlives_its_backend(self, raw: RawStore) -> None:
        backend = raw.open()
        if not backend.capabilities.persistent:
            return
        self.commit(backend, Put("k", b"1"))
        face_of(backend).close()
        again = raw.open()
        entry = self.read(again, "k")
        assert entry is not None
        assert entry.value == b"1"
        face_of(again).close()

    def test_it_says_what_and_where_it_is(self, backend: Backend) -> None:
        assert backend.url.partition(":")[0]
        assert type(backend).__name__ in repr(backend)
        assert backend.url in repr(backend)

    def test_pickle_leads_to_the_same_store(self, raw: RawStore, backend: Backend) -> None:
        self.commit(backend, Put("k", b"1"))
        again = pickle.loads(pickle.dumps(backend))
        entry = self.read(again, "k")
        assert entry is not None
        assert entry.value == b"1"
        if again is not backend:
            face_of(again).close()
