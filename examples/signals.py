"""Signals of ophyd-async on the items of a mapping, in plans, with a second program that writes.

Run it with ``uv run examples/signals.py [URL]``; without a URL it uses a temporary file.
"""

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated as A

from bluesky import RunEngine
from bluesky import plan_stubs as bps
from bluesky import plans as bp
from ophyd_async.core import SignalR, SignalRW, StandardReadable, StrictEnum, init_devices
from ophyd_async.core import StandardReadableFormat as Format

from kv_dict import open_mapping
from kv_dict.integrations.ophyd_async import KVDevice, KVKey

OTHER_PROGRAM = """
import sys
from kv_dict import open_mapping
with open_mapping(sys.argv[1], entry_point="example") as md:
    md["beam"]["current"] = 199.5
    md["beam"]["mode"] = "soft"
"""


class Mode(StrictEnum):
    HARD = "hard"
    SOFT = "soft"


class Beam(StandardReadable, KVDevice):
    """What is known of the beam: the dict md["beam"]."""

    energy: A[
        SignalRW[float],
        KVKey(initial=7.1, units="keV", precision=3, limits=(4, 20)),
        Format.HINTED_SIGNAL,
    ]
    current: A[SignalR[float], KVKey(initial=0.0, units="mA"), Format.UNCACHED_SIGNAL]
    mode: A[SignalRW[Mode], KVKey(initial=Mode.HARD)]


def main(url: str) -> None:
    with open_mapping(url, entry_point="example", reads="replica") as md:
        md.pop("beam", None)
        RE = RunEngine({}, call_returns_result=True)
        rows = []
        RE.subscribe(lambda name, document: rows.append(document["data"]), "event")

        with init_devices():
            beam = Beam(md, "beam")
        print("stored:     ", sorted(md["beam"].items()))

        RE(bps.mv(beam.energy, 7.2))
        print("moved:      ", md["beam"]["energy"])

        subprocess.run([sys.executable, "-c", OTHER_PROGRAM, url], check=True)
        md.sync()  # so that what the other program wrote is certainly here
        RE(bp.scan([beam], beam.energy, 7.0, 7.2, 3))
        for row in rows:
            print("scanned:    ", row)

        print("mode:       ", RE(bps.rd(beam.mode)).plan_result)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(sys.argv[1])
    else:
        with tempfile.TemporaryDirectory() as folder:
            main(f"sqlite://{Path(folder)}/example.db")
