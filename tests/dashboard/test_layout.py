"""What the board shows, read from a table: every mistake is named."""

from __future__ import annotations

import json
import tomllib
from typing import Any

import pytest

from kv_dict import ConfigurationError
from kv_dict.dashboard import Layout, Rule, Tile


def test_a_whole_layout() -> None:
    table = tomllib.loads("""
        title = "XAS"
        hide = ["*password*", "private_*"]
        [[tiles]]
        label = "Ring current"
        key = ["beam_current_mA", "ring_current"]
        unit = "mA"
        digits = 1
        max_age = 10
        size = 2
        optional = true
        plot = false
        rules = [{ below = 10, state = "alarm", text = "no beam" }, { above = 500, state = "warn" }]
        [[tiles]]
        key = "proposal"
        path = "team/0/name"
        detail = ["proposal", "id"]
        rules = [{ equals = "Ada", state = "ok" }]
        """)
    layout = Layout.from_dict(table)
    assert layout.title == "XAS"
    assert layout.hides("smtp_password")
    assert layout.hides("private_x")
    assert not layout.hides("Private_x")
    first, second = layout.tiles
    assert first == Tile(
        key=("beam_current_mA", "ring_current"),
        label="Ring current",
        unit="mA",
        digits=1,
        max_age=10.0,
        size=2,
        optional=True,
        plot=False,
        rules=(Rule(state="alarm", below=10, text="no beam"), Rule(state="warn", above=500)),
    )
    assert second.path == ("team", "0", "name")
    assert second.detail == ("proposal", "id")
    assert json.loads(json.dumps(layout.as_dict()))["tiles"][1]["rules"][0]["equals"] == "Ada"


def test_a_tile_may_be_a_key_and_no_table_is_the_default() -> None:
    assert Layout.from_dict({"tiles": ["energy"]}).tiles == (Tile(key=("energy",)),)
    assert Layout.from_dict({}) == Layout()
    assert Layout.from_dict({"tiles": []}).tiles == ()


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"tiles_": []}, r"dashboard\.tiles_ is not known; did you mean tiles\?"),
        ({"colour": 1}, r"dashboard\.colour is not known \(known: title, tiles, hide\)"),
        ({"title": 3}, r"dashboard\.title = 3: a text"),
        ({"title": "x" * 201}, r"dashboard\.title"),
        ({"hide": "password"}, r"dashboard\.hide: a list, not str"),
        ({"hide": [1]}, r"dashboard\.hide\[0\]"),
        ({"tiles": {}}, r"dashboard\.tiles: a list"),
        ({"tiles": ["a"] * 101}, r"dashboard\.tiles: 101"),
        ({"tiles": [3]}, r"dashboard\.tiles\[0\]: a table"),
        ({"tiles": [{}]}, r"dashboard\.tiles\[0\]\.key is missing"),
        ({"tiles": ["a", {"key": []}]}, r"dashboard\.tiles\[1\]\.key"),
        ({"tiles": [{"key": 1}]}, r"dashboard\.tiles\[0\]\.key"),
        ({"tiles": [{"key": [1]}]}, r"dashboard\.tiles\[0\]\.key"),
        ({"tiles": [{"key": "a", "units": "mA"}]}, r"tiles\[0\]\.units is not known.*unit"),
        ({"tiles": [{"key": "a", "digits": 1.5}]}, r"tiles\[0\]\.digits = 1\.5: a whole number"),
        ({"tiles": [{"key": "a", "digits": True}]}, r"tiles\[0\]\.digits"),
        ({"tiles": [{"key": "a", "digits": []}]}, r"tiles\[0\]\.digits"),
        ({"tiles": [{"key": "a", "size": 3}]}, r"tiles\[0\]\.size"),
        ({"tiles": [{"key": "a", "max_age": 0}]}, r"tiles\[0\]\.max_age = 0: seconds, above 0"),
        ({"tiles": [{"key": "a", "max_age": float("nan")}]}, r"tiles\[0\]\.max_age"),
        ({"tiles": [{"key": "a", "plot": "yes"}]}, r"tiles\[0\]\.plot = 'yes': true or false"),
        ({"tiles": [{"key": "a", "path": [None]}]}, r"tiles\[0\]\.path"),
        ({"tiles": [{"key": "a", "detail": 3}]}, r"tiles\[0\]\.detail"),
        ({"tiles": [{"key": "a", "rules": {}}]}, r"tiles\[0\]\.rules: a list"),
        ({"tiles": [{"key": "a", "rules": [{}]}]}, r"rules\[0\]\.state = None: one of ok, busy"),
        ({"tiles": [{"key": "a", "rules": [{"state": "red"}]}]}, r"rules\[0\]\.state = 'red'"),
        ({"tiles": [{"key": "a", "rules": [{"state": "ok"}]}]}, r"rules\[0\]: one of below"),
        (
            {"tiles": [{"key": "a", "rules": [{"state": "ok", "below": 1, "above": 2}]}]},
            r"rules\[0\]: one of below",
        ),
        ({"tiles": [{"key": "a", "rules": [{"state": "ok", "below": "1"}]}]}, r"rules\[0\]\.below"),
        ({"tiles": [{"key": "a", "rules": [{"state": "ok", "equals": []}]}]}, r"\]\.equals"),
        (
            {"tiles": [{"key": "a", "rules": [{"state": "ok", "equals": 1, "text": 1}]}]},
            r"rules\[0\]\.text",
        ),
        ([], r"dashboard: a table, not list"),
    ],
)
def test_each_mistake_is_named(table: Any, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        Layout.from_dict(table)
