"""The baton: what it says, and what happens when the store is away."""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from kv_dict import (
    ClosedError,
    ConfigurationError,
    DecodeError,
    NotHolder,
    RemoteKVMapping,
    open_mapping,
)
from kv_dict.coordination import Baton, Session
from kv_dict.coordination.lease import Lease
from kv_dict.testing.servers import NatsServer, RedisServer


@pytest.fixture
def two(md: RemoteKVMapping) -> Any:
    with Baton(md, lease=0.6, program="one") as one, Baton(md, lease=0.6, program="two") as two:
        yield one, two


def test_hands(two: Any) -> None:
    one, other = two
    assert (one.held, one.token, one.holder, one.log) == (False, None, None, ())
    assert one.acquire() == 1
    assert one.acquire() == 1  # it has it
    assert (one.held, one.token, one.check()) == (True, 1, 1)
    assert one.holder == other.holder == one.session
    with pytest.raises(NotHolder, match=r"\(one, process \d+\) has the baton 'baton': it took it"):
        other.acquire()
    with pytest.raises(NotHolder, match=r"baton.acquire\(wait=600\), which takes 1 s if"):
        other.check()
    one.release()
    one.release()
    assert not one.held
    with pytest.raises(NotHolder, match=r"nobody holds the baton 'baton': acquire\(\) it first"):
        one.check()
    with pytest.raises(NotHolder):
        one.renew()
    assert other.acquire() == 2
    assert (one.token, other.token, other.held) == (None, 2, True)
    other.renew()


def test_it_is_kept_for_longer_than_its_lease(two: Any, eventually: Any) -> None:
    one, other = two
    one.acquire()
    eventually(lambda: one.read().renewals > 5)
    with pytest.raises(NotHolder):
        other.acquire(wait=0.7)
    assert one.held


def test_waiting_ends_when_it_is_released(two: Any, eventually: Any) -> None:
    one, other = two
    one.acquire()
    tokens: list[int] = []
    waiter = threading.Thread(target=lambda: tokens.append(other.acquire(wait=30)))
    waiter.start()
    one.release()
    waiter.join(30)
    assert tokens == [2]


def test_a_theft_is_traced(two: Any, eventually: Any, caplog: Any) -> None:
    one, other = two
    caplog.set_level(logging.INFO, "kv_dict")
    one.acquire()
    assert other.steal("  beam time 318 begins ") == 2
    assert other.steal("again") == 2
    eventually(lambda: "lost by this session" in caplog.text)
    assert "stolen by" in caplog.text
    with pytest.raises(NotHolder, match=r"\(two, process \d+\) .*: it stole it at .*318 begins\)"):
        one.check()
    assert (one.held, one.token) == (False, None)
    other.release()
    with pytest.raises(NotHolder, match=r"nobody holds .* \(this session lost it: .* stolen by"):
        one.check()
    assert one.acquire() == 3
    trace = [(line.token, line.what, line.reason) for line in one.log]
    assert trace == [
        (1, "acquired", ""),
        (2, "stolen", "beam time 318 begins"),
        (2, "released", ""),
        (3, "acquired", ""),
    ]
    theft = one.log[1]
    assert (theft.by, theft.previous) == (str(other.session), str(one.session))
    assert str(theft).endswith(
        f"token 2  stolen by {other.session} from {one.session}: beam time 318 begins"
    )


def test_the_trace_is_bounded(two: Any) -> None:
    for n in range(40):
        two[n % 2].steal(f"no. {n}")
    assert [line.reason for line in two[0].log] == [f"no. {n}" for n in range(8, 40)]
    assert two[1].token == 40


def test_a_request_reaches_the_holder(two: Any, eventually: Any, caplog: Any) -> None:
    one, other = two
    with pytest.raises(NotHolder, match="nobody to ask"):
        other.ask("please")
    one.acquire()
    other.ask("my turn at noon")
    assert [(one.by, one.reason) for one in one.requests] == [
        (str(other.session), "my turn at noon")
    ]
    eventually(lambda: f"{other.session} asks for it: my turn at noon" in caplog.text)
    one.renew()
    assert caplog.text.count("my turn at noon") == 1
    one.release()
    assert one.requests == ()


def test_names_are_separate(md: RemoteKVMapping) -> None:
    with Baton(md) as beamline, Baton(md, "hutch") as hutch:
        assert (beamline.acquire(), hutch.acquire()) == (1, 1)
        assert repr(hutch) == "<Baton 'hutch' of ep1@baton (token 1)>"
    assert dict(md) == {}
    with RemoteKVMapping(md.backend, "xas-", None) as flat, Baton(flat) as baton:
        baton.acquire()
        assert dict(flat) == {}


def test_mistakes_are_told(md: RemoteKVMapping, caplog: Any) -> None:
    for options in ({"lease": 0}, {"lease": "30"}, {"lease": float("inf")}, {"name": ""}):
        with pytest.raises(ConfigurationError, match="="):
            Baton(md, **options)
    with pytest.raises(ConfigurationError, match="a string"):
        Baton(md, 3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="RemoteKVMapping"):
        Baton({})  # type: ignore[arg-type]
    with RemoteKVMapping(md.backend, "ep1@baton") as stored, Baton(md) as baton:
        for bad in (3, "mine", [], {"token": 1}, {"token": 1, "claim": "x", "holder": None}):
            stored["baton"] = bad
            calls = (
                baton.acquire,
                lambda: baton.acquire(wait=3600),  # in vain, so it is not waited
                baton.read,
                lambda: baton.steal("it is broken"),
            )
            for call in calls:
                with pytest.raises(DecodeError, match=r"'baton'\] holds .* not the record of a"):
                    call()
            assert stored["baton"] == bad
        del stored["baton"]
        for wait in ("60", -1, float("nan"), float("inf"), None):
            with pytest.raises(ConfigurationError, match=r"wait=.*: seconds, 0 or more"):
                baton.acquire(wait)
        for reason in ("", "  ", None, 3):
            with pytest.raises(ConfigurationError, match="say why"):
                baton.steal(reason)
            with pytest.raises(ConfigurationError, match="say why"):
                baton.ask(reason)
        assert baton.acquire() == 1
        del stored["baton"]  # or the store lost it
        baton.renew()
        assert (stored["baton"]["token"], baton.log[0].token) == (1, 1)
    for call in (baton.acquire, baton.check, baton.renew, baton.__enter__):
        with pytest.raises(ClosedError, match="was closed"):
            call()
    baton.close()
    assert not caplog.records


def test_a_forked_child_holds_nothing(tmp_path: Path) -> None:
    with open_mapping(f"sqlite://{tmp_path}/md.db") as md, Baton(md) as baton:
        baton.acquire()
        reads, writes = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                said = f"{baton.held} {baton.token}"
                try:
                    baton.acquire()
                except NotHolder:
                    said += " refused"
                os.write(writes, said.encode())
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        assert os.read(reads, 100) == b"False None refused"
        os.close(reads)
        os.close(writes)
        assert baton.check() == 1


@pytest.mark.parametrize("kind", [RedisServer, NatsServer])
def test_an_outage(kind: Any, tmp_path: Path, eventually: Any, caplog: Any) -> None:
    with (
        kind(tmp_path / "server") as server,
        open_mapping(server.store_url()) as md,
        Baton(md, lease=1.5) as baton,
    ):
        baton.acquire()
        server.kill()
        assert baton.check() == 1  # it is this session's for the lease
        eventually(lambda: not baton.held)
        with pytest.raises(NotHolder, match=r"away for longer than the lease .* \(1.5 s\)"):
            baton.check()
        server.start()
        eventually(lambda: baton.held)  # renewed, as nobody has taken it
        assert baton.check() == 1
        server.kill()
    assert "others have to wait for its lease to end" in caplog.text


def test_the_lease_counts_from_before_asking(md: RemoteKVMapping) -> None:
    """However late an answer comes: what was asked at 100 holds until 110."""
    now = [100.0]

    class Slow(RemoteKVMapping):
        def transform(self, *arguments: Any) -> Any:
            try:
                return super().transform(*arguments)
            finally:
                now[0] += 9

    with Slow(md.backend, "ep1@baton") as slow, RemoteKVMapping(md.backend, "ep1@baton") as quick:
        holder = Lease(slow, "baton", 10, clock=lambda: now[0])
        other = Lease(quick, "baton", 10, clock=lambda: now[0])
        assert holder.attempt() is None
        assert holder.held
        now[0] = 109.9
        assert holder.held
        assert other.attempt() is not None
        now[0] = 110.0
        assert not holder.held
        assert other.attempt() is not None  # counts from its own first look, and a tenth more
        now[0] = 109.9 + 10.9
        assert other.attempt() is not None
        now[0] = 109.9 + 11.1
        assert other.attempt() is None
        assert other.token == 2
        with pytest.raises(NotHolder):
            holder.renew()


def test_who_was_stopped_behind_the_answer_asks_again(md: RemoteKVMapping) -> None:
    """What the store said before half a minute of sleep is no reason to act after it."""
    now = [100.0]
    asleep: list[Any] = []

    class Slow(RemoteKVMapping):
        def transform(self, *arguments: Any) -> Any:
            answer = super().transform(*arguments)
            for meanwhile in asleep:
                meanwhile()
            return answer

    def others_wait() -> None:
        other.attempt()
        now[0] += 12
        other.attempt()

    with (
        Slow(md.backend, "ep1@baton") as slow,
        RemoteKVMapping(md.backend, "ep1@baton") as quick,
        Baton(md) as baton,
    ):
        baton._lease = Lease(slow, "baton", 10, clock=lambda: now[0])
        other = Lease(quick, "baton", 10, clock=lambda: now[0])
        assert baton._lease.attempt() is None
        asleep.append(lambda: now.__setitem__(0, now[0] + 12))
        with pytest.raises(NotHolder, match=r"longer than the lease .* try again"):
            baton.check()
        asleep.append(asleep.clear)  # the second answer comes in time
        assert baton.check() == 1  # nobody has taken it
        asleep.append(others_wait)
        with pytest.raises(NotHolder):
            baton.check()
        assert other.token == 2


def test_a_store_that_lost_everything_makes_no_other_session_look_gone(md: RemoteKVMapping) -> None:
    now = [100.0]
    items = RemoteKVMapping(md.backend, "ep1@baton")
    first, second, waiting = (Lease(items, "baton", 10, clock=lambda: now[0]) for _ in range(3))
    with items:
        assert first.attempt() is None
        assert waiting.attempt() is not None
        items.clear()
        now[0] += 100
        assert second.attempt() is None  # token 1, not renewed yet: as `first` was
        assert waiting.attempt() is not None
        assert second.held


def test_who_this_is(monkeypatch: pytest.MonkeyPatch) -> None:
    here = Session.here()
    assert Session.here() == here
    assert Session.from_item(here.as_item()) == here
    assert str(Session("ws1", 7, "ada", "ipython", "x")) == "ada on ws1 (ipython, process 7)"
    for bad in (None, {}, {**here.as_item(), "pid": "7"}):
        with pytest.raises(ValueError, match="no session"):
            Session.from_item(bad)
    for first, name in (("", "python"), ("-c", "python"), ("/usr/bin/ipython", "ipython")):
        monkeypatch.setattr("sys.argv", [first])
        assert Session.here().program == name

    def unknown() -> str:
        raise KeyError("no such user")

    monkeypatch.setattr("getpass.getuser", unknown)
    assert Session.here().user == str(os.getuid())
