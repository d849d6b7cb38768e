"""Who is who: one program that uses the store, as people know it."""

from __future__ import annotations

import getpass
import os
import socket
import sys
import uuid
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Self

__all__ = ["Session"]


@dataclass(frozen=True, slots=True)
class Session:
    """One process that uses the store.

    Attributes
    ----------
    host, user, program : str
        The computer, the account, and what it runs.
    pid : int
        The process id on that computer.
    uid : str
        Unlike any other session's, also where process ids are used again.
    """

    host: str
    pid: int
    user: str
    program: str
    uid: str

    def __str__(self) -> str:
        return f"{self.user} on {self.host} ({self.program}, process {self.pid})"

    @classmethod
    def here(cls, program: str | None = None) -> Self:
        """Return this process; `program` is the name of its command unless it is told.

        Examples
        --------
        >>> Session.here("queue server").program
        'queue server'
        """
        if program is not None and not isinstance(program, str):
            raise TypeError(f"program={program!r:.60}: what others call this session, as a string")
        pid = os.getpid()
        return cls(socket.gethostname(), pid, _user(), program or _program(), _uid(pid))

    def as_item(self) -> dict[str, Any]:
        """Return what is stored of it."""
        return asdict(self)

    @classmethod
    def from_item(cls, item: Any) -> Self:
        """Return the session of a stored item; ValueError if it is none."""
        match item:
            case {
                "host": str(host),
                "pid": int(pid),
                "user": str(user),
                "program": str(program),
                "uid": str(uid),
            }:
                return cls(host, pid, user, program, uid)
        raise ValueError(f"no session: {item!r:.80}")


@cache
def _uid(pid: int) -> str:
    """Return the same for one process; a forked child has another one."""
    return uuid.uuid4().hex[:16]


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user need not be known to it
        return str(os.getuid())


def _program() -> str:
    name = Path(sys.argv[0]).name if sys.argv else ""
    return name if name not in ("", "-c", "-m", "__main__.py") else "python"
