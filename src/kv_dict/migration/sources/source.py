"""What all sources have in common, and what is read from one."""

from __future__ import annotations

import stat
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from kv_dict.errors import ConfigurationError
from kv_dict.migration.places import Place

__all__ = [
    "PathSource",
    "Progress",
    "Reading",
    "Source",
    "Unreadable",
    "Unusable",
    "bytes_of",
    "unreadable_in",
]

Progress: TypeAlias = Callable[[str, int, int], None]
"""Called with what is being done ("reading"), how much of it is done, and how much there is."""


class Unusable(NamedTuple):
    """An item of the source that cannot be stored: its key, and why, with the path inside it."""

    key: str
    reason: str


class Unreadable:
    """Stands in a value for a part that cannot be read without running code of the source."""

    def __init__(self, reason: str) -> None:
        self.reason = reason


@dataclass
class Reading:
    """What a source holds.

    Attributes
    ----------
    items : dict
        By key, in the source's order. Keys and values as they were found: both may be something
        that cannot be stored.
    unusable : list of Unusable
        What is there and could not be read.
    notes : list of str
        What a reader of the report should know of this source.
    """

    items: dict[Any, Any] = field(default_factory=dict)
    unusable: list[Unusable] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.items) + len(self.unusable)


class Source(ABC):
    """Something that metadata is read from, and that is never written to.

    Attributes
    ----------
    kind : str
        As ``--from`` names it.
    """

    kind: str

    @property
    @abstractmethod
    def name(self) -> str:
        """What it is, for people; without secrets."""

    @abstractmethod
    def read(self, progress: Progress, *, timeout: float) -> Reading:
        """Return all that it holds, at one point in time.

        Raises
        ------
        ConfigurationError
            There is nothing at that place, or something else.
        DecodeError
            It is there, and none of it can be read.
        Unavailable
            It cannot be asked now.
        """

    @abstractmethod
    def holds(self, destination: Place) -> bool:
        """Return whether writing to `destination` would change this source."""


class PathSource(Source):
    """A source that is a file, or a folder of files.

    Parameters
    ----------
    path : Path
        Where it is.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def name(self) -> str:
        return str(self.path)

    def holds(self, destination: Place) -> bool:
        return destination.is_within(self.path)


def bytes_of(path: Path) -> bytes:
    """Return the content of a plain file; ConfigurationError if that cannot be had."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a device or a pipe may have no end
            raise ConfigurationError(f"{path} cannot be read: it is not a plain file")
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from None


def unreadable_in(value: Any, path: str = "") -> tuple[str, str] | None:
    """Return path and reason of the first part of `value` that is `Unreadable`."""
    if isinstance(value, Unreadable):
        return path, value.reason
    steps: Any = ()
    if isinstance(value, dict):
        steps = value.items()
    elif isinstance(value, list | tuple):
        steps = enumerate(value)
    for step, item in steps:
        if found := unreadable_in(item, f"{path}[{step!r}]"):
            return found
    return None
