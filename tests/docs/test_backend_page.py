"""The backend on the page about writing one passes the conformance suite that the page names."""

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from kv_dict.testing import BackendConformance

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "write-a-backend.md"


def _of_page() -> dict:
    module = sys.modules.setdefault("backend_page", ModuleType("backend_page"))  # for pickle
    namespace = vars(module)
    for block in re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL):
        if not block.startswith(">>>"):
            exec(block, namespace)
    return namespace


_page = _of_page()


def test_the_page_subclasses_the_suite():
    assert issubclass(_page["TestDictBackend"], BackendConformance)


class TestDictBackend(BackendConformance):
    @pytest.fixture
    def raw(self):
        _page["servers"].clear()
        return _page["RawDict"]()
