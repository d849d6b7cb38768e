"""Servers that stand in for one another: what was acknowledged stays, and nobody has to act."""

from __future__ import annotations

import asyncio
import contextlib
import pickle
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest
import redis
import redis.asyncio
import redis.sentinel
from redis.cluster import ClusterNode

from kv_dict import (
    ConfigurationError,
    OutcomeUnknown,
    RedisBackend,
    RemoteKVMapping,
    Unavailable,
    Unsupported,
    open_mapping,
)
from kv_dict.backends.redis.opening import Opener
from kv_dict.backends.redis.routes import Route
from kv_dict.model import Delete, Put, Stale
from kv_dict.testing import Watching
from kv_dict.testing.servers.process import free_port
from kv_dict.testing.servers.redis import RedisServer
from kv_dict.testing.servers.redis_groups import RedisCluster, Sentinels, SentinelServer

T = 15.0
"""Seconds for an operation that may have to wait for an election."""


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sentinels]:
    with Sentinels(tmp_path_factory.mktemp("sentinels")) as guarded:
        yield guarded


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisCluster]:
    with RedisCluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


class Writers:
    """Threads that count, each in a key of its own, and note what was acknowledged."""

    def __init__(self, url: str, entry_point: str, number: int = 3) -> None:
        self._url = url
        self._entry_point = entry_point
        self._stop = threading.Event()
        self._counted = threading.Condition()
        self.acknowledged = [0] * number
        self.tried = [0] * number
        self._threads = [threading.Thread(target=self._write, args=(n,)) for n in range(number)]

    def _write(self, me: int) -> None:
        with RemoteKVMapping(RedisBackend(self._url), self._entry_point, timeout=3) as md:
            while not self._stop.is_set():
                n = self.tried[me] = self.tried[me] + 1
                try:
                    md.update({f"a{me}": n, f"b{me}": n})
                except (OutcomeUnknown, Unavailable):
                    continue
                with self._counted:
                    self.acknowledged[me] = n
                    self._counted.notify_all()

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def go_on(self) -> None:
        """Wait until every one has had more acknowledged."""
        before = [tried + 1 for tried in self.tried]
        with self._counted:
            assert self._counted.wait_for(
                lambda: all(a > b for a, b in zip(self.acknowledged, before, strict=True)), 30
            )

    def check(self) -> None:
        """Check that all that was acknowledged is there, and nothing that was not tried."""
        with RemoteKVMapping(RedisBackend(self._url), self._entry_point, timeout=T) as md:
            for me, (least, most) in enumerate(zip(self.acknowledged, self.tried, strict=True)):
                assert md[f"a{me}"] == md[f"b{me}"]
                assert least <= md[f"a{me}"] <= most


async def follows(url: str, entry_point: str, fault: object) -> None:
    """Check that a watch tells of what was written after a fault."""
    backend = RedisBackend(url)

    async def put(key: str) -> None:
        async with asyncio.timeout(T):
            while True:
                with contextlib.suppress(OutcomeUnknown, Unavailable):
                    await backend.commit([Put(f"{entry_point}:{key}", b"1")], timeout=3)
                    return

    await put("old")
    async with Watching(backend, f"{entry_point}:") as watching:
        await watching.until_synced()
        await asyncio.to_thread(fault)  # type: ignore[arg-type]
        await put("new")
        await watching.until_state({f"{entry_point}:old": b"1", f"{entry_point}:new": b"1"})
    await backend.close()


# -- sentinels -----------------------------------------------------------------------------------


def acknowledged(md: RemoteKVMapping, key: str, value: int) -> bool:
    try:
        md[key] = value
    except (OutcomeUnknown, Unavailable):  # while the sentinels turn servers round
        return False
    return True


def test_a_master_that_was_demoted_is_left(guarded: Sentinels) -> None:
    with RemoteKVMapping(RedisBackend(f"{guarded.url}?replicas=1"), "demoted", timeout=1) as md:
        first = guarded.master()
        while guarded.master() is first:
            with redis.Redis(port=guarded.sentinels[0].port) as client:
                try:
                    client.execute_command("SENTINEL", "FAILOVER", guarded.name)
                except redis.ResponseError:  # still busy with the last one
                    threading.Event().wait(0.1)
            acknowledged(md, "n", 1)
        with redis.Redis(port=guarded.master().port) as client:
            deadline = time.monotonic() + T
            while client.get("demoted:n") != b"2":
                assert time.monotonic() < deadline
                acknowledged(md, "n", 2)


def test_writers_and_watches_go_on_after_the_master_was_killed(tmp_path: Path) -> None:
    """With servers of its own: a replica's word is good while no other fail-over is under way."""
    with Sentinels(tmp_path) as guarded:
        first = guarded.master()
        url = f"{guarded.url}?replicas=1"
        with Writers(url, "ep1") as writers:
            writers.go_on()
            asyncio.run(follows(url, "watched", first.kill))
            writers.go_on()
            assert guarded.master() is not first
            first.start()  # it takes itself for a master, until a sentinel tells it
            writers.go_on()
        writers.check()


def test_sentinels_that_are_down_or_hang_are_passed_over(
    guarded: Sentinels, tmp_path: Path
) -> None:
    hangs, works = guarded.sentinels[:2]
    hosts = f"127.0.0.1:{free_port()},127.0.0.1:{hangs.port},127.0.0.1:{works.port}"
    hangs.freeze()
    try:
        url = f"redis+sentinel://{hosts}/{guarded.name}?replicas=1"
        with open_mapping(url, entry_point="ep1") as md:
            md.timeout = 3
            deadline = time.monotonic() + T
            while not acknowledged(md, "passed", 1):
                assert time.monotonic() < deadline
    finally:
        hangs.thaw()
    secret = tmp_path / "password"
    secret.write_text("hush-hush\n")
    with SentinelServer(
        tmp_path / "own", guarded.name, guarded.master().port, 1, "requirepass hush-hush\n"
    ) as own:
        at = f"redis+sentinel://127.0.0.1:{own.port}/{guarded.name}"
        url = f"{at}?sentinel_password_file={secret}"
        with RemoteKVMapping(RedisBackend(url), "ep1", timeout=T) as md:
            assert md["passed"] == 1
        with (
            RemoteKVMapping(RedisBackend(at), "ep1", timeout=T) as md,
            pytest.raises(ConfigurationError),
        ):
            md["passed"]


def test_sentinels_that_know_no_such_master(guarded: Sentinels) -> None:
    hosts = guarded.url.removeprefix("redis+sentinel://").partition("/")[0]
    for url, error, says in (
        (f"redis+sentinel://{hosts}/other", ConfigurationError, "knows no master 'other'"),
        (f"redis+sentinel://127.0.0.1:{free_port()}/other", Unavailable, "cannot be reached"),
    ):
        with (
            RemoteKVMapping(RedisBackend(url), "ep1", timeout=T) as md,
            pytest.raises(error, match=says),
        ):
            md["a"] = 1


def test_replicas_that_do_not_confirm(tmp_path: Path) -> None:
    with RedisServer(tmp_path / "alone") as server:
        backend = RedisBackend(f"{server.url}?replicas=1")
        with RemoteKVMapping(backend, "ep1", timeout=2) as md:
            with pytest.raises(OutcomeUnknown, match=r"1 replica.* did not confirm"):
                md["a"] = 1
            assert md["a"] == 1


# -- a cluster -----------------------------------------------------------------------------------


def slot(backend: RedisBackend, text: str) -> int:
    number: int = backend._settings.route.serving(text).slot
    return number


def test_a_mapping_in_a_cluster(cluster: RedisCluster) -> None:
    backend = RedisBackend(cluster.url)
    entry_points = ("{a}", "{b}", "{c}", "x{d}y", "{e}:f")
    assert len({cluster.owner(slot(backend, e)).port for e in entry_points}) == 3
    for entry_point in entry_points:
        with RemoteKVMapping(pickle.loads(pickle.dumps(backend)), entry_point) as md:
            md["n"] = {"{x}": 1}
            md["n"]["m"] = [1]
            md["n"]["m"].append(2)
            md.update(a=1, b=2)
            md["{other}"] = 3
            assert dict(md) == {"n": {"{x}": 1, "m": [1, 2]}, "a": 1, "b": 2, "{other}": 3}
            md.clear()
            assert dict(md) == {}
    for entry_point in ("xas", "", "{}", "{xas", "}{"):
        with RemoteKVMapping(RedisBackend(cluster.url), entry_point) as md:
            for use in (lambda: md["a"], lambda: md.__setitem__("a", 1), lambda: dict(md)):
                with pytest.raises(Unsupported, match=r"braces around .*'\{xas\}'"):
                    use()
    with pytest.raises(Unsupported, match=r"one commit cannot change .a.x and .b.y"):
        backend.synchronous.commit([Put("{a}x", b"1"), Delete("{b}y")], timeout=T)
    backend.synchronous.ping(timeout=T)
    backend.synchronous.close()


def test_a_slot_that_moves(cluster: RedisCluster) -> None:
    slot_ = slot(RedisBackend(cluster.url), "{moves}")

    def move() -> None:
        here = cluster.owner(slot_)
        cluster.move(slot_, next(s for s in cluster.servers[1:3] if s is not here))

    with Writers(cluster.url, "{moves}") as writers:
        writers.go_on()
        asyncio.run(follows(cluster.url, "{moves}w", move))
        writers.go_on()
        move()
        writers.go_on()
    writers.check()


def test_what_is_half_moved_is_not_taken_for_all(cluster: RedisCluster) -> None:
    """Keys of one slot on two servers: an answer of one of them would leave some out."""
    with RemoteKVMapping(RedisBackend(cluster.url), "{half}", timeout=T) as md:
        md.update({f"k{n}": n for n in range(20)})
        number = slot(md.backend, "{half}")
        source = cluster.owner(number)
        target = next(server for server in cluster.servers[:3] if server is not source)
        with redis.Redis(port=target.port) as t, redis.Redis(port=source.port) as s:
            t.execute_command("CLUSTER SETSLOT", number, "IMPORTING", cluster.identity(source))
            s.execute_command("CLUSTER SETSLOT", number, "MIGRATING", cluster.identity(target))
            some = [f"{{half}}:k{n}" for n in range(10)]
            s.execute_command("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *some)
        for backend in (md.backend, RedisBackend(cluster.url)):
            with RemoteKVMapping(backend, "{half}", timeout=0.5) as other:
                for use in (lambda: dict(other), lambda: other.clear(), lambda: other["k0"]):
                    with pytest.raises(Unavailable):
                        use()
        cluster.move(number, target)
        with RemoteKVMapping(RedisBackend(cluster.url), "{half}", timeout=T) as after:
            assert dict(after) == {f"k{n}": n for n in range(20)}


LEAST = "+hello +ping +echo +get +set +mget +mset +del +type +scan +eval +evalsha +client|tracking"


def test_the_least_that_a_user_must_be_allowed(cluster: RedisCluster, guarded: Sentinels) -> None:
    """In addition to what one server needs: as the how-to guide says."""
    for server in cluster.servers:
        with redis.Redis(port=server.port) as client:
            more = "+exists +cluster|slots"
            client.execute_command(f"ACL SETUSER few on >pw ~{{few}}* {LEAST} {more}")
    with redis.Redis(port=guarded.master().port) as client:
        client.execute_command(f"ACL SETUSER few on >pw ~few:* {LEAST} +role +wait")
    of_sentinels = guarded.url.replace("://", "://few:pw@") + "?replicas=1"
    for url, entry_point in (
        (cluster.url.replace("://", "://few:pw@"), "{few}"),
        (of_sentinels, "few"),
    ):
        with RemoteKVMapping(RedisBackend(url), entry_point, timeout=T) as md:
            md.update(a={"b": 1}, c=2)
            md["a"]["b"] += 1
            md["n"] = 1
            assert dict(md) == {"a": {"b": 2}, "c": 2, "n": 1}
            md.clear()
        with (
            RemoteKVMapping(RedisBackend(url), "{fewer" if "{" in entry_point else "x") as md,
            pytest.raises((ConfigurationError, Unsupported)),
        ):
            md["a"] = 1


def test_clients_of_every_kind(guarded: Sentinels, cluster: RedisCluster, redis_url: str) -> None:
    asked = [("127.0.0.1", sentinel.port) for sentinel in guarded.sentinels]
    host, port = "127.0.0.1", cluster.servers[0].port

    async def made() -> list[object]:
        of_sentinels = redis.asyncio.Sentinel(asked).master_for(guarded.name)
        return [
            redis.asyncio.Redis.from_url(redis_url),
            of_sentinels,
            redis.asyncio.RedisCluster(host, port),
            redis.asyncio.RedisCluster(
                startup_nodes=[redis.asyncio.cluster.ClusterNode(host, port)]
            ),
        ]

    sentinel = redis.sentinel.Sentinel(asked)
    clients = [
        redis.Redis.from_url(redis_url),
        sentinel.master_for(guarded.name),
        redis.RedisCluster(host, port),
        redis.RedisCluster(startup_nodes=[ClusterNode(host, port)]),
        *asyncio.run(made()),
    ]
    for n, client in enumerate(clients):
        backend = RedisBackend(client=client)  # type: ignore[arg-type]
        with RemoteKVMapping(backend, "{made}", timeout=T) as md:
            md["n"] = n
            assert md["n"] == n
    assert [RedisBackend(client=c).url.partition("://")[0] for c in clients] == [
        *("redis", "redis+sentinel", "redis+cluster", "redis+cluster"),
        *("redis", "redis+sentinel", "redis+cluster", "redis+cluster"),
    ]
    with pytest.raises(ConfigurationError, match="reads from replicas"):
        RedisBackend(client=sentinel.slave_for(guarded.name))
    with pytest.raises(
        ConfigurationError, match=r"takes a client of the redis package.*not builtins.int"
    ):
        RedisBackend(client=7)  # type: ignore[arg-type]

    class Own(redis.Connection):
        pass

    pool = redis.ConnectionPool(connection_class=Own)
    with pytest.raises(ConfigurationError, match="connects by Own"):
        RedisBackend(client=redis.Redis(connection_pool=pool))


def test_writers_and_watches_go_on_after_an_owner_was_killed(cluster: RedisCluster) -> None:
    """The last of this file: the cluster has no further replica."""
    first, replica = cluster.servers[0], cluster.servers[3]
    backend = RedisBackend(cluster.url)
    tags = [f"{{t{n}}}" for n in range(100)]
    tag = next(tag for tag in tags if cluster.owner(slot(backend, tag)) is first)
    with redis.Redis(port=replica.port) as client:
        assert client.info("replication")["master_link_status"] == "up"
    with Writers(f"{cluster.url}?replicas=1", tag) as writers:
        writers.go_on()
    with Writers(cluster.url, f"{tag}x") as others:
        others.go_on()
        asyncio.run(follows(cluster.url, f"{tag}w", first.kill))
        others.go_on()
        assert cluster.owner(slot(backend, tag)) is replica
    for me, least in enumerate(writers.acknowledged):
        with RemoteKVMapping(RedisBackend(cluster.url), tag, timeout=T) as md:
            assert md[f"a{me}"] >= least


# -- URLs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("redis+sentinel://h", "name of the master"),
        ("redis+sentinel://h/m/x", "the database is a number"),
        ("redis+sentinel://h/m/1/2", "is no database"),
        ("redis+sentinel://h/m/1?db=2", "given twice"),
        ("redis+sentinel://h:x/m", "the port is no number"),
        ("redis+sentinel://h/m?sentinel_user=u", "needs sentinel_password_file"),
        ("redis+cluster://h/1", "is no database"),
        ("redis+cluster://h?db=1", "has no option 'db'"),
        ("redis+cluster://h?ca_file=x", "TLS is for rediss"),
        ("redis+cluster://h?replicas=many", "'replicas' is a number"),
        ("redis://h,i", "names one server"),
    ],
)
def test_urls_that_cannot_work(url: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        RedisBackend(url)


def test_what_is_shown_of_a_url() -> None:
    shown = {
        "redis+sentinel://u:pw@h,i:1/m": "redis+sentinel://u:***@h:26379,i:1/m/0",
        "rediss+sentinel://[::1]/m/2": "rediss+sentinel://[::1]:26379/m/2",
        "redis+cluster://:pw@h,i:7001": "redis+cluster://:***@h:6379,i:7001",
        "redis://h?replicas=2": "redis://h:6379/0?replicas=2",
    }
    for url, expected in shown.items():
        assert RedisBackend(url).url == expected
        assert isinstance(RedisBackend(url)._settings.route, Route)
        for found in vars(RedisBackend(url)._settings.route).values():
            if isinstance(found, Opener):
                assert "pw" not in str(vars(found))


def test_a_stale_watch_names_its_servers() -> None:
    async def work() -> None:
        backend = RedisBackend(f"redis+cluster://127.0.0.1:{free_port()}")
        async with Watching(backend, "{a}") as watching:
            await watching.until(lambda w: w.count(Stale) == 1, "stale")
            assert "redis+cluster" in watching.events[0].reason  # type: ignore[union-attr]
        await backend.close()

    asyncio.run(work())
