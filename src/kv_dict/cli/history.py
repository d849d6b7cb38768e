"""`kv-dict history`: the values that an item had."""

from __future__ import annotations

import click

from kv_dict.cli.opening import Store, pass_store
from kv_dict.cli.output import Failure, Printer, moment
from kv_dict.cli.paths import Path
from kv_dict.cli.revisions import as_text
from kv_dict.cli.values import as_json, brief
from kv_dict.mapping.paths import missing, shown

__all__ = ["history"]


@click.command(short_help="Print the values that an item had.")
@click.argument("path", type=Path(), metavar="KEY")
@click.option("--last", type=click.IntRange(min=1), metavar="N", help="Only the last N.")
@click.option("--json", "as_lines", is_flag=True, help="One JSON object a line.")
@pass_store
def history(store: Store, path: tuple[str, ...], last: int | None, as_lines: bool) -> None:
    """Print the values that an item had, oldest first, as far back as the store keeps them.

    \b
    kv-dict history sample
    kv-dict history scan_id --last 5
    kv-dict history energy --json | jq '[.time, .value]'

    Exit status 1 if the store keeps none.
    """
    if len(path) > 1:
        raise click.UsageError(f"history is kept of whole items: kv-dict history {path[0]}")
    with store.look() as md:
        versions = md.history(path[0])
        if not versions:
            if path[0] in md:
                raise Failure(f"the store has kept no value of {shown(path)}")
            raise missing(path, md)
    printer = Printer()
    for version in versions[-last:] if last else versions:
        revision = as_text(version.revision)
        if as_lines:
            value = as_json(version.value)
            printer.json({"value": value, "revision": revision, "time": version.time})
        else:
            about = f"{moment(version.time, exact=True):23}  {revision:>18}  "
            printer.line([(about, "faint"), *brief(version.value, 10_000)], fit=True)
