"""From a commit to messages: which subject gets what, under which guard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from kv_dict.backends.nats.reading import Found
from kv_dict.backends.nats.spelling import below, read_name, spell
from kv_dict.errors import ConflictError, EncodeError
from kv_dict.model import ABSENT, Delete, DeletePrefix, Operation, Put

__all__ = ["Message", "Planner", "never_there"]

EXPECTED: Final = "Nats-Expected-Last-Subject-Sequence"
EXPECTED_OF: Final = "Nats-Expected-Last-Subject-Sequence-Subject"


@dataclass(frozen=True, slots=True)
class Message:
    """One message to write. `expected` is the sequence of `expected_of`, or of its own subject."""

    subject: str
    value: bytes | None
    expected: int | None = None
    expected_of: str | None = None

    def headers(self) -> dict[str, str]:
        headers = {} if self.value is not None else {"KV-Operation": "DEL"}
        if self.expected is not None:
            headers[EXPECTED] = str(self.expected)
            if self.expected_of is not None:
                headers[EXPECTED_OF] = self.expected_of
        return headers


def never_there(operation: Operation) -> bool:
    """Return whether it deletes a key that is too long to be stored: that is done already."""
    if not isinstance(operation, Delete) or isinstance(operation.expected, int):
        return False
    try:
        spell(operation.key)
    except EncodeError:
        return True
    return False


class Planner:
    """Plans what to write to the bucket whose subjects start with `prefix`."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix

    def subject(self, key: str) -> str:
        """Return the subject of a stored key."""
        return self._prefix + spell(key)

    def assignment(self, operations: Sequence[Operation]) -> Message | None:
        """Return the one message of a put that removes what is below, if nothing ever was there.

        It says so as its guard, which saves the look at what is below; None for other commits.
        """
        match operations:
            case [DeletePrefix(prefix), Put(key, value, None)] if prefix == f"{key}:":
                return Message(self.subject(key), value, 0, self._prefix + below(prefix))
            case _:
                return None

    def plan(
        self,
        operations: Sequence[Operation],
        absent: dict[str, int],
        under: dict[str, list[Found]],
        whole: dict[str, str],
    ) -> tuple[list[Message], list[int | None]]:
        """Return the messages, and for each operation which of them is its put.

        A message that has no guard of its own carries one for what a `DeletePrefix` selects: that
        nothing there has changed since it was looked at, nor come into being.
        """
        named = {op.key for op in operations if not isinstance(op, DeletePrefix)}
        messages: list[Message] = []
        places: list[int | None] = []
        done: set[str] = set()
        for operation in operations:
            if isinstance(operation, DeletePrefix):
                places.append(None)
                for found in under[operation.prefix]:
                    key = read_name(found.subject[len(self._prefix) :])
                    if found.value is not None and key not in named and found.subject not in done:
                        done.add(found.subject)
                        messages.append(Message(found.subject, None, found.sequence))
                before = [
                    op.key
                    for op in operations[: len(places)]
                    if isinstance(op, Put) and op.key.startswith(operation.prefix)
                ]
                messages.extend(Message(self.subject(key), None) for key in before)
                continue
            subject = self.subject(operation.key)
            expected = operation.expected
            sequence: int | None = None
            if expected is ABSENT:
                sequence = absent.get(operation.key, 0)
            elif expected is not None:
                if not isinstance(expected, int) or expected < 1:
                    raise ConflictError(
                        f"{operation.key} has another revision than {expected!r}", [operation.key]
                    )
                sequence = expected
            places.append(len(messages) if isinstance(operation, Put) else None)
            value = operation.value if isinstance(operation, Put) else None
            messages.append(Message(subject, value, sequence))
        self._guard_filters(messages, under, whole)
        return messages, places

    def _guard_filters(
        self, messages: list[Message], under: dict[str, list[Found]], whole: dict[str, str]
    ) -> None:
        for prefix, selected in whole.items():
            if prefix and not prefix.endswith(":"):
                continue  # the filter selects more than the prefix: others' changes would count
            inside = {found.subject for found in under[prefix]}
            carrier = None
            for number, message in enumerate(messages):
                if message.value is None and message.subject in inside:
                    messages[number] = replace(message, expected=None)
                if carrier is None and messages[number].expected is None:
                    carrier = number
            if carrier is not None:
                highest = max((found.sequence for found in under[prefix]), default=0)
                messages[carrier] = replace(
                    messages[carrier], expected=highest, expected_of=selected
                )

    def under(self, prefix: str, seen: list[Found]) -> list[Found]:
        """Return those of `seen` whose keys start with `prefix`."""
        skip = len(self._prefix)
        under = []
        for found in seen:
            key = read_name(found.subject[skip:])
            if key is not None and key.startswith(prefix):
                under.append(found)
        return under
