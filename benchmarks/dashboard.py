"""The dashboard: many browsers on one process. ``python -m benchmarks.dashboard [viewers] [rate]``.

Three processes: the dashboard as `kv-dict dashboard` runs it, a program that writes, and the
viewers, which read their streams as a browser does and take the time from the commit to the event.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psutil

SECONDS = 8.0
KEYS = 50

WRITER = """
import sys, time
from kv_dict import RemoteKVMapping, SQLiteBackend
path, rate, seconds, keys = sys.argv[1], float(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
with RemoteKVMapping(SQLiteBackend(path), "bench") as md:
    begin = time.monotonic()
    n = 0
    while (now := time.monotonic() - begin) < seconds:
        while n <= now * rate:
            md[f"key{n % keys}"] = time.time()
            n += 1
        time.sleep(0.002)
    print(n)
"""


@contextmanager
def dashboard(path: Path) -> Iterator[tuple[str, psutil.Process]]:
    command = [sys.executable, "-c", "from kv_dict.cli import main; main()", "dashboard"]
    arguments = ["--port", "0", "--url", f"sqlite://{path}", "--entry-point", "bench"]
    with subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().rpartition(" ")[2].strip()
        try:
            yield url, psutil.Process(process.pid)
        finally:
            process.terminate()


async def view(url: str, delays: list[float], bytes_: list[int], stalled: bool) -> None:
    """Read one stream; a stalled one reads nothing."""
    host = urlsplit(url)
    reader, writer = await asyncio.open_connection(host.hostname, host.port, limit=2**24)
    writer.write(b"GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
    if stalled:
        await asyncio.sleep(3600)
    try:
        while line := await reader.readline():
            bytes_[0] += len(line)
            if line.startswith(b"data: [{"):
                now = time.time()
                for item in json.loads(line[6:]):
                    if isinstance(item.get("value"), float):
                        delays.append(now - item["value"])
    finally:
        writer.close()


async def measure(url: str, path: Path, viewers: int, rate: float, stalled: int) -> list[float]:
    delays: list[float] = []
    bytes_ = [0]
    tasks = [
        asyncio.create_task(view(url, delays, bytes_, stalled=n < stalled)) for n in range(viewers)
    ]
    await asyncio.sleep(1.0)
    delays.clear()
    bytes_[0] = 0
    arguments = [str(path), str(rate), str(SECONDS), str(KEYS)]
    writing = await asyncio.create_subprocess_exec(sys.executable, "-c", WRITER, *arguments)
    await writing.wait()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return delays


def many(viewers: int, rate: float, stalled: int = 0) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "md.db"
        with dashboard(path) as (url, process):
            time.sleep(0.5)
            before = process.cpu_times()
            begin = time.monotonic()
            delays = asyncio.run(measure(url, path, viewers, rate, stalled))
            after = process.cpu_times()
            used = (after.user + after.system - before.user - before.system) / (
                time.monotonic() - begin
            )
            cuts = statistics.quantiles(delays, n=100)
            print(
                f"{viewers:5} viewers ({stalled} stalled) x {rate:5.0f} changes/s: commit to viewer"
                f" {cuts[49] * 1e3:5.0f} ms median, {cuts[98] * 1e3:5.0f} ms 99th percentile; "
                f"{used * 100:3.0f} % of a core; {process.memory_info().rss / 2**20:.0f} MB; "
                f"{len(delays)} states seen"
            )


def payload(keys: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        from kv_dict import RemoteKVMapping, SQLiteBackend

        path = Path(folder) / "md.db"
        with RemoteKVMapping(SQLiteBackend(path), "bench") as md:
            md.update({f"key_{n:05}": {"name": f"sample {n}", "x": n / 7} for n in range(keys)})
        with dashboard(path) as (url, process):
            while b'"live"' not in urllib.request.urlopen(url + "api/sources").read():
                time.sleep(0.05)
            begin = time.monotonic()
            whole = urllib.request.urlopen(url + "api/keys").read()
            first = time.monotonic() - begin
            request = urllib.request.Request(url + "api/keys", headers={"Accept-Encoding": "gzip"})
            begin = time.monotonic()
            packed = urllib.request.urlopen(request).read()
            second = time.monotonic() - begin
            print(
                f"{keys:5} keys: {len(whole) / 1024:.0f} kB in {first * 1e3:.0f} ms, "
                "compressed "
                f"{len(packed) / 1024:.0f} kB in {second * 1e3:.0f} ms; "
                f"{process.memory_info().rss / 2**20:.0f} MB"
            )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        many(int(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 100.0)
    else:
        many(1, 100)
        many(200, 100)
        many(200, 100, stalled=20)
        many(200, 1000)
        many(500, 100)
        for size in (10, 5000):
            payload(size)
