"""Servers through kv_dict, beside their bare drivers and the packages people use today.

::

    python -m benchmarks.servers [--rounds 9]

Real servers from the wheels, with the settings that make every acknowledged write durable. The
competitors take turns, round by round; each cell is the median over the rounds of the mean of a
round, in microseconds. Only ratios of one run count. Bare calls of asynchronous drivers are made
from a thread into a loop of their own, as a mapping has to make them.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import asyncpg
import nats
import redis
from redis_json_dict import RedisJSONDict

from kv_dict import RemoteKVMapping
from kv_dict.backends import open_backend
from kv_dict.testing.servers import NatsServer, PostgresServer, RedisServer, ServerProcess

CALLS = 60
KEYS = 10

Operations = dict[str, Callable[[], object]]


class Loop:
    """An event loop in a thread, and the way into it that the standard library offers."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Return what `work` returns, run there."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(30)


def of_mapping(md: Any) -> Operations:
    """Return the operations of anything that is like a dict."""
    md.update({f"k{n}": n for n in range(KEYS - 2)})
    md["n"], md["d"] = 1, {"x": 1}
    held = md["d"]
    values = iter(range(1_000_000_000))
    operations: Operations = {
        "md[key]": lambda: md["n"],
        "md[key] = v": lambda: md.__setitem__("n", next(values)),
        "held nested change": lambda: held.__setitem__("x", next(values)),
        "dict(md), 10 keys": lambda: dict(md),
        "update, 10 keys": lambda: md.update(dict.fromkeys([f"k{n}" for n in range(10)], 1)),
    }
    if isinstance(md, RemoteKVMapping):
        operations["increment"] = lambda: md.increment("count")
    return operations


def of_redis(server: ServerProcess) -> dict[str, Operations]:
    """Return the operations of redis-py, and of redis-json-dict on it."""
    client = redis.Redis(port=server.port)
    client.set("bare", "1")
    items = dict.fromkeys([f"bare{n}" for n in range(10)], "1")
    theirs = RedisJSONDict(redis.Redis(port=server.port), "peer-")
    return {
        "redis-py": {
            "md[key]": lambda: client.get("bare"),
            "md[key] = v": lambda: client.set("bare", "1"),
            "dict(md), 10 keys": lambda: client.mget(items),
            "update, 10 keys": lambda: client.mset(items),
            "increment": lambda: client.incr("count"),
        },
        "redis-json-dict": of_mapping(theirs),
    }


def of_postgres(server: ServerProcess) -> dict[str, Operations]:
    """Return the operations of the bare asyncpg."""
    loop = Loop()
    connection = loop.run(asyncpg.connect(server.url))
    loop.run(connection.execute("CREATE TABLE bare (k text PRIMARY KEY, v text NOT NULL)"))
    put = "INSERT INTO bare VALUES ($1, $2) ON CONFLICT (k) DO UPDATE SET v = excluded.v"
    many = (
        "INSERT INTO bare SELECT k, '1' FROM unnest($1::text[]) k "
        "ON CONFLICT (k) DO UPDATE SET v = '1'"
    )
    names = [f"b{n}" for n in range(10)]
    loop.run(connection.execute(many, names))
    loop.run(connection.execute(put, "n", "1"))
    return {
        "asyncpg": {
            "md[key]": lambda: loop.run(
                connection.fetchval("SELECT v FROM bare WHERE k = $1", "n")
            ),
            "md[key] = v": lambda: loop.run(connection.execute(put, "n", "1")),
            "dict(md), 10 keys": lambda: loop.run(connection.fetch("SELECT k, v FROM bare")),
            "update, 10 keys": lambda: loop.run(connection.execute(many, names)),
        }
    }


async def _quiet(_: Exception) -> None:
    """Hear that the server ends, which it does before its clients here."""


def of_nats(server: ServerProcess) -> dict[str, Operations]:
    """Return those of the bare key-value client of nats-py."""
    loop = Loop()

    async def connect() -> Any:
        client = await nats.connect(server.url, allow_reconnect=False, error_cb=_quiet)
        return await client.jetstream().create_key_value(bucket="bare", history=8, direct=True)

    bucket = loop.run(connect())
    loop.run(bucket.put("n", b"1"))
    return {
        "nats-py": {
            "md[key]": lambda: loop.run(bucket.get("n")),
            "md[key] = v": lambda: loop.run(bucket.put("n", b"1")),
        }
    }


SERVERS: tuple[tuple[str, Any, Any], ...] = (
    ("Redis", RedisServer, of_redis),
    ("PostgreSQL", PostgresServer, of_postgres),
    ("NATS", NatsServer, of_nats),
)


def measure(competitors: dict[str, Operations], rounds: int) -> dict[str, dict[str, float]]:
    """Return the medians by operation and competitor, in microseconds."""
    means: dict[str, dict[str, list[float]]] = {}
    for number in range(rounds + 1):
        for name, operations in competitors.items():
            for operation, call in operations.items():
                begun = time.perf_counter()
                for _ in range(CALLS):
                    call()
                took = (time.perf_counter() - begun) / CALLS * 1e6
                if number:  # the first round warms up
                    means.setdefault(operation, {}).setdefault(name, []).append(took)
    return {
        operation: {name: statistics.median(of) for name, of in row.items()}
        for operation, row in means.items()
    }


def main() -> None:
    """Measure, and print a table for each server."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9, help="rounds of 60 calls each")
    rounds = parser.parse_args().rounds
    for title, kind, bare in SERVERS:
        with tempfile.TemporaryDirectory() as folder, kind(Path(folder) / "server") as server:
            backend = open_backend(server.store_url())
            with RemoteKVMapping(backend, "ep1", timeout=15) as md:
                competitors = bare(server) | {"kv_dict": of_mapping(md)}
                table = measure(competitors, rounds)
        print(f"\n| {title}, microseconds | {' | '.join(competitors)} |")
        print("|---" * (len(competitors) + 1) + "|")
        for operation, row in table.items():
            cells = [f"{row[name]:.0f}" if name in row else "" for name in competitors]
            print(f"| `{operation}` | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
