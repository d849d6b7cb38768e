"""Plain dict, bluesky's PersistentDict and mappings on local stores, side by side.

::

    python -m benchmarks.core [--rounds 15] [--only SUBSTRING]

The competitors take turns, round by round, so that what else the computer does hits all of them
alike. Each cell is ``median / p99 (x dict)`` in microseconds: the median over the rounds of the
mean of a round, less the cost of the measuring loop; the 99th percentile of single calls; and the
ratio of the medians. Only ratios of one run count.
"""

from __future__ import annotations

import argparse
import asyncio
import copy
import statistics
import subprocess
import sys
import tempfile
import time
from collections import ChainMap
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from kv_dict import Backend, InMemoryAsyncBackend, RemoteKVMapping, SQLiteBackend

COMPETITORS = ("dict", "PersistentDict", "memory", "sqlite", "portal")
ROUNDS = 15
WARM_UP = 2

Operation = Callable[[int], Any]


class AsyncOnlyBackend(Backend):
    """Memory as an asynchronous driver offers it: every call crosses into the loop thread."""

    def __init__(self) -> None:
        self._inner = InMemoryAsyncBackend()

    @property
    def url(self) -> str:  # noqa: D102 - the contract's docstrings hold, here and below
        return self._inner.url

    @property
    def capabilities(self) -> Any:  # noqa: D102
        return self._inner.capabilities

    async def read(self, key: str, *, timeout: float) -> Any:  # noqa: D102
        return await self._inner.read(key, timeout=timeout)

    async def read_tree(self, key: str, separator: str, *, timeout: float) -> Any:  # noqa: D102
        return await self._inner.read_tree(key, separator, timeout=timeout)

    async def snapshot(self, prefix: str, *, timeout: float) -> Any:  # noqa: D102
        return await self._inner.snapshot(prefix, timeout=timeout)

    async def commit(self, operations: Any, *, timeout: float) -> Any:  # noqa: D102
        return await self._inner.commit(operations, timeout=timeout)

    def watch(self, prefix: str) -> Any:  # noqa: D102
        return self._inner.watch(prefix)

    async def ping(self, *, timeout: float) -> None:  # noqa: D102
        await self._inner.ping(timeout=timeout)

    async def close(self) -> None:  # noqa: D102
        await self._inner.close()


def items(count: int) -> dict[str, Any]:
    """Return `count` items as a beamline has them: small strings, numbers, dicts and lists."""
    kinds: tuple[Callable[[int], Any], ...] = (
        lambda i: f"pass-{300000 + i}",
        lambda i: i * 1.5,
        lambda i: {"proposal_id": str(i), "title": "Oxides", "pi_name": "Ada", "type": "GU"},
        lambda i: i,
        lambda i: ["a", "b", i],
    )
    return {f"key{i:03d}": kinds[i % len(kinds)](i) for i in range(count)}


def open_md(name: str, folder: Path) -> Any:
    """Return an empty competitor, or the one whose files are in `folder`."""
    if name == "dict":
        return {}
    if name == "PersistentDict":
        from bluesky.utils import PersistentDict

        return PersistentDict(folder)
    backends: dict[str, Callable[[], Backend]] = {
        "memory": InMemoryAsyncBackend,
        "sqlite": lambda: SQLiteBackend(folder / "md.db"),
        "portal": AsyncOnlyBackend,
    }
    return RemoteKVMapping(backends[name](), "md")


def close_md(md: Any) -> None:
    if isinstance(md, RemoteKVMapping):
        md.close()
    elif not isinstance(md, dict):
        md.flush()
        md._finalizer.detach()  # it would write when the interpreter ends, and the folder is gone


# -- what is measured ------------------------------------------------------------------------------


def get_scalar(md: Any) -> Operation:
    return lambda i: md["key003"]


def get_dict(md: Any) -> Operation:
    return lambda i: md["key002"]


def get_missing(md: Any) -> Operation:
    return lambda i: md.get("missing")


def set_scalar(md: Any) -> Operation:
    return partial(md.__setitem__, "scan_id")


def set_nested(md: Any) -> Operation:
    md["a"] = {"b": 0, "c": "x"}

    def operate(i: int) -> None:
        md["a"]["b"] = i

    return operate


def set_nested_held(md: Any) -> Operation:
    md["a"] = {"b": 0, "c": "x"}
    return partial(md["a"].__setitem__, "b")


def dict_of(md: Any) -> Operation:
    return lambda i: dict(md)


def dict_of_chain(md: Any) -> Operation:
    return lambda i: dict(ChainMap({"plan_name": "count"}, md))


def deepcopy_of(md: Any) -> Operation:
    return lambda i: copy.deepcopy(md)


def update_ten(md: Any) -> Operation:
    names = [f"new{i}" for i in range(10)]
    return lambda i: md.update(dict.fromkeys(names, i))


def increment(md: Any) -> Operation:
    md["counter"] = 0
    if isinstance(md, RemoteKVMapping):
        return lambda i: md.increment("counter")

    def operate(i: int) -> None:
        md["counter"] = md.get("counter", 0) + 1

    return operate


def length(md: Any) -> Operation:
    return lambda i: len(md)


@dataclass
class Case:
    """One row: `prepare` makes the operation, called with a number that is never the same."""

    name: str
    prepare: Callable[[Any], Operation]
    keys: int
    calls: int


CASES = (
    Case("`md[key]`, a number", get_scalar, 10, 300),
    Case("`md[key]`, a small dict", get_dict, 10, 300),
    Case("`md.get(missing)`", get_missing, 10, 300),
    Case("`md[key] = v`", set_scalar, 10, 100),
    Case('`md["a"]["b"] = i`', set_nested, 10, 100),
    Case('`a["b"] = i`, a held', set_nested_held, 10, 100),
    Case("`md.update`, 10 keys", update_ten, 10, 50),
    Case("`md.increment`", increment, 10, 100),
    Case("`len(md)`, 10 keys", length, 10, 200),
    Case("`len(md)`, 100 keys", length, 100, 50),
    Case("`dict(md)`, 10 keys", dict_of, 10, 200),
    Case("`dict(md)`, 100 keys", dict_of, 100, 50),
    Case("`dict(ChainMap(md))`, 10 keys", dict_of_chain, 10, 100),
    Case("`dict(ChainMap(md))`, 100 keys", dict_of_chain, 100, 20),
    Case("`deepcopy(md)`, 100 keys", deepcopy_of, 100, 20),
)


@dataclass
class Times:
    """Seconds: the mean call of each round, and single calls."""

    rounds: list[float] = field(default_factory=list)
    single: list[float] = field(default_factory=list)

    def median(self) -> float:
        """Return the median over the rounds."""
        return max(statistics.median(self.rounds), 1e-9)

    def p99(self) -> float:
        """Return the 99th percentile of single calls."""
        ordered = sorted(self.single or self.rounds)
        return ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]


def _loop(operate: Operation, numbers: range) -> float:
    began = time.perf_counter()
    for i in numbers:
        operate(i)
    return time.perf_counter() - began


def _each(operate: Operation, numbers: range) -> Iterator[float]:
    clock = time.perf_counter
    for i in numbers:
        began = clock()
        operate(i)
        yield clock() - began


def measure(case: Case, rounds: int, folder: Path) -> dict[str, Times]:
    """Return the times of every competitor."""
    mds = {}
    for name in COMPETITORS:
        place = folder / f"{abs(hash(case.name))}-{name}"
        place.mkdir()
        mds[name] = open_md(name, place)
        mds[name].update(items(case.keys))
    operations = {name: case.prepare(md) for name, md in mds.items()}
    times = {name: Times() for name in COMPETITORS}
    for turn in range(-WARM_UP, rounds):
        numbers = range((turn + WARM_UP) * 2 * case.calls, ((turn + WARM_UP) * 2 + 1) * case.calls)
        again = range(numbers.stop, numbers.stop + case.calls)
        nothing = _loop(lambda i: None, numbers)
        for name, operate in operations.items():
            whole = max(_loop(operate, numbers) - nothing, 0.0) / case.calls
            single = list(_each(operate, again))
            if turn >= 0:
                times[name].rounds.append(whole)
                times[name].single.extend(single)
    for md in mds.values():
        close_md(md)
    return times


# -- a RunEngine -----------------------------------------------------------------------------------


def measure_runs(keys: int, rounds: int, folder: Path) -> dict[str, Times]:
    """Return the times of one ``open_run`` and ``close_run``."""
    from bluesky import Msg, RunEngine

    def plan(times: list[float]) -> Iterator[Any]:
        for _ in range(5):
            began = time.perf_counter()
            yield Msg("open_run")
            yield Msg("close_run")
            times.append(time.perf_counter() - began)

    engines = {}
    for name in COMPETITORS:
        place = folder / f"runs-{keys}-{name}"
        place.mkdir()
        md = open_md(name, place)
        md.update(items(keys))
        engines[name] = RunEngine(md, loop=asyncio.new_event_loop())
    times = {name: Times() for name in COMPETITORS}
    for turn in range(-WARM_UP, rounds):
        for name, engine in engines.items():
            single: list[float] = []
            engine(plan(single))
            if turn >= 0:
                times[name].rounds.append(statistics.fmean(single))
                times[name].single.extend(single)
    for engine in engines.values():
        engine.loop.call_soon_threadsafe(engine.loop.stop)
        engine._th.join()
        engine.loop.close()
        close_md(engine.md)
    return times


# -- beginning -------------------------------------------------------------------------------------


def measure_opening(keys: int, rounds: int, folder: Path) -> dict[str, Times]:
    """Return the times from nothing to the first value read, of a store that is there."""
    names = [name for name in COMPETITORS if name in ("PersistentDict", "sqlite")]
    for name in names:
        (folder / f"open-{keys}-{name}").mkdir()
        md = open_md(name, folder / f"open-{keys}-{name}")
        md.update(items(keys))
        close_md(md)
    times = {name: Times() for name in names}
    for _ in range(rounds):
        for name in names:
            began = time.perf_counter()
            md = open_md(name, folder / f"open-{keys}-{name}")
            md["key000"]
            times[name].rounds.append(time.perf_counter() - began)
            close_md(md)
    return times


IMPORTS = {
    "bare interpreter": "pass",
    "import kv_dict": "import kv_dict",
    "... and SQLiteBackend": "from kv_dict import SQLiteBackend",
    "... and open_mapping(sqlite)": (
        "from kv_dict import open_mapping; open_mapping('sqlite:' + __import__('sys').argv[1])"
    ),
}


def measure_imports(rounds: int, folder: Path) -> dict[str, Times]:
    """Return the times of fresh interpreters that do a little and end."""
    times = {name: Times() for name in IMPORTS}
    for _ in range(rounds):
        for name, source in IMPORTS.items():
            command = [sys.executable, "-W", "ignore", "-c", source, str(folder / "import.db")]
            began = time.perf_counter()
            subprocess.run(command, check=True)
            times[name].rounds.append(time.perf_counter() - began)
    return times


# -- the tables ------------------------------------------------------------------------------------


def _number(seconds: float) -> str:
    microseconds = seconds * 1e6
    return f"{microseconds:,.0f}" if microseconds >= 100 else f"{microseconds:.2g}"


def _ratio(ratio: float) -> str:
    return f"{ratio:.0f}" if ratio >= 10 else f"{ratio:.2f}"


def _row(name: str, times: dict[str, Times]) -> str:
    cells = []
    for competitor in COMPETITORS:
        if competitor not in times:
            cells.append("")
            continue
        this = times[competitor]
        cell = f"{_number(this.median())} / {_number(this.p99())}"
        if "dict" in times and competitor != "dict":
            cell += f" ({_ratio(this.median() / times['dict'].median())} x)"
        cells.append(cell)
    return f"| {name} | " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--only", default="", help="rows whose name contains this")
    options = parser.parse_args()
    rows: list[tuple[str, Callable[[Path], dict[str, Times]]]] = [
        (case.name, partial(measure, case, options.rounds)) for case in CASES
    ]
    for keys in (10, 100):
        rows.append(
            (f"one RunEngine run, {keys} keys", partial(measure_runs, keys, options.rounds))
        )
    rows.append(("open and read, 100 keys", partial(measure_opening, 100, options.rounds)))

    print("| us, median / p99 | " + " | ".join(COMPETITORS) + " |")
    print("|---" * (len(COMPETITORS) + 1) + "|")
    with tempfile.TemporaryDirectory(prefix="kv-dict-benchmark-") as name:
        folder = Path(name)
        for title, work in rows:
            if options.only in title:
                print(_row(title, work(folder)), flush=True)
        if options.only not in "import":
            return
        imports = measure_imports(options.rounds, folder)
    bare = imports["bare interpreter"].median()
    print("\n| fresh interpreter | ms beyond a bare one |\n|---|---|")
    for title, times in imports.items():
        beyond = times.median() - (0 if title == "bare interpreter" else bare)
        print(f"| {title} | {beyond * 1e3:.1f} |")


if __name__ == "__main__":
    main()
