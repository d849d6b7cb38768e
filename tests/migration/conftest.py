"""What is migrated from: real stores, written by the packages that own them."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from kv_dict import RemoteKVMapping, SQLiteBackend

UPSTREAM = Path(__file__).parents[1] / "interop" / "upstream.py"

Run = Callable[..., None]


@pytest.fixture(scope="session")
def old_kv_dict(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Has kv-dict 0.1.7 do what its arguments say: see tests/interop/upstream.py."""
    folder = tmp_path_factory.mktemp("upstream")
    if uv := os.environ.get("UV") or shutil.which("uv"):
        installer = [uv, "pip", "install", "--python", sys.executable]
    elif importlib.util.find_spec("pip"):
        installer = [sys.executable, "-m", "pip", "install"]
    else:
        pytest.fail("neither uv nor pip is here to install kv-dict 0.1.7 with: pip install uv")
    options = ["--quiet", "--no-deps", "--target", str(folder), "kv-dict==0.1.7"]
    done = subprocess.run([*installer, *options], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr

    def run(*commands: list[Any]) -> None:
        done = subprocess.run(
            [sys.executable, str(UPSTREAM), str(folder)],
            input="".join(json.dumps(command) + "\n" for command in commands),
            capture_output=True,
            text=True,
            timeout=60,
        )
        answers = [json.loads(line) for line in done.stdout.splitlines()]
        assert done.returncode == 0, done.stderr
        assert all("value" in answer for answer in answers), answers

    return run


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    """A client of an empty Redis database."""
    with redis.Redis.from_url(redis_url) as client:
        client.flushdb()
        yield client


@pytest.fixture
def url(tmp_path: Path) -> str:
    """The URL of a SQLite file that is not there yet."""
    return f"sqlite://{tmp_path}/destination.db"


@pytest.fixture
def destination(url: str) -> Callable[..., dict[str, Any]]:
    """What is in that file, or in another store, now."""

    def read(entry_point: str = "md") -> dict[str, Any]:
        with RemoteKVMapping(SQLiteBackend(url.removeprefix("sqlite://")), entry_point) as md:
            return md.copy()

    return read
