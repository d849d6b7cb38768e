"""What a Redis server may refuse, or not be able to do: what is then known, and what goes on."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from kv_dict import ConfigurationError, RedisBackend, RemoteKVMapping, Unavailable
from kv_dict.backends.redis.link import Link
from kv_dict.model import Delete, Put, Stale
from kv_dict.testing import Watching
from kv_dict.testing.proxy import FaultProxy
from kv_dict.testing.servers.nats import NatsServer
from kv_dict.testing.servers.redis import RedisServer
from kv_dict.testing.waiting import until

T = 5.0


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path / "server") as server:
        yield server


@pytest.fixture
def md(server: RedisServer) -> Iterator[RemoteKVMapping]:
    with RemoteKVMapping(RedisBackend(server.url), "ep1", timeout=T) as md:
        md["n"] = 1
        yield md


# -- servers that say no -------------------------------------------------------------------------


def test_a_search_that_failed_is_not_taken_for_an_empty_store(
    redis_url: str, client: redis.Redis
) -> None:
    client.set("ep1:a", "1")
    client.execute_command("ACL SETUSER blind on >pw ~* &* +@all -scan")
    with RemoteKVMapping(RedisBackend(redis_url.replace("://", "://blind:pw@")), "ep1") as md:
        for _ in range(2):
            with pytest.raises(ConfigurationError, match="may not do this"):
                dict(md)
        client.execute_command("ACL SETUSER blind +scan")
        assert dict(md) == {"a": 1}
    client.acl_deluser("blind")


def test_a_region_that_grew_is_searched_again_below_it_too(
    redis_url: str, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kv_dict.backends.redis.index.SLACK", 10)
    backend = RedisBackend(redis_url)
    face = backend.synchronous
    face.snapshot("", timeout=T)
    for n in range(50):
        client.set(f"ep1:{n}", n)
        client.delete(f"ep1:{n}")
    client.set("ep1:a:b", "1")
    assert face.read_tree("ep1:a", ":", timeout=T).entries[0].key == "ep1:a:b"
    assert face._session.index.tracking
    face.close()


def test_a_replica_refuses_writes_until_it_is_a_master(
    md: RemoteKVMapping, server: RedisServer, tmp_path: Path
) -> None:
    with (
        redis.Redis(port=server.port) as here,
        RedisServer(tmp_path / "other", "--repl-diskless-sync-delay", "0") as other,
        redis.Redis(port=other.port) as there,
    ):
        there.mset({"ep1:n": "7", "ep1:b": "8"})
        md["only here"] = 1
        here.replicaof("127.0.0.1", other.port)
        until(lambda: here.info("replication")["master_link_status"] == "up")
        with pytest.raises(Unavailable, match=r"READONLY.*it is a replica; name its master"):
            md["n"] = 2
        with pytest.raises(Unavailable, match="READONLY"):
            md.increment("n")
        assert dict(md) == {"n": 7, "b": 8}  # the other's data set, nothing of the one before
        here.replicaof("NO", "ONE")
        md["n"] = 3
        assert dict(md) == {"n": 3, "b": 8}


def test_a_watch_of_a_server_that_is_given_another_data_set(
    server: RedisServer, tmp_path: Path
) -> None:
    async def work(there: redis.Redis, here: redis.Redis, port: int) -> None:
        backend = RedisBackend(server.url)
        await backend.commit([Put("p:here", b"1")], timeout=T)
        async with Watching(backend, "p:") as watching:
            await watching.until_synced()
            here.replicaof("127.0.0.1", port)
            await watching.until_state({"p:there": b"1"})
            there.set("p:more", "2")
            await watching.until_state({"p:there": b"1", "p:more": b"2"})
        await backend.close()

    with (
        RedisServer(tmp_path / "other", "--repl-diskless-sync-delay", "0") as other,
        redis.Redis(port=other.port) as there,
        redis.Redis(port=server.port) as here,
    ):
        there.set("p:there", "1")
        asyncio.run(work(there, here, other.port))


def test_a_server_of_another_kind(tmp_path: Path) -> None:
    with (
        NatsServer(tmp_path / "nats") as nats,
        RemoteKVMapping(RedisBackend(f"redis://127.0.0.1:{nats.port}"), "ep1") as md,
        pytest.raises(Unavailable, match="what answers there is no Redis server") as caught,
    ):
        md["a"]
    assert "server_id" not in str(caught.value)  # what NATS greets with


def test_a_full_disk_writes_nothing(tmp_path: Path) -> None:
    with (
        RedisServer(tmp_path / "server", "--save", "1000 1000") as server,
        redis.Redis(port=server.port) as client,
        RemoteKVMapping(RedisBackend(server.url), "ep1") as md,
    ):
        md["n"] = 1
        (server.folder / "dump.rdb" / "full").mkdir(parents=True)  # so no snapshot can be written
        client.bgsave()
        until(lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err")
        for write in (lambda: md.update(n=2), lambda: md.increment("n"), md.clear):
            with pytest.raises(Unavailable, match=r"MISCONF.*it cannot write to its disk"):
                write()
        assert dict(md) == {"n": 1}


def test_a_server_that_is_still_loading(tmp_path: Path) -> None:
    slowly = ("--key-load-delay", "1000", "--loading-process-events-interval-bytes", "1024")
    with RedisServer(tmp_path / "server", "--appendonly", "no", *slowly) as server:
        with redis.Redis(port=server.port) as client:
            client.mset({f"ep1:k{n}": n for n in range(1000)})
            client.save()
        server.stop()
        refused: set[str] = set()
        loaded = threading.Event()

        def use() -> None:
            with RemoteKVMapping(RedisBackend(server.url), "ep1", timeout=T) as md:
                while not loaded.is_set():
                    for use in (lambda: md.update(n=1), lambda: dict(md)):
                        try:
                            use()
                        except Unavailable as error:
                            refused.add(str(error).partition("(")[2].partition(" ")[0])

        user = threading.Thread(target=use)
        user.start()
        server.start()  # returns when it has loaded
        loaded.set()
        user.join()
        assert "LOADING" in refused
        with RemoteKVMapping(RedisBackend(server.url), "ep1", timeout=T) as md:
            assert len(dict(md)) >= 1000


def test_connections_that_an_operator_kills(shared: RemoteKVMapping, client: redis.Redis) -> None:
    shared["n"] = 0
    for n in range(20):
        client.client_kill_filter(_type="normal", skipme=True)
        assert shared["n"] == n
        client.client_kill_filter(_type="normal", skipme=True)
        shared["n"] = n + 1


def test_databases_that_are_swapped(
    redis_url: str, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No server tells of it: a watch finds out by searching now and then."""
    monkeypatch.setattr("kv_dict.backends.redis.watching.SEARCH", 0.3)

    async def work() -> None:
        backend = RedisBackend(redis_url)
        await backend.commit([Put("p:zero", b"0")], timeout=T)
        async with Watching(backend, "p:") as watching:
            await watching.until_synced()
            client.swapdb(0, 1)
            await watching.until_state({"p:one": b"1"})
            client.swapdb(0, 1)
            await watching.until_state({"p:zero": b"0"})
        await backend.close()

    with redis.Redis.from_url(redis_url.removesuffix("/0"), db=1) as other:
        other.set("p:one", "1")
        asyncio.run(work())
        other.flushdb()


LEAST = [
    *("+hello", "+select", "+ping", "+get", "+set", "+mget", "+mset", "+del", "+type", "+scan"),
    *("+echo", "+evalsha", "+eval", "+client|tracking"),
]


def test_the_least_that_a_user_must_be_allowed(redis_url: str, client: redis.Redis) -> None:
    """As the how-to guide says; neither other keys nor other commands."""
    client.set("other", "1")
    client.script_flush()
    client.acl_setuser("few", enabled=True, passwords=["+pw"], keys=["ep1:*"], commands=LEAST)
    url = redis_url.replace("://", "://few:pw@")

    async def follow() -> None:
        backend = RedisBackend(url)
        async with Watching(backend, "ep1:") as watching:
            await watching.until_synced()
            client.set("ep1:seen", "1")
            await watching.until(lambda w: "ep1:seen" in w.state, "a foreign write")
            assert backend._watches.copy().pop()._session.index.tracking
        await backend.close()

    with RemoteKVMapping(RedisBackend(url), "ep1") as md:
        md["a"] = {"b": 1}
        md["a"]["b"] += 1
        md.update(c=1, d=2)
        client.rpush("ep1:list", "x")
        client.set("ep1:a:x", 3)
        assert dict(md) == {"a": {"b": 2, "x": 3}, "c": 1, "d": 2}
        assert md.increment("c") == 2
        asyncio.run(follow())
        md.clear()
        with pytest.raises(ConfigurationError, match="may not do this"):
            md.backend.synchronous.commit([Put("other", b"1")], timeout=T)
    client.acl_deluser("few")


# -- servers without broadcasting ----------------------------------------------------------------


class NoBroadcast(FaultProxy):
    """Spoils the one option that Dragonfly does not know, so that the server refuses it."""

    async def _pump(self, source: Any, target: Any, *, answers: bool) -> None:
        if answers:
            return await super()._pump(source, target, answers=answers)
        with contextlib.suppress(OSError):
            while data := await source.read(1 << 16):
                target.write(data.replace(b"\r\nBCAST\r\n", b"\r\nSPOIL\r\n"))
                await target.drain()
        target.close()
        return None


@pytest.mark.parametrize("how", ["no tracking", "no broadcasting"])
def test_a_watch_where_changes_are_not_broadcast(
    redis_url: str, client: redis.Redis, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def work(url: str) -> None:
        backend = RedisBackend(url)
        await backend.commit([Put("p:a", b"1"), Put("q", b"1")], timeout=T)
        async with Watching(backend, "p:") as watching:
            await watching.until_synced()
            searching = asyncio.create_task(watching.until_state({"p:a": b"1", "p:b": b"1"}))
            client.set("p:b", "1")  # nobody tells of new keys: they are found within a second
            await searching
            before = time.monotonic()
            for n in range(20):  # own ones are told at once, in any case
                await backend.commit([Put("p:c", b"%d" % n), Delete("p:b")], timeout=T)
                await watching.until_state({"p:a": b"1", "p:c": b"%d" % n})
            if how == "no broadcasting":  # and changes of keys that are known
                for n in range(20):
                    client.set("p:a", n)
                    await watching.until_state({"p:a": b"%d" % n, "p:c": b"19"})
            assert time.monotonic() - before < 10  # not 20 or 40 searches
            client.flushdb()
            await watching.until_state({})
            assert watching.count(Stale) == 0
        await backend.close()

    client.acl_setuser(
        "mute", enabled=True, passwords=["+pw"], keys=["*"], commands=["+@all", "-client|tracking"]
    )
    with NoBroadcast(client.connection_pool.connection_kwargs["port"]) as proxy:
        if how == "no tracking":
            url = redis_url.replace("://", "://mute:pw@")
        else:
            url = f"redis://127.0.0.1:{proxy.port}/0"
        for _ in range(2):
            asyncio.run(work(url))
        with RemoteKVMapping(RedisBackend(url), "p") as md:
            client.set("p:x:y", "1")
            assert dict(md) == {"x": {"y": 1}}
    assert caplog.text.count("does not tell of changed keys") == 1
    client.acl_deluser("mute")


def test_a_key_that_became_no_string_leaves_no_doubt(
    redis_url: str, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A foreign program replaces what one has just written, before one has taken note of it."""
    with RemoteKVMapping(RedisBackend(redis_url), "ep1", reads="replica", timeout=T) as md:
        replica = md._scope.replica
        assert replica is not None
        commit = md._scope._face.commit

        def replaced(*arguments: Any, **options: Any) -> Any:
            revisions = commit(*arguments, **options)
            monkeypatch.undo()
            until(lambda: "a" in md)
            client.pipeline().delete("ep1:a").rpush("ep1:a", "x").execute()
            until(lambda: "a" not in md)
            return revisions

        monkeypatch.setattr(md._scope._face, "commit", replaced)
        md["a"] = 1
        md.sync()
        assert dict(md) == {}
        until(lambda: not replica._contents.doubts)
        md["b"] = 2
        assert dict(md) == {"b": 2}


def test_many_keys_at_once(shared: RemoteKVMapping, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each costs its share: neither a look at all the others, nor a question of its own."""
    many = {f"k{number}": number for number in range(40_000)}
    shared.timeout = 20
    shared.update(many)
    assert len(shared) == len(many)
    shared.clear()
    sent: list[int] = []
    send = Link.send

    def counted(link: Link, data: bytes, deadline: float) -> None:
        sent.append(len(data))
        send(link, data, deadline)

    monkeypatch.setattr(Link, "send", counted)
    assert dict(shared) == {}
    assert len(sent) < 10
