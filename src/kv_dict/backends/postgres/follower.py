"""One watch: its own connection, that listens, and how far it has read."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any, Final, Protocol

from kv_dict.backends.postgres.connections import Connection, Connections
from kv_dict.backends.postgres.schema import REACH
from kv_dict.backends.postgres.statements import Statements, entry_of, event_of
from kv_dict.errors import ConfigurationError
from kv_dict.model import Changes, Entry, Snapshot, WatchEvent

__all__ = ["Follower", "Source", "Wake"]

_LAST: Final = 3  # the columns r, s, o at the end of a row


class Wake:
    """Lets any thread wake one task."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def tell(self, *_: object) -> None:
        """Wake it."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._event.set)

    async def wait(self, timeout: float) -> None:
        """Return when told, or after `timeout` seconds; what comes later wakes the next wait."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._event.wait()
        self._event.clear()


class Source(Protocol):
    """Where a follower gets its connection."""

    async def statements(self) -> Statements:
        """Return the statements on the table as it is now."""

    async def connections(self) -> Connections:
        """Return the connections of the running loop."""


class Follower:
    """Asks what is new. `look` runs in the loop of the connection."""

    def __init__(self, source: Source, prefix: str, wake: Wake) -> None:
        self._source = source
        self._prefix = prefix
        self._wake = wake
        self._connection: Connection | None = None
        self._entries: tuple[Entry, ...] | None = None  # of a table without revisions
        self._identity: tuple[Any, Any] | None = None
        self._revision = -1

    async def look(self) -> WatchEvent | None:
        """Return what is new, if anything. After any error it begins again with a snapshot."""
        if self._connection is None:
            return await self._begin()
        try:
            return await self._news(self._connection)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Let go of the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await self._retire(connection)

    async def _begin(self) -> WatchEvent:
        self._statements = await self._source.statements()
        self._pool = await self._source.connections()
        connection = await self._pool.dedicate()
        try:
            # First listen, then look: what comes between is then told.
            connection.add_termination_listener(self._wake.tell)
            async with self._pool.turn():
                await connection.add_listener(self._statements.table.channel, self._wake.tell)
            snapshot = await self._everything(connection)
        except BaseException:
            await self._retire(connection)
            raise
        self._connection = connection
        return snapshot

    async def _retire(self, connection: Connection) -> None:
        await self._pool.retire(connection, self._statements.table.channel, self._wake.tell)

    async def _fetch(self, connection: Connection, statement: str, values: Any) -> list[Any]:
        async with self._pool.turn():
            return list(await connection.fetch(statement, *values))

    async def _everything(self, connection: Connection) -> Snapshot:
        asked = time.monotonic()
        statement, values = self._statements.snapshot(self._prefix)
        rows = await self._fetch(connection, statement, values)
        if not self._statements.counted:
            self._entries = tuple(entry_of(row) for row in rows)
            return Snapshot(self._entries, asked=asked)
        self._revision, self._identity = self._point(rows)
        entries = tuple(entry_of(row) for row in rows if row[0] is not None)
        return Snapshot(entries, self._revision, asked)

    async def _news(self, connection: Connection) -> WatchEvent | None:
        if not self._statements.counted:
            before = self._entries
            snapshot = await self._everything(connection)
            return None if snapshot.entries == before else snapshot
        asked = time.monotonic()
        statement, values = self._statements.since(self._prefix, self._revision)
        rows = await self._fetch(connection, statement, values)
        revision, identity = self._point(rows)
        # Tombstones are forgotten in time, and a table may be restored from a backup, or dropped
        # and made again, with a clock that went on or back.
        if identity != self._identity or not 0 <= revision - self._revision < REACH:
            return await self._everything(connection)
        self._revision = revision
        # What was deleted and put again has a tombstone and an entry: only the later one is so now.
        last = {row[0]: row for row in rows if row[0] is not None}
        events = tuple(event_of(row) for row in rows if last.get(row[0]) is row)
        return Changes(events, asked) if events else None

    def _point(self, rows: list[Any]) -> tuple[int, tuple[Any, Any]]:
        if not rows or rows[0][-1] is None:
            raise ConfigurationError(f"table {self._statements.table} is gone")
        revision, store, oid = tuple(rows[0])[-_LAST:]
        return revision, (store, oid)
