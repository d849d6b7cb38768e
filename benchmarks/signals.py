"""From a put to the callback of an ophyd-async signal, beside that of the mapping's `subscribe`.

::

    python -m benchmarks.signals [--rounds 300]

Each put is made through a mapping that shares nothing with the one that is followed but the store.
The two listeners take turns. Each cell is ``median / p99`` in microseconds from the call of the put
to that of the callback; ``put`` is what the writer waits for. Only ratios of one run count.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from kv_dict import InMemoryAsyncBackend, RemoteKVMapping
from kv_dict.backends import open_backend
from kv_dict.integrations.ophyd_async import kv_signal_r
from kv_dict.testing.servers import NatsServer, PostgresServer, RedisServer

WARM_UP = 20
DEADLINE = 10.0


class Heard:
    """When a callback was called with a value."""

    def __init__(self) -> None:
        self._at: dict[float, float] = {}
        self._called = threading.Condition()

    def note(self, value: float) -> None:
        """Take note of a call."""
        with self._called:
            self._at[value] = time.perf_counter()
            self._called.notify_all()

    def when(self, value: float) -> float:
        """Wait for the call with `value`, and return when it was."""
        with self._called:
            if not self._called.wait_for(lambda: value in self._at, DEADLINE):
                raise TimeoutError(f"no callback with {value} within {DEADLINE:g} s")
            return self._at.pop(value)


def measure(md: RemoteKVMapping, other: RemoteKVMapping, rounds: int) -> dict[str, list[float]]:
    """Return seconds of each round, of the put, of `subscribe` and of a signal."""
    other.update(raw=-1.0, signal=-1.0)
    md.sync()
    raw, of_signal = Heard(), Heard()
    md.subscribe(lambda change: raw.note(change.value), key="raw")
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def listen() -> None:
        signal = kv_signal_r(float, md, "signal", name="signal")
        await signal.connect()
        signal.subscribe_reading(lambda reading: of_signal.note(reading["signal"]["value"]))

    asyncio.run_coroutine_threadsafe(listen(), loop).result(DEADLINE)
    took: dict[str, list[float]] = {"put": [], "subscribe": [], "signal": []}
    listeners: tuple[tuple[str, str, Heard], ...] = (
        ("subscribe", "raw", raw),
        ("signal", "signal", of_signal),
    )
    for n in range(WARM_UP + rounds):
        for name, key, heard in listeners:
            began = time.perf_counter()
            other[key] = float(n)
            put = time.perf_counter() - began
            late = heard.when(float(n)) - began
            if n >= WARM_UP:
                took["put"].append(put)
                took[name].append(late)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(DEADLINE)
    loop.close()
    return took


def shown(seconds: list[float]) -> str:
    """Return median and 99th percentile in microseconds."""
    p99 = sorted(seconds)[int(len(seconds) * 0.99)]
    return f"{statistics.median(seconds) * 1e6:.0f} / {p99 * 1e6:.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=300)
    rounds = parser.parse_args().rounds
    print(f"{'':10}{'put':>16}{'subscribe':>16}{'signal':>16}   (us)")
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)

        def row(name: str, make: Callable[[], Any]) -> None:
            backend = make()
            with (
                RemoteKVMapping(backend, "ep1", reads="replica") as md,
                RemoteKVMapping(backend, "ep1") as other,
            ):
                took = measure(md, other, rounds)
            print(f"{name:10}" + "".join(f"{shown(seconds):>16}" for seconds in took.values()))

        row("memory", InMemoryAsyncBackend)
        row("sqlite", lambda: open_backend(f"sqlite://{here}/md.db"))
        for kind in (RedisServer, PostgresServer, NatsServer):
            with kind(here / kind.__name__) as server:
                row(
                    kind.__name__.removesuffix("Server").lower(),
                    partial(open_backend, server.store_url()),
                )


if __name__ == "__main__":
    main()
