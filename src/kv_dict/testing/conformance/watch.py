"""The watch."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing

from kv_dict.backend import Backend
from kv_dict.errors import ClosedError
from kv_dict.model import (
    Changes,
    Delete,
    DeletePrefix,
    Put,
    Snapshot,
)
from kv_dict.testing.conformance.base import ConformanceBase, T
from kv_dict.testing.raw import RawStore
from kv_dict.testing.watching import DEADLINE, Watching

__all__ = ["WatchConformance"]


class WatchConformance(ConformanceBase):
    """The watch."""

    def test_a_watch_begins_with_what_is_there(self, raw: RawStore) -> None:
        backend = raw.open()

        async def work() -> None:
            await backend.commit([Put("p:a", b"1"), Put("p:b", b"2"), Put("q", b"3")], timeout=T)
            async with Watching(backend, "p:") as watching:
                await watching.until_synced()
                assert watching.state == {"p:a": b"1", "p:b": b"2"}
                (snapshot,) = watching.events
                assert isinstance(snapshot, Snapshot)
                assert [entry.key for entry in snapshot.entries] == ["p:a", "p:b"]
                assert snapshot.asked is not None
                assert time.monotonic() - 3 * DEADLINE < snapshot.asked <= time.monotonic()
            await backend.close()

        self.run(backend, work)

    def test_a_watch_tells_every_kind_of_change(self, raw: RawStore) -> None:
        backend = raw.open()

        async def work() -> None:
            async with Watching(backend, "p:") as watching:
                await watching.until_synced()
                (revision,) = await backend.commit([Put("p:a", b"1")], timeout=T)
                await watching.until_state({"p:a": b"1"})
                assert watching.entries["p:a"].revision == revision
                await backend.commit([Put("p:a", b"2"), Put("p:b", b"1")], timeout=T)
                await watching.until_state({"p:a": b"2", "p:b": b"1"})
                await backend.commit([Delete("p:a")], timeout=T)
                await watching.until_state({"p:b": b"1"})
                await backend.commit([Put("p:a", b"3"), Put("q", b"1")], timeout=T)
                await watching.until_state({"p:a": b"3", "p:b": b"1"})
                await backend.commit([DeletePrefix("p:")], timeout=T)
                await watching.until_state({})
                assert all(change.key.startswith("p:") for change in watching.changes())
                if backend.capabilities.ordered:
                    told = [change.revision for change in watching.changes()]
                    assert all(isinstance(revision, int) for revision in told)
                    assert told == sorted(told)  # type: ignore[type-var]
            await backend.close()

        self.run(backend, work)

    def test_what_was_asked_for_has_one_state_of_each_key(self, raw: RawStore) -> None:
        """Of several, the earlier ones would be taken for what was there when it was asked."""
        backend = raw.open()

        async def work() -> None:
            async with aclosing(backend.watch("p:")) as watch, asyncio.timeout(DEADLINE):
                assert isinstance(await anext(watch), Snapshot)
                for operation in (Put("p:a", b"1"), Delete("p:a"), Put("p:a", b"2")):
                    await backend.commit([operation], timeout=T)  # which nobody takes yet
                state = None
                while state != b"2":
                    event = await anext(watch)
                    if isinstance(event, Changes):
                        keys = [one.key for one in event.events]
                        assert event.asked is None or len(keys) == len(set(keys)), event
                        state = getattr(event.events[-1], "value", None)
                    elif isinstance(event, Snapshot):
                        state = event.entries[0].value if event.entries else None
            await backend.close()

        self.run(backend, work)

    def test_a_watch_sees_foreign_programs(self, raw: RawStore) -> None:
        backend = raw.open()

        async def work() -> None:
            async with Watching(backend, "p:") as watching:
                await watching.until_synced()
                await asyncio.to_thread(raw.put, "p:a", b"1")
                await watching.until_state({"p:a": b"1"})
                await asyncio.to_thread(raw.put, "p:a", b"2")
                await watching.until_state({"p:a": b"2"})
                await asyncio.to_thread(raw.delete, "p:a")
                await watching.until_state({})
            await backend.close()

        self.run(backend, work)

    def test_a_watch_sees_other_backends(self, raw: RawStore, other: Backend) -> None:
        backend = raw.open()
        if backend is other:
            return  # the store lives in the backend, there is no other

        async def work() -> None:
            async with Watching(backend, "") as watching:
                await watching.until_synced()
                await asyncio.to_thread(self.commit, other, Put("a", b"1"))
                await watching.until_state({"a": b"1"})
            await backend.close()

        self.run(backend, work)

    def test_the_last_state_is_never_dropped(self, raw: RawStore) -> None:
        backend = raw.open()

        async def work() -> None:
            async with Watching(backend, "p:") as watching, Watching(backend, "p:") as second:
                await watching.until_synced()
                for n in range(200):
                    await backend.commit(
                        [Put(f"p:{n % 7}", str(n).encode()), Delete(f"p:{(n + 3) % 7}")], timeout=T
                    )
                final = {
                    entry.key: entry.value
                    for entry in (await backend.snapshot("p:", timeout=T)).entries
                }
                await watching.until_state(final)
                await second.until_state(final)
            await backend.close()

        self.run(backend, work)

    def test_a_slow_consumer_ends_up_with_the_last_state(self, raw: RawStore) -> None:
        backend = raw.open()

        async def work() -> None:
            await backend.commit([Put("p:gone", b"1")], timeout=T)
            events = backend.watch("p:")
            watching = Watching(backend, "p:")  # adds up what it is given
            watching.take(await anext(events))
            assert watching.state == {"p:gone": b"1"}  # and now it looks away
            for n in range(100):
                await backend.commit([Put(f"p:{n % 3}", str(n).encode())], timeout=T)
            await backend.commit([Delete("p:gone")], timeout=T)
            while watching.state != {"p:0": b"99", "p:1": b"97", "p:2": b"98"}:
                event = await anext(events)
                assert isinstance(event, Changes | Snapshot)
                watching.take(event)
            await events.aclose()
            await backend.close()

        self.run(backend, work)

    def test_a_watch_can_be_cancelled_at_any_time(self, raw: RawStore) -> None:
        backend = raw.open()

        async def work() -> None:
            for pause in (0, 0.001, 0.05):
                async with Watching(backend, "p:"):
                    await asyncio.sleep(pause)
            await backend.ping(timeout=T)
            await backend.close()

        self.run(backend, work)

    def test_closing_ends_a_watch(self, raw: RawStore) -> None:
        backend = raw.open()

        async def work() -> None:
            async with Watching(backend, "p:") as watching:
                await watching.until_synced()
                await backend.close()
                assert isinstance(await watching.outcome(), ClosedError)

        self.run(backend, work)
