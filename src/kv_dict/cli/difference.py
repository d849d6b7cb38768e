"""What is different between two values, place by place."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from kv_dict.cli.output import Line
from kv_dict.cli.values import as_json, brief
from kv_dict.mapping.paths import as_typed

__all__ = ["NOTHING", "Difference", "differences", "same"]

NOTHING: Final = object()
"""In place of a value where there is none."""


class Difference(NamedTuple):
    """One place and what is there before and after; `NOTHING` where nothing is."""

    path: tuple[str, ...]
    before: Any
    after: Any

    def line(self) -> Line:
        """Return it for people."""
        if self.before is NOTHING:
            mark: Line = [("+ ", "new")]
        elif self.after is NOTHING:
            mark = [("- ", "old")]
        else:
            mark = [("~ ", "warn")]
        return [*mark, (as_typed(self.path), "key"), ("  ", ""), *self.values()]

    def values(self) -> Line:
        """Return what was and what is there."""
        line: Line = []
        if self.before is not NOTHING:
            line += [(text, "old") for text, _ in brief(self.before, 160)]
        if self.before is not NOTHING and self.after is not NOTHING:
            line += [(" -> ", "")]
        if self.after is not NOTHING:
            line += [(text, "new") for text, _ in brief(self.after, 160)]
        return line


def same(one: Any, other: Any) -> bool:
    """Return whether two values are stored alike: 1, 1.0 and true are three, NaN is itself."""
    if type(one) is not type(other):
        return False
    return repr(one) == repr(other) if isinstance(one, float) else _text(one) == _text(other)


def _text(value: Any) -> str:
    return repr(as_json(value))


def differences(path: tuple[str, ...], before: Any, after: Any) -> Iterator[Difference]:
    """Yield each place where two values differ: as deep inside dicts as possible."""
    if isinstance(before, dict) and isinstance(after, dict) and before and after:
        for key in before:
            yield from differences((*path, key), before[key], after.get(key, NOTHING))
        for key in after:
            if key not in before:
                yield Difference((*path, key), NOTHING, after[key])
    elif not same(before, after):
        yield Difference(path, before, after)
