"""The examples run, and print what they promise."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"

EXPECTED = {
    "remote_mapping_in_memory_example.py": """\
stored:    {'sup1': {'level': 2}, 'log': ['raised']}
detached:  ['raised']
counted:   [1, 2, 3]
in order:  ['cycle', 'fills', 'main', 'shift', 'user']
""",
    "remote_mapping_sqlite_example.py": """\
both changes: {'name': 'Fe2O3', 'temperature_K': 80.0, 'mounted': True}
visits:       2
""",
}


def run(name: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", EXAMPLES / name, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", sorted(path.name for path in EXAMPLES.glob("*.py")))
def test_example(name: str) -> None:
    assert run(name) == EXPECTED[name]


def test_the_sqlite_example_takes_a_url(tmp_path: Path) -> None:
    url = f"sqlite://{tmp_path}/given.db"
    run("remote_mapping_sqlite_example.py", url)
    assert "visits:       4" in run("remote_mapping_sqlite_example.py", url)
