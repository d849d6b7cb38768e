"""What a process measures: a `Work` is prepared with a mapping, and then does round after round."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import wraps
from typing import Any, NamedTuple

from benchmarks.competitors import Competitor
from benchmarks.where import Where

MOST = 500
"""Calls of one round: enough for a median, and the 99th percentile is of all rounds."""

numbers = itertools.count()
"""Never the same: nothing is written that is there already."""


class Here(NamedTuple):
    """What a work is about: the mapping `md` of `competitor`, which holds `keys` items."""

    md: Any
    competitor: Competitor
    where: Where
    keys: int


class Unable(Exception):
    """The competitor has nothing of that kind, or does it wrong: then the message says how."""


Round = Callable[[float], list[float]]
"""Measures for about so many seconds, and returns the seconds of each call."""

Work = Callable[[Here], AbstractContextManager[Round]]


def each(prepare: Callable[[Any], Callable[[int], Any]]) -> Work:
    """Make a work of a function that returns one call, which is given a new number each time."""

    @wraps(prepare)
    @contextmanager
    def work(here: Here) -> Iterator[Round]:
        yield timed(prepare(here.md))

    return work


def timed(call: Callable[[int], Any]) -> Round:
    """Return rounds of single calls, less what measuring costs."""
    clock = time.perf_counter

    def round_(seconds: float) -> list[float]:
        end = clock() + seconds
        took = []
        for number in itertools.islice(numbers, MOST):
            began = clock()
            call(number)
            ended = clock()
            took.append(ended - began)
            if ended > end:
                break
        nothing = statistics.median(_nothing())
        return [max(each - nothing, 1e-9) for each in took]

    return round_


def _nothing() -> Iterator[float]:
    def call(number: int) -> None:
        pass

    clock = time.perf_counter
    for number in range(50):
        began = clock()
        call(number)
        yield clock() - began


def items(count: int, first: int = 0) -> dict[str, Any]:
    """Return items as a beamline has them: small strings, numbers, dicts and lists."""
    kinds: tuple[Callable[[int], Any], ...] = (
        lambda i: f"pass-{300000 + i}",
        lambda i: i,
        lambda i: {"proposal_id": str(i), "title": "Oxides", "pi_name": "Ada", "type": "GU"},
        lambda i: i * 1.5,
        lambda i: ["a", "b", i],
    )
    return {f"key{i:06d}": kinds[i % len(kinds)](i) for i in range(first, count)}


TEXT, COUNT, DICT, NUMBER = list(items(4))
"""The keys of the first items, by what they hold."""
