"""The operations of one commit, arranged for as few statements as possible: nearly always one."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from kv_dict.backends.postgres.spelling import read_key, spell_key, spell_value
from kv_dict.backends.postgres.statements import Statements, key_range
from kv_dict.model import ABSENT, Delete, DeletePrefix, Expected, Operation, Put

__all__ = ["Batch", "batches"]

_PATIENCE: Final = 0.8
"""Share of the time left that the server may wait for a lock: then it answers that it gave up, and
nobody has to wonder whether it still will."""

_ABSENT: Final = -1
_NEVER: Final = -2  # no revision is negative
_LARGEST: Final = 2**63 - 1


@dataclass(slots=True)
class _Step:
    """What one call of the commit function does: prefixes first, then deletes, then puts."""

    prefixes: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    values: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Batch:
    """One commit.

    Attributes
    ----------
    of_operation : list of (int or None)
        For each operation the step whose revision it has; None for other ones than puts.
    """

    steps: list[_Step] = field(default_factory=lambda: [_Step()])
    guarded: list[str] = field(default_factory=list)
    guards: list[int] = field(default_factory=list)
    of_operation: list[int | None] = field(default_factory=list)

    async def send(
        self, connection: Any, sql: Statements, left: float
    ) -> tuple[list[int | None], tuple[str, ...]]:
        """Return the revision of each step, and the keys whose guards did not hold."""
        if len(self.steps) == 1:
            row = await connection.fetchrow(sql.commit, *self._values(0, left))
            return [row[0]], _keys(row[1])
        written = []
        async with connection.transaction(isolation="read_committed"):
            # Should this program vanish in the middle, the server must not wait for it and have all
            # other writers wait for the clock.
            await connection.execute(
                f"SET LOCAL idle_in_transaction_session_timeout = {max(1, int(left * 1000))}"
            )
            for number in range(len(self.steps)):
                row = await connection.fetchrow(sql.commit, *self._values(number, left))
                if row[1]:
                    return [], _keys(row[1])  # only the first step checks, before any change
                written.append(row[0])
        return written, ()

    def _values(self, number: int, left: float) -> tuple[Any, ...]:
        step = self.steps[number]
        guards = self.guards if number == 0 and self.guards else None
        ranges = [key_range(prefix) for prefix in step.prefixes]
        return (
            str(max(1, int(left * _PATIENCE * 1000))),
            None if guards is None else self.guarded,
            guards,
            [start for start, end in ranges if end is not None] or None,
            [end for _, end in ranges if end is not None] or None,
            min([start for start, end in ranges if end is None], default=None),
            step.deleted or None,
            step.keys or None,
            step.values or None,
        )


def batches(operations: Sequence[Operation]) -> Batch:
    """Arrange checked operations.

    Deleting prefixes before anything else is the order that was asked for, unless a prefix takes a
    key that was put before: then a new step begins.
    """
    batch = Batch()
    step = batch.steps[0]
    put = sorted([spell_key(op.key) for op in operations if isinstance(op, Put)])
    for operation in operations:
        if isinstance(operation, DeletePrefix):
            start = spell_key(operation.prefix)
            at = bisect.bisect_left(put, start)
            among = at < len(put) and put[at].startswith(start)
            if among and any(key.startswith(start) for key in step.keys):
                step = _Step()
                batch.steps.append(step)
            step.prefixes.append(operation.prefix)
            batch.of_operation.append(None)
            continue
        key = spell_key(operation.key)
        if operation.expected is not None:
            batch.guarded.append(key)
            batch.guards.append(_guard(operation.expected))
        if isinstance(operation, Delete):
            step.deleted.append(key)
            batch.of_operation.append(None)
        else:
            assert isinstance(operation, Put)  # noqa: S101 - there are three kinds
            step.keys.append(key)
            step.values.append(spell_value(operation.value))
            batch.of_operation.append(len(batch.steps) - 1)
    return batch


def _guard(expected: Expected) -> int:
    if expected is ABSENT:
        return _ABSENT
    if isinstance(expected, int) and 0 <= expected <= _LARGEST:
        return expected
    return _NEVER


def _keys(stored: list[str] | None) -> tuple[str, ...]:
    return tuple([read_key(key) for key in stored or ()])
