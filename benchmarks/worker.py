"""The process of one competitor: opens it, and measures what it is told.

``python -m benchmarks.worker NAME WHERE``, where the latter is JSON. Each line of input is a JSON
list, a command and its arguments; each line of output is ``{"value": ...}`` or ``{"error": ...}``.
`Player` is the other end.
"""

from __future__ import annotations

import importlib
import json
import os
import select
import subprocess
import sys
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, Any

from benchmarks.competitors import COMPETITORS, Competitor
from benchmarks.where import Where
from benchmarks.works import Here, Unable, Work, items

ROOT = Path(__file__).parents[1]
COMMAND = [sys.executable, "-W", "ignore", "-m", __name__]
PATIENCE = 20.0
FILLING = 120.0
CHUNK = 500


class Refused(Exception):
    """What a process was asked for failed there; the message says how."""


class Player:
    """A competitor in a process of its own. Close it.

    Parameters
    ----------
    competitor : Competitor
        Who.
    where : Where
        What it is opened with.
    path : str
        A folder that comes first on its path; by default as in this process.
    """

    def __init__(self, competitor: Competitor, where: Where, path: str = "") -> None:
        self.competitor = competitor
        self.where = where
        environment = dict(os.environ)
        if path:
            environment["PYTHONPATH"] = path
        self._log = Path(f"{where.folder}.log")
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*COMMAND, competitor.name, json.dumps(where)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=ROOT,
                env=environment,
            )
        self._receive("open")

    @property
    def gone(self) -> bool:
        """Whether its process has ended."""
        return self._process.poll() is not None

    def begin(self, work: Work, keys: int) -> None:
        """Have it hold `keys` items, and prepare a work with them."""
        self._ask("begin", f"{work.__module__}:{work.__name__}", keys)

    def round(self, seconds: float) -> list[float]:
        """Return what each call of a round of about so many seconds took."""
        self.send("round", seconds)
        return self.result()

    def end(self) -> None:
        """End the work; one whose process is gone has ended it already."""
        with suppress(Refused):
            self._ask("end")

    def send(self, *request: Any) -> None:
        """Ask for something, and do not wait for it."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise Refused(f"its process ended: {self._said()}") from None

    def result(self) -> Any:
        """Wait for what was asked for."""
        return self._receive("round")

    def _ask(self, *request: Any) -> Any:
        self.send(*request)
        return self._receive(request[0])

    def _receive(self, what: str) -> Any:
        out = self._process.stdout
        assert out is not None
        patience = FILLING if what == "begin" else PATIENCE
        if not select.select([out], [], [], patience)[0]:
            self._process.kill()
            self._process.wait()
            raise Refused(f"{what}: no answer within {patience:g} s")
        line = out.readline()
        if not line:
            raise Refused(f"{what}: its process ended: {self._said()}")
        answer = json.loads(line)
        if "error" in answer:
            raise Refused(answer["error"])
        return answer["value"]

    def _said(self) -> str:
        return (self._log.read_text(errors="replace").strip().splitlines() or ["no word"])[-1]

    def close(self) -> None:
        """End the process."""
        try:
            self._process.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()


class _Session:
    """The mapping, and the work that is under way."""

    def __init__(self, competitor: Competitor, where: Where) -> None:
        self._competitor, self._where = competitor, where
        self._md = competitor.open(where)
        self._held = 0
        self._working = ExitStack()

    def begin(self, path: str, keys: int) -> None:
        self.end()
        fresh = items(keys, self._held) | items(min(keys, 10))  # those that works change
        names = list(fresh)
        for first in range(0, len(names), CHUNK):
            self._md.update({name: fresh[name] for name in names[first : first + CHUNK]})
        self._held = max(keys, self._held)
        module, _, name = path.partition(":")
        work: Work = getattr(importlib.import_module(module), name)
        here = Here(self._md, self._competitor, self._where, self._held)
        self._round = self._working.enter_context(work(here))

    def round(self, seconds: float) -> list[float]:
        return self._round(seconds)

    def end(self) -> None:
        self._working.close()

    def close(self) -> None:
        self.end()
        if hasattr(self._md, "close"):
            self._md.close()


def main(name: str, where: str, answers: IO[str]) -> None:
    """Do what the input says until it ends."""

    def answer(value: Any = None, error: BaseException | None = None) -> None:
        told = {"value": value} if error is None else {"error": _told(error)}
        answers.write(json.dumps(told) + "\n")
        answers.flush()

    try:
        session = _Session(COMPETITORS[name], Where(*json.loads(where)))
    except Exception as error:
        answer(error=error)
        return
    answer()
    for line in sys.stdin:
        command, *arguments = json.loads(line)
        try:
            answer(getattr(session, command)(*arguments))
        except Exception as error:
            answer(error=error)
    session.close()


def _told(error: BaseException) -> str:
    if isinstance(error, Unable):
        return str(error)
    return f"{type(error).__name__}: {error}".partition("\n")[0][:200]


if __name__ == "__main__":
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no answer
    main(sys.argv[1], sys.argv[2], out)
