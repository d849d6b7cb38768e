"""`kv-dict profile`: what is in force, and where each setting comes from."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROGRAM = [sys.executable, "-c", "from kv_dict.cli import main; main()", "profile"]
TOML = """
default = "xas"
[profiles.xas]
url = "redis://xas-server/1"
user = "bl02"
password_file = "password"
[profiles.xas.defaults]
sample = { name = "none" }
[profiles.broken]
timeout = "soon"
"""


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("KV_DICT_")}
    (tmp_path / "kv_dict.toml").write_text(TOML)
    (tmp_path / "password").write_text("hush-hush\n")
    return {
        **kept,
        "HOME": str(tmp_path),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "XDG_CONFIG_DIRS": str(tmp_path / "system"),
        "XDG_DATA_HOME": str(tmp_path / "data"),
    }


def profile(env: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*PROGRAM, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=env["HOME"],
        env=env,
    )
    assert "hush" not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


def test_show_tells_of_the_dashboard(env: dict[str, str]) -> None:
    path = Path(env["HOME"]) / "kv_dict.toml"
    path.write_text(
        '[profiles.xas]\nurl = "sqlite:x.db"\n[profiles.xas.dashboard]\ntitle = "XAS"\n'
        'tiles = ["energy", { key = ["shutter", "s"] }, { key = "i0", label = "Flux" }]\n'
        '[profiles.wrong]\nurl = "sqlite:x.db"\n[profiles.wrong.dashboard]\ntitel = "XAS"\n'
    )
    done = profile(env, "show", "xas")
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    where = f"{path} [profiles.xas]"
    assert ["dashboard.title", "XAS", where] in rows
    assert ["dashboard.tiles", "energy, shutter, s, Flux", where] in rows
    done = profile(env, "show", "wrong")
    assert done.returncode == 2
    assert f"{path} [profiles.wrong] dashboard.titel is not known; did you mean title?" in (
        done.stderr
    )
    assert "dashboard.titel" in done.stdout


def test_show(env: dict[str, str]) -> None:
    at = f"{env['HOME']}/kv_dict.toml"
    done = profile({**env, "KV_DICT_TIMEOUT": "2", "KV_DICT_SEPARATOR": "false"}, "show")
    assert done.returncode == 0, done.stderr
    assert [line.split("\t") for line in done.stdout.splitlines()] == [
        ["profile", "xas", f"{at} default"],
        [
            "url",
            f"redis://bl02@xas-server:6379/1?password_file={env['HOME']}/password",
            f"{at} [profiles.xas]",
        ],
        ["user", "bl02", f"{at} [profiles.xas]"],
        ["password_file", f"{env['HOME']}/password", f"{at} [profiles.xas]"],
        ["entry_point", "md", "default"],
        ["separator", "none", "environment KV_DICT_SEPARATOR"],
        ["reads", "replica", "default"],
        ["timeout", "2.0", "environment KV_DICT_TIMEOUT"],
        ["on_outage", "fail", "default"],
        ["protected", "none", "default"],
        ["check", "bluesky", "default"],
        ["require_baton", "false", "default"],
        ["defaults.sample", "{'name': 'none'}", f"{at} [profiles.xas]"],
    ]


def test_show_of_a_url_and_as_json(env: dict[str, str]) -> None:
    done = profile(env, "show", "nats://u:hush-hush@h/?bucket=md", "--json")
    shown: dict[str, Any] = json.loads(done.stdout)
    assert (shown["name"], shown["url"]) == ("(url)", "nats://***@h/?bucket=md")
    assert {"name": "reads", "value": "server", "origin": "default"} in shown["settings"]
    shown = json.loads(profile({**env, "KV_DICT_URL": "redis://:hush@h"}, "show", "--json").stdout)
    assert shown["settings"][1] == {
        "name": "url",
        "value": "redis://:***@h:6379/0",
        "origin": "environment KV_DICT_URL",
    }


def test_show_tells_a_mistake(env: dict[str, str]) -> None:
    done = profile(env, "show", "broken")
    assert done.returncode == 2
    assert done.stderr.startswith(f"kv-dict: {env['HOME']}/kv_dict.toml [profiles.broken] timeout:")
    done = profile(env, "show", "xsa")
    assert done.returncode == 2
    assert "did you mean 'xas'?" in done.stderr


def test_list(env: dict[str, str]) -> None:
    rows = [line.split("\t") for line in profile(env, "list").stdout.splitlines()]
    assert [(star, name) for star, name, *_ in rows] == [
        ("*", "xas"),
        ("", "broken"),
        ("", "default"),
        ("", "nslsii"),
        ("", "bits"),
        ("", "bluesky-nats"),
    ]
    assert rows[0][3].startswith("redis://bl02@xas-server:6379/1")
    assert "timeout: 'soon': seconds are expected" in rows[1][3]
    listed = json.loads(profile(env, "list", "--json").stdout)
    assert listed[0]["in_force"]
    assert not listed[1]["in_force"]


def test_path(env: dict[str, str]) -> None:
    home = env["HOME"]
    rows = json.loads(profile(env, "path", "--json", "--profile-dir", f"{home}/ip").stdout)
    assert [(row["file"], row["there"]) for row in rows] == [
        (f"{home}/kv_dict.toml", True),
        (f"{home}/ip/kv_dict.toml", False),
        (f"{home}/config/kv-dict/kv_dict.toml", False),
        (f"{home}/system/kv-dict/kv_dict.toml", False),
    ]
    assert profile(env, "path").stdout.splitlines()[0] == (
        f"{home}/kv_dict.toml\tworking directory\tyes"
    )


def test_a_table_at_a_terminal(env: dict[str, str]) -> None:
    leader, follower = pty.openpty()
    with subprocess.Popen(
        [*PROGRAM, "show"], stdout=follower, cwd=env["HOME"], env={**env, "COLUMNS": "200"}
    ) as process:
        os.close(follower)
        shown = b""
        while True:
            try:
                read = os.read(leader, 10_000)
            except OSError:  # the terminal is gone: Linux says EIO
                break
            if not read:
                break
            shown += read
        assert process.wait(60) == 0
    os.close(leader)
    assert b"origin" in shown
    assert b"\t" not in shown
    assert b"hush" not in shown
