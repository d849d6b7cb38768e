"""Replicas in a storm: each store is killed, frozen and cut off while it is read and written."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import nats
import nats.errors
import pytest

from kv_dict import InMemoryAsyncBackend, NatsBackend, RemoteKVMapping, SQLiteBackend, open_mapping
from kv_dict.backends import open_backend
from kv_dict.backends.nats.spelling import read_name
from kv_dict.model import Changes, Deletion, Entry, Snapshot, WatchEvent
from kv_dict.replica import contents
from kv_dict.testing.faults import FAULTS
from kv_dict.testing.proxy import FaultProxy
from kv_dict.testing.servers import ServerProcess
from kv_dict.testing.storm import Report, Storm

ROUNDS = 10


def faults(server: ServerProcess, proxy: FaultProxy) -> Callable[[int], Callable[[], object]]:
    """Return what begins each fault in turn, and returns what ends it."""
    kinds = tuple(FAULTS.values())
    return lambda number: kinds[number % len(kinds)](server, proxy)


def storm_on(server: ServerProcess, proxy: FaultProxy, patience: float = 30.0) -> Storm:
    """Return a storm of which one half goes through the proxy."""

    def mapping(url: str) -> RemoteKVMapping:
        return RemoteKVMapping(open_backend(url), "ep1", reads="replica", timeout=15)

    return Storm(
        lambda: mapping(server.store_url(proxy.port)),
        lambda: mapping(server.store_url()),
        patience=patience,
    )


def check(report: Report, name: str) -> None:
    print(f"\n{name}: {report}")  # noqa: T201 - with -s, a line of the table of faults
    assert report.violations == []
    assert report.rounds >= ROUNDS
    assert report.refused + report.unknown > 0


def test_a_storm(server: ServerProcess, proxy: FaultProxy, request: pytest.FixtureRequest) -> None:
    report = storm_on(server, proxy).run(ROUNDS, faults(server, proxy))
    check(report, request.node.callspec.id)


HOLDER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.read()
"""


def test_a_storm_on_a_file(tmp_path: Path) -> None:
    """Its lock held by another process, that is killed; restored from a backup of a moment ago."""
    path = tmp_path / "md.db"

    def lock() -> Callable[[], object]:
        holder = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"

        def end() -> None:
            holder.kill()
            holder.communicate()

        return end

    def hide() -> Callable[[], object]:
        """Take the folder away, as an automounter or an operator may."""
        away = tmp_path.with_name(tmp_path.name + "-away")
        tmp_path.rename(away)
        return lambda: away.rename(tmp_path)

    def mapping() -> RemoteKVMapping:
        return RemoteKVMapping(SQLiteBackend(path), "ep1", reads="replica", timeout=15)

    storm = Storm(mapping, mapping, timeout=0.3)
    check(storm.run(ROUNDS, lambda number: (lock, hide)[number % 2]()), "sqlite")
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


class LateNews(InMemoryAsyncBackend):
    """Its watch tells everything a moment later than it was asked, as a busy network does."""

    async def watch(self, prefix: str) -> AsyncGenerator[WatchEvent, None]:
        async with aclosing(super().watch(prefix)) as events:
            async for event in events:
                await asyncio.sleep(0.003)
                yield event


def storm_of_late_news() -> Report:
    backend = LateNews()

    def mapping() -> RemoteKVMapping:
        return RemoteKVMapping(backend, "ep1", reads="replica", timeout=15)

    return Storm(mapping, mapping, patience=5).run(3, lambda number: lambda: None)


def test_a_storm_of_late_news() -> None:
    assert storm_of_late_news().violations == []


# -- the checks can fail -------------------------------------------------------------------------


def test_a_replica_that_only_adds_is_caught(
    server: ServerProcess, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that does not look, after an outage, for what has gone."""

    def only_add(self: Any, snapshot: Any, asked: Any) -> None:
        for entry in snapshot.entries:
            self._judge(entry, asked)

    monkeypatch.setattr(contents.Contents, "_compare", only_add)

    black_hole = FAULTS["connections black-holed"]
    report = storm_on(server, proxy, patience=3).run(2, lambda number: black_hole(server, proxy))
    assert any("the replica has" in violation for violation in report.violations)


def test_a_replica_that_believes_what_comes_last_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contents, "_is_newer", lambda *known: True)
    report = storm_of_late_news()
    assert any("by its writer" in violation for violation in report.violations)


async def stock_watch(self: NatsBackend, prefix: str) -> AsyncGenerator[WatchEvent, None]:
    """Follow the bucket with the driver's own `KeyValue.watchall`, on a connection it repairs."""
    url = urlsplit(self.url)
    client = await nats.connect(f"nats://{url.netloc}", max_reconnect_attempts=-1)
    try:
        bucket = await client.jetstream().key_value(parse_qs(url.query)["bucket"][0])
        watcher = await bucket.watchall()
        there: list[Entry] = []
        begun = False
        while True:
            try:
                update = await watcher.updates(timeout=0.1)
            except nats.errors.TimeoutError:
                continue
            if update is None:
                begun = True
                yield Snapshot(tuple(there), asked=time.monotonic())
                continue
            key = read_name(update.key) or ""
            gone = update.operation is not None
            news = (
                Deletion(key, update.revision)
                if gone
                else Entry(key, update.value, update.revision)
            )
            if not key.startswith(prefix):
                continue
            if begun:
                yield Changes((news,))
            elif isinstance(news, Entry):
                there.append(news)
    finally:
        await client.close()


@pytest.mark.parametrize("server", ["nats"], indirect=True)
def test_the_stock_watch_of_nats_is_caught(
    server: ServerProcess, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its consumer lived in the memory of the server that was killed."""
    with open_mapping(server.store_url()) as md:
        md["bucket"] = "is made"
    monkeypatch.setattr(NatsBackend, "watch", stock_watch)
    report = storm_on(server, proxy, patience=3).run(1, faults(server, proxy))
    assert any("stays as it was" in violation for violation in report.violations)
