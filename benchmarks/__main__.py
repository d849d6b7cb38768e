"""The command."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import benchmarks
from benchmarks.competitors import COMPETITORS
from benchmarks.measuring import QUICK, Effort, measure
from benchmarks.report import machine, markdown, plot
from benchmarks.results import Results
from benchmarks.topics import TOPICS

OUTPUT = Path(__file__).with_name("output")


def main(arguments: Sequence[str] | None = None) -> Results:
    """Measure, print, save, and return the results."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=(benchmarks.__doc__ or "").partition("\n")[0],
        epilog="topics: " + ", ".join(topic.name for topic in TOPICS)
        + "; competitors: " + ", ".join(COMPETITORS),
    )  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="minutes, fewer keys, wider intervals")
    parser.add_argument(
        "--only", action="append", default=[], metavar="TEXT",
        help='cases with this in "topic: case"; may be repeated',
    )  # fmt: skip
    parser.add_argument(
        "--competitors", metavar="NAMES", help="a list with commas; all if it is not given"
    )
    parser.add_argument("--rounds", type=int, metavar="N", help="at most so many")
    parser.add_argument("--sizes", metavar="N,N", help="numbers of keys")
    parser.add_argument(
        "--output", type=Path, default=OUTPUT, metavar="FOLDER",
        help="where results.json, results.md and growth.png go",
    )  # fmt: skip
    parser.add_argument(
        "--data", type=Path, metavar="FOLDER",
        help="where stores are: in /dev/shm the disk, which is the same for all, is left out",
    )  # fmt: skip
    options = parser.parse_args(arguments)
    effort = _effort(parser, options)
    names = [name.strip() for name in options.competitors.split(",")] if options.competitors else []
    if unknown := set(names) - COMPETITORS.keys():
        parser.error(
            f"no competitor: {', '.join(sorted(unknown))}; there are {', '.join(COMPETITORS)}"
        )
    competitors = [one for name, one in COMPETITORS.items() if not names or name in names]

    def tell(text: str) -> None:
        print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)

    results = Results()
    for topic in TOPICS:
        cases = [
            case
            for case in topic.cases(effort.sizes)
            if not options.only
            or any(text in f"{topic.name}: {case.name}" for text in options.only)
        ]
        if cases:
            results += measure(topic, cases, competitors, effort, options.data, tell)
            save(results, effort, options.output)  # what follows takes its time
    if not results:
        parser.error(f"no case has {' or '.join(map(repr, options.only))} in its name")
    print(markdown(results, effort))
    tell(f"saved in {options.output}")
    return results


def _effort(parser: argparse.ArgumentParser, options: argparse.Namespace) -> Effort:
    effort = QUICK if options.quick else Effort()
    if options.rounds is not None:
        if options.rounds < 1:
            parser.error(f"--rounds must be 1 or more, not {options.rounds}")
        effort = dataclasses.replace(effort, rounds=options.rounds)
    if options.sizes:
        try:
            sizes = tuple(sorted(int(size) for size in options.sizes.split(",")))
        except ValueError:
            parser.error(f"--sizes must be numbers with commas, not {options.sizes!r}")
        if sizes[0] < 10:
            parser.error("--sizes must be 10 or more: there are items of each kind")
        effort = dataclasses.replace(effort, sizes=sizes)
    return effort


def save(results: Results, effort: Effort, folder: Path) -> None:
    """Keep the tables, the plot and all figures in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.md").write_text(markdown(results, effort))
    everything = {
        "machine": machine(),
        "effort": dataclasses.asdict(effort),
        "results": [measured.as_json() for measured in results],
    }
    (folder / "results.json").write_text(json.dumps(everything, indent=1))
    plot(results, folder / "growth.png")


if __name__ == "__main__":
    main()
