"""`kv-dict export`: items into a file."""

from __future__ import annotations

import os
import tempfile
from fnmatch import fnmatchcase
from pathlib import Path

import click

from kv_dict.cli.documents import FORMATS, format_of, written
from kv_dict.cli.opening import Store, pass_store
from kv_dict.cli.output import Failure, write

__all__ = ["export"]


@click.command(short_help="Write the items to a file.")
@click.argument("file", default="-", type=click.Path(dir_okay=False, allow_dash=True))
@click.option(
    "--format", "form", type=click.Choice(FORMATS), help="If the name of FILE does not tell it."
)
@click.option(
    "--select", metavar="PATTERN", multiple=True, help="Only keys like this; may be repeated."
)
@click.option("--force", is_flag=True, help="Replace a FILE that is there.")
@pass_store
def export(store: Store, file: str, form: str | None, select: tuple[str, ...], force: bool) -> None:
    """Write the items, as of one point in time, to FILE or standard output.

    JSON, or YAML where FILE ends so. `kv-dict import` reads it back, every type without loss: those
    beyond JSON are tagged, as they are stored.

    \b
    kv-dict export backup.json
    kv-dict export --format yaml | less
    kv-dict export proposal.yaml --select proposal --select 'sample*'
    kv-dict export --url redis://old/0 | kv-dict import - --url nats://new

    A FILE that is there is not replaced without --force. It is complete, or not there.
    """
    with store.look() as md:
        items = md.copy()
    if select:
        items = {k: v for k, v in items.items() if any(fnmatchcase(k, p) for p in select)}
    data = written(items, format_of(file, form))
    if file == "-":
        write(data)
        return
    _save(Path(file), data, force)
    click.echo(f"{len(items)} items written to {click.format_filename(file)}", err=True)


def _save(path: Path, data: bytes, force: bool) -> None:
    """Write a file that nobody sees half of."""
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            if force:
                Path(name).replace(path)
            else:
                os.link(name, path)  # refuses, as a whole, if there is one
        finally:
            Path(name).unlink(missing_ok=True)
    except FileExistsError:
        raise Failure(f"{path} is there already; --force replaces it") from None
    except OSError as error:
        raise Failure(f"cannot write {path}: {error.strerror}") from None
