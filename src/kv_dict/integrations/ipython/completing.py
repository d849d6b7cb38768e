"""What TAB offers behind ``%md``."""

from __future__ import annotations

import re
from typing import Any, Final

from IPython.core.completer import (
    CompletionContext,
    SimpleCompletion,
    SimpleMatcherResult,
    context_matcher,
)
from IPython.core.error import UsageError

from kv_dict.errors import KVDictError
from kv_dict.integrations.ipython.arguments import parse
from kv_dict.integrations.ipython.target import target
from kv_dict.mapping.paths import look, spelt, steps

__all__ = ["complete_here", "complete_no_more", "offered"]

_IDENTIFIER: Final = "kv_dict.md"
_LINE: Final = re.compile(r"\s*%?md\s+(?:(?:-d|--delete|-w|--watch)\s+)?(\S*)$")
_OPTIONS: Final = ("--delete", "--watch", "--prompt", "--no-prompt", "--help")
_TO_BE_QUOTED: Final = re.compile(r"[\s'\"]|^-|^$")


def offered(namespace: dict[str, Any], line: str) -> list[str]:
    """Return the options or paths that the last word of a line, up to the cursor, can become.

    Keys that have to be typed in quotes are left out. An item is offered as ``sample``; behind
    ``sample/`` what is in it.
    """
    found = _LINE.match(line)
    if found is None:
        return []
    word = found[1]
    if word.startswith("-"):
        return [option for option in _OPTIONS if option.startswith(word)]
    way, slash, _ = word.rpartition("/")
    try:
        path = parse(way).path
        known = steps(look(target(namespace).mapping, path))
    except (KVDictError, UsageError):  # nothing to offer; running the line tells why
        return []
    paths = [way + slash + spelt(step) for step in known if not _TO_BE_QUOTED.search(str(step))]
    return [path for path in paths if path.startswith(word)]


def complete_here(shell: Any) -> None:
    """Have a shell's TAB offer them, and nothing else there."""

    @context_matcher(identifier=_IDENTIFIER)  # type: ignore[untyped-decorator]
    def match(context: CompletionContext) -> SimpleMatcherResult:
        paths = offered(shell.user_ns, context.text_until_cursor)
        return {
            "completions": [SimpleCompletion(path, type="path") for path in paths],
            "suppress": bool(paths),
        }

    shell.Completer.custom_matchers.append(match)


def complete_no_more(shell: Any) -> None:
    """End that."""
    matchers = shell.Completer.custom_matchers
    matchers[:] = [m for m in matchers if getattr(m, "matcher_identifier", "") != _IDENTIFIER]
