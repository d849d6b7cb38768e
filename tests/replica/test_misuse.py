"""What nobody should do to a replica, and what somebody does: it goes on, or says why not."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any, Self

import pytest

from kv_dict import ClosedError, InMemoryAsyncBackend, RemoteKVMapping
from kv_dict.mapping import subscriptions
from kv_dict.mapping.subscriptions import Change
from kv_dict.replica import Replica, contents
from kv_dict.replica import replica as replica_module
from kv_dict.testing.waiting import until

DEADLINE = 10.0


def test_clearing_costs_each_key_its_share() -> None:
    """It took minutes once: each deleted key had all those before it looked through."""
    with RemoteKVMapping(InMemoryAsyncBackend(), "ep1", reads="replica", timeout=100) as md:
        md.update({f"k{number}": number for number in range(40_000)})
        md.clear()
        assert len(md) == 0


class At:
    """Does something at the n-th instruction of a module, wherever in this thread that is."""

    def __init__(self, module: Any, number: int, what: Callable[[], None]) -> None:
        self._file = module.__file__
        self._left = number
        self._what = what

    @property
    def came(self) -> bool:
        return self._left < 0

    def __enter__(self) -> Self:
        sys.settrace(self._trace)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)

    def _trace(self, frame: FrameType, event: str, _: object) -> Any:
        if frame.f_code.co_filename != self._file:
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        if event == "opcode":
            self._left -= 1
            if self._left == -1:
                sys.settrace(None)
                self._what()
        return self._trace


def interrupt() -> None:
    raise KeyboardInterrupt


CHANGES: dict[str, Callable[[RemoteKVMapping, int], object]] = {
    "put": lambda md, n: md.update(a=n),
    "delete": lambda md, n: md.pop("a", None) if n % 2 else md.update(a=n),
}


@pytest.mark.parametrize("what", CHANGES)
def test_ctrl_c_while_the_replica_takes_note(what: str) -> None:
    """The store has it: so reads and subscribers learn it, wherever the note was torn."""
    backend = InMemoryAsyncBackend()
    with (
        RemoteKVMapping(backend, "ep1", reads="replica") as md,
        RemoteKVMapping(backend, "ep1") as stored,
    ):
        told: dict[str, Any] = {}
        md.subscribe(lambda change: told.update({change.key: change.value}))
        number = 0
        while True:
            with At(contents, number, interrupt) as at, suppress(KeyboardInterrupt):
                CHANGES[what](md, number)
            until(lambda: md.get("a") == stored.get("a") == told.get("a"))
            if not at.came:
                break
            number += 1
        assert number > 100


@pytest.mark.parametrize("module", [subscriptions, threading], ids=["noting", "waking"])
def test_ctrl_c_while_a_subscriber_is_told(module: Any) -> None:
    """It left a lock behind, for which every later write waited, and all other watches with it."""
    told: dict[str, Any] = {}
    with RemoteKVMapping(InMemoryAsyncBackend(), "ep1", reads="replica") as md:
        md.subscribe(lambda change: told.update({change.key: change.value}))
        number, came = 0, True
        while came:
            with At(module, number, interrupt) as at, suppress(KeyboardInterrupt):
                md["a"] = number
            came = at.came
            number += 1
            md["b"] = number
        until(lambda: told == dict(md))


def test_a_callback_that_exits_is_called_again(caplog: pytest.LogCaptureFixture) -> None:
    with RemoteKVMapping(InMemoryAsyncBackend(), "ep1") as md:
        told: list[int] = []

        def leave(change: Change) -> None:
            told.append(change.value)
            sys.exit(change.value)

        md.subscribe(leave)
        for number in (1, 2):
            md["a"] = number
            until(lambda number=number: told[-1:] == [number])
    assert caplog.text.count("SystemExit") == 2


def test_a_consumer_that_cannot_be_woken_is_not_the_writers_fault(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with RemoteKVMapping(InMemoryAsyncBackend(), "ep1", reads="replica") as md:
        loop = asyncio.new_event_loop()
        feed = md.feed(lambda: loop.call_soon_threadsafe(int))
        told: list[int] = []
        md.subscribe(lambda change: told.append(change.value))
        loop.close()
        for number in (1, 2, 3):
            md["a"] = number
        until(lambda: told == [1, 2, 3])
        assert [change.value for change in feed.take()] == [1, 2, 3]
    assert caplog.text.count("wake function of a feed failed") == 1
    assert "Event loop is closed" in caplog.text


def test_closing_waits_once_for_all_callbacks_that_do_not_end() -> None:
    done = threading.Event()
    md = RemoteKVMapping(InMemoryAsyncBackend(), "ep1", timeout=1)
    began = threading.Semaphore(0)

    def never_ends(change: Change) -> None:
        began.release()
        done.wait()

    for _ in range(60):
        md.subscribe(never_ends)
    md["a"] = 1
    for _ in range(60):
        assert began.acquire(timeout=DEADLINE)
    begun = time.monotonic()
    md.close()
    assert time.monotonic() - begun < 30  # of a second, and not of 60
    done.set()


def test_closing_while_others_unsubscribe() -> None:
    switching = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(30):
            md = RemoteKVMapping(InMemoryAsyncBackend(), "ep1")
            tokens = [md.subscribe(lambda change: None) for _ in range(20)]
            errors: list[BaseException] = []

            def unsubscribe(
                md: RemoteKVMapping = md,
                tokens: list[int] = tokens,
                errors: list[BaseException] = errors,
            ) -> None:
                for token in reversed(tokens):
                    try:
                        md.unsubscribe(token)
                    except KeyError:  # closed
                        return
                    except BaseException as error:
                        errors.append(error)

            thread = threading.Thread(target=unsubscribe)
            thread.start()
            md.close()
            thread.join()
            assert errors == []
    finally:
        sys.setswitchinterval(switching)


def test_subscribing_while_it_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """No thread stays behind that nobody can end."""
    md = RemoteKVMapping(InMemoryAsyncBackend(), "ep1", timeout=2)
    start = subscriptions._Subscription.__init__

    def closed_meanwhile(*arguments: Any) -> None:
        start(*arguments)
        md.close()

    monkeypatch.setattr(subscriptions._Subscription, "__init__", closed_meanwhile)
    with pytest.raises(ClosedError, match="was closed"):
        md.subscribe(lambda change: None)
    until(lambda: not any("kv_dict subs" in thread.name for thread in threading.enumerate()))


def test_an_iteration_ends_whenever_the_mapping_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    md = RemoteKVMapping(InMemoryAsyncBackend(), "ep1")

    class ClosedJustBefore(asyncio.Event):
        def clear(self) -> None:
            if told:  # in the gap between two looks
                md.close()
            super().clear()

    told: list[int] = []

    async def iterate() -> None:
        monkeypatch.setattr(asyncio, "Event", ClosedJustBefore)
        async for change in md.changes():
            told.append(change.value)
            first.set()

    async def main() -> None:
        task = asyncio.create_task(iterate())
        await asyncio.to_thread(md.update, a=1)
        await asyncio.to_thread(first.wait, DEADLINE)
        md._scope.follow()._stir()  # woken for nothing
        await asyncio.wait_for(task, DEADLINE)

    first = threading.Event()
    asyncio.run(main())
    assert told == [1]


def test_the_garbage_collector_may_come_at_any_instruction() -> None:
    """It finds forgotten mappings whose replicas are released: by the thread that shares one."""

    def forget(name: str) -> None:
        forgotten: list[object] = [
            RemoteKVMapping(InMemoryAsyncBackend(), name, reads="replica"),
        ]
        forgotten.append(forgotten)

    known = list(replica_module._shared)  # what other tests of this process still hold
    number, came = 0, True
    gc.disable()
    try:
        while came:
            forget(f"ep{number}")
            with (
                At(replica_module, number, gc.collect) as at,
                RemoteKVMapping(InMemoryAsyncBackend(), "ep1", reads="replica") as md,
            ):
                md["a"] = 1
            came = at.came
            number += 17
    finally:
        gc.enable()
    gc.collect()
    assert not [backend for backend in replica_module._shared if backend not in known]
    assert number > 100


def test_a_watch_that_fails_at_once_is_begun_again(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = InMemoryAsyncBackend()
    ended = threading.Event()
    spawn, end = replica_module.spawn, Replica._ended

    def slowly(*arguments: Any) -> Any:
        job = spawn(*arguments)
        ended.wait(0.2)  # the watch fails before the opener has taken note
        return job

    def has_ended(self: Replica, error: Any) -> None:
        end(self, error)
        ended.set()

    monkeypatch.setattr(replica_module, "spawn", slowly)
    monkeypatch.setattr(Replica, "_ended", has_ended)
    with RemoteKVMapping(backend, "ep1", timeout=2) as md:
        backend.closed = True
        with pytest.raises(ClosedError):
            md.subscribe(lambda change: None)
        backend.closed = False
        md.subscribe(lambda change: None)
