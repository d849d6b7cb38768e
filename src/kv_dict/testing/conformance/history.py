"""The values that a key had, where the store keeps them."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from kv_dict.backend import Backend
from kv_dict.errors import ClosedError, ConflictError, Unsupported
from kv_dict.model import ABSENT, Delete, DeletePrefix, Entry, Put
from kv_dict.portal import face_of
from kv_dict.testing.conformance.base import ConformanceBase, T
from kv_dict.testing.raw import RawStore

__all__ = ["HistoryConformance"]


class HistoryConformance(ConformanceBase):
    """The values that a key had, where the store keeps them (`RawStore.open_keeping`)."""

    @pytest.fixture
    def keeping(self, raw: RawStore) -> Iterator[Backend | None]:
        """Yield a backend whose store keeps five values of each key; None if it cannot."""
        backend = raw.open_keeping(5)
        if backend is not None:
            face_of(backend).ping(timeout=T)  # opening alone may tell the store nothing yet
        yield backend
        if backend is not None:
            face_of(backend).close()

    def history(self, backend: Backend, key: str) -> tuple[Entry, ...]:
        """Return what the synchronous face gives."""
        return face_of(backend).history(key, timeout=T)

    def values(self, backend: Backend, key: str) -> list[bytes]:
        """Return the values alone."""
        return [entry.value for entry in self.history(backend, key)]

    def test_history_is_kept_or_refused(self, backend: Backend) -> None:
        self.commit(backend, Put("k", b"1"))
        self.commit(backend, Put("k", b"2"))
        try:
            kept = self.values(backend, "k")
        except Unsupported:
            with pytest.raises(Unsupported, match="history"):  # it says who keeps one, or how to
                self.values(backend, "never")
        else:
            assert kept == [b"1", b"2"]

    def test_the_last_values_are_kept_oldest_first(self, keeping: Backend | None) -> None:
        if keeping is None:
            return
        before = time.time()
        revisions = [self.commit(keeping, Put("k", b"%d" % n))[0] for n in range(8)]
        kept = self.history(keeping, "k")
        assert [(entry.key, entry.value) for entry in kept] == [
            ("k", b"%d" % n) for n in range(3, 8)
        ]
        assert [entry.revision for entry in kept] == revisions[3:]
        assert kept[-1] == self.read(keeping, "k")
        for entry in kept:
            assert entry.time is None or before - 2 <= entry.time <= time.time() + 2
        assert self.history(keeping, "never") == ()

    def test_deletions_are_left_out(self, keeping: Backend | None) -> None:
        if keeping is None:
            return
        self.commit(keeping, Put("p:k", b"1"), Put("p:l", b"1"))
        self.commit(keeping, Delete("p:k"))
        self.commit(keeping, Put("p:k", b"2"))
        self.commit(keeping, DeletePrefix("p:"))
        assert self.values(keeping, "p:k") == [b"1", b"2"]
        assert self.values(keeping, "p:l") == [b"1"]
        self.commit(keeping, Put("p:k", b"3", ABSENT))
        assert self.values(keeping, "p:k") == [b"1", b"2", b"3"]

    def test_other_keys_are_not_mixed_in(self, keeping: Backend | None) -> None:
        if keeping is None:
            return
        keys = ["", "k", "k:", "k:a", "k:a:b", "kk", "K", "k*", "k_", "*", ">", "a\x00b", "Σ"]
        for n in (1, 2):
            self.commit(keeping, *(Put(key, f"{n} {key}".encode()) for key in keys))
        for key in keys:
            assert self.values(keeping, key) == [f"{n} {key}".encode() for n in (1, 2)], key

    def test_each_key_of_a_commit_has_its_own(self, keeping: Backend | None) -> None:
        if keeping is None:
            return
        (first, _) = self.commit(keeping, Put("a", b"1"), Put("b", b"1"))
        with pytest.raises(ConflictError):
            self.commit(keeping, Put("a", b"x", first), Put("b", b"x", ABSENT))
        for n in range(2, 8):
            self.commit(keeping, Put("a", b"%d" % n), Put("c", b"%d" % n))
        self.commit(keeping, DeletePrefix("c"), Put("c", b"new"), Put("d", b"1", ABSENT))
        assert self.values(keeping, "a") == [b"%d" % n for n in range(3, 8)]
        assert self.values(keeping, "b") == [b"1"]
        assert self.values(keeping, "c")[-2:] == [b"7", b"new"]
        assert self.values(keeping, "d") == [b"1"]

    def test_what_foreign_programs_write_is_kept(
        self, raw: RawStore, keeping: Backend | None
    ) -> None:
        if keeping is None:
            return
        raw.put("k", b"1")
        raw.put("k", b"2")
        self.commit(keeping, Put("k", b"3"))
        raw.delete("k")
        raw.put("k", b"4")
        assert self.values(keeping, "k") == [b"1", b"2", b"3", b"4"]
        entries = self.history(keeping, "k")
        assert len({entry.revision for entry in entries}) == 4
        assert entries[-1] == self.read(keeping, "k")

    def test_any_value_is_kept(self, keeping: Backend | None) -> None:
        if keeping is None:
            return
        values = [b"", b"null", "é\U0001f600".encode(), b"x" * 500_000]
        for value in values:
            self.commit(keeping, Put("k", value))
        assert self.values(keeping, "k") == values

    def test_another_backend_on_the_store_has_the_same(
        self, raw: RawStore, keeping: Backend | None
    ) -> None:
        if keeping is None:
            return
        self.commit(keeping, Put("k", b"1"))
        other = raw.open()  # without a word about history
        self.commit(other, Put("k", b"2"))
        assert self.values(other, "k") == [b"1", b"2"]
        assert self.values(keeping, "k") == [b"1", b"2"]
        if other is not keeping:
            face_of(other).close()

    def test_a_closed_backend_says_so(self, keeping: Backend | None) -> None:
        if keeping is None:
            return
        face_of(keeping).close()
        with pytest.raises(ClosedError, match="closed"):
            self.history(keeping, "k")

    def test_the_asynchronous_face_has_it_too(self, raw: RawStore) -> None:
        backend = raw.open_keeping(5)
        if backend is None:
            return

        async def work() -> None:
            await backend.commit([Put("k", b"1")], timeout=T)
            (entry,) = await backend.history("k", timeout=T)
            assert entry == await backend.read("k", timeout=T)
            await backend.close()

        self.run(backend, work)
