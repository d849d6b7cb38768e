"""Several writers at once, and both faces."""

from __future__ import annotations

import pytest

from kv_dict.backend import Backend
from kv_dict.errors import ConflictError
from kv_dict.model import (
    ABSENT,
    Delete,
    Put,
)
from kv_dict.testing.conformance.base import ConformanceBase, T
from kv_dict.testing.raw import RawStore

__all__ = ["WriterConformance"]


class WriterConformance(ConformanceBase):
    """Several writers at once, and both faces."""

    def test_concurrent_compare_and_set_loses_nothing(
        self, backend: Backend, other: Backend
    ) -> None:
        each, threads = 25, 4
        self.commit(backend, Put("n", b"0"))

        def count(where: Backend) -> None:
            for _ in range(each):
                while True:
                    entry = self.read(where, "n")
                    assert entry is not None
                    new = str(int(entry.value) + 1).encode()
                    try:
                        self.commit(where, Put("n", new, entry.revision))
                    except ConflictError:
                        continue
                    break

        self.in_threads([lambda n=n: count((backend, other)[n % 2]) for n in range(threads)])  # type: ignore[misc]
        entry = self.read(backend, "n")
        assert entry is not None
        assert int(entry.value) == each * threads

    def test_one_of_many_creators_wins(self, backend: Backend, other: Backend) -> None:
        winners: list[int] = []

        def create(n: int) -> None:
            try:
                self.commit((backend, other)[n % 2], Put("only", str(n).encode(), ABSENT))
            except ConflictError:
                return
            winners.append(n)

        self.in_threads([lambda n=n: create(n) for n in range(8)])  # type: ignore[misc]
        entry = self.read(backend, "only")
        assert entry is not None
        assert winners == [int(entry.value)]

    def test_what_one_backend_acknowledged_another_reads(
        self, backend: Backend, other: Backend
    ) -> None:
        for n in range(50):
            self.commit(backend, Put("k", str(n).encode()))
            entry = self.read(other, "k")
            assert entry is not None
            assert entry.value == str(n).encode()

    def test_the_asynchronous_face_does_the_same(self, raw: RawStore) -> None:
        backend = raw.open()

        async def work() -> None:
            (revision,) = await backend.commit([Put("p:k", b"1", ABSENT)], timeout=T)
            entry = await backend.read("p:k", timeout=T)
            assert entry is not None
            assert (entry.value, entry.revision) == (b"1", revision)
            assert (await backend.snapshot("p:", timeout=T)).entries == (entry,)
            assert (await backend.read_tree("p", ":", timeout=T)).entries == (entry,)
            with pytest.raises(ConflictError):
                await backend.commit([Delete("p:k", ABSENT)], timeout=T)
            await backend.ping(timeout=T)
            await backend.close()

        self.run(backend, work)
