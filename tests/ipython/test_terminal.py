"""The extension in a real IPython: keys are pressed, and the screen is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kv_dict import SQLiteBackend, open_mapping
from kv_dict.testing.servers import RedisServer

CTRL_C, ENTER, TAB = "\x03", "\r", "\t"

Terminal = Any  # of conftest.py, which cannot be imported


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path / "redis") as server:
        yield server


def begin(terminal: Terminal, url: str) -> None:
    """Open a mapping of that store."""
    terminal.ready(1)
    terminal.run("from kv_dict import open_mapping")
    terminal.run(f"md = open_mapping({url!r}, reads='replica', entry_point='xas')")


def test_a_session(start: Callable[..., Terminal], tmp_path: Path) -> None:
    terminal = start()
    terminal.ready(1)
    terminal.run("from kv_dict import open_mapping")
    terminal.run("md = open_mapping('sqlite:md.db', reads='replica')")
    assert terminal.run("%load_ext kv_dict") == ""
    assert terminal.run("%md").endswith("md.db\nempty")
    assert "%md energy 7.112            set it" in terminal.run("%md --help")
    assert terminal.run('%md sample {"name": "Fe", "x": 5}') == (
        "md['sample'] = {'name': 'Fe', 'x': 5}"
    )
    assert terminal.run("%md sample/name {name} $name").startswith("UsageError: '{name} $name' is")
    assert terminal.run("%md cell $name {name}") == "md['cell'] = '$name {name}'"
    assert terminal.run("%md sample/x").endswith("]: 5")
    assert terminal.run("_ + 1").endswith("]: 6")
    assert terminal.run("%md sampl") == ('UsageError: there is no "sampl"; did you mean "sample"?')
    assert "UsageError: EncodeError: " in terminal.run('%md bad "\\ud800"')
    assert "Traceback" not in terminal.text
    assert terminal.run("md.close()") == ""
    assert terminal.run("%md").startswith("UsageError: ClosedError: this mapping")
    with open_mapping(SQLiteBackend(tmp_path / "md.db").url) as md:
        assert dict(md) == {"sample": {"name": "Fe", "x": 5}, "cell": "$name {name}"}


def test_tab_completes_keys_also_of_what_is_nested(start: Callable[..., Terminal]) -> None:
    terminal = start("--ext=kv_dict", "--TerminalInteractiveShell.autosuggestions_provider=None")
    begin(terminal, "memory://")
    terminal.run("md.update(sample={'formula': 'Fe2O3', 'layers': [1]}, operator='Ada')")
    terminal.run("class Engine: pass")
    terminal.run("RE = Engine(); RE.md = md")
    for typed, completed in [
        ('md["sam', 'md["sample'),
        ('RE.md["op', 'RE.md["operator'),
        ('md["sample"]["for', 'md["sample"]["formula'),
        ('RE.md["sample"]["lay', 'RE.md["sample"]["layers'),
        ("%md oper", "%md operator"),
        ("%md sample/form", "%md sample/formula"),
        ("%md -d oper", "%md -d operator"),
        ("%md --wat", "%md --watch"),
    ]:
        terminal.type(typed + TAB)
        terminal.wait_for(f"]: {completed}")
        terminal.type(CTRL_C)
        terminal.wait(terminal.at_prompt)


def test_watching_tells_what_others_write_until_ctrl_c(
    start: Callable[..., Terminal], server: RedisServer
) -> None:
    terminal = start("--ext=kv_dict")
    begin(terminal, server.url)
    with open_mapping(server.url, entry_point="xas") as other:
        other["before"] = 1
        terminal.run("md.sync()")
        terminal.type("%md --watch" + ENTER)
        terminal.wait_for("Ctrl-C ends this.")
        other["shutter"] = "open\x1b[2J"
        terminal.wait_for(r"  shutter  'open\x1b[2J'")
        del other["shutter"]
        terminal.wait_for(r"  shutter  deleted, was 'open\x1b[2J'")
        server.kill()
        terminal.wait_for("  away")
        server.start()
        terminal.wait_for("  live again")
        other["shutter"] = "closed"
        terminal.wait_for("  shutter  'closed'")
        terminal.type(CTRL_C)
        terminal.wait(terminal.at_prompt)
        assert "before" not in terminal.text
        assert "Traceback" not in terminal.text
        terminal.type("%md --watch sample" + ENTER)
        terminal.wait(lambda: terminal.text.count("Ctrl-C ends this.") == 2)
        other["shutter"] = "unheard"
        other["sample"] = "Fe2O3"
        terminal.wait_for("  sample  'Fe2O3'")
        terminal.type(CTRL_C)
        terminal.wait(terminal.at_prompt)
        assert "unheard" not in terminal.text


def test_the_prompt_is_red_while_the_store_is_away(
    start: Callable[..., Terminal], server: RedisServer
) -> None:
    terminal = start("--ext=kv_dict")
    begin(terminal, server.url)
    terminal.run("md.update(data_session='pass-318', scan_id=41)")
    assert "pass" not in terminal.lines[-1]
    terminal.run("%md --prompt")
    terminal.wait_for("pass-318 #41 In [")
    assert terminal.colour_of("pass-318 #41 In [") == "cyan"
    with open_mapping(server.url, entry_point="xas") as other:
        other.increment("scan_id")
        terminal.run("md.sync()")
        assert "pass-318 #42 In [" in terminal.text
    server.kill()
    terminal.wait_for("as long as this lasts")  # the log tells it at once
    terminal.run("pass")
    terminal.wait_for("pass-318 #42 stale In [")
    assert terminal.colour_of("pass-318 #42 stale") == "red"
    assert terminal.run("%md").splitlines()[0].startswith("md: xas in redis://")
    assert "away since" in terminal.text
    terminal.run("md.timeout = 0.5")
    assert "UsageError: Unavailable: " in terminal.run("%md sample Fe")
    server.start()
    terminal.wait_for("live again")
    terminal.run("pass")
    assert terminal.colour_of("pass-318 #42 In [") == "cyan"
    terminal.run("%md --no-prompt")
    assert terminal.at_prompt()[1] == ""


def test_without_a_mapping_in_the_session_it_is_the_profiles(
    start: Callable[..., Terminal], tmp_path: Path
) -> None:
    (tmp_path / "kv_dict.toml").write_text(
        'default = "xas"\n[profiles.xas]\nurl = "sqlite:xas.db"\nentry_point = "xas"\n'
        'defaults = { beamline_id = "XAS" }\n[profiles.wrong]\nurl = "sqlite:xas.db"\ntimeout = 0\n'
    )
    terminal = start("--ext=kv_dict")
    terminal.ready(1)
    first, *rest = terminal.run("%md").splitlines()
    assert first == f"md of the profile xas: xas in sqlite://{tmp_path}/xas.db"
    assert rest == ["beamline_id  'XAS'"]
    terminal.run("%unload_ext kv_dict")
    assert "not found" in terminal.run("%md")
    terminal.run("%load_ext kv_dict")
    terminal.run("import os; os.environ['KV_DICT_PROFILE'] = 'wrong'")
    assert terminal.run("%md").startswith("UsageError: ConfigurationError: ")
    terminal.run("class Engine: md = {'a': 1}")
    terminal.run("RE = Engine()")
    assert terminal.run("%md") == "RE.md: a dict, not stored by kv-dict\na  1"
    assert "cannot be followed" in terminal.run("%md -w")
    terminal.type("exit" + ENTER)
    assert "Warning" not in terminal.end()


def test_an_exception_shows_the_line_that_asked(start: Callable[..., Terminal]) -> None:
    terminal = start()
    begin(terminal, "memory://")
    terminal.run("def label(sample): md['sample'] = sample")
    assert "remote.py" in terminal.run("label(object())")
    terminal.run("%load_ext kv_dict")
    for mode in ("Context", "Plain", "Minimal"):
        terminal.run(f"%xmode {mode}")
        told = terminal.run("label(object())")
        assert "EncodeError" in told
        assert "md['sample'] cannot be stored" in told
        assert ("label(sample)" in told) is (mode != "Minimal")
        assert "kv_dict/" not in told
    terminal.run("%xmode Context")
    told = terminal.run("open_mapping('redis://127.0.0.1:1/0', reads='server')['a']")
    assert "Connection refused" in told
    assert "direct cause" not in told
    terminal.run("%xmode Verbose")
    assert "remote.py" in terminal.run("label(object())")
    terminal.run("%xmode Context")
    terminal.run("%unload_ext kv_dict")
    assert "remote.py" in terminal.run("label(object())")
