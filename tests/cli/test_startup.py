"""The command line answers at once: it imports what a command needs, and no more."""

import subprocess
import sys

import pytest

HEAVY = {
    "asyncpg",
    "bluesky",
    "IPython",
    "nats",
    "numpy",
    "redis",
    "rich",
    "sqlite3",
    "yaml",
}


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["profile", "show", "--help"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    program = (
        "import sys; from kv_dict.cli import main\n"
        "try: main()\n"
        f"except SystemExit: sys.exit(str(sorted({HEAVY} & set(sys.modules)) or ''))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=60
    )
    assert done.stdout
    assert done.stderr.strip() == ""
