"""`kv-dict migrate`, as an operator runs it."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import redis

from kv_dict.testing.servers import free_port

COMMAND = [sys.executable, "-c", "from kv_dict.cli import main; main()", "migrate"]


def run(*arguments: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*COMMAND, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=cwd,
        env={**os.environ, "HOME": str(cwd), **env},
    )
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "md.json").write_text(json.dumps({"scan_id": 7, "a/b": [1], "uid": "x"}))
    (tmp_path / "bad.yaml").write_text(
        "t: !!python/tuple [1]\nx: {y: !!python/name:os.system ''}\n"
    )
    return tmp_path


def test_help_teaches_by_examples(tmp_path: Path) -> None:
    done = run("--help", cwd=tmp_path)
    assert done.returncode == 0
    for example in ("'redis://host/0?prefix=xas-' --to", "--all-entry-points --to", ".yml --to"):
        assert example in done.stdout


def test_look_then_do_then_again(folder: Path) -> None:
    look = run("md.json", "--to", "sqlite:md.db", "--dry-run", cwd=folder)
    assert look.returncode == 0
    for line in (
        "from  md.json (json)",
        "entry point 'md'",
        "3 items: 3 to add",
        "  + scan_id = 7",
        "md['a/b']: bluesky refuses keys with '.' or '/'",
        "md['uid']: bluesky gives every run a 'uid' of its own",
        "Dry run: nothing was written.",
    ):
        assert line in look.stdout
    assert not (folder / "md.db").exists()
    done = run("md.json", "--to", "sqlite:md.db", cwd=folder)
    assert done.returncode == 0
    assert done.stdout.endswith("\n3 read, 3 written, 0 equal, 3 verified.\n")
    again = run("md.json", "--to", "sqlite:md.db", cwd=folder)
    assert again.returncode == 0
    assert again.stdout.endswith("\nNothing to do. 3 read, 0 written, 3 equal, 3 verified.\n")
    assert look.stderr == done.stderr == again.stderr == ""


def test_refusals_and_what_decides_them(folder: Path) -> None:
    to = ("--to", "sqlite:md.db")
    assert run("md.json", *to, cwd=folder).returncode == 0
    (folder / "md.json").write_text('{"scan_id": 8}')
    for dry in ([], ["--dry-run"]):
        refused = run("md.json", *to, *dry, cwd=folder)
        assert refused.returncode == 1
        assert "  ~ scan_id = 8, and there 7" in refused.stdout
        assert "2 only there" in refused.stdout
        assert "--overwrite or --keep-existing" in refused.stderr
    assert "1 kept as they are there" in run("md.json", *to, "--keep-existing", cwd=folder).stdout
    assert "1 written" in run("md.json", *to, "--overwrite", cwd=folder).stdout
    refused = run("bad.yaml", *to, cwd=folder)
    assert refused.returncode == 1
    assert "  ! md['x']['y'] cannot be read" in refused.stdout
    assert "md['t']: tuple to list" in refused.stdout
    assert "--skip-unusable" in refused.stderr
    assert "1 skipped" in run("bad.yaml", *to, "--skip-unusable", cwd=folder).stdout


def test_json_for_programs(folder: Path) -> None:
    arguments = ("bad.yaml", "--to", "sqlite:md.db", "--json")
    for more, status, outcome in (
        (["--dry-run"], 1, "dry run"),
        ([], 1, "refused"),
        (["--skip-unusable", "--dry-run"], 0, "dry run"),
        (["--skip-unusable"], 0, "done"),
        (["--skip-unusable"], 0, "nothing to do"),
    ):
        done = run(*arguments, *more, cwd=folder)
        report = json.loads(done.stdout)
        assert (done.returncode, report["outcome"]) == (status, outcome)
    assert report["counts"] == {
        "read": 2, "written": 0, "equal": 1, "kept": 0, "skipped": 1, "refused": 0, "verified": 1
    }  # fmt: skip
    assert report["source"] == {"kind": "yaml", "name": "bad.yaml"}
    assert report["equal"] == ["t"]
    assert report["converted"] == [{"path": "md['t']", "before": "tuple", "after": "list"}]
    assert [item["key"] for item in report["unusable"]] == ["x"]


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["md.json"], 2, "Missing option '--to'"),
        (["no.json", "--to", "sqlite:x.db"], 2, "No such file"),
        (["md.json", "--to", "sqlite:no/x.db"], 2, "there is no folder"),
        (["md.json", "--to", "sqlite:x.db", "--from", "pickle"], 2, "Invalid value for '--from'"),
        (["md.json", "--to", "sqlite:x.db", "--timeout", "0"], 2, "--timeout"),
        (["md.json", "--to", "sqlite:x.db", "--from-entry-point", "x"], 2, "has entry points"),
        (["md.json", "--to", "redis://127.0.0.1:{port}/0"], 3, "cannot be reached"),
        (["redis://127.0.0.1:{port}/0?prefix=", "--to", "sqlite:x.db"], 3, "cannot be reached"),
        (["redis://:hush@127.0.0.1:{port}", "--to", "sqlite:x.db"], 2, "say which: --from"),
    ],
)
def test_mistakes(folder: Path, arguments: list[str], status: int, said: str) -> None:
    port = str(free_port())
    done = run(*[word.replace("{port}", port) for word in arguments], cwd=folder)
    assert (done.returncode, said in done.stderr) == (status, True), done.stderr
    assert "hush" not in done.stdout + done.stderr
    assert not (folder / "x.db").exists()


def test_ctrl_c_while_it_waits_for_the_destination(
    folder: Path, client: redis.Redis, redis_url: str
) -> None:
    """It says what is known, ends with 130, and a second run does the rest."""
    client.execute_command("CLIENT", "PAUSE", 100_000, "WRITE")
    try:
        process = subprocess.Popen(
            [*COMMAND, "md.json", "--to", redis_url],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=folder,
        )
        deadline = time.monotonic() + 20
        while not client.info("clients")["blocked_clients"]:  # its commit has arrived
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    finally:
        client.execute_command("CLIENT", "UNPAUSE")
    assert process.returncode == 130
    assert "Not finished: 3 read, 0 written, 0 equal, 0 verified, 3 may or may not be" in errors
    assert "Run the same command again" in errors
    assert "Traceback" not in errors
    done = run("md.json", "--to", redis_url, cwd=folder)
    assert done.returncode == 0
    assert "3 verified" in done.stdout
    assert client.get("md:scan_id") == b"7"


def test_a_bar_on_a_terminal(folder: Path) -> None:
    (folder / "many.json").write_text(json.dumps({f"k{n}": n for n in range(2000)}))
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, "many.json", "--to", "sqlite:md.db"],
        stdout=subprocess.PIPE,
        stderr=theirs,
        cwd=folder,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100"},
    )
    os.close(theirs)
    shown = b""
    try:
        while data := os.read(ours, 1 << 16):
            shown += data
    except OSError:  # its end was closed
        pass
    os.close(ours)
    told, _ = process.communicate(timeout=20)
    assert process.returncode == 0
    for word in (b"comparing", b"writing", b"verifying", b"2000/2000"):
        assert word in shown
    assert told.endswith(b"2,000 read, 2,000 written, 0 equal, 2,000 verified.\n")
    assert b"... and 1,960 more" in told


@pytest.mark.parametrize("missing", ["yaml", "msgpack", "rich"])
def test_missing_libraries_are_named(folder: Path, missing: str) -> None:
    (folder / "sitecustomize.py").write_text(f"import sys; sys.modules[{missing!r}] = None\n")
    source = "bad.yaml"
    if missing == "msgpack":
        source = "items"
        (folder / source).mkdir()
        (folder / source / "a#1").write_bytes(b"\x01")
    path = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
    done = run(source, "--to", "sqlite:md.db", cwd=folder, PYTHONPATH=path)
    assert done.returncode == 2
    assert "pip install 'kv-dict[" in done.stderr


def test_into_the_default_store_of_a_new_user(folder: Path) -> None:
    home = {"HOME": str(folder), "XDG_DATA_HOME": str(folder / "data")}
    look = run("md.json", "--to", "default", "--dry-run", cwd=folder, **home)
    assert look.returncode == 0, look.stderr
    assert not (folder / "data").exists()
    done = run("md.json", "--to", "default", cwd=folder, **home)
    assert done.returncode == 0, done.stderr
    assert "3 verified" in done.stdout
    assert list((folder / "data").rglob("metadata.db"))


def test_what_a_variable_that_is_not_set_names(folder: Path) -> None:
    for arguments in (["", "--to", "sqlite:md.db"], ["md.json", "--to", ""]):
        done = run(*arguments, cwd=folder)
        assert done.returncode == 2
        assert "is named: give a" in done.stderr
    assert not (folder / "md.db").exists()
