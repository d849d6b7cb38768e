"""A RunEngine whose server is killed: the scan is finished, and what comes next is clear."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from kv_dict import RemoteKVMapping, Unavailable, open_mapping
from kv_dict.backends import open_backend
from kv_dict.testing.servers import ServerProcess

pytest.importorskip("bluesky")

import bluesky.plan_stubs as bps
from bluesky import RunEngine

from kv_dict.integrations.bluesky import async_scan_id_source, scan_id_source
from kv_dict.testing.waiting import until

pytestmark = pytest.mark.beamline

DEADLINE = 20.0


@pytest.fixture
def mapping(server: ServerProcess) -> Iterator[Callable[..., RemoteKVMapping]]:
    """Open mappings on `server` that read from the replica."""
    opened = []

    def open_(**options: Any) -> RemoteKVMapping:
        backend = open_backend(server.store_url())
        opened.append(RemoteKVMapping(backend, "ep1", reads="replica", timeout=3, **options))
        return opened[-1]

    yield open_
    for md in opened:
        md.close()


def scan(in_the_middle: Callable[[], object] = lambda: None) -> Any:
    yield from bps.open_run({"plan_name": "scan"})
    for point in range(6):
        if point == 3:
            in_the_middle()
        yield from bps.create()
        yield from bps.save()
    yield from bps.close_run()


def documents(RE: RunEngine, plan: Any) -> list[tuple[str, dict[str, Any]]]:
    told: list[tuple[str, dict[str, Any]]] = []
    RE(plan, lambda name, doc: told.append((name, doc)))
    return told


def scan_id(RE: RunEngine) -> int:
    (start, *_, stop) = documents(RE, scan())
    assert start[0] == "start"
    assert stop[1]["exit_status"] == "success"
    return start[1]["scan_id"]


@pytest.mark.parametrize("source", [None, scan_id_source, async_scan_id_source])
def test_a_scan_goes_on_and_the_next_one_says_why_it_does_not_begin(
    server: ServerProcess, mapping: Callable[..., RemoteKVMapping], source: Any
) -> None:
    md = mapping()
    md["sample"] = {"name": "Fe2O3"}
    RE = RunEngine(md) if source is None else RunEngine(md, scan_id_source=source)
    assert scan_id(RE) == 1

    def kill() -> None:
        server.kill()
        until(lambda: md.stale_since is not None)

    (start, *_, stop) = documents(RE, scan(kill))
    assert start[1]["scan_id"] == 2
    assert stop[1]["exit_status"] == "success"
    assert md["sample"] == {"name": "Fe2O3"}

    asked = time.monotonic()
    with pytest.raises(Unavailable) as error:
        RE(scan())
    assert time.monotonic() - asked < 2 * md.timeout
    assert "nothing was written" in str(error.value)
    assert RE.state == "idle"

    server.start()
    until(lambda: md.stale_since is None)
    assert scan_id(RE) == 3


def test_runs_go_on_with_reserved_scan_ids(
    server: ServerProcess, mapping: Callable[..., RemoteKVMapping]
) -> None:
    md = mapping(on_outage="continue")
    RE = RunEngine(md, scan_id_source=scan_id_source)
    before = [scan_id(RE) for _ in range(2)]
    server.kill()
    until(lambda: md.stale_since is not None)
    during = [scan_id(RE) for _ in range(3)]
    md["sample"] = "written in the dark"
    assert md.waiting == ("sample", "scan_id")
    server.start()
    with open_mapping(server.store_url(), entry_point="ep1") as other:  # at once
        theirs = scan_id_source(reserve=10)(other)
    until(lambda: md.waiting == () and md.stale_since is None)
    after = [scan_id(RE) for _ in range(2)]
    ids = [*before, *during, theirs, *after]
    assert before + during == [1, 2, 3, 4, 5]
    assert len(set(ids)) == len(ids)
    assert theirs > 5
    assert after == sorted(after)
    assert after[0] > theirs
    with open_mapping(server.store_url(), entry_point="ep1") as other:
        assert other["sample"] == "written in the dark"
        assert other["scan_id"] == after[-1]


def test_a_reserve_that_is_used_up_says_so(
    server: ServerProcess, mapping: Callable[..., RemoteKVMapping]
) -> None:
    md = mapping(on_outage="continue")
    RE = RunEngine(md, scan_id_source=scan_id_source(reserve=2))
    assert scan_id(RE) == 1
    server.kill()
    until(lambda: md.stale_since is not None)
    assert [scan_id(RE), scan_id(RE)] == [2, 3]
    with pytest.raises(Unavailable, match="of 2 numbers reserved for that none is left"):
        RE(scan())
    server.start()
    until(lambda: md.waiting == () and md.stale_since is None)
    assert scan_id(RE) == 4
