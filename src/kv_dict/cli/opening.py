"""Which store a command is about: the options that say so, and opening it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import update_wrapper
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from kv_dict.cli.output import Failure

if TYPE_CHECKING:
    from pathlib import Path

    from kv_dict.backend import Backend
    from kv_dict.mapping import RemoteKVMapping
    from kv_dict.profiles import Profile

__all__ = ["Store", "missing_file", "pass_store", "said", "store_options", "unlock_option"]

_Function = TypeVar("_Function", bound=Callable[..., Any])

_GIVEN: Final = "kv_dict.store"


@dataclass(frozen=True)
class Store:
    """What was said of the store, on the command line.

    Attributes
    ----------
    target : str or None
        The name of a profile, a URL, or None for what the environment says.
    entry_point : str or None
        The scope within it.
    timeout : float or None
        Seconds for each operation.
    """

    target: str | None
    entry_point: str | None
    timeout: float | None

    def profile(self) -> Profile:
        """Return the store and how to use it; ConfigurationError if that cannot be."""
        from kv_dict.profiles import load_profile

        return load_profile(
            self.target,
            entry_point=self.entry_point,
            reads="server",
            timeout=self.timeout,
            on_outage="fail",
        )

    def look(self) -> RemoteKVMapping:
        """Return a mapping for a command that writes nothing: it makes no file either.

        Raises
        ------
        Failure
            The SQLite file is not there: its name may be misspelt.
        """
        md = self.open()
        if path := missing_file(md.backend):
            md.close()
            raise Failure(f"there is no file {path}; the first write makes it")
        return md

    def open(self, *, unlock: bool = False) -> RemoteKVMapping:
        """Return a mapping, each of whose reads asks the store; nothing is connected yet.

        Without the profile's defaults: who only looks writes nothing. `unlock` is for what may
        change its protected keys too, and write values that it refuses.
        """
        return self.profile().mapping(unlocked=unlock)


def missing_file(backend: Backend) -> Path | None:
    """Return the SQLite file of a store that is not there yet: its name may be misspelt."""
    if not backend.url.startswith("sqlite:"):
        return None
    from kv_dict.backends.sqlite import SQLiteBackend

    if isinstance(backend, SQLiteBackend):
        try:
            backend.path.stat()
        except FileNotFoundError:
            return backend.path if backend.path.parent.is_dir() else None
        except OSError:
            return None  # opening it tells what is wrong, as it does of a folder that is not there
    return None


def store_options(function: _Function) -> _Function:
    """Give a command the options that say which store; `said` returns what they said."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def pass_store(function: _Function) -> _Function:
    """Give a command the options that say which store, and call it with a `Store`."""

    def with_store(*args: Any, **kwargs: Any) -> Any:
        return function(said(click.get_current_context()), *args, **kwargs)

    return store_options(update_wrapper(with_store, function))  # type: ignore[return-value]


def said(context: click.Context) -> Store:
    """Return the store that the command line names, before the command or behind it."""
    given = context.meta.get(_GIVEN, {})
    return Store(given.get("target"), given.get("entry_point"), given.get("timeout"))


def _note(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    """Keep what an option said; the one behind the command wins over the one before it."""
    if value is None:
        return
    given = context.meta.setdefault(_GIVEN, {})
    name = parameter.name
    if name in ("profile", "url"):
        if given.get("by") is context:
            raise click.UsageError("--profile and --url: choose one")
        given |= {"target": value, "by": context}
    else:
        given[name] = value


def _option(name: str, metavar: str, help_: str, kind: Any = None) -> Callable[[Any], Any]:
    return click.option(
        name, metavar=metavar, help=help_, type=kind, callback=_note, expose_value=False
    )


_SECONDS: Final = click.FloatRange(0, 86_400, min_open=True)
_OPTIONS: Final = (
    _option("--profile", "NAME", "The profile that names the store."),
    _option("--url", "URL", "The store: redis://host:6379/0, ..."),
    _option("--entry-point", "NAME", "The scope within the store."),
    _option("--timeout", "SECONDS", "For each operation; 5 if nothing else is said.", _SECONDS),
)

unlock_option: Final = click.option(
    "--unlock",
    is_flag=True,
    help="Change keys that the profile protects, too, and write values that it refuses.",
)
