"""As the metadata of a RunEngine."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks.cases import Case, Topic
from benchmarks.competitors import Competitor
from benchmarks.works import Here, Round

RUNS_OF_A_PLAN = 3


@contextmanager
def run(here: Here) -> Iterator[Round]:
    """Measure from ``open_run`` until ``close_run`` is done, within a plan."""
    from bluesky import Msg, RunEngine

    engine = RunEngine(here.md, loop=asyncio.new_event_loop(), context_managers=[])

    def plan(took: list[float], end: float) -> Iterator[Any]:
        while not took or time.perf_counter() < end:
            for _ in range(RUNS_OF_A_PLAN):
                began = time.perf_counter()
                yield Msg("open_run")
                yield Msg("close_run")
                took.append(time.perf_counter() - began)

    def round_(seconds: float) -> list[float]:
        took: list[float] = []
        engine(plan(took, time.perf_counter() + seconds))
        return took

    yield round_
    engine.loop.call_soon_threadsafe(engine.loop.stop)
    engine._th.join()
    engine.loop.close()


def _a_dict(competitor: Competitor) -> bool:
    return not competitor.bare


RUNS = Topic(
    "runs",
    "One run of a RunEngine",
    "`open_run` and `close_run`, with no data: the worst case for metadata. The run takes the next "
    "`scan_id` and copies all items into its start document.",
    lambda sizes: [
        Case("open_run, close_run", run, keys, _a_dict, "ms", over="dict")
        for keys in sizes
        if keys <= 1_000
    ],
)
