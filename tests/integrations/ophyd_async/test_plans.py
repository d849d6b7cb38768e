"""Signals of a mapping in real plans of a real RunEngine, on every backend."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Annotated as A
from typing import Any

import pytest
from bluesky import RunEngine
from bluesky import plan_stubs as bps
from bluesky import plans as bp
from bluesky import preprocessors as bpp
from bluesky.utils import FailedStatus
from ophyd_async.core import (
    AsyncStatus,
    Device,
    PathInfo,
    SignalR,
    SignalRW,
    StandardReadable,
    init_devices,
    observe_value,
)
from ophyd_async.core import StandardReadableFormat as Format
from ophyd_async.plan_stubs import ensure_connected

from kv_dict import EncodeError, RemoteKVMapping
from kv_dict.integrations.ophyd_async import KVDevice, KVKey, kv_signal_r, kv_signal_rw


class Beam(StandardReadable, KVDevice):
    energy: A[SignalRW[float], KVKey(initial=7.0, units="keV"), Format.HINTED_SIGNAL]
    current: A[SignalR[float], KVKey(initial=0.0), Format.UNCACHED_SIGNAL]
    edge: A[SignalRW[str], KVKey(initial="Fe K"), Format.CONFIG_SIGNAL]


def test_moving_reading_and_scanning(
    md: RemoteKVMapping, other: RemoteKVMapping, RE: RunEngine, documents: Any
) -> None:
    with init_devices():
        beam = Beam(md, "beam")
        count = kv_signal_rw(int, md, "count", initial=0)
    read = []

    def plan() -> Any:
        yield from bps.mv(beam.energy, 7.5, beam.edge, "Mn K")
        read.append((yield from bps.rd(beam.energy)))
        other["beam"]["current"] = 99.5
        md.sync()
        read.append((yield from bps.rd(beam.current)))
        yield from bp.scan([beam, count], beam.energy, 7.0, 8.0, 3)
        yield from bp.scan([beam], count, 0, 2, 3)

    RE(plan())
    assert read == [7.5, 99.5]
    assert other["beam"] == {"energy": 8.0, "edge": "Mn K", "current": 99.5}
    assert other["count"] == 2
    first, _ = documents.of("descriptor")
    assert first["data_keys"]["beam-energy"]["units"] == "keV"
    assert first["hints"]["beam"]["fields"] == ["beam-energy"]
    assert first["configuration"]["beam"]["data"] == {"beam-edge": "Mn K"}
    data = [event["data"] for event in documents.of("event")]
    assert [row["beam-energy"] for row in data] == [7.0, 7.5, 8.0, 8.0, 8.0, 8.0]
    assert [row["count"] for row in data] == [0, 0, 0, 0, 1, 2]
    assert {row["beam-current"] for row in data} == {99.5}


class Flyer(Device):
    """Takes its time, in which others write: between kickoff and complete the run is monitored."""

    def __init__(self, name: str, fly: Any) -> None:
        self._fly = fly
        super().__init__(name)

    @AsyncStatus.wrap
    async def kickoff(self) -> None:
        self._flying = asyncio.create_task(self._fly())

    @AsyncStatus.wrap
    async def complete(self) -> None:
        await self._flying

    async def describe_collect(self) -> dict[str, Any]:
        return {}

    def collect(self) -> Iterator[Any]:
        yield from ()


def test_a_monitored_flight(
    md: RemoteKVMapping, other: RemoteKVMapping, RE: RunEngine, documents: Any
) -> None:
    with init_devices():
        shutter = kv_signal_r(str, md, "shutter", initial="closed")
        temperature = kv_signal_rw(float, md, "sample/temperature", initial=300.0)

    async def fly() -> None:
        for value in ("open", "stuck", "closed"):
            await asyncio.to_thread(other.update, shutter=value)
            async for seen in observe_value(shutter, done_timeout=10):
                if seen == value:
                    break
            await temperature.set((await temperature.get_value()) - 1)

    flyer = Flyer("flyer", fly)
    RE(bpp.monitor_during_wrapper(bp.fly([flyer]), [shutter, temperature]))
    streams = {document["uid"]: document["name"] for document in documents.of("descriptor")}
    rows: dict[str, list[Any]] = {}
    for event in documents.of("event"):
        ((_, value),) = event["data"].items()
        rows.setdefault(streams[event["descriptor"]], []).append(value)
    assert rows == {
        "shutter_monitor": ["closed", "open", "stuck", "closed"],
        "temperature_monitor": [300, 299, 298, 297],
    }


def test_what_does_not_fit_fails_the_plan_with_its_reason(
    md: RemoteKVMapping, RE: RunEngine, documents: Any
) -> None:
    with init_devices():
        energy = kv_signal_rw(float, md, "energy", initial=7.0, limits=(4, 20))
    with pytest.raises(FailedStatus) as caught:
        RE(bps.mv(energy, "high"))
    assert isinstance(caught.value.__cause__, EncodeError)
    with pytest.raises(FailedStatus) as caught:
        RE(bps.mv(energy, 21))
    assert "control limits are 4 to 20" in str(caught.value.__cause__)
    md["energy"] = "high"
    with pytest.raises(Exception, match="holds 'high'"):
        RE(bp.count([energy]))
    assert documents == []  # it was staged in vain, before the run was opened
    RE(bps.mv(energy, 8))
    RE(bp.count([energy]))
    assert documents.of("event")[-1]["data"] == {"energy": 8.0}


def test_a_signal_is_connected_in_a_plan(md: RemoteKVMapping, RE: RunEngine) -> None:
    signal = kv_signal_rw(int, md, "n", initial=3, name="n")
    values = []

    def plan() -> Any:
        yield from ensure_connected(signal)
        values.append((yield from bps.rd(signal)))

    RE(plan())
    assert values == [3]


def test_callbacks_of_a_plan_run_in_the_loop_of_the_engine(
    md: RemoteKVMapping, other: RemoteKVMapping, RE: RunEngine
) -> None:
    with init_devices():
        signal = kv_signal_rw(int, md, "n", initial=0)
    threads: set[Any] = set()
    changed = threading.Event()

    def callback(reading: Any) -> None:
        threads.add(threading.current_thread())
        if reading["signal"]["value"] == 2:
            changed.set()

    def plan() -> Any:
        yield from bps.stage(signal)
        yield from bps.null()

    def subscribe() -> None:
        signal.subscribe_reading(callback)

    RE.loop.call_soon_threadsafe(subscribe)
    RE(plan())
    other["n"] = 2
    assert changed.wait(10)
    assert threads == {RE._th}
    RE(bps.unstage(signal))


def test_holders_of_re_md_see_live_values(
    md: RemoteKVMapping, other: RemoteKVMapping, RE: RunEngine
) -> None:
    """A path provider that was given RE.md once follows a change of proposal by another session."""

    class ProposalPaths:
        def __init__(self, md: Any) -> None:
            self._md = md

        def __call__(self, device_name: str | None = None) -> PathInfo:
            session = self._md["data_session"]
            number = self._md["scan_id"]
            return PathInfo(
                directory_path=PurePosixPath("/data") / self._md["cycle"] / session,
                filename=f"{device_name}-{number:05}",
            )

    RE.md = md
    md.update(cycle="2026-3", data_session="pass-1", scan_id=0)
    paths = ProposalPaths(RE.md)
    with init_devices():
        session = kv_signal_r(str, md, "data_session")
    told = []

    def plan() -> Any:
        yield from bp.count([session])
        told.append(paths("det"))
        other.update(cycle="2026-4", data_session="pass-2")
        md.sync()
        told.append(paths("det"))
        told.append((yield from bps.rd(session)))

    RE(plan())
    first, second, signal = told
    assert (str(first.directory_path), first.filename) == ("/data/2026-3/pass-1", "det-00001")
    assert str(second.directory_path) == "/data/2026-4/pass-2"
    assert signal == "pass-2"
