"""`kv-dict completion`: what a shell needs to complete commands, options and keys."""

from __future__ import annotations

import click

__all__ = ["completion"]


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
