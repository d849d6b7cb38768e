"""Signals on layers: set where their key belongs, shown as it is read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Annotated as A
from typing import Any

import pytest
from bluesky import RunEngine
from bluesky import plan_stubs as bps
from ophyd_async.core import SignalRW, StandardReadable, init_devices
from ophyd_async.testing import MonitorQueue

from kv_dict import InMemoryAsyncBackend, LayeredMapping, RemoteKVMapping
from kv_dict.integrations.ophyd_async import KVDevice, KVKey, kv_signal_r, kv_signal_rw


@pytest.fixture
def xas() -> Iterator[RemoteKVMapping]:
    with RemoteKVMapping(InMemoryAsyncBackend(), "xas", reads="replica") as xas:
        xas.update(energy=7.1, beamline_mode="pink", detector={"exposure": 0.1, "gain": 2.0})
        yield xas


@pytest.fixture
def layers(xas: RemoteKVMapping) -> Iterator[LayeredMapping]:
    with LayeredMapping.on(xas, "p318", belongs_under=["beamline_*"]) as layers:
        yield layers


class Detector(StandardReadable, KVDevice):
    exposure: A[SignalRW[float], KVKey(initial=1.0)]
    gain: A[SignalRW[float], KVKey(initial=1.0)]


def test_where_a_value_is_set(layers: LayeredMapping, xas: RemoteKVMapping, RE: RunEngine) -> None:
    with init_devices():
        mode = kv_signal_rw(str, layers, "beamline_mode", initial="white")
        energy = kv_signal_rw(float, layers, "energy", initial=8.0)
        detector = Detector(layers, "detector")
    assert mode.source == "kv+memory://#xas:beamline_mode"
    assert energy.source == "kv+memory://#p318:energy"
    assert dict(layers.over) == {}, "connecting makes nothing of the beamline's the proposal's"
    RE(bps.mv(mode, "mono", energy, 7.2, detector.exposure, 2.0))
    assert dict(layers.over) == {"detector": {"exposure": 2.0, "gain": 2.0}, "energy": 7.2}
    assert dict(xas) == {
        "beamline_mode": "mono",
        "detector": {"exposure": 0.1, "gain": 2.0},
        "energy": 7.1,
    }


def test_a_monitor_sees_what_is_read(
    layers: LayeredMapping, xas: RemoteKVMapping, run: Callable[[Any], Any]
) -> None:
    async def watched() -> float:
        async with init_devices():
            energy = kv_signal_r(float, layers, "energy")
        with MonitorQueue(energy) as queue:
            await queue.assert_updates(7.1)
            await asyncio.to_thread(layers.__setitem__, "energy", 7.2)
            await queue.assert_updates(7.2)
            await asyncio.to_thread(xas.__setitem__, "energy", 9.0)  # hidden
            await asyncio.to_thread(layers.switch, "p319")
            await queue.assert_updates(9.0)
        return await energy.get_value()

    assert run(watched()) == 9.0
