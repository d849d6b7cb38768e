"""Revisions, and the guards that compare with them."""

from __future__ import annotations

import pytest

from kv_dict.backend import Backend
from kv_dict.errors import ConflictError
from kv_dict.model import (
    ABSENT,
    Delete,
    Put,
)
from kv_dict.testing.conformance.base import ConformanceBase
from kv_dict.testing.raw import RawStore

__all__ = ["GuardConformance"]


class GuardConformance(ConformanceBase):
    """Revisions, and the guards that compare with them."""

    def test_a_revision_stays_while_the_value_does(self, backend: Backend) -> None:
        (revision,) = self.commit(backend, Put("k", b"1"))
        self.commit(backend, Put("other", b"1"))
        first, second = self.read(backend, "k"), self.read(backend, "k")
        assert first is not None
        assert first == second
        assert first.revision == revision

    def test_another_value_has_another_revision(self, raw: RawStore, backend: Backend) -> None:
        (first,) = self.commit(backend, Put("k", b"1"))
        (second,) = self.commit(backend, Put("k", b"2"))
        assert first != second
        raw.put("k", b"3")
        entry = self.read(backend, "k")
        assert entry is not None
        assert entry.revision not in (first, second)

    def test_ordered_revisions_grow(self, backend: Backend) -> None:
        if not backend.capabilities.ordered:
            return
        revisions = [self.commit(backend, Put(key, b"1"))[0] for key in "abab"]
        numbers = [revision for revision in revisions if isinstance(revision, int)]
        assert len(numbers) == 4
        assert sorted(set(numbers)) == numbers

    def test_a_put_with_the_right_guard_is_applied(self, backend: Backend) -> None:
        (revision,) = self.commit(backend, Put("k", b"1", ABSENT))
        (revision,) = self.commit(backend, Put("k", b"2", revision))
        self.commit(backend, Put("k", b"3", revision))
        entry = self.read(backend, "k")
        assert entry is not None
        assert entry.value == b"3"

    def test_a_stale_guard_conflicts(self, raw: RawStore, backend: Backend) -> None:
        (stale,) = self.commit(backend, Put("k", b"1"))
        self.commit(backend, Put("k", b"2"))
        for operation in (Put("k", b"x", stale), Delete("k", stale), Put("k", b"x", ABSENT)):
            with pytest.raises(ConflictError) as caught:
                self.commit(backend, operation)
            assert caught.value.keys == ("k",)
        assert raw.get("k") == b"2"

    def test_a_foreign_change_makes_a_guard_stale(self, raw: RawStore, backend: Backend) -> None:
        (revision,) = self.commit(backend, Put("k", b"1"))
        raw.put("k", b"2")
        with pytest.raises(ConflictError):
            self.commit(backend, Put("k", b"3", revision))
        assert raw.get("k") == b"2"

    def test_a_guard_on_a_missing_key_conflicts(self, raw: RawStore, backend: Backend) -> None:
        (revision,) = self.commit(backend, Put("k", b"1"))
        self.commit(backend, Delete("k"))
        for operation in (Put("k", b"x", revision), Delete("k", revision)):
            with pytest.raises(ConflictError):
                self.commit(backend, operation)
        assert raw.keys() == set()

    def test_a_deleted_key_is_absent_again(self, backend: Backend) -> None:
        (revision,) = self.commit(backend, Put("k", b"1", ABSENT))
        self.commit(backend, Delete("k", revision))
        self.commit(backend, Put("k", b"2", ABSENT))
        entry = self.read(backend, "k")
        assert entry is not None
        assert entry.value == b"2"
