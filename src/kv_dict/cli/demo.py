"""`kv-dict demo`: a RunEngine, a second process, an outage and a restart, on one store.

Everything that is printed as a result is one: the scans are run by bluesky with ophyd-async's
simulated devices, the second process and the restarted session are processes, and the server that
is killed is a server.
"""

from __future__ import annotations

import logging
import queue
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, NamedTuple

import bluesky.plans as bp
from bluesky.run_engine import RunEngine
from ophyd_async.core import init_devices
from ophyd_async.sim import SimMotor, SimPointDetector
from rich.console import Console
from rich.syntax import Syntax

from kv_dict.cli.demo_stores import demo_store
from kv_dict.errors import KVDictError
from kv_dict.integrations.bluesky import RunStatus, scan_id_source
from kv_dict.integrations.ophyd_async import kv_signal_rw
from kv_dict.mapping import Change, RemoteKVMapping
from kv_dict.profiles import open_mapping
from kv_dict.testing.servers import ServerProcess

__all__ = ["run"]

SHOWN: Final = ("scan_id", "plan_name", "beamline_id", "operator", "sample")
DEADLINE: Final = 30.0

FIRST_PROCESS: Final = """\
md = open_mapping("{url}", reads="replica")      # a local copy, kept live
RE = RunEngine(md, scan_id_source=scan_id_source) # one counter for all sessions
status = RunStatus(RE)                            # what it does, for every display
energy = kv_signal_rw(float, md, "energy_keV")    # an item as an ophyd-async signal
"""

SECOND_PROCESS: Final = """\
import sys
from kv_dict import open_mapping
from kv_dict.integrations.bluesky import read_status

with open_mapping(sys.argv[1]) as md:
    print("it reads   scan_id", md["scan_id"], "of", md["operator"], "with", md["sample"])
    print("it reads   the RunEngine is", read_status(md))
    md["sample"]["temperature_K"] = 80.0          # one nested field
    md.update(operator="Rosalind", energy_keV=8.3) # two keys, one atomic step
    print("it writes  sample", md["sample"], "operator", md["operator"])
"""


def run(backend: str, path: Path | None) -> None:
    """Run the demonstration, on `path` or on a temporary store that is removed afterwards."""
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"kv-dict {version('kv-dict')}: metadata that lives in a store")
    with demo_store(backend, path) as store:
        _tell(console, store.url, store.server)
    if path is not None:
        console.print(f"The metadata is kept in {path}; run this again and its scan_id goes on.")
    elif backend == "sqlite":
        console.print("The file was temporary and is gone; [bold]--path FILE[/] keeps it.")
    else:
        console.print("The server was temporary and is gone.")


def _tell(console: Console, url: str, server: ServerProcess | None) -> None:
    _step(console, "A RunEngine keeps its metadata in a store")
    _code(console, FIRST_PROCESS.format(url=url))
    with open_mapping(url, reads="replica") as md, _session(md) as session:
        md.update(
            beamline_id="SIM-01",
            operator="Dorothy",
            energy_keV=7.1,
            sample={"name": "Fe2O3", "temperature_K": 300.0},
        )
        _show_run(console, session.scan(), md)

        _step(console, "A second process reads it, and changes it")
        _code(console, SECOND_PROCESS)
        told: queue.SimpleQueue[Change] = queue.SimpleQueue()
        md.subscribe(told.put, initial=False)
        console.print(_subprocess("-c", SECOND_PROCESS, url))
        console.print("\nand the first process is told:")
        seen = 0
        while seen < 3:
            change = told.get(timeout=DEADLINE)
            if change.key in ("operator", "energy_keV", "sample"):
                seen += 1
                console.print(f"  {change.key:12} {change.previous!r} -> {change.value!r}")

        _step(console, "The next run carries it, in its start document and in its events")
        _show_run(console, session.scan(), md)

        if server is not None:
            _step(console, "The server is killed in the middle of a scan")
            _show_outage(console, session, md, server)

    _step(console, "Restart: a new process, a new RunEngine, the same store")
    console.print(_subprocess("-m", "kv_dict.cli.demo", url))
    with open_mapping(url) as md:
        console.print("\nWhat the store holds now:")
        _code(console, "\n".join(f"md[{key!r}] = {value!r}" for key, value in md.items()))


class Run(NamedTuple):
    """What a scan gave: its start and stop documents, and the energy in each event."""

    start: dict[str, Any]
    energies: list[float]
    stop: dict[str, Any]


class Session(NamedTuple):
    """A RunEngine with simulated devices.

    Attributes
    ----------
    scan : callable
        Runs a scan of three points, and calls what it is given after the second one.
    """

    scan: Callable[..., Run]


def _show_outage(
    console: Console, session: Session, md: RemoteKVMapping, server: ServerProcess
) -> None:
    def kill() -> None:
        server.kill()
        _wait(lambda: md.stale_since is not None)
        console.print(
            f"killed; md.stale_since = {md.stale_since:.0f}, reads go on: "
            f"md['sample'] = {md['sample']!r}"
        )

    stop = session.scan(kill).stop
    console.print(
        f"the scan ends with {stop['exit_status']!r}, {stop['num_events']['primary']} events"
    )
    logging.getLogger("bluesky").setLevel(logging.CRITICAL)  # it tells of each plan that fails
    try:
        session.scan()
    except KVDictError as error:
        console.print(f"the next one does not begin: {type(error).__name__}: {error}", markup=False)
    server.start()
    started = time.monotonic()
    _wait(lambda: md.stale_since is None)
    console.print(f"the server is back; all is live {time.monotonic() - started:.1f} s later:")
    _show_run(console, session.scan(), md)


def _wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        if time.monotonic() > deadline:
            raise KVDictError("the demonstration waited in vain")
        time.sleep(0.01)


def _restarted(url: str) -> None:
    """Be the restarted session: one scan, and its start document."""
    with open_mapping(url, reads="replica") as md, _session(md) as session:
        _show_run(Console(highlight=False, soft_wrap=True), session.scan(), md)


@contextmanager
def _session(md: RemoteKVMapping) -> Iterator[Session]:
    """Make a RunEngine with `md`, and simulated devices."""
    engine = RunEngine(md, scan_id_source=scan_id_source)  # type: ignore[arg-type]  # it says dict
    with init_devices():
        motor = SimMotor(instant=True)
        detector = SimPointDetector(None, num_channels=1)
        energy = kv_signal_rw(float, md, "energy_keV", initial=7.1, units="keV", name="energy")

    def scan(in_the_middle: Callable[[], None] = lambda: None) -> Run:
        documents: dict[str, list[dict[str, Any]]] = {}

        def take(name: str, document: dict[str, Any]) -> None:
            documents.setdefault(name, []).append(dict(document))
            if name == "event" and len(documents["event"]) == 2:
                in_the_middle()

        plan = bp.scan([detector, energy], motor, -1, 1, 3)
        engine(plan, take)  # type: ignore[arg-type]  # its types know no plain function
        energies = [event["data"]["energy"] for event in documents["event"]]
        return Run(documents["start"][0], energies, documents["stop"][0])

    with RunStatus(engine):
        yield Session(scan)
    engine.loop.call_soon_threadsafe(engine.loop.stop)  # bluesky leaves its loop running


def _show_run(console: Console, run: Run, md: RemoteKVMapping) -> None:
    console.print("start document of the run:")
    for key in SHOWN:
        console.print(f"  {key:12} {run.start[key]!r}")
    versions = run.start["versions"]
    console.print(f"  {'versions':12} bluesky {versions['bluesky']}, ... as bluesky recorded them")
    plain = {type(run.start[key]).__name__ for key in SHOWN}
    console.print(
        f"  plain data ({', '.join(sorted(plain))}), while RE.md is a {type(md).__name__}"
    )
    console.print(f"energy in its events: {run.energies}")


def _subprocess(*arguments: str) -> str:
    done = subprocess.run(  # noqa: S603 - this very interpreter
        [sys.executable, *arguments], capture_output=True, text=True, timeout=120, check=False
    )
    if done.returncode != 0:
        raise KVDictError(f"a process of the demonstration failed: {done.stderr.strip()[-2000:]}")
    return done.stdout.rstrip()


def _step(console: Console, title: str) -> None:
    console.print(f"\n[bold]* {title}[/]")


def _code(console: Console, code: str) -> None:
    if console.is_terminal:
        console.print(Syntax(code.rstrip(), "python", background_color="default", word_wrap=True))
    else:
        for line in code.rstrip().splitlines():
            console.print(f"    {line}", markup=False)


if __name__ == "__main__":
    _restarted(sys.argv[1])
