"""A RunEngine that shares a beamline as its profile says; and what a switch means for its runs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kv_dict import (
    ConfigurationError,
    InMemoryAsyncBackend,
    LayeredMapping,
    NotHolder,
    RemoteKVMapping,
    RunOpenError,
    Unavailable,
)
from kv_dict.coordination import Baton, Presence
from kv_dict.profiles import Profile, load_profile
from kv_dict.testing.servers import RedisServer

pytest.importorskip("bluesky")

import bluesky.plan_stubs as bps
from bluesky.utils import RunEngineInterrupted

from kv_dict.integrations.bluesky import (
    BeamlineSession,
    read_status,
    scan_id_source,
    start_experiment,
    stay_during_runs,
)

pytestmark = pytest.mark.beamline

Made = Callable[..., Any]

BOB = {"proposal": 319, "cycle": "2026-3", "username": "bob"}


@pytest.fixture(params=["plain", "layered"])
def md(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Metadata of the proposal p318."""
    backend = InMemoryAsyncBackend()
    if request.param == "plain":
        with RemoteKVMapping(backend, "p318") as md:
            yield md
    else:
        with (
            RemoteKVMapping(backend, "xas") as xas,
            LayeredMapping.on(xas, "p318") as md,
        ):
            yield md


def point_of(md: Any) -> str:
    return str(md.over.entry_point if isinstance(md, LayeredMapping) else md.entry_point)


def documents(RE: Any) -> list[tuple[str, dict[str, Any]]]:
    told: list[tuple[str, dict[str, Any]]] = []
    RE.subscribe(lambda name, doc: told.append((name, dict(doc))))
    return told


def run(*inside: Callable[[], object], md: dict[str, Any] | None = None) -> Iterator[Any]:
    yield from bps.open_run(md)
    for call in inside:
        call()
    yield from bps.close_run()


# -- a switch, and an open run ---------------------------------------------------------------------


def test_a_switch_in_the_middle_of_a_run_is_of_the_next_one(md: Any, make_engine: Made) -> None:
    """Where nobody looks after it: the run keeps its documents, and what asks later sees others."""
    RE = make_engine(md, scan_id_source=scan_id_source)
    told = documents(RE)
    with md.over.at("p319") if isinstance(md, LayeredMapping) else md.at("p319") as other:
        other.update(user="bob", scan_id=100)
    md.update(user="ada", scan_id=7)
    seen: list[Any] = []

    def plan() -> Iterator[Any]:
        yield from run(lambda: md.switch("p319"), lambda: seen.append(md["user"]))
        yield from run()

    RE(plan())
    starts = [doc for name, doc in told if name == "start"]
    stops = [doc for name, doc in told if name == "stop"]
    assert [doc["user"] for doc in starts] == ["ada", "bob"]
    of_one_count = isinstance(md, LayeredMapping)
    assert [doc["scan_id"] for doc in starts] == ([8, 9] if of_one_count else [8, 101])
    assert [doc["run_start"] for doc in stops] == [doc["uid"] for doc in starts]
    assert seen == ["bob"]


def test_a_run_that_is_open_keeps_its_proposal(md: Any, make_engine: Made) -> None:
    RE = make_engine(md, scan_id_source=scan_id_source)
    undo = stay_during_runs(RE)
    told = documents(RE)
    md.update(user="ada")
    before = dict(md)

    def plan() -> Iterator[Any]:
        yield from bps.open_run()
        yield from bps.checkpoint()
        yield from bps.pause()
        yield from bps.close_run()

    with pytest.raises(RunEngineInterrupted):
        RE(plan())
    uid = told[0][1]["uid"][:8]
    before |= {"scan_id": 1}
    for change in (
        lambda: md.switch("p319"),
        lambda: start_experiment(md, **BOB),
        lambda: start_experiment(md, **BOB, entry_point="p319"),
    ):
        with pytest.raises(RunOpenError, match=rf"run 1 \({uid}\) of the plan 'plan' is open"):
            change()
    assert start_experiment(md, **BOB, entry_point="p319", dry_run=True).left == "p318"
    md.switch("p318")  # where it is
    assert (dict(md), point_of(md)) == (before, "p318")
    with md.over.at("p319") if isinstance(md, LayeredMapping) else md.at("p319") as other:
        assert dict(other) == {}
    RE.stop()
    start_experiment(md, **BOB, entry_point="p319")
    assert (md["username"], point_of(md)) == ("bob", "p319")

    with pytest.raises(RunOpenError, match="no change to 'p318': run 2"):
        RE(run(lambda: md.switch("p318")))
    undo()
    undo()
    RE(run(lambda: md.switch("p318")))
    assert (point_of(md), RE.preprocessors) == ("p318", [])


def test_between_two_runs_and_after_a_halt_it_may_change(md: Any, make_engine: Made) -> None:
    RE = make_engine(md, scan_id_source=scan_id_source)
    stay_during_runs(RE)
    told = documents(RE)

    def queue() -> Iterator[Any]:
        yield from run()
        start_experiment(md, **BOB, entry_point="p319")
        yield from run()

    RE(queue())
    starts = [doc for name, doc in told if name == "start"]
    assert [doc.get("username") for doc in starts] == [None, "bob"]

    def paused() -> Iterator[Any]:
        yield from bps.open_run()
        yield from bps.pause()

    with pytest.raises(RunEngineInterrupted):
        RE(paused())
    with pytest.raises(RunOpenError):
        md.switch("p318")
    RE.halt()
    md.switch("p318")

    def within() -> Iterator[Any]:
        yield from bps.open_run()
        raise ValueError("the plan is wrong")

    def fail(name: str, doc: Any) -> None:
        raise OSError("the disk is full")

    token = RE.subscribe(fail, "stop")
    with pytest.raises(ValueError, match="the plan is wrong"):
        RE(within())
    RE.unsubscribe(token)

    def no_run() -> Iterator[Any]:
        md.switch("p319")  # the one before is over, though it could not be told
        yield from bps.null()

    RE(no_run())
    assert point_of(md) == "p319"


def test_a_dict_cannot_be_looked_after(make_engine: Made) -> None:
    RE = make_engine({})
    with pytest.raises(ConfigurationError, match=r"RE\.md is a dict, which cannot be switched"):
        stay_during_runs(RE)
    with pytest.raises(ConfigurationError, match=r"RE\.md is a dict"):
        BeamlineSession(RE, load_profile("memory://"))
    with pytest.raises(TypeError, match="what load_profile"):
        BeamlineSession(RE, "xas")  # type: ignore[arg-type]
    assert RE.preprocessors == []


# -- what a profile asks ---------------------------------------------------------------------------


@pytest.fixture
def profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Profile:
    monkeypatch.setenv("KV_DICT_REQUIRE_BATON", "true")
    return load_profile(f"sqlite://{tmp_path}/md.db", entry_point="xas")


def test_two_sessions_share_a_beamline(profile: Profile, make_engine: Made) -> None:
    with profile.open() as mine, profile.open() as yours:
        one, other = make_engine(mine), make_engine(yours)
        with (
            BeamlineSession(one, profile, program="ipython") as ipython,
            BeamlineSession(other, profile, program="queue server") as server,
        ):
            programs = [each.session.program for each in ipython.presence.sessions()]
            assert programs == ["ipython", "queue server"]
            with pytest.raises(NotHolder, match="the plan 'run' did not begin: nobody"):
                one(run())
            assert ipython.baton.acquire() == 1
            numbers = documents(one)
            one(run())
            with pytest.raises(NotHolder, match=r"'run' did not begin: .*ipython"):
                other(run())
            ipython.baton.release()
            assert server.baton.acquire() == 2
            numbers_of_other = documents(other)
            other(run())
            told = [doc["scan_id"] for name, doc in numbers + numbers_of_other if name == "start"]
            assert told == [1, 2]
            assert server.status.flush()
            shown = read_status(mine)
            assert shown is not None
            assert (shown.program, shown.scan_id) == ("queue server", 2)
        server.close()
        with Baton(mine) as baton, Presence(mine, announce=False) as presence:
            assert (baton.holder, presence.sessions()) == (None, [])
        shown = read_status(mine)
        assert shown is not None
        assert shown.state == "ended"
        for engine in (one, other):
            assert (engine.preprocessors, engine.state_hook) == ([], None)
            engine(run())
        assert mine["scan_id"] == 4


def test_of_layers(profile: Profile, make_engine: Made) -> None:
    with (
        LayeredMapping.on(profile.open(), "p318") as md,
        BeamlineSession(make_engine(md), profile, program="ipython") as session,
    ):
        session.baton.acquire()
        md.switch("p319")
        with Presence(md, announce=False) as presence, Baton(md.under) as other:
            assert other.holder == session.baton.session == presence.sessions()[0].session


def test_leaving_a_store_that_does_not_answer(
    tmp_path: Path, make_engine: Made, caplog: Any
) -> None:
    """Nobody is kept for longer than the goodbyes may take, whatever the mapping's timeout is."""
    with RedisServer(tmp_path / "server") as server:
        profile = load_profile(server.store_url(), timeout=60)
        with profile.open() as md:
            session = BeamlineSession(make_engine(md), profile)
            session.baton.acquire()
            server.freeze()
            left = threading.Thread(target=session.close)
            left.start()
            left.join(30)
            assert not left.is_alive()
            server.thaw()
    for said in ("others have to wait for its lease", "others will see this session"):
        assert said in caplog.text


def test_what_the_profile_does_not_ask(make_engine: Made) -> None:
    profile = load_profile("memory://")
    with profile.open() as md:
        RE = make_engine(md, scan_id_source=lambda md: 4217)
        with BeamlineSession(RE, profile) as session:
            told = documents(RE)
            RE(run())  # without a baton
            assert told[0][1]["scan_id"] == 4217  # its own source stays
            assert not session.baton.held
            with pytest.raises(RunOpenError):
                RE(run(lambda: md.switch("p319")))


def test_a_store_that_is_away_leaves_the_engine_alone(tmp_path: Path, make_engine: Made) -> None:
    with RedisServer(tmp_path / "redis") as server:
        profile = load_profile(server.url, timeout=1)
        with profile.open() as md:
            RE = make_engine(md)
            server.kill()
            with pytest.raises(Unavailable):
                BeamlineSession(RE, profile)
            assert (RE.preprocessors, RE.state_hook) == ([], None)
