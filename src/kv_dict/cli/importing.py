"""`kv-dict import`: items from a file."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from kv_dict.cli.difference import NOTHING, Difference, differences
from kv_dict.cli.documents import FORMATS, format_of, read
from kv_dict.cli.opening import Store, pass_store, unlock_option
from kv_dict.cli.output import Failure, Printer
from kv_dict.cli.revisions import UNREADABLE, version_of
from kv_dict.codec import JSONCodec
from kv_dict.errors import ConflictError
from kv_dict.keys import check_key
from kv_dict.mapping import RemoteKVMapping

__all__ = ["import_"]


@click.command("import", short_help="Take items from a file, in one step.")
@click.argument("file", type=click.Path(dir_okay=False, exists=True, allow_dash=True))
@click.option(
    "--format", "form", type=click.Choice(FORMATS), help="If the name of FILE does not tell it."
)
@click.option("--overwrite", is_flag=True, help="Change items that are there with other values.")
@click.option("--replace", is_flag=True, help="Make it exactly the file: remove other items too.")
@click.option("--dry-run", is_flag=True, help="Show what would change, and change nothing.")
@unlock_option
@pass_store
def import_(
    store: Store,
    file: str,
    form: str | None,
    overwrite: bool,
    replace: bool,
    dry_run: bool,
    unlock: bool,
) -> None:
    """Take the items of FILE (- for standard input), all in one atomic step.

    JSON, or YAML where FILE ends so: an object of keys and values, as `kv-dict export` writes it.
    Items that are not in the file stay. Where an item is there with another value, nothing is
    written, and what would change is shown; --overwrite or --replace means it.

    \b
    kv-dict import proposal.yaml
    kv-dict import --dry-run --replace backup.json
    kv-dict import --replace backup.json
    """
    name = "standard input" if file == "-" else click.format_filename(file)
    data = sys.stdin.buffer.read() if file == "-" else _bytes(Path(file))
    items = read(data, format_of(file, form), name)
    for key, value in items.items():  # what cannot be stored is told before anything else
        JSONCodec().encode(value, f"{name}[{check_key(key)!r}]")
    with store.open(unlock=unlock) as md:
        versions = md.versions()
        found = {key: version.value for key, version in versions.items()}
        removed = sorted(found.keys() - items.keys()) if replace else []
        told = _changes(found, items, removed)
        touched = {difference.path[0] for difference in told}
        put = {key: value for key, value in items.items() if key in touched}
        harmful = sorted(touched & found.keys())
        summary = (
            f"{len(put) - len(harmful) + len(removed)} new, {len(harmful) - len(removed)} changed, "
            f"{len(removed)} removed, {len(items) - len(put)} the same"
        )
        printer = Printer()
        if dry_run:
            printer.lines((difference.line() for difference in told), fit=True)
            printer.line([(f"{summary} (nothing was written)", "head")])
            return
        if harmful and not (overwrite or replace):
            printer.lines(d.line() for d in told if d.path[0] in harmful)
            raise Failure(
                f"nothing was written: {len(harmful)} of the items are there with other values "
                "(shown above); --overwrite changes them"
            )
        guards = {k: versions[k].revision if k in versions else None for k in (*put, *removed)}
        try:
            md.commit(put, delete=removed, expected=guards)
        except ConflictError as conflict:
            if unreadable := _unreadable(md, conflict.keys):
                raise Failure(
                    f"nothing was written: what is there of {', '.join(map(repr, unreadable))} "
                    "cannot be read, as another program wrote it; remove it first with kv-dict del"
                ) from None
            names = ", ".join(conflict.keys)
            raise Failure(
                f"nothing was written: others have just changed {names}; again?"
            ) from None
    printer.line([(summary, "head")])


def _unreadable(md: RemoteKVMapping, keys: Iterable[str]) -> list[str]:
    found = []
    for key in keys:
        with contextlib.suppress(KeyError):
            if version_of(md, key).value is UNREADABLE:
                found.append(key)
    return found


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Failure(f"cannot read {path}: {error.strerror}") from None


def _changes(found: dict[str, Any], items: dict[str, Any], removed: list[str]) -> list[Difference]:
    told: list[Difference] = []
    for key in sorted(items.keys() | set(removed)):
        before, after = found.get(key, NOTHING), items.get(key, NOTHING)
        told += differences((key,), before, after)
    return told
