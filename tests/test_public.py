"""The names that are promised, and what importing them costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import kv_dict

SOURCE = Path(kv_dict.__file__).parent


def test_the_public_names_are_there_and_sorted() -> None:
    assert kv_dict.__all__ == sorted(kv_dict.__all__)
    for name in kv_dict.__all__:
        assert getattr(kv_dict, name).__name__ == name
    assert dir(kv_dict) == kv_dict.__all__
    with pytest.raises(AttributeError, match="has no attribute 'NoSuchThing'"):
        _ = kv_dict.NoSuchThing


def test_import_imports_no_driver() -> None:
    program = (
        "import sys, kv_dict; "
        "heavy = {'sqlite3', 'redis', 'nats', 'asyncpg', 'numpy', 'bluesky', 'click', 'rich',"
        " 'platformdirs', 'asyncio', 'urllib.request', 'pytest'} & set(sys.modules); "
        "sys.exit(', '.join(heavy) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_exception_of_the_tree_is_drawn_and_public() -> None:
    from kv_dict import errors

    for name in errors.__all__:
        assert f" {name} " in errors.__doc__ or name == "KVDictError"
        assert name in kv_dict.__all__
        assert issubclass(getattr(errors, name), kv_dict.KVDictError)


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda p: str(p.name))
def test_modules_are_small_and_say_what_they_are_for(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= 500
    assert ast.get_docstring(ast.parse(text)), "says what it is for"
