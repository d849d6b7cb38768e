"""`kv-dict check`: whether the store works, and keeps what it is given."""

from __future__ import annotations

import sys
from typing import Final

import click

from kv_dict.cli.examination import Step, examine
from kv_dict.cli.opening import Store, pass_store
from kv_dict.cli.output import Printer
from kv_dict.mapping.showing import harmless

__all__ = ["check"]

_INDENT: Final = " " * 21


@click.command(short_help="Look at each layer of the way to the store, and at the store.")
@click.option("--read-only", is_flag=True, help="Write nothing, not even for a moment.")
@click.option("--json", "as_lines", is_flag=True, help="One JSON object a line.")
@pass_store
def check(store: Store, read_only: bool, as_lines: bool) -> None:
    """Look at each layer of the way to the store, and at the store itself.

    Configuration, driver, the address of the name, a connection, encryption, login, the bucket or
    table, reading, writing, being told of a change; then what the server says of itself, above all
    whether it keeps what it has acknowledged. Each is ok, warn or fail, with what to do about it.

    \b
    kv-dict check
    kv-dict check --url redis://xas-server:6379/0 --timeout 2
    kv-dict check --json | jq -r 'select(.status != "ok") | .advice'

    Writing is tried in an entry point of its own (md-check-...), and removed again.

    Exit status 0 if nothing failed (there may be warnings), 3 if the store is not available, 2 if
    something has to be put right: configuration, login, rights, bucket, table.
    """
    printer = Printer()
    status = 0
    for step in examine(store, writes=not read_only):
        status = status or step.exit_status
        if as_lines:
            printer.json(
                {
                    "layer": step.layer,
                    "status": step.status,
                    "found": step.found,
                    "advice": step.advice,
                }
            )
        else:
            _show(printer, step)
    sys.stdout.flush()
    sys.exit(status)


def _show(printer: Printer, step: Step) -> None:
    found = harmless(step.found)
    printer.line([(f"{step.status:6}", step.status), (f"{step.layer:15}", "head"), (found, "")])
    if step.advice:
        printer.line([(f"{_INDENT}-> {harmless(step.advice)}", "")])
    sys.stdout.flush()
