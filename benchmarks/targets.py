"""What was promised, and whether it is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from benchmarks.competitors import BARE
from benchmarks.results import Estimate, Results, estimate
from benchmarks.topics.showing import CHANGING, MANY, RATE

SERVERS = ("redis", "postgres", "nats")
STORES = REPLICAS = ("sqlite", *SERVERS)
PERSISTENT = [f"kv_dict {store}{reads}" for store in STORES for reads in ("", " replica")]
PEER = "redis-json-dict"
READ, WRITE = "md[key], a number", "md[key] = v"

ONCE = 1.5
"""Round trips: it cannot be two. What is done beside waiting counts too."""
SAME = 1.5
"""Of two cases that should take as long, in the noise of a computer that does other things."""

Find = Callable[[Results], Estimate | None]


@dataclass(frozen=True)
class Target:
    """A promise: `find` in the results is at most, or at least, `limit`.

    Attributes
    ----------
    group : str
        Which promises it belongs to.
    text : str
        What is promised.
    at_least : bool
        Otherwise at most.
    unit : str
        ``"x"`` for a ratio.
    """

    group: str
    text: str
    find: Find
    limit: float
    at_least: bool = False
    unit: str = "x"

    def row(self, results: Results) -> str | None:
        """Return the row of a table; None if it was not measured."""
        found = self.find(results)
        if found is None:
            return None
        sign = "≥" if self.at_least else "≤"
        unit = " x" if self.unit == "x" else f" {self.unit}"
        return (
            f"| {self.group} | {self.text} | {sign} {self.limit:g}{unit} "
            f"| {_short(found.value)} ({_short(found.low)} to {_short(found.high)}) "
            f"| {self.verdict(found)} |"
        )

    def verdict(self, found: Estimate) -> str:
        """Return whether it is kept, by how much, and whether the interval leaves that open."""
        share = found.value / self.limit
        met = share >= 1 if self.at_least else share <= 1
        by = share if self.at_least == met else 1 / share
        open_ = found.low < self.limit < found.high
        return (
            f"{'met' if met else '**not met**'}, by {by:.2g} x{', in the noise' if open_ else ''}"
        )


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def figure(topic: str, case: str, keys: int, name: str, scale: float) -> Find:
    """Return what finds a median and its interval, in a unit of ``1 / scale``."""

    def find(results: Results) -> Estimate | None:
        measured = results.find(topic, case, keys)
        if measured is None or name not in measured.series:
            return None
        return estimate([one * scale for one in measured.series[name].rounds.values()])

    return find


def tail(topic: str, case: str, keys: int, name: str, scale: float) -> Find:
    """Return what finds the 99th percentile of all calls, in a unit of ``1 / scale``."""

    def find(results: Results) -> Estimate | None:
        measured = results.find(topic, case, keys)
        if measured is None or name not in measured.series:
            return None
        late = measured.series[name].p99 * scale
        return Estimate(late, late, late)

    return find


def ratio(topic: str, case: str, keys: int, name: str, over: str) -> Find:
    """Return what finds the ratio of two competitors' times."""

    def find(results: Results) -> Estimate | None:
        measured = results.find(topic, case, keys)
        if measured is None or not {name, over} <= measured.series.keys():
            return None
        return measured.series[name].over(measured.series[over])

    return find


def against(name: str, one: tuple[str, str, int], other: tuple[str, str, int]) -> Find:
    """Return what finds the ratio of the times of the same competitor in two cases."""

    def find(results: Results) -> Estimate | None:
        above, below = figure(*one, name, 1)(results), figure(*other, name, 1)(results)
        if above is None or below is None:
            return None
        return Estimate(above.value / below.value, above.low / below.high, above.high / below.low)

    return find


def _replicas() -> Iterator[Target]:
    group = "1 replica"
    for store in REPLICAS:
        name = f"kv_dict {store} replica"
        read = figure("dict", READ, 100, name, 1e6)
        reads = ratio("dict", READ, 100, PEER, name)
        copies = ratio("dict", "dict(md)", 100, PEER, name)
        runs = ratio("runs", "open_run, close_run", 100, name, "dict")
        yield Target(group, f"{store}: `md[key]`", read, 2.5, unit="us")
        yield Target(group, f"{store}: {PEER}'s `md[key]`", reads, 20, at_least=True)
        yield Target(group, f"{store}: {PEER}'s `dict(md)`, 100 keys", copies, 30, at_least=True)
        yield Target(group, f"{store}: a run, over that with a dict, 100 keys", runs, 1.25)


def _reads() -> Iterator[Target]:
    group = "2 reads"
    floors = (("redis", PEER, 1.1), ("postgres", "asyncpg", 1.3), ("nats", "nats-py", 1.3))
    for store, floor, limit in floors:
        found = ratio("dict", READ, 100, f"kv_dict {store}", floor)
        yield Target(group, f"{store}: `md[key]`, over {floor}'s", found, limit)
    for store in SERVERS:
        name = f"kv_dict {store}"
        copies = ratio("dict", "dict(md)", 100, PEER, name)
        asks = figure("far", "dict(md)", 100, name, 1)
        yield Target(group, f"{store}: {PEER}'s `dict(md)`, 100 keys", copies, 10, at_least=True)
        yield Target(group, f"{store}: `dict(md)` asks", asks, ONCE, unit="times")
    for store in STORES:
        for case in (READ, WRITE, "dict(md)", "len(md)"):
            found = against(f"kv_dict {store}", ("foreign", case, 10), ("dict", case, 10))
            text = f"{store}: `{case}` beside 100,000 foreign keys, over without"
            yield Target(group, text, found, SAME)
    found = ratio("foreign", "len(md)", 10, PEER, "kv_dict redis")
    text = f"redis: {PEER}'s `len(md)` beside 100,000 foreign keys"
    yield Target(group, text, found, 10, at_least=True)


def _writes() -> Iterator[Target]:
    group = "3 writes"
    for store in STORES:
        name, floor = f"kv_dict {store}", BARE[store]
        found = ratio("dict", WRITE, 100, name, floor)
        yield Target(group, f"{store}: `{WRITE}`, over {floor}'s", found, 1.25)
        if store not in SERVERS:
            continue
        for case, keys in (
            ("held[part] = v", 100),
            ("md.update, 10 keys", 100),
            ("md.update, 1,000 keys", 1_000),
        ):
            asks = figure("far", case, keys, name, 1)
            yield Target(group, f"{store}: `{case}` asks", asks, ONCE, unit="times")


def _changes() -> Iterator[Target]:
    for store in SERVERS:
        found = ratio("following", "to a callback", 10, f"kv_dict {store} replica", BARE[store])
        yield Target("4 changes", f"{store}: to a callback, over {BARE[store]}'s", found, 1.5)


def _beginning() -> Iterator[Target]:
    group = "5 beginning"
    imports = figure("starting", "import", 10, "kv_dict memory", 1e3)
    yield Target(group, "`import kv_dict`, beyond the interpreter", imports, 40, unit="ms")
    for name in PERSISTENT:
        opened = figure("starting", "open and read", 100, name, 1e3)
        yield Target(group, f"{name}: open and read, 100 keys", opened, 15, unit="ms")


def _showing() -> Iterator[Target]:
    group = "6 dashboard"
    for store in REPLICAS:
        name = f"kv_dict {store} replica"
        late = tail("showing", f"to {MANY} browsers", CHANGING, name, 1e3)
        text = f"{store}: to {MANY} browsers at {RATE} changes a second, 99th percentile"
        yield Target(group, text, late, 150, unit="ms")
        used = figure("showing", f"processor, {MANY} browsers", CHANGING, name, 100)
        yield Target(group, f"{store}: of one processor, meanwhile", used, 100, unit="%")


def _growth() -> Iterator[Target]:
    group = "7 growth"
    for name in PERSISTENT:
        for case in (READ, WRITE):
            found = against(name, ("dict", case, 1_000), ("dict", case, 10))
            yield Target(group, f"{name}: `{case}` at 1,000 keys, over at 10", found, SAME)
    for store in SERVERS:
        name = f"kv_dict {store} replica"
        late = figure("following", "to catch up after an outage", 10_000, name, 1)
        yield Target(group, f"{store}: to catch up, 10,000 keys", late, 1, unit="s")
    for store in REPLICAS:
        size = figure("starting", "memory of a key", 10_000, f"kv_dict {store} replica", 1)
        yield Target(group, f"{store}: memory of a key, with its value", size, 1_500, unit="B")


TARGETS = (
    *_replicas(), *_reads(), *_writes(), *_changes(), *_beginning(), *_showing(), *_growth(),
)  # fmt: skip
