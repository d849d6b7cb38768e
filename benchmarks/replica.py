"""The replica: how soon it shows what another process wrote, and what it costs.

::

    python -m benchmarks.replica [--writes 300]

Real servers from the wheels, with the settings that make every acknowledged write durable.

*Propagation* is the time from before a write, in another process, until a subscriber's callback in
this one, by the computer's monotonic clock. Beside it, in the same run and taking turns, the raw
mechanism of the server: Redis PUBLISH after a SET, PostgreSQL NOTIFY with an upsert, the bare
nats-py ``kv.put`` and ``kv.watch``. *Resynchronising* is the time from the end of a broken
connection until the replica shows what was written and deleted meanwhile.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncpg
import nats
import redis

from kv_dict import RemoteKVMapping, open_mapping
from kv_dict.backends import open_backend
from kv_dict.testing.proxy import FaultProxy
from kv_dict.testing.servers import NatsServer, PostgresServer, RedisServer, ServerProcess

PAUSE = 0.005

WRITER = """
import asyncio, sys, time
from kv_dict import open_mapping
kind, url, raw_url, writes, pause = sys.argv[1:]

def raw_writer():
    if kind == "redis":
        import redis
        client = redis.Redis.from_url(raw_url)
        def write(stamp):
            client.set("raw", stamp)
            client.publish("raw", stamp)
        return write
    loop = asyncio.new_event_loop()
    run = loop.run_until_complete
    if kind == "postgres":
        import asyncpg
        connection = run(asyncpg.connect(raw_url))
        def write(stamp):
            run(connection.execute(
                "WITH put AS (INSERT INTO raw VALUES ('raw', $1) ON CONFLICT (k) DO UPDATE "
                "SET v = excluded.v RETURNING v) SELECT pg_notify('raw', v) FROM put", str(stamp)))
        return write
    import nats
    client = run(nats.connect(raw_url))
    bucket = run(client.jetstream().key_value("raw"))
    return lambda stamp: run(bucket.put("raw", str(stamp).encode()))

with open_mapping(url, entry_point="ep1") as md:
    raw = raw_writer() if kind != "sqlite" else None
    sys.stdin.readline()
    for _ in range(int(writes)):
        time.sleep(float(pause))
        md["stamp"] = time.monotonic_ns()
        if raw is not None:
            time.sleep(float(pause))
            raw(time.monotonic_ns())
"""


async def _quiet(_: Exception) -> None:
    """Hear that the server ends, which it does before its listeners here."""


def listen_raw(
    kind: str, server: ServerProcess | None, tell: Callable[[bytes | str], None]
) -> None:
    """Listen to the raw mechanism of a server in a thread of its own."""
    if server is None:
        return
    ready = threading.Event()

    def of_redis() -> None:
        channel = redis.Redis(port=server.port).pubsub()
        channel.subscribe("raw")
        for message in channel.listen():
            if message["type"] == "subscribe":
                ready.set()
            else:
                tell(message["data"])

    async def of_postgres() -> None:
        connection = await asyncpg.connect(server.url)
        await connection.execute("CREATE TABLE raw (k text PRIMARY KEY, v text NOT NULL)")
        await connection.add_listener("raw", lambda *told: tell(told[-1]))
        ready.set()
        await asyncio.Event().wait()

    async def of_nats() -> None:
        client = await nats.connect(server.url, allow_reconnect=False, error_cb=_quiet)
        bucket = await client.jetstream().create_key_value(bucket="raw")
        watcher = await bucket.watch("raw")
        ready.set()
        async for update in watcher:
            if update is not None:
                tell(update.value)

    work = {"redis": of_redis, "postgres": of_postgres, "nats": of_nats}[kind]
    run = work if kind == "redis" else lambda: asyncio.run(work())
    threading.Thread(target=run, daemon=True).start()
    ready.wait(10)


def propagation(kind: str, url: str, server: ServerProcess | None, writes: int) -> str:
    """Return the row of one store: median and 99th percentile of each, in microseconds."""
    delays: list[float] = []
    raw: list[float] = []

    def note(into: list[float], stamp: Any) -> None:
        into.append((time.monotonic_ns() - int(stamp)) / 1000)

    listen_raw(kind, server, lambda stamp: note(raw, stamp))
    raw_url = "" if server is None else server.url
    with RemoteKVMapping(open_backend(url), "ep1", reads="replica", timeout=15) as md:
        md["stamp"] = 0
        md.subscribe(lambda change: note(delays, change.value), key="stamp", initial=False)
        arguments = [kind, url, raw_url, str(writes), str(PAUSE)]
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, *arguments], stdin=subprocess.PIPE, text=True
        )
        writer.communicate("go\n")
        deadline = time.monotonic() + 5
        while len(delays) < writes and time.monotonic() < deadline:
            time.sleep(0.01)
    return f"| {kind} | {_told(delays)} | {_told(raw)} |"


def _told(delays: list[float]) -> str:
    if len(delays) < 10:
        return "-"
    cuts = statistics.quantiles(delays, n=100)
    return f"{statistics.median(delays):,.0f} / {cuts[98]:,.0f}"


def resynchronising(kind: str, server: ServerProcess, keys: int) -> str:
    """Return the row of one store and size: opening, resynchronising, memory."""
    url = server.store_url()
    with open_mapping(url, entry_point=f"keys{keys}") as far, FaultProxy(server.port) as proxy:
        far.timeout = 60
        items = {f"motor{n}": {"position": n / 7, "units": "mm"} for n in range(keys)}
        for first in range(0, keys, 500):
            far.update(dict(list(items.items())[first : first + 500]))
        backend = open_backend(server.store_url(proxy.port))
        gc.collect()
        tracemalloc.start()
        before, _ = tracemalloc.get_traced_memory()
        with RemoteKVMapping(backend, far.entry_point, reads="replica", timeout=60) as md:
            gc.collect()
            memory = tracemalloc.get_traced_memory()[0] - before
            tracemalloc.stop()
            opening, resynchronised = [], []
            for number in range(5):
                proxy.black_hole()
                while md.stale_since is None:
                    time.sleep(0.01)
                del far[f"motor{number}"]
                far["last"] = number
                started = time.perf_counter()
                proxy.cut()
                proxy.heal()
                while md.get("last") != number or f"motor{number}" in md:
                    time.sleep(0.0005)
                resynchronised.append(time.perf_counter() - started)
        for _ in range(5):
            started = time.perf_counter()
            RemoteKVMapping(open_backend(url), far.entry_point, reads="replica", timeout=60).close()
            opening.append(time.perf_counter() - started)
    return (
        f"| {kind} | {keys:,} | {1000 * statistics.median(opening):,.0f} | "
        f"{1000 * statistics.median(resynchronised):,.0f} | {memory / keys:,.0f} |"
    )


def main() -> None:
    """Measure, and print Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--writes", type=int, default=300)
    writes = parser.parse_args().writes
    kinds: dict[str, type[ServerProcess]] = {
        "redis": RedisServer,
        "postgres": PostgresServer,
        "nats": NatsServer,
    }
    with tempfile.TemporaryDirectory() as folder:
        print("| propagation, us, p50 / p99 | write to callback | raw mechanism |")
        print("|---|---|---|")
        print(propagation("sqlite", f"sqlite://{folder}/md.db", None, writes), flush=True)
        rows = []
        for kind, server_type in kinds.items():
            with server_type(Path(folder) / kind) as server:
                print(propagation(kind, server.store_url(), server, writes), flush=True)
                rows += [resynchronising(kind, server, keys) for keys in (1_000, 10_000)]
        print("\n| | keys | opening, ms | resynchronising, ms | memory a key, bytes |")
        print("|---|---|---|---|---|")
        print("\n".join(rows))


if __name__ == "__main__":
    main()
