"""`kv-dict demo`: the command in front of the demonstration, which needs bluesky."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from kv_dict.errors import ConfigurationError

__all__ = ["demo"]

_NEEDED: Final = ("bluesky", "event_model", "ophyd_async", "rich")


@click.command()
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
        if (error.name or "").partition(".")[0] not in _NEEDED:
            raise
        raise ConfigurationError(
            f"the demonstration needs {error.name}, which is not installed: "
            "pip install 'kv-dict[cli,bluesky,ophyd-async]'"
        ) from None
    run(path)
