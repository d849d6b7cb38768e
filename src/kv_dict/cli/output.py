"""Printing: for people on a terminal, for programs into a pipe; harmless in both.

A line is a list of pieces of text, each with a style that a terminal shows. What comes from the
store passes `harmless` on its way, because a terminal obeys what it is sent.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable
from typing import Any, Final, TypeAlias

import click

from kv_dict.mapping.showing import harmless

__all__ = ["STYLES", "Failure", "Line", "Printer", "moment", "plain", "write"]

Line: TypeAlias = "list[tuple[str, str]]"
"""Pieces of text and the style of each: a name of `STYLES`, or nothing."""

STYLES: Final[dict[str, dict[str, Any]]] = {
    "key": {"fg": "cyan"},
    "string": {"fg": "green"},
    "number": {"fg": "blue"},
    "special": {"fg": "magenta"},
    "faint": {"dim": True},
    "old": {"fg": "red"},
    "new": {"fg": "green"},
    "ok": {"fg": "green"},
    "warn": {"fg": "yellow"},
    "fail": {"fg": "red", "bold": True},
    "head": {"bold": True},
}


class Failure(click.ClickException):
    """What was asked for cannot be had, and why, without a traceback. Exit status 1."""

    exit_code = 1

    def show(self, file: Any = None) -> None:
        """Print it to standard error."""
        click.secho(f"kv-dict: {harmless(self.message, keep=chr(10))}", fg="red", err=True)


def moment(seconds: float | None, *, exact: bool = False) -> str:
    """Return a time as this computer's clock shows it."""
    if seconds is None:
        return "-"
    text = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
    return f"{text}.{int(seconds % 1 * 1000):03}" if exact else text


def plain(line: Line) -> str:
    """Return the text of a line."""
    return "".join(text for text, _ in line)


def write(data: bytes) -> None:
    """Write bytes to standard output, all of them: unbuffered, one call may write only some."""
    left = memoryview(data)
    while left:
        left = left[sys.stdout.buffer.write(left) :]


class Printer:
    """Prints to standard output.

    Attributes
    ----------
    width : int or None
        Columns to fit a line into; None where nothing may be left out.
    """

    def __init__(self) -> None:
        self.width: int | None = None
        if sys.stdout.isatty():
            import shutil

            self.width = shutil.get_terminal_size().columns

    def line(self, line: Line, *, fit: bool = False) -> None:
        """Print a line, in colour on a terminal; `fit` cuts it there at the right edge."""
        if self.width is None:
            click.echo(plain(line))
            return
        shown = _fitting(line, self.width) if fit else line
        click.echo("".join(click.style(t, **STYLES[s]) if s else t for t, s in shown))

    def lines(self, lines: Iterable[Line], *, fit: bool = False) -> None:
        """Print several."""
        for line in lines:
            self.line(line, fit=fit)

    def json(self, value: dict[str, Any]) -> None:
        """Print one JSON object in a line of its own, at once."""
        narrow = (sys.stdout.encoding or "").lower().replace("-", "") != "utf8"
        text = json.dumps(value, ensure_ascii=narrow or self.width is not None, allow_nan=False)
        click.echo(text)
        sys.stdout.flush()


def _fitting(line: Line, width: int) -> Line:
    """Return as much of a line as fits, with an ellipsis where something was left out."""
    from rich.cells import cell_len, set_cell_size

    if sum(cell_len(text) for text, _ in line) <= width:
        return line
    left, shown = width - 1, []
    for text, style in line:
        size = cell_len(text)
        shown.append((text if size <= left else set_cell_size(text, left), style))
        left -= size
        if left <= 0:
            break
    return [*shown, ("…", "faint")]
