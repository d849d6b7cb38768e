"""`kv-dict set`: change values."""

from __future__ import annotations

import contextlib
import sys
from typing import Any

import click

from kv_dict.cli.difference import NOTHING, Difference
from kv_dict.cli.opening import Store, pass_store, unlock_option
from kv_dict.cli.output import Failure, Line, Printer
from kv_dict.cli.paths import Path
from kv_dict.cli.revisions import UNREADABLE, as_text, guards, in_brief, version_of
from kv_dict.cli.values import as_json, brief, typed
from kv_dict.errors import ConflictError
from kv_dict.mapping import RemoteKVMapping, Version
from kv_dict.mapping.container import plain
from kv_dict.mapping.paths import PathError, as_typed, look, missing, put, shown
from kv_dict.mapping.retry import attempts

__all__ = ["assign"]


@click.command("set", short_help="Change one value, or several in one step.")
@click.argument("items", nargs=-1, required=True, metavar="PATH VALUE | PATH=VALUE...")
@click.option("--string", "-s", is_flag=True, help="Take each VALUE as a string, as it is.")
@click.option(
    "--if-revision", metavar="TEXT", help="Only if the item still has it, as `get --json` told."
)
@click.option("--if-absent", is_flag=True, help="Only where there is nothing yet.")
@click.option("--quiet", "-q", is_flag=True, help="Do not tell what was changed.")
@click.option("--json", "as_lines", is_flag=True, help="Tell it as one JSON object a line.")
@unlock_option
@pass_store
def assign(
    store: Store,
    items: tuple[str, ...],
    string: bool,
    if_revision: str | None,
    if_absent: bool,
    quiet: bool,
    as_lines: bool,
    unlock: bool,
) -> None:
    """Change one value, or several in one atomic step, and tell what was there before.

    VALUE is JSON. A word or sentence that is no JSON is a string: operator=Rosalind. What looks
    like something else (True, .5, {a: 1}) is refused. - reads the JSON from standard input.

    \b
    kv-dict set operator Rosalind
    kv-dict set operator=Rosalind shift=night temperature_K=80.0
    kv-dict set sample '{"name": "Fe2O3", "layers": [12.5, 8.0]}'
    kv-dict set sample/layers/0 13.0          one part, the others stay as they are
    kv-dict set sample/layers/- 2.5           at the end of a list
    kv-dict set --string cycle 2026           "2026", not the number
    kv-dict set when '{"$kv:datetime": "2026-11-23T09:00:00"}'
    kv-dict set scan_id 100 --if-revision "$(kv-dict get scan_id --json | jq -r .revision)"

    Exit status 1 on a conflict: nothing was written then, and what is there is shown.
    """
    pairs = _pairs(items)
    if if_revision is not None and (if_absent or len({path[0] for path, _ in pairs}) > 1):
        raise click.UsageError("--if-revision is for one item, and not with --if-absent")
    values = {path: _value(text, string) for path, text in pairs}
    with store.open(unlock=unlock) as md:
        if len({path[0] for path in values}) == 1 and any(len(path) > 1 for path in values):
            done = _inside(md, values, if_revision, if_absent)
        else:
            if any(len(path) > 1 for path in values):
                raise click.UsageError(
                    "parts of different items cannot be changed in one atomic step; change them "
                    "one after the other"
                )
            whole = {path[0]: value for path, value in values.items()}
            done = _whole(md, whole, if_revision, if_absent)
    printer = Printer()
    for difference in done:
        if as_lines:
            printer.json(_as_object(difference))
        elif not quiet:
            printer.line(_told(difference), fit=True)


def _pairs(items: tuple[str, ...]) -> list[tuple[tuple[str, ...], str]]:
    path = Path()
    if len(items) == 2 and "=" not in items[0]:
        return [(path.convert(items[0], None, None), items[1])]
    if wrong := next((item for item in items if "=" not in item), None):
        raise click.UsageError(
            f"{shown([wrong])} has no value: kv-dict set PATH VALUE, or PATH=VALUE for each"
        )
    if wrong := next((item for item in items if item.startswith("=")), None):
        raise click.UsageError(
            f'{shown([wrong])} has no key in front of "="; to set the empty key: '
            'kv-dict set "" VALUE'
        )
    pairs = [item.split("=", 1) for item in items]
    paths = [path.convert(name, None, None) for name, _ in pairs]
    if twice := next((p for p in paths if paths.count(p) > 1), None):
        raise click.UsageError(f"{shown(twice)} is given twice")
    return [(p, text) for p, (_, text) in zip(paths, pairs, strict=True)]


def _value(text: str, string: bool) -> Any:
    if text == "-":
        read = sys.stdin.buffer.read()
        try:
            text = read.decode()
        except UnicodeDecodeError:
            raise Failure("standard input is not UTF-8") from None
        if string:
            text = text.removesuffix("\n")
    return typed(text, string=string)


def _whole(
    md: RemoteKVMapping, values: dict[str, Any], if_revision: str | None, if_absent: bool
) -> list[Difference]:
    """Assign whole items, each in place of what was found there."""
    for _ in attempts(md.timeout, " and ".join(f"md[{key!r}]" for key in values)):
        found = _found(md, list(values))
        _check(found, if_revision, if_absent, next(iter(values)))
        expected = {key: None for key in values if key not in found} | guards(found)
        try:
            md.commit(values, expected=expected)
        except ConflictError:
            continue
        return [
            Difference((key,), found[key].value if key in found else NOTHING, value)
            for key, value in values.items()
        ]
    raise AssertionError  # the attempts end with an error


def _found(md: RemoteKVMapping, keys: list[str]) -> dict[str, Version]:
    # Of several keys one snapshot; it leaves out what cannot be read.
    found = {key: one for key, one in md.versions().items() if key in keys} if keys[1:] else {}
    for key in keys:
        if key not in found:
            with contextlib.suppress(KeyError):
                found[key] = version_of(md, key)
    return found


def _check(found: dict[str, Version], if_revision: str | None, if_absent: bool, key: str) -> None:
    if if_absent and found:
        lines = [f"{shown([k])} is there already: {_text(v.value)}" for k, v in found.items()]
        raise Failure("nothing was written\n" + "\n".join(lines))
    if if_revision is None:
        return
    if key not in found:
        raise Failure(f"nothing was written: there is no {shown([key])} any more")
    if found[key].value is UNREADABLE:
        raise Failure(f"nothing was written: {shown([key])} cannot be read, so no revision holds")
    now = as_text(found[key].revision)
    if now != if_revision:
        raise Failure(
            f"nothing was written: {shown([key])} has revision {now}, not {if_revision}, and is "
            f"now {_text(found[key].value)}"
        )


def _inside(
    md: RemoteKVMapping,
    values: dict[tuple[str, ...], Any],
    if_revision: str | None,
    if_absent: bool,
) -> list[Difference]:
    """Assign parts of one item, in one step."""
    key = next(iter(values))[0]
    done: list[Difference] = []

    def change(value: Any) -> Any:
        done.clear()
        root = {key: plain(value)}
        for path, new in values.items():
            try:
                before = look(root, path)
            except PathError:
                before = NOTHING
            if if_absent and before is not NOTHING:
                raise Failure(f"nothing was written: {shown(path)} is {_text(before)}")
            put(look(root, path[:-1]), path, new)
            done.append(Difference(path, before, new))
        return root[key]

    if if_revision is None:
        try:
            md.transform(key, change)
        except KeyError:
            raise missing([key], md) from None
        return done
    found = _found(md, [key])
    _check(found, if_revision, if_absent, key)
    try:
        md.commit({key: change(found[key].value)}, expected={key: found[key].revision})
    except ConflictError:
        _check(_found(md, [key]), if_revision, if_absent, key)
        raise
    return done


def _text(value: Any) -> str:
    return "".join(text for text, _ in in_brief(value))


def _told(difference: Difference) -> Line:
    path, before, after = difference
    line: Line = [(as_typed(path), "key"), (" = ", ""), *brief(after)]
    if before is NOTHING:
        return [*line, ("  (new)", "faint")]
    return [*line, ("  (was ", "faint"), *in_brief(before), (")", "faint")]


def _as_object(difference: Difference) -> dict[str, Any]:
    path, before, after = difference
    told: dict[str, Any] = {"key": path[0]}
    if len(path) > 1:
        told["path"] = list(path)
    told["value"] = as_json(after)
    if before is not NOTHING and before is not UNREADABLE:
        told["previous"] = as_json(before)
    return told
