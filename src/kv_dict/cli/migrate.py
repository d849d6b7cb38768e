"""`kv-dict migrate`: bringing metadata from elsewhere into a store."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, Final

import click

from kv_dict.errors import ConfigurationError
from kv_dict.migration import EXISTING, KINDS, TIMEOUT, Migration, Unreadable, prepare
from kv_dict.migration.sources import Progress

__all__ = ["migrate"]

_SHOWN: Final = 40
_WIDTH: Final = 60


@click.command(short_help="Bring metadata from elsewhere into a store.")
@click.argument("source")
@click.option("--to", required=True, metavar="STORE", help="Where it goes: a URL or a profile.")
@click.option("--entry-point", metavar="NAME", help="In that store.  [default: md]")
@click.option("--from", "kind", type=click.Choice(KINDS), help="What the source is, if asked.")
@click.option("--from-entry-point", metavar="NAME", help="Of a kv-dict source.  [default: md]")
@click.option("--from-separator", metavar="TEXT", help="Of its keys.  [default: :]")
@click.option("--all-entry-points", is_flag=True, help="All of a kv-dict source, names kept.")
@click.option("--dry-run", is_flag=True, help="Tell what would be done; write nothing.")
@click.option("--overwrite", "existing", flag_value="overwrite", help="Replace other values there.")
@click.option("--keep-existing", "existing", flag_value="keep", help="Keep other values there.")
@click.option("--skip-unusable", is_flag=True, help="Leave out what cannot be stored.")
@click.option(
    "--timeout",
    metavar="SECONDS",
    type=click.FloatRange(0, 86_400, min_open=True),
    default=TIMEOUT,
    show_default=True,
    help="For each operation of a store.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def migrate(
    source: str,
    to: str,
    entry_point: str | None,
    kind: str | None,
    from_entry_point: str | None,
    from_separator: str | None,
    all_entry_points: bool,
    dry_run: bool,
    existing: str | None,
    skip_unusable: bool,
    timeout: float,
    as_json: bool,
) -> None:
    """Copy metadata into a store, verify the copy, and report.

    The source is only read. What the store has already is left alone: run it as often as you like,
    and again after an interruption. Look first, with --dry-run.

    \b
    From redis-json-dict:
      kv-dict migrate 'redis://host/0?prefix=xas-' --to sqlite:////data/md.db --dry-run
    From kv-dict 0.1, or from another store of kv-dict:
      kv-dict migrate redis://host/0 --from-entry-point xas --to nats://host --entry-point xas
      kv-dict migrate 'postgresql://ada@host/db?table=kv_store' --to redis://host/0
      kv-dict migrate sqlite:////data/md.db --all-entry-points --to redis://host/0
    From bluesky's PersistentDict, a folder:
      kv-dict migrate ~/.config/bluesky/md --to sqlite:////data/md.db
    From apstools' StoredDict, or from any YAML or JSON file:
      kv-dict migrate .re_md_dict.yml --to sqlite:////data/md.db
      kv-dict migrate old.txt --from json --to sqlite:////data/md.db

    Ends with status 0 if all is done, 1 if it refuses to begin: because the store has other values
    of some keys (--overwrite or --keep-existing), or because something cannot be stored
    (--skip-unusable).
    """
    with _progress(shown=not as_json) as progress:
        migration = prepare(
            source,
            to,
            kind=kind,
            from_entry_point=from_entry_point,
            from_separator=from_separator,
            all_entry_points=all_entry_points,
            entry_point=entry_point,
            existing=existing or EXISTING[0],
            skip_unusable=skip_unusable,
            timeout=timeout,
            progress=progress,
        )
    if not as_json:
        _print_plan(migration)
    if dry_run:
        refusal = migration.refusal()
        if as_json:
            _print_json(migration, "dry run")
        else:
            click.echo("\nDry run: nothing was written.")
        if refusal is not None:
            raise refusal
        return
    try:
        with _progress(shown=not as_json) as progress:
            migration.run(progress)
    except BaseException:
        refused = migration.report.refused > 0
        if as_json:
            _print_json(migration, "refused" if refused else "interrupted")
        elif not refused:
            click.echo(f"\nNot finished: {_done(migration)}.", err=True)
            click.echo("Run the same command again: it does the rest.", err=True)
        raise
    if as_json:
        _print_json(migration, "done" if migration.to_write else "nothing to do")
        return
    click.echo(
        f"\n{_done(migration)}." if migration.to_write else f"\nNothing to do. {_done(migration)}."
    )


# -- for people ------------------------------------------------------------------------------------


def _print_plan(migration: Migration) -> None:
    plan = migration.plan
    click.echo(f"from  {migration.source.name} ({migration.source.kind})")
    click.echo(f"to    {migration.destination}")
    counts = {
        "to add": len(plan.add),
        "differ": len(plan.change),
        "equal": len(plan.equal),
        "unusable": len(plan.unusable),
        "only there": len(plan.left),
    }
    told = ", ".join(f"{count:,} {what}" for what, count in counts.items() if count)
    click.echo(f"\n{plan.read:,} items: {told or 'none'}")
    _print_some([f"  + {key} = {_short(item.value)}" for key, item in plan.add.items()])
    _print_some(
        [
            f"  ~ {key} = {_short(item.value)}, and there {_short(item.before)}"
            for key, item in plan.change.items()
        ]
    )
    _print_some([f"  ! {item.reason}" for item in plan.unusable])
    if plan.conversions:
        click.echo(f"\n{len(plan.conversions):,} converted:")
        _print_some([f"  {path}: {before} to {after}" for path, before, after in plan.conversions])
    if plan.warnings:
        click.echo("\nWarning:")
        _print_some([f"  {warning}" for warning in plan.warnings])
    if plan.notes:
        click.echo("\nNote:")
        _print_some([f"  {note}" for note in plan.notes])


def _print_some(lines: Sequence[str]) -> None:
    for line in lines[:_SHOWN]:
        click.echo(line)
    if len(lines) > _SHOWN:
        click.echo(f"  ... and {len(lines) - _SHOWN:,} more (--json tells all)")


def _text(value: Any) -> str:
    return f"unreadable: {value.reason}" if isinstance(value, Unreadable) else repr(value)


def _short(value: Any) -> str:
    text = " ".join(_text(value).split())
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 3]}..."


def _done(migration: Migration) -> str:
    report = migration.report
    parts = [
        f"{report.read:,} read",
        f"{report.written:,} written",
        f"{report.equal:,} equal",
        *([f"{report.kept:,} kept as they are there"] if report.kept else []),
        *([f"{report.skipped:,} skipped"] if report.skipped else []),
        f"{report.verified:,} verified",
    ]
    if report.uncertain:
        parts.append(f"{len(report.uncertain):,} may or may not be written")
    return ", ".join(parts)


@contextmanager
def _progress(*, shown: bool) -> Iterator[Progress | None]:
    """Yield what draws a bar on a terminal; None where there is none to draw on."""
    try:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
        from rich.progress import Progress as Bars
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"the command line needs {error.name}, which is not installed: "
            "pip install 'kv-dict[cli]'"
        ) from None
    console = Console(stderr=True)
    if not shown or not console.is_terminal:
        yield None
        return
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    with Bars(*columns, console=console, transient=True) as bars:
        tasks: dict[str, Any] = {}

        def show(doing: str, done: int, of: int) -> None:
            if doing not in tasks:
                tasks[doing] = bars.add_task(doing, total=of)
            bars.update(tasks[doing], completed=done, total=of)

        yield show


# -- for programs ----------------------------------------------------------------------------------


def _print_json(migration: Migration, outcome: str) -> None:
    plan, counts = migration.plan, asdict(migration.report)
    uncertain = counts.pop("uncertain")
    report = {
        "outcome": outcome,
        "source": {"kind": migration.source.kind, "name": migration.source.name},
        "destination": str(migration.destination),
        "counts": counts,
        "add": {key: repr(item.value) for key, item in plan.add.items()},
        "change": {
            key: {"from": _text(item.before), "to": repr(item.value)}
            for key, item in plan.change.items()
        },
        "equal": list(plan.equal),
        "unusable": [item._asdict() for item in plan.unusable],
        "only_there": plan.left,
        "converted": [conversion._asdict() for conversion in plan.conversions],
        "uncertain": uncertain,
        "warnings": plan.warnings,
        "notes": plan.notes,
    }
    click.echo(json.dumps(report, indent=2))
