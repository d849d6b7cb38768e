"""The examples run, and print what they promise."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"

EXPECTED = {
    "in_memory": """\
stored:    {'sup1': {'level': 2}, 'log': ['raised']}
detached:  ['raised']
counted:   [1, 2, 3]
in order:  ['cycle', 'fills', 'main', 'shift', 'user']
""",
    "sqlite": """\
both changes: {'name': 'Fe2O3', 'temperature_K': 80.0, 'mounted': True}
visits:       2
""",
    "redis": """\
another program reads:  {"name":"Fe2O3","edge":"K","energy_eV":7112.0}
and what it wrote:      Rosalind
keys:                   ['cycle', 'operator', 'proposal', 'sample']
""",
    "postgres": """\
a row:   ep1:main {"sup1":{"level":2}}
a row:   ep1:user "Rosalind"
by SQL:  Dorothy
""",
    "signals": """\
stored:      [('energy', 7.1), ('mode', 'hard')]
moved:       7.2
scanned:     {'beam-energy': 7.0, 'beam-current': 199.5}
scanned:     {'beam-energy': 7.1, 'beam-current': 199.5}
scanned:     {'beam-energy': 7.2, 'beam-current': 199.5}
mode:        soft
""",
    "nats": """\
counted by two: {'motor': 'theta', 'points': 100}
keys:           ['cycle', 'scan', 'user']
""",
}


def path(name: str) -> Path:
    of_a_mapping = EXAMPLES / f"remote_mapping_{name}_example.py"
    return of_a_mapping if of_a_mapping.exists() else EXAMPLES / f"{name}.py"


def run(name: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", path(name), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_example_is_tested() -> None:
    assert sorted(EXAMPLES.glob("*.py")) == sorted(path(name) for name in EXPECTED)


@pytest.mark.parametrize(
    "name", ["in_memory", "sqlite", pytest.param("signals", marks=pytest.mark.beamline)]
)
def test_example(name: str) -> None:
    assert run(name) == EXPECTED[name]


@pytest.mark.parametrize("name", ["redis", "postgres", "nats"])
def test_example_on_a_server(name: str, request: pytest.FixtureRequest, bucket: str) -> None:
    url = request.getfixturevalue(f"{name}_url")
    if name == "nats":
        url += f"/?bucket={bucket}&create_bucket=true"
    for _ in range(2):  # the second time finds what the first left
        assert run(name, url) == EXPECTED[name]


@pytest.mark.beamline
def test_the_example_of_signals_on_a_server(nats_url: str, bucket: str) -> None:
    url = f"{nats_url}/?bucket={bucket}&create_bucket=true"
    for _ in range(2):
        assert run("signals", url) == EXPECTED["signals"]


def test_the_sqlite_example_takes_a_url(tmp_path: Path) -> None:
    url = f"sqlite://{tmp_path}/given.db"
    run("sqlite", url)
    assert "visits:       4" in run("sqlite", url)


def test_an_unreachable_server_is_told_in_a_line() -> None:
    done = subprocess.run(
        [sys.executable, path("redis"), "redis://127.0.0.1:1/0"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert re.search(r"Unavailable: redis://127.0.0.1:1/0 cannot be reached", done.stderr)
