"""Commits of several operations."""

from __future__ import annotations

import pytest

from kv_dict.backend import Backend
from kv_dict.errors import ConflictError
from kv_dict.model import (
    ABSENT,
    Delete,
    DeletePrefix,
    Put,
)
from kv_dict.testing.conformance.base import ConformanceBase
from kv_dict.testing.raw import RawStore

__all__ = ["CommitConformance"]


class CommitConformance(ConformanceBase):
    """Commits of several operations."""

    def test_a_commit_applies_all_in_order(self, raw: RawStore, backend: Backend) -> None:
        self.commit(backend, Put("p:old", b"0"), Put("gone", b"0"))
        revisions = self.commit(
            backend, DeletePrefix("p:"), Put("p:new", b"1"), Delete("gone"), Put("q", b"2")
        )
        assert [revision is None for revision in revisions] == [True, False, True, False]
        assert raw.keys() == {"p:new", "q"}
        for key, revision in (("p:new", revisions[1]), ("q", revisions[3])):
            entry = self.read(backend, key)
            assert entry is not None
            assert entry.revision == revision

    def test_a_conflict_undoes_all_and_names_every_culprit(
        self, raw: RawStore, backend: Backend
    ) -> None:
        (good,) = self.commit(backend, Put("good", b"1"))
        (stale,) = self.commit(backend, Put("stale", b"1"))
        self.commit(backend, Put("stale", b"2"))
        with pytest.raises(ConflictError) as caught:
            self.commit(
                backend,
                DeletePrefix("go"),
                Put("good", b"x", good),
                Put("new", b"x"),
                Put("stale", b"x", stale),
                Delete("nowhere", good),
            )
        assert set(caught.value.keys) == {"stale", "nowhere"}
        assert {key: raw.get(key) for key in raw.keys()} == {"good": b"1", "stale": b"2"}

    def test_an_empty_commit_does_nothing(self, raw: RawStore, backend: Backend) -> None:
        assert self.commit(backend) == ()
        assert raw.keys() == set()

    def test_a_key_named_twice_is_refused(self, raw: RawStore, backend: Backend) -> None:
        with pytest.raises(ValueError, match="twice"):
            self.commit(backend, Put("k", b"1"), Delete("k"))
        assert raw.keys() == set()

    def test_a_thousand_operations_are_one_commit(self, raw: RawStore, backend: Backend) -> None:
        many = min(1000, backend.capabilities.max_operations or 1000)
        revisions = self.commit(backend, *(Put(f"k{n:04}", b"1", ABSENT) for n in range(many)))
        assert len(raw.keys()) == many
        with pytest.raises(ConflictError) as caught:
            self.commit(
                backend,
                *(Put(f"k{n:04}", b"2", revisions[n]) for n in range(many - 1)),
                Put(f"k{many - 1:04}", b"2", ABSENT),
            )
        assert caught.value.keys == (f"k{many - 1:04}",)
        assert {raw.get(key) for key in raw.keys()} == {b"1"}

    @pytest.mark.parametrize(
        "prefix", ["ep1:", "ep*:", "ep[1]:", "ep\\1:", "ep_1:", "ep%:", "ep?:"]
    )
    def test_prefixes_are_literal(self, raw: RawStore, backend: Backend, prefix: str) -> None:
        outside = {"ep1", "ep10:a", "ep:a", "epx:a", "ep:", "EP1:a", "ep1;", "ep11:a"} - {prefix}
        outside |= {"ep1:a"} if prefix != "ep1:" else set()
        inside = {prefix, prefix + "a", prefix + "a:b", prefix + "\U0010ffff"}
        self.commit(backend, *(Put(key, b"1") for key in sorted(inside | outside)))
        assert self.keys_under(backend, prefix) == sorted(inside)
        self.commit(backend, DeletePrefix(prefix))
        assert self.keys_under(backend, prefix) == []
        assert raw.keys() == outside

    def test_delete_prefix_takes_what_is_there_at_that_time(
        self, raw: RawStore, backend: Backend
    ) -> None:
        self.keys_under(backend, "p:")
        raw.put("p:late", b"1")
        self.commit(backend, DeletePrefix("p:"))
        assert raw.keys() == set()
