"""The watch: a consumer of one's own, and a new snapshot whenever anything is in doubt."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Any, Final

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError

from kv_dict.backends.nats.bucket import Bucket, BucketState
from kv_dict.backends.nats.connection import Connection
from kv_dict.backends.nats.reading import Reader, is_tombstone
from kv_dict.backends.nats.spelling import below, read_name
from kv_dict.errors import Unavailable
from kv_dict.model import Changes, Deletion, Entry, Snapshot, WatchEvent

__all__ = ["Doubt", "Follower"]

HEARTBEAT: Final = 1.0
MISSED: Final = 2.5
"""Seconds without a message or heartbeat, after which the consumer is taken for lost."""

LOOK: Final = 1.0
"""Seconds between two looks at what a consumer does not tell: purges, and a new bucket."""

COMPARE: Final = 5.0
"""Seconds between two comparisons with a snapshot while writes hide whether there was a purge."""

MAX_PENDING: Final = 10_000
"""Changes kept for a slow consumer, by key; beyond it all is compared with a new snapshot."""

SNAPSHOT_TIMEOUT: Final = 5.0
REQUEST_TIMEOUT: Final = 2.0
CONSUMER_LIFE: Final = 30.0


class Doubt(Exception):  # stays in this package
    """Whether nothing was missed is no longer sure; the message says why."""


class Follower:
    """One watch. `follow` is called again after each doubt.

    Attributes
    ----------
    fresh : float
        When the last good news came, in seconds since the epoch.
    """

    def __init__(self, bucket: Bucket, reader: Reader, prefix: str) -> None:
        self._bucket = bucket
        self._reader = reader
        self._prefix = prefix
        self._filter = bucket.prefix + below(prefix)
        self.fresh = time.time()

    async def follow(self, connection: Connection) -> AsyncGenerator[WatchEvent, None]:
        """Yield a snapshot, and then every change.

        Raises
        ------
        Doubt, Unavailable, BucketMissing
            It cannot go on.
        """
        now = connection.loop.time
        state = await self._bucket.state(connection, now() + REQUEST_TIMEOUT)
        created = state.created
        stream = _Stream(connection, self._bucket, self._prefix)
        try:
            await stream.open(state.last + 1, self._filter)
            yield await self._everything(connection, stream)
            seen = await self._bucket.state(connection, now() + REQUEST_TIMEOUT)
            compared = looked = now()
            doubtful = False
            while True:
                await stream.news(looked + LOOK)
                self.fresh = max(self.fresh, stream.fresh)
                pending = stream.take()
                if pending is None:
                    yield await self._everything(connection, stream)
                elif pending:
                    yield Changes(tuple(pending))
                if now() >= looked + LOOK:
                    state = await self._bucket.state(connection, now() + REQUEST_TIMEOUT)
                    if state.created != created:
                        raise Doubt("the bucket was deleted and made again")
                    sure = _purged(seen, state)
                    doubtful = doubtful or sure is None
                    if sure or (doubtful and now() >= compared + COMPARE):
                        yield await self._everything(connection, stream)
                        compared, doubtful = now(), False
                    seen, looked = state, now()
        finally:
            await stream.close()

    async def _everything(self, connection: Connection, stream: _Stream) -> Snapshot:
        """Return what is there; what the consumer has to tell from before it is no news."""
        asked = time.monotonic()
        deadline = connection.loop.time() + SNAPSHOT_TIMEOUT
        view = await self._reader.view(connection, [self._filter], deadline)
        highest = max((found.sequence for found in view.found), default=0)
        reached = max(highest, view.upto or 0)
        stream.skip(reached)
        entries = self._reader.entries(view.found)
        mine = tuple(entry for entry in entries if entry.key.startswith(self._prefix))
        return Snapshot(mine, reached, asked)


def _purged(before: BucketState, after: BucketState) -> bool | None:
    """Return whether messages went without a trace; None if other writes hide it."""
    if after.last == before.last:
        return after.shape != before.shape
    if after.shape[1] < before.shape[1]:
        return True
    if after.shape[0] == before.shape[0] + after.last - before.last:
        return False
    return None


class _Stream:
    """One ephemeral push consumer, and what it has told that was not taken yet.

    Its callback runs in the loop of the connection, as everything here.
    """

    def __init__(self, connection: Connection, bucket: Bucket, prefix: str) -> None:
        self._connection = connection
        self._bucket = bucket
        self._prefix = prefix
        self._skip = len(bucket.prefix)
        self._name = f"kv_dict_{secrets.token_hex(8)}"
        self._subscription: Subscription | None = None
        self._pending: dict[str, Entry | Deletion] | None = {}
        self._wake = asyncio.Event()
        self._doubt: str | None = None
        self._count = 0
        self._floor = 0
        self._heard = connection.loop.time()
        self.fresh = time.time()

    async def open(self, first: int, selected: str) -> None:
        connection = self._connection
        connection.on_loss.add(self._lost)
        await connection.ready(connection.loop.time() + REQUEST_TIMEOUT)
        inbox = connection.client.new_inbox()
        self._subscription = await connection.subscribe(inbox, self._receive)
        config: dict[str, Any] = {
            "name": self._name,
            "deliver_subject": inbox,
            "deliver_policy": "by_start_sequence",
            "opt_start_seq": first,
            "ack_policy": "none",
            "max_deliver": 1,
            "filter_subject": selected,
            "flow_control": True,
            "idle_heartbeat": int(HEARTBEAT * 1e9),
            "inactive_threshold": int(CONSUMER_LIFE * 1e9),
            "mem_storage": True,
            "num_replicas": 1,
        }
        await self._bucket.call(
            connection,
            f"CONSUMER.CREATE.{self._bucket.stream}.{self._name}",
            {"stream_name": self._bucket.stream, "config": config, "action": "create"},
            connection.loop.time() + REQUEST_TIMEOUT,
        )

    async def close(self) -> None:
        """Remove the consumer; where the server cannot be told it does so itself, in time."""
        connection = self._connection
        connection.on_loss.discard(self._lost)
        if self._subscription is None:
            return
        with suppress(NatsError, Unavailable):  # of a lost connection nothing is left
            await self._subscription.unsubscribe()
            await connection.publish(f"$JS.API.CONSUMER.DELETE.{self._bucket.stream}.{self._name}")

    async def news(self, until: float) -> None:
        """Return when there is something to take, or at `until`; raise `Doubt` when in doubt."""
        while True:
            if self._doubt is not None:
                raise Doubt(self._doubt)
            now = self._connection.loop.time()
            if self._wake.is_set() or now >= until:
                return
            limit = self._heard + MISSED
            if now >= limit:
                raise Doubt(f"nothing was heard of the bucket for {MISSED:g} s")
            try:
                async with asyncio.timeout_at(min(until, limit)):
                    await self._wake.wait()
            except TimeoutError:
                continue

    def take(self) -> list[Entry | Deletion] | None:
        """Return what is pending; None if that was too much to keep."""
        pending, self._pending = self._pending, {}
        self._wake.clear()
        return None if pending is None else list(pending.values())

    def skip(self, upto: int) -> None:
        """Ignore everything up to a sequence, also what is pending."""
        self._floor = max(self._floor, upto)
        self._pending = {
            key: event
            for key, event in (self._pending or {}).items()
            if isinstance(event.revision, int) and event.revision > self._floor
        }

    def _lost(self) -> None:
        self._fail("the connection to the server was lost")

    def _fail(self, why: str) -> None:
        self._doubt = self._doubt or why
        self._wake.set()

    async def _receive(self, message: Msg) -> None:
        self._heard = self._connection.loop.time()
        self.fresh = time.time()
        headers = message.headers
        if headers is not None and "Status" in headers:
            await self._control(message, headers)
            return
        # $JS.ACK.[domain.account.]stream.consumer.delivered.sequence.count.time.pending[.token]
        tokens = message.reply.split(".")
        at = 5 if len(tokens) < 11 else 7
        sequence, count, nanoseconds = (int(token) for token in tokens[at : at + 3])
        self._count += 1
        if count != self._count:
            self._fail("a change was lost on the way")
            return
        if sequence <= self._floor:
            return
        key = read_name(message.subject[self._skip :])
        if key is None or not key.startswith(self._prefix):
            return
        event: Entry | Deletion
        written = nanoseconds // 1000 / 1e6
        if is_tombstone(headers):
            event = Deletion(key, sequence, written)
        else:
            event = Entry(key, message.data, sequence, written)
        if self._pending is not None:
            self._pending.pop(key, None)  # keep the order of the last changes
            self._pending[key] = event
            if len(self._pending) > MAX_PENDING:
                self._pending = None
        self._wake.set()

    async def _control(self, message: Msg, headers: dict[str, str]) -> None:
        if headers["Status"] != "100":
            self._fail(f"the server ended the consumer: {headers}")
            return
        answer = message.reply or headers.get("Nats-Consumer-Stalled", "")
        if answer:
            await self._connection.publish(answer)
        told = headers.get("Nats-Last-Consumer")
        if told is not None and int(told) != self._count:
            self._fail("a change was lost on the way")
