"""Every key, variable and default of a profile is in the reference, and no other."""

from __future__ import annotations

import re
from pathlib import Path

from kv_dict.profiles import bits, bluesky_nats
from kv_dict.profiles.environment import VARIABLES
from kv_dict.profiles.keys import FACILITIES, KEYS

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"
PAGE = (REFERENCE / "profiles.md").read_text()
ROWS = {
    row[1]: (row[2], row[3])
    for row in re.finditer(
        r"^\| `([a-z_.*]+)` \| (?:`(KV_DICT_\w+)` )?\| ?([^|]*?) ?\|", PAGE, re.MULTILINE
    )
}


def test_the_keys_of_the_page_are_those_that_there_are() -> None:
    assert set(ROWS) == set(KEYS)
    assert {name: variable for name, (variable, _) in ROWS.items()} == {
        key.name: key.variable for key in KEYS.values()
    }


def test_the_defaults_of_the_page_are_true() -> None:
    for key in KEYS.values():
        default = ROWS[key.name][1].strip("`")
        if key.default is not None:
            known = {(): "[]", False: "false"}
            shown = known.get(key.default) or repr(key.default).replace("'", '"')
            assert default == shown, key.name


def test_every_variable_is_in_the_reference() -> None:
    pages = PAGE + (REFERENCE / "configuration.md").read_text()
    assert {name for name in VARIABLES if f"`{name}`" not in pages} == set()


def test_every_facility_is_in_the_reference() -> None:
    for name in FACILITIES:
        assert f"\n### {name}\n" in PAGE
    for name in (*bluesky_nats.TAKEN, *bluesky_nats.REFUSED):
        assert f"`{name}`" in PAGE
    for name in bits.USUAL:
        assert f"`{name}`" in PAGE
    for name in ("HOST", "PORT", "PASSWORD", "SECRET_FILE"):
        assert f"`REDIS_{name}`" in PAGE
