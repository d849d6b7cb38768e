"""`kv-dict dashboard`: the live web page."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from kv_dict.cli.layouts import layout_of
from kv_dict.cli.opening import said
from kv_dict.errors import ConfigurationError

if TYPE_CHECKING:
    from kv_dict.dashboard import Source
    from kv_dict.mapping import RemoteKVMapping

__all__ = ["dashboard"]

PORT: Final = 8765
_NEEDED: Final = ("starlette", "uvicorn")


@click.command(short_help="Show what is there on a live web page.")
@click.option("--profile", "profiles", metavar="NAME", multiple=True, help="A profile to show.")
@click.option("--url", "urls", metavar="URL", multiple=True, help="A store to show.")
@click.option(
    "--entry-point", "entry_points", metavar="NAME", multiple=True, help="The scope in each store."
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", default=PORT, show_default=True, type=click.IntRange(0, 65535), help="0: a free one."
)
@click.option(
    "--layout",
    type=click.Path(path_type=Path),
    help="TOML file: what the board shows, in place of what the profile says.",
)
@click.option(
    "--hide", metavar="PATTERN", multiple=True, help="Keys, or parts, that nobody gets to see."
)
@click.option("--writable", is_flag=True, help="Let those who have the token edit.")
@click.option(
    "--token-file",
    type=click.Path(path_type=Path),
    help="Holds the token; made with a new one if it is not there.",
)
@click.option(
    "--allowed-host",
    metavar="NAME",
    multiple=True,
    help="Another name by which browsers ask for it.",
)
@click.option(
    "--public-url", default="", metavar="URL", help="The address at which a proxy serves it."
)
@click.option("--tls-cert", type=click.Path(path_type=Path), help="Certificate, PEM: speak TLS.")
@click.option("--tls-key", type=click.Path(path_type=Path), help="Its key, PEM.")
def dashboard(
    profiles: Sequence[str],
    urls: Sequence[str],
    entry_points: Sequence[str],
    host: str,
    port: int,
    layout: Path | None,
    hide: Sequence[str],
    writable: bool,
    token_file: Path | None,
    allowed_host: Sequence[str],
    public_url: str,
    tls_cert: Path | None,
    tls_key: Path | None,
) -> None:
    """Show what is there, live, on a web page for any number of browsers.

    \b
    kv-dict dashboard
    kv-dict dashboard --url redis://xas-server/1 --entry-point xas --entry-point xrd
    kv-dict dashboard --layout board.toml --hide '*password*' --hide proposal/pi_email
    kv-dict dashboard --host 0.0.0.0 --token-file ~/.config/kv-dict/dashboard-token
    kv-dict dashboard --writable --token-file ~/.config/kv-dict/dashboard-token

    It only shows, to this computer only, unless it is told otherwise. Ends with Ctrl-C.
    """
    try:
        from kv_dict.dashboard import Dashboard, Settings
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _NEEDED:
            raise
        raise ConfigurationError(
            f"the dashboard needs {error.name}, which is not installed: "
            "pip install 'kv-dict[cli,dashboard]'"
        ) from None
    if writable and token_file is None:
        raise click.UsageError("--writable needs --token-file FILE: who has the token may edit")
    settings = Settings(
        host=host,
        port=port,
        token=None if token_file is None else _token(token_file),
        writable=writable,
        allowed_hosts=allowed_host,
        public_url=public_url,
        tls_certificate=tls_cert,
        tls_key=tls_key,
    )
    before = said(click.get_current_context())  # the options in front of the command
    sources = _sources(
        (*profiles, *urls) or (before.target,),
        entry_points or (before.entry_point,),
        before.timeout,
        layout,
        hide,
    )
    page = Dashboard(sources, settings)

    def ready(url: str) -> None:
        names = ", ".join(source.name for source in sources)
        click.echo(f"{names}: {url}")
        if token_file is not None:
            click.echo(f"the token is in {token_file}; {url}#token=... logs a browser in")

    page.serve(ready)


def _sources(
    targets: Sequence[str | None],
    entry_points: Sequence[str | None],
    timeout: float | None,
    layout: Path | None,
    hide: Sequence[str],
) -> list[Source]:
    """Return a source for each entry point of each target, with names of their own."""
    from functools import partial

    from kv_dict.dashboard import Source
    from kv_dict.profiles import load_profile

    sources: dict[str, Source] = {}
    for target in targets:
        for entry_point in entry_points:
            profile = load_profile(target, entry_point=entry_point, timeout=timeout)
            plain = target if target is not None and ":" not in target else None
            name = "/".join(filter(None, (plain, entry_point))) or profile.entry_point
            number = 1
            while name in sources:
                number += 1
                name = f"{name.rpartition(' ')[0] if number > 2 else name} {number}"
            sources[name] = Source(
                name, partial(_open, target, entry_point, timeout), layout_of(profile, layout, hide)
            )
    return list(sources.values())


def _open(target: str | None, entry_point: str | None, timeout: float | None) -> RemoteKVMapping:
    """Open what is shown: not by `Profile.open`, which puts a profile's defaults into the store."""
    from kv_dict.profiles import load_profile

    profile = load_profile(
        target, entry_point=entry_point, reads="replica", timeout=timeout, on_outage="fail"
    )
    return profile.mapping()


def _token(path: Path) -> str:
    """Return the first line of a file, which is made with a new token if it is not there."""
    from kv_dict.mapping.showing import harmless
    from kv_dict.profiles.documents import read_text

    try:
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            lines = read_text(path).splitlines()
            if path.stat().st_mode & 0o077:
                told = f"{path} can be read by others, and so its token: chmod 600 it"
                click.secho(f"kv-dict: {harmless(told)}", fg="yellow", err=True)
        else:
            lines = [secrets.token_urlsafe()]
            with os.fdopen(descriptor, "w") as made:
                made.write(lines[0] + "\n")
    except OSError as error:
        raise ConfigurationError(f"cannot use {path} for the token: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path} is not text, so it holds no token") from None
    token = lines[0].strip() if lines else ""
    if not token.isascii() or not token.isprintable():
        raise ConfigurationError(f"{path}: the token is ASCII text in the first line")
    return token
