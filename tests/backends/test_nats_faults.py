"""The NATS backend when things go wrong, against a real server that is killed and frozen."""

from __future__ import annotations

import asyncio
import pickle
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import nats
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kv_dict import (
    ClosedError,
    ConfigurationError,
    ConflictError,
    EncodeError,
    NatsBackend,
    OutcomeUnknown,
    RemoteKVMapping,
    Unavailable,
    Unsupported,
)
from kv_dict.backends import open_backend
from kv_dict.backends.nats.spelling import below, read_name, spell
from kv_dict.mapping.feed import Change
from kv_dict.model import ABSENT, Delete, DeletePrefix, Put, Stale
from kv_dict.portal import face_of
from kv_dict.testing.servers.nats import NatsServer
from kv_dict.testing.servers.process import free_port
from kv_dict.testing.watching import Watching

T = 10.0


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    with NatsServer(tmp_path / "nats") as server:
        yield server


@pytest.fixture
def backend(nats_url: str, bucket: str) -> Iterator[NatsBackend]:
    backend = NatsBackend(nats_url, bucket, create_bucket=True)
    yield backend
    face_of(backend).close()


@pytest.fixture
def own(server: NatsServer) -> Iterator[NatsBackend]:
    """A backend on a server of the test's own, that it may kill."""
    backend = NatsBackend(server.url, create_bucket=True)
    face_of(backend).commit([Put("k", b"0")], timeout=T)
    yield backend
    face_of(backend).close()


def commit(backend: NatsBackend, *operations):
    return face_of(backend).commit(operations, timeout=T)


def entries(backend: NatsBackend, prefix: str = "") -> dict[str, bytes]:
    return {e.key: e.value for e in face_of(backend).snapshot(prefix, timeout=T).entries}


async def raw_call(url: str, work):
    client = await nats.connect(url)
    try:
        return await work(client, client.jetstream())
    finally:
        await client.close()


# -- keys --------------------------------------------------------------------------------------

KEYS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30) | st.text(
    st.sampled_from(":.=_kvA41*>$ é\x00"), max_size=12
)


@given(KEYS, KEYS)
def test_each_key_has_one_name(key: str, other: str) -> None:
    name = spell(key)
    assert read_name(name) == key
    assert (spell(other) == name) == (other == key)
    assert name
    assert not name.startswith((".", "_kv"))
    assert ".." not in name
    assert set(name) <= set("-/_=.abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")


@given(KEYS, KEYS)
def test_a_filter_selects_every_key_below(prefix: str, rest: str) -> None:
    selected = below(prefix).removesuffix(">")
    assert spell(prefix + rest).startswith(selected)


@given(st.text(st.sampled_from("=.4Aab1F_kv"), min_size=1, max_size=10))
def test_a_name_is_of_one_key_or_of_none(name: str) -> None:
    key = read_name(name)
    assert key is None or spell(key) == name or ".." in name or name[0] == "." or name[-1] == "."


def test_what_is_too_large_is_refused_before_it_is_sent(backend: NatsBackend) -> None:
    for key in ("k" * 5000, "é" * 2000):
        with pytest.raises(EncodeError, match="name of"):
            commit(backend, Put(key, b"1"))
    assert commit(backend, Delete("k" * 5000, ABSENT), Delete("k" * 5000 + "l")) == (None, None)
    with pytest.raises(EncodeError, match="max_payload"):
        commit(backend, Put("k", b"x" * 2**20))
    with pytest.raises(EncodeError, match="max_payload"):
        commit(backend, Put("a", b"1"), Put("k", b"x" * 2**20))
    nearly = b"x" * (2**20 - 2000)
    commit(backend, Put("k" * 900, nearly), Put("a", nearly))
    assert entries(backend) == {"k" * 900: nearly, "a": nearly}


# -- buckets -----------------------------------------------------------------------------------


def test_a_missing_bucket_says_how_to_make_it(nats_url: str, bucket: str) -> None:
    backend = NatsBackend(nats_url, bucket)
    face = face_of(backend)
    for operation in (
        lambda: face.read("k", timeout=T),
        lambda: face.snapshot("", timeout=T),
        lambda: face.commit([Put("k", b"1")], timeout=T),
        lambda: face.commit([Put("k", b"1"), Put("l", b"1")], timeout=T),
        lambda: face.ping(timeout=T),
    ):
        with pytest.raises(ConfigurationError) as caught:
            operation()
        assert f"nats kv add {bucket}" in str(caught.value)
        assert "create_bucket=True" in str(caught.value)
    face.close()


def test_without_atomic_batches_guarded_keys_are_not_written_in_parts(
    nats_url: str, bucket: str
) -> None:
    async def make(client, js):
        await js.create_key_value(bucket=bucket, history=3)  # neither direct access nor batches

    asyncio.run(raw_call(nats_url, make))
    backend = NatsBackend(nats_url, bucket)
    commit(backend, Put("p:a", b"1"))
    commit(backend, DeletePrefix("q:"), Put("q", b"1"))
    with pytest.raises(Unsupported, match="allow-batch"):
        commit(backend, Put("x", b"1", ABSENT), Put("y", b"1"))
    assert entries(backend) == {"p:a": b"1", "q": b"1"}
    first, second, none = commit(backend, Put("y", b"1"), Put("x", b"1"), Delete("q"))
    assert (second, none) == (first + 1, None)  # one after another, in this order
    commit(backend, DeletePrefix("p:"), Put("p", b"1"))
    assert entries(backend) == {"p": b"1", "x": b"1", "y": b"1"}
    with_creation = NatsBackend(nats_url, bucket, create_bucket=True)
    commit(with_creation, Put("v", b"1", ABSENT), Put("w", b"1"))
    commit(backend, Put("z", b"1", ABSENT), Put("w", b"2"))  # noticed at once
    for each in (backend, with_creation):
        face_of(each).close()


def test_a_cut_in_the_middle_of_keys_written_one_after_another(
    server: NatsServer,
) -> None:
    async def make(client, js):
        await js.create_key_value(bucket="kv_dict", max_value_size=100)

    asyncio.run(raw_call(server.url, make))
    backend = NatsBackend(server.url)
    with pytest.raises(EncodeError, match="maximum"):
        commit(backend, Put("a", b"x" * 200), Put("b", b"1"))
    assert entries(backend) == {}
    with pytest.raises(OutcomeUnknown, match="1 of 3 keys were written"):
        commit(backend, Put("a", b"1"), Put("b", b"x" * 200), Put("c", b"1"))
    assert entries(backend) == {"a": b"1"}
    face_of(backend).close()


def test_more_keys_than_one_answer_holds(backend: NatsBackend) -> None:
    for start in range(0, 1100, 550):
        commit(backend, *(Put(f"p:{n:04}", b"%d" % n) for n in range(start, start + 550)))
    commit(backend, Put("q", b"1"))
    assert entries(backend, "p:") == {f"p:{n:04}": b"%d" % n for n in range(1100)}
    with RemoteKVMapping(backend, "p") as md:
        assert len(md) == 1100
        md.clear()  # more than a batch takes
        assert len(md) == 0
    backend.retain()
    assert entries(backend) == {"q": b"1"}
    commit(backend, Put("p:0000", b"1", ABSENT))


def test_a_tombstone_or_its_purge_is_absence(
    nats_url: str, bucket: str, backend: NatsBackend
) -> None:
    commit(backend, Put("a", b"1"), Put("b", b"1"))
    commit(backend, Delete("a"))

    async def purge(client, js):
        await (await js.key_value(bucket)).purge("b")

    asyncio.run(raw_call(nats_url, purge))
    assert entries(backend) == {}
    commit(backend, Put("a", b"2", ABSENT), Put("b", b"2", ABSENT))
    with pytest.raises(ConflictError) as caught:
        commit(backend, Put("a", b"3", ABSENT), Put("b", b"3", ABSENT), Put("c", b"3", ABSENT))
    assert set(caught.value.keys) == {"a", "b"}


def test_a_child_that_came_into_being_meanwhile_is_not_left(backend: NatsBackend) -> None:
    """Two that replace a tree at the same time: one of them is there afterwards, whole."""
    face = face_of(backend)

    def replace(name: str) -> None:
        for _ in range(15):
            face.commit([DeletePrefix("t:"), Put(f"t:{name}", b"1")], timeout=T)

    threads = [threading.Thread(target=replace, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(entries(backend, "t:")) == 1


def test_more_than_a_batch_takes_is_refused_as_a_whole(backend: NatsBackend) -> None:
    for start in (0, 550):
        commit(backend, *(Put(f"p:{n:04}", b"1") for n in range(start, start + 550)))
    with pytest.raises(Unsupported, match="1000 together"):
        commit(backend, DeletePrefix("p:"), Put("p", b"1"))
    with pytest.raises(Unsupported, match="1000 together at most"):
        commit(backend, *(Put(f"q:{n}", b"1") for n in range(1001)))
    assert len(entries(backend)) == 1100


def test_an_assignment_costs_one_message(nats_url: str, bucket: str, backend: NatsBackend) -> None:
    commit(backend, Put("ep1:a", b"1"))

    async def work() -> None:
        client = await nats.connect(nats_url)
        for ending in ("DIRECT.GET.", "STREAM.MSG.GET.", "STREAM.INFO."):
            seen = asked.setdefault(ending, [])

            async def note(message, seen=seen) -> None:
                seen.append(message)

            await client.subscribe(f"$JS.API.{ending}KV_{bucket}", cb=note)
        written = asked.setdefault("written", [])

        async def note_written(message) -> None:
            written.append(message)

        await client.subscribe(f"$KV.{bucket}.>", cb=note_written)
        await client.flush()
        await asyncio.to_thread(commit, backend, DeletePrefix("ep1:a:"), Put("ep1:a", b"2"))
        await client.flush()
        before.update({ending: len(messages) for ending, messages in asked.items()})
        commits = [Put("ep1:c:d", b"1")], [DeletePrefix("ep1:c:"), Put("ep1:c", b"2")]
        for operations in commits:
            await asyncio.to_thread(commit, backend, *operations)
        await asyncio.to_thread(face_of(backend).read, "ep1:a", timeout=T)
        await client.flush()
        await client.close()

    asked: dict[str, list] = {}
    before: dict[str, int] = {}
    face_of(backend).snapshot("", timeout=T)  # so that it knows what the bucket can do
    asyncio.run(work())
    assert before == {"DIRECT.GET.": 0, "STREAM.MSG.GET.": 0, "STREAM.INFO.": 0, "written": 1}
    # With something below: a message that is refused, a look, and the batch.
    counts = {ending: len(messages) for ending, messages in asked.items()}
    assert counts == {"DIRECT.GET.": 1, "STREAM.MSG.GET.": 1, "STREAM.INFO.": 0, "written": 5}
    assert entries(backend) == {"ep1:a": b"2", "ep1:c": b"2"}


# -- outages -----------------------------------------------------------------------------------


def test_a_refused_write_is_unavailable_and_never_appears() -> None:
    backend = NatsBackend(f"nats://127.0.0.1:{free_port()}", create_bucket=True)
    face = face_of(backend)
    for operation in (
        lambda: face.read("k", timeout=0.5),
        lambda: face.commit([Put("k", b"1")], timeout=0.5),
        lambda: face.ping(timeout=0.5),
    ):
        before = time.monotonic()
        with pytest.raises(Unavailable, match="cannot be reached"):
            operation()
        assert time.monotonic() - before < 4
    face.close()


def test_an_outage_and_its_end(server: NatsServer, own: NatsBackend) -> None:
    face = face_of(own)
    server.kill()
    with pytest.raises((Unavailable, OutcomeUnknown)):  # the loss may not have been noticed yet
        face.commit([Put("first", b"1")], timeout=0.5)
    with pytest.raises(Unavailable):
        face.commit([Put("refused", b"1")], timeout=0.5)
    with pytest.raises(Unavailable):
        face.read("k", timeout=0.5)
    server.start()
    assert face.read("k", timeout=T).value == b"0"
    assert face.read("refused", timeout=T) is None


def test_a_frozen_server_blocks_nobody_for_long(server: NatsServer, own: NatsBackend) -> None:
    face = face_of(own)
    server.freeze()
    before = time.monotonic()
    with pytest.raises(OutcomeUnknown):
        face.commit([Put("k", b"1")], timeout=0.5)
    with pytest.raises(Unavailable):
        face.read("k", timeout=0.5)
    assert time.monotonic() - before < 5
    server.thaw()
    commit(own, Put("k", b"2"))
    assert entries(own) == {"k": b"2"}


def test_no_acknowledged_write_is_lost_by_kills(server: NatsServer, own: NatsBackend) -> None:
    acknowledged: list[dict[str, int]] = [{} for _ in range(4)]
    stop = threading.Event()

    def write(number: int) -> None:
        face = face_of(own)
        n = 0
        while not stop.is_set():
            n += 1
            try:
                face.commit(
                    [Put(f"w{number}:a", b"%d" % n), Put(f"w{number}:b", b"%d" % n)], timeout=5
                )
            except (Unavailable, OutcomeUnknown):
                continue
            acknowledged[number]["n"] = n
            progress.release()

    progress = threading.Semaphore(0)
    threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(3):
            for _ in range(40):
                assert progress.acquire(timeout=30)
            server.kill()
            server.start()
        for _ in range(200):
            assert progress.acquire(timeout=30)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    stored = entries(own)
    for number in range(4):
        assert stored[f"w{number}:a"] == stored[f"w{number}:b"]
        assert int(stored[f"w{number}:a"]) >= acknowledged[number]["n"]


# -- the watch ---------------------------------------------------------------------------------


def test_deletes_during_an_outage_are_told(server: NatsServer, own: NatsBackend) -> None:
    async def work() -> None:
        await own.commit([Put("p:a", b"1"), Put("p:b", b"1")], timeout=T)
        async with Watching(own, "p:") as watching:
            await watching.until_synced()
            server.kill()
            await watching.until(lambda w: w.count(Stale) == 1, "stale")
            await asyncio.to_thread(server.start)
            other = NatsBackend(server.url)
            await other.commit([Delete("p:a"), Put("p:c", b"1")], timeout=T)
            await watching.until_state({"p:b": b"1", "p:c": b"1"})
            await watching.until_synced(2)
            await other.close()
        await own.close()

    asyncio.run(work())
    own.retain()


def test_a_frozen_server_makes_a_watch_stale(server: NatsServer, own: NatsBackend) -> None:
    async def work() -> None:
        async with Watching(own, "") as watching:
            await watching.until_synced()
            server.freeze()
            await watching.until(lambda w: w.count(Stale) == 1, "stale")
            server.thaw()
            await watching.until_synced(2)
            await own.commit([Put("k", b"9")], timeout=T)
            await watching.until_state({"k": b"9"})
        await own.close()

    asyncio.run(work())
    own.retain()


@pytest.mark.parametrize("create", [True, False])
def test_a_bucket_deleted_and_made_again_is_followed(
    nats_url: str, bucket: str, create: bool
) -> None:
    async def work() -> None:
        maker = NatsBackend(nats_url, bucket, create_bucket=True)
        await maker.commit([Put("a", b"old"), Put("b", b"old")], timeout=T)
        backend = NatsBackend(nats_url, bucket, create_bucket=create)

        async def delete(client, js):
            await js.delete_key_value(bucket)

        async with Watching(backend, "") as watching:
            await watching.until_state({"a": b"old", "b": b"old"})
            await watching.until_synced()
            await raw_call(nats_url, delete)
            await maker.commit([Put("a", b"new")], timeout=T)  # the sequence that it had before
            await watching.until_state({"a": b"new"})
            await maker.commit([Put("c", b"new")], timeout=T)
            await watching.until_state({"a": b"new", "c": b"new"})
        await backend.close()
        await maker.close()

    asyncio.run(work())


def test_a_revision_of_a_bucket_made_again_is_not_taken_for_the_former_value(
    nats_url: str, bucket: str
) -> None:
    async def delete(client, js):
        await js.delete_key_value(bucket)

    with (
        RemoteKVMapping(
            NatsBackend(nats_url, bucket, create_bucket=True), "ep1", reads="replica"
        ) as md,
        RemoteKVMapping(NatsBackend(nats_url, bucket, create_bucket=True), "ep1") as other,
    ):
        told: queue.Queue[Change] = queue.Queue()
        md["a"] = "old"
        md.subscribe(told.put, initial=False)
        before = other.version("a").revision
        asyncio.run(raw_call(nats_url, delete))
        other["a"] = "new"
        assert other.version("a").revision == before
        change = told.get(timeout=T)
        assert (change.value, change.previous) == ("new", "old")
        assert md["a"] == "new"


def test_more_than_one_request_can_name(backend: NatsBackend) -> None:
    long = [f"p:{number}:{'k' * 2000}" for number in range(600)]
    commit(backend, *[Put(key, b"1") for key in long])
    with pytest.raises(ConflictError) as caught:  # 600 names of 2,000 characters are looked up
        commit(backend, *[Put(key, b"2", ABSENT) for key in long])
    assert set(caught.value.keys) == set(long)
    with RemoteKVMapping(backend, "ep1") as md:
        with pytest.raises(Unsupported, match="1000 together at most"):
            md.update({f"a key of some length {number}": 0 for number in range(30_000)})
        assert dict(md) == {}


def test_a_purged_stream_subject_is_noticed(nats_url: str, bucket: str) -> None:
    async def work() -> None:
        backend = NatsBackend(nats_url, bucket, create_bucket=True)
        await backend.commit([Put("a", b"1"), Put("b", b"1")], timeout=T)

        async def purge(client, js):
            await js.purge_stream(f"KV_{bucket}", subject=f"$KV.{bucket}.a")

        async with Watching(backend, "") as watching:
            await watching.until_synced()
            await raw_call(nats_url, purge)
            await watching.until_state({"b": b"1"})
            assert watching.count(Stale) == 0
        await backend.close()

    asyncio.run(work())


# -- connections ---------------------------------------------------------------------------------


def test_a_client_of_the_users_is_used_and_left_open(nats_url: str, bucket: str) -> None:
    async def work() -> None:
        client = await nats.connect(nats_url)
        backend = NatsBackend(nats_url, bucket, client=client, create_bucket=True)
        with pytest.raises(ConfigurationError, match="pickled"):
            pickle.dumps(backend)

        def use() -> None:
            with RemoteKVMapping(backend, "ep1") as md:
                md["user"] = {"name": "Ada"}
                md["user"]["name"] = "Grace"
                assert dict(md) == {"user": {"name": "Grace"}}
            backend.retain()

        await asyncio.to_thread(use)
        async with Watching(backend, "ep1:") as watching:
            await watching.until_state({"ep1:user": b'{"name":"Grace"}'})
        await backend.close()
        assert client.is_connected
        await client.close()

    asyncio.run(work())


def test_a_blocking_call_in_the_loop_of_the_client_ends(nats_url: str, bucket: str) -> None:
    async def work() -> None:
        client = await nats.connect(nats_url)
        backend = NatsBackend(nats_url, bucket, client=client, create_bucket=True)
        await backend.commit([Put("ep1:n", b"1")], timeout=T)
        md = RemoteKVMapping(backend, "ep1", timeout=0.3)
        with pytest.raises(Unavailable, match="another thread"):
            md["n"]
        with pytest.raises(Unavailable, match="nothing was written"):
            md["n"] = 2
        md.timeout = T
        assert (await backend.read("ep1:n", timeout=T)).value == b"1"
        assert await asyncio.to_thread(md.get, "n") == 1
        await asyncio.to_thread(md.close)
        await client.close()

    asyncio.run(work())


def test_a_client_that_was_given_comes_and_goes(server: NatsServer) -> None:
    async def work() -> None:
        client = await nats.connect(server.url, reconnect_time_wait=0.1, max_reconnect_attempts=-1)
        backend = NatsBackend(server.url, client=client, create_bucket=True)
        await backend.commit([Put("k", b"1")], timeout=T)
        async with Watching(backend, "") as watching:
            await watching.until_synced()
            server.kill()
            with pytest.raises(Unavailable):
                await backend.read("k", timeout=0.3)
            server.start()
            await backend.commit([Put("k", b"2")], timeout=T)
            await watching.until_state({"k": b"2"})
        await client.close()
        with pytest.raises(ClosedError, match="given is closed"):
            await backend.read("k", timeout=T)
        return backend

    backend = asyncio.run(work())
    with pytest.raises(ConfigurationError, match="does not run"):
        face_of(backend).read("k", timeout=T)
    face_of(backend).close()

    async def unconnected() -> None:
        with pytest.raises(ConfigurationError, match="connected client"):
            NatsBackend(server.url, client=nats.NATS())

    asyncio.run(unconnected())


def test_secrets_are_shown_nowhere(tmp_path: Path) -> None:
    secret = "s3cr3t"
    port = free_port()
    file = tmp_path / "password"
    file.write_text(secret + "\n")
    for backend in (
        NatsBackend(f"nats://bl02:{secret}@127.0.0.1:{port}"),
        NatsBackend(f"nats://{secret}@127.0.0.1:{port}"),
        open_backend(f"nats://127.0.0.1:{port}/?user=bl02&password_file={file}&bucket=b"),
        open_backend(f"nats://127.0.0.1:{port}/?token={secret}"),
    ):
        with pytest.raises(Unavailable) as caught:
            face_of(backend).ping(timeout=0.3)
        for text in (repr(backend), backend.url, str(caught.value), repr(caught.value)):
            assert secret not in text
        assert repr(pickle.loads(pickle.dumps(backend))) == repr(backend)
        face_of(backend).close()
    for url in (
        f"nats://h/?password={secret}",
        f"nats://h/?token={secret}&token=x",
        f"nats://u:{secret}@h/?bucket=a.b",
        f"nats://u:{secret}@h/?nothing=1",
        f"nats://u:{secret}@h:port/",
    ):
        with pytest.raises(ConfigurationError) as refused:
            open_backend(url)
        assert secret not in str(refused.value)


def test_a_missing_driver_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['nats'] = None\n"
        "from kv_dict import ConfigurationError, open_mapping\n"
        "try: open_mapping('nats://localhost/', entry_point='ep1')\n"
        "except ConfigurationError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'kv-dict[nats]'" in done.stdout


def test_a_forked_child_makes_a_connection_of_its_own(nats_url: str, bucket: str) -> None:
    code = f"""
import os
from kv_dict import NatsBackend, RemoteKVMapping
md = RemoteKVMapping(NatsBackend({nats_url!r}, {bucket!r}, create_bucket=True), "ep1")
md["n"] = 1
child = os.fork()
if child == 0:
    md["child"] = md["n"] + 1
    os._exit(0)
_, status = os.waitpid(child, 0)
md["parent"] = 3
print(status, dict(md))
md.close()
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", code],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.stdout == "0 {'child': 2, 'n': 1, 'parent': 3}\n", done.stderr
