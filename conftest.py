"""Run the examples of README.md, of the documentation and of the docstrings under pytest."""

from __future__ import annotations

import bisect
import contextlib
import os
import tempfile
from doctest import ELLIPSIS, NORMALIZE_WHITESPACE
from pathlib import Path
from typing import Any, Self

from sybil import Example, Sybil
from sybil.document import PythonDocStringDocument
from sybil.evaluators.doctest import NUMBER
from sybil.example import NotEvaluated
from sybil.parsers.markdown import PythonCodeBlockParser as MarkdownBlockParser
from sybil.parsers.myst import PythonCodeBlockParser as MystBlockParser
from sybil.parsers.myst import SkipParser
from sybil.parsers.rest import DocTestParser
from sybil.sybil import SybilCollection

_FLAGS = ELLIPSIS | NORMALIZE_WHITESPACE | NUMBER

_cleanup: dict[int, contextlib.ExitStack] = {}


def _setup(namespace: dict[str, Any]) -> None:
    """Begin a document: in an empty folder, with every place of a user's data inside it."""
    stack = contextlib.ExitStack()
    folder = Path(
        stack.enter_context(
            tempfile.TemporaryDirectory(prefix="kv-dict-doc-", ignore_cleanup_errors=True)
        )
    )
    home, work = folder / "home", folder / "work"
    home.mkdir()
    work.mkdir()
    environment = {
        "HOME": str(home),
        "XDG_DATA_HOME": str(home / "data"),
        "XDG_CONFIG_HOME": str(home / "config"),
        "XDG_CONFIG_DIRS": str(home / "system"),
        "KV_DICT_URL": f"sqlite://{work / 'metadata.db'}",
    }
    stack.callback(_restore, dict(os.environ))  # examples set variables too
    os.environ.update(environment)
    for name in [name for name in os.environ if name.startswith("KV_DICT_")]:
        if name not in environment and not name.startswith("KV_DICT_TEST_"):
            del os.environ[name]
    stack.enter_context(contextlib.chdir(work))
    _cleanup[id(namespace)] = stack


def _teardown(namespace: dict[str, Any]) -> None:
    """End a document: close what it left open, and go back."""
    from kv_dict import RemoteKVMapping  # noqa: PLC0415 - coverage starts before the import

    for value in tuple(namespace.values()):
        if isinstance(value, RemoteKVMapping):
            value.close()
    namespace.clear()
    _cleanup.pop(id(namespace)).close()


def _restore(environment: dict[str, str]) -> None:
    for name in os.environ.keys() - environment.keys():
        del os.environ[name]
    os.environ.update(environment)


class _DocStrings(PythonDocStringDocument):
    """The docstrings of a module; each one begins with a new `md` and an empty `tmp_path`."""

    def __init__(self, text: str, path: str) -> None:
        super().__init__(text, path)
        self._starts: list[int] = []
        self._at = -1
        self.push_evaluator(self._begin)

    @classmethod
    def parse(cls, path: str, *parsers: Any, encoding: str = "utf-8") -> Self:
        document = super().parse(path, *parsers, encoding=encoding)
        document._starts = sorted(start for start, *_ in cls.extract_docstrings(document.text))
        return document

    def _begin(self, example: Example) -> None:
        at = bisect.bisect(self._starts, example.start)
        if at != self._at:
            self._at = at
            from kv_dict import InMemoryAsyncBackend, RemoteKVMapping  # noqa: PLC0415

            folder = Path(f"docstring-{at}").absolute()
            folder.mkdir()
            example.namespace["tmp_path"] = folder
            example.namespace["md"] = RemoteKVMapping(InMemoryAsyncBackend(), "docs")
        raise NotEvaluated


pytest_collect_file = SybilCollection(
    [
        Sybil(
            path=".",
            patterns=["README.md"],
            parsers=[MarkdownBlockParser((), _FLAGS)],
            setup=_setup,
            teardown=_teardown,
        ),
        Sybil(
            path="docs",
            patterns=["*.md"],
            parsers=[MystBlockParser((), _FLAGS), SkipParser()],
            setup=_setup,
            teardown=_teardown,
        ),
        Sybil(
            path="src/kv_dict",
            patterns=["*.py"],
            parsers=[DocTestParser(_FLAGS)],
            document_types={".py": _DocStrings},
            setup=_setup,
            teardown=_teardown,
        ),
    ]
).pytest()
