"""What the reference says of the dashboard is all there is."""

from __future__ import annotations

import re
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest

from kv_dict import InMemoryAsyncBackend, RemoteKVMapping
from kv_dict.dashboard import Dashboard, Layout, Rule, Source, Tile
from kv_dict.dashboard.api import API
from kv_dict.dashboard.board import Board
from kv_dict.profiles import load_profile

DOCS = Path(__file__).parents[2] / "docs"
REFERENCE = (DOCS / "reference" / "dashboard-api.md").read_text()
GUIDE = (DOCS / "how-to" / "dashboard.md").read_text()


def test_every_key_of_a_layout_is_documented_and_no_other() -> None:
    tables = re.findall(r"\| Key of [^\n]*\n\|---[^\n]*\n((?:\|[^\n]*\n)+)", REFERENCE)
    for kind, table in zip((Layout, Tile, Rule), tables, strict=True):
        first_cells = "".join(re.findall(r"^\|([^|]*)", table, re.MULTILINE))
        documented = re.findall(r"`([a-z_]+)`", first_cells)
        assert set(documented) == {field.name for field in fields(kind)}


def test_every_endpoint_is_documented() -> None:
    source = Source("x", lambda: RemoteKVMapping(InMemoryAsyncBackend(), "x"))
    api = API(Board([source]), Dashboard([source])._access)
    documented = set(re.findall(r"`(?:GET|PUT|DELETE|POST) (/[a-z/]+)", REFERENCE))
    assert documented == {route.path for route in api.routes()}


def test_the_layout_of_the_profile_collection_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KV_DICT_CONFIG", raising=False)
    profile = load_profile("local", profile_dir=DOCS.parent / "profile_collection")
    layout = Layout.of_profile(profile)
    assert layout.title == "Simulated beamline"
    assert [tile.key[0] for tile in layout.tiles][-2:] == ["energy", "shutter"]
    assert layout.shown("proposal", {"title": "Iron", "pi_email": "x"}) == {"title": "Iron"}


def test_the_layout_of_the_guide_is_one() -> None:
    (block,) = re.findall(r"```toml\n(.*?)```", GUIDE, re.DOTALL)
    layout = Layout.from_dict(tomllib.loads(block)["profiles"]["xas"]["dashboard"])
    assert layout.title == "XAS 06B1"
    assert [tile.key[0] for tile in layout.tiles] == ["ring_current", "shutter", "proposal"]
