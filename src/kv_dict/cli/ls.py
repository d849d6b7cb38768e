"""`kv-dict ls`: what is there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from kv_dict.cli.opening import Store, pass_store
from kv_dict.cli.output import Failure, Line, Printer, moment
from kv_dict.cli.revisions import as_text
from kv_dict.cli.values import as_json, brief
from kv_dict.mapping.paths import as_typed, missing

__all__ = ["ls"]


@click.command(short_help="List the items.")
@click.argument("pattern", nargs=-1)
@click.option("--prefix", metavar="TEXT", help="Only keys that start so.")
@click.option(
    "--depth",
    type=click.IntRange(min=1),
    metavar="N",
    help="Levels to unfold; a dict below them is shown in one line.",
)
@click.option("--keys", is_flag=True, help="Only the keys, one a line, as paths for `get`.")
@click.option("--long", "-l", is_flag=True, help="With revisions, and times where they are known.")
@click.option("--json", "as_lines", is_flag=True, help="One JSON object a line.")
@pass_store
def ls(
    store: Store,
    pattern: tuple[str, ...],
    prefix: str | None,
    depth: int | None,
    keys: bool,
    long: bool,
    as_lines: bool,
) -> None:
    """List the items, dicts unfolded, in the order of their keys.

    PATTERN selects keys: * stands for any text, ? for a character, [abc] for one of them. Quote it.

    \b
    kv-dict ls                                all
    kv-dict ls 'sample*' proposal             some
    kv-dict ls --depth 1                      one line each
    kv-dict ls --keys | wc -l                 how many
    kv-dict ls --json | jq -r 'select(.time > 1.79e9) | .key'

    In --json each line has key, value, revision, and time (seconds since the epoch, null where the
    store does not know). Values of types beyond JSON are tagged, as they are stored.
    """
    from fnmatch import fnmatchcase

    with store.look() as md:
        versions = md.versions()
    selected = {
        key: version
        for key, version in versions.items()
        if (prefix is None or key.startswith(prefix))
        and (not pattern or any(fnmatchcase(key, p) for p in pattern))
    }
    for text in pattern:
        if not any(c in text for c in "*?[") and text not in versions:
            raise missing([text], versions)
    if not selected and versions and (pattern or prefix):
        raise Failure(f"none of the {len(versions)} keys is selected")
    printer = Printer()
    for key, version in selected.items():
        if as_lines:
            printer.json(
                {
                    "key": key,
                    "value": as_json(version.value),
                    "revision": as_text(version.revision),
                    "time": version.time,
                }
            )
        elif keys:
            printer.line([(as_typed([key]), "key")])
        else:
            about: Line = []
            if long:
                about = [(f"{as_text(version.revision):>18} {moment(version.time):19}  ", "faint")]
            printer.lines(_tree(key, version.value, depth or 1000, 0, about), fit=True)


def _tree(key: str, value: Any, depth: int, indent: int, about: Line) -> Iterator[Line]:
    name: Line = [*about, ("  " * indent, ""), (as_typed([key]), "key")]
    if isinstance(value, dict) and value and depth > 1:
        yield name
        beside: Line = [(" " * sum(len(text) for text, _ in about), "")]
        for step, item in value.items():
            yield from _tree(step, item, depth - 1, indent + 1, beside)
        return
    gap = " " * max(2, 24 - 2 * indent - len(as_typed([key])))
    yield [*name, (gap, ""), *brief(value, 10_000)]
