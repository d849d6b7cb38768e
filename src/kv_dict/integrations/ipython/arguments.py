"""What is typed behind ``%md``: options, a path, and a value in JSON or Python or as a word."""

from __future__ import annotations

import ast
import json
import re
from dataclasses import dataclass
from typing import Any, Final

from IPython.core.error import UsageError

from kv_dict.codec.tags import restore
from kv_dict.errors import DecodeError
from kv_dict.mapping import paths
from kv_dict.mapping.paths import Path, PathError
from kv_dict.mapping.showing import harmless, one_line

__all__ = ["Request", "parse", "typed"]

_OPTIONS: Final = {
    "-d": "delete",
    "--delete": "delete",
    "-w": "watch",
    "--watch": "watch",
    "--prompt": "prompt",
    "--no-prompt": "no-prompt",
    "-h": "help",
    "--help": "help",
}
_QUOTED: Final = r"'(?:[^'\\]|\\.)*'|" + r'"(?:[^"\\]|\\.)*"'
_WORD: Final = re.compile(rf"({_QUOTED})(?=\s|$)\s*(.*)|(\S+)\s*(.*)", re.DOTALL)
_LITERAL: Final = ("{", "[", "(", "'", '"')
_NUMERIC: Final = re.compile(r"[+-]?[.\d]")
_CONSTANTS: Final = ("True", "False", "None")


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked for.

    Attributes
    ----------
    action : {"tree", "show", "set", "delete", "watch", "prompt", "no-prompt", "help"}
        What to do.
    path : tuple of str
        With what; empty for all of it.
    value : object
        What to set it to.
    """

    action: str
    path: Path = ()
    value: Any = None


def parse(line: str) -> Request:
    """Return what a line asks for.

    Raises
    ------
    UsageError
        It asks for nothing that there is; says what would be.
    """
    first, rest, quoted = _word(line.strip())
    if not first and not quoted:
        return Request("tree")
    if quoted or not first.startswith("-") or first == "-":
        return Request("set", _path(first), typed(rest)) if rest else Request("show", _path(first))
    action = _OPTIONS.get(first)
    if action is None:
        raise UsageError(
            f"%md has no option {one_line(first, 40)}; there are {', '.join(_OPTIONS)}. A key that "
            "begins so is written in quotes"
        )
    name, beyond, quoted = _word(rest)
    named = bool(name) or quoted
    if beyond or (named and action not in ("delete", "watch")):
        raise UsageError(f"%md {first}: {one_line(beyond or name, 40)} is too much")
    if action == "delete" and not named:
        raise UsageError(f"%md {first} KEY: which key?")
    path = _path(name) if named else ()
    if action == "watch" and len(path) > 1:
        raise UsageError(f"%md {first} follows a whole item: {one_line(path[0])}")
    return Request(action, path)


def typed(text: str) -> Any:
    """Return the value that somebody typed: JSON, a Python literal, or else the text itself.

    Types beyond JSON are tagged as in the store.

    >>> typed("7.1"), typed("Fe2O3"), typed('{"layers": [1, 2]}'), typed("True"), typed("007")
    (7.1, 'Fe2O3', {'layers': [1, 2]}, True, '007')
    """
    try:
        return restore(json.loads(text, parse_constant=_not_json), "the value")
    except RecursionError:
        raise UsageError("the value is nested too deeply") from None
    except DecodeError as error:  # of a tag
        raise UsageError(harmless(str(error))) from None
    except ValueError:
        pass
    literal = text.startswith(_LITERAL)
    if literal or text in _CONSTANTS or _NUMERIC.match(text):
        try:
            return ast.literal_eval(text)
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            if literal:  # it was meant to be one
                raise UsageError(
                    f"{one_line(text, 60)} is neither JSON nor a Python literal; as a string: "
                    f"{one_line(json.dumps(text, ensure_ascii=False), 60)}"
                ) from None
    return text


def _word(text: str) -> tuple[str, str, bool]:
    """Return the first word, what is behind it, and whether it was in quotes."""
    found = _WORD.match(text)
    if found is None:
        return "", "", False
    quoted, behind, plain, rest = found.groups()
    if quoted is None:
        return plain, rest, False
    try:
        return ast.literal_eval(quoted), behind, True
    except (ValueError, SyntaxError):
        raise UsageError(f"the key {one_line(quoted, 60)} is not a string literal") from None


def _path(text: str) -> Path:
    try:
        return paths.parse(text)
    except PathError as error:
        raise UsageError(str(error)) from None


def _not_json(constant: str) -> Any:
    raise ValueError(constant)  # NaN and Infinity, which JSON has not
