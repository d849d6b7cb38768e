"""The NATS backend on buckets as operators make them, full ones and old ones too."""

from __future__ import annotations

import asyncio
import socket
import subprocess
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import nats
import pytest
from nats.js import JetStreamContext

from kv_dict import (
    ClosedError,
    ConfigurationError,
    EncodeError,
    NatsBackend,
    OutcomeUnknown,
    RemoteKVMapping,
    Unavailable,
)
from kv_dict.model import Put, Stale
from kv_dict.portal import face_of
from kv_dict.testing.servers.nats import NatsServer
from kv_dict.testing.watching import Watching

T = 10.0


def jetstream(url: str, work: Callable[[JetStreamContext], Coroutine[Any, Any, Any]]) -> Any:
    """Do something with the stock client, in a loop of its own."""

    async def run() -> Any:
        client = await nats.connect(url)
        try:
            return await work(client.jetstream())
        finally:
            await client.close()

    return asyncio.run(run())


def stream(url: str, bucket: str) -> Any:
    return jetstream(url, lambda js: js.stream_info(f"KV_{bucket}"))


def test_a_full_bucket(nats_url: str, bucket: str) -> None:
    jetstream(nats_url, lambda js: js.create_key_value(bucket=bucket, max_bytes=20_000))
    face = face_of(NatsBackend(nats_url, bucket))
    face.commit([Put("a", b"x" * 15_000)], timeout=T)
    with pytest.raises(Unavailable, match="maximum bytes exceeded"):
        face.commit([Put("b", b"x" * 15_000)], timeout=T)
    assert [entry.key for entry in face.snapshot("", timeout=T).entries] == ["a"]
    face.close()


def test_values_above_what_a_bucket_takes(nats_url: str, bucket: str) -> None:
    jetstream(nats_url, lambda js: js.create_key_value(bucket=bucket, max_value_size=1000))
    face = face_of(NatsBackend(nats_url, bucket, create_bucket=True))
    for operations in ([Put("a", b"x" * 2000)], [Put("b", b"1"), Put("a", b"x" * 2000)]):
        with pytest.raises(EncodeError, match="maximum"):
            face.commit(operations, timeout=T)
    assert face.snapshot("", timeout=T).entries == ()
    face.close()


def test_history_is_kept_and_names_are_readable(nats_url: str, bucket: str) -> None:
    with RemoteKVMapping(NatsBackend(nats_url, bucket, create_bucket=True, history=3), "ep1") as md:
        for n in range(5):
            md["user"] = n

    async def history(js: JetStreamContext) -> list[bytes | None]:
        return [e.value for e in await (await js.key_value(bucket)).history("ep1.user")]

    assert jetstream(nats_url, history) == [b"2", b"3", b"4"]


def test_what_a_bucket_forgets_by_age_is_told(nats_url: str, bucket: str) -> None:
    jetstream(nats_url, lambda js: js.create_key_value(bucket=bucket, ttl=1, direct=True))

    async def work() -> None:
        backend = NatsBackend(nats_url, bucket)
        await backend.commit([Put("k", b"1")], timeout=T)
        async with Watching(backend, "") as watching:
            await watching.until_state({"k": b"1"})
            await watching.until_state({})
        await backend.close()

    asyncio.run(work())


def test_what_other_programs_write_is_seen(nats_url: str, bucket: str) -> None:
    async def work() -> None:
        backend = NatsBackend(nats_url, bucket, create_bucket=True)
        await backend.commit([Put("ep1:mine", b"1")], timeout=T)
        client = await nats.connect(nats_url)
        kv = await client.jetstream().key_value(bucket)
        async with Watching(backend, "ep1:") as watching:
            await watching.until_synced()
            await kv.put("ep1.theirs", b'{"a":1}')
            await kv.put("ep2.theirs", b"2")
            await kv.put("ep1.=zz", b"no key of ours")
            await kv.delete("ep1.mine")
            await watching.until_state({"ep1:theirs": b'{"a":1}'})
        await client.close()
        assert (await backend.read("ep1:theirs", timeout=T)).value == b'{"a":1}'
        assert len((await backend.snapshot("ep1:", timeout=T)).entries) == 1
        await backend.close()

    asyncio.run(work())


def test_listing_leaves_nothing_on_the_server(nats_url: str, bucket: str) -> None:
    """The server refuses consumers after 1,000 of them; an ended watch leaves none either."""
    with RemoteKVMapping(NatsBackend(nats_url, bucket, create_bucket=True), "ep1") as md:
        md["a"] = 1
        for _ in range(1100):
            assert len(md) == 1

    async def watch() -> None:
        backend = NatsBackend(nats_url, bucket)
        for _ in range(5):
            async with Watching(backend, "") as watching:
                await watching.until_synced()
        await backend.ping(timeout=T)  # after what the watches sent at their end
        await backend.close()

    asyncio.run(watch())
    assert stream(nats_url, bucket).state.consumer_count == 0


def test_small_messages(tmp_path: Path) -> None:
    """Where the server takes 16 kB at a time, names of many keys need many questions."""
    with NatsServer(tmp_path / "nats", "max_payload: 16384") as server:
        face = face_of(NatsBackend(server.url, create_bucket=True))
        for start in (0, 700):
            face.commit([Put(f"{n:030}", b"1") for n in range(start, start + 700)], timeout=T)
        assert len(face.snapshot("", timeout=T).entries) == 1400
        with pytest.raises(EncodeError, match="16,384"):
            face.commit([Put("k", b"x" * 16_000)], timeout=T)
        face.close()


def test_limits_of_an_account(tmp_path: Path) -> None:
    config = """accounts { A {
        jetstream { max_file: 20000, max_streams: 1, max_consumers: 1 }
        users: [{ user: a, password: a }] } }"""
    with NatsServer(tmp_path / "nats", config) as server:
        backend = NatsBackend(server.url, create_bucket=True, user="a", password="a")
        face = face_of(backend)
        face.commit([Put("a", b"x" * 15_000)], timeout=T)
        with pytest.raises(Unavailable, match="resource limits"):
            face.commit([Put("b", b"x" * 15_000)], timeout=T)
        assert face.read("b", timeout=T) is None
        other = NatsBackend(server.url, "other", create_bucket=True, user="a", password="a")
        with pytest.raises((Unavailable, ConfigurationError), match=r"cannot be made.*streams"):
            face_of(other).commit([Put("a", b"1")], timeout=T)
        face_of(other).close()
        face.close()

        async def watch() -> None:
            first, second = (NatsBackend(server.url, user="a", password="a") for _ in range(2))
            async with Watching(first, "") as one:
                await one.until_synced()
                async with Watching(second, "") as two:
                    await two.until(lambda w: w.count(Stale) == 1, "refused")
                    (told,) = [e.reason for e in two.events if isinstance(e, Stale)]
                    assert "consumers" in told
            await first.close()
            await second.close()

        asyncio.run(watch())


def test_replicas_need_a_cluster(nats_url: str, bucket: str) -> None:
    face = face_of(NatsBackend(nats_url, bucket, create_bucket=True, replicas=3))
    with pytest.raises(ConfigurationError, match="for a cluster"):
        face.commit([Put("k", b"1")], timeout=T)
    face.close()
    for wrong in ({"replicas": 0}, {"replicas": 6}, {"history": 0}, {"history": 65}):
        with pytest.raises(ConfigurationError, match="from 1 to"):
            NatsBackend(nats_url, bucket, **wrong)


class WithoutJetStream(NatsServer):
    def prepare(self) -> None:
        (self.folder / "server.conf").write_text("# nothing\n")

    def ready(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True


def test_jetstream_is_not_enabled(tmp_path: Path) -> None:
    with WithoutJetStream(tmp_path / "nats") as server:
        face = face_of(NatsBackend(server.url, create_bucket=True))
        for operation in (
            lambda: face.commit([Put("k", b"1")], timeout=0.4),
            lambda: face.read("k", timeout=0.4),
            lambda: face.snapshot("", timeout=0.4),
            lambda: face.ping(timeout=0.4),
        ):
            with pytest.raises((ConfigurationError, Unavailable), match="nats-server -js"):
                operation()
        face.close()
        with pytest.raises(ClosedError):
            face.ping(timeout=0.4)


class SmallDisk(NatsServer):
    """In a user's name space of its own, with a file system of 4 MB for its data."""

    def prepare(self) -> None:
        super().prepare()
        config = self.folder / "server.conf"
        config.write_text(config.read_text().replace("sync", "max_file: 1Gb, sync"))  # it believes

    def command(self) -> list[str]:
        store = self.folder / "store"
        store.mkdir(exist_ok=True)
        mount = f'mount -t tmpfs -o size=4m tmpfs {store} && exec "$@"'
        return ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount, "sh",
                *super().command()]  # fmt: skip


def can_mount() -> bool:
    mount = "mount -t tmpfs tmpfs /mnt"
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


@pytest.mark.skipif(not can_mount(), reason="no user may mount a file system of its own here")
def test_a_full_disk(tmp_path: Path) -> None:
    """What was acknowledged stays; no error says that nothing was written if that is not sure."""
    acknowledged = 0
    with SmallDisk(tmp_path / "nats") as server:
        face = face_of(NatsBackend(server.url, create_bucket=True))
        error: Exception | None = None
        while error is None and acknowledged < 100:
            try:
                face.commit([Put(f"k{acknowledged}", b"x" * 200_000)], timeout=1.5)
                acknowledged += 1
            except (OutcomeUnknown, Unavailable) as caught:
                error = caught
        assert isinstance(error, OutcomeUnknown)  # the server does not answer at all
        assert 5 < acknowledged < 25
        try:
            stored = face.snapshot("", timeout=2).entries
        except Unavailable:
            stored = None  # the server may have stopped the stream
        if stored is not None:
            assert {f"k{n}" for n in range(acknowledged)} <= {entry.key for entry in stored}
        face.close()
