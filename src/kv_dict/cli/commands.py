"""The commands, and the exit statuses they end with.

0: done; 1: not found, a conflict, or a value that cannot be used; 2: wrong usage or configuration;
3: the server is unavailable; 130: Ctrl-C.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from typing import Any, Final

import click

from kv_dict.cli.opening import store_options
from kv_dict.errors import (
    CheckError,
    ConfigurationError,
    KVDictError,
    OutcomeUnknown,
    ProtectedError,
    Unavailable,
)

__all__ = ["cli"]

_COMMANDS: Final = {
    "check": "kv_dict.cli.check:check",
    "completion": "kv_dict.cli.completion:completion",
    "dashboard": "kv_dict.cli.dashboard:dashboard",
    "del": "kv_dict.cli.delete:delete",
    "demo": "kv_dict.cli.demo_command:demo",
    "export": "kv_dict.cli.export:export",
    "get": "kv_dict.cli.get:get",
    "history": "kv_dict.cli.history:history",
    "import": "kv_dict.cli.importing:import_",
    "ls": "kv_dict.cli.ls:ls",
    "migrate": "kv_dict.cli.migrate:migrate",
    "profile": "kv_dict.cli.profile:profile",
    "set": "kv_dict.cli.assign:assign",
    "watch": "kv_dict.cli.watch:watch",
}
"""Where each command is: its module is imported when it is asked for."""

_STATUS: Final[dict[type[KVDictError], int]] = {
    ConfigurationError: 2,
    Unavailable: 3,
    OutcomeUnknown: 3,
}


class _Group(click.Group):
    """A lazy group, whose commands end an operator's mistakes with a message and a status."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        from importlib import import_module

        module, _, name = _COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(import_module(module), name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            from difflib import get_close_matches

            if near := get_close_matches(args[0], _COMMANDS, n=3):
                hint = f"{error.message} Did you mean {' or '.join(near)}?"
                raise click.UsageError(hint, ctx) from None
            raise

    def main(self, *args: Any, **kwargs: Any) -> Any:
        _open_what_is_closed()
        _survive_narrow_encodings()
        try:
            return super().main(*args, **kwargs)
        except OSError as error:  # of --help, which is printed before a command is invoked
            _say(str(error))
            sys.exit(1)
        except ProtectedError as error:
            names = " and ".join(error.keys)
            _say(f"protected by the profile, and nothing was written: {names}; --unlock means it")
            sys.exit(1)
        except CheckError as error:
            _say(f"{error}; --unlock writes it all the same")
            sys.exit(1)
        except KVDictError as error:
            _say(str(error))
            sys.exit(next((s for kind, s in _STATUS.items() if isinstance(error, kind)), 1))

    def invoke(self, ctx: click.Context) -> Any:
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result
        except KeyboardInterrupt:
            click.echo(err=True)
            sys.exit(128 + signal.SIGINT)
        except OSError as error:
            if error.errno == errno.EPIPE:  # the reader had enough: `kv-dict ls | head`
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                sys.exit(128 + signal.SIGPIPE)
            _say(str(error))  # standard output on a full disk, say
            sys.exit(1)


def _say(message: str) -> None:
    from kv_dict.mapping.showing import harmless

    click.secho(f"kv-dict: {harmless(message, keep=chr(10))}", fg="red", err=True)


def _open_what_is_closed() -> None:
    """Have three standard streams: some schedulers close them, and files would get their numbers.

    What is read there ends at once, and what is printed is lost.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115


def _survive_narrow_encodings() -> None:
    """Have a terminal or pipe that is not UTF-8 get an escape for what it cannot show."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="kv-dict", prog_name="kv-dict")
@store_options
def cli() -> None:
    """Read, change and watch the metadata that lives in a store, and check the store.

    \b
    kv-dict ls                          what is there
    kv-dict get sample/name             one value, or one inside it
    kv-dict set operator=Rosalind       change it
    kv-dict watch                       see every change as it happens
    kv-dict check                       does the store work, and will it keep what it is given?

    Which store: --profile or --url, before or after the command; otherwise what `kv-dict profile
    show` tells.
    """
