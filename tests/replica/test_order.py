"""News that arrive by different ways and late: the replica is never wrong for long, and never back.

A scripted store answers at once, while what its watch tells is under way for as long as a test
likes. Hypothesis searches for an order of events in which the replica shows what it should not.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from kv_dict import ConflictError, RemoteKVMapping
from kv_dict.backend import Backend, Capabilities, SynchronousFace
from kv_dict.model import (
    ABSENT,
    Changes,
    Delete,
    DeletePrefix,
    Deletion,
    Entry,
    Operation,
    Put,
    Revision,
    Snapshot,
    Stale,
    WatchEvent,
)
from kv_dict.replica import Replica
from kv_dict.replica.contents import Contents

KEYS = ("a", "b", "a:x")
T = 5.0


class ScriptedBackend(Backend):
    """A store whose watch tells what a test has it tell, and when.

    With an order, revisions are numbers, and the watch pushes each change. Without, the revision is
    the value, and the watch asks for what has changed: it is told the state at that moment.
    """

    def __init__(self, *, ordered: bool) -> None:
        self.ordered = ordered
        self.face = ScriptedFace(self)
        self.under_way: list[WatchEvent] = []
        self.log: list[Entry | Deletion] = []  # what a pushing watch has still to put under way
        self.changed: list[str] = []  # what an asking watch has still to ask for
        self._go = threading.Semaphore(0)
        self._taken = threading.Event()

    @property
    def url(self) -> str:
        return "scripted://"

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(persistent=False, multi_process=False, ordered=self.ordered)

    @property
    def synchronous(self) -> SynchronousFace:
        return self.face

    async def read(self, key: str, *, timeout: float) -> Entry | None:
        return self.face.read(key, timeout=timeout)

    async def snapshot(self, prefix: str, *, timeout: float) -> Snapshot:
        return self.face.snapshot(prefix, timeout=timeout)

    async def commit(
        self, operations: Sequence[Operation], *, timeout: float
    ) -> tuple[Revision | None, ...]:
        return self.face.commit(operations, timeout=timeout)

    async def watch(self, prefix: str) -> AsyncGenerator[WatchEvent, None]:
        yield self.face.snapshot(prefix, timeout=T)
        while True:
            while not self._go.acquire(blocking=False):  # noqa: ASYNC110 - released by a thread
                await asyncio.sleep(0.0002)
            yield self.under_way.pop(0)
            self._taken.set()

    async def ping(self, *, timeout: float) -> None: ...

    async def close(self) -> None: ...

    # -- the script ------------------------------------------------------------------------------

    def ask(self) -> None:
        """Have the watch learn what has changed; it is under way from here on."""
        if self.ordered:
            self.under_way.extend(Changes((event,)) for event in self.log)
        elif self.changed:
            now = time.monotonic()
            found = tuple(
                self.face.entries.get(key, Deletion(key)) for key in dict.fromkeys(self.changed)
            )
            self.under_way.append(Changes(found, now))
        self.log, self.changed = [], []

    def cut(self) -> None:
        """Lose what is under way, and have the watch begin again with a snapshot."""
        self.log, self.changed = [], []
        self.under_way = [Stale(time.time(), "cut"), self.face.snapshot("ep1:", timeout=T)]

    def deliver(self) -> None:
        """Have the watch tell the next event, and return when it was taken."""
        self._taken.clear()
        self._go.release()
        assert self._taken.wait(T)


class ScriptedFace(SynchronousFace):
    def __init__(self, owner: ScriptedBackend) -> None:
        self.owner = owner
        self.entries: dict[str, Entry] = {}
        self.revision = 0
        self.lock = threading.Lock()

    def read(self, key: str, *, timeout: float) -> Entry | None:
        return self.entries.get(key)

    def read_tree(self, key: str, separator: str, *, timeout: float) -> Snapshot:
        below = key + separator
        found = [e for k, e in sorted(self.entries.items()) if k == key or k.startswith(below)]
        return Snapshot(tuple(found))

    def snapshot(self, prefix: str, *, timeout: float) -> Snapshot:
        asked = time.monotonic()
        found = tuple(e for key, e in sorted(self.entries.items()) if key.startswith(prefix))
        return Snapshot(found, self.revision if self.owner.ordered else None, asked)

    def commit(
        self, operations: Sequence[Operation], *, timeout: float
    ) -> tuple[Revision | None, ...]:
        with self.lock:
            return self._commit(operations)

    def _commit(self, operations: Sequence[Operation]) -> tuple[Revision | None, ...]:
        wrong = [op.key for op in operations if self._conflicts(op)]
        if wrong:
            raise ConflictError("changed", wrong)
        revisions: list[Revision | None] = []
        for operation in operations:
            if isinstance(operation, Put):
                self.revision += 1
                revision = self.revision if self.owner.ordered else operation.value
                entry = Entry(operation.key, operation.value, revision)
                self.entries[operation.key] = entry
                self._tell(entry)
                revisions.append(revision)
                continue
            revisions.append(None)
            if isinstance(operation, Delete):
                doomed = [operation.key] if operation.key in self.entries else []
            else:
                doomed = [key for key in self.entries if key.startswith(operation.prefix)]
            for key in doomed:
                self.revision += 1
                del self.entries[key]
                self._tell(Deletion(key, self.revision if self.owner.ordered else None))
        return tuple(revisions)

    def _conflicts(self, operation: Operation) -> bool:
        if isinstance(operation, DeletePrefix) or operation.expected is None:
            return False
        found = self.entries.get(operation.key)
        return (ABSENT if found is None else found.revision) != operation.expected

    def _tell(self, event: Entry | Deletion) -> None:
        self.owner.log.append(event)
        self.owner.changed.append(event.key)

    def ping(self, *, timeout: float) -> None: ...

    def close(self) -> None: ...


class Machine(RuleBasedStateMachine):
    """One's own writes by a mapping, others' behind its back, and news that are under way.

    The slow ones are asked by other threads of this process: the store has answered, and they have
    not yet come to tell the replica.
    """

    ordered = True
    unique = True

    @initialize()
    def begin(self) -> None:
        self.backend = ScriptedBackend(ordered=self.ordered)
        self.md = RemoteKVMapping(self.backend, "ep1:", None, reads="replica", timeout=T)
        self.count = 0
        self.states: dict[str, list[int | None]] = {key: [None] for key in KEYS}  # in the store
        self.seen: dict[str, int] = dict.fromkeys(KEYS, 0)  # how far in that the mapping was
        self.answers: list[Callable[[], object]] = []  # that other threads have yet to take in

    @property
    def replica(self) -> Replica:
        replica = self.md._scope.replica
        assert replica is not None
        return replica

    def new(self) -> int:
        self.count += 1
        return self.count if self.unique else self.count % 2

    def look(self) -> None:
        """Note what is in the store; check that the mapping does not go back."""
        for key in KEYS:
            entry = self.backend.face.entries.get(f"ep1:{key}")
            now = None if entry is None else int(entry.value)
            if self.states[key][-1] != now:
                self.states[key].append(now)
        if self.unique:
            shown = dict(self.md)
            for key in KEYS:
                self.check_not_back(key, shown.get(key))

    def check_not_back(self, key: str, shown: int | None) -> None:
        states, seen = self.states[key], self.seen[key]
        if shown is None:  # which absence it is cannot be told: the latest that is possible
            later = [n for n in range(seen, len(states)) if states[n] is None]
            assert later, f"{key} is gone again: {states}, was at {seen}"
            self.seen[key] = later[0]
            return
        assert shown in states[seen:], f"{key} went back to {shown}: {states}, was at {seen}"
        self.seen[key] = seen + states[seen:].index(shown)

    @rule(key=st.sampled_from(KEYS))
    def own_put(self, key: str) -> None:
        value = self.new()
        self.md[key] = value
        self.look()
        assert self.md[key] == value

    @rule(key=st.sampled_from(KEYS))
    def own_transform(self, key: str) -> None:
        value = self.new()
        self.md.transform(key, lambda _: value, default=0)
        self.look()
        assert self.md[key] == value

    @rule(key=st.sampled_from(KEYS))
    def own_delete(self, key: str) -> None:
        self.md.pop(key, None)
        self.look()
        assert self.md.get(key) in (None, self.states[key][-1])

    @rule()
    def own_clear(self) -> None:
        self.md.clear()
        self.look()
        assert dict(self.md) == {}

    @rule(key=st.sampled_from(KEYS))
    def foreign_put(self, key: str) -> None:
        value = str(self.new()).encode()
        self.backend.face.commit([Put(f"ep1:{key}", value)], timeout=T)
        self.look()

    @rule(key=st.sampled_from(KEYS))
    def foreign_delete(self, key: str) -> None:
        self.backend.face.commit([Delete(f"ep1:{key}")], timeout=T)
        self.look()

    @rule(key=st.sampled_from(KEYS))
    def slow_read(self, key: str) -> None:
        asked, entry = time.monotonic(), self.backend.face.entries.get(f"ep1:{key}")
        entries = () if entry is None else (entry,)
        self.answers.append(lambda: self.replica.answered(key, entries, asked))

    @rule(key=st.sampled_from(KEYS), put=st.booleans())
    def slow_write(self, key: str, put: bool) -> None:
        value = str(self.new()).encode()
        operations = [Put(f"ep1:{key}", value) if put else Delete(f"ep1:{key}")]
        asked = time.monotonic()
        revisions = self.backend.face.commit(operations, timeout=T)
        self.answers.append(lambda: self.md._scope.committed(operations, revisions, asked, T))
        self.look()

    @precondition(lambda self: self.answers)
    @rule(which=st.integers(0, 2))
    def answer(self, which: int) -> None:
        self.answers.pop(which % len(self.answers))()
        self.look()

    @rule()
    def ask(self) -> None:
        self.backend.ask()

    @precondition(lambda self: self.backend.under_way)
    @rule()
    def deliver(self) -> None:
        self.backend.deliver()
        self.look()

    @rule()
    def cut(self) -> None:
        self.backend.cut()

    @rule()
    def sync(self) -> None:
        self.md.sync()
        self.look()
        assert dict(self.md) == self.stored()

    def stored(self) -> dict[str, Any]:
        entries = self.backend.face.entries
        return {key.removeprefix("ep1:"): int(entry.value) for key, entry in entries.items()}

    def teardown(self) -> None:
        if not hasattr(self, "md"):
            return
        self.backend.ask()
        while self.backend.under_way:
            self.backend.deliver()
        while self.answers:
            self.answers.pop(0)()
        deadline = time.monotonic() + T
        while dict(self.md) != self.stored() and time.monotonic() < deadline:
            time.sleep(0.001)  # doubts are being settled
        assert dict(self.md) == self.stored()
        self.md.close()


LATE = {
    "a read, after the key was deleted": [
        ("foreign_put", "a"),
        ("slow_read", "a"),
        ("foreign_delete", "a"),
        ("cut",),
        ("deliver",),
        ("deliver",),
        ("answer", 0),
    ],
    "a write, after it was deleted": [
        ("slow_write", "a", True),
        ("cut",),
        ("own_clear",),
        ("cut",),
        ("deliver",),
        ("deliver",),
        ("answer", 0),
    ],
    "a write, after another one and the deletion of both": [
        ("slow_write", "b", True),
        ("slow_write", "b", True),
        ("slow_write", "b", False),
        ("answer", 0),
        ("answer", 1),
        ("answer", 0),
    ],
    "a read, after the key became what it was before": [
        ("foreign_put", "b"),
        ("sync",),
        ("foreign_put", "b"),
        ("slow_read", "b"),
        ("foreign_put", "b"),
        ("sync",),
        ("answer", 0),
    ],
}


@pytest.mark.parametrize("ordered", [True, False], ids=["revisions", "values"])
@pytest.mark.parametrize("unique", [True, False], ids=["unique", "repeated"])
@pytest.mark.parametrize("late", LATE)
def test_late_answers(ordered: bool, unique: bool, late: str) -> None:
    steps = machine("Late", ordered=ordered, unique=unique)()
    steps.begin()
    for step, *arguments in LATE[late]:
        getattr(steps, step)(*arguments)
    steps.teardown()


def machine(name: str, *, ordered: bool, unique: bool) -> type[Machine]:
    return type(name, (Machine,), {"ordered": ordered, "unique": unique})


@pytest.mark.parametrize("ordered", [True, False], ids=["revisions", "values"])
@pytest.mark.parametrize("unique", [True, False], ids=["unique", "repeated"])
def test_any_order_of_events(ordered: bool, unique: bool) -> None:
    run_state_machine_as_test(
        machine("Ordered" if ordered else "Unordered", ordered=ordered, unique=unique),
        settings=settings(
            max_examples=120,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_ones_own_write_is_seen_though_the_former_value_was_told_meanwhile() -> None:
    """A value that is its own revision may have been there twice: that is asked for afterwards."""
    contents = Contents("ep1:", lambda key: key)
    former = Entry("ep1:a", b"1", "1", None)
    contents.begin(Snapshot((former,), None, time.monotonic()))
    sent = time.monotonic()
    contents.watched([former], time.monotonic())
    assert contents.committed([Put("ep1:a", b"2", "1")], ["2"], sent) == set()
    assert [entry.value for entry in contents.groups["ep1:a"]] == [b"2"]
    assert contents.doubts == {"ep1:a"}
    assert contents.answer("ep1:a", former, time.monotonic())
    assert contents.groups["ep1:a"] == (former,)
