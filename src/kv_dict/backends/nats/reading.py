"""Reading a bucket: one name from the leader, or many at one point in time."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from nats.aio.msg import Msg

from kv_dict.backends.nats.bucket import (
    MOST_KEPT,
    PASSING,
    STREAM_NOT_FOUND,
    Bucket,
    BucketMissing,
    BucketState,
    error_of,
)
from kv_dict.backends.nats.connection import PATIENCE, Connection, NoReply
from kv_dict.backends.nats.spelling import read_name
from kv_dict.errors import Unavailable, Unsupported
from kv_dict.model import Entry

__all__ = ["Found", "Reader", "View", "entry_of", "is_tombstone"]

NO_MESSAGE: Final = 10037
CHUNK: Final = 1000
"""Subjects in one request, beside a witness; the server answers no more than 1,024."""

CHUNK_BYTES: Final = 256 * 1024
PAUSE: Final = 0.005
MIDDLE_PAUSE: Final = 0.05
TRIES: Final = 10
_TOMBSTONES: Final = ("KV-Operation: DEL", "KV-Operation: PURGE", "Nats-Marker-Reason: ")


class Found(NamedTuple):
    """The last message of one subject. `value` is None for a tombstone."""

    subject: str
    sequence: int
    value: bytes | None
    time: str
    headers: str = ""


class View(NamedTuple):
    """The last messages of some subjects, tombstones included, as they were at one sequence."""

    found: list[Found]
    upto: int | None


class Reader:
    """Reads one bucket."""

    def __init__(self, bucket: Bucket, where: str) -> None:
        self._bucket = bucket
        self._where = where

    async def last(self, connection: Connection, subject: str, deadline: float) -> Found | None:
        """Return the last message of `subject`, as the leader has it."""
        message = await self._get(
            connection, b'{"last_by_subj":%s}' % json.dumps(subject).encode(), deadline
        )
        return None if message is None else _as_found(message)

    async def history(self, connection: Connection, subject: str, deadline: float) -> list[Found]:
        """Return the messages of `subject` that the bucket keeps, oldest first, from the leader.

        Raises
        ------
        Unsupported
            It keeps no more than the last.
        """
        state = await self._bucket.abilities(connection, deadline)
        if state.history == 1:
            state = await self._bucket.state(connection, deadline)  # it may have been edited
        if state.history == 1:
            raise Unsupported(
                f"{self._where}: the bucket keeps one value of each key (its history is 1). Have "
                f"it keep N, up to {MOST_KEPT}: {self._bucket.how_to_keep('N')}"
            )
        last = await self.last(connection, subject, deadline)
        if last is None:
            return []
        found: list[Found] = []
        following = 1
        while True:
            which = b'{"seq":%d,"next_by_subj":%s}' % (following, json.dumps(subject).encode())
            message = await self._get(connection, which, deadline)
            # The last one itself may be gone by now, pushed out by those that were written since.
            if message is None or message["seq"] >= last.sequence:
                return [*found, last]
            found.append(_as_found(message))
            following = message["seq"] + 1

    async def _get(self, connection: Connection, which: bytes, deadline: float) -> Any:
        """Return one message from the leader, as JSON; None if there is no such message."""
        subject = f"$JS.API.STREAM.MSG.GET.{self._bucket.stream}"
        while True:
            answer = await connection.ask(subject, which, deadline=deadline)
            told = json.loads(answer.data)
            if "message" in told:
                return told["message"]
            code = told["error"].get("err_code")
            if code == NO_MESSAGE:
                return None
            if code == STREAM_NOT_FOUND:
                raise BucketMissing
            if code not in PASSING:
                raise error_of(told["error"], self._where)
            await self._pause(deadline, str(told["error"].get("description")))

    async def view(self, connection: Connection, filters: Sequence[str], deadline: float) -> View:
        """Return the last messages of all subjects that `filters` select, at one point in time.

        One request, where the subjects are no more than 1,024. Of several replicas any may answer,
        so the leader says at the same time how far the answer has to be.
        """
        needed: int | None = None
        while True:
            abilities = await self._bucket.abilities(connection, deadline)
            if not abilities.direct:
                return await self._one_by_one(connection, filters, deadline)
            if sum(map(len, filters)) > connection.client.max_payload // 2:
                return await self._in_chunks(connection, filters, deadline)
            if abilities.replicas == 1:
                status, view = await self._multi(connection, filters, deadline)
                if status == "404":
                    return View([], None)
            else:
                if needed is None:
                    (status, view), leader = await asyncio.gather(
                        self._multi(connection, filters, deadline, whole=True),
                        self._bucket.state(connection, deadline),
                    )
                    needed = leader.last
                else:
                    status, view = await self._multi(connection, filters, deadline, whole=True)
                if status == "404":  # which does not say how far it looked
                    status = "413"
            if status == "413":
                return await self._in_chunks(connection, filters, deadline)
            if view.upto is not None and view.upto >= (needed or 0):
                return view
            await self._pause(deadline, "a replica lags behind the leader")

    async def _multi(
        self,
        connection: Connection,
        filters: Sequence[str],
        deadline: float,
        *,
        upto: int = 0,
        whole: bool = False,
    ) -> tuple[str, View]:
        """Return the status, and the messages up to sequence `upto` (0 for now).

        An answer that is cut is put together; with `whole` it counts as too long (413) instead.
        """
        found: list[Found] = []
        first = 0
        patience = PATIENCE
        while True:
            body: dict[str, Any] = {"multi_last": list(filters)}
            if upto:
                body["up_to_seq"] = upto
            if first:
                body["seq"] = first
            try:
                answers, end = await connection.collect(
                    f"$JS.API.DIRECT.GET.{self._bucket.stream}",
                    json.dumps(body).encode(),
                    deadline=deadline,
                    patience=patience,
                )
            except NoReply as error:
                patience *= 1.5
                await self._pause(deadline, str(error))
                continue
            status = end["Status"]
            if status == "503":  # no such stream, or direct access was withdrawn, or no leader
                connection.cached = None
                await self._bucket.state(connection, deadline)
                await self._pause(deadline, "nobody answers direct gets")
                continue
            if status not in ("204", "404", "413"):
                raise Unavailable(f"{self._where}: {end} {answers[:1]}")
            found.extend(_found(answer) for answer in answers)
            if status != "204":
                return status, View(found, upto or None)
            upto = int(end["Nats-UpTo-Sequence"])
            if not int(end.get("Nats-Num-Pending", 0)):
                return status, View(found, upto)
            if whole:
                return "413", View([], None)
            first = int(end["Nats-Last-Sequence"]) + 1  # the answer was cut: go on where it ended

    async def _in_chunks(
        self, connection: Connection, filters: Sequence[str], deadline: float
    ) -> View:
        """Ask for many subjects, as they were at the sequence at which they were counted.

        A subject may have been written so often meanwhile that its message of that time is gone:
        then all is asked again. If it has fewer messages than the bucket keeps, none is gone, and
        it had none at that time.
        """
        room = min(CHUNK_BYTES, connection.client.max_payload // 2)
        while True:
            names, state, witness = await self._names(connection, filters, deadline)
            if not names:
                return View([], state.last)
            if state.replicas == 1:
                witness = None
            elif witness is None:
                return await self._one_by_one(connection, filters, deadline)
            found: dict[str, Found] = {}
            for chunk in _chunks(sorted(names), room):
                part = await self._chunk(connection, chunk, state.last, witness, deadline)
                if part is None:
                    break
                found |= part
            else:
                missing = names.keys() - found.keys()
                if missing:
                    names, _, _ = await self._names(connection, filters, deadline)
                if not any(0 < state.history <= names.get(name, 0) for name in missing):
                    return View(list(found.values()), state.last)
            await self._pause(deadline, "keys change faster than they can be read together")

    async def _chunk(
        self,
        connection: Connection,
        names: list[str],
        upto: int,
        witness: str | None,
        deadline: float,
    ) -> dict[str, Found] | None:
        """Return the messages of `names` up to a sequence, None if no replica has got so far.

        A replica that lags behind the leader does not say so. It is known by what it does not know:
        the message of that very sequence, whose subject, the witness, is asked for with the rest.
        Messages come in their order, so that of several parts of an answer the last one counts.
        """
        asked = [*names, witness] if witness is not None and witness not in names else names
        for _ in range(TRIES):
            _, view = await self._multi(connection, asked, deadline, upto=upto)
            found = {message.subject: message for message in view.found}
            if witness is None or (witness in found and found[witness].sequence == upto):
                return {name: found[name] for name in names if name in found}
            await self._pause(deadline, "a replica lags behind the leader")
        return None

    async def _one_by_one(
        self, connection: Connection, filters: Sequence[str], deadline: float
    ) -> View:
        """Ask the leader for each subject: for buckets without direct access."""
        while True:
            names, state, _ = await self._names(connection, filters, deadline)
            found: list[Found] = []
            for chunk in _chunks(sorted(names), CHUNK_BYTES):
                messages = await asyncio.gather(
                    *(self.last(connection, name, deadline) for name in chunk)
                )
                found.extend(message for message in messages if message is not None)
            if len(found) == len(names) and all(one.sequence <= state.last for one in found):
                return View(found, state.last)
            await self._pause(
                deadline,
                "keys change faster than they can be read together; allow direct access: "
                f"nats stream edit {self._bucket.stream} --allow-direct",
            )

    async def _names(
        self, connection: Connection, filters: Sequence[str], deadline: float
    ) -> tuple[dict[str, int], BucketState, str | None]:
        """Return subjects with their counts, the bucket as it was before, and its last subject.

        The bucket is not in the middle of a batch then, which the count of its messages may be.
        The subject is None if the last message is gone.
        """
        before = -1
        while True:
            first, *others = [
                await self._bucket.state(connection, deadline, some) for some in filters
            ]
            if not first.last:  # nothing was ever written
                return {}, first, None
            last = await self._get(connection, b'{"seq":%d}' % first.last, deadline)
            headers = base64.b64decode(last.get("hdrs", "")) if last is not None else b""
            middle = b"Nats-Batch-Id" in headers and b"Nats-Batch-Commit" not in headers
            if last is not None and not middle:
                break
            if first.last == before:  # it was purged; or a batch of others, which has no end mark
                break
            before = first.last
            await self._pause(deadline, "a batch is not whole", MIDDLE_PAUSE)
        names = dict(first.names)
        for other in others:
            names |= other.names
        return names, first, None if last is None else str(last["subject"])

    async def _pause(self, deadline: float, why: str, pause: float = PAUSE) -> None:
        if asyncio.get_running_loop().time() + pause >= deadline:
            raise Unavailable(f"{self._where}: {why}")
        await asyncio.sleep(pause)

    def entries(self, found: Iterable[Found]) -> list[Entry]:
        """Return the entries among `found`, in order of their keys."""
        entries = []
        skip = len(self._bucket.prefix)
        for message in found:
            if message.value is not None:
                key = read_name(message.subject[skip:])
                if key is not None:
                    entries.append(entry_of(key, message))
        entries.sort(key=lambda entry: entry.key)
        return entries


def _as_found(message: Any) -> Found:
    """Return what the leader answered as JSON."""
    headers = base64.b64decode(message["hdrs"]).decode() if "hdrs" in message else ""
    gone = any(mark in headers for mark in _TOMBSTONES)
    return Found(
        message["subject"],
        message["seq"],
        None if gone else base64.b64decode(message.get("data", "")),
        message["time"],
        headers,
    )


def entry_of(key: str, message: Found) -> Entry:
    """Return the entry that a message holds; it must not be a tombstone."""
    assert message.value is not None  # noqa: S101 - the caller has looked
    time = datetime.fromisoformat(message.time).timestamp()
    return Entry(key, message.value, message.sequence, time)


def is_tombstone(headers: dict[str, str] | None) -> bool:
    """Return whether a message says that its key is gone."""
    return headers is not None and (
        headers.get("KV-Operation") in ("DEL", "PURGE") or "Nats-Marker-Reason" in headers
    )


def _found(message: Msg) -> Found:
    headers = message.headers or {}
    return Found(
        headers["Nats-Subject"],
        int(headers["Nats-Sequence"]),
        None if is_tombstone(headers) else message.data,
        headers["Nats-Time-Stamp"],
    )


def _chunks(names: list[str], room: int) -> Iterable[list[str]]:
    chunk: list[str] = []
    size = 0
    for name in names:
        if len(chunk) == CHUNK or size + len(name) > room:
            yield chunk
            chunk, size = [], 0
        chunk.append(name)
        size += len(name) + 3
    if chunk:
        yield chunk
