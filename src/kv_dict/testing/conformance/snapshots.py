"""Snapshots and trees."""

from __future__ import annotations

import threading

from kv_dict.backend import Backend
from kv_dict.model import (
    Put,
)
from kv_dict.portal import face_of
from kv_dict.testing.conformance.base import ConformanceBase, T
from kv_dict.testing.raw import RawStore

__all__ = ["SnapshotConformance"]


class SnapshotConformance(ConformanceBase):
    """Snapshots and trees."""

    def test_a_snapshot_is_sorted_and_whole(self, raw: RawStore, backend: Backend) -> None:
        raw.put("p:b", b"2")
        self.commit(backend, Put("p:a", b"1"), Put("p:é", b"3"), Put("q", b"4"))
        entries = face_of(backend).snapshot("p:", timeout=T).entries
        assert [(entry.key, entry.value) for entry in entries] == [
            ("p:a", b"1"),
            ("p:b", b"2"),
            ("p:é", b"3"),
        ]
        assert list(entries) == [self.read(backend, entry.key) for entry in entries]
        assert face_of(backend).snapshot("none", timeout=T).entries == ()

    def test_a_tree_is_the_key_and_all_below(self, backend: Backend) -> None:
        keys = ["main", "main:", "main:sup1", "main:sup1:x", "main2", "mai", "main:sup2"]
        self.commit(backend, *(Put(key, b"1") for key in keys))
        tree = face_of(backend).read_tree("main", ":", timeout=T)
        assert [e.key for e in tree.entries] == sorted(set(keys) - {"main2", "mai"})
        assert face_of(backend).read_tree("main2", ":", timeout=T).entries == (
            self.read(backend, "main2"),
        )
        assert face_of(backend).read_tree("nothing", ":", timeout=T).entries == ()

    def test_no_snapshot_sees_half_a_commit(self, backend: Backend, other: Backend) -> None:
        stop = threading.Event()
        torn: list[object] = []
        seen = 0

        def look() -> None:
            nonlocal seen
            while not stop.is_set():
                entries = face_of(other).snapshot("pair:", timeout=T).entries
                tree = face_of(other).read_tree("pair", ":", timeout=T).entries
                for some in (entries, tree):
                    if len({entry.value for entry in some}) > 1 or len(some) not in (0, 3):
                        torn.append(some)
                seen += 1

        watcher = threading.Thread(target=look)
        watcher.start()
        try:
            for n in range(150):
                value = str(n).encode()
                self.commit(backend, *(Put(f"pair:{key}", value) for key in "abc"))
        finally:
            stop.set()
            watcher.join()
        assert torn == []
        assert seen > 0
