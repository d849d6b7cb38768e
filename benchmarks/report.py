"""Results for people: Markdown, and plots of how times grow."""

from __future__ import annotations

import math
import os
import platform
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from benchmarks.measuring import Effort
from benchmarks.results import Estimate, Measured, Results, Series, estimate
from benchmarks.targets import TARGETS
from benchmarks.topics import TOPICS

UNITS = {
    "us": (1e6, "microseconds"),
    "ms": (1e3, "milliseconds"),
    "B": (1, "bytes"),
    "MB": (1e-6, "megabytes"),
    "%": (100, "percent of a processor"),
    "round trips": (1, "round trips"),
}
"""By what to multiply, and how to say it."""
PACKAGES = ("redis", "asyncpg", "nats-py", "redis-json-dict", "bluesky")
GROWING = ("md[key], a number", "md[key] = v", "held[part] = v", "dict(md)", "len(md)")
KNEE = 1.5
ABOUT = (
    "A cell is the median of the rounds / the 99th percentile of single calls (the ratio to the "
    "row that it names: its 95 % interval). Ratios are of the same round, and are what counts."
)


def machine() -> dict[str, str]:
    """Return what the figures are of."""
    processor = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists() and (found := re.search(r"model name\s*: (.*)", cpuinfo.read_text())):
        processor = found[1]
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": f"{processor}, {os.cpu_count()} cores",
        "packages": ", ".join(f"{name} {version(name)}" for name in PACKAGES),
    }


def markdown(results: Results, effort: Effort) -> str:
    """Return everything as tables."""
    lines = ["# kv-dict, measured beside others", ""]
    lines += [f"- {name}: {value}" for name, value in machine().items()]
    lines += [
        "",
        f"At most {effort.rounds} rounds, in each of which everybody has a turn. {ABOUT}",
        "",
        "## Targets",
        "",
        "| | | promised | measured (95 %) | |",
        "|---|---|---|---|---|",
        *filter(None, (target.row(results) for target in TARGETS)),
    ]
    for topic in TOPICS:
        mine = [measured for measured in results if measured.topic == topic.name]
        if mine:
            lines += ["", f"## {topic.title}", "", topic.about]
            for name in dict.fromkeys(measured.name for measured in mine):
                lines += ["", *_table([one for one in mine if one.name == name])]
    lines += ["", "## Growth", "", *_knees(results), ""]
    return "\n".join(lines)


def _table(cases: list[Measured]) -> Iterator[str]:
    unit = cases[0].unit
    yield f"### `{cases[0].name}`"
    yield ""
    yield f"| {UNITS[unit][1]} | " + " | ".join(f"{case.keys:,} keys" for case in cases) + " |"
    yield "|---" * (len(cases) + 1) + "|"
    for name in dict.fromkeys(name for case in cases for name in case.series):
        yield f"| {name} | " + " | ".join(_cell(case, name) for case in cases) + " |"


def _cell(case: Measured, name: str) -> str:
    series = case.series.get(name, Series())
    if not series.rounds:
        return series.error.replace("|", "/")
    scale, _ = UNITS[case.unit]
    text = number(series.median * scale)
    if not math.isnan(series.p99):
        text += f" / {number(series.p99 * scale)}"
    if case.unit != "round trips" and (ratio := case.ratio(name)) is not None:
        low, high = number(ratio.low), number(ratio.high)
        text += f" ({number(ratio.value)} x {series.floor}: {low} to {high})"
    return f"{text} {series.error}".strip()


def number(value: float) -> str:
    """Return three digits of a number."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _growth(results: Results, case: str) -> dict[str, list[tuple[int, Estimate]]]:
    """Return keys and seconds, by competitor."""
    points: dict[str, list[tuple[int, Estimate]]] = {}
    for measured in results:
        if (measured.topic, measured.name) == ("dict", case):
            for name, series in measured.series.items():
                if (took := estimate(list(series.rounds.values()))) is not None:
                    points.setdefault(name, []).append((measured.keys, took))
    return points


def _knees(results: Results) -> Iterator[str]:
    """Tell from how many keys on a call that should not depend on them takes longer."""
    yield (
        f"The first number of keys at which a call takes over {KNEE:g} times as long as with the "
        "fewest, all of its interval:"
    )
    yield ""
    found = {case: points for case in GROWING[:3] if (points := _growth(results, case))}
    yield "| | " + " | ".join(f"`{case}`" for case in found) + " |"
    yield "|---" * (len(found) + 1) + "|"
    for name in dict.fromkeys(name for points in found.values() for name in points):
        knees = [_knee(points.get(name, [])) for points in found.values()]
        yield f"| {name} | " + " | ".join(knees) + " |"


def _knee(points: list[tuple[int, Estimate]]) -> str:
    if len(points) < 2:
        return ""
    first = points[0][1]
    for keys, took in points[1:]:
        if took.low > KNEE * first.high:
            return f"{keys:,} ({took.value / first.value:.1f} x)"
    return f"none up to {points[-1][0]:,}"


def plot(results: Results, file: Path) -> bool:
    """Draw how times grow with the number of keys; False if only one number was measured."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    growth = {case: _growth(results, case) for case in GROWING}
    growth = {
        case: points
        for case, points in growth.items()
        if any(len(line) > 1 for line in points.values())
    }
    if not growth:
        return False
    names = list(dict.fromkeys(name for points in growth.values() for name in points))
    colours = dict(zip(names, colormaps["tab20"].colors * 2, strict=False))
    figure = Figure(figsize=(4.2 * len(growth), 5.5))
    axes = figure.subplots(1, len(growth), sharey=True, squeeze=False)
    for panel, (case, points) in zip(axes[0], growth.items(), strict=True):
        for name, line in points.items():
            ours = name.startswith("kv_dict ")
            panel.plot(
                [keys for keys, _ in line],
                [took.value * 1e6 for _, took in line],
                marker="." if ours else "x",
                linestyle="-" if ours else ":",
                color=colours[name],
                label=name,
            )
        panel.set(xscale="log", yscale="log", title=case, xlabel="keys")
        panel.grid(alpha=0.3)
    axes[0][0].set_ylabel("microseconds, median")
    lines = {line.get_label(): line for panel in axes[0] for line in panel.get_lines()}
    figure.legend(lines.values(), lines.keys(), loc="lower center", ncols=5, fontsize="small")
    figure.tight_layout(rect=(0, 0.17, 1, 1))
    figure.savefig(file, dpi=110)
    return True
