"""What the reference lists is what there is."""

import re
from collections import Counter, OrderedDict
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import numpy as np
import pytest

import kv_dict
import kv_dict.errors
from kv_dict.codec import JSONCodec
from kv_dict.codec.tags import MARK, TAGS

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"
VALUE_TYPES = (REFERENCE / "value-types.md").read_text()


class Shutter(Enum):
    OPEN = "open"


NAMES = {
    kind.__name__: kind
    for kind in (
        Counter,
        Decimal,
        OrderedDict,
        Path,
        Shutter,
        UUID,
        ZoneInfo,
        date,
        datetime,
        time,
        timedelta,
        timezone,
    )
} | {"np": np}


def rows(columns: int, text: str = VALUE_TYPES) -> list[list[str]]:
    """Return the cells of each row that consists of so many pieces of code."""
    cell = r"\| `([^`]*)` "
    return [list(found) for found in re.findall(rf"^{cell * columns}\|$", text, re.MULTILINE)]


def evaluate(code: str) -> object:
    return eval(code, dict(NAMES))


def same(one: object, other: object) -> bool:
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other)
    if isinstance(one, set | frozenset):
        return type(one) is type(other) and one == other
    return type(one) is type(other) and repr(one) == repr(other)


def test_the_table_has_every_tag_and_no_other():
    documented = {tag for tag, *_ in rows(4)}
    assert documented == {MARK + name for name in TAGS} | {f"{MARK}escaped"}


@pytest.mark.parametrize("row", rows(4), ids=lambda row: row[1])
def test_a_tagged_row_is_true(row: list[str]):
    tag, given, _, back = row
    assert row[2].startswith(f'{{"{tag}":')
    check(given, row[2], back)


@pytest.mark.parametrize("row", rows(3), ids=lambda row: row[0])
def test_a_plain_row_is_true(row: list[str]):
    assert MARK not in row[1] or row[0].startswith("np.datetime64")
    check(*row)


def check(given: str, stored: str, back: str) -> None:
    codec = JSONCodec()
    value = evaluate(given)
    assert codec.encode(value, "md").decode() == stored
    decoded = codec.decode(stored.encode(), "md")
    assert same(decoded, evaluate(back))


def test_both_kinds_of_rows_are_found():
    assert len(rows(4)) > len(TAGS)
    assert len(rows(3)) > 10


def documented(page: str) -> set[str]:
    """Return the full names of what autodoc directives of a page document."""
    module, names = "", set()
    for line in (REFERENCE / page).read_text().splitlines():
        if found := re.match(r"\.\. currentmodule:: (\S+)", line):
            module = found[1]
        elif found := re.match(r"\.\. auto(?:class|function|exception|data):: (\w+)", line):
            names.add(f"{module}.{found[1]}")
    return names


@pytest.mark.parametrize("name", kv_dict.__all__)
def test_every_public_name_is_in_the_reference(name: str):
    pages = [path.name for path in REFERENCE.glob("*.md")]
    assert f"kv_dict.{name}" in set().union(*map(documented, pages))


@pytest.mark.parametrize("name", kv_dict.errors.__all__)
def test_every_exception_is_on_its_page_and_in_the_tree(name: str):
    assert f"kv_dict.{name}" in documented("exceptions.md")
    tree = re.search(
        r"^```text\n(.*?)^```$", (REFERENCE / "exceptions.md").read_text(), re.MULTILINE | re.DOTALL
    )
    assert tree is not None
    assert re.search(rf"\b{name}\b", tree[1])


def test_the_tree_is_that_of_the_source():
    page = (REFERENCE / "exceptions.md").read_text()
    tree = re.search(r"^```text\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert tree is not None
    assert kv_dict.errors.__doc__ is not None
    source = kv_dict.errors.__doc__.replace("``", "")
    for line in tree[1].splitlines():
        assert line in source


def test_every_public_method_of_the_mapping_is_in_the_reference():
    text = (REFERENCE / "api.md").read_text()
    listed = re.search(r"autoclass:: RemoteKVMapping\n\s+:members: (.*)", text)
    assert listed is not None
    ours = [
        base for base in kv_dict.RemoteKVMapping.__mro__ if base.__module__.startswith("kv_dict")
    ]
    public = {name for base in ours for name in vars(base) if not name.startswith("_")}
    assert set(listed[1].split(", ")) == public


def test_every_environment_variable_is_in_the_reference():
    source = Path(kv_dict.__file__).parent
    used = {
        name
        for path in source.rglob("*.py")
        for name in re.findall(r"environ\S*?\(?\[?\"(KV_DICT_\w+)\"", path.read_text())
    }
    assert used
    page = (REFERENCE / "configuration.md").read_text()
    assert {name for name in used if f"`{name}`\n: " not in page} == set()


def test_every_url_scheme_is_in_the_reference():
    from kv_dict.backends import urls

    page = (REFERENCE / "configuration.md").read_text()
    assert {scheme for scheme in urls._OPENERS if f"`{scheme}:" not in page} == set()


def test_every_table_and_trigger_is_in_the_reference():
    from kv_dict.backends.sqlite.schema import CREATE, REACH

    page = (REFERENCE / "sqlite-tables.md").read_text()
    made = re.findall(r"CREATE (?:TABLE|TRIGGER) (\w+)", "\n".join(CREATE))
    assert len(made) > 5
    assert {name for name in made if f"`{name}`" not in page} == set()
    hour = 3600 * 1000 * 1024  # in revisions
    assert (hour == REACH) == ("older than an hour" in page)


def commands() -> dict[str, Any]:
    """Return every command by its words, as `profile show`."""
    click = pytest.importorskip("click")
    from kv_dict.cli.commands import cli

    found: dict[str, Any] = {}
    waiting = [("", cli)]
    while waiting:
        words, command = waiting.pop()
        if isinstance(command, click.Group):
            context = click.Context(command)
            for name in command.list_commands(context):
                waiting.append((f"{words} {name}".strip(), command.get_command(context, name)))
        else:
            found[words] = command
    return found


def test_every_command_and_option_is_in_the_reference():
    from kv_dict.cli.opening import store_options

    page = (REFERENCE / "command-line.md").read_text()
    shared = {opt for option in store_options(lambda: None).__click_params__ for opt in option.opts}
    store = page.partition("## Which store\n")[2].partition("\n## ")[0]
    assert {opt for opt in shared if f"\n`{opt} " not in store} == set()
    for words, command in commands().items():
        section = page.partition(f"## kv-dict {words.partition(' ')[0]}\n")[2].partition("\n## ")[0]
        assert section, words
        for option in command.params:
            for opt in set(option.opts) - shared:
                if opt.startswith("-"):  # not an argument
                    assert re.search(rf"`{opt}[ `]", section), f"{words} {opt}"


def test_the_reference_knows_no_other_command_or_option():
    page = (REFERENCE / "command-line.md").read_text()
    known = commands()
    for name, section in re.findall(
        r"^## kv-dict (\S+)\n(.*?)(?=^## )", page, re.MULTILINE | re.DOTALL
    ):
        of = [command for words, command in known.items() if words.partition(" ")[0] == name]
        assert of, name
        options = {opt for command in of for option in command.params for opt in option.opts}
        for line in re.findall(r"^`-.*$", section, re.MULTILINE):
            assert set(re.findall(r"`(--?[a-z-]+)", line)) <= options, line
