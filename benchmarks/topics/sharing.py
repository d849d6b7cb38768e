"""Beside others: a thread that computes, four threads, four processes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

from benchmarks.cases import Case, Topic
from benchmarks.competitors import Competitor
from benchmarks.works import COUNT, Here, Round, Unable, each, timed

SEVERAL = 4
COUNTER = "counter"


@contextmanager
def read_beside_a_busy_thread(here: Here) -> Iterator[Round]:
    """Read, while another thread of this process never stops computing."""
    with _computing():
        yield timed(lambda i: here.md[COUNT])


@contextmanager
def write_beside_a_busy_thread(here: Here) -> Iterator[Round]:
    """Write, while another thread of this process never stops computing."""
    with _computing():
        yield timed(lambda i: here.md.__setitem__(COUNT, i))


@contextmanager
def _computing() -> Iterator[None]:
    ended = threading.Event()

    def compute() -> None:
        number = 0
        while not ended.is_set():
            for _ in range(1000):
                number = (number * 1103515245 + 12345) & 0x7FFFFFFF

    thread = threading.Thread(target=compute)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _in_threads(call: Callable[[int], Any]) -> Iterator[Round]:
    with ThreadPoolExecutor(SEVERAL) as pool:
        yield lambda seconds: [
            took
            for of_one in pool.map(lambda _: timed(call)(seconds), range(SEVERAL))
            for took in of_one
        ]


@contextmanager
def read_in_threads(here: Here) -> Iterator[Round]:
    """Read, four threads at once."""
    yield from _in_threads(lambda i: here.md[COUNT])


@contextmanager
def write_in_threads(here: Here) -> Iterator[Round]:
    """Write different keys, four threads at once."""
    yield from _in_threads(lambda i: here.md.__setitem__(f"{COUNTER}{i % SEVERAL}", i))


@each
def increment(md: Any) -> Callable[[int], Any]:
    """Add one to a counter."""
    if hasattr(md, "increment"):
        return lambda i: md.increment(COUNTER)
    with suppress(TypeError, KeyError, AttributeError):
        md.setdefault(COUNTER, 0)

    def call(i: int) -> None:
        md[COUNTER] = md[COUNTER] + 1

    return call


@contextmanager
def increment_in_processes(here: Here) -> Iterator[Round]:
    """Add one to the same counter, four processes at once, and count what is lost."""
    from benchmarks.worker import Player

    others = []
    try:
        for _ in range(SEVERAL):
            others.append(Player(here.competitor, here.where))
            others[-1].begin(increment, here.keys)
        done = lost = 0

        def counted() -> int:
            if hasattr(here.md, "sync"):
                here.md.sync()
            try:
                return int(here.md[COUNTER])
            except KeyError:
                return 0

        def round_(seconds: float) -> list[float]:
            nonlocal done, lost
            before = counted()
            for other in others:
                other.send("round", seconds)
            took = [each for other in others for each in other.result()]
            done += len(took)
            lost += before + len(took) - counted()
            if lost:
                raise Unable(f"loses increments: {lost:,} of {done:,}")
            return took

        yield round_
    finally:
        for other in others:
            other.close()


def _shared(competitor: Competitor) -> bool:
    return competitor.shared and competitor.name != "nats-py"


SHARING = Topic(
    "sharing",
    "Beside others",
    "What one call takes: while another thread of the process computes, which takes the "
    "interpreter from every thread that waits for a server; while three other threads do the same; "
    "while three other processes add to the same counter.",
    lambda sizes: [
        Case("md[key], beside a busy thread", read_beside_a_busy_thread),
        Case("md[key] = v, beside a busy thread", write_beside_a_busy_thread, writes=True),
        Case("md[key], 4 threads", read_in_threads),
        Case("md[key] = v, 4 threads", write_in_threads, writes=True),
        Case("increment, 4 processes", increment_in_processes, who=_shared, writes=True),
    ],
)
