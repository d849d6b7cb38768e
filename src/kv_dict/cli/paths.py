"""A path into a mapping, as an argument of a command; a shell completes it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final

import click

from kv_dict.errors import KVDictError
from kv_dict.mapping.paths import PathError, look, parse, spelt, steps

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

__all__ = ["Path"]

PATIENCE: Final = 1.0
"""Seconds that a shell waits for the names of keys; then there are none."""


class Path(click.ParamType):  # type: ignore[type-arg]  # generic in newer ones only
    """A path as click reads one: a tuple of steps, the first of which is a key of the mapping."""

    name = "path"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[str, ...]:
        """Return the steps; a spelling that is none is wrong usage."""
        if isinstance(value, tuple):
            return value
        try:
            return parse(value)
        except PathError as error:
            self.fail(str(error), param, ctx)

    def shell_complete(self, ctx: Any, param: Any, incomplete: str) -> list[CompletionItem]:
        """Return the paths that begin so, one step further, if the store tells soon."""
        from click.shell_completion import CompletionItem

        around, _, begun = incomplete.rpartition("/")
        before = f"{around}/" if around else ""
        names = map(spelt, steps(_asked_in_time(ctx, around)))
        return [CompletionItem(before + name) for name in names if name.startswith(begun)]


def _asked_in_time(context: click.Context, around: str) -> Any:
    """Return the value at a path, that of the whole mapping for an empty one; None if too late."""
    from dataclasses import replace

    from kv_dict.cli.bounded import within
    from kv_dict.cli.opening import said

    def ask() -> Any:
        with replace(said(context), timeout=PATIENCE).look() as md:
            if not around:
                return md.copy()
            path = parse(around)
            return look({path[0]: md.version(path[0]).value}, path)

    with contextlib.suppress(KVDictError, click.ClickException, KeyError, TimeoutError):
        return within(PATIENCE, ask)
    return None
