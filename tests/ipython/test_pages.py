"""What the pages show of IPython is what a real one shows."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator
from doctest import ELLIPSIS, NORMALIZE_WHITESPACE, OutputChecker
from pathlib import Path
from typing import Any

import pytest

Terminal = Any  # of conftest.py, which cannot be imported

HOW_TO = Path(__file__).parents[2] / "docs" / "how-to"
BLOCK = re.compile(r"^```ipythonconsole\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INPUT = re.compile(r"^(?P<before>.*)In \[(?P<number>\d+)\]: (?P<command>.*)\n", re.MULTILINE)


def inputs(page: str) -> Iterator[tuple[str, str, str]]:
    """Yield what is in front of each prompt of a page, what is typed, and what is shown then."""
    session = "\n".join(BLOCK.findall((HOW_TO / page).read_text()))
    found = list(INPUT.finditer(session))
    assert [int(one["number"]) for one in found] == list(range(1, len(found) + 1))
    for one, following in zip(found, [*found[1:], None], strict=True):
        shown = session[one.end() : following.start() if following else None]
        yield one["before"], one["command"], shown


@pytest.mark.parametrize(
    ("page", "arguments"),
    [
        ("ipython.md", []),
        pytest.param(
            "profile-collection.md",
            ["--profile-dir=profile_collection"],
            marks=pytest.mark.beamline,
        ),
    ],
)
def test_the_page_shows_what_ipython_shows(
    page: str, arguments: list[str], start: Callable[..., Terminal], collection: Path
) -> None:
    terminal = start(*arguments)
    terminal.ready(1)
    for before, command, expected in inputs(page):
        assert terminal.at_prompt()[1] == before
        shown = terminal.run(command)
        flags = ELLIPSIS | NORMALIZE_WHITESPACE
        if not OutputChecker().check_output(expected.strip(), shown.strip(), flags):
            both = expected.strip().splitlines(), shown.strip().splitlines()
            pytest.fail(f"{command}\n" + "\n".join(difflib.unified_diff(*both, lineterm="")))
