"""`kv-dict del`: remove values."""

from __future__ import annotations

from typing import Any

import click

from kv_dict.cli.opening import Store, pass_store, unlock_option
from kv_dict.cli.output import Printer
from kv_dict.cli.paths import Path
from kv_dict.cli.revisions import UNREADABLE, guards, in_brief, version_of
from kv_dict.cli.values import as_json
from kv_dict.errors import ConflictError
from kv_dict.mapping import RemoteKVMapping
from kv_dict.mapping.container import plain
from kv_dict.mapping.paths import as_typed, look, missing, remove
from kv_dict.mapping.retry import attempts

__all__ = ["delete"]


@click.command("del", short_help="Remove items, or a part of one.")
@click.argument("paths", type=Path(), nargs=-1, required=True, metavar="PATH...")
@click.option("--quiet", "-q", is_flag=True, help="Do not tell what was there.")
@click.option("--json", "as_lines", is_flag=True, help="Tell it as one JSON object a line.")
@unlock_option
@pass_store
def delete(
    store: Store, paths: tuple[tuple[str, ...], ...], quiet: bool, as_lines: bool, unlock: bool
) -> None:
    """Remove items, in one atomic step, or a part of one; tell what was there.

    \b
    kv-dict del sample
    kv-dict del sample operator proposal
    kv-dict del sample/layers/0

    Exit status 1 if one of them is not there; nothing is removed then.
    """
    paths = tuple(dict.fromkeys(paths))
    nested = [path for path in paths if len(path) > 1]
    if nested and len(paths) > 1:
        raise click.UsageError("parts of items are removed one at a time: name one")
    with store.open(unlock=unlock) as md:
        gone = [_part(md, nested[0])] if nested else _items(md, [path[0] for path in paths])
    printer = Printer()
    for path, value in gone:
        if as_lines:
            told: dict[str, Any] = {"key": path[0]}
            if len(path) > 1:
                told["path"] = list(path)
            if value is not UNREADABLE:
                told["previous"] = as_json(value)
            printer.json(told)
        elif not quiet:
            name = (as_typed(path), "key")
            was = [(" removed  (was ", "faint"), *in_brief(value), (")", "faint")]
            printer.line([name, *was], fit=True)


def _items(md: RemoteKVMapping, keys: list[str]) -> list[tuple[tuple[str, ...], Any]]:
    for _ in attempts(md.timeout, " and ".join(f"md[{key!r}]" for key in keys)):
        found = {}
        for key in keys:
            try:
                found[key] = version_of(md, key)
            except KeyError:
                raise missing([key], md) from None
        try:
            md.commit(delete=keys, expected=guards(found))
        except ConflictError:
            continue
        return [((key,), found[key].value) for key in keys]
    raise AssertionError  # the attempts end with an error


def _part(md: RemoteKVMapping, path: tuple[str, ...]) -> tuple[tuple[str, ...], Any]:
    gone: list[Any] = []

    def without(value: Any) -> Any:
        root = {path[0]: plain(value)}
        gone[:] = [remove(look(root, path[:-1]), path)]
        return root[path[0]]

    try:
        md.transform(path[0], without)
    except KeyError:
        raise missing(path[:1], md) from None
    return path, gone[0]
