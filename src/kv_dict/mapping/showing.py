"""How a mapping shows itself to people: at a prompt, in IPython, in a notebook.

Keys and values may come from anybody. What is shown of them is their Python representation, in
which nothing is left that a terminal or a browser would obey.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from kv_dict.errors import KVDictError
from kv_dict.mapping.reading import Readable

__all__ = ["Showing", "harmless", "label", "literal", "one_line"]

_DEPTH: Final = 6
"""Levels of containers that are laid out; what is deeper is in one line."""

_CELL: Final = 500
"""Characters of a value in a table."""

_COMPLETING: Final = 1.0
"""Seconds that a key completion may wait for the store."""


class Showing:
    """The part of `RemoteKVMapping` that shows it. A store that is away is shown, not raised."""

    _scope: Readable

    def __repr__(self) -> str:
        scope = self._scope
        try:
            shown = repr(scope.plain())
        except KVDictError as error:
            shown = f"<{type(error).__name__}: {error}>"
        return f"{type(self).__name__}({shown}, {scope})"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """Let IPython lay the items out as those of a dict."""
        scope = self._scope
        try:
            items = scope.plain()
        except KVDictError:
            printer.text(repr(self))
            return
        with printer.group(1, f"{type(self).__name__}(", ")"):
            printer.pretty(items)
            printer.text(",")
            printer.breakable()
            printer.text(str(scope))

    def _repr_html_(self) -> str:
        """Let a notebook show the items as a table."""
        from html import escape  # noqa: PLC0415 - only notebooks need it

        scope = self._scope
        caption = f"<caption>{escape(f'{type(self).__name__}({scope})')}</caption>"
        try:
            return _table(scope.plain(), escape, caption)
        except KVDictError as error:
            return f"<table>{caption}<tr><td>{escape(f'{type(error).__name__}: {error}')}</table>"

    def _ipython_key_completions_(self) -> list[str]:
        """Return the keys; none where the store does not tell them soon."""
        scope = self._scope
        try:
            readable = scope.readable(min(scope.timeout, _COMPLETING))
        except KVDictError:
            return []
        return [stored.key for stored, _ in readable]


def label(key: object) -> str:
    r"""Return a key for people: as it is where that is harmless, else its representation.

    >>> label("sample"), label("red: \x1b[31m"), label(" ")
    ('sample', "'red: \\x1b[31m'", "' '")
    """
    if isinstance(key, str) and key.isprintable() and key.strip() == key != "":
        return key
    return one_line(key)


def one_line(value: Any, longest: int | None = None) -> str:
    """Return a value in one line that a terminal can be sent; of a long one the beginning.

    >>> one_line("Fe2O3"), one_line([1, 2, 3, 4], 8)
    ("'Fe2O3'", '[1, 2, …')
    """
    text = repr(value)
    if "\n" in text:  # of an array: that of a string has none
        text = " ".join(text.split())
    if longest is not None and len(text) > longest:
        text = text[: longest - 1] + "…"
    return harmless(text)


def literal(text: str, longest: int | None = None) -> str:
    r"""Return a string as JSON writes it, harmless; of a long one the beginning.

    >>> print(literal("red: \x1b[31m"))
    "red: \u001b[31m"
    """
    if longest is not None and len(text) > longest:
        text = text[: longest - 1] + "…"
    return harmless(json.dumps(text, ensure_ascii=False))


def harmless(text: str, keep: str = "") -> str:
    r"""Return `text` with an escape for each character that a terminal would obey, or not show.

    Characters that turn the direction of what follows them are among these.

    >>> print(harmless("red: \x1b[31m"))
    red: \u001b[31m
    """
    if text.isprintable():
        return text
    return "".join(c if c in keep or c.isprintable() else _escape(c) for c in text)


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _table(items: Mapping[str, Any], escape: Any, caption: str = "", depth: int = 0) -> str:
    rows = []
    for key, value in items.items():
        if isinstance(value, dict) and value and depth < _DEPTH:
            cell = _table(value, escape, depth=depth + 1)
        else:
            cell = f"<code>{escape(one_line(value, _CELL))}</code>"
        name = f'<th style="text-align: left">{escape(label(key))}</th>'
        rows.append(f'<tr>{name}<td style="text-align: left">{cell}</td></tr>')
    return f"<table>{caption}{''.join(rows)}</table>"
