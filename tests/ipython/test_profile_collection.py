"""The simulated beamline of `profile_collection`, started in a real IPython."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from kv_dict import SQLiteBackend, open_mapping
from kv_dict.testing.servers.process import free_port

pytestmark = pytest.mark.beamline

Terminal = Any  # of conftest.py, which cannot be imported

ONE_RUN = """
import json, sys
before = "matplotlib" in sys.modules
RE(sample_map("Fe2O3", points=2))
print("told", json.dumps([before, RE.md.reads, RE.md.on_outage, RE.md["scan_id"]]))
"""


def ipython(
    collection: Path, env: dict[str, str], program: str
) -> subprocess.CompletedProcess[str]:
    """Run a program in the collection's IPython, without a terminal."""
    return subprocess.run(
        [sys.executable, "-m", "IPython", f"--profile-dir={collection}", "-c", program],
        capture_output=True,
        text=True,
        timeout=100,
        env=env,
        cwd=collection.parent,
        stdin=subprocess.DEVNULL,
    )


def told(done: subprocess.CompletedProcess[str]) -> Any:
    """Return what the program told."""
    found = re.search("^told (.*)$", done.stdout, re.MULTILINE)
    assert found, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    return json.loads(found[1])


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", "-c", "user.name=x", "-c", "user.email=x", *arguments],
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
    ).stdout


def test_sessions_go_on_where_the_last_one_ended_and_leave_the_folder_clean(
    start: Callable[..., Terminal], collection: Path, env: dict[str, str]
) -> None:
    git(collection, "init")
    git(collection, "add", ".")
    git(collection, "commit", "-m", "as it is")
    for number in (1, 2):
        terminal = start(f"--profile-dir={collection}")
        terminal.ready(1)
        terminal.run("RE(count([det]))")
        assert terminal.at_prompt()[1] == f"#{number} "
        terminal.type("exit\r")
        last_words = terminal.end()
        assert not re.search("Traceback|Warning|Exception", last_words), last_words
    with open_mapping(SQLiteBackend(collection / "metadata.db").url) as md:
        assert (md["scan_id"], md["beamline_id"]) == (2, "SIM")
        assert set(md) == {"beamline_id", "facility", "scan_id", "versions"}
    assert git(collection, "status", "--porcelain") == ""


@pytest.mark.parametrize("kind", ["postgres", "nats"])  # redis: with the queue server
def test_a_session_on_each_server(
    kind: str,
    collection: Path,
    env: dict[str, str],
    request: pytest.FixtureRequest,
    bucket: str,
    table: str,
) -> None:
    url = request.getfixturevalue(f"{kind}_url")
    toml = collection / "kv_dict.toml"
    text = toml.read_text()
    if kind == "postgres":
        at = urlsplit(url)
        text = text.replace("postgresql://localhost/kv_dict", url.replace(f"{at.username}@", "", 1))
        text = text.replace('user = "kv_dict"', f'user = "{at.username}"')
        text = text.replace("{ create_table", f'{{ table = "{table}", create_table')
        url += f"{'&' if at.query else '?'}table={table}"
    else:
        text = text.replace("nats://localhost:14222", url)
        text = text.replace('bucket = "kv_dict"', f'bucket = "{bucket}"')
        url += f"?bucket={bucket}&create_bucket=true"
        open_mapping(url).close()
    toml.write_text(text)
    done = ipython(collection, env | {"KV_DICT_PROFILE": kind}, ONE_RUN)
    assert told(done) == [False, "replica", "continue", 1]
    with open_mapping(url, entry_point="sim") as md:
        assert (md["scan_id"], md["beamline_id"]) == (1, "SIM")
        assert "sample" not in md  # of that run alone


def test_without_its_store_there_is_no_session_and_no_traceback(
    collection: Path, env: dict[str, str]
) -> None:
    url = f"redis://127.0.0.1:{free_port()}/0"
    done = ipython(collection, env | {"KV_DICT_URL": url}, "print('begun')")
    assert done.returncode != 0
    assert f"No session without metadata. Unavailable: {url}" in done.stderr
    assert "KV_DICT_PROFILE=local" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert "begun" not in done.stdout
