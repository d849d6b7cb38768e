"""`kv-dict` as a process: pipes, Ctrl-C, terminals, encodings, and a server that goes and comes."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kv_dict import open_mapping
from kv_dict.testing.servers.redis import RedisServer

from .conftest import PROGRAM, Run, start

PATIENCE = 30.0


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path / "redis") as server:
        yield server


def finished(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=PATIENCE)
    return process.returncode, out, err


class Watched:
    """The JSON lines of a `kv-dict watch`, as they come."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def next(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], PATIENCE)
        assert ready, "nothing was told"
        told: dict[str, Any] = json.loads(self.process.stdout.readline())
        return told


@pytest.fixture
def watched(server: RedisServer) -> Iterator[Watched]:
    process = start("watch", "--url", server.url, "--json", bufsize=1)
    try:
        yield Watched(process)
    finally:
        process.kill()
        process.communicate()


def test_watch_through_an_outage_until_ctrl_c(server: RedisServer, watched: Watched) -> None:
    with open_mapping(server.url) as md:
        md["a"] = {"x": 1}
        first = watched.next()
        assert (first["kind"], first["key"], first["value"]) == ("put", "a", {"x": 1})
        del md["a"]
        assert watched.next()["kind"] == "delete"
    server.kill()
    assert watched.next()["kind"] == "away"
    server.start()
    assert watched.next()["kind"] == "back"
    with open_mapping(server.url) as md:
        md["b"] = 2
    told = watched.next()
    assert (told["key"], told["value"]) == ("b", 2)
    watched.process.send_signal(signal.SIGINT)
    _, err = watched.process.communicate(timeout=PATIENCE)
    assert watched.process.returncode == 130
    assert err.strip() == ""


def test_watch_tells_people_too(server: RedisServer) -> None:
    with open_mapping(server.url) as md:
        md["a"] = {"x": 1, "y": 2}
        process = start("watch", "--url", server.url)
        assert process.stdout is not None
        assert '  a  {"x": 1, "y": 2}' in process.stdout.readline()
        md["a"]["x"] = "\x1b[2J"
        assert process.stdout.readline().endswith('  a/x  1 -> "\\u001b[2J"\n')
        del md["a"]
        assert "  a  deleted  " in process.stdout.readline()
        server.kill()
        assert f"{server.url} is away" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert finished(process)[0] == 130


def test_watch_of_a_server_that_is_away_is_status_3() -> None:
    status, _, err = finished(start("watch", "--url", "redis://127.0.0.1:1/0"))
    assert status == 3
    assert err.startswith("kv-dict: redis://127.0.0.1:1/0")
    assert "cannot be reached" in err
    assert "Traceback" not in err


def test_a_server_that_hangs_does_not_hang_the_command(server: RedisServer) -> None:
    server.freeze()
    for command in (["ls"], ["set", "a=1"], ["check"], ["watch"]):
        process = start(*command, "--url", server.url, "--timeout", "0.5")
        status, _, err = finished(process)
        assert status == 3, (command, err)
        assert "Traceback" not in err


def test_a_reader_that_has_enough(tmp_path: Path) -> None:
    url = f"sqlite://{tmp_path / 'md.db'}"
    with open_mapping(url) as md:
        md.update({f"key{n:05}": "x" * 100 for n in range(5000)})
    for command in (["ls"], ["ls", "--json"], ["export"], ["get", "key00001"]):
        process = start(*command, "--url", url)
        assert process.stdout is not None
        process.stdout.read(10)
        process.stdout.close()
        process.wait(PATIENCE)
        assert process.stderr is not None
        assert process.stderr.read() == ""
        process.stderr.close()
        assert process.returncode == (0 if command[0] == "get" else 141), command


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    url = f"sqlite://{tmp_path / 'md.db'}"
    with open_mapping(url) as md, Path("/dev/full").open("w") as full:
        md["a"] = "x" * 100_000
        status, _, err = finished(start("get", "a", "--url", url, stdout=full))
    assert status == 1
    assert "No space left" in err
    assert "Traceback" not in err


def test_a_full_disk_for_the_help() -> None:
    with Path("/dev/full").open("w") as full:
        status, _, err = finished(start("--help", stdout=full))
    assert status == 1
    assert err == "kv-dict: [Errno 28] No space left on device\n"


@pytest.mark.parametrize("closed", [0, 1, 2])
def test_a_standard_stream_that_is_closed(tmp_path: Path, closed: int) -> None:
    """As some schedulers start programs: then a file that is opened would get its number."""
    url = f"sqlite://{tmp_path / 'md.db'}"
    with open_mapping(url) as md:
        md["a"] = 1
    for command, status in (["ls"], 0), (["import", "-"], 1), (["set", "b=2"], 0):
        process = subprocess.run(
            ["sh", "-c", f'exec "$@" {closed}>&-', "sh", *PROGRAM, *command, "--url", url],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        assert process.returncode == status, process.stderr
        assert "Traceback" not in process.stderr
    with open_mapping(url) as md:
        assert dict(md) == {"a": 1, "b": 2}


@pytest.mark.parametrize("value", ["[" * 100_000, "9" * 5000])
def test_a_long_mistake_is_not_repeated(run: Run, value: str) -> None:
    assert len(run("set", "a", value, status=1).stderr) < 200


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_other_encodings_are_survived(tmp_path: Path, encoding: str) -> None:
    url = f"sqlite://{tmp_path / 'md.db'}"
    with open_mapping(url) as md:
        md["formula"] = "Fe₂O₃ ünï 🙂"
    env = {"PYTHONIOENCODING": encoding, "KV_DICT_URL": url, "PYTHONUTF8": "0"}
    for command in (["ls"], ["get", "formula"], ["watch", "--timeout", "x"]):
        process = subprocess.run(
            [*PROGRAM, *command], capture_output=True, timeout=PATIENCE, env={**os.environ, **env}
        )
        assert process.returncode == (2 if command[0] == "watch" else 0), process.stderr
        assert b"Traceback" not in process.stderr
    told = subprocess.run(
        [*PROGRAM, "get", "--json", "formula"],
        capture_output=True,
        timeout=PATIENCE,
        env={**os.environ, **env},
    )
    assert json.loads(told.stdout)["value"] == "Fe₂O₃ ünï 🙂"
    exported = subprocess.run(
        [*PROGRAM, "export"], capture_output=True, timeout=PATIENCE, env={**os.environ, **env}
    )
    assert json.loads(exported.stdout.decode())["formula"] == "Fe₂O₃ ünï 🙂"


def on_a_terminal(*arguments: str, columns: int = 40) -> str:
    """Return what a command shows on a terminal of so many columns."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ.update(COLUMNS=str(columns), TERM="xterm-256color")
        os.environ.pop("NO_COLOR", None)
        os.execv(PROGRAM[0], [*PROGRAM, *arguments])
    shown = b""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            part = os.read(terminal, 65536)
        except OSError:  # the other end is closed: how Linux says that it has ended
            break
        if not part:
            break
        shown += part
    os.waitpid(pid, 0)
    os.close(terminal)
    return shown.decode()


def test_a_terminal_gets_colour_and_lines_that_fit(tmp_path: Path) -> None:
    url = f"sqlite://{tmp_path / 'md.db'}"
    with open_mapping(url) as md:
        md.update(sample="Fe₂O₃" * 30, wide="酸化鉄" * 30, evil="\x1b]0;title\x07")
    shown = on_a_terminal("ls", "--url", url)
    assert "\x1b[36msample\x1b[0m" in shown
    assert "…" in shown
    assert "\x1b]0" not in shown
    assert "\x07" not in shown
    assert "\x1b]0" not in on_a_terminal("get", "--raw", "evil", "--url", url)
    from rich.cells import cell_len
    from rich.text import Text

    assert all(cell_len(Text.from_ansi(line).plain) <= 40 for line in shown.splitlines())
    status, out, _ = finished(start("ls", "--url", url))
    assert status == 0
    assert "\x1b" not in out
    assert "…" not in out


def test_a_command_imports_no_more_than_it_needs(tmp_path: Path) -> None:
    url = f"sqlite://{tmp_path / 'md.db'}"
    with open_mapping(url) as md:
        md["a"] = 1
    program = (
        "import sys; sys.argv = ['kv-dict', 'ls', '--url', sys.argv[1]]\n"
        "from kv_dict.cli.commands import cli\n"
        "cli(standalone_mode=False)\n"
        "print(*sorted(sys.modules))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, url],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    modules = set(done.stdout.split())
    unwanted = {
        "asyncio",
        "rich",
        "yaml",
        "redis",
        "asyncpg",
        "nats",
        "numpy",
        "bluesky",
        "difflib",
    }
    assert modules & (unwanted | {"importlib.metadata", "tempfile", "subprocess"}) == set()
    ours = {name for name in modules if name.startswith("kv_dict.cli.")}
    assert "kv_dict.cli.ls" in ours
    assert not ours & {f"kv_dict.cli.{name}" for name in ("watch", "check", "export", "importing")}
