"""`kv-dict watch`: every change, as it happens."""

from __future__ import annotations

import logging
import os
import sys
import time
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Final

import click

from kv_dict.cli.difference import NOTHING, differences
from kv_dict.cli.opening import Store, pass_store
from kv_dict.cli.output import Printer, moment
from kv_dict.cli.revisions import as_text
from kv_dict.cli.values import as_json, brief
from kv_dict.mapping import Change
from kv_dict.mapping.paths import as_typed

__all__ = ["watch"]

LOOK: Final = 0.2
"""Seconds between two looks whether the store is away."""


@click.command(short_help="Print every change as it happens.")
@click.argument("key", required=False)
@click.option("--prefix", metavar="TEXT", help="Only keys that start so.")
@click.option("--no-initial", is_flag=True, help="Do not begin with what is there.")
@click.option("--json", "as_lines", is_flag=True, help="One JSON object a line.")
@click.option("--live", is_flag=True, help="A live picture of the run and all items instead.")
@click.option(
    "--layout",
    type=click.Path(path_type=Path),
    help="With --live, TOML file: what it shows, in place of what the profile says.",
)
@pass_store
def watch(
    store: Store,
    key: str | None,
    prefix: str | None,
    no_initial: bool,
    as_lines: bool,
    live: bool,
    layout: Path | None,
) -> None:
    """Print what is there, and then every change by any program, until Ctrl-C.

    \b
    kv-dict watch
    kv-dict watch scan_id
    kv-dict watch --prefix motor_ --no-initial
    kv-dict watch --json | jq --unbuffered -c 'select(.kind == "put") | [.key, .value]'
    kv-dict watch --live                      the dashboard of a terminal

    While the store is away it waits, and says so; when it is back, it tells what is different.

    In --json the kind of a line is put or delete (with key, value, previous, revision, time,
    initial), away or back (with time).
    """
    if key is not None and prefix is not None:
        raise click.UsageError("KEY and --prefix: choose one")
    if layout is not None and not live:
        raise click.UsageError("--layout is for --live")
    if live:
        _watch_live(store, key, prefix, layout, not_with=as_lines or no_initial)
        return
    news: SimpleQueue[Change] = SimpleQueue()
    teller = _Teller(as_lines)
    logging.getLogger("kv_dict").setLevel(logging.ERROR)  # outages are told here
    with store.open() as md:
        md.subscribe(news.put, key=key, prefix=prefix, initial=not no_initial)
        away = False
        while True:
            try:
                teller.tell(news.get(timeout=LOOK))
                continue
            except Empty:
                since = md.stale_since
            if away != (since is not None):
                away = since is not None
                teller.tell_of_store(md.backend.url, since)


def _watch_live(
    store: Store, key: str | None, prefix: str | None, layout: Path | None, *, not_with: bool
) -> None:
    if not_with:
        raise click.UsageError("--live is a picture, with neither --json nor --no-initial")
    if not sys.stdout.isatty() or os.environ.get("TERM", "dumb") in ("dumb", "unknown"):
        raise click.UsageError(
            "--live needs a terminal that it can draw on; without it, changes are printed line by "
            "line"
        )
    from kv_dict.cli.live import show

    show(store, key, prefix, layout)


class _Teller:
    """Prints changes."""

    def __init__(self, as_lines: bool) -> None:
        self._printer = Printer()
        self._as_lines = as_lines

    def tell(self, change: Change) -> None:
        if self._as_lines:
            self._printer.json(_as_object(change))
            return
        when = (f"{moment(change.time or time.time(), exact=True)}  ", "faint")
        name = (as_typed([change.key]), "key")
        if change.initial:
            self._printer.line([when, name, ("  ", ""), *brief(change.value)], fit=True)
        elif change.kind == "delete":
            was = [(text, "faint") for text, _ in brief(change.previous)]
            self._printer.line([when, name, ("  deleted  ", "old"), *was], fit=True)
        elif change.previous is None:
            self._printer.line([when, name, ("  new  ", "new"), *brief(change.value)], fit=True)
        else:
            self._tell_differences(when, change)
        sys.stdout.flush()

    def _tell_differences(self, when: tuple[str, str], change: Change) -> None:
        found = list(differences((change.key,), change.previous, change.value))
        for difference in found:
            path = (as_typed(difference.path), "key")
            kind = ("  ", "")
            if difference.before is NOTHING:
                kind = ("  new  ", "new")
            elif difference.after is NOTHING:
                kind = ("  deleted  ", "old")
            self._printer.line([when, path, kind, *difference.values()], fit=True)
        if not found:
            name = (as_typed([change.key]), "key")
            self._printer.line([when, name, ("  written again, the same", "faint")], fit=True)

    def tell_of_store(self, url: str, since: float | None) -> None:
        """Say that the store is away since then, or back."""
        if self._as_lines:
            kind = "back" if since is None else "away"
            self._printer.json({"kind": kind, "time": time.time() if since is None else since})
            return
        if since is None:
            text, style = f"-- {moment(time.time())}  {url} is back", "ok"
        else:
            text, style = f"-- {moment(since)}  {url} is away; waiting for it", "warn"
        self._printer.line([(text, style)])
        sys.stdout.flush()


def _as_object(change: Change) -> dict[str, Any]:
    return {
        "kind": change.kind,
        "key": change.key,
        "value": as_json(change.value),
        "previous": as_json(change.previous),
        "revision": None if change.revision is None else as_text(change.revision),
        "time": change.time,
        "initial": change.initial,
    }
