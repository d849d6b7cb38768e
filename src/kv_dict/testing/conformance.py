"""The conformance suite: what every backend does, whatever its store.

Each test states one sentence of the contract in `kv_dict.backend`. A backend that cannot do
something says so in its `Capabilities`; no test is there to be overridden.
"""

# ruff: noqa: S101 - these are tests

from __future__ import annotations

import asyncio
import pickle
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Final, TypeVar

import pytest

from kv_dict.backend import Backend
from kv_dict.errors import ClosedError, ConflictError
from kv_dict.mapping.portal import face_of
from kv_dict.model import (
    ABSENT,
    Delete,
    DeletePrefix,
    Deletion,
    Entry,
    Operation,
    Put,
    Revision,
    Synced,
)
from kv_dict.testing.raw import RawStore
from kv_dict.testing.watching import DEADLINE, Watching

__all__ = ["BackendConformance"]

_Result = TypeVar("_Result")

T: Final = 5.0
"""The timeout, in seconds, of the operations that are expected to succeed."""

KEYS: Final = [
    "plain",
    "ep1:user",
    "ep1:main:sup1",
    "",
    ":",
    "::",
    " ",
    "with space",
    "tab\tnewline\n",
    "\x00",
    "a\x00b",
    "\x7f\x80",
    "%",
    "%3A",
    "=41",
    "a.b",
    ".a",
    "a.",
    "a..b",
    "*",
    ">",
    "$",
    "?",
    "[a]",
    "a\\b",
    "'quoted\"",
    "; DROP TABLE entries; --",
    "Σ→é",
    "\U0001f600",
    "\ud7ff\ue000",
    "\U0010ffff",
    "k" * 200,
]


class BackendConformance:
    """Subclass this with a ``raw`` fixture that returns a `RawStore` with an empty store.

    Examples
    --------
    ::

        class TestMyBackend(BackendConformance):
            @pytest.fixture
            def raw(self, tmp_path):
                return MyRawStore(tmp_path)
    """

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

    # -- one entry -------------------------------------------------------------------------------

    def test_a_missing_key_is_none(self, backend: Backend) -> None:
        assert self.read(backend, "missing") is None

    def test_a_put_is_read_back_and_is_really_there(self, raw: RawStore, backend: Backend) -> None:
        (revision,) = self.commit(backend, Put("k", b'{"a": 1}'))
        entry = self.read(backend, "k")
        assert entry is not None
        assert (entry.key, entry.value, entry.revision) == ("k", b'{"a": 1}', revision)
        assert raw.get("k") == b'{"a": 1}'
        assert raw.keys() == {"k"}

    def test_a_foreign_programs_put_is_read(self, raw: RawStore, backend: Backend) -> None:
        raw.put("k", b"7")
        entry = self.read(backend, "k")
        assert entry is not None
        assert entry.value == b"7"

    @pytest.mark.parametrize(
        "value",
        [b"", b"null", "\u00e9\U0001f600".encode(), b"x" * 500_000],
        ids=["empty", "null", "unicode", "half a megabyte"],
    )
    def test_any_text_is_a_value(self, raw: RawStore, backend: Backend, value: bytes) -> None:
        self.commit(backend, Put("k", value))
        entry = self.read(backend, "k")
        assert entry is not None
        assert entry.value == value
        assert raw.get("k") == value

    def test_every_string_is_a_key(self, raw: RawStore, backend: Backend) -> None:
        for number, key in enumerate(KEYS):
            self.commit(backend, Put(key, str(number).encode(), ABSENT))
        for number, key in enumerate(KEYS):
            entry = self.read(backend, key)
            assert entry is not None, key
            assert entry.value == str(number).encode(), key
            assert raw.get(key) == str(number).encode(), key
        assert self.keys_under(backend, "") == sorted(KEYS)
        for key in KEYS:
            self.commit(backend, Delete(key))
        assert raw.keys() == set()

    def test_a_delete_removes(self, raw: RawStore, backend: Backend) -> None:
        self.commit(backend, Put("k", b"1"))
        assert self.commit(backend, Delete("k")) == (None,)
        assert self.read(backend, "k") is None
        assert raw.keys() == set()

    def test_an_unguarded_delete_of_a_missing_key_is_no_error(self, backend: Backend) -> None:
        assert self.commit(backend, Delete("missing")) == (None,)

    def test_the_time_is_about_now_where_it_is_known(self, backend: Backend) -> None:
        import time  # noqa: PLC0415

        before = time.time()
        self.commit(backend, Put("k", b"1"))
        entry = self.read(backend, "k")
        assert entry is not None
        assert entry.time is None or before - 2 <= entry.time <= time.time() + 2

    # -- revisions and guards ----------------------------------------------------------------------

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

    # -- commits of several ------------------------------------------------------------------------

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

    @pytest.mark.parametrize("prefix", ["ep1:", "ep*:", "ep[1]:", "ep\\1:", "ep_1:", "ep%:", "ep?:"])
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

    # -- snapshots -----------------------------------------------------------------------------------

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

    # -- several writers -------------------------------------------------------------------------------

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

        self._in_threads([lambda n=n: count((backend, other)[n % 2]) for n in range(threads)])  # type: ignore[misc]
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

        self._in_threads([lambda n=n: create(n) for n in range(8)])  # type: ignore[misc]
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

    def _in_threads(self, works: list[Callable[[], None]]) -> None:
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

    # -- the asynchronous face ---------------------------------------------------------------------------

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

    # -- the watch ---------------------------------------------------------------------------------------

    def test_a_watch_begins_with_what_is_there(self, raw: RawStore) -> None:
        backend = raw.open()

        async def work() -> None:
            await backend.commit([Put("p:a", b"1"), Put("p:b", b"2"), Put("q", b"3")], timeout=T)
            async with Watching(backend, "p:") as watching:
                await watching.until_synced()
                assert watching.state == {"p:a": b"1", "p:b": b"2"}
                assert isinstance(watching.events[-1], Synced)
            await backend.close()

        self.run(backend, work)

    def test_a_watch_tells_every_kind_of_change(self, raw: RawStore) -> None:
        backend = raw.open()

        async def work() -> None:
            async with Watching(backend, "p:") as watching:
                await watching.until_synced()
                (revision,) = await backend.commit([Put("p:a", b"1")], timeout=T)
                await watching.until_state({"p:a": b"1"})
                told = [event for event in watching.events if isinstance(event, Entry)][-1]
                assert told.revision == revision
                await backend.commit([Put("p:a", b"2"), Put("p:b", b"1")], timeout=T)
                await watching.until_state({"p:a": b"2", "p:b": b"1"})
                await backend.commit([Delete("p:a")], timeout=T)
                await watching.until_state({"p:b": b"1"})
                await backend.commit([Put("p:a", b"3"), Put("q", b"1")], timeout=T)
                await watching.until_state({"p:a": b"3", "p:b": b"1"})
                await backend.commit([DeletePrefix("p:")], timeout=T)
                await watching.until_state({})
                assert all(
                    event.key.startswith("p:")
                    for event in watching.events
                    if isinstance(event, Entry | Deletion)
                )
                assert watching.count(Synced) == 1
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
            first = await anext(events)
            assert isinstance(first, Entry)  # and now it looks away
            for n in range(100):
                await backend.commit([Put(f"p:{n % 3}", str(n).encode())], timeout=T)
            await backend.commit([Delete("p:gone")], timeout=T)
            state = {first.key: first.value}
            while state != {"p:0": b"99", "p:1": b"97", "p:2": b"98"}:
                event = await anext(events)
                if isinstance(event, Entry):
                    state[event.key] = event.value
                elif isinstance(event, Deletion):
                    state.pop(event.key, None)
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

    # -- life ----------------------------------------------------------------------------------------------

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
