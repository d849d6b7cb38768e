"""The picture of `kv-dict watch --live`: a run, tiles, the tree of keys, and what changed last."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from rich.box import ROUNDED
from rich.console import ConsoleDimensions, Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from kv_dict.cli.difference import NOTHING, differences
from kv_dict.cli.live_tiles import Reading, reading
from kv_dict.cli.output import STYLES, Line, moment
from kv_dict.cli.values import brief
from kv_dict.dashboard.layout import Tile
from kv_dict.integrations.bluesky import Status
from kv_dict.mapping.paths import as_typed
from kv_dict.mapping.showing import harmless

if TYPE_CHECKING:
    from kv_dict.cli.live import Picture

__all__ = ["FRESH", "Last", "View"]

FRESH: Final = 2.0
"""Seconds for which a change is highlighted."""

_ALARM: Final = "bold white on red"
_FRESH: Final = "black on yellow"
_STATES: Final = {"ok": "green", "busy": "cyan", "warn": "yellow", "alarm": "bold red", "off": ""}
_OF_RUN: Final = {
    "running": "bold white on green",
    "idle": "reverse",
    "ended": "reverse",
    "aborting": _ALARM,
    "halting": _ALARM,
    "panicked": _ALARM,
}
_TILE: Final = 30
"""Columns of a tile, at least."""

_TILE_LINES: Final = 4


class Last(NamedTuple):
    """A change: when, of which key, ``"put"`` or ``"delete"``, from what to what."""

    time: float
    key: str
    kind: str
    previous: Any
    value: Any


class View:
    """Draws a `Picture`.

    Parameters
    ----------
    title : str
        What the beamline is called, if it is said.
    tiles : tuple of Tile
        What is shown large.
    url, entry_point : str
        What is watched.
    key, prefix : str, optional
        Which keys are listed.
    """

    def __init__(
        self,
        title: str,
        tiles: tuple[Tile, ...],
        url: str,
        entry_point: str,
        key: str | None,
        prefix: str | None,
    ) -> None:
        self._title = harmless(title or entry_point)
        self._tiles = tiles
        self._url = harmless(url)
        self._key = key
        self._prefix = prefix or ""

    def draw(self, picture: Picture, size: ConsoleDimensions) -> RenderableType:
        """Return the picture, in as many lines as fit."""
        width, height = size
        parts: list[RenderableType] = [self._head(picture), *self._run(picture, width)]
        tiles, lines = self._board(picture, width, (height - len(parts)) // 2)
        parts += tiles
        left = height - len(parts) + len(tiles) - lines
        last = [_last(one) for one in picture.last][: max(0, left - 4)]
        parts += self._tree(picture, left - len(last) - (1 if last else 0))
        if last:
            parts += [Text("last changes", "dim"), *last]
        for part in parts:
            if isinstance(part, Text):
                part.truncate(width, overflow="ellipsis")
                if picture.stale_since is not None and part is not parts[0]:
                    part.stylize("dim")
        return Group(*parts)

    # -- the parts -------------------------------------------------------------------------------

    def _head(self, picture: Picture) -> Text:
        head = Text(no_wrap=True)
        since = picture.stale_since
        if since is None:
            head.append(" LIVE ", "bold black on green")
        else:
            age = max(0.0, time.time() - since)
            head.append(f" STALE {_duration(age)} ", _ALARM)
        head.append(f" {self._title} ", "bold")
        if since is None:
            head.append(f" {self._url}  {moment(time.time())}", "dim")
        else:
            head.append(
                f" {self._url} cannot be reached; what you see is of {moment(since)[11:]}",
                "bold red",
            )
        return head

    def _run(self, picture: Picture, width: int) -> list[RenderableType]:
        status = picture.status
        if picture.status_problem:
            return [Text(harmless(picture.status_problem), "red", no_wrap=True)]
        if status is None:
            return []
        state = "suspended" if status.suspended and status.state == "running" else status.state
        doubt = status.stale or picture.stale_since is not None
        style = _OF_RUN.get(state, "bold black on yellow")
        if doubt:
            style = _ALARM if status.stale else "reverse"
        line = Text(no_wrap=True)
        line.append(f" {harmless(state).upper()}{'?' if doubt else ''} ", style)
        line.append(f" {harmless(status.plan_name or '')}", "bold")
        if status.scan_id is not None:
            line.append(f" #{status.scan_id}")
        line.append(f"  {_remark(status)}", "dim")
        if state in ("idle", "ended") or not (status.points_done or status.points_expected):
            return [line]
        return [line, self._progress(status, picture, width)]

    def _progress(self, status: Status, picture: Picture, width: int) -> RenderableType:
        expected = status.points_expected
        texts = [f"{status.points_done} of {expected} points" if expected else ""]
        now = picture.stale_since or time.time()
        if status.estimated_finish and status.estimated_finish > now:
            texts.append(f"about {_duration(status.estimated_finish - now)} left")
        told = Text("  ".join(filter(None, texts)) or f"{status.points_done} points", no_wrap=True)
        bar = Table.grid(expand=True)
        bar.add_column(ratio=1)
        bar.add_column(no_wrap=True)
        done = ProgressBar(
            total=expected or 1,
            completed=min(status.points_done, expected) if expected else 0,
            complete_style="dim" if picture.stale_since is not None else "green",
            finished_style="green",
        )
        told.truncate(max(1, width - 12))
        bar.add_row(done, Text("  ") + told)
        return bar

    def _board(self, picture: Picture, width: int, most: int) -> tuple[list[RenderableType], int]:
        """Return the tiles, and how many lines they take, which are no more than `most`."""
        readings = [r for tile in self._tiles if (r := reading(tile, picture.values))]
        columns = max(1, min(width // _TILE, len(readings)))
        rows = min(-(-len(readings) // columns), most // _TILE_LINES)
        if rows <= 0 or width < 12:
            return [], 0
        grid = Table.grid(expand=True)
        for _ in range(columns):
            grid.add_column(ratio=1)
        for row in range(rows):
            found = readings[row * columns : (row + 1) * columns]
            grid.add_row(*(_tile(one, picture, width // columns - 4) for one in found))
        return [grid], rows * _TILE_LINES

    def _tree(self, picture: Picture, height: int) -> list[Text]:
        if height <= 0:
            return []
        keys = [k for k in picture.values if k.startswith(self._prefix)]
        if self._key is not None:
            keys = [k for k in keys if k == self._key]
        if not keys:
            what = "Nothing is stored here yet." if not picture.values else "No key is like that."
            return [Text(what, "dim", no_wrap=True)]
        lines = (line for key in keys for line in _lines((key,), picture.values[key], picture))
        shown = list(islice(lines, height))
        if len(shown) == height and next(lines, None) is not None:
            more = f"… {len(keys)} keys; --prefix TEXT selects some"
            shown[-1] = Text(more, "dim", no_wrap=True)
        return shown


def _remark(status: Status) -> str:
    if status.stale:
        return f"no sign of it since {moment(status.updated)}"
    if status.state not in ("idle", "ended"):
        return harmless("  ".join(f"{name}={text}" for name, text in status.plan_args.items()))
    if status.exit_status in (None, "success"):
        return "" if status.exit_status is None else "the last run succeeded"
    return harmless(f"the last run: {status.exit_status}. {status.last_error or ''}")


def _tile(one: Reading, picture: Picture, width: int) -> RenderableType:
    stale = picture.stale_since is not None
    style = _STATES[one.state] if one.state else ""
    value = Text(one.text, f"bold {style}" if one.is_set else "dim", no_wrap=True)
    value.append(f" {one.unit}" if one.unit else "", "dim")
    if one.remark:
        value.append(f"  {one.remark}", style)
    below, old = _below(one, picture)
    detail = Text(below, "yellow" if old else "dim", no_wrap=True)
    for text in (value, detail):
        text.truncate(max(1, width), overflow="ellipsis")
    fresh = any(path[0] == one.key for path in picture.fresh)
    label = Text(one.label, "bold yellow" if fresh else "")
    label.truncate(max(1, width - 2), overflow="ellipsis")
    return Panel(
        Group(value, detail),
        box=ROUNDED,
        title=label,
        title_align="left",
        height=_TILE_LINES,
        border_style="dim" if stale else "yellow" if fresh else style or "bright_black",
        style="dim" if stale else "",
    )


def _below(one: Reading, picture: Picture) -> tuple[str, bool]:
    """Return what is below the value of a tile, and whether it says that the value is old."""
    when = picture.when.get(one.key)
    age = None if when is None else max(0.0, (picture.stale_since or time.time()) - when)
    if age is not None and one.max_age is not None and age > one.max_age:
        return f"no news for {_duration(age)}", True
    texts = [one.detail, "" if age is None or age > 3600 else f"{_duration(age)} ago"]
    return " · ".join(filter(None, texts)), False


def _lines(path: tuple[str, ...], value: Any, picture: Picture) -> Iterator[Text]:
    """Yield the lines of a key, or a part of one, dicts unfolded."""
    indent = "  " * (len(path) - 1)
    name = as_typed(path[-1:])
    line = Text(no_wrap=True)
    line.append(indent)
    line.append(name, "cyan")
    if isinstance(value, dict) and value:
        _highlight(line, path, picture.fresh)
        yield line
        for step, item in value.items():
            yield from _lines((*path, step), item, picture)
        return
    line.append(" " * max(2, 24 - len(indent) - len(name)))
    _append(line, brief(value))
    _highlight(line, path, picture.fresh)
    yield line


def _highlight(line: Text, path: tuple[str, ...], fresh: Mapping[tuple[str, ...], float]) -> None:
    if path in fresh:
        line.stylize(_FRESH, len(line.plain) - len(line.plain.lstrip()))


def _last(one: Last) -> Text:
    line = Text(f"{moment(one.time)[11:]}  ", "dim", no_wrap=True)
    found = list(islice(differences((one.key,), one.previous, one.value), 2))
    if one.kind == "delete":
        _append(line, [(as_typed([one.key]), "key"), ("  deleted", "old")])
    elif not found or one.previous is NOTHING:
        told: Line = [("  new  ", "new"), *brief(one.value, 160)] if found else [("  the same", "")]
        _append(line, [(as_typed([one.key]), "key"), *told])
    else:
        first = found[0]
        _append(line, [(as_typed(first.path), "key"), ("  ", ""), *first.values()])
        line.append("  …" if len(found) > 1 else "", "dim")
    return line


def _append(text: Text, line: Line) -> None:
    """Append pieces of text in their styles."""
    for piece, style in line:
        text.append(piece, _RICH[style] if style else "")


_RICH: Final = {
    name: " ".join([*(flag for flag in ("bold", "dim") if style.get(flag)), style.get("fg", "")])
    for name, style in STYLES.items()
}
"""The styles of `kv_dict.cli.output`, as rich spells them."""


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"
