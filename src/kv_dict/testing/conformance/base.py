"""What the parts of the suite have in common: the fixtures, and short words for operations."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Final, TypeVar

import pytest

from kv_dict.backend import Backend
from kv_dict.model import (
    Entry,
    Operation,
    Revision,
)
from kv_dict.portal import face_of
from kv_dict.testing.raw import RawStore
from kv_dict.testing.watching import DEADLINE

__all__ = ["ConformanceBase", "T"]

_Result = TypeVar("_Result")

T: Final = 5.0
"""The timeout, in seconds, of the operations that are expected to succeed."""


class ConformanceBase:
    """The fixtures and helpers of every part."""

    @pytest.fixture
    def raw(self) -> RawStore:
        """Return the store to test; to be overridden."""
        raise NotImplementedError("override the fixture `raw`")

    @pytest.fixture
    def backend(self, raw: RawStore) -> Iterator[Backend]:
        """Yield an open backend on the empty store."""
        backend = raw.open()
        yield backend
        face_of(backend).close()

    @pytest.fixture
    def other(self, raw: RawStore, backend: Backend) -> Iterator[Backend]:
        """Yield a second backend on the same store (the same one where there is only one)."""
        other = raw.open()
        yield other
        if other is not backend:
            face_of(other).close()

    def run(self, backend: Backend, work: Callable[[], Awaitable[_Result]]) -> _Result:
        """Run a coroutine of the test's against `backend`, in a loop that suits it, and return."""

        async def within_deadline() -> _Result:
            async with asyncio.timeout(DEADLINE * 3):
                return await work()

        return asyncio.run(within_deadline())

    def commit(self, backend: Backend, *operations: Operation) -> tuple[Revision | None, ...]:
        """Commit through the synchronous face."""
        return face_of(backend).commit(operations, timeout=T)

    def read(self, backend: Backend, key: str) -> Entry | None:
        """Read through the synchronous face."""
        return face_of(backend).read(key, timeout=T)

    def keys_under(self, backend: Backend, prefix: str) -> list[str]:
        """Return the keys of a snapshot, in its order."""
        return [entry.key for entry in face_of(backend).snapshot(prefix, timeout=T).entries]

    def in_threads(self, works: list[Callable[[], None]]) -> None:
        """Run `works` at the same time, each in a thread; raise what the first to fail raised."""
        errors: list[BaseException] = []

        def guarded(work: Callable[[], None]) -> None:
            try:
                work()
            except BaseException as error:  # noqa: BLE001 - raised again below
                errors.append(error)

        threads = [threading.Thread(target=guarded, args=(work,)) for work in works]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]
