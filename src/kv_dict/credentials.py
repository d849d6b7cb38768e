"""Passwords: read from a file by one rule, and kept where nothing shows them."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Final

from kv_dict.errors import ConfigurationError

__all__ = ["Secret", "Unshown", "read_password"]

_LONGEST: Final = 4096


class Secret:
    """Text that `repr` does not show: not in a debugger's list of variables either."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the text."""
        return self._text

    def __repr__(self) -> str:
        return "***"


class Unshown(str):
    """Text that may hold a secret, and whose `repr` does not show it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


def read_password(path: str | Path, option: str = "password_file") -> str:
    r"""Return the password that a file holds: its first line, without the end of the line.

    Parameters
    ----------
    path : str or Path
        The file; ``~`` is the home folder.
    option : str
        What named it, for messages.

    Raises
    ------
    ConfigurationError
        It cannot be read, or holds no password; says why and what to do.

    Examples
    --------
    >>> _ = (tmp_path / "password").write_text("correct horse\n")
    >>> read_password(tmp_path / "password")
    'correct horse'
    """
    try:
        path = Path(path).expanduser()
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe might never say anything
            raise _unusable(path, option, "it is not a regular file")
        with path.open(encoding="utf-8", newline="\n") as file:
            line = file.readline(_LONGEST + 1)
    except ConfigurationError:  # a ValueError too
        raise
    except OSError as error:
        raise _unusable(path, option, error.strerror or str(error)) from None
    except (ValueError, RuntimeError):  # no UTF-8, or a NUL in the path; no such user for ~user
        raise _unusable(path, option, "it is no text, or its name is no path") from None
    password = line.rstrip("\r\n")
    if not password:
        raise _unusable(path, option, "its first line is empty")
    if len(line) > _LONGEST:
        del line, password  # no traceback shows them
        raise _unusable(path, option, f"its first line is longer than {_LONGEST} characters")
    return password


def _unusable(path: str | Path, option: str, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"{option}={path}: {why}; a file is needed whose first line is the password, and which the "
        "user who runs this program may read"
    )
