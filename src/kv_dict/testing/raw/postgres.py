"""A table as psql sees it, and plain SQL from a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg

from kv_dict import PostgresBackend
from kv_dict.testing.raw import RawStore

__all__ = ["Elsewhere", "RawPostgres"]


class Elsewhere:
    """A connection in a loop and a thread of its own, as another program would have it."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.connection = self.run(lambda: asyncpg.connect(url, command_timeout=15))

    def run(self, work: Callable[[], Awaitable[Any]]) -> Any:
        """Run a coroutine there."""

        async def there() -> Any:
            return await work()

        return asyncio.run_coroutine_threadsafe(there(), self._loop).result(20)

    def execute(self, statement: str, *values: object) -> str:
        """Execute SQL."""
        return str(self.run(lambda: self.connection.execute(statement, *values)))

    def fetch(self, statement: str, *values: object) -> list[Any]:
        """Return rows."""
        return list(self.run(lambda: self.connection.fetch(statement, *values)))

    def reconnect(self) -> None:
        """Connect again, after a restart."""
        self.connection = self.run(lambda: asyncpg.connect(self._url, command_timeout=15))

    def close(self) -> None:
        """Disconnect, and end the thread."""

        async def end() -> None:
            self.connection.terminate()
            await asyncio.sleep(0)

        self.run(end)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def spelt(key: str) -> str:
    """Return a key as it is documented to be stored."""
    return key.replace("\x01", "\x01\x02").replace("\x00", "\x01\x01")


class RawPostgres(RawStore):
    """Speaks SQL, as psql would."""

    def __init__(self, url: str, table: str, sql: Elsewhere) -> None:
        self.url, self.table, self.sql = url, table, sql

    def open(self) -> PostgresBackend:
        return PostgresBackend(self.url, self.table, create_table=True)

    def open_keeping(self, history: int) -> PostgresBackend:
        return PostgresBackend(self.url, self.table, create_table=True, history=history)

    def get(self, key: str) -> bytes | None:
        rows = self.sql.fetch(f"SELECT v FROM {self.table} WHERE k = $1", spelt(key))
        return rows[0]["v"].encode() if rows else None

    def put(self, key: str, value: bytes) -> None:
        self.sql.execute(
            f"INSERT INTO {self.table} (k, v) VALUES ($1, $2) "
            "ON CONFLICT (k) DO UPDATE SET v = excluded.v",
            spelt(key),
            value.decode(),
        )

    def delete(self, key: str) -> None:
        self.sql.execute(f"DELETE FROM {self.table} WHERE k = $1", spelt(key))

    def keys(self) -> set[str]:
        rows = self.sql.fetch(f"SELECT k FROM {self.table}")
        return {row["k"].replace("\x01\x01", "\x00").replace("\x01\x02", "\x01") for row in rows}
