"""Bare drivers, as the least that is like a dict: what a mapping on them cannot be faster than.

Drivers for event loops are called from a thread, into a loop of their own, by the way that the
standard library offers: a mapping has to do that too.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import orjson

from benchmarks.where import Where

Told = Callable[[Any], object]


class BareSQLite:
    """sqlite3: a table of two columns, durable as ours."""

    def __init__(self, where: Where) -> None:
        import sqlite3

        self._connection = sqlite3.connect(
            f"{where.folder}/bare.db", isolation_level=None, check_same_thread=False, timeout=60
        )
        self._lock = threading.Lock()
        for statement in (
            "PRAGMA journal_mode = WAL",
            "PRAGMA synchronous = FULL",
            "CREATE TABLE IF NOT EXISTS bare (k TEXT PRIMARY KEY, v BLOB) WITHOUT ROWID",
        ):
            self._connection.execute(statement)

    def _run(self, statement: str, *arguments: Any) -> list[Any]:
        with self._lock:
            return self._connection.execute(statement, arguments).fetchall()

    def __getitem__(self, key: str) -> Any:
        for (value,) in self._run("SELECT v FROM bare WHERE k = ?", key):
            return orjson.loads(value)
        raise KeyError(key)

    def __setitem__(self, key: str, value: Any) -> None:
        self._run("INSERT OR REPLACE INTO bare VALUES (?, ?)", key, orjson.dumps(value))

    def update(self, items: dict[str, Any]) -> None:
        """Write all in one transaction."""
        pairs = [(key, orjson.dumps(value)) for key, value in items.items()]
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany("INSERT OR REPLACE INTO bare VALUES (?, ?)", pairs)
            self._connection.execute("COMMIT")

    def everything(self) -> dict[str, Any]:
        """Read all in one statement."""
        return {key: orjson.loads(value) for key, value in self._run("SELECT k, v FROM bare")}

    def increment(self, key: str) -> int:
        """Add one, in one statement."""
        row = self._run(
            "INSERT INTO bare VALUES (?, '1') ON CONFLICT (k) DO UPDATE "
            "SET v = CAST(v + 1 AS TEXT) RETURNING v",
            key,
        )
        return int(row[0][0])

    def close(self) -> None:
        """Close the file."""
        self._connection.close()


class BareRedis:
    """redis-py: GET, SET, MGET, MSET, INCR and PUBLISH."""

    def __init__(self, where: Where) -> None:
        import redis

        self._client = redis.Redis(port=where.port)
        self._scope = where.scope + "/"
        self._names: dict[str, None] = {}

    def __getitem__(self, key: str) -> Any:
        value = self._client.get(self._scope + key)
        if value is None:
            raise KeyError(key)
        return orjson.loads(value)

    def __setitem__(self, key: str, value: Any) -> None:
        self._client.set(self._scope + key, orjson.dumps(value))

    def update(self, items: dict[str, Any]) -> None:
        """Write all in one request."""
        self._names.update(dict.fromkeys(items))
        self._client.mset({self._scope + key: orjson.dumps(v) for key, v in items.items()})

    def everything(self) -> dict[str, Any]:
        """Read all whose names are known, in one request."""
        values = self._client.mget([self._scope + name for name in self._names])
        return dict(zip(self._names, map(orjson.loads, values), strict=True))

    def increment(self, key: str) -> int:
        """Add one, in the server."""
        return int(self._client.incr(self._scope + key))

    def subscribe(self, told: Told, *, key: str) -> None:
        """Have `told` called with what `tell` is called with, in a thread."""
        channel = self._client.pubsub()
        channel.subscribe(self._scope + key)
        assert channel.get_message(timeout=10) is not None

        def listen() -> None:
            for message in channel.listen():
                told(orjson.loads(message["data"]))

        threading.Thread(target=listen, daemon=True).start()

    def tell(self, key: str, value: Any) -> None:
        """Write, and tell those who listen."""
        self[key] = value
        self._client.publish(self._scope + key, orjson.dumps(value))


class _Loop:
    """An event loop in a thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Return what `work` returns, run there."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)


class BarePostgres:
    """asyncpg: a table of two columns, and NOTIFY."""

    def __init__(self, where: Where) -> None:
        import asyncpg

        self._loop = _Loop()
        self._channel = where.scope
        name = self._table = f'"bare {where.scope}"'
        self._connection = self._loop.run(asyncpg.connect(where.url.partition("?")[0]))
        self._run("execute", f"CREATE TABLE IF NOT EXISTS {name} (k text PRIMARY KEY, v text)")
        over = "ON CONFLICT (k) DO UPDATE SET v = excluded.v"
        self._put = f"INSERT INTO {name} VALUES ($1, $2) {over}"
        self._puts = f"INSERT INTO {name} SELECT * FROM unnest($1::text[], $2::text[]) {over}"
        self._tell = f"WITH put AS ({self._put} RETURNING v) SELECT pg_notify($3, v) FROM put"
        self._add = (
            f"INSERT INTO {name} AS b VALUES ($1, '1') ON CONFLICT (k) DO UPDATE "
            "SET v = (b.v::int + 1)::text RETURNING v"
        )

    def _run(self, method: str, *arguments: Any) -> Any:
        return self._loop.run(getattr(self._connection, method)(*arguments))

    def __getitem__(self, key: str) -> Any:
        value = self._run("fetchval", f"SELECT v FROM {self._table} WHERE k = $1", key)
        if value is None:
            raise KeyError(key)
        return orjson.loads(value)

    def __setitem__(self, key: str, value: Any) -> None:
        self._run("execute", self._put, key, orjson.dumps(value).decode())

    def update(self, items: dict[str, Any]) -> None:
        """Write all in one statement."""
        values = [orjson.dumps(value).decode() for value in items.values()]
        self._run("execute", self._puts, list(items), values)

    def everything(self) -> dict[str, Any]:
        """Read all in one statement."""
        rows = self._run("fetch", f"SELECT k, v FROM {self._table}")
        return {key: orjson.loads(value) for key, value in rows}

    def increment(self, key: str) -> int:
        """Add one, in the server."""
        return int(self._run("fetchval", self._add, key))

    def subscribe(self, told: Told, *, key: str) -> None:
        """Have `told` called with what `tell` is called with, in the loop's thread."""
        self._run("add_listener", self._channel, lambda *args: told(orjson.loads(args[-1])))

    def tell(self, key: str, value: Any) -> None:
        """Write, and tell those who listen, in one statement."""
        self._run("execute", self._tell, key, orjson.dumps(value).decode(), self._channel)


class BareNats:
    """The key-value client of nats-py."""

    def __init__(self, where: Where) -> None:
        import nats

        async def connect() -> Any:
            client = await nats.connect(
                f"nats://127.0.0.1:{where.port}", allow_reconnect=False, error_cb=_quiet
            )
            stream = client.jetstream()
            return await stream.create_key_value(bucket=where.scope, history=8, direct=True)

        self._loop = _Loop()
        self._bucket = self._loop.run(connect())

    def __getitem__(self, key: str) -> Any:
        return orjson.loads(self._loop.run(self._bucket.get(key)).value)

    def __setitem__(self, key: str, value: Any) -> None:
        self._loop.run(self._bucket.put(key, orjson.dumps(value)))

    def update(self, items: dict[str, Any]) -> None:
        """Write all, one by one and at the same time: it has nothing for many."""

        async def puts() -> None:
            pairs = list(items.items())
            for first in range(0, len(pairs), 100):
                await asyncio.gather(
                    *(
                        self._bucket.put(key, orjson.dumps(value))
                        for key, value in pairs[first : first + 100]
                    )
                )

        self._loop.run(puts())

    def subscribe(self, told: Told, *, key: str) -> None:
        """Have `told` called with what `tell` is called with, in the loop's thread."""

        async def listen() -> None:
            async for update in await self._bucket.watch(key):
                if update is not None:
                    told(orjson.loads(update.value))

        asyncio.run_coroutine_threadsafe(listen(), self._loop._loop)

    def tell(self, key: str, value: Any) -> None:
        """Write, which tells those who watch."""
        self[key] = value


async def _quiet(_: Exception) -> None:
    """Hear that the server ends, which it does before its clients here."""
