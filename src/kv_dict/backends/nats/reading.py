"""Reading a bucket: one name from the leader, or many at one point in time."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from nats.aio.msg import Msg

from kv_dict.backends.nats.bucket import STREAM_NOT_FOUND, Bucket, BucketMissing, error_of
from kv_dict.backends.nats.connection import Connection, NoReply
from kv_dict.backends.nats.spelling import read_name
from kv_dict.errors import Unavailable
from kv_dict.model import Entry

__all__ = ["Found", "Reader", "View", "entry_of", "is_tombstone"]

NO_MESSAGE: Final = 10037
CHUNK: Final = 1000
"""Subjects in one request; the server answers no more than 1,024."""

CHUNK_BYTES: Final = 256 * 1024
PAUSE: Final = 0.005
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
        answer = await connection.ask(
            f"$JS.API.STREAM.MSG.GET.{self._bucket.stream}",
            b'{"last_by_subj":%s}' % json.dumps(subject).encode(),
            deadline=deadline,
        )
        told = json.loads(answer.data)
        message = told.get("message")
        if message is not None:
            headers = base64.b64decode(message["hdrs"]).decode() if "hdrs" in message else ""
            gone = any(mark in headers for mark in _TOMBSTONES)
            return Found(
                subject,
                message["seq"],
                None if gone else base64.b64decode(message.get("data", "")),
                message["time"],
                headers,
            )
        if told["error"].get("err_code") == NO_MESSAGE:
            return None
        if told["error"].get("err_code") == STREAM_NOT_FOUND:
            raise BucketMissing
        raise error_of(told["error"], self._where)

    async def view(self, connection: Connection, filters: Sequence[str], deadline: float) -> View:
        """Return the last messages of all subjects that `filters` select, at one point in time.

        One request, where there is one replica and the subjects are no more than 1,024. Of several
        replicas any may answer, the leader is asked first how far the answer has to be.
        """
        while True:
            abilities = await self._bucket.abilities(connection, deadline)
            if not abilities.direct:
                return await self._one_by_one(connection, filters, deadline)
            needed = 0
            if abilities.replicas > 1:
                needed = (await self._bucket.state(connection, deadline)).last
            status, view = await self._multi(connection, filters, 0, deadline)
            if status == "413" or (status == "404" and needed):
                return await self._in_chunks(connection, filters, deadline)
            if status == "404":
                return View([], None)
            if view.upto is not None and view.upto >= needed:
                return view
            await self._pause(deadline, "a replica lags behind the leader")

    async def _multi(
        self, connection: Connection, filters: Sequence[str], upto: int, deadline: float
    ) -> tuple[str, View]:
        """Return the status, and the messages up to sequence `upto` (0 for now)."""
        found: list[Found] = []
        first = 0
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
                )
            except NoReply as error:
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
            first = int(end["Nats-Last-Sequence"]) + 1  # the answer was cut: go on where it ended

    async def _in_chunks(
        self, connection: Connection, filters: Sequence[str], deadline: float
    ) -> View:
        """Ask for many subjects, as they were at the sequence at which they were counted.

        A subject may have been written so often meanwhile that its message of that time is gone:
        then all is asked again. If it has fewer messages than the bucket keeps, none is gone, and
        it had none at that time.
        """
        while True:
            names, upto, history = await self._names(connection, filters, deadline)
            found: list[Found] = []
            for chunk in _chunks(sorted(names)):
                found.extend((await self._multi(connection, chunk, upto, deadline))[1].found)
            missing = names.keys() - {message.subject for message in found}
            if missing:
                names, _, _ = await self._names(connection, filters, deadline)
            if not any(0 < history <= names.get(name, 0) for name in missing) and upto is not None:
                return View(found, upto)
            await self._pause(deadline, "keys change faster than they can be read together")

    async def _one_by_one(
        self, connection: Connection, filters: Sequence[str], deadline: float
    ) -> View:
        """Ask the leader for each subject: for buckets without direct access."""
        while True:
            names, upto, _ = await self._names(connection, filters, deadline)
            found: list[Found] = []
            for chunk in _chunks(sorted(names)):
                messages = await asyncio.gather(
                    *(self.last(connection, name, deadline) for name in chunk)
                )
                found.extend(message for message in messages if message is not None)
            if len(found) == len(names) and all(message.sequence <= upto for message in found):
                return View(found, upto)
            await self._pause(
                deadline,
                "keys change faster than they can be read together; allow direct access: "
                f"nats stream edit {self._bucket.stream} --allow-direct",
            )

    async def _names(
        self, connection: Connection, filters: Sequence[str], deadline: float
    ) -> tuple[dict[str, int], int, int]:
        """Return the subjects with their counts, the last sequence before, and the history."""
        names: dict[str, int] = {}
        upto = None
        history = 0
        for some in filters:
            state = await self._bucket.state(connection, deadline, some)
            names |= state.names
            upto = state.last if upto is None else upto
            history = state.history
        return names, upto or 0, history

    async def _pause(self, deadline: float, why: str) -> None:
        if asyncio.get_running_loop().time() + PAUSE >= deadline:
            raise Unavailable(f"{self._where}: {why}")
        await asyncio.sleep(PAUSE)

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


def _chunks(names: list[str]) -> Iterable[list[str]]:
    chunk: list[str] = []
    size = 0
    for name in names:
        if len(chunk) == CHUNK or size + len(name) > CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
        chunk.append(name)
        size += len(name) + 3
    if chunk:
        yield chunk
