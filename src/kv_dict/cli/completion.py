"""`kv-dict completion`: what a shell needs to complete commands, options and keys."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final

import click

from kv_dict.cli.opening import said
from kv_dict.errors import KVDictError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

__all__ = ["complete_path", "completion"]

PATIENCE: Final = 1.0
"""Seconds that a shell waits for the names of keys; then there are none."""


@click.command(short_help="Print the script that makes a shell complete.")
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
def completion(shell: str) -> None:
    """Print the script that makes a shell complete commands, options and keys.

    \b
    kv-dict completion bash > ~/.local/share/bash-completion/completions/kv-dict
    kv-dict completion zsh > ~/.zfunc/_kv-dict      (with ~/.zfunc in $fpath)
    kv-dict completion fish > ~/.config/fish/completions/kv-dict.fish

    Keys are asked of the store; one that does not answer within a second completes nothing.
    """
    from click.shell_completion import get_completion_class

    from kv_dict.cli.commands import cli

    kind = get_completion_class(shell)
    assert kind is not None  # noqa: S101 - click knows these three
    made = kind(cli, {}, "kv-dict", "_KV_DICT_COMPLETE")
    click.echo(made.source_template % made.source_vars())


def complete_path(context: click.Context, incomplete: str) -> list[CompletionItem]:
    """Return the paths that begin so, one step further."""
    from click.shell_completion import CompletionItem

    from kv_dict.cli.paths import branches, spelt

    around, _, begun = incomplete.rpartition("/")
    value = _asked_in_time(context, around)
    before = f"{around}/" if around else ""
    return [
        CompletionItem(before + spelt(step))
        for step, _ in branches(value)
        if spelt(step).startswith(begun)
    ]


def _asked_in_time(context: click.Context, around: str) -> Any:
    """Return the value at a path, that of the whole mapping for an empty one; None if too late."""
    from dataclasses import replace

    from kv_dict.cli.bounded import within
    from kv_dict.cli.paths import Path, look

    def ask() -> Any:
        with replace(said(context), timeout=PATIENCE).open() as md:
            if not around:
                return md.copy()
            path = Path().convert(around, None, None)
            return look(md.version(path[0]).value, path)

    with contextlib.suppress(KVDictError, click.ClickException, KeyError, TimeoutError):
        return within(PATIENCE, ask)
    return None
