"""The dashboard: one process that shows what changes to many browsers."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import orjson

from benchmarks.cases import Case, Topic
from benchmarks.competitors import Competitor
from benchmarks.works import Here, Round, each

MANY = 200
STALLED = 20
RATE = 100
CHANGING = 50
SECONDS = 1.0
DEADLINE = 20.0
KEY = "stamp"


@each
def stamp(md: Any) -> Callable[[int], Any]:
    """Write the time under one of some keys, a hundred times a second."""

    def call(i: int) -> None:
        time.sleep(1 / RATE)
        md[f"{KEY}{i % CHANGING}"] = time.monotonic_ns()

    return call


class _Dashboard:
    """As `kv-dict dashboard` runs it, on the items of a competitor."""

    def __init__(self, here: Here) -> None:
        command = [sys.executable, "-c", "from kv_dict.cli import main; main()", "dashboard"]
        where = [f"--url={here.md.backend.url}", f"--entry-point={here.md.entry_point}"]
        self._process = subprocess.Popen(
            [*command, *where, "--port=0"], stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().rpartition(" ")[2].strip()
        from kv_dict.testing.waiting import until  # not there in kv-dict 0.1.7's process

        until(lambda: b'"live"' in self.get("api/sources"), DEADLINE)

    def get(self, path: str) -> bytes:
        request = urllib.request.Request(self.url + path, headers={"Accept-Encoding": "gzip"})
        with urllib.request.urlopen(request, timeout=DEADLINE) as answer:
            body: bytes = answer.read()
        return body

    def processor_time(self) -> float:
        import psutil

        used = psutil.Process(self._process.pid).cpu_times()
        return used.user + used.system

    def memory(self) -> int:
        import psutil

        size: int = psutil.Process(self._process.pid).memory_info().rss
        return size

    def close(self) -> None:
        self._process.terminate()
        self._process.communicate(timeout=DEADLINE)


class _Browsers:
    """Streams that are read as a browser reads them, by a thread; some are not read at all."""

    def __init__(self, url: str, count: int, stalled: int) -> None:
        self.heard: list[tuple[int, float]] = []
        self._address = urlsplit(url)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._call(self._begin(count, stalled))

    async def _begin(self, count: int, stalled: int) -> None:
        streams = await asyncio.gather(*(self._open() for _ in range(count)))
        self._writers = [writer for _, writer in streams]
        self._reading = [asyncio.create_task(self._read(reader)) for reader, _ in streams[stalled:]]

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection(
            self._address.hostname, self._address.port, limit=2**24
        )
        writer.write(b"GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        return reader, writer

    async def _read(self, reader: asyncio.StreamReader) -> None:
        while line := await reader.readline():
            if line.startswith(b"data: [{"):
                self._take(line[6:], time.monotonic_ns())

    async def _end(self) -> None:
        for task in self._reading:
            task.cancel()
        for writer in self._writers:
            writer.close()

    def _call(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(DEADLINE)

    def _take(self, data: bytes, now: int) -> None:
        for item in orjson.loads(data):
            if item.get("key", "").startswith(KEY) and isinstance(item.get("value"), int):
                self.heard.append((item["value"], (now - item["value"]) / 1e9))

    def close(self) -> None:
        self._call(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(DEADLINE)


def _shown(
    here: Here,
    count: int,
    stalled: int,
    tell: Callable[[_Dashboard, list[float], float], list[float]],
) -> Iterator[Round]:
    """Have another process write; `tell` makes of what was heard what is measured."""
    from benchmarks.worker import Player

    dashboard = _Dashboard(here)
    browsers = _Browsers(dashboard.url, count, stalled)
    writer = Player(here.competitor, here.where)
    try:
        writer.begin(stamp, here.keys)

        def round_(seconds: float) -> list[float]:
            began, used = time.monotonic_ns(), dashboard.processor_time()
            writer.round(max(seconds, SECONDS))
            share = (dashboard.processor_time() - used) / ((time.monotonic_ns() - began) / 1e9)
            time.sleep(0.2)  # for the last ones
            heard = [late for stamped, late in tuple(browsers.heard) if stamped > began]
            browsers.heard.clear()
            if not heard:
                raise TimeoutError("no browser was told of anything")
            return tell(dashboard, heard, share)

        yield round_
    finally:
        writer.close()
        browsers.close()
        dashboard.close()


def _latencies(dashboard: _Dashboard, heard: list[float], share: float) -> list[float]:
    return heard[:: max(1, len(heard) // 5_000)]


@contextmanager
def one_browser(here: Here) -> Iterator[Round]:
    """From before a write in another process until a browser has it."""
    yield from _shown(here, 1, 0, _latencies)


@contextmanager
def many_browsers(here: Here) -> Iterator[Round]:
    """From before a write in another process until each of many browsers has it."""
    yield from _shown(here, MANY, 0, _latencies)


@contextmanager
def many_and_stalled(here: Here) -> Iterator[Round]:
    """Do the same, while some of them read nothing of what they are sent."""
    yield from _shown(here, MANY, STALLED, _latencies)


@contextmanager
def processor(here: Here) -> Iterator[Round]:
    """Tell which share of a processor the dashboard takes for many browsers."""
    yield from _shown(here, MANY, 0, lambda dashboard, heard, share: [share])


@contextmanager
def memory(here: Here) -> Iterator[Round]:
    """Tell what the process of a dashboard with many browsers takes."""
    yield from _shown(here, MANY, 0, lambda dashboard, heard, share: [dashboard.memory()])


@contextmanager
def first_page(here: Here) -> Iterator[Round]:
    """Get every key and value, as a page does when it is opened."""
    dashboard = _Dashboard(here)

    def round_(seconds: float) -> list[float]:
        began = time.perf_counter()
        dashboard.get("api/keys")
        return [time.perf_counter() - began]

    yield round_
    dashboard.close()


def _ours(competitor: Competitor) -> bool:
    return competitor.replica


SHOWING = Topic(
    "showing",
    "Showing it to browsers",
    f"`kv-dict dashboard` in a process of its own; a program writes {RATE} times a second, and the "
    "browsers are streams that are read in a third process, on the same processors. The time is "
    f"from before the write. Stalled are {STALLED} of them, which read nothing.",
    lambda sizes: [
        Case("to a browser", one_browser, CHANGING, _ours, "ms", writes=True),
        Case(f"to {MANY} browsers", many_browsers, CHANGING, _ours, "ms", writes=True),
        Case(
            f"to {MANY} browsers, some stalled",
            many_and_stalled,
            CHANGING,
            _ours,
            "ms",
            writes=True,
        ),
        Case(f"processor, {MANY} browsers", processor, CHANGING, _ours, "%", writes=True),
        Case(f"memory, {MANY} browsers", memory, CHANGING, _ours, "MB", writes=True),
        Case("all keys", first_page, 5_000, _ours, "ms"),
    ],
)
