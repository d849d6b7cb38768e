"""What signals and plans see when the server dies, freezes and comes back."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from bluesky import RunEngine
from bluesky import plan_stubs as bps
from bluesky import plans as bp
from bluesky.utils import FailedStatus
from ophyd_async.core import NotConnectedError, init_devices

from kv_dict import KVDictError, RemoteKVMapping, Unavailable
from kv_dict.backends import open_backend
from kv_dict.integrations.ophyd_async import KVSettingsProvider, kv_signal_r, kv_signal_rw
from kv_dict.testing.servers import NatsServer, PostgresServer, RedisServer, ServerProcess

KINDS = {"redis": RedisServer, "postgres": PostgresServer, "nats": NatsServer}
TIMEOUT = 1.0
DEADLINE = 20.0

Run = Callable[[Any], Any]


@pytest.fixture(params=KINDS)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ServerProcess]:
    with KINDS[request.param](tmp_path / "server") as server:
        yield server


@pytest.fixture
def open_mapping(server: ServerProcess) -> Iterator[Callable[..., RemoteKVMapping]]:
    opened = []

    def open_mapping(reads: str = "replica") -> RemoteKVMapping:
        backend = open_backend(server.store_url())
        opened.append(RemoteKVMapping(backend, "ep1", reads=reads, timeout=TIMEOUT))
        return opened[-1]

    yield open_mapping
    for md in opened:
        md.close()


def test_a_plan_when_the_server_dies_and_is_back(
    server: ServerProcess,
    open_mapping: Callable[..., RemoteKVMapping],
    RE: RunEngine,
    documents: Any,
) -> None:
    md, direct = open_mapping(), open_mapping("server")
    with init_devices():
        energy = kv_signal_rw(float, md, "beam/energy", initial=7.0)
        asked = kv_signal_r(float, direct, "beam/energy")
    told: list[Any] = []
    heard: asyncio.Queue[Any] = asyncio.Queue()

    def hear(reading: Any) -> None:
        told.append(reading["energy"])
        heard.put_nowait(reading["energy"])

    async def severity(wanted: int) -> None:
        while (await heard.get())["alarm_severity"] != wanted:
            pass

    def until(wanted: int) -> Any:
        def wait() -> Any:
            return asyncio.wait_for(severity(wanted), DEADLINE)

        yield from bps.wait_for([wait])

    def plan() -> Any:
        yield from until(0)
        server.kill()
        yield from until(-1)
        yield from bp.count([energy])  # goes on with what was last known
        began = time.monotonic()
        with pytest.raises(FailedStatus) as caught:
            yield from bps.mv(energy, 8.0)
        assert time.monotonic() - began < DEADLINE
        assert isinstance(caught.value.__cause__, Unavailable)
        with pytest.raises(Unavailable):
            yield from bps.rd(asked)
        server.start()
        yield from until(0)
        yield from bps.mv(energy, 9.0)
        assert (yield from bps.rd(asked)) == 9.0

    RE.loop.call_soon_threadsafe(energy.subscribe_reading, hear)
    RE(plan())
    assert documents.of("event")[0]["data"] == {"energy": 7.0}
    assert [(reading["value"], reading["alarm_severity"]) for reading in told] == [
        (7.0, 0),
        (7.0, -1),
        (7.0, 0),
        (9.0, 0),
    ]
    assert re.search("the last known value: the store is away since", told[1]["message"])
    assert len({reading["timestamp"] for reading in told[:3]}) == 1


def test_connecting_to_a_store_that_is_away(
    server: ServerProcess, open_mapping: Callable[..., RemoteKVMapping], run: Run
) -> None:
    md, direct = open_mapping(), open_mapping("server")
    md["n"] = 1
    server.kill()

    async def check() -> None:
        for mapping in (md, direct):
            signal = kv_signal_rw(int, mapping, "n", initial=0)
            began = time.monotonic()
            with pytest.raises(NotConnectedError) as caught:
                await signal.connect(timeout=1)
            assert time.monotonic() - began < DEADLINE
            assert "#ep1:n: " in str(caught.value)
            assert "Traceback" not in str(caught.value)
            provider = KVSettingsProvider(mapping)
            with pytest.raises(Unavailable):
                await provider.store("a", {"x": 1})
        with pytest.raises(Unavailable):
            await KVSettingsProvider(direct).retrieve("a")
        server.start()
        await signal.connect(timeout=DEADLINE)
        assert await signal.get_value() == 1

    run(check())


def test_a_frozen_server_holds_nobody_up(
    server: ServerProcess, open_mapping: Callable[..., RemoteKVMapping], run: Run
) -> None:
    md = open_mapping()

    async def check() -> None:
        signal = kv_signal_rw(int, md, "n", initial=0)
        await signal.connect()
        server.freeze()
        try:
            assert await signal.get_value() == 0
            again = kv_signal_rw(int, md, "n")
            with pytest.raises(NotConnectedError):
                await again.connect(timeout=0.5)
            with pytest.raises(KVDictError):
                await signal.set(5)
        finally:
            server.thaw()
        await signal.connect(timeout=DEADLINE, force_reconnect=True)
        await signal.set(6)
        assert await signal.get_value() == 6

    run(check())
