"""Beginning, and what it takes to hold the items."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks.cases import Case, Topic
from benchmarks.competitors import Competitor
from benchmarks.works import COUNT, Here, Round


@contextmanager
def importing(here: Here) -> Iterator[Round]:
    """In a new interpreter that finds everything compiled, beyond what that takes by itself."""
    environment = os.environ | {"PYTHONPYCACHEPREFIX": f"{here.where.folder}.compiled"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)

    def run(source: str) -> float:
        began = time.perf_counter()
        command = [sys.executable, "-W", "ignore", "-c", source]
        subprocess.run(command, check=True, env=environment)
        return time.perf_counter() - began

    def round_(seconds: float) -> list[float]:
        bare = run("pass")
        if here.competitor.imports == "pass":
            return [bare]
        return [max(run(here.competitor.imports) - bare, 1e-6)]

    run(here.competitor.imports)
    yield round_


@contextmanager
def opening(here: Here) -> Iterator[Round]:
    """Open a mapping in a process that has done so before, and read."""
    opened: list[Any] = []

    def call() -> float:
        began = time.perf_counter()
        opened.append(here.competitor.open(here.where))
        opened[-1][COUNT]
        return time.perf_counter() - began

    def round_(seconds: float) -> list[float]:
        end = time.perf_counter() + seconds
        took = [call()]
        while time.perf_counter() < end:
            took.append(call())
        for md in opened:
            if hasattr(md, "close"):
                md.close()
        opened.clear()
        return took

    round_(0)
    yield round_


@contextmanager
def memory(here: Here) -> Iterator[Round]:
    """Tell what Python allocates for a second one that holds the same, for each key."""

    def round_(seconds: float) -> list[float]:
        gc.collect()
        tracemalloc.start()
        before, _ = tracemalloc.get_traced_memory()
        md = here.competitor.open(here.where)
        if here.competitor.name == "dict":
            from benchmarks.works import items

            md.update(items(here.keys))
        md[COUNT]
        gc.collect()
        now, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        if hasattr(md, "close"):
            md.close()
        return [(now - before) / here.keys]

    yield round_


def _imported(competitor: Competitor) -> bool:
    return bool(competitor.imports)


def _opened(competitor: Competitor) -> bool:
    return competitor.shared and not competitor.bare  # there are two at the same time


def _holds(competitor: Competitor) -> bool:
    return competitor.name == "dict" or competitor.replica


STARTING = Topic(
    "starting",
    "Beginning, and memory",
    "Importing is in a new interpreter, less what that takes by itself, which is the row of "
    "`dict`. Opening is in a process that has done so before, with the first value read. Memory is "
    "what Python allocates for a second mapping of the same items, for each key, its value "
    "included.",
    lambda sizes: [
        Case("import", importing, 10, _imported, "ms"),
        *(Case("open and read", opening, keys, _opened, "ms") for keys in (100, 1_000, 10_000)),
        *(Case("memory of a key", memory, keys, _holds, "B") for keys in (1_000, 10_000)),
    ],
)
