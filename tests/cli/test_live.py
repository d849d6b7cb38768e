"""`kv-dict watch --live` in a terminal."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from kv_dict import RemoteKVMapping, SQLiteBackend, open_mapping
from kv_dict.coordination.beside import beside
from kv_dict.dashboard import Rule, Tile
from kv_dict.integrations.bluesky import Status
from kv_dict.testing.servers.redis import RedisServer

from ..terminal import Terminal
from .conftest import PROGRAM, Run

LAYOUT = """
[profiles.xas]
url = "{url}"
entry_point = "xas"
[profiles.xas.dashboard]
title = "XAS 06B1"
hide = ["secret", "proposal/pi_email"]
tiles = [
    {{ key = "beam", unit = "mA", digits = 1, rules = [
        {{ below = 1, state = "alarm", text = "no beam" }},
    ] }},
    {{ key = "proposal", path = "title", detail = "proposal/pi" }},
    {{ key = "old", max_age = 5 }},
    {{ key = "nowhere", optional = true }},
]
"""

Start = Callable[..., Terminal]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[Terminal] = []
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("KV_DICT_", "XDG_"))}
    env = kept | {"HOME": str(tmp_path), "TERM": "xterm-256color", "COLORTERM": ""}
    env |= {"XDG_CONFIG_DIRS": str(tmp_path / "none")}
    env.pop("NO_COLOR", None)

    def start(*arguments: str, rows: int = 40, columns: int = 120) -> Terminal:
        command = [*PROGRAM, "watch", "--live", *arguments]
        started.append(Terminal(command, env, tmp_path, rows, columns))
        return started[-1]

    yield start
    for terminal in started:
        terminal.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path / "redis") as server:
        yield server


@contextmanager
def showing(md: RemoteKVMapping) -> Iterator[Callable[..., None]]:
    """Give a function that shows a RunEngine, as `RunStatus` does."""
    with RemoteKVMapping(md.backend, beside(md, "status")) as items:
        now = time.time()

        def show(**fields: Any) -> None:
            status = Status(updated=now, renewed_every=600, session="a", **fields)
            items["run"] = status.as_item()

        yield show


def test_from_a_run_to_the_screen(start: Start, tmp_path: Path) -> None:
    url = f"sqlite://{tmp_path / 'md.db'}"
    (tmp_path / "kv_dict.toml").write_text(LAYOUT.format(url=url))
    with open_mapping(url, entry_point="xas") as md, showing(md) as show:
        md.update(beam=301.234, secret="hunter-1", motor={"x": 1.5, "y": {"z": [1, 2]}})
        md["proposal"] = {"title": "Iron", "pi": "Ada", "pi_email": "hunter-2"}
        md["evil"] = "a\x1b[2Jb"
        terminal = start("--profile", "xas")
        terminal.wait_for("LIVE  XAS 06B1")
        for text in ("301.2 mA", "Iron", "Ada", "not set", '"a\\u001b[2Jb"', "    z"):
            terminal.wait_for(text)
        assert "nowhere" not in terminal.text
        assert "RUNNING" not in terminal.text
        assert terminal.has_mode(1049)

        show(state="running", plan_name="scan", scan_id=41, points_done=12, points_expected=51)
        terminal.wait_for("RUNNING  scan #41")
        terminal.wait_for("12 of 51 points")
        assert terminal.background_of("RUNNING") == "green"

        md["motor"]["y"]["z"].append(3)
        terminal.wait_for("     [1, 2, 3]")
        terminal.wait(lambda: terminal.background_of("     [1, 2, 3]") in ("brown", "yellow"))
        assert terminal.background_of("     1.5") == "default"
        terminal.wait_for("motor/y/z  [1, 2] -> [1, 2, 3]")
        terminal.wait(lambda: terminal.background_of("     [1, 2, 3]") == "default")

        md["beam"] = 0.25
        terminal.wait_for("0.2 mA  no beam")
        assert terminal.colour_of("0.2 mA") == "red"
        md["proposal"]["pi_email"] = "hunter-3"
        md["secret"] = "hunter-4"
        del md["evil"]
        terminal.wait_for("evil  deleted")
        assert "hunter" not in terminal.text
        show(state="idle", exit_status="fail", last_error="no\x1b beam")
        terminal.wait_for("the last run: fail. no\\u001b beam")
    terminal.type("\x03")
    terminal.end()
    assert terminal.status == 130
    assert not terminal.has_mode(1049)
    assert terminal.has_mode(25)
    assert "Traceback" not in terminal.text


def test_an_outage_is_seen_at_once_and_its_end(start: Start, server: RedisServer) -> None:
    with open_mapping(server.url) as md:
        md.update(a=1, sample="Fe2O3")
    terminal = start("--url", server.url)
    terminal.wait_for("LIVE")
    server.kill()
    terminal.wait_for("STALE")
    assert terminal.background_of("STALE") == "red"
    terminal.wait_for("cannot be reached; what you see is of")
    terminal.wait(lambda: re.search("STALE [1-9]", terminal.text))
    terminal.wait_for("Fe2O3")
    server.start()
    terminal.wait_for("LIVE")
    with open_mapping(server.url) as md:
        md["a"] = 2
    terminal.wait_for("a  1 -> 2")
    terminal.signal(signal.SIGTERM)
    assert "Traceback" not in terminal.end()
    assert terminal.status == 128 + signal.SIGTERM
    assert not terminal.has_mode(1049)


@pytest.mark.parametrize(
    ("rows", "columns", "begin"), [(1, 1, "…"), (3, 12, "LIVE"), (6, 40, "LIVE"), (24, 80, "LIVE")]
)
def test_many_keys_in_a_small_terminal(
    start: Start, tmp_path: Path, rows: int, columns: int, begin: str
) -> None:
    url = f"sqlite://{tmp_path / 'md.db'}"
    with open_mapping(url) as md:
        md.update({f"motor_{n:04}": {"x": float(n), "name": "m" * 300} for n in range(5000)})
        terminal = start("--url", url, rows=rows, columns=columns)
        terminal.wait_for(begin)
        md["motor_4999"]["x"] = -1.0
        if rows >= 24:
            terminal.wait_for("motor_4999/x  4999.0 -> -1.0")
            terminal.wait_for("… 5000 keys; --prefix")
    terminal.type("\x03")
    assert "Traceback" not in terminal.end()
    assert terminal.status == 130


def test_some_keys_only(start: Start, tmp_path: Path) -> None:
    url = f"sqlite://{tmp_path / 'md.db'}"
    with open_mapping(url) as md:
        md.update(motor_x=1, motor_y=2, energy=7.1)
    by_prefix, one = start("--url", url, "--prefix", "motor_"), start("energy", "--url", url)
    by_prefix.wait_for("motor_y ")
    assert "energy" not in by_prefix.text
    one.wait_for("energy ")
    assert "motor" not in one.text
    empty = start("--url", f"sqlite://{tmp_path / 'empty.db'}")
    empty.wait_for("Nothing is stored here yet.")


def test_the_whole_store_has_nothing_beside_it(start: Start, tmp_path: Path) -> None:
    (tmp_path / "kv_dict.toml").write_text(
        f'[profiles.flat]\nurl = "sqlite:{tmp_path}/x.db"\nseparator = false\nentry_point = ""\n'
    )
    with RemoteKVMapping(SQLiteBackend(tmp_path / "x.db"), "", sep=None) as md:
        md["a"] = 1
        terminal = start("--profile", "flat")
        terminal.wait_for("LIVE")
        md["a"] = 2
        terminal.wait_for("a  1 -> 2")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--live"], "needs a terminal"),
        (["--live", "--json"], "neither --json"),
        (["--live", "--no-initial"], "nor --no-initial"),
        (["--layout", "board.toml"], "--layout is for --live"),
        (["--live", "a", "--prefix", "b"], "choose one"),
    ],
)
def test_what_does_not_go_together(run: Run, arguments: list[str], said: str) -> None:
    result = run("watch", *arguments, status=2)
    assert said in result.stderr


def test_a_wrong_layout_is_told_in_place_of_a_picture(start: Start, tmp_path: Path) -> None:
    (tmp_path / "board.toml").write_text('tiles = [{ key = "a", units = "mA" }]')
    terminal = start("--url", f"sqlite://{tmp_path / 'x.db'}", "--layout", "board.toml")
    terminal.end()
    assert terminal.status == 2
    assert "board.toml: dashboard.tiles[0].units is not known; did you mean unit?" in terminal.text


@pytest.mark.parametrize(
    ("rule", "value", "holds"),
    [
        (Rule(state="ok", below=1), 0.5, True),
        (Rule(state="ok", below=1), 1, False),
        (Rule(state="ok", below=1), False, False),
        (Rule(state="ok", above=1), 2, True),
        (Rule(state="ok", above=1), "2", False),
        (Rule(state="ok", equals="open"), "OPEN", True),
        (Rule(state="ok", equals=1), True, False),
        (Rule(state="ok", equals=True), 1, False),
        (Rule(state="ok", equals=True), True, True),
        (Rule(state="ok", equals=1), 1.0, True),
        (Rule(state="ok", equals=1), [1], False),
    ],
)
def test_rules_hold_as_on_the_page(rule: Rule, value: Any, holds: bool) -> None:
    from kv_dict.cli.live_tiles import reading

    found = reading(Tile(key=("a",), rules=(rule,)), {"a": value})
    assert found is not None
    assert (found.state == "ok") is holds
