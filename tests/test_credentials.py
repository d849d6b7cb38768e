"""One rule for files with passwords."""

from __future__ import annotations

import os
import pickle
import traceback
from pathlib import Path

import pytest

from kv_dict import ConfigurationError
from kv_dict.credentials import Secret, read_password


@pytest.mark.parametrize(
    ("content", "password"),
    [
        (b"hush", "hush"),
        (b"hush\n", "hush"),
        (b"hush\r\n", "hush"),
        (b"hush\nnot this\n", "hush"),
        (b" a b \t\n", " a b \t"),
        ("päss\u2028wört\n".encode(), "päss\u2028wört"),
        (b"x" * 4096, "x" * 4096),
    ],
)
def test_the_first_line(tmp_path: Path, content: bytes, password: str) -> None:
    (tmp_path / "file").write_bytes(content)
    assert read_password(tmp_path / "file") == password


@pytest.mark.parametrize("content", [b"", b"\n", b"\r\nhush", b"\nhush", b"\xff\xfe", b"h" * 5000])
def test_what_holds_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"sentinel_password_file=.*file: ") as caught:
        read_password(tmp_path / "file", "sentinel_password_file")
    assert "whose first line is the password" in str(caught.value)
    shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    del shown.stack[0]  # this function
    assert "hhhh" not in "".join(shown.format())


def test_what_cannot_be_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")  # opening it would wait for a writer
    for name, why in (
        ("missing", "No such file"),
        ("pipe", "not a regular file"),
        (".", "not a regular file"),
        ("a\0b", "its name is no path"),
    ):
        with pytest.raises(ConfigurationError, match=why):
            read_password(tmp_path / name)
    with pytest.raises(ConfigurationError, match="its name is no path"):
        read_password("~no-such-user-here/password")


def test_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "password").write_text("hush")
    assert read_password("~/password") == "hush"


def test_a_secret_is_not_shown() -> None:
    secret = Secret("hush")
    assert repr(secret) == str(secret) == f"{secret}" == "***"
    assert pickle.loads(pickle.dumps(secret)).reveal() == "hush"
