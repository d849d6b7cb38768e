"""Where two values differ, in type or in content, at any depth."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

__all__ = ["Difference", "differences", "kind_of", "same"]


class Difference(NamedTuple):
    """A place where two values differ. `path` is how it is written behind the value's name."""

    path: str
    left: Any
    right: Any

    @property
    def only_in_type(self) -> bool:
        """Whether the content is the same: a tuple and a list of as many items, 1.5 and 1.5."""
        if isinstance(self.left, list | tuple | dict) and isinstance(
            self.right, list | tuple | dict
        ):
            return type(self.left) is not type(self.right)
        return type(self.left) is not type(self.right) and bool(self.left == self.right)


def differences(left: Any, right: Any, path: str = "") -> Iterator[Difference]:
    """Yield every place where two values differ.

    A NaN is equal to a NaN, and 0.0 is not -0.0; the order of a dict's items does not count. A list
    and a tuple, or a dict and one of another class, differ, and what is in them is compared too.

    Examples
    --------
    >>> list(differences({"a": (1, 2.0)}, {"a": [1, 2]}))
    [Difference(path="['a']", left=(1, 2.0), right=[1, 2]), Difference(path="['a'][1]", left=2.0, right=2)]
    """  # noqa: E501 - what it prints
    if type(left) is not type(right):
        yield Difference(path, left, right)
    if isinstance(left, dict) and isinstance(right, dict):
        yield from _of_dicts(left, right, path)
    elif isinstance(left, list | tuple) and isinstance(right, list | tuple):
        if len(left) != len(right):
            yield Difference(path, left, right)
            return
        for at, (one, other) in enumerate(zip(left, right, strict=True)):
            yield from differences(one, other, f"{path}[{at}]")
    elif type(left) is type(right) and not _equal(left, right):
        yield Difference(path, left, right)


def same(left: Any, right: Any) -> bool:
    """Return whether two values are equal in type and content."""
    return next(differences(left, right), None) is None


def kind_of(value: Any) -> str:
    """Return the name of a value's type, as people know it: ``tuple``, ``numpy.float64``."""
    kind = type(value)
    return f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")


def _of_dicts(left: dict[Any, Any], right: dict[Any, Any], path: str) -> Iterator[Difference]:
    if left.keys() != right.keys():
        yield Difference(path, left, right)
        return
    for key, item in left.items():
        yield from differences(item, right[key], f"{path}[{key!r}]")


def _equal(left: Any, right: Any) -> bool:
    numpy = sys.modules.get("numpy")  # nothing is an array before it is imported
    if numpy is not None and isinstance(left, numpy.ndarray):
        return bool(
            left.dtype == right.dtype
            and left.shape == right.shape
            and left.tobytes() == right.tobytes()
        )
    if isinstance(left, set | frozenset):
        return sorted(map(repr, left)) == sorted(map(repr, right))
    if isinstance(left, str | bytes | bytearray | int):
        return bool(left == right)
    # What two unequal values of these types share is no more than `==`: NaN, -0.0, 1.10, a zone.
    return repr(left) == repr(right)
