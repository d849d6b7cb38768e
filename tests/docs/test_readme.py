"""The README's links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_relative_links_lead_to_files():
    links = re.findall(r"\]\(([^)#]+)\)", (ROOT / "README.md").read_text())
    relative = [link for link in links if not link.startswith("https://")]
    assert relative
    assert [link for link in relative if not (ROOT / link).is_file()] == []
