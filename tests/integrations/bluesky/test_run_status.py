"""RunStatus: what is shown of plans of all kinds, and that no run suffers from it."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kv_dict import (
    ConfigurationError,
    DecodeError,
    InMemoryAsyncBackend,
    LayeredMapping,
    RemoteKVMapping,
    open_mapping,
)
from kv_dict.testing.servers import NatsServer, PostgresServer, RedisServer

pytest.importorskip("bluesky")

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
from bluesky.suspenders import SuspendBoolHigh
from bluesky.utils import RunEngineInterrupted
from ophyd import Signal

from kv_dict.integrations.bluesky import RunStatus, Status, read_status
from kv_dict.integrations.bluesky.progress import Progress

pytestmark = pytest.mark.beamline

QUICK = 0.02
"""Seconds between two writes, at least."""


@pytest.fixture
def RE(shared: RemoteKVMapping, make_engine: Callable[..., Any]) -> Any:
    return make_engine(shared)


@pytest.fixture
def status(RE: Any) -> Iterator[RunStatus]:
    with RunStatus(RE, every=QUICK, renew=0.2, program="test") as status:
        yield status


@pytest.fixture
def shown(status: RunStatus, shared: RemoteKVMapping) -> Callable[[], Status]:
    """A function that returns what is shown, when all that has happened is."""

    def show() -> Status:
        assert status.flush()
        found = read_status(shared)
        assert found is not None
        return found

    return show


DET = Signal(name="det", value=0)


def point() -> Any:
    yield from bps.checkpoint()
    yield from bps.create()
    yield from bps.read(DET)
    yield from bps.save()


def points(number: int, **md: Any) -> Any:
    yield from bps.open_run(md)
    for _ in range(number):
        yield from point()
    yield from bps.close_run()


def test_a_plan_from_beginning_to_end(RE: Any, shown: Any) -> None:
    seen = []

    def scan_it():
        yield from bps.null()
        seen.append(shown())
        yield from bps.open_run({"plan_args": {"num": 4, "list": list(range(99))}, "num_points": 4})
        yield from point()
        yield from point()
        seen.append(shown())
        time.sleep(0.01)
        yield from point()
        seen.append(shown())
        yield from point()
        yield from bps.close_run()
        seen.append(shown())

    assert shown().state == "idle"
    assert shown().exit_status is None
    before = time.time()
    uids = RE(scan_it())
    begun, two, three, closed = seen
    assert (begun.state, begun.plan_name, begun.runs_open) == ("running", "scan_it", 0)
    assert before <= begun.plan_started <= time.time()
    assert begun.program == "test"
    assert (two.points_done, two.points_expected, two.scan_id) == (2, 4, 1)
    assert (two.uid, two.runs_open, two.exit_status) == (uids[0], 1, None)
    assert two.plan_args == {"num": "4", "list": "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, ...]"}
    assert str(two) == "running scan_it #1, point 2 of 4"
    assert before <= two.started <= two.estimated_finish
    assert three.estimated_finish > two.updated
    assert (closed.state, closed.runs_open, closed.runs_done) == ("running", 0, 1)
    end = shown()
    assert (end.state, end.exit_status, end.last_error) == ("idle", "success", None)
    assert (end.points_done, end.uid, end.estimated_finish) == (4, uids[0], None)
    assert not end.stale
    assert str(end) == "idle"


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        ({"num_points": 7}, 7),
        ({"num_intervals": 6}, 7),
        ({"shape": [3, 4]}, 12),
        ({"shape": [3, 4], "num_points": 5}, 5),
        ({"num_points": None, "num_intervals": None}, None),
        ({"num_points": "many", "shape": []}, None),
        ({"num_points": 0, "num_intervals": -3}, None),
        ({}, None),
    ],
)
def test_points_that_are_expected(RE: Any, shown: Any, start: Any, expected: int | None) -> None:
    RE(points(1, **start))
    assert (shown().points_done, shown().points_expected) == (1, expected)


def test_only_points_of_the_scan_count(RE: Any, shown: Any) -> None:
    det = Signal(name="det", value=0)
    RE(
        bpp.baseline_wrapper(bpp.monitor_during_wrapper(points(3), [det]), [Signal(name="m")]),
        md_of="all",
    )
    assert shown().points_done == 3

    def unnamed():
        yield from bps.open_run()
        yield from bps.trigger_and_read([det], name="rocking")
        yield from bps.close_run()

    RE(unnamed())
    assert shown().points_done == 1


def test_runs_within_runs(RE: Any, shown: Any) -> None:
    seen = []

    def inner():
        yield from bpp.set_run_key_wrapper(points(1, num_points=1), "inner")
        seen.append(shown())

    def outer():
        yield from bps.open_run({"num_points": 9})
        yield from point()
        yield from point()
        yield from inner()
        yield from inner()
        yield from point()
        seen.append(shown())
        yield from bps.close_run()
        yield from points(1)

    RE(outer())
    assert [(one.scan_id, one.points_done, one.runs_open, one.runs_done) for one in seen] == [
        (1, 2, 1, 1),
        (1, 2, 1, 2),
        (1, 3, 1, 2),
    ]
    assert (shown().scan_id, shown().runs_done) == (4, 4)


def failing(error: BaseException) -> Any:
    yield from bps.open_run()
    yield from point()
    raise error


def test_plans_that_fail(RE: Any, shown: Any) -> None:
    for error in (ValueError("the slit is shut"), ZeroDivisionError("x" * 1000)):
        with pytest.raises(type(error)):
            RE(failing(error))
        assert (shown().state, shown().exit_status) == ("idle", "fail")
        assert shown().last_error.startswith(f"{type(error).__name__}: {str(error)[:10]}")
        assert len(shown().last_error) <= 200

    def without_a_run():
        yield from bps.null()
        raise RuntimeError("no run was opened")

    with pytest.raises(RuntimeError):
        RE(without_a_run())
    assert (shown().plan_name, shown().exit_status) == ("without_a_run", "fail")
    assert (shown().uid, shown().runs_done) == (None, 0)

    def forgiving():
        try:
            yield from failing(ValueError("at first"))
        except ValueError:
            yield from bps.close_run(exit_status="fail", reason="at first")
        yield from points(1)

    RE(forgiving())
    assert (shown().exit_status, shown().last_error) == ("success", "at first")
    RE(points(1))
    assert (shown().exit_status, shown().last_error) == ("success", None)


def interrupted(number: int = 6) -> Any:
    yield from bps.open_run({"num_points": number})
    for n in range(number):
        yield from point()
        if n == 2:
            yield from bps.pause()
    yield from bps.close_run()


@pytest.mark.parametrize(
    ("act", "exit_status", "done", "why"),
    [
        (lambda RE: RE.resume(), "success", 6, None),
        (lambda RE: RE.abort("no beam today"), "abort", 3, "no beam today"),
        (lambda RE: RE.stop(), "success", 3, None),
        (lambda RE: RE.halt(), "abort", 3, None),
    ],
    ids=["resume", "abort", "stop", "halt"],
)
def test_a_pause(RE: Any, shown: Any, act: Any, exit_status: str, done: int, why: Any) -> None:
    with pytest.raises(RunEngineInterrupted):
        RE(interrupted())
    paused = shown()
    assert (paused.state, paused.points_done, paused.estimated_finish) == ("paused", 3, None)
    assert str(paused) == "paused interrupted #1, point 3 of 6"
    act(RE)
    end = shown()
    assert (end.state, end.exit_status, end.points_done) == ("idle", exit_status, done)
    assert end.last_error == why
    RE(points(2))
    assert shown().exit_status == "success"


def test_a_pause_without_a_checkpoint(RE: Any, shown: Any) -> None:
    def plan():
        yield from bps.clear_checkpoint()
        yield from bps.pause()

    with pytest.raises(RunEngineInterrupted):
        RE(plan())
    assert (shown().state, shown().exit_status) == ("idle", "abort")
    assert shown().last_error.startswith("FailedPause")


def test_a_halt_reaches_the_plan_as_without_it(make_engine: Any, shared: Any) -> None:
    """A plan that is halted sees the same exceptions, and cleans up as it would."""

    def traced(trace: list[Any]) -> Any:
        try:
            yield from interrupted()
        except BaseException as error:
            trace.append(type(error))
            raise
        finally:
            yield from bps.null()
            trace.append("cleaned up")

    traces: list[list[Any]] = [[], []]
    for trace in traces:
        RE = make_engine(shared)
        with RunStatus(RE) if trace is traces[1] else open_mapping("memory://"):
            with pytest.raises(RunEngineInterrupted):
                RE(traced(trace))
            RE.halt()
            assert RE.state == "idle"
    assert traces[0] == traces[1]


def test_a_suspender(RE: Any, shown: Any, eventually: Any, shared: RemoteKVMapping) -> None:
    shutter = Signal(name="shutter", value=0)
    RE.install_suspender(SuspendBoolHigh(shutter))

    def plan():
        yield from bps.open_run()
        yield from point()
        shutter.put(1)
        yield from bps.sleep(0.01)
        yield from point()
        yield from bps.close_run()

    def open_again() -> None:
        eventually(lambda: read_status(shared).suspended)
        seen.append(str(read_status(shared)))
        shutter.put(0)

    seen: list[str] = []
    helper = threading.Thread(target=open_again)
    helper.start()
    RE(plan())
    helper.join()
    assert seen == ["running plan #1, point 1 (suspended)"]
    assert not shown().suspended
    assert shown().points_done == 2


def test_other_hooks_go_on(make_engine: Any, shared: RemoteKVMapping) -> None:
    RE = make_engine(shared)
    told: list[Any] = []

    def hook(new: Any, old: Any) -> None:
        told.append(str(new))

    RE.state_hook = hook
    status = RunStatus(RE)
    RE(points(1))
    assert told == ["running", "idle"]
    status.close()
    assert RE.state_hook is hook
    assert RE.preprocessors == []
    chained = RunStatus(RE)
    ours = RE.state_hook
    RE.state_hook = lambda new, old: (ours(new, old), told.append("chained"))
    chained.close()
    chained.close()
    RE(points(1))
    assert told[2:] == ["running", "chained", "idle", "chained"]
    assert read_status(shared).state == "ended"


def test_nothing_in_it_fails_a_run(RE: Any, status: RunStatus, caplog: Any) -> None:
    for name, doc in (
        ("start", {}),
        ("stop", {}),
        ("event", {"descriptor": []}),
        ("event_page", {"descriptor": "x", "seq_num": []}),
        ("stream_datum", {"descriptor": "x", "seq_nums": None}),
        ("descriptor", {"run_start": []}),
        ("of a later version", None),
    ):
        status(name, doc)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    RE(points(2))


def test_writes_are_bounded(make_engine: Any, shared: RemoteKVMapping) -> None:
    RE = make_engine(shared)
    began = time.monotonic()
    with RunStatus(RE, every=0.1) as status:
        RE(points(300))
        assert status.flush()
    writes = read_status(shared).renewals
    assert writes <= (time.monotonic() - began) / 0.1 + 3
    with RemoteKVMapping(shared.backend, "ep1@status") as stored:
        history = [value for value, *_ in stored.history("run")]
        assert [one["renewals"] for one in history] == list(range(1, writes + 1))
        assert [one["state"] for one in history][-2:] == ["idle", "ended"]
        assert history[-2]["points_done"] == 300


def test_which_of_two_is_shown(make_engine: Any, shared: RemoteKVMapping) -> None:
    one, two = make_engine(shared), make_engine(shared)
    seen = []
    with (
        RunStatus(one, every=QUICK, renew=0.1, program="one") as first,
        RunStatus(two, every=QUICK, renew=0.1, program="two") as second,
        RunStatus(two, name="other", every=QUICK, program="three") as third,
    ):

        def see() -> None:
            for each in (first, second, third):
                assert each.flush()
            seen.append((read_status(shared).program, read_status(shared).state))

        assert first.flush()
        see()

        def plan():
            yield from bps.null()
            see()

        two(plan())
        see()
        one(plan())
        see()
        assert read_status(shared, "other").program == "three"
        assert read_status(shared, "none") is None
    assert seen == [
        ("one", "idle") if seen[0][0] == "one" else ("two", "idle"),
        ("two", "running"),
        ("two", "idle"),
        ("one", "running"),
        ("one", "idle"),
    ]


def test_mistakes_are_told(make_engine: Any, shared: RemoteKVMapping) -> None:
    RE = make_engine({})
    with pytest.raises(ConfigurationError, match=r"RE.md is a dict, .* RunStatus\(RE, open_map"):
        RunStatus(RE)
    for options in ({"name": 3}, {"program": 3}):
        with pytest.raises(TypeError, match="3"):
            RunStatus(RE, shared, **options)
    for options in ({"every": 0}, {"every": "1"}, {"renew": float("nan")}, {"every": True}):
        with pytest.raises(ConfigurationError, match="seconds, "):
            RunStatus(RE, shared, **options)
    assert RE.preprocessors == []
    assert RE.state_hook is None
    with RemoteKVMapping(shared.backend, "", None) as everything:
        with pytest.raises(ConfigurationError, match="entry point"):
            RunStatus(RE, everything)
        with pytest.raises(ConfigurationError, match="entry point"):
            read_status(everything)
    with pytest.raises(TypeError, match="md is a RemoteKVMapping"):
        read_status({})  # type: ignore[arg-type]
    with RemoteKVMapping(shared.backend, "ep1@status") as stored:
        for bad in ("running", [], {"state": 1}, {"state": "idle", "pid": "x"}):
            stored["run"] = bad
            with pytest.raises(DecodeError, match="status of a RunEngine"):
                read_status(shared)
        with RunStatus(RE, shared) as status:
            assert status.flush()
            assert read_status(shared).state == "idle"
        stored["run"] = stored["run"] | {"of a later version": 1}
        assert read_status(shared).state == "ended"


class Documents:
    """Any order of what may happen, beside what it comes to."""

    def __init__(self) -> None:
        self.progress = Progress("idle")
        self.open: list[tuple[str, int, int]] = []  # uid, points, expected
        self.over: tuple[str, int, int] | None = None
        self.done = 0

    def do(self, what: str, number: int) -> None:
        tell = self.progress.document
        if what == "open":
            uid = f"run {self.done + len(self.open)} {number}"
            tell("start", {"uid": uid, "time": 0.0, "scan_id": number, "num_points": number})
            for stream in ("primary", "baseline", "m_monitor"):
                about = {"uid": f"{uid} {stream}", "run_start": uid, "name": stream}
                tell("descriptor", about)
            self.open.append((uid, 0, number))
        elif what == "state":
            states = ("running", "pausing", "paused", "suspending")
            self.progress.state(states[number % len(states)])
        elif self.open:
            uid, points, expected = self.open.pop(number % len(self.open))
            if what == "close":
                tell("stop", {"run_start": uid, "exit_status": "abort", "reason": ""})
                self.over = uid, points, expected
                self.done += 1
                return
            where = {"descriptor": f"{uid} primary"}
            tell("event", {"descriptor": f"{uid} baseline", "seq_num": 77})
            points = max(1, points + number % 5 - 1)  # or back, after a pause
            if what == "event":
                tell("event", where | {"seq_num": points})
            elif what == "page":
                tell("event_page", where | {"seq_num": [points - 1, points]})
            else:
                tell("stream_datum", where | {"seq_nums": {"start": 1, "stop": points + 1}})
            self.open.append((uid, points, expected))


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["open", "event", "page", "stream", "close", "state"]),
            st.integers(1, 9),
        )
    )
)
def test_any_order_of_documents(steps: list[tuple[str, int]]) -> None:
    said = Documents()
    for what, number in steps:
        if what == "open" and any(uid.endswith(f" {number}") for uid, *_ in said.open):
            continue
        said.do(what, number)
        shown = said.progress.fields()
        assert (shown["runs_open"], shown["runs_done"]) == (len(said.open), said.done)
        status = Status(**shown)
        assert Status.from_item(status.as_item()) == status
        known = {uid: (points, expected) for uid, points, expected in said.open}
        if said.over is not None and not said.open:
            known[said.over[0]] = said.over[1:]
        if known:
            assert (status.points_done, status.points_expected) == known[status.uid]


SERVERS = {"redis": RedisServer, "postgres": PostgresServer, "nats": NatsServer}


@pytest.mark.parametrize(
    ("kind", "fault"),
    [("redis", "kill"), ("redis", "freeze"), ("postgres", "freeze"), ("nats", "kill")],
)
def test_a_server_that_goes_away_in_mid_scan(
    kind: str, fault: str, tmp_path: Path, make_engine: Any, eventually: Any, caplog: Any
) -> None:
    """The run's points come as without it; afterwards all is shown."""
    caplog.set_level(logging.CRITICAL, "nats")
    with (
        SERVERS[kind](tmp_path / "server") as server,
        open_mapping(server.store_url()) as md,
        RemoteKVMapping(InMemoryAsyncBackend(), "ep1") as own,
    ):
        RE = make_engine(own)
        with RunStatus(RE, md, every=QUICK) as status:

            def plan():
                yield from bps.open_run({"num_points": 200})
                yield from point()
                assert status.flush(10)
                assert read_status(md).points_done == 1
                getattr(server, fault)()
                began = time.monotonic()
                for _ in range(199):
                    yield from point()
                # Had one point of a hundred waited for the store, it would take longer.
                assert time.monotonic() - began < 15
                yield from bps.close_run()

            RE(plan())
            assert not status.flush(0.05)
            server.start() if fault == "kill" else server.thaw()
            eventually(lambda: status.flush(1))
            found = read_status(md)
            assert (found.state, found.exit_status, found.points_done) == ("idle", "success", 200)
        assert read_status(md).state == "ended"


SESSION = """
import sys
from bluesky import RunEngine
from kv_dict import open_mapping
from kv_dict.integrations.bluesky import RunStatus

md = open_mapping(sys.argv[1], entry_point="session")
status = RunStatus(RunEngine(md), every=0.05, renew=0.1)
print(status.flush(10), flush=True)
sys.stdin.readline()
"""


@pytest.mark.parametrize("kind", ["sqlite", "postgres", "nats"])
def test_a_session_that_ends_and_one_that_is_killed(
    kind: str, request: Any, tmp_path: Path, table: str, bucket: str, eventually: Any
) -> None:
    url = f"sqlite://{tmp_path}/md.db"
    if kind != "sqlite":
        what = (
            f"table={table}&create_table"
            if kind == "postgres"
            else f"bucket={bucket}&create_bucket"
        )
        url = request.getfixturevalue(f"{kind}_url") + f"?{what}=true"
    sessions = []
    with open_mapping(url, entry_point="session") as md:
        for end in ("kill", "terminate itself"):
            session = subprocess.Popen(
                [sys.executable, "-c", SESSION, url],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            sessions.append(session)
            assert session.stdout.readline() == "True\n"
            eventually(lambda session=session: read_status(md).pid == session.pid)
            assert not read_status(md).stale
            if end == "kill":
                session.kill()
                session.communicate(timeout=30)
                eventually(lambda: read_status(md).stale)
                assert str(read_status(md)) == "idle (stale)"
            else:
                _, said = session.communicate("go\n", timeout=30)
                assert session.returncode == 0
                assert said == ""
                assert (read_status(md).state, read_status(md).stale) == ("ended", False)


def test_of_layers(shared: RemoteKVMapping, make_engine: Any) -> None:
    """It is beside the lower one, which stays, and is read by either."""
    with (
        LayeredMapping.on(shared, "p1") as md,
        RunStatus(make_engine(md), program="test") as status,
    ):
        assert status.flush()
        md.switch("p2")
        assert read_status(md) == read_status(shared) is not None
