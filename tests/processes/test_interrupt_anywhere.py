"""Ctrl-C between any two instructions: thousands of them, and everything goes on working.

The timer counts the time that is computed, not waited; the other one is pytest-timeout's.
"""

from __future__ import annotations

import random
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kv_dict import ReentryError, RemoteKVMapping
from kv_dict.backends import open_backend

# An interrupt may come in a callback, whose exceptions go nowhere.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

INTERRUPTS = {"sqlite": 60, "memory": 300, "redis": 50}


@pytest.fixture(params=INTERRUPTS)
def md(request: pytest.FixtureRequest, tmp_path: Path, bucket: str) -> Iterator[RemoteKVMapping]:
    urls = {"sqlite": f"sqlite://{tmp_path}/md.db", "memory": "memory://"}
    url = urls.get(request.param) or request.getfixturevalue("redis_url")
    with RemoteKVMapping(open_backend(url), bucket, timeout=2) as md:
        md.update(n=0, d={"n": 0, "l": [0]})
        yield md


@pytest.fixture
def alarm() -> Iterator[Callable[[Callable[[], None]], None]]:
    """Give a function that installs a handler for alarms, and take it away again."""
    before = signal.getsignal(signal.SIGVTALRM)
    yield lambda handler: signal.signal(signal.SIGVTALRM, lambda *_: handler()) and None
    signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    signal.signal(signal.SIGVTALRM, before)


def interrupt() -> None:
    raise KeyboardInterrupt


WORK: dict[str, Callable[[RemoteKVMapping], object]] = {
    "reading": lambda md: (md["n"], dict(md)),
    "writing": lambda md: md.update(n=1),
    "incrementing": lambda md: md.increment("n"),
    "changing what is nested": lambda md: md["d"]["l"].append(1) or md["d"]["l"].pop(),
}


@pytest.mark.parametrize("what", WORK)
def test_interrupts(
    what: str, md: RemoteKVMapping, alarm: Callable[[Callable[[], None]], None]
) -> None:
    alarm(interrupt)
    kept: list[
        BaseException
    ] = []  # as IPython keeps the last traceback, and all the frames it leads to
    for _ in range(INTERRUPTS[md.backend.url.partition(":")[0]]):
        try:
            # Again later: one that comes in a callback is swallowed.
            signal.setitimer(signal.ITIMER_VIRTUAL, random.uniform(1e-5, 4e-4), 0.2)
            while True:
                WORK[what](md)
        except KeyboardInterrupt as error:
            kept[:] = [*kept[-5:], error]
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    WORK[what](md)
    results: list[object] = []
    other = threading.Thread(target=lambda: results.append(md.increment("n")))
    other.start()
    other.join()
    assert results, "another thread waits for what an interrupt left behind"


def test_a_signal_handler_may_use_it_or_is_refused(
    md: RemoteKVMapping, alarm: Callable[[Callable[[], None]], None]
) -> None:
    outcomes: dict[str, int] = {"used": 0, "refused": 0}

    def handler() -> None:
        try:
            md["seen"] = outcomes["used"]
            outcomes["used"] += 1
        except ReentryError:
            outcomes["refused"] += 1
        signal.setitimer(signal.ITIMER_VIRTUAL, 0.0005)

    alarm(handler)
    signal.setitimer(signal.ITIMER_VIRTUAL, 0.0005)
    n = 0
    while min(outcomes.values()) < 20 and n < 100_000:
        n += 1
        md["n"] = n
        md["d"]["n"] = n
    signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    assert (md["n"], md["d"]["n"]) == (n, n)
    assert outcomes["used"] >= 20
