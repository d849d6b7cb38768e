"""One server as a child process, that a test may kill, freeze and start again."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from abc import abstractmethod
from pathlib import Path
from typing import Final, Self

from kv_dict.closing import Closing

__all__ = ["ServerError", "ServerProcess", "free_port"]

START_TIMEOUT: Final = 30.0
STOP_TIMEOUT: Final = 15.0
TRIES: Final = 5
_PR_SET_PDEATHSIG: Final = 1


class ServerError(AssertionError):
    """A server did not start or stop; the message ends with what it said."""


def free_port() -> int:
    """Return a port that was free a moment ago; another process may still take it first."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class ServerProcess(Closing):
    """A server in a folder of its own.

    It keeps its port when it is started again, and dies with the process that started it.

    Parameters
    ----------
    folder : Path
        Where it keeps its data and its log.

    Attributes
    ----------
    port : int
        Where it listens, on 127.0.0.1.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None

    # -- for each server to define -------------------------------------------------------------

    @property
    @abstractmethod
    def url(self) -> str:
        """The URL of the server, as `open_backend` takes it."""

    def store_url(self, port: int | None = None) -> str:
        """Return the URL of a store, made at its first use; with a proxy's port if one is given."""
        return self.url.replace(f":{self.port}", f":{port or self.port}") + self.store_options

    store_options: str = ""
    """What a URL needs so that its store is made."""

    @abstractmethod
    def command(self) -> list[str]:
        """Return the command line that serves `folder` on `port`, in the foreground."""

    @abstractmethod
    def ready(self) -> bool:
        """Return whether it answers; called again until it does."""

    def prepare(self) -> None:
        """Make what has to be in `folder` before the first start."""

    stop_signal: signal.Signals = signal.SIGTERM

    # -- life ----------------------------------------------------------------------------------

    def start(self) -> Self:
        """Start it, and return when it answers."""
        first = self.port == 0
        if first:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.prepare()
        for attempt in range(TRIES):
            if first:
                self.port = free_port()
            if self._try_to_start():
                return self
            if not first and attempt == TRIES - 1:
                break
        raise ServerError(f"{type(self).__name__} did not start: {self.log()[-3000:]}")

    def _try_to_start(self) -> bool:
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own command
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                process_group=0,  # a Ctrl-C at the terminal is for whoever started it
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - one call, before exec
            )
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline:
            if self._process.poll() is not None:  # the port was taken, say
                return False
            if self.ready():
                return True
            time.sleep(0.01)
        self.kill()
        return False

    @property
    def pid(self) -> int:
        """The process id of the server."""
        assert self._process is not None  # noqa: S101 - it was started
        return self._process.pid

    def log(self) -> str:
        """Return what it has said so far."""
        with contextlib.suppress(FileNotFoundError):
            return (self.folder / "log").read_text(errors="replace")
        return ""

    def stop(self) -> None:
        """Ask it to end, and wait until it has."""
        if self._process is not None and self._process.poll() is None:
            self.thaw()
            self._process.send_signal(self.stop_signal)
            try:
                self._process.wait(STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                self.kill()
                raise ServerError(
                    f"{type(self).__name__} did not stop: {self.log()[-3000:]}"
                ) from None
        self._process = None

    def kill(self) -> None:
        """Kill it, as a crash or a power failure of the process would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """Stop it in its tracks: connections stay open, nothing is answered."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen one go on."""
        os.kill(self.pid, signal.SIGCONT)

    def __enter__(self) -> Self:
        return self.start()

    def close(self) -> None:
        """Kill it: at the end of a block."""
        self.kill()


def _die_with_parent() -> None:
    """Have the kernel kill this child when the thread that started it ends (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
