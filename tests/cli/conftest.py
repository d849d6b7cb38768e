"""Running `kv-dict`: inside this process, and as a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from kv_dict import RemoteKVMapping, open_mapping
from kv_dict.cli.commands import cli

PROGRAM = [
    sys.executable,
    "-c",
    "import sys; sys.argv[0] = 'kv-dict'; from kv_dict.cli import main; main()",
]

Run = Callable[..., Result]


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite://{tmp_path / 'md.db'}?history=4"


@pytest.fixture
def run(url: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command on the store of `url`; `status` is the exit status that is expected."""
    monkeypatch.setenv("KV_DICT_URL", url)
    monkeypatch.delenv("KV_DICT_ENTRY_POINT", raising=False)

    def run(*arguments: str, status: int = 0, stdin: str | bytes | None = None) -> Result:
        result = CliRunner().invoke(cli, arguments, input=stdin, prog_name="kv-dict")
        assert result.exit_code == status, (result.output, result.exception)
        assert "Traceback" not in result.output
        return result

    return run


@pytest.fixture
def md(url: str, run: Run) -> Any:
    with open_mapping(url) as md:
        assert isinstance(md, RemoteKVMapping)
        yield md


def lines(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def start(*arguments: str, **options: Any) -> subprocess.Popen[str]:
    """Start it as a process, that ends with the block."""
    environment = {**os.environ, **options.pop("env", {})}
    return subprocess.Popen(
        [*PROGRAM, *arguments],
        stdout=options.pop("stdout", subprocess.PIPE),
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        **options,
    )
