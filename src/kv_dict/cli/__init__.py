"""`kv-dict` on the command line."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line; where its libraries are missing, say how to get them."""
    try:
        from kv_dict.cli.commands import cli

        cli()
    except KeyboardInterrupt:  # before or after a command, which see to it themselves
        sys.exit(130)
    except ModuleNotFoundError as error:
        if error.name not in ("click", "rich", "yaml"):
            raise
        sys.exit(
            f"kv-dict: the command line needs {error.name}, which is not installed: "
            "pip install 'kv-dict[cli]'"
        )
