"""Committing to a bucket: one guarded message, or an atomic batch of them."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from kv_dict.backends.nats.bucket import (
    PASSING,
    STREAM_NOT_FOUND,
    Bucket,
    BucketMissing,
    error_of,
)
from kv_dict.backends.nats.connection import Connection, NoReply
from kv_dict.backends.nats.planning import Message, Planner, never_there
from kv_dict.backends.nats.reading import Found, Reader
from kv_dict.backends.nats.spelling import below, spell
from kv_dict.errors import (
    ConflictError,
    EncodeError,
    KVDictError,
    OutcomeUnknown,
    Unavailable,
    Unsupported,
)
from kv_dict.model import ABSENT, Delete, DeletePrefix, Operation, Put, Revision

__all__ = ["MAX_OPERATIONS", "Writer"]

MAX_OPERATIONS: Final = 1000
"""Messages of one atomic batch."""

HEADERS_SIZE: Final = 1024
"""Bytes kept free for headers, beside the name of a guarded subject."""

REFUSED: Final = (
    10071,  # a guard does not hold
    10164,  # perhaps: another write of the subject is under way in the cluster
    10176,  # a batch is not whole: the connection was lost in its middle
    10210,  # too many batches at the same time
    10211,
)
STORE_FAILED: Final = 10077
TOO_LARGE: Final = (10054,)
PAUSE: Final = 0.002
DOUBTS: Final = 3
"""Conflicts that a new look does not explain, before filters are no longer guarded as a whole."""


class _Refused(Exception):  # stays in here
    """A guard did not hold; nothing was written."""


class Writer:
    """Writes one bucket."""

    def __init__(self, bucket: Bucket, reader: Reader, where: str) -> None:
        self._bucket = bucket
        self._reader = reader
        self._planner = Planner(bucket.prefix)
        self._where = where

    async def commit(
        self, connection: Connection, operations: Sequence[Operation], deadline: float
    ) -> tuple[Revision | None, ...]:
        """Apply all operations or none; see `Backend.commit`.

        The first attempt takes every guard at its word. When the server refuses it, the guarded
        keys are read to tell a conflict from a tombstone, which is an absent key that has a
        sequence nevertheless, and from a refusal without cause, which a cluster may give.
        """
        there = [not never_there(operation) for operation in operations]
        if not all(there):
            kept = [operation for operation, can in zip(operations, there, strict=True) if can]
            revisions = iter(await self.commit(connection, kept, deadline))
            return tuple(next(revisions) if can else None for can in there)
        if not operations:
            return ()
        await self._check_sizes(connection, operations, deadline)
        named = sum(not isinstance(operation, DeletePrefix) for operation in operations)
        if named > MAX_OPERATIONS and await self._can_batch(connection, operations, deadline):
            raise self._too_many(operations, named)
        prefixes = {
            operation.prefix: self._bucket.prefix + below(operation.prefix)
            for operation in operations
            if isinstance(operation, DeletePrefix)
        }
        if (alone := self._planner.assignment(operations)) is not None:
            try:
                return None, await self._send(connection, operations, [alone], deadline)
            except _Refused:
                pass  # there is something below, or was: look
        absent: dict[str, int] = {}  # the sequences of tombstones
        doubts = 0
        while True:
            under: dict[str, list[Found]] = {}
            if prefixes:
                filters = sorted(set(prefixes.values()))
                seen = (await self._reader.view(connection, filters, deadline)).found
                under = {prefix: self._planner.under(prefix, seen) for prefix in prefixes}
                whole = doubts < DOUBTS
                messages, places = self._planner.plan(
                    operations, absent, under, prefixes if whole else {}
                )
            else:
                messages, places = self._planner.plan(operations, absent, under, {})
            if not messages:
                return (None,) * len(operations)
            if len(messages) > MAX_OPERATIONS and len(operations) == len(prefixes) == 1:
                (prefix,) = prefixes
                if not prefix or prefix.endswith(":"):
                    await self._purge(connection, prefixes[prefix], deadline)
                    return (None,)
            try:
                if len(messages) == 1 or await self._can_batch(connection, operations, deadline):
                    first = await self._send(connection, operations, messages, deadline)
                    sequences = list(range(first, first + len(messages)))
                else:
                    sequences = await self._one_by_one(connection, operations, messages, deadline)
            except _Refused:
                absent = await self._conflicts(connection, operations, deadline)
                doubts += 1
                if connection.loop.time() + PAUSE >= deadline:
                    raise Unavailable(
                        f"{self._where}: others wrote at the same time, at every attempt; nothing "
                        "was written"
                    ) from None
                await asyncio.sleep(PAUSE if doubts > 1 else 0)
                continue
            return tuple(None if place is None else sequences[place] for place in places)

    # -- sending ---------------------------------------------------------------------------------

    async def _check_sizes(
        self, connection: Connection, operations: Sequence[Operation], deadline: float
    ) -> None:
        await connection.ready(deadline)
        room = connection.client.max_payload - HEADERS_SIZE
        for operation in operations:
            if not isinstance(operation, Put):
                continue
            name = spell(operation.key)
            if len(operation.value) > room - len(name):
                raise EncodeError(
                    f"the value of {operation.key!r} is too large: {len(operation.value):,} bytes, "
                    f"and the server takes messages of {connection.client.max_payload:,} bytes "
                    "(its max_payload), headers included"
                )

    async def _send(
        self,
        connection: Connection,
        operations: Sequence[Operation],
        messages: list[Message],
        deadline: float,
    ) -> int:
        """Write all messages; return the sequence of the first."""
        await connection.look()
        identity = secrets.token_hex(12)
        *early, last = messages
        headers = last.headers()
        if early:
            if len(messages) > MAX_OPERATIONS:
                raise self._too_many(operations, len(messages))
            await connection.ready(deadline)
            for number, message in enumerate(early, 1):
                await connection.publish(
                    message.subject,
                    message.value or b"",
                    message.headers()
                    | {"Nats-Batch-Id": identity, "Nats-Batch-Sequence": str(number)},
                )
            headers |= {
                "Nats-Batch-Id": identity,
                "Nats-Batch-Sequence": str(len(messages)),
                "Nats-Batch-Commit": "1",
            }
        else:
            headers["Nats-Msg-Id"] = identity
        while True:
            try:
                answer = await connection.request(
                    last.subject, last.value or b"", headers, deadline=deadline
                )
            except NoReply as error:
                sequence = await self._find(connection, last.subject, identity, deadline)
                if sequence is None:
                    raise OutcomeUnknown(
                        f"{self._where}: {error}; {len(operations)} operation(s) may or may not "
                        "have been written"
                    ) from None
                break
            away = answer.headers is not None and answer.headers.get("Status") == "503"
            told = {} if away else json.loads(answer.data)
            problem = told.get("error", {})
            if away or problem.get("err_code") in PASSING:
                # Nobody listens there: no bucket, or one without a leader. Nothing was written.
                await self._bucket.state(connection, deadline)
                if connection.loop.time() + PAUSE * 10 >= deadline:
                    raise Unavailable(f"{self._where}: the bucket does not answer")
                await asyncio.sleep(PAUSE * 10)
                if early:
                    return await self._send(connection, operations, messages, deadline)
                continue
            if problem:
                raise self._refusal(problem)
            sequence = told["seq"]
            break
        return int(sequence) - len(early)

    def _too_many(self, operations: Sequence[Operation], keys: int) -> Unsupported:
        return Unsupported(
            f"{self._where}: {len(operations)} operation(s) change {keys} keys; NATS writes "
            f"{MAX_OPERATIONS} together at most"
        )

    async def _purge(self, connection: Connection, selected: str, deadline: float) -> None:
        """Remove more keys than a batch takes: all at once, and without a trace for a consumer.

        Watches notice by comparing; ``nats kv watch`` does not.
        """
        try:
            answer = await connection.request(
                f"$JS.API.STREAM.PURGE.{self._bucket.stream}",
                json.dumps({"filter": selected}).encode(),
                deadline=deadline,
            )
        except NoReply as error:
            raise OutcomeUnknown(
                f"{self._where}: {error}; the keys may or may not have been removed"
            ) from None
        if answer.headers and answer.headers.get("Status") == "503":
            raise Unavailable(f"{self._where}: JetStream does not answer")
        told = json.loads(answer.data)
        if "error" in told:
            raise self._refusal(told["error"])

    def _refusal(self, error: dict[str, Any]) -> Exception:
        code = error.get("err_code")
        if code in REFUSED:
            return _Refused()
        if code == STREAM_NOT_FOUND:
            return BucketMissing()
        text = f"{self._where}: {error.get('description')} ({code})"
        if code in TOO_LARGE:
            return EncodeError(text)
        if code == STORE_FAILED and "maximum" not in str(error.get("description")):
            # A full disk, say: the server does not know what of it is there when it starts again.
            return OutcomeUnknown(f"{text}; the write may or may not be found later")
        return error_of(error, self._where)

    async def _can_batch(
        self, connection: Connection, operations: Sequence[Operation], deadline: float
    ) -> bool:
        """Return whether several messages are written together, or raise if they have to be."""
        abilities = await self._bucket.abilities(connection, deadline)
        if not abilities.atomic:  # or was not, when this connection last asked
            abilities = await self._bucket.state(connection, deadline)
        if not abilities.atomic and any(
            operation.expected is not None
            for operation in operations
            if not isinstance(operation, DeletePrefix)
        ):
            raise Unsupported(
                f"{self._where}: the bucket does not allow atomic batches, and a guarded commit of "
                "several keys has to be written together. Allow them: nats "
                f"stream edit {self._bucket.stream} --allow-batch (servers from 2.12 on), or pass "
                "create_bucket=True"
            )
        return abilities.atomic

    async def _one_by_one(
        self,
        connection: Connection,
        operations: Sequence[Operation],
        messages: list[Message],
        deadline: float,
    ) -> list[int]:
        """Write messages one after another, for want of batches: first all puts, then deletes.

        Return their sequences. What a reader may see meanwhile is more than it should, never less.
        """
        sequences = [0] * len(messages)
        order = sorted(range(len(messages)), key=lambda place: messages[place].value is None)
        for done, place in enumerate(order):
            message = replace(messages[place], expected=None, expected_of=None)
            try:
                sequences[place] = await self._send(connection, operations, [message], deadline)
            except KVDictError as error:
                if not done:
                    raise
                raise OutcomeUnknown(
                    f"{self._where}: {done} of {len(messages)} keys were written, in a bucket "
                    f"without atomic batches; then: {error}"
                ) from error
        return sequences

    async def _find(
        self, connection: Connection, subject: str, identity: str, deadline: float
    ) -> int | None:
        """Look whether a write that was not answered is there after all."""
        try:
            found = await self._reader.last(connection, subject, deadline)
        except (Unavailable, BucketMissing):
            return None
        return found.sequence if found is not None and identity in found.headers else None

    async def _conflicts(
        self, connection: Connection, operations: Sequence[Operation], deadline: float
    ) -> dict[str, int]:
        """Raise ConflictError if a guard does not hold; return the tombstones of absent keys."""
        guarded = {
            self._planner.subject(op.key): op
            for op in operations
            if isinstance(op, Put | Delete) and op.expected is not None
        }
        if not guarded:
            return {}
        if len(guarded) == 1:
            (subject,) = guarded
            last = await self._reader.last(connection, subject, deadline)
            found = [last] if last is not None else []
        else:
            found = (await self._reader.view(connection, sorted(guarded), deadline)).found
        present = {message.subject: message for message in found}
        conflicts = []
        absent = {}
        for subject, operation in guarded.items():
            message = present.get(subject)
            if operation.expected is ABSENT:
                if message is not None and message.value is not None:
                    conflicts.append(operation.key)
                elif message is not None:
                    absent[operation.key] = message.sequence
            elif message is None or message.value is None or message.sequence != operation.expected:
                conflicts.append(operation.key)
        if conflicts:
            raise ConflictError(f"changed by somebody else: {', '.join(conflicts)}", conflicts)
        return absent
