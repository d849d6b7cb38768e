"""`kv-dict dashboard`: a process, started and ended as an operator does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from kv_dict import RemoteKVMapping, SQLiteBackend
from kv_dict.cli.commands import cli

MAIN = "from kv_dict.cli import main; main()"

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    processes: list[subprocess.Popen[str]] = []

    def run(*arguments: str, **env: str) -> subprocess.Popen[str]:
        processes.append(
            subprocess.Popen(
                [*(sys.executable, "-c", MAIN, "dashboard", "--port", "0"), *arguments],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                cwd=tmp_path,
                env={**os.environ, "HOME": str(tmp_path), **env},
            )
        )
        return processes[-1]

    yield run
    for process in processes:
        process.kill()
        process.communicate()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    said = process.stdout.readline()
    if not said:
        pytest.fail(f"it ended with {process.wait()}: {process.communicate()[1]}")
    return said.strip()


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_and_ends_in_order(
    start: Start, anybody: Any, md: RemoteKVMapping, end: signal.Signals
) -> None:
    md["a"] = 1
    process = start("--url", md.backend.url, "--entry-point", "xas", "--hide", "secret*")
    name, _, url = line(process).partition(": ")
    assert name == "xas"
    client = type(anybody)(url).until_live()
    assert client.json("/api/value?key=a") == 1
    assert client.ask("/api/value?key=secret").status == 404
    events = client.events()
    events.next()
    process.send_signal(end)
    assert events.next()[0] == "end"
    events.close()
    output, errors = process.communicate(timeout=20)
    assert (process.returncode, output, errors) == (0, "", "")


def test_what_no_run_could_carry_is_refused(
    start: Start, anybody: Any, md: RemoteKVMapping, tmp_path: Path
) -> None:
    path = tmp_path / "token"
    arguments = ("--url", md.backend.url, "--entry-point", "xas", "--writable")
    process = start(*arguments, "--token-file", str(path), KV_DICT_CHECK="bluesky")
    url = line(process).partition(": ")[2]
    client = type(anybody)(url, {"Authorization": f"Bearer {path.read_text().strip()}"})
    client.until_live()
    answer = client.ask("/api/value?key=sample", "PUT", "[1]", If_None_Match="*")
    assert (answer.status, "bluesky wants" in answer.json()["error"]) == (422, True)
    assert dict(md) == {}


def test_several_stores_side_by_side(start: Start, anybody: Any, tmp_path: Path) -> None:
    one, two = (f"sqlite://{tmp_path / name}.db" for name in ("one", "two"))
    process = start("--url", one, "--url", two, "--entry-point", "xas", "--entry-point", "xrd")
    names, _, url = line(process).rpartition(": ")
    assert names == "xas, xrd, xas 2, xrd 2"
    sources = type(anybody)(url).until_live().json("/api/sources")["sources"]
    assert [source["url"] for source in sources] == [one, one, two, two]


def test_the_options_in_front_of_the_command_count(
    anybody: Any, md: RemoteKVMapping, tmp_path: Path
) -> None:
    md["a"] = 1
    options = ["--url", md.backend.url, "--entry-point", "xas"]
    command = [sys.executable, "-c", MAIN, *options, "dashboard", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        client = type(anybody)(line(process).rpartition(": ")[2]).until_live()
        assert client.json("/api/value?source=xas&key=a") == 1
        process.terminate()


def test_the_token_file_is_made_and_used_again(
    start: Start, anybody: Any, tmp_path: Path, md: RemoteKVMapping
) -> None:
    path = tmp_path / "token"
    arguments = ("--url", md.backend.url, "--writable", "--token-file", str(path))
    process = start(*arguments)
    url = line(process).rpartition(": ")[2]
    token = path.read_text().strip()
    assert len(token) > 30
    assert path.stat().st_mode & 0o777 == 0o600
    assert token not in line(process)
    client = type(anybody)(url).until_live()
    answer = client.ask(
        "/api/value?key=a", "PUT", "1", If_None_Match="*", Authorization=f"Bearer {token}"
    )
    assert answer.status == 200, answer
    process.terminate()
    process.wait()
    line(start(*arguments))
    assert path.read_text().strip() == token


def test_a_token_that_others_can_read_is_told(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("a-token-for-the-tests\n")
    path.chmod(0o644)
    process = start("--url", "sqlite:x.db", "--token-file", "token")
    line(process)
    process.terminate()
    errors = process.communicate(timeout=20)[1]
    assert errors == "kv-dict: token can be read by others, and so its token: chmod 600 it\n"


def test_a_layout_of_a_file(start: Start, anybody: Any, tmp_path: Path) -> None:
    (tmp_path / "board.toml").write_text('[dashboard]\ntitle = "XAS"\nhide = ["x*"]\n')
    url = line(start("--url", "sqlite:x.db", "--layout", "board.toml")).rpartition(": ")[2]
    (source,) = type(anybody)(url).json("/api/sources")["sources"]
    assert source["layout"]["title"] == "XAS"


PROFILES = """
default = "xas"
[profiles.xas]
url = "sqlite:x.db"
[profiles.xas.dashboard]
title = "XAS"
hide = ["proposal/pi_email"]
tiles = ["energy", { key = ["shutter", "fe_shutter"], label = "Shutter" }]
[profiles.xrd]
url = "sqlite:x.db"
entry_point = "xrd"
[profiles.wrong]
url = "sqlite:x.db"
[profiles.wrong.dashboard]
tiles = [{ key = "energy", units = "keV" }]
"""


def test_the_layout_of_a_profile(start: Start, anybody: Any, tmp_path: Path) -> None:
    (tmp_path / "kv_dict.toml").write_text(PROFILES)
    (tmp_path / "board.toml").write_text('title = "For the wall"\nhide = ["secret"]\n')
    people = {"title": "Iron", "pi_email": "ada@lab.org"}
    with RemoteKVMapping(SQLiteBackend(tmp_path / "x.db"), "md") as md:
        md["proposal"] = people

    def asked(*arguments: str) -> tuple[dict[str, str], Any]:
        url = line(start(*arguments)).rpartition(": ")[2]
        client = type(anybody)(url).until_live()
        sources = client.json("/api/sources")["sources"]
        return {one["name"]: one["layout"]["title"] for one in sources}, client

    titles, client = asked()
    assert titles == {"md": "XAS"}
    assert client.json("/api/value?key=proposal") == {"title": "Iron"}
    titles, client = asked("--layout", "board.toml")
    assert titles == {"md": "For the wall"}
    assert client.json("/api/value?key=proposal") == {"title": "Iron"}  # hidden all the same
    assert asked("--profile", "xas", "--profile", "xrd")[0] == {"xas": "XAS", "xrd": ""}
    assert asked("--url", "sqlite:x.db")[1].json("/api/value?key=proposal") == people


def test_a_store_that_is_away_is_waited_for(start: Start, anybody: Any) -> None:
    process = start("--url", "redis://127.0.0.1:1/0")
    url = line(process).rpartition(": ")[2]
    client = type(anybody)(url)
    assert client.ask("/readyz").status == 503
    process.terminate()
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "it is tried again" in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--host", "0.0.0.0"], "--token-file"),
        (["--writable"], "--token-file"),
        (["--port", "99999"], "65535"),
        (["--host", "192.0.2.77", "--token-file", "token"], "cannot listen on 192.0.2.77"),
        (["--host", "no such host", "--token-file", "token"], "cannot listen on no such host"),
        (["--layout", "none.toml"], "cannot read none.toml"),
        (["--layout", "bad.toml"], "bad.toml is no TOML"),
        (["--layout", "wrong.toml"], "wrong.toml: dashboard.tiles[0].key is missing"),
        (["--token-file", "short"], "at least 16"),
        (["--token-file", "."], "cannot use"),
        (["--token-file", "/dev/zero"], "no regular file"),
        (["--tls-cert", "x.pem"], "both"),
        (["--tls-cert", "bad.toml", "--tls-key", "bad.toml"], "cannot be used"),
        (["--public-url", "nonsense"], "public_url"),
        (["--url", "nonsense://x"], "nonsense"),
        (["--hide", "a//b"], "empty step"),
        (["--profile", "wrong"], "kv_dict.toml [profiles.wrong] dashboard.tiles[0].units is not"),
        (["--url", "sqlite:x.db?option=1"], "option"),
    ],
)
def test_an_operators_mistake_is_told_and_no_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "bad.toml").write_text("= nonsense")
    (tmp_path / "kv_dict.toml").write_text(PROFILES)
    (tmp_path / "wrong.toml").write_text("[dashboard]\ntiles = [{}]\n")
    (tmp_path / "short").write_text("hunter2\n")
    done = CliRunner().invoke(cli, ["dashboard", "--port", "0", *arguments])
    assert isinstance(done.exception, SystemExit)
    assert done.exit_code == 2, done.output
    assert said in done.stderr
    assert "hunter2" not in done.output


def test_a_taken_port_is_named(start: Start) -> None:
    first = start()
    port = line(first).rpartition(":")[2].strip("/")
    _, errors = start("--port", port).communicate(timeout=20)
    assert f"cannot listen on 127.0.0.1 port {port}" in errors


@pytest.mark.parametrize("missing", ["starlette", "uvicorn"])
def test_missing_libraries_are_named(start: Start, tmp_path: Path, missing: str) -> None:
    (tmp_path / "sitecustomize.py").write_text(f"import sys; sys.modules[{missing!r}] = None\n")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    process = start(PYTHONPATH=path)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 2
    assert f"needs {missing}" in errors
    assert "pip install 'kv-dict[cli,dashboard]'" in errors


def test_the_command_line_starts_without_the_web(tmp_path: Path) -> None:
    code = (
        "import sys, kv_dict.cli.commands; "
        "print([m for m in ('starlette', 'uvicorn', 'asyncio') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr


def test_what_is_served_ships_with_it() -> None:
    import kv_dict.dashboard.server

    folder = kv_dict.dashboard.server.STATIC
    assert (folder / "index.html").is_file()
    assert (folder / "vendor" / "uPlot.LICENSE").is_file()
    for path in folder.rglob("*"):
        if path.suffix in (".html", ".js", ".css") and "vendor" not in path.parts:
            text = path.read_text()
            assert "http://" not in text.replace("http://www.w3.org/", "")
            assert "https://" not in text
