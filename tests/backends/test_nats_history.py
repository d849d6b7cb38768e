"""The history that a bucket keeps: one that operators made, that other programs write to."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import nats
import pytest
from nats.aio.client import Client

from kv_dict import ConfigurationError, NatsBackend, Unsupported
from kv_dict.model import ABSENT, Delete, DeletePrefix, Put
from kv_dict.portal import face_of
from kv_dict.testing.watching import Watching

T = 10.0

Open = Callable[..., NatsBackend]


@pytest.fixture
def opened(nats_url: str, bucket: str) -> Iterator[Open]:
    """Return a function that opens a backend on the bucket; they are closed at the end."""
    backends: list[NatsBackend] = []

    def open_one(**options: Any) -> NatsBackend:
        backends.append(NatsBackend(nats_url, bucket, **options))
        return backends[-1]

    yield open_one
    for backend in backends:
        face_of(backend).close()


def with_client(url: str, work: Callable[[Client], Coroutine[Any, Any, Any]]) -> Any:
    """Do something with the stock client, in a loop of its own."""

    async def run() -> Any:
        client = await nats.connect(url)
        try:
            return await work(client)
        finally:
            await client.close()

    return asyncio.run(run())


def call(url: str, request: str, body: dict[str, Any]) -> Any:
    """Ask JetStream's API, as the command ``nats`` does."""

    async def ask(client: Client) -> Any:
        answer = await client.request(f"$JS.API.{request}", json.dumps(body).encode(), timeout=T)
        return json.loads(answer.data)

    answer = with_client(url, ask)
    assert "error" not in answer, answer
    return answer


def kv_add(url: str, bucket: str, history: int, **more: Any) -> None:
    """Make a bucket as ``nats kv add --history`` does: with direct access, and without batches."""
    config = {
        "name": f"KV_{bucket}",
        "subjects": [f"$KV.{bucket}.>"],
        "retention": "limits",
        "storage": "file",
        "discard": "new",
        "max_msgs_per_subject": history,
        "max_consumers": -1,
        "max_msgs": -1,
        "max_bytes": -1,
        "num_replicas": 1,
        "duplicate_window": 120_000_000_000,
        "deny_delete": True,
        "allow_rollup_hdrs": True,
        "allow_direct": True,
    }
    call(url, f"STREAM.CREATE.KV_{bucket}", config | more)


def stream_edit(url: str, bucket: str, **changes: Any) -> None:
    config = call(url, f"STREAM.INFO.KV_{bucket}", {})["config"]
    call(url, f"STREAM.UPDATE.KV_{bucket}", config | changes)


def put(backend: NatsBackend, key: str, *values: str) -> None:
    for value in values:
        face_of(backend).commit([Put(key, value.encode())], timeout=T)


def values(backend: NatsBackend, key: str) -> list[str]:
    return [entry.value.decode() for entry in face_of(backend).history(key, timeout=T)]


def test_a_bucket_of_nats_kv_add(opened: Open, nats_url: str, bucket: str) -> None:
    kv_add(nats_url, bucket, 5)
    backend = opened(history=5)
    face = face_of(backend)
    put(backend, "ep1:a", "1", "2")
    face.commit([Put("ep1:a", b"3"), Put("ep1:b", b"3")], timeout=T)  # one after another
    with pytest.raises(Unsupported, match="allow-batch"):
        face.commit([Put("ep1:a", b"x", ABSENT), Put("ep1:b", b"x")], timeout=T)
    stream_edit(nats_url, bucket, allow_atomic=True)
    (a, b) = face.commit([Put("ep1:a", b"4"), Put("ep1:b", b"4")], timeout=T)
    face.commit([Put("ep1:a", b"5", a), Delete("ep1:b", b), Put("ep1:c", b"5", ABSENT)], timeout=T)
    assert values(backend, "ep1:a") == ["1", "2", "3", "4", "5"]
    assert values(backend, "ep1:b") == ["3", "4"]
    snapshot = face.snapshot("ep1:", timeout=T)
    assert {e.key: e.value for e in snapshot.entries} == {"ep1:a": b"5", "ep1:c": b"5"}
    face.commit([DeletePrefix("ep1:"), Put("ep1:b", b"6", ABSENT)], timeout=T)
    assert values(backend, "ep1:a") == ["2", "3", "4", "5"]  # the deletion is the fifth
    assert values(backend, "ep1:b") == ["3", "4", "6"]


def test_what_purges_and_markers_leave(opened: Open, nats_url: str, bucket: str) -> None:
    kv_add(nats_url, bucket, 5, allow_msg_ttl=True, subject_delete_marker_ttl=1_000_000_000)
    backend = opened()
    put(backend, "a", "1", "2")

    async def work(client: Client) -> None:
        kv = await client.jetstream().key_value(bucket)
        async with Watching(backend, "") as watching:
            await watching.until_state({"a": b"2"})
            await kv.delete("a")
            await watching.until_state({})
            assert await asyncio.to_thread(values, backend, "a") == ["1", "2"]
            await kv.purge("a")  # nats kv purge: what was before is gone
            await kv.put("b", b"1")
            await watching.until_state({"b": b"1"})
            assert await asyncio.to_thread(values, backend, "a") == []
            name = f"$KV.{bucket}.b"
            await client.jetstream().publish(name, b"2", headers={"Nats-TTL": "1s"})
            await watching.until_state({"b": b"2"})
            await watching.until_state({"b": b"1"})  # expired; the one before is there again
            assert await asyncio.to_thread(values, backend, "b") == ["1"]

    with_client(nats_url, work)


def test_a_bucket_that_keeps_fewer_than_asked_for(opened: Open, nats_url: str, bucket: str) -> None:
    kv_add(nats_url, bucket, 3)
    asking = opened(history=8, create_bucket=True)
    says = rf"keeps 3 values.* nats stream edit KV_{bucket} --max-msgs-per-subject=8 --force"

    async def watch() -> None:
        async for _ in asking.watch(""):
            break

    for operation in (
        lambda: put(asking, "a", "1"),
        lambda: values(asking, "a"),
        lambda: face_of(asking).ping(timeout=T),
        lambda: asyncio.run(watch()),
    ):
        with pytest.raises(ConfigurationError, match=says):
            operation()
    assert call(nats_url, f"STREAM.INFO.KV_{bucket}", {})["state"]["messages"] == 0
    stream_edit(nats_url, bucket, max_msgs_per_subject=10)
    put(asking, "a", "1", "2", "3", "4")
    assert values(asking, "a") == ["1", "2", "3", "4"]
    stream_edit(nats_url, bucket, max_msgs_per_subject=2)  # later on, it is the operator's affair
    assert values(asking, "a") == ["3", "4"]
    put(asking, "a", "5")


def test_a_bucket_that_keeps_one(opened: Open, nats_url: str, bucket: str) -> None:
    kv_add(nats_url, bucket, 1)
    backend = opened()
    put(backend, "a", "1")
    says = rf"one value of each key .* nats stream edit KV_{bucket} --max-msgs-per-subject=N"
    with pytest.raises(Unsupported, match=says):
        values(backend, "a")
    stream_edit(nats_url, bucket, max_msgs_per_subject=4)
    put(backend, "a", "2")
    assert values(backend, "a") == ["1", "2"]


def test_a_bucket_that_is_made_keeps_what_is_asked_for(
    opened: Open, nats_url: str, bucket: str
) -> None:
    with pytest.raises(ConfigurationError, match=f"nats kv add {bucket} --history=20 "):
        values(opened(history=20), "a")
    backend = opened(create_bucket=True, history=20)
    put(backend, "a", "1")
    assert values(backend, "a") == ["1"]
    config = call(nats_url, f"STREAM.INFO.KV_{bucket}", {})["config"]
    assert config["max_msgs_per_subject"] == 20


def test_all_that_a_bucket_may_keep(opened: Open) -> None:
    backend = opened(create_bucket=True, history=64)
    put(backend, "a", *(str(n) for n in range(70)))
    put(backend, "a:b", "other")
    assert values(backend, "a") == [str(n) for n in range(6, 70)]


def test_reading_while_it_is_written(opened: Open) -> None:
    writer, reader = opened(create_bucket=True, history=2), opened()
    put(writer, "a", "0")
    ended = threading.Event()

    def write() -> None:
        n = 0
        while not ended.is_set():
            n += 1
            put(writer, "a", str(n))

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for _ in range(100):
            entries = face_of(reader).history("a", timeout=T)
            assert 1 <= len(entries) <= 2
            revisions = [entry.revision for entry in entries]
            assert revisions == sorted(revisions)
            assert revisions == [int(entry.value) + 1 for entry in entries]
    finally:
        ended.set()
        thread.join()
