"""Hearing of what others change, and catching up after an outage."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks.cases import Case, Topic
from benchmarks.competitors import Competitor
from benchmarks.works import Here, Round, Unable, each

KEY = "stamp"
PAUSE = 0.004
DEADLINE = 10.0
LAST = 0.1
"""Seconds for the next to be heard: of writes that follow one another soon some may be left out."""


@each
def stamp(md: Any) -> Callable[[int], Any]:
    """Write the time, a while after the last one: what another process listens to."""
    tell = getattr(md, "tell", md.__setitem__)

    def call(i: int) -> None:
        time.sleep(PAUSE)
        tell(KEY, time.monotonic_ns())

    return call


def _heard(here: Here, listen: Callable[[Callable[[Any], object]], None]) -> Iterator[Round]:
    """Measure from before a write in another process until `listen` calls what it is given."""
    from benchmarks.worker import Player

    took: queue.SimpleQueue[tuple[int, float]] = queue.SimpleQueue()

    def told(value: Any) -> None:
        took.put((int(value), (time.monotonic_ns() - int(value)) / 1e9))

    here.md[KEY] = 0
    listen(told)
    writer = Player(here.competitor, here.where)
    try:
        writer.begin(stamp, here.keys)

        def round_(seconds: float) -> list[float]:
            began = time.monotonic_ns()
            count = len(writer.round(seconds))
            heard: list[float] = []
            try:
                while len(heard) < count:
                    stamped, late = took.get(timeout=LAST if heard else DEADLINE)
                    if stamped > began:
                        heard.append(late)
            except queue.Empty:
                if not heard:
                    raise TimeoutError(f"nothing heard within {DEADLINE:g} s") from None
            return heard

        yield round_
    finally:
        writer.close()


@contextmanager
def callback(here: Here) -> Iterator[Round]:
    """From a write in another process to a subscriber's callback here."""
    if not hasattr(here.md, "subscribe"):
        raise Unable

    def listen(told: Callable[[Any], object]) -> None:
        take = told if here.competitor.bare else lambda change: told(change.value)
        here.md.subscribe(take, key=KEY)

    yield from _heard(here, listen)


@contextmanager
def signal(here: Here) -> Iterator[Round]:
    """From a write in another process to the callback of an ophyd-async signal here."""
    from kv_dict.integrations.ophyd_async import kv_signal_r

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def listen(told: Callable[[Any], object]) -> None:
        async def connect() -> None:
            one = kv_signal_r(int, here.md, KEY, name=KEY)
            await one.connect()
            one.subscribe_reading(lambda reading: told(reading[KEY]["value"]))

        asyncio.run_coroutine_threadsafe(connect(), loop).result(DEADLINE)

    try:
        yield from _heard(here, listen)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(DEADLINE)


@contextmanager
def catch_up(here: Here) -> Iterator[Round]:
    """From the end of an outage until the replica shows what was written and deleted meanwhile."""
    from kv_dict.testing.proxy import FaultProxy

    with FaultProxy(here.where.port) as proxy:
        url = here.where.url.replace(f":{here.where.port}", f":{proxy.port}")
        md = here.competitor.open(here.where._replace(url=url))

        def round_(seconds: float) -> list[float]:
            proxy.black_hole()
            _until(lambda: md.stale_since is not None)
            here.md["gone"] = 0
            del here.md["gone"]
            here.md["last"] = number = time.monotonic_ns()
            began = time.perf_counter()
            proxy.cut()
            proxy.heal()
            _until(lambda: md.get("last") == number)
            return [time.perf_counter() - began]

        with md:
            md["last"] = 0
            yield round_


def _until(done: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not done():
        if time.monotonic() > end:
            raise TimeoutError("the replica did not notice within 60 s")
        time.sleep(0.0005)


def _listens(competitor: Competitor) -> bool:
    return (competitor.bare and bool(competitor.server)) or competitor.replica


def _ours(competitor: Competitor) -> bool:
    return competitor.replica


def _replica_of_a_server(competitor: Competitor) -> bool:
    return competitor.replica and bool(competitor.server)


FOLLOWING = Topic(
    "following",
    "Hearing of what others change",
    f"Writes are {PAUSE * 1e3:g} ms apart, in another process; the time is from before the write. "
    "The bare drivers do what their server offers: PUBLISH after SET, NOTIFY with an upsert, "
    "`kv.watch`. A SQLite file is looked at every 10 ms. To catch up includes finding the server "
    "again.",
    lambda sizes: [
        Case("to a callback", callback, who=_listens, writes=True),
        Case("to a signal of ophyd-async", signal, who=_ours, writes=True),
        *(
            Case("to catch up after an outage", catch_up, keys, _replica_of_a_server, "ms")
            for keys in (1_000, 10_000)
        ),
    ],
)
