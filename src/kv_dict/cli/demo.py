"""`kv-dict demo`: a RunEngine, a second process and a restart, on one file.

Everything that is printed as a result is one: the scans are run by bluesky with ophyd-async's
simulated devices, and the second process and the restarted session are processes.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import bluesky.plans as bp
from bluesky.run_engine import RunEngine
from ophyd_async.core import init_devices
from ophyd_async.sim import SimMotor, SimPointDetector
from rich.console import Console
from rich.syntax import Syntax

from kv_dict.backends.sqlite import SQLiteBackend
from kv_dict.errors import KVDictError
from kv_dict.mapping import RemoteKVMapping
from kv_dict.profiles import open_mapping

__all__ = ["run"]

SHOWN: Final = ("scan_id", "plan_name", "beamline_id", "operator", "sample")

SECOND_PROCESS: Final = """\
import sys
from kv_dict import open_mapping

with open_mapping(sys.argv[1]) as md:
    print("it reads   scan_id", md["scan_id"], "of", md["operator"], "with", md["sample"])
    md["sample"]["temperature_K"] = 80.0          # one nested field
    md.update(operator="Rosalind", shift="night") # two keys, one atomic step
    print("it writes  sample", md["sample"], "operator", md["operator"])
"""


def run(path: Path | None) -> None:
    """Run the demonstration, on `path` or on a temporary file that is removed afterwards."""
    console = Console(highlight=False, soft_wrap=True)
    if path is not None:
        _tell(console, path.absolute())
        console.print(f"The metadata is kept in {path}; run this again and its scan_id goes on.")
        return
    with tempfile.TemporaryDirectory(prefix="kv-dict-demo-") as folder:
        _tell(console, Path(folder) / "metadata.db")
    console.print("The file was temporary and is gone; [bold]--path FILE[/] keeps it.")


def _tell(console: Console, path: Path) -> None:
    url = SQLiteBackend(path).url

    _step(console, 1, "A RunEngine keeps its metadata in a store")
    _code(console, f'RE = RunEngine(open_mapping("{url}"))')
    with open_mapping(url) as md, _session(md) as scan:
        md.update(
            beamline_id="SIM-01",
            operator="Dorothy",
            sample={"name": "Fe2O3", "temperature_K": 300.0},
        )
        _show_start(console, scan(), md)

        _step(console, 2, "A second process reads it, and changes it")
        _code(console, SECOND_PROCESS)
        console.print(_subprocess("-c", SECOND_PROCESS, url))

        _step(console, 3, "The RunEngine of the first process sees that at once")
        _show_start(console, scan(), md)

    _step(console, 4, "Restart: a new process, a new RunEngine, the same file")
    console.print(_subprocess("-m", "kv_dict.cli.demo", url))
    with open_mapping(url) as md:
        console.print("\nWhat the file holds now:")
        _code(console, "\n".join(f"md[{key!r}] = {value!r}" for key, value in md.items()))


def _restarted(url: str) -> None:
    """Be the restarted session: one scan, and its start document."""
    with open_mapping(url) as md, _session(md) as scan:
        _show_start(Console(highlight=False, soft_wrap=True), scan(), md)


@contextmanager
def _session(md: RemoteKVMapping) -> Iterator[Any]:
    """Make a RunEngine with `md`, and yield a function that runs a scan and returns its start."""
    engine = RunEngine(md)  # type: ignore[arg-type]  # it says dict, and means a mapping
    starts: list[dict[str, Any]] = []
    engine.subscribe(  # type: ignore[no-untyped-call]
        lambda _, document: starts.append(dict(document)), "start"
    )
    with init_devices():
        motor = SimMotor(instant=True)
        detector = SimPointDetector(None, num_channels=1)

    def scan() -> dict[str, Any]:
        engine(bp.scan([detector], motor, -1, 1, 3))
        return starts[-1]

    try:
        yield scan
    finally:
        engine.loop.call_soon_threadsafe(engine.loop.stop)  # bluesky leaves its loop running


def _show_start(console: Console, start: dict[str, Any], md: RemoteKVMapping) -> None:
    console.print("start document of the run:")
    for key in SHOWN:
        console.print(f"  {key:12} {start[key]!r}")
    versions = start["versions"]
    console.print(f"  {'versions':12} bluesky {versions['bluesky']}, ... as bluesky recorded them")
    plain = {type(start[key]).__name__ for key in SHOWN}
    console.print(
        f"  plain data ({', '.join(sorted(plain))}), while RE.md is a {type(md).__name__}"
    )


def _subprocess(*arguments: str) -> str:
    done = subprocess.run(  # noqa: S603 - this very interpreter
        [sys.executable, *arguments], capture_output=True, text=True, timeout=120, check=False
    )
    if done.returncode != 0:
        raise KVDictError(f"a process of the demonstration failed: {done.stderr.strip()[-2000:]}")
    return done.stdout.rstrip()


def _step(console: Console, number: int, title: str) -> None:
    if number == 1:
        console.print(f"kv-dict {version('kv-dict')}: metadata that lives in a store\n")
    else:
        console.print()
    console.print(f"[bold]{number}. {title}[/]")


def _code(console: Console, code: str) -> None:
    if console.is_terminal:
        console.print(Syntax(code.rstrip(), "python", background_color="default", word_wrap=True))
    else:
        for line in code.rstrip().splitlines():
            console.print(f"    {line}", markup=False)


if __name__ == "__main__":
    _restarted(sys.argv[1])
