"""How long it takes until there is a prompt, or an answer: new processes, one after the other.

::

    python -m benchmarks.startup [--rounds 7]

``cpu`` is what the process computed, user and system, and ``wall`` what one waits for it: the least
of all rounds, in milliseconds. matplotlib's cache is kept between them.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

COLLECTION = Path(__file__).parents[1] / "profile_collection"
CLI = ("-c", "from kv_dict.cli import main; main()")
IPYTHON = ("-m", "IPython", "--no-banner", "--colors=nocolor")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory(prefix="kv-dict-startup-") as folder:
        home = Path(folder)
        shutil.copytree(COLLECTION, home / "profile_collection")
        of_collection = (*IPYTHON, f"--profile-dir={home / 'profile_collection'}")
        commands: dict[str, tuple[str, ...]] = {
            "python": ("-c", ""),
            "import kv_dict": ("-c", "import kv_dict"),
            "kv-dict --version": (*CLI, "--version"),
            "kv-dict --help": (*CLI, "--help"),
            "kv-dict profile show": (*CLI, "profile", "show"),
            "ipython": (*IPYTHON, "-c", "1"),
            "ipython, %load_ext kv_dict": (*IPYTHON, "--ext=kv_dict", "-c", "1"),
            "bluesky, ophyd, ophyd-async": ("-c", "import bluesky, ophyd, ophyd_async.sim"),
            "ipython, profile collection": (*of_collection, "-c", "1"),
            "... and its first run": (*of_collection, "-c", "RE(count([det]))"),
        }
        print(f"{'':32}{'cpu':>8}{'wall':>8}  ms")
        for name, command in commands.items():
            times = [_run(command, home) for _ in range(rounds)]
            cpu, wall = (min(column) * 1000 for column in zip(*times, strict=True))
            print(f"{name:32}{cpu:8.0f}{wall:8.0f}", flush=True)


def _run(arguments: tuple[str, ...], home: Path) -> tuple[float, float]:
    """Return the processor time and the duration of a process, in seconds."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("KV_DICT_", "XDG_"))}
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=home,
        env={**kept, "HOME": str(home), "IPYTHONDIR": str(home / "ipython")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"{' '.join(arguments)} ended with {process.returncode}")
    return used.ru_utime + used.ru_stime, time.perf_counter() - began


if __name__ == "__main__":
    main()
