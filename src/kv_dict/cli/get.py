"""`kv-dict get`: one value."""

from __future__ import annotations

import json
from typing import Any

import click

from kv_dict.cli.opening import Store, pass_store
from kv_dict.cli.output import Failure, Printer, write
from kv_dict.cli.paths import Path
from kv_dict.cli.revisions import as_text
from kv_dict.cli.values import as_json, full
from kv_dict.mapping.paths import look, missing
from kv_dict.mapping.showing import harmless

__all__ = ["get"]


@click.command()
@click.argument("path", type=Path())
@click.option("--json", "as_object", is_flag=True, help="With revision and time, as a JSON object.")
@click.option(
    "--raw",
    is_flag=True,
    help="For scripts: a string or bytes as they are, anything else as compact JSON.",
)
@pass_store
def get(store: Store, path: tuple[str, ...], as_object: bool, raw: bool) -> None:
    """Print a value, or a part of one.

    PATH is a key, and steps into it: keys of dicts, numbers of list items. In a key, "/" is written
    ~1 and "~" is written ~0.

    \b
    kv-dict get sample
    kv-dict get sample/layers/0
    kv-dict get --raw data_session            pass-301234, without quotes
    kv-dict get --json sample | jq .revision  for `set --if-revision`

    Exit status 1 if there is no such value.
    """
    if as_object and raw:
        raise click.UsageError("--json and --raw: choose one")
    with store.look() as md:
        try:
            version = md.version(path[0])
        except KeyError:
            raise missing(path[:1], md) from None
    value = look({path[0]: version.value}, path)
    printer = Printer()
    if as_object:
        printer.json(
            {
                "key": path[0],
                **({"path": list(path)} if len(path) > 1 else {}),
                "value": as_json(value),
                "revision": as_text(version.revision),
                "time": version.time,
            }
        )
    elif raw:
        _print_raw(value, exactly=printer.width is None)
    else:
        printer.lines(full(value))


def _print_raw(value: Any, *, exactly: bool) -> None:
    """Print what a script wants; to a terminal, what it would obey is escaped."""
    if isinstance(value, bytes | bytearray):
        if not exactly:
            raise Failure("bytes are not for a terminal; send them to a file: ... --raw > FILE")
        write(bytes(value))
        return
    text = value if isinstance(value, str) else json.dumps(as_json(value), separators=(",", ":"))
    click.echo(text if exactly else harmless(text, keep="\n\t"))
