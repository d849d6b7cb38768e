"""`kv-dict demo --dashboard`: a simulated beamline that works on, seen in a browser.

The RunEngine writes to a store, the dashboard follows the store, the browser follows the dashboard:
nothing else connects them.
"""

from __future__ import annotations

import logging
import math
import os
import signal
import sys
import threading
import time
import webbrowser
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count, cycle
from pathlib import Path
from typing import Any, Final, NamedTuple

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
from bluesky.run_engine import RunEngine
from bluesky.utils import FailedStatus, Msg, RunEngineInterrupted
from ophyd_async.core import init_devices
from ophyd_async.sim import SimPointDetector
from rich.console import Console

from kv_dict.cli.demo_stores import demo_store
from kv_dict.coordination import Baton, Presence
from kv_dict.dashboard import Dashboard, Layout, Source
from kv_dict.errors import KVDictError
from kv_dict.integrations.bluesky import RunStatus, scan_id_source
from kv_dict.integrations.ophyd_async import kv_signal_rw
from kv_dict.mapping import RemoteKVMapping
from kv_dict.profiles import open_mapping

__all__ = ["LAYOUT", "run"]

LAYOUT: Final = Layout.from_dict(
    {
        "title": "Simulated beamline",
        "tiles": [
            {"key": "sample", "label": "Sample", "detail": "sample/environment"},
            {"key": "energy_keV", "label": "Energy", "unit": "keV", "digits": 4},
            {
                "key": "beam_current_mA",
                "label": "Beam current",
                "unit": "mA",
                "digits": 1,
                "max_age": 10,
                "rules": [{"below": 280, "state": "warn", "text": "top-up soon"}],
            },
            {
                "key": "shutter",
                "label": "Shutter",
                "rules": [
                    {"equals": "open", "state": "ok"},
                    {"equals": "closed", "state": "off"},
                ],
            },
            {
                "key": "proposal",
                "path": "title",
                "label": "Proposal",
                "detail": "proposal/pi_name",
                "size": 2,
            },
            {"key": "data_session", "label": "Data session", "detail": "cycle"},
            {"key": "operator", "label": "User"},
        ],
    }
)


class Sample(NamedTuple):
    """What is measured, and around which energy in keV."""

    name: str
    environment: str
    edge: float


SAMPLES: Final = (
    Sample("Fe\u2082O\u2083", "in air, 295 K", 7.112),
    Sample("CoO", "cryostat, 80 K", 7.709),
    Sample("NiFe\u2082O\u2084", "cryostat, 150 K", 8.333),
)
POINTS: Final = 41
EXPOSURE: Final = 0.25
"""Seconds for each point."""

BETWEEN: Final = 3.0
"""Seconds between two scans."""

PATIENCE: Final = 3.0
"""Seconds after Ctrl-C from which on a second one is heard."""


def run(backend: str, path: Path | None) -> None:
    """Scan and show it until Ctrl-C or SIGTERM, on `path` or on a temporary store."""
    console = Console(highlight=False, soft_wrap=True)
    ended = threading.Event()
    for name in ("bluesky", "kv_dict"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what fails is told at the end
    with (
        demo_store(backend, path) as store,
        open_mapping(store.url, reads="replica") as md,
        Dashboard(
            [Source("demo", lambda: open_mapping(store.url, reads="replica"), LAYOUT)]
        ).running() as url,
        _until_ctrl_c(ended),
    ):
        console.print(f"A simulated beamline on {store.url}", markup=False)
        console.print(f"Dashboard: {url}", markup=False)
        console.print("It goes on scanning until Ctrl-C.")
        if sys.stdout.isatty() and _has_display():
            webbrowser.open(url)
        _work(md, ended)


def _work(md: RemoteKVMapping, ended: threading.Event) -> None:
    md.update(
        beamline_id="SIM-01",
        operator="Dorothy",
        cycle="2026-3",
        data_session="pass-318",
        proposal={"proposal_id": 318, "title": "Oxides at the edge", "pi_name": "Ada Lovelace"},
        shutter="closed",
    )
    with (
        ThreadPoolExecutor(1, "kv_dict demo machine") as executor,
        Presence(md, program="kv-dict demo"),
        Baton(md, program="kv-dict demo") as baton,
    ):
        machine = executor.submit(_machine, md, ended)
        try:
            baton.acquire()
            _scan(md, ended)
        finally:
            ended.set()
        machine.result()


def _machine(md: RemoteKVMapping, ended: threading.Event) -> None:
    """Be the storage ring: a current that decays, and is topped up."""
    try:
        for second in count():
            md["beam_current_mA"] = round(301.0 * math.exp(-(second % 60) / 600), 2)
            if ended.wait(1.0):
                return
    finally:
        ended.set()  # without it there is nothing to be shown


def _scan(md: RemoteKVMapping, ended: threading.Event) -> None:
    # Ctrl-C ends the demonstration, and is no request to pause: so no context managers.
    engine = RunEngine(md, scan_id_source=scan_id_source, context_managers=[])  # type: ignore[arg-type]
    with init_devices():
        detector = SimPointDetector(None, num_channels=1)
        energy = kv_signal_rw(
            float, md, "energy_keV", initial=SAMPLES[0].edge, units="keV", name="energy"
        )
    engine(bps.mv(detector.acquire_time, EXPOSURE))
    with RunStatus(engine):
        for sample in cycle(SAMPLES):
            md.update(sample=sample._asdict(), shutter="open")
            try:
                engine(energy_scan(detector, energy, sample.edge, ended))
            except RunEngineInterrupted:  # by the second Ctrl-C
                raise KeyboardInterrupt from None
            except FailedStatus as failed:  # of the signal whose store is away
                if isinstance(failed.__cause__, KVDictError):
                    raise failed.__cause__ from None
                raise
            md["shutter"] = "closed"
            if ended.wait(BETWEEN):
                break
    engine.loop.call_soon_threadsafe(engine.loop.stop)  # bluesky leaves its loop running


def energy_scan(
    detector: SimPointDetector, energy: Any, edge: float, ended: threading.Event
) -> Generator[Msg, Any, Any]:
    """Count at energies around an edge; the run ends early, and well, when `ended` is set."""
    energies = [round(edge - 0.02 + 0.001 * number, 4) for number in range(POINTS)]
    about = {
        "plan_name": "energy_scan",
        "plan_args": {"start": energies[0], "stop": energies[-1], "num": POINTS},
        "num_points": POINTS,
    }

    def points() -> Generator[Msg, Any, Any]:
        for one in energies:
            if ended.is_set():
                return
            yield from bps.mv(energy, one)
            yield from bps.trigger_and_read([detector, energy])

    run = bpp.run_wrapper(points(), md=about)  # type: ignore[no-untyped-call]
    yield from bpp.stage_wrapper(run, [detector])  # type: ignore[no-untyped-call]


@contextmanager
def _until_ctrl_c(ended: threading.Event) -> Iterator[None]:
    """Have Ctrl-C and SIGTERM set `ended`; once more, after a while, interrupts what goes on."""
    first = math.inf

    def end(number: int, frame: Any) -> None:
        nonlocal first
        now = time.monotonic()
        if now - first > PATIENCE:
            raise KeyboardInterrupt
        first = min(first, now)
        ended.set()

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _has_display() -> bool:
    """Return whether a browser would have a window of its own, and not take the terminal."""
    wanted: Sequence[str] = ("DISPLAY", "WAYLAND_DISPLAY")
    return sys.platform == "darwin" or any(os.environ.get(name) for name in wanted)
