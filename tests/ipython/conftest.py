"""A real IPython in a terminal: what is typed, and what is on the screen."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import kv_dict

from ..terminal import Terminal

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def matplotlib_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where matplotlib keeps its list of fonts, which takes it seconds to make."""
    return tmp_path_factory.mktemp("matplotlib")


@pytest.fixture
def env(tmp_path: Path, matplotlib_cache: Path) -> dict[str, str]:
    """An environment that says nothing yet, and in which nothing of the user's is touched."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("KV_DICT_", "XDG_"))}
    home = tmp_path / "home"
    home.mkdir()
    return kept | {
        "HOME": str(home),
        "IPYTHONDIR": str(home / "ipython"),
        "MPLCONFIGDIR": str(matplotlib_cache),
        "PYTHONPATH": str(Path(kv_dict.__file__).parents[1]),
        "TERM": "xterm-256color",
        "XDG_CONFIG_DIRS": str(home / "system"),
        "NO_COLOR": "",
    }


@pytest.fixture
def start(env: dict[str, str], tmp_path: Path) -> Iterator[Callable[..., Terminal]]:
    """A function that starts IPython in a terminal, with arguments and variables."""
    started: list[Terminal] = []

    def start(*arguments: str, **variables: str) -> Terminal:
        command = [sys.executable, "-m", "IPython", "--no-banner", "--no-confirm-exit", *arguments]
        started.append(Terminal(command, env | variables, tmp_path))
        return started[-1]

    yield start
    for terminal in started:
        terminal.close()


@pytest.fixture
def collection(tmp_path: Path) -> Path:
    """A copy of the profile collection, where it may write."""
    folder = tmp_path / "profile_collection"
    ignored = shutil.ignore_patterns("__pycache__", "*.db*", "history*", "log", "pid", "security")
    shutil.copytree(REPOSITORY / "profile_collection", folder, ignore=ignored)
    return folder
