"""Scan ids of several sessions: no number twice, and each run's documents carry its own."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kv_dict import ConfigurationError, InMemoryAsyncBackend, RemoteKVMapping, open_mapping

pytest.importorskip("bluesky")

import bluesky.plan_stubs as bps
from bluesky import RunEngine

from kv_dict.integrations.bluesky import ScanIds, async_scan_id_source, scan_id_source
from kv_dict.testing.waiting import PATIENCE

pytestmark = pytest.mark.beamline

SESSIONS, RUNS = 4, 100

SESSION = """
import sys
from bluesky import RunEngine
import bluesky.plan_stubs as bps
from kv_dict import open_mapping
from kv_dict.integrations.bluesky import async_scan_id_source, scan_id_source

def run_nothing():
    yield from bps.open_run()
    yield from bps.close_run()

for line in sys.stdin:
    url, runs, reads, kind = line.split()
    source = {"sync": scan_id_source, "async": async_scan_id_source,
              "reserving": scan_id_source(reserve=5)}[kind]
    with open_mapping(url, entry_point="race", reads=reads) as md:
        md.timeout = 30
        RE = RunEngine(md, scan_id_source=source)
        ids = []
        RE.subscribe(lambda name, doc: ids.append(doc["scan_id"]), "start")
        print("ready", flush=True)
        sys.stdin.readline()
        for _ in range(int(runs)):
            RE(run_nothing())
        print(*ids, flush=True)
"""


def run_nothing() -> Any:
    yield from bps.open_run()
    yield from bps.close_run()


def started(RE: RunEngine, plan: Any = None) -> list[int]:
    """Run a plan; return the scan ids of its start documents."""
    ids: list[int] = []
    RE(
        run_nothing() if plan is None else plan,
        lambda name, doc: ids.append(doc["scan_id"]) if name == "start" else None,
    )
    return ids


class Session:
    """A process that imports bluesky, once, and runs in each race."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", SESSION],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def tell(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def hear(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def end(self) -> None:
        self._process.communicate(timeout=PATIENCE)
        assert self._process.returncode == 0


@pytest.fixture(scope="module")
def sessions() -> Iterator[list[Session]]:
    sessions = [Session() for _ in range(SESSIONS)]
    yield sessions
    for session in sessions:
        session.end()


@pytest.mark.parametrize(("reads", "kind"), [("replica", "sync")])
def test_four_run_engines_in_four_processes(
    sessions: list[Session], url: str, reads: str, kind: str
) -> None:
    race(sessions, url, reads, kind)


@pytest.mark.parametrize(("reads", "kind"), [("server", "async"), ("replica", "reserving")])
def test_other_ways_to_count(
    sessions: list[Session], tmp_path: Path, reads: str, kind: str
) -> None:
    race(sessions, f"sqlite://{tmp_path}/md.db", reads, kind)


def race(sessions: list[Session], url: str, reads: str, kind: str) -> None:
    for session in sessions:
        session.tell(f"{url} {RUNS} {reads} {kind}")
    for session in sessions:
        assert session.hear() == "ready\n"
    for session in sessions:
        session.tell("go")
    ids = []
    for session in sessions:
        mine = [int(one) for one in session.hear().split()]
        assert len(mine) == RUNS
        assert mine == sorted(mine)
        ids += mine
    assert len(set(ids)) == SESSIONS * RUNS
    with open_mapping(url, entry_point="race") as md:
        assert md["scan_id"] == max(ids)
        if kind != "reserving":
            assert sorted(ids) == list(range(1, SESSIONS * RUNS + 1))
        md.clear()


@pytest.fixture
def md():
    with RemoteKVMapping(InMemoryAsyncBackend(), "ep1") as md:
        yield md


@pytest.mark.parametrize("source", [scan_id_source, async_scan_id_source])
def test_runs_count_on_from_what_is_there(md: RemoteKVMapping, source: Any) -> None:
    md["scan_id"] = 41  # as a plain RunEngine or another program leaves it
    RE = RunEngine(md, scan_id_source=source)
    assert started(RE) == [42]
    md["scan_id"] = 7  # an operator's wish
    assert started(RE) == [8]
    plain = RunEngine(md)
    assert started(plain) == [9]
    assert started(RE) == [10]
    assert md["scan_id"] == 10


def test_a_run_reads_its_own_number(md: RemoteKVMapping) -> None:
    """Between the assignment and the start document others may have counted on."""
    seen = []

    def counting_meanwhile(number_of: RemoteKVMapping) -> int:
        number = scan_id_source(number_of)
        with RemoteKVMapping(md.backend, "ep1") as other:
            other["scan_id"] = number + 100
        return number

    def plan():
        yield from bps.open_run()
        seen.append((md["scan_id"], md.get("scan_id"), dict(md)["scan_id"], md.copy()["scan_id"]))
        yield from bps.close_run()

    RE = RunEngine(md, scan_id_source=counting_meanwhile)
    assert started(RE, plan()) == [1]
    assert seen == [(1, 1, 1, 1)]
    assert md["scan_id"] == 101  # what is stored was not lowered
    assert started(RE) == [102]


def test_several_runs_in_one_plan(md: RemoteKVMapping) -> None:
    def plan():
        for _ in range(3):
            yield from run_nothing()
        md["scan_id"] = 50
        assert md["scan_id"] == 50
        yield from run_nothing()
        del md["scan_id"]
        assert "scan_id" not in md
        yield from run_nothing()

    assert started(RunEngine(md, scan_id_source=scan_id_source), plan()) == [1, 2, 3, 51, 1]


def test_where_to_start_and_what_counts(md: RemoteKVMapping) -> None:
    source = scan_id_source(start=1000)
    assert isinstance(source, ScanIds)
    assert [source(md), source(md)] == [1000, 1001]
    assert scan_id_source(start=1000, key="run_number")(md) == 1000
    assert dict(md) == {"scan_id": 1001, "run_number": 1000}
    RE = RunEngine(md, scan_id_source=scan_id_source(key="run_number"))
    assert started(RE) == [1001]
    assert dict(md, versions=0) == {"scan_id": 1001, "run_number": 1001, "versions": 0}
    counted = {"scan_id": 3}
    assert scan_id_source(counted) == 4
    assert counted == {"scan_id": 4}
    assert asyncio.run(async_scan_id_source(start=9)(counted)) == 9


@pytest.mark.parametrize("bad", ["12", 1.5, True, None, [1]])
def test_what_cannot_count_is_told(md: RemoteKVMapping, bad: Any) -> None:
    md["scan_id"] = bad
    for source in (scan_id_source, scan_id_source(reserve=3)):
        with pytest.raises(TypeError, match=r"md\['scan_id'\] is .*, not a whole number"):
            source(md)
    assert md["scan_id"] == bad
    for options in ({"start": "1"}, {"start": -1}, {"reserve": 1.5}):
        with pytest.raises(ConfigurationError, match="a whole number"):
            scan_id_source(**options)


def test_a_reserve_costs_numbers_only_where_sessions_alternate() -> None:
    backend = InMemoryAsyncBackend()
    with RemoteKVMapping(backend, "ep1") as md:
        one, two = ScanIds(reserve=10), ScanIds(reserve=10)
        assert [one(md) for _ in range(3)] == [1, 2, 3]
        assert md["scan_id"] == 3
        assert [two(md) for _ in range(2)] == [14, 15]
        assert one(md) == 26
        md["scan_id"] = 500
        assert one(md) == 501
        assert dict(md) == {"scan_id": 501}
    with RemoteKVMapping(backend, "xas-", None) as flat:
        assert ScanIds(reserve=10)(flat) == 1
        assert dict(flat) == {"scan_id": 1}
    with (
        RemoteKVMapping(backend, "", None) as everything,
        pytest.raises(ConfigurationError, match="has an entry point"),
    ):
        ScanIds(reserve=10)(everything)


def test_what_is_reserved_stays_with_the_parent(tmp_path: Path) -> None:
    with open_mapping(f"sqlite://{tmp_path}/md.db") as md:
        source = ScanIds(reserve=10)
        assert [source(md) for _ in range(3)] == [1, 2, 3]  # and 4 to 13 are its own
        reading, writing = os.pipe()
        source._lock.acquire()  # as a thread that runs a plan may
        child = os.fork()
        if child == 0:
            try:
                os.write(writing, repr([source(md) for _ in range(2)]).encode())
                os._exit(0)
            finally:
                os._exit(1)
        source._lock.release()
        assert os.waitpid(child, 0)[1] == 0
        assert os.read(reading, 100).decode() == "[14, 15]"
        os.close(reading)
        os.close(writing)
