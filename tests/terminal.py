"""A real program in a terminal: what is typed, and what is on the screen."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pexpect
import pyte
import pytest

DEADLINE = 30.0
"""Seconds that anything may take before a test gives up waiting for it."""


class _Screen(pyte.HistoryScreen):  # type: ignore[misc]  # it has no types
    """A screen that answers as a terminal does: IPython asks where the cursor is."""

    answer: Callable[[str], Any]

    def write_process_input(self, data: str) -> None:
        self.answer(data)


class Terminal:
    """A program in a terminal of 200 columns, and enough lines that nothing scrolls away."""

    def __init__(
        self,
        command: list[str],
        env: dict[str, str],
        cwd: Path,
        rows: int = 300,
        columns: int = 200,
    ) -> None:
        self._child = pexpect.spawn(
            command[0],
            command[1:],
            # Readline tells its process's children how large that one's terminal is, not this one.
            env={name: text for name, text in env.items() if name not in ("COLUMNS", "LINES")},
            cwd=str(cwd),
            dimensions=(rows, columns),
            encoding="utf-8",
            timeout=DEADLINE,
        )
        self._screen = _Screen(columns, rows)
        self._screen.answer = self._child.send
        self._stream = pyte.Stream(self._screen)
        self.prompt = re.compile(r"^(.*)In \[(\d+)\]: (.*)$")

    @property
    def lines(self) -> list[str]:
        """What is on the screen, down to the last line that is not empty."""
        return [self._line(row) for row in range(max(self._screen.buffer, default=-1) + 1)]

    def _line(self, row: int) -> str:
        cells = self._screen.buffer.get(row, {})
        return "".join([cells[x].data for x in range(max(cells, default=-1) + 1)]).rstrip()

    @property
    def text(self) -> str:
        return "\n".join(self.lines).rstrip()

    def colour_of(self, text: str) -> str:
        """Return the colour of the first character of the last `text` on the screen."""
        return str(self._cell_of(text).fg)

    def background_of(self, text: str) -> str:
        """Return what is behind that."""
        return str(self._cell_of(text).bg)

    def _cell_of(self, text: str) -> Any:
        for row in range(len(self.lines) - 1, -1, -1):
            if (column := self.lines[row].rfind(text)) >= 0:
                return self._screen.buffer[row][column]
        raise AssertionError(f"{text!r} is not on the screen:\n{self.text}")

    def has_mode(self, number: int) -> bool:
        """Return whether a private mode is set: 25, a cursor; 1049, another screen."""
        return number << 5 in self._screen.mode

    def type(self, keys: str) -> None:
        """Press keys."""
        self._child.send(keys)

    def wait(self, condition: Callable[[], Any]) -> Any:
        """Let the program write until `condition` holds; return what it returned."""
        deadline = time.monotonic() + DEADLINE
        while not (found := condition()):
            left = deadline - time.monotonic()
            try:
                self._stream.feed(self._child.read_nonblocking(65536, timeout=max(left, 0)))
            except (pexpect.TIMEOUT, pexpect.EOF) as error:
                pytest.fail(f"{type(error).__name__}; the screen:\n{self.text}")
        return found

    def wait_for(self, text: str) -> None:
        """Wait until `text` is on the screen."""
        self.wait(lambda: text in self.text)

    def at_prompt(self) -> re.Match[str] | None:
        """Return the last line if it is an empty prompt, with the cursor in it."""
        found = self.prompt.match(self._line(self._screen.cursor.y) + " ")
        return found if found and not found[3].strip() else None

    def ready(self, number: int) -> None:
        """Wait for the prompt of that number."""
        self.wait(lambda: (found := self.at_prompt()) and int(found[2]) == number)

    def run(self, command: str) -> str:
        """Type a command at the prompt, and return what it printed up to the next one."""
        number = int(self.wait(self.at_prompt)[2])  # it may be drawn anew, below a log's line
        self.type(command + "\r")
        self.ready(number + 1)
        lines = self.lines
        begin = next(row for row, line in enumerate(lines) if f"In [{number}]: " in line)
        end = next(row for row, line in enumerate(lines) if f"In [{number + 1}]:" in line)
        return "\n".join(lines[begin + 1 : end]).strip("\n")

    def end(self) -> str:
        """Wait for its end; return what is on the screen."""
        try:
            while True:
                self._stream.feed(self._child.read_nonblocking(65536, timeout=DEADLINE))
        except pexpect.EOF:
            pass
        self.close()
        return self.text

    @property
    def status(self) -> int | None:
        """The exit status, once it has ended."""
        status: int | None = self._child.exitstatus
        return status

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self._child.kill(number)

    def close(self) -> None:
        """End the program."""
        self._child.close(force=True)
