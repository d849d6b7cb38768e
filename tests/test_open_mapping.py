"""From nothing, a URL or the environment to a mapping."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kv_dict import ConfigurationError, InMemoryAsyncBackend, SQLiteBackend, open_mapping
from kv_dict.backends import open_backend
from kv_dict.profiles import default_path


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KV_DICT_URL", "KV_DICT_ENTRY_POINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)


def test_nothing_said_means_a_file_of_the_user(tmp_path: Path) -> None:
    with open_mapping() as md:
        md["a"] = 1
        assert md.entry_point == "md"
    assert default_path() == tmp_path / "data" / "kv-dict" / "metadata.db"
    assert default_path().parent.stat().st_mode & 0o777 == 0o700
    with open_mapping() as md:
        assert dict(md) == {"a": 1}


def test_the_environment_says_where(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KV_DICT_URL", f"sqlite://{tmp_path}/env.db")
    monkeypatch.setenv("KV_DICT_ENTRY_POINT", "xas")
    with open_mapping() as md:
        md["a"] = 1
    with open_mapping(f"sqlite:///{tmp_path}/env.db", entry_point="xas") as md:
        assert dict(md) == {"a": 1}
    with open_mapping(entry_point="other") as md:
        assert dict(md) == {}
    with open_mapping("memory://") as md:
        assert dict(md) == {}
        assert isinstance(md.backend, InMemoryAsyncBackend)


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///{tmp}/a.db", "{tmp}/a.db"),
        ("sqlite://{tmp}/a.db", "{tmp}/a.db"),
        ("sqlite:{tmp}/a.db", "{tmp}/a.db"),
        ("sqlite:///a.db", "{cwd}/a.db"),
        ("sqlite:a.db", "{cwd}/a.db"),
        ("sqlite:sub/a.db", "{cwd}/sub/a.db"),
        ("sqlite:./sub/a.db", "{cwd}/sub/a.db"),
        ("sqlite:///{tmp}/with%20space%3F.db", "{tmp}/with space?.db"),
        ("sqlite:////a.db", "/a.db"),
        ("sqlite:~/a.db", "{tmp}/home/a.db"),
        ("sqlite:~nobody-here/a.db", "{cwd}/~nobody-here/a.db"),
    ],
)
def test_sqlite_urls(url: str, path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    backend = open_backend(url.format(tmp=tmp_path))
    assert isinstance(backend, SQLiteBackend)
    expected = Path(os.path.normpath(path.format(tmp=tmp_path, cwd=Path.cwd())))
    assert Path(os.path.normpath(backend.path)) == expected
    again = open_backend(backend.url)
    assert isinstance(again, SQLiteBackend)
    assert again.path == backend.path


def test_options_follow_the_url() -> None:
    backend = open_backend("sqlite:a.db?poll_interval=0.5")
    assert isinstance(backend, SQLiteBackend)
    assert backend.poll_interval == 0.5


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("nowhere", "is not a URL"),
        ("", "is empty"),
        (" ", "is empty"),
        ("metadata.db", "that of a file is 'sqlite:metadata.db'"),
        ("data/md", "that of a file is 'sqlite:data/md'"),
        ("/data/md.db", "that of a file is 'sqlite:////data/md.db'"),
        ("gopher://x", "a URL starts with one of memory:, nats:, sqlite:, "),
        ("sqlite://", "needs a file"),
        ("sqlite://host/a.db", "names a host"),
        ("memory://name", "takes no name"),
        ("memory://?a=1", "has no option 'a'"),
        ("sqlite:a.db?polling=1", "has no option 'polling' \\(known: poll_interval, history\\)"),
        ("sqlite:a.db?poll_interval=often", "could not convert"),
        ("sqlite:a.db?poll_interval=-1", "above 0"),
        (
            "sqlite:a.db?poll_interval=1&poll_interval=2",
            "given twice in a sqlite URL: poll_interval",
        ),
        ("sqlite:no/such/folder/a.db", "there is no folder"),
    ],
)
def test_what_cannot_be_opened_says_why(target: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=says):
        open_mapping(target)
    assert list(tmp_path.iterdir()) == []


def test_a_target_is_text(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="target is a URL or the name of a profile, not"):
        open_mapping(tmp_path / "a.db")  # type: ignore[arg-type]


def test_a_data_folder_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "file"))
    with pytest.raises(ConfigurationError, match="say where with KV_DICT_URL"):
        open_mapping()


def test_unknown_reads_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="'server' or 'replica'"):
        open_mapping("memory://", reads="sometimes")
