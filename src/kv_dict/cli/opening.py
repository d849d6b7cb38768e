"""Which store a command is about: the options that say so, and opening it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import update_wrapper
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

if TYPE_CHECKING:
    from kv_dict.backend import Backend
    from kv_dict.mapping import RemoteKVMapping

__all__ = ["Store", "pass_store", "store_options"]

_Function = TypeVar("_Function", bound=Callable[..., Any])

DEFAULT_TIMEOUT: Final = 5.0
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
    timeout : float
        Seconds for each operation.
    """

    target: str | None
    entry_point: str | None
    timeout: float

    def open(self) -> RemoteKVMapping:
        """Return a mapping, each of whose reads asks the store; nothing is connected yet."""
        from kv_dict.mapping import RemoteKVMapping

        backend, entry_point = self.parts()
        return RemoteKVMapping(backend, entry_point, timeout=self.timeout)

    def parts(self) -> tuple[Backend, str]:
        """Return the backend, not connected yet, and the entry point."""
        import os

        from kv_dict import profiles

        url = self.target or os.environ.get("KV_DICT_URL") or None
        backend = profiles._default_backend() if url is None else profiles._backend(url)
        entry_point = self.entry_point
        if entry_point is None:
            entry_point = os.environ.get("KV_DICT_ENTRY_POINT") or profiles.DEFAULT_ENTRY_POINT
        return backend, entry_point


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
    return Store(
        given.get("target"), given.get("entry_point"), given.get("timeout", DEFAULT_TIMEOUT)
    )


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


_OPTIONS: Final = tuple(
    click.option(name, callback=_note, expose_value=False, **settings)
    for name, settings in {
        "--profile": {"metavar": "NAME", "help": "The profile that names the store."},
        "--url": {"metavar": "URL", "help": "The store: redis://host:6379/0, ..."},
        "--entry-point": {"metavar": "NAME", "help": "The scope within the store."},
        "--timeout": {
            "metavar": "SECONDS",
            "type": click.FloatRange(0, 86_400, min_open=True),
            "help": "For each operation; 5 if not given.",
        },
    }.items()
)
