"""bluesky's own tests give the same outcomes with a mapping as with a dict for ``RE.md``."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

pytestmark = pytest.mark.beamline

pytest.importorskip("bluesky")
pytest.importorskip("ophyd")

SUITE = Path(__file__).with_name("bluesky_suite.py")

# What has most to do with RE.md, in half a minute at most; all of it takes minutes, by hand.
MODULES = ("test_metadata", "test_documents", "test_multi_runs", "test_preprocessors")
ENGINE = "test_run_engine"
SLOW = "suspend or deferred_pause"


@pytest.mark.timeout(200)
def test_outcomes_are_those_with_a_dict():
    done = subprocess.run(
        [sys.executable, str(SUITE), "--together", "-k", f"not ({SLOW})", *MODULES, ENGINE],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line.strip("| ").split(" | ") for line in done.stdout.splitlines() if "|" in line]
    counts = Counter({row[0]: int(row[1]) for row in rows if row[0] in ("dict", "sqlite")})
    assert counts["dict"] == counts["sqlite"] >= 200, done.stdout
