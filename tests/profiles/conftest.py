"""A home, a working directory and an environment that say nothing yet."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from kv_dict.profiles import environment


class Places:
    """The folders that are searched, the nearest first."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.cwd = root / "work"
        self.ipython = root / "profile_collection"
        self.user = root / "config" / "kv-dict"
        self.site = root / "system" / "kv-dict"
        for folder in (self.cwd, self.ipython, self.user, self.site):
            folder.mkdir(parents=True)


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(tmp_path)


@pytest.fixture(autouse=True)
def nothing_said(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    of_facilities = ("REDIS_", "BEAMLINE_", "ENDSTATION_")
    for name in os.environ:
        if name.startswith(("KV_DICT_", *of_facilities)) and "_TEST_" not in name:
            monkeypatch.delenv(name)
    for name, folder in {
        "HOME": "home",
        "XDG_DATA_HOME": "data",
        "XDG_CONFIG_HOME": "config",
        "XDG_CONFIG_DIRS": "system",
    }.items():
        monkeypatch.setenv(name, str(places.root / folder))
    monkeypatch.chdir(places.cwd)
    monkeypatch.setattr("sys.argv", ["ipython"])
    environment._told.clear()


@pytest.fixture
def write(places: Places) -> Callable[..., Path]:
    """Write a kv_dict.toml, into the working directory if nothing else is said."""

    def write(text: str, folder: Path | None = None) -> Path:
        path = (folder or places.cwd) / "kv_dict.toml"
        path.write_text(text)
        return path

    return write
