"""Writes that wait for the store to come back, and that reads show meanwhile.

Each remembers the revision it was made on. When the store is back it is committed with that guard:
where nobody else has written, it takes its place; where somebody has, theirs stays, because they
wrote to the store, and this one only meant to.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from kv_dict.errors import ConflictError
from kv_dict.model import (
    ABSENT,
    Absent,
    Delete,
    DeletePrefix,
    Deletion,
    Entry,
    Operation,
    Put,
    Revision,
)

__all__ = ["HeldBack", "Waiting"]

_MARK: Final = "held back "


@dataclass(frozen=True, slots=True)
class Waiting:
    """One entry as it shall become.

    Attributes
    ----------
    base : Revision or Absent
        What was stored when the first write of it was held back.
    becomes : Entry or Deletion
        What the last one made of it.
    """

    base: Revision | Absent
    becomes: Entry | Deletion

    @property
    def operation(self) -> Operation:
        """The guarded operation that puts it into the store."""
        if isinstance(self.becomes, Entry):
            return Put(self.becomes.key, self.becomes.value, self.base)
        return Delete(self.becomes.key, self.base)

    def entry(self, revision: Revision | None) -> Entry | None:
        """Return what the store holds once it was committed."""
        if isinstance(self.becomes, Entry) and revision is not None:
            return replace(self.becomes, revision=revision)
        return None

    def is_done_by(self, entry: Entry | None) -> bool:
        """Return whether the store holds just that already: a write that was not answered."""
        if isinstance(self.becomes, Entry):
            return entry is not None and entry.value == self.becomes.value
        return entry is None


class HeldBack:
    """The writes of one replica that wait. Not thread-safe."""

    def __init__(self) -> None:
        self.waiting: dict[str, Waiting] = {}
        self.learnt: dict[str, Entry | Deletion] = {}  # of those keys, from the store meanwhile
        self._numbers = itertools.count(1)

    def add(
        self, operations: Sequence[Operation], entries: dict[str, Entry]
    ) -> tuple[list[Entry | Deletion], tuple[Revision | None, ...]]:
        """Take a commit, or raise ConflictError; return what it changes, and its revisions.

        Parameters
        ----------
        operations : sequence of Operation
            As for `Backend.commit`.
        entries : dict of str to Entry
            What is held, by stored key, with what waits in it.
        """
        conflicts = [
            operation.key
            for operation in operations
            if not isinstance(operation, DeletePrefix)
            and operation.expected is not None
            and operation.expected != _revision_of(entries.get(operation.key))
        ]
        if conflicts:
            raise ConflictError(f"changed meanwhile: {', '.join(conflicts)}", conflicts)
        changes: list[Entry | Deletion] = []
        revisions: list[Revision | None] = []
        for operation in operations:
            revision = None
            if isinstance(operation, Put):
                revision = f"{_MARK}{next(self._numbers)}"
                changes.append(Entry(operation.key, operation.value, revision, time.time()))
            elif isinstance(operation, DeletePrefix):
                changes += [Deletion(key) for key in entries if key.startswith(operation.prefix)]
            elif operation.key in entries:
                changes.append(Deletion(operation.key))
            revisions.append(revision)
        for change in changes:
            self._wait(change, entries.get(change.key))
        return changes, tuple(revisions)

    def _wait(self, change: Entry | Deletion, held: Entry | None) -> None:
        before = self.waiting.get(change.key)
        base = _revision_of(held) if before is None else before.base
        self.waiting[change.key] = Waiting(base, change)


def _revision_of(entry: Entry | None) -> Revision | Absent:
    return ABSENT if entry is None else entry.revision
