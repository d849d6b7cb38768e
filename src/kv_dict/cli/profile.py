"""`kv-dict profile`: what is in force, where each setting comes from, and what else there is."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

__all__ = ["profile"]

_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_of_ipython = click.option(
    "--profile-dir",
    type=click.Path(path_type=Path),
    help="IPython profile directory to search too, as IPython would be started with.",
)


@click.group()
def profile() -> None:
    """Tell which store is used, how, and who says so."""


@profile.command()
@click.argument("name", required=False)
@_as_json
@_of_ipython
def show(name: str | None, as_json: bool, profile_dir: Path | None) -> None:
    """Print every setting of a profile, and where it comes from; secrets masked.

    NAME is the name of a profile, or a URL. Without it: the profile that is in force. Nothing is
    connected. A mistake in the table dashboard is told here, too.
    """
    from kv_dict.cli.layouts import layout_of
    from kv_dict.profiles import load_profile

    found = load_profile(name, profile_dir=profile_dir)
    rows = [setting._asdict() for setting in found.settings]
    if as_json:
        _json({"name": found.name, "url": found.url, "settings": rows})
    else:
        _table({**row, "value": "''" if row["value"] == "" else row["value"]} for row in rows)
    layout_of(found, None)


@profile.command(name="list")
@_as_json
@_of_ipython
def list_(as_json: bool, profile_dir: Path | None) -> None:
    """Print the profiles that there are, the one in force marked with a star."""
    from kv_dict.profiles import list_profiles

    rows = [one._asdict() for one in list_profiles(profile_dir)]
    if as_json:
        _json(rows)
        return
    _table(
        {
            "": "*" if row["in_force"] else "",
            "name": row["name"],
            "where": row["where"],
            "store": row["problem"] if row["url"] is None else row["url"],
        }
        for row in rows
    )


@profile.command()
@_as_json
@_of_ipython
def path(as_json: bool, profile_dir: Path | None) -> None:
    """Print where profiles are searched, the nearest first, and which files are there."""
    from kv_dict.profiles.files import places

    rows = [
        {"file": str(place.path), "of": place.why, "there": place.path.exists()}
        for place in places(profile_dir)
    ]
    if as_json:
        _json(rows)
    else:
        _table({**row, "there": "yes" if row["there"] else "no"} for row in rows)


def _json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def _table(rows: Iterable[dict[str, Any]]) -> None:
    """Print rows: aligned at a terminal, one line each with tabs between into a pipe or file."""
    texts = [{name: _text(value) for name, value in row.items()} for row in rows]
    if not sys.stdout.isatty():
        for row in texts:
            click.echo("\t".join(row.values()))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for name in texts[0]:
        table.add_column(name, overflow="fold")
    for row in texts:
        table.add_row(*map(Text, row.values()))
    Console(highlight=False).print(table)


def _text(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, tuple | list):
        return ", ".join(map(_text, value)) or "none"
    if isinstance(value, dict) and "key" in value:  # a tile of a dashboard
        return _text(value.get("label") or value["key"])
    if isinstance(value, bool):
        return str(value).lower()
    return " ".join(str(value).split())
