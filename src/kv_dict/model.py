"""What travels between a mapping and a store: entries, operations, snapshots and watch events.

Values are ``bytes`` here, already encoded; keys are ``str``, already spelt as they are stored.
Everything is immutable and may be shared between threads.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final, TypeAlias

__all__ = [
    "ABSENT",
    "Absent",
    "Changes",
    "Delete",
    "DeletePrefix",
    "Deletion",
    "Entry",
    "Expected",
    "Operation",
    "Put",
    "Revision",
    "Snapshot",
    "Stale",
    "WatchEvent",
]

Revision: TypeAlias = int | str | bytes
"""Opaque token of one entry: equal revisions of one key mean equal values.

Where the store has an order, revisions are integers that grow with it.
"""


class Absent(Enum):
    """The type of `ABSENT`, the guard "there must be no such entry"."""

    ABSENT = "absent"

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Final = Absent.ABSENT

Expected: TypeAlias = Revision | Absent | None
"""Guard of an operation: a revision, `ABSENT`, or None for no guard."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One key as the store holds it.

    Attributes
    ----------
    key : str
        The stored key.
    value : bytes
        The encoded value.
    revision : Revision
        Token of this very content.
    time : float or None
        When it was written, in seconds since the epoch by the store's clock; None where the store
        does not know.
    """

    key: str
    value: bytes
    revision: Revision
    time: float | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Entries at one point in time.

    Attributes
    ----------
    entries : tuple of Entry
        In order of their keys (by code point).
    revision : Revision or None
        The point in the store's order, where it has one: everything up to it is included.
    asked : float or None
        `time.monotonic` when the store was asked: all that was acknowledged before is included.
        Always there in a watch.
    """

    entries: tuple[Entry, ...]
    revision: Revision | None = None
    asked: float | None = None


@dataclass(frozen=True, slots=True)
class Put:
    """Store `value` under `key`, if the entry is as `expected`."""

    key: str
    value: bytes
    expected: Expected = None


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove `key`, if the entry is as `expected`; without a guard a missing key is no error."""

    key: str
    expected: Expected = None


@dataclass(frozen=True, slots=True)
class DeletePrefix:
    """Remove every entry whose key starts with `prefix`, as it is when the commit happens."""

    prefix: str


Operation: TypeAlias = Put | Delete | DeletePrefix


@dataclass(frozen=True, slots=True)
class Deletion:
    """Watch event: `key` is gone.

    `revision` and `time` are those of the deletion, None where the store does not know them.
    """

    key: str
    revision: Revision | None = None
    time: float | None = None


@dataclass(frozen=True, slots=True)
class Changes:
    """Watch event: what was put and what went, in order; one commit is not cut in two if possible.

    Attributes
    ----------
    events : tuple of Entry or Deletion
        The last state of each key that changed; earlier ones may be left out.
    asked : float or None
        `time.monotonic` when the store was asked for these states, of each key one; None where it
        pushed them by itself, in the order of their revisions.
    """

    events: tuple[Entry | Deletion, ...]
    asked: float | None = None


@dataclass(frozen=True, slots=True)
class Stale:
    """Watch event: the store cannot be followed for now; a `Snapshot` says when that is over.

    Attributes
    ----------
    since : float
        When the last good news came, in seconds since the epoch.
    reason : str
        For people.
    """

    since: float
    reason: str


WatchEvent: TypeAlias = Snapshot | Changes | Stale
