"""Declarative devices: what their annotations make, and where it is stored."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Annotated as A
from typing import Any

import pytest
from ophyd_async.core import (
    Command,
    DeviceVector,
    NotConnectedError,
    SignalR,
    SignalRW,
    SignalW,
    StandardReadable,
    StrictEnum,
    init_devices,
    set_mock_value,
)
from ophyd_async.core import StandardReadableFormat as Format
from ophyd_async.testing import assert_configuration, assert_reading, partial_reading

from kv_dict import InMemoryAsyncBackend, RemoteKVMapping
from kv_dict.integrations.ophyd_async import KVDevice, KVDeviceConnector, KVKey, kv_signal_rw

Run = Callable[[Any], Any]


class Mode(StrictEnum):
    STEP = "step"
    FLY = "fly"


class Channel(StandardReadable, KVDevice):
    counts: A[SignalR[int], KVKey(initial=0), Format.HINTED_SIGNAL]
    gain: A[SignalRW[float], KVKey(initial=1.0), Format.CONFIG_SIGNAL]


class Detector(StandardReadable, KVDevice):
    exposure: A[
        SignalRW[float],
        KVKey("exposure_s", initial=0.1, units="s", precision=3, limits=(0, 10)),
        Format.CONFIG_SIGNAL,
    ]
    mode: SignalRW[Mode]
    trigger_: A[SignalW[int], KVKey(initial=0)]
    left: A[Channel, Format.CHILD]
    right: A[Channel, KVKey("channels/right"), Format.CHILD]
    note: A[SignalRW[str] | None, KVKey(("a/b", "note"), initial="")]


@pytest.fixture
def memory() -> Iterator[RemoteKVMapping]:
    with RemoteKVMapping(InMemoryAsyncBackend(), "ep1", reads="replica") as md:
        yield md


def test_a_device_is_a_dict_of_the_mapping(md: RemoteKVMapping, run: Run) -> None:
    async def check() -> None:
        async with init_devices():
            det = Detector(md, "hutch/det")
        assert md["hutch"] == {
            "det": {
                "exposure_s": 0.1,
                "trigger": 0,
                "left": {"gain": 1.0},
                "channels": {"right": {"gain": 1.0}},
                "a/b": {"note": ""},
            }
        }
        md["hutch"]["det"]["left"]["counts"] = 5
        await asyncio.gather(det.right.gain.set(4), det.exposure.set(0.5), det.mode.set(Mode.FLY))
        assert md["hutch"]["det"]["mode"] == "fly"
        await assert_reading(
            det,
            {"det-left-counts": partial_reading(5), "det-right-counts": partial_reading(0)},
        )
        await assert_configuration(
            det,
            {
                "det-exposure": partial_reading(0.5),
                "det-left-gain": partial_reading(1.0),
                "det-right-gain": partial_reading(4.0),
            },
        )
        described = (await det.exposure.describe())["det-exposure"]
        assert described["units"] == "s"
        assert described["precision"] == 3
        assert described["limits"] == {"control": {"low": 0, "high": 10}}
        assert described["source"].endswith(":hutch/det/exposure_s")
        await asyncio.wait_for(det.trigger_.set(1), 5)
        assert md["hutch"]["det"]["trigger"] == 1

    run(check())


def test_a_whole_mapping_is_a_device_too(memory: RemoteKVMapping, run: Run) -> None:
    async def check() -> None:
        channel = Channel(memory, name="channel")
        await channel.connect()
        assert dict(memory) == {"gain": 1.0}

    run(check())


def test_beside_signals_made_in_init(memory: RemoteKVMapping, run: Run) -> None:
    class Mixed(StandardReadable, KVDevice):
        gain: A[SignalRW[float], KVKey(initial=1.0)]

        def __init__(self, md: RemoteKVMapping, name: str = "") -> None:
            self.before = kv_signal_rw(int, md, "elsewhere", initial=1)
            super().__init__(md, "mixed", name=name)
            with self.add_children_as_readables():
                self.channels = DeviceVector(
                    {n: kv_signal_rw(int, md, f"mixed/channels/{n}", initial=n) for n in (1, 2)}
                )

    async def check() -> None:
        mixed = Mixed(memory, "mixed")
        await mixed.connect()
        assert dict(memory) == {
            "elsewhere": 1,
            "mixed": {"gain": 1.0, "channels": {"1": 1, "2": 2}},
        }
        await mixed.channels[2].set(7)
        await assert_reading(
            mixed, {"mixed-channels-1": partial_reading(1), "mixed-channels-2": partial_reading(7)}
        )

    run(check())


def test_every_value_that_does_not_fit_is_named_at_once(memory: RemoteKVMapping, run: Run) -> None:
    async def check() -> None:
        memory["det"] = {"exposure_s": "long", "mode": "still", "left": 5}
        with pytest.raises(NotConnectedError) as caught:
            await Detector(memory, "det", name="det").connect()
        message = str(caught.value)
        assert "md['det']['exposure_s'] holds 'long' (str), which is not a float" in message
        assert "holds 'still' (str), which is not one of 'step', 'fly' (Mode)" in message
        assert "md['det']['left'] holds 5 (int), which is no dict" in message
        assert "right" not in message

    run(check())


def test_mock_mode(memory: RemoteKVMapping, run: Run) -> None:
    async def check() -> None:
        async with init_devices(mock=True):
            det = Detector(memory, "det")
        set_mock_value(det.left.counts, 9)
        await det.mode.set(Mode.FLY)
        assert (await det.read())["det-left-counts"]["value"] == 9
        assert dict(memory) == {}

    run(check())


def test_what_a_mapping_cannot_be(memory: RemoteKVMapping) -> None:
    class WithCommand(KVDevice):
        go: Command[[int], None]

    class WithVector(KVDevice):
        channels: DeviceVector[SignalRW[int]]

    class WithTwoKeys(KVDevice):
        n: A[SignalRW[int], KVKey("a"), KVKey("b")]

    class WithBadInitial(KVDevice):
        n: A[SignalRW[int], KVKey(initial="x")]

    for device, message in (
        (WithCommand, "a mapping holds values, not commands"),
        (WithVector, "fill it in __init__, as in DeviceVector"),
        (WithTwoKeys, "more than one KVKey"),
        (WithBadInitial, "cannot be set to initial='x'"),
    ):
        with pytest.raises(TypeError, match=message):
            device(memory, "det")
    with pytest.raises(TypeError, match="either md and key, or connector"):
        Channel()
    with pytest.raises(TypeError, match="md is a mapping"):
        KVDeviceConnector({}, "det")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="a step of it is empty"):
        Channel(memory, "a//b")
