"""The commands, and the exit statuses they end with.

0: done; 1: not found, a conflict, or a value that cannot be used; 2: wrong usage or configuration;
3: the server is unavailable; 130: Ctrl-C.
"""

from __future__ import annotations

import errno
import signal
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import click

from kv_dict.cli.migrate import migrate
from kv_dict.cli.profile import profile
from kv_dict.errors import ConfigurationError, KVDictError, OutcomeUnknown, Unavailable

__all__ = ["cli"]

_OF_THE_DEMO: Final = ("bluesky", "event_model", "ophyd_async", "rich")
_STATUS: Final[dict[type[KVDictError], int]] = {
    ConfigurationError: 2,
    Unavailable: 3,
    OutcomeUnknown: 3,
}


class _Group(click.Group):
    """A group whose commands end an operator's mistakes with a message instead of a traceback."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().main(*args, **kwargs)
        except KVDictError as error:
            click.secho(f"kv-dict: {error}", fg="red", err=True)
            sys.exit(next((s for kind, s in _STATUS.items() if isinstance(error, kind)), 1))

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            click.echo(err=True)
            sys.exit(128 + signal.SIGINT)
        except OSError as error:  # standard output on a full disk, say; a closed pipe is click's
            if error.errno == errno.EPIPE:
                raise
            click.secho(f"kv-dict: {error}", fg="red", err=True)
            sys.exit(1)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("kv-dict"), prog_name="kv-dict")
def cli() -> None:
    """Work with metadata that lives in a store and that every bluesky run carries."""


cli.add_command(migrate)


@cli.command()
@click.option(
    "--path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="SQLite file to use and keep. Without it a temporary one is used and removed.",
)
def demo(path: Path | None) -> None:
    """Run a simulated beamline on a store.

    Two scans with a bluesky RunEngine, a second process that reads and changes the metadata in
    between, and a restart. Takes a few seconds.
    """
    try:
        from kv_dict.cli.demo import run
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _OF_THE_DEMO:
            raise
        raise ConfigurationError(
            f"the demonstration needs {error.name}, which is not installed: "
            "pip install 'kv-dict[cli,bluesky,ophyd-async]'"
        ) from None
    run(path)


cli.add_command(profile)
