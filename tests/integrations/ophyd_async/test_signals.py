"""Signals on every backend: each datatype, monitoring, what is wrong in the store."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from ophyd_async.core import (
    NotConnectedError,
    SignalRW,
    StandardReadable,
    StandardReadableFormat,
    observe_value,
    set_and_wait_for_value,
    set_mock_value,
    walk_rw_signals,
)
from ophyd_async.testing import (
    ExampleEnum,
    ExampleSubsetEnum,
    ExampleSupersetEnum,
    ExampleTable,
    MonitorQueue,
    OneOfEverythingDevice,
    assert_configuration,
    assert_describe_signal,
    assert_reading,
    assert_value,
    partial_reading,
)

from kv_dict import DecodeError, EncodeError, RemoteKVMapping
from kv_dict.integrations.ophyd_async import KVSignalBackend, kv_signal_r, kv_signal_rw
from kv_dict.integrations.ophyd_async.datatypes import datatype_of

Run = Callable[[Any], Any]

CHANGED: dict[str, Any] = {
    "a_int": -7,
    "a_float": 2.5e-9,
    "a_str": "Fe₂O₃",
    "a_bool": False,
    "a_enum": ExampleEnum.C,
    "a_subset_enum": ExampleSubsetEnum.A,
    "a_superset_enum": ExampleSupersetEnum.D,
    "boola": np.array([True]),
    "stra": ["four"],
    "enuma": [ExampleEnum.B],
    "ndarray": np.array([[0.5], [1.5]]),
    "table": ExampleTable(
        a_bool=np.array([True]),
        a_int=np.array([5], np.int32),
        a_float=np.array([0.5]),
        a_str=["x"],
        a_enum=[ExampleEnum.B],
    ),
}
"""A second value for each signal of OneOfEverythingDevice; arrays of numbers are reversed."""


class Everything(StandardReadable):
    """The signals of ophyd-async's OneOfEverythingDevice, with its values, on a mapping."""

    def __init__(self, md: RemoteKVMapping, model: OneOfEverythingDevice, values: Any) -> None:
        with self.add_children_as_readables(StandardReadableFormat.CONFIG_SIGNAL):
            for name, signal in walk_rw_signals(model).items():
                made = kv_signal_rw(signal.datatype, md, f"all/{name}", initial=values[name])
                setattr(self, name, made)
        super().__init__("everything")

    def signals(self) -> dict[str, SignalRW[Any]]:
        return walk_rw_signals(self)


async def everything(md: RemoteKVMapping) -> tuple[Everything, OneOfEverythingDevice, Any]:
    model = OneOfEverythingDevice("everything")
    await model.connect()
    values = {name: await s.get_value() for name, s in walk_rw_signals(model).items()}
    device = Everything(md, model, values)
    await device.connect()
    return device, model, values


def test_every_datatype_reads_as_a_soft_signal_does(md: RemoteKVMapping, run: Run) -> None:
    async def check() -> None:
        device, model, values = await everything(md)
        assert set(md["all"]) == set(values)
        await assert_configuration(
            device, {f"everything-{name}": partial_reading(v) for name, v in values.items()}
        )
        for name, signal in device.signals().items():
            await assert_value(signal, values[name])
            (expected,) = (await getattr(model, name).describe()).values()
            metadata = {key: value for key, value in expected.items() if key != "source"}
            await assert_describe_signal(signal, **metadata)
            location = await signal.locate()
            assert repr(location["setpoint"]) == repr(location["readback"])

    run(check())


def test_every_datatype_is_set_and_monitored(
    md: RemoteKVMapping, other: RemoteKVMapping, run: Run
) -> None:
    async def check() -> None:
        device, _, values = await everything(md)
        for name, signal in device.signals().items():
            first = values[name]
            second = CHANGED.get(name, first[::-1] if isinstance(first, np.ndarray) else None)
            with MonitorQueue(signal) as queue:
                await queue.assert_updates(first)
                await signal.set(second)
                await queue.assert_updates(second)
                stored = datatype_of(signal.datatype).stored(first)
                await asyncio.to_thread(other["all"].__setitem__, name, stored)
                await queue.assert_updates(first)
                assert queue.updates.empty()
            await assert_value(signal, first)

    run(check())


def test_a_part_of_a_dict_is_set_beside_others(
    md: RemoteKVMapping, other: RemoteKVMapping, run: Run
) -> None:
    async def check() -> None:
        gain = kv_signal_rw(int, md, "det/amp/gain", initial=1)
        mode = kv_signal_rw(str, md, ("det", "mode"), initial="slow")
        await asyncio.gather(gain.connect(), mode.connect())
        assert other["det"] == {"amp": {"gain": 1}, "mode": "slow"}
        told: list[Any] = []
        mode.subscribe_reading(lambda reading: told.append(reading))

        def elsewhere() -> None:
            for n in range(20):
                other["det"][f"theirs{n}"] = n

        async def here() -> None:
            for n in range(20):
                await gain.set(n)

        await asyncio.gather(asyncio.to_thread(elsewhere), here())
        theirs = {f"theirs{n}": n for n in range(20)}
        assert other["det"] == {"amp": {"gain": 19}, "mode": "slow"} | theirs
        await mode.set("fast")
        assert [next(iter(reading.values()))["value"] for reading in told] == ["slow", "fast"]

    run(check())


def test_what_is_monitored_is_seen_in_order_and_at_last(
    md: RemoteKVMapping, other: RemoteKVMapping, run: Run
) -> None:
    async def check() -> None:
        signal = kv_signal_r(int, md, "count", initial=0)
        await signal.connect()

        def count() -> None:
            for n in range(1, 51):
                other["count"] = n

        counting = asyncio.create_task(asyncio.to_thread(count))
        seen = []
        async for value in observe_value(signal, done_timeout=20):
            seen.append(value)
            if value == 50:
                break
        await counting
        assert seen == sorted(set(seen))

    run(check())


def test_readings_know_since_when(md: RemoteKVMapping, other: RemoteKVMapping, run: Run) -> None:
    async def check() -> None:
        before = time.time()
        other.update(top=1.5, deep={"value": 1, "beside": 1})
        md.sync()
        for signal in (kv_signal_r(float, md, "top"), kv_signal_r(int, md, "deep/value")):
            await signal.connect()
            (first,) = (await signal.read()).values()
            assert before - 1 < first["timestamp"] < time.time() + 1
            assert first["alarm_severity"] == 0
            other["deep"]["beside"] += 1
            md.sync()
            (again,) = (await signal.read()).values()
            assert again == first
        await assert_reading(signal, {"": partial_reading(1)})

    run(check())


def test_a_switch_moves_signals(md: RemoteKVMapping, run: Run) -> None:
    async def check() -> None:
        there = f"{md.entry_point} of the next user"
        await asyncio.to_thread(md.update, energy=7.1)
        with await asyncio.to_thread(md.at, there) as second:
            await asyncio.to_thread(second.update, energy=8.9)
            signal = kv_signal_rw(float, md, "energy")
            await signal.connect()
            with MonitorQueue(signal) as queue:
                await queue.assert_updates(7.1)
                await asyncio.to_thread(md.switch, there)
                await queue.assert_updates(8.9)
                await asyncio.to_thread(second.__setitem__, "energy", 9.0)
                await queue.assert_updates(9.0)
                await signal.set(9.1)
                await queue.assert_updates(9.1)
            await asyncio.to_thread(second.sync)
            assert second["energy"] == 9.1
            await assert_value(signal, 9.1)

    run(check())


def test_reads_of_a_mapping_without_a_replica_ask_the_store(
    other: RemoteKVMapping, keeper: RemoteKVMapping, run: Run
) -> None:
    async def check() -> None:
        signal = kv_signal_rw(float, other, "det/exposure", initial=0.1)
        await signal.connect()
        with RemoteKVMapping(keeper.backend, other.entry_point) as third:
            third["det"]["exposure"] = 0.7
            await assert_value(signal, 0.7)
            with MonitorQueue(signal) as queue:
                await queue.assert_updates(0.7)
                await asyncio.to_thread(third["det"].__setitem__, "exposure", 0.8)
                await queue.assert_updates(0.8)
                await set_and_wait_for_value(signal, 0.9)

    run(check())


# -- what is wrong in the store -------------------------------------------------------------------


def test_a_value_of_another_type_is_named(md: RemoteKVMapping, run: Run) -> None:
    async def check() -> None:
        md["det"] = {"exposure": "fast"}
        signal = kv_signal_rw(float, md, "det/exposure", initial=0.1, name="exposure")
        expected = r"md\['det'\]\['exposure'\] holds 'fast' \(str\), which is not a float"
        with pytest.raises(NotConnectedError, match=expected):
            await signal.connect()
        assert md["det"] == {"exposure": "fast"}
        with pytest.raises(NotConnectedError, match="is not connected"):
            await signal.set(1.0)
        with pytest.raises(NotConnectedError, match="is not connected"):
            await signal.get_value()
        md["det"]["exposure"] = 1
        await signal.connect()
        await assert_value(signal, 1.0)
        md["det"]["exposure"] = [1]
        for ask in (signal.get_value, signal.read, signal.describe, signal.locate, signal.stage):
            with pytest.raises(DecodeError, match=r"holds \[1\] \(list\), which is not a float"):
                await ask()
        with pytest.raises(DecodeError, match="which is not a float"):
            signal.subscribe_reading(print)
        await signal.set(2.0)  # which mends it
        await assert_value(signal, 2.0)

    run(check())


def test_a_monitor_survives_what_is_not_a_value(
    md: RemoteKVMapping, other: RemoteKVMapping, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    async def check() -> None:
        signal = kv_signal_r(float, md, "exposure", name="exposure")
        other["exposure"] = 0.5
        md.sync()
        await signal.connect()
        told: asyncio.Queue[Any] = asyncio.Queue()
        signal.subscribe_reading(told.put_nowait)

        async def after(write: Callable[[], object]) -> Any:
            await asyncio.to_thread(write)
            return (await asyncio.wait_for(told.get(), 10))["exposure"]

        assert (await after(lambda: None))["value"] == 0.5
        for write, message in (
            (lambda: other.update(exposure="fast"), "holds 'fast' (str), which is not a float"),
            (lambda: other.update(exposure={"a": 1}), "which is not a float"),
            (lambda: other.pop("exposure"), "md['exposure'] is missing"),
        ):
            reading = await after(write)
            assert (reading["value"], reading["alarm_severity"]) == (0.5, 3)
            assert message in reading["message"]
            assert message in caplog.text
        reading = await after(lambda: other.update(exposure=0.75))
        assert (reading["value"], reading["alarm_severity"]) == (0.75, 0)
        assert "message" not in reading

    run(check())


def test_what_no_codec_reads_is_told_too(keeper: RemoteKVMapping, run: Run) -> None:
    async def check() -> None:
        with (
            RemoteKVMapping(keeper.backend, "flawed", reads="replica") as md,
            RemoteKVMapping(keeper.backend, "flawed", json_encoder=lambda _: "{flawed") as other,
        ):
            md["exposure"] = 0.5
            signal = kv_signal_r(float, md, "exposure", name="exposure")
            await signal.connect()
            told: asyncio.Queue[Any] = asyncio.Queue()
            signal.subscribe_reading(told.put_nowait)
            await told.get()
            await asyncio.to_thread(other.update, exposure=1)
            reading = (await asyncio.wait_for(told.get(), 10))["exposure"]
            assert (reading["value"], reading["alarm_severity"]) == (0.5, 3)
            assert "which is not JSON" in reading["message"]
            again = kv_signal_r(float, md, "exposure")
            with pytest.raises(NotConnectedError, match="which is not JSON"):
                await again.connect()
            md["exposure"] = 0.5

    run(check())


def test_what_is_missing_is_an_error_when_it_is_read(md: RemoteKVMapping, run: Run) -> None:
    async def check() -> None:
        signal = kv_signal_rw(float, md, "det/exposure")
        await signal.connect()
        assert "det" not in md
        for ask in (signal.get_value, signal.read, signal.describe, signal.stage):
            with pytest.raises(KeyError, match=r"md\['det'\]\['exposure'\] is missing"):
                await ask()
        await signal.set(0.5)
        await assert_value(signal, 0.5)
        md["det"] = 5
        with pytest.raises(DecodeError, match=r"md\['det'\] holds 5 \(int\), which is no dict"):
            await signal.get_value()
        with pytest.raises(EncodeError, match=r"md\['det'\] holds 5 \(int\), which is no dict"):
            await signal.set(1.0)

    run(check())


def test_initial_values(md: RemoteKVMapping, run: Run) -> None:
    async def check() -> None:
        md["there"] = 5
        rw = kv_signal_rw(int, md, "rw", initial=3)
        there = kv_signal_rw(int, md, "there", initial=3)
        r = kv_signal_r(int, md, "r", initial=3)
        await asyncio.gather(rw.connect(), there.connect(), r.connect())
        assert dict(md) == {"there": 5, "rw": 3}  # reading stores nothing
        await assert_value(r, 3)
        await there._connector.backend.put(None)
        assert md["there"] == 3
        none = kv_signal_rw(ExampleEnum, md, "none")
        await none.connect()
        await none._connector.backend.put(None)
        assert md["none"] == "Aaa"
        with MonitorQueue(rw) as queue:
            await queue.assert_updates(3)
            await rw.set(4)
            await queue.assert_updates(4)
            await asyncio.to_thread(md.pop, "rw")
            await queue.assert_updates(3)

    run(check())


# -- the rules of a SignalBackend, and of this one -------------------------------------------------


@pytest.fixture
def memory() -> Any:
    from kv_dict import InMemoryAsyncBackend

    with RemoteKVMapping(InMemoryAsyncBackend(), "ep1", reads="replica") as md:
        yield md


def test_callbacks_are_called_in_the_loop(memory: RemoteKVMapping, run: Run) -> None:
    async def check() -> None:
        backend = KVSignalBackend(int, memory, "n", initial=0)
        with pytest.raises(NotConnectedError, match="is not connected"):
            backend.set_callback(print)
        await backend.connect(5)
        calls: list[tuple[int, int]] = []
        called = asyncio.Event()

        def callback(reading: Any) -> None:
            calls.append((threading.get_ident(), reading["value"]))
            called.set()

        backend.set_callback(callback)
        assert calls == [(threading.get_ident(), 0)]
        with pytest.raises(RuntimeError, match="a callback is set already"):
            backend.set_callback(callback)
        called.clear()
        await asyncio.to_thread(memory.update, n=1)
        await asyncio.wait_for(called.wait(), 5)
        await backend.put(2)
        assert [value for _, value in calls] == [0, 1, 2]  # told before the put is done
        assert {thread for thread, _ in calls} == {threading.get_ident()}
        memory["n"] = 2  # the same again
        backend.set_callback(None)
        backend.set_callback(None)
        memory["n"] = 3
        await asyncio.sleep(0)
        assert [value for _, value in calls] == [0, 1, 2]
        backend.set_callback(callback)
        assert calls[-1][1] == 3
        backend.set_callback(None)

    run(check())


def test_a_callback_that_fails_is_called_again(
    memory: RemoteKVMapping, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    async def check() -> None:
        backend = KVSignalBackend(int, memory, "n", initial=0)
        await backend.connect(5)
        values = []

        def callback(reading: Any) -> None:
            values.append(reading["value"])
            raise ValueError("of the callback")

        backend.set_callback(callback)
        await backend.put(1)
        assert values == [0, 1]
        assert "a callback failed on the reading of kv+memory://#ep1:n" in caplog.text

    run(check())


def test_a_monitor_outlives_its_loop_without_a_word(
    memory: RemoteKVMapping, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    async def check() -> None:
        signal = kv_signal_r(int, memory, "n", initial=0)
        await signal.connect()
        signal.subscribe_reading(lambda reading: None)

    run(check())
    memory["n"] = 1
    assert memory["n"] == 1
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_closed_mapping_is_named(run: Run) -> None:
    from kv_dict import ClosedError, InMemoryAsyncBackend

    async def check() -> None:
        with RemoteKVMapping(InMemoryAsyncBackend(), "ep1", reads="replica") as md:
            signal = kv_signal_rw(int, md, "n", initial=0)
            await signal.connect()
        for ask in (signal.get_value, signal.stage, lambda: signal.set(1)):
            with pytest.raises(ClosedError, match=r"this mapping .* was closed"):
                await ask()
        with pytest.raises(NotConnectedError, match="was closed"):
            await signal.connect(force_reconnect=True)

    run(check())


def test_the_loop_is_never_blocked(memory: RemoteKVMapping, run: Run) -> None:
    """While a put waits for another thread's turn on the same key, the loop goes on."""

    async def check() -> None:
        signal = kv_signal_rw(int, memory, "d/n", initial=0)
        await signal.connect()
        entered, leave = threading.Event(), threading.Event()

        def slow(value: Any) -> Any:
            entered.set()
            assert leave.wait(10)
            return value | {"slow": True}

        changing = asyncio.create_task(asyncio.to_thread(memory.transform, "d", slow))
        await asyncio.to_thread(entered.wait, 10)
        status = signal.set(5)
        assert await signal.get_value() == 0
        assert not status.done
        leave.set()
        await status
        await changing
        assert memory["d"] == {"n": 5, "slow": True}

    run(check())


def test_metadata(memory: RemoteKVMapping, run: Run) -> None:
    async def check() -> None:
        options: dict[str, Any] = {"units": "keV", "precision": 3, "limits": (4, 20)}
        energy = kv_signal_rw(float, memory, "energy", initial=7.1, name="energy", **options)
        await energy.connect()
        control = {"low": 4, "high": 20}
        await assert_describe_signal(
            energy,
            dtype="number",
            dtype_numpy="<f8",
            shape=[],
            units="keV",
            precision=3,
            limits={"control": control},
        )
        for value in (3.9, 20.1, float("nan")):
            with pytest.raises(ValueError, match=r"its control limits are 4 to 20"):
                await energy.set(value)
        for value in (4, 20):
            await energy.set(value)
        with pytest.raises(EncodeError, match=r"cannot be set to 'high' \(str\)"):
            await energy.set("high")
        assert memory["energy"] == 20

    run(check())


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"md": {}}, TypeError, "md is a mapping, such as open_mapping.., not dict"),
        ({"key": ""}, ValueError, "key is empty"),
        ({"key": ()}, ValueError, "key is empty"),
        ({"key": "a//b"}, ValueError, "a step of it is empty"),
        ({"key": 5}, TypeError, "a string, 'detector/exposure', or a tuple"),
        ({"key": ("a", 5)}, TypeError, "strings, not int"),
        ({"datatype": dict}, TypeError, "is no datatype of a signal"),
        ({"datatype": None}, TypeError, "is no datatype of a signal"),
        ({"initial": "x"}, EncodeError, "cannot be set to initial='x' .str., which is not a float"),
        ({"units": 5}, TypeError, "units=5"),
        ({"precision": 1.5}, TypeError, "precision=1.5"),
        ({"precision": -1}, ValueError, "precision=-1"),
        ({"limits": 5}, TypeError, "limits=5: .low, high."),
        ({"limits": (1, 2, 3)}, TypeError, "low, high"),
        ({"limits": ("a", 2)}, TypeError, "'a' is no number"),
        ({"limits": (3, 2)}, ValueError, "the low one is above the high one"),
        ({"limits": {"controll": {}}}, ValueError, "limits of 'controll': there are"),
    ],
    ids=str,
)
def test_bad_parameters(
    memory: RemoteKVMapping, options: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        kv_signal_rw(**({"datatype": float, "md": memory, "key": "x"} | options))


def test_the_source_names_the_value_and_no_password(memory: RemoteKVMapping) -> None:
    from kv_dict import NatsBackend, RedisBackend

    backend = NatsBackend("nats://me:hunter2@localhost:4222", "kv_dict")
    with RemoteKVMapping(backend, "ep1") as md:
        signal = kv_signal_rw(float, md, ("det/1", "exposure"))
        assert signal.source.startswith("kv+nats://")
        assert "bucket=kv_dict" in signal.source
        assert signal.source.endswith("#ep1:det%2F1/exposure")
        assert "hunter2" not in signal.source
    with RemoteKVMapping(RedisBackend("redis://:hunter2@localhost"), "xas-", None) as md:
        source = kv_signal_rw(float, md, "exposure").source
        assert source.endswith("#xas-exposure")
        assert "hunter2" not in source


def test_mock_mode_needs_no_store(run: Run) -> None:
    from kv_dict import RedisBackend

    async def check() -> None:
        with RemoteKVMapping(RedisBackend("redis://127.0.0.1:1/0"), "ep1") as md:
            signal = kv_signal_rw(float, md, "exposure", name="exposure")
            await signal.connect(mock=True)
            set_mock_value(signal, 0.5)
            await assert_value(signal, 0.5)
            await signal.set(0.75)
            await assert_value(signal, 0.75)
            assert signal.source.startswith("mock+kv+redis://")

    run(check())
