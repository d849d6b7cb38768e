"""Beginning, and what it takes to hold the items."""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
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


COLLECTION = Path(__file__).parents[2] / "profile_collection"
CLI = ("-c", "from kv_dict.cli import main; main()")
IPYTHON = ("-m", "IPython", "--no-banner", "--colors=nocolor")


def _program(here: Here, bare: Sequence[str], ours: Sequence[str]) -> Iterator[Round]:
    """Measure a command of Python until it ended: `bare` is the row of `dict`."""
    home = Path(here.where.folder)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("KV_DICT_", "XDG_"))}
    environment = kept | {"HOME": str(home), "IPYTHONDIR": str(home / "ipython")}

    def round_(seconds: float) -> list[float]:
        began = time.perf_counter()
        subprocess.run(
            [sys.executable, *(bare if here.competitor.name == "dict" else ours)],
            check=True,
            cwd=home,
            env=environment,
            capture_output=True,
        )
        return [time.perf_counter() - began]

    round_(0)  # makes what is kept: compiled files, matplotlib's list of fonts
    yield round_


@contextmanager
def version(here: Here) -> Iterator[Round]:
    """Until `kv-dict --version` ended, beside a Python that does nothing."""
    yield from _program(here, ("-c", ""), (*CLI, "--version"))


@contextmanager
def usage(here: Here) -> Iterator[Round]:
    """Until `kv-dict --help` ended, beside a Python that does nothing."""
    yield from _program(here, ("-c", ""), (*CLI, "--help"))


@contextmanager
def ipython(here: Here) -> Iterator[Round]:
    """Until an IPython with the extension had its prompt, beside one without."""
    yield from _program(here, (*IPYTHON, "-c", "1"), (*IPYTHON, "--ext=kv_dict", "-c", "1"))


@contextmanager
def collection(here: Here) -> Iterator[Round]:
    """Until the profile collection had its prompt, beside importing what it needs anyway."""
    shutil.copytree(COLLECTION, Path(here.where.folder) / "collection", dirs_exist_ok=True)
    needed = ("-c", "import bluesky, ophyd, ophyd_async.sim")
    yield from _program(here, needed, (*IPYTHON, "--profile-dir=collection", "-c", "1"))


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


def _started(competitor: Competitor) -> bool:
    return competitor.name in ("dict", "kv_dict memory")


def _opened(competitor: Competitor) -> bool:
    return competitor.shared and not competitor.bare  # there are two at the same time


def _holds(competitor: Competitor) -> bool:
    return competitor.name == "dict" or competitor.replica


STARTING = Topic(
    "starting",
    "Beginning, and memory",
    "Importing is in a new interpreter, less what that takes by itself, which is the row of "
    "`dict`. Programs are started anew too; there `dict` is Python, IPython, or the packages that "
    "the profile collection needs. Opening is in a process that has done so before, with the first "
    "value read. Memory is what Python allocates for a second mapping of the same items, for each "
    "key, its value included.",
    lambda sizes: [
        Case("import", importing, 10, _imported, "ms"),
        Case("kv-dict --version", version, 10, _started, "ms", over="dict"),
        Case("kv-dict --help", usage, 10, _started, "ms", over="dict"),
        Case("ipython --ext=kv_dict", ipython, 10, _started, "ms", over="dict"),
        Case("the profile collection", collection, 10, _started, "ms", over="dict"),
        *(Case("open and read", opening, keys, _opened, "ms") for keys in (100, 1_000, 10_000)),
        *(Case("memory of a key", memory, keys, _holds, "B") for keys in (1_000, 10_000)),
    ],
)
