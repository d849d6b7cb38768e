"""Settings of devices in a mapping, stored and applied by ophyd-async's own plans."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from bluesky import RunEngine
from bluesky import plan_stubs as bps
from ophyd_async.core import StrictEnum, Table, init_devices, walk_rw_signals
from ophyd_async.plan_stubs import (
    apply_settings,
    apply_settings_if_different,
    get_current_settings,
    retrieve_settings,
    store_settings,
)
from ophyd_async.testing import (
    ExampleEnum,
    ExampleTable,
    OneOfEverythingDevice,
    ParentOfEverythingDevice,
)

from kv_dict import (
    CheckError,
    DecodeError,
    EncodeError,
    InMemoryAsyncBackend,
    RemoteKVMapping,
)
from kv_dict.integrations.ophyd_async import KVSettingsProvider
from kv_dict.integrations.ophyd_async.datatypes import equal

Run = Callable[[Any], Any]


class Mode(StrictEnum):
    STEP = "step"


CHANGED: dict[str, Any] = {
    "a_int": 5,
    "a_float": 0.5,
    "a_str": "",
    "a_bool": False,
    "a_enum": ExampleEnum.A,
    "stra": [],
    "enuma": [],
    "table": ExampleTable(),
    "ndarray": np.array([1]),
    "float32a": np.array([], "f4"),
}


def test_settings_of_every_datatype_come_back(
    md: RemoteKVMapping, other: RemoteKVMapping, RE: RunEngine
) -> None:
    with init_devices():
        device = OneOfEverythingDevice()
        parent = ParentOfEverythingDevice()
    signals = walk_rw_signals(device)
    seen: list[dict[Any, Any]] = []
    different: list[list[str]] = []

    def note() -> Any:
        seen.append(dict((yield from get_current_settings(device))))

    def apply_and_note(settings: Any) -> Any:
        different.append(sorted(signal.name.rpartition("-")[2] for signal in settings))
        yield from apply_settings(settings)

    def plan() -> Any:
        provider, elsewhere = KVSettingsProvider(md), KVSettingsProvider(other)
        yield from note()
        yield from store_settings(provider, "a.name.with.dots", device)
        yield from store_settings(provider, "parent", parent)
        for name, value in CHANGED.items():
            yield from bps.abs_set(signals[name], value, wait=True)
        settings = yield from retrieve_settings(elsewhere, "a.name.with.dots", device)
        for _ in range(2):
            yield from apply_settings_if_different(settings, apply_and_note)
        yield from note()
        yield from apply_settings((yield from retrieve_settings(elsewhere, "parent", parent)))

    RE(plan())
    before, after = seen
    assert before.keys() == after.keys() == set(signals.values())
    for signal, value in before.items():
        assert equal(after[signal], value), signal.name
    assert different == [sorted(CHANGED), []]
    assert sorted(md) == ["a.name.with.dots", "parent"]


def test_what_is_stored(md: RemoteKVMapping, run: Run) -> None:
    async def check() -> None:
        provider = KVSettingsProvider(md)
        table = Table(x=np.array([1, 2], "i2"), name=["a", "b"])
        settings = {"motor.velocity": 1.5, "mode": Mode.STEP, "roi": np.eye(2), "none": None}
        await provider.store("beam.focus", settings | {"table": table})
        got = await provider.retrieve("beam.focus")
        assert got["motor.velocity"] == 1.5
        assert got["mode"] == "step"
        assert got["none"] is None
        assert equal(got["roi"], np.eye(2))
        assert equal(got["table"].pop("x"), np.array([1, 2], "i2"))
        assert got["table"] == {"name": ["a", "b"]}
        await provider.store("beam.focus", {"only": 1})  # in place of all of it
        assert await provider.retrieve("beam.focus") == {"only": 1}

    run(check())


def test_what_is_wrong_is_told(md: RemoteKVMapping, run: Run) -> None:
    async def check() -> None:
        provider = KVSettingsProvider(md)
        await provider.store("a", {"x": 1})
        with pytest.raises(KeyError, match=r"no settings named 'b' in .*there are: 'a'"):
            await provider.retrieve("b")
        with pytest.raises(EncodeError, match=r"md\['a'\]\['x'\] cannot be stored"):
            await provider.store("a", {"x": object()})
        assert await provider.retrieve("a") == {"x": 1}
        md["n"] = 5
        with pytest.raises(DecodeError, match=r"'n' in .* is no set of settings but 5"):
            await provider.retrieve("n")
        with pytest.raises(TypeError, match="strings, not int"):
            await provider.store(5, {})  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="md is a mapping"):
            KVSettingsProvider({})  # type: ignore[arg-type]

    run(check())


def test_metadata_of_runs_are_not_their_place() -> None:
    with RemoteKVMapping(InMemoryAsyncBackend(), "xas", check="bluesky") as md:
        with pytest.raises(CheckError, match=r"RemoteKVMapping\(md.backend, 'settings'\)"):
            asyncio.run(KVSettingsProvider(md).store("focused", {"slits.gap": 0.5}))
        assert dict(md) == {}
        with RemoteKVMapping(md.backend, "settings") as settings:
            provider = KVSettingsProvider(settings)
            asyncio.run(provider.store("beam.focused", {"slits.gap": 0.5}))
            assert asyncio.run(provider.retrieve("beam.focused")) == {"slits.gap": 0.5}
