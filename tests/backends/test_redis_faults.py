"""What can go wrong with a Redis server: each has an error that says what is known."""

from __future__ import annotations

import asyncio
import logging
import os
import pickle
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path

import pytest
import redis
from redis_json_dict import RedisJSONDict

from kv_dict import (
    ConfigurationError,
    ConflictError,
    DecodeError,
    KVDictError,
    OutcomeUnknown,
    RedisBackend,
    RemoteKVMapping,
    Unavailable,
    open_mapping,
)
from kv_dict.backends.redis.resp import NOTHING, ErrorReply, Push, Reader
from kv_dict.model import ABSENT, Delete, DeletePrefix, Put, Stale
from kv_dict.testing import Watching
from kv_dict.testing.proxy import FaultProxy
from kv_dict.testing.servers.process import free_port
from kv_dict.testing.servers.redis import RedisServer

T = 5.0


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path / "server") as server:
        yield server


@pytest.fixture
def md(server: RedisServer) -> Iterator[RemoteKVMapping]:
    with RemoteKVMapping(RedisBackend(server.url), "ep1", timeout=0.5) as md:
        md["n"] = 1
        yield md


def commands(client: redis.Redis) -> dict[str, int]:
    """Return how often each command was called since the last `config_resetstat`."""
    return {
        name.removeprefix("cmdstat_").partition("|")[0]: row["calls"]
        for name, row in client.info("commandstats").items()
        if name not in ("cmdstat_info", "cmdstat_config|resetstat")
    }


# -- a server that is not there ------------------------------------------------------------------


def test_refused(tmp_path: Path) -> None:
    with RemoteKVMapping(RedisBackend(f"redis://127.0.0.1:{free_port()}"), "ep1") as md:
        for write in (lambda: md.update(a=1), lambda: md.increment("a"), lambda: md.pop("a")):
            with pytest.raises(Unavailable, match=r"cannot be reached .*; nothing was written$"):
                write()
        for read in (lambda: md["a"], lambda: dict(md), lambda: md.switch("ep2")):
            with pytest.raises(Unavailable, match=r"cannot be reached .*refused.\)$"):
                read()


def test_a_refused_open_names_the_server_once() -> None:
    url = f"redis://127.0.0.1:{free_port()}/0"
    with pytest.raises(Unavailable, match=r"cannot be reached") as refused:
        RemoteKVMapping(RedisBackend(url), "ep1", reads="replica")
    assert str(refused.value).count(url) == 1


def test_an_address_that_never_answers() -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(1)
        url = f"redis://127.0.0.1:{deaf.getsockname()[1]}"
        with RemoteKVMapping(RedisBackend(url), "ep1", timeout=0.3) as md:
            started = time.monotonic()
            with pytest.raises(Unavailable):
                md["a"] = 1
            assert time.monotonic() - started < 4


def test_down_and_back(md: RemoteKVMapping, server: RedisServer) -> None:
    server.kill()
    with pytest.raises(Unavailable):
        md["n"] = 2
    with pytest.raises(Unavailable):
        md["n"]
    server.start()
    assert md["n"] == 1  # the write that was Unavailable does not appear
    md["n"] = 3
    server.stop()
    server.start()
    md["n"] = 4
    assert dict(md) == {"n": 4}


def test_frozen(md: RemoteKVMapping, server: RedisServer) -> None:
    server.freeze()
    started = time.monotonic()
    with pytest.raises(OutcomeUnknown, match="may or may not have been applied"):
        md["n"] = 2
    with pytest.raises(Unavailable):  # a new connection, which is not answered: nothing was sent
        md["m"] = 2
    with pytest.raises(Unavailable):
        md["n"]
    assert time.monotonic() - started < 6
    server.thaw()
    assert md["n"] in (1, 2)
    assert "m" not in md


def test_a_frozen_server_delays_other_threads_no_longer_than_their_timeout(
    md: RemoteKVMapping, server: RedisServer
) -> None:
    server.freeze()
    took = []

    def read() -> None:
        started = time.monotonic()
        with pytest.raises(Unavailable):
            md["n"]
        took.append(time.monotonic() - started)

    threads = [threading.Thread(target=read) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    server.thaw()
    assert len(took) == 6
    assert max(took) < 2.5


def test_close_ends_what_waits(server: RedisServer) -> None:
    backend = RedisBackend(server.url)
    backend.synchronous.ping(timeout=T)
    server.freeze()
    errors: list[BaseException] = []

    def read() -> None:
        try:
            backend.synchronous.read("k", timeout=30)
        except KVDictError as error:
            errors.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    while backend.synchronous._turn.try_take(lambda: None):
        pass
    backend.synchronous.close()
    thread.join(10)
    assert not thread.is_alive()
    assert len(errors) == 1
    server.thaw()


def test_no_acknowledged_write_is_lost_by_kill_9(server: RedisServer) -> None:
    acknowledged = [0] * 4
    maybe = [0] * 4
    stop = threading.Event()
    wrote = [threading.Event() for _ in range(4)]

    def write(me: int) -> None:
        with RemoteKVMapping(RedisBackend(server.url), "ep1", timeout=2) as md:
            while not stop.is_set():
                n = acknowledged[me] = max(acknowledged[me], 0)
                try:
                    md.update({f"a{me}": n + 1, f"b{me}": n + 1})
                except OutcomeUnknown:
                    maybe[me] = n + 1
                except Unavailable:
                    pass
                else:
                    acknowledged[me] = n + 1
                    wrote[me].set()

    threads = [threading.Thread(target=write, args=(me,)) for me in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(3):
        for event in wrote:
            assert event.wait(20)
        server.kill()
        server.start()
        for event in wrote:
            event.clear()
    for event in wrote:
        assert event.wait(20)
    server.kill()
    stop.set()
    for thread in threads:
        thread.join()
    server.start()
    with RemoteKVMapping(RedisBackend(server.url), "ep1") as md:
        for me in range(4):
            assert md[f"a{me}"] == md[f"b{me}"]
            assert md[f"a{me}"] in (acknowledged[me], maybe[me])
            assert md[f"a{me}"] >= acknowledged[me]


def test_ctrl_c_leaves_a_usable_mapping(md: RemoteKVMapping, server: RedisServer) -> None:
    server.freeze()
    md.timeout = 20
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt) as caught:
        md["n"] = 2
    assert "may or may not be applied" in caught.value.__notes__[0]
    server.thaw()
    md["n"] = 3
    assert md["n"] == 3


def test_a_forked_child_uses_its_own_connection(shared: RemoteKVMapping) -> None:
    shared["n"] = 0
    child = os.fork()
    if child == 0:
        status = 1
        try:
            for _ in range(50):
                shared.increment("n")
            status = 0
        finally:
            os._exit(status)
    for _ in range(50):
        shared.increment("n")
    assert os.waitpid(child, 0)[1] == 0
    assert shared["n"] == 100


# -- who may do what -----------------------------------------------------------------------------


def test_passwords(tmp_path: Path) -> None:
    secret = "s3cret-hunter2"
    file = tmp_path / "password"
    file.write_text(secret + "\n")
    with RedisServer(tmp_path / "server", "--requirepass", secret) as server:
        at = f"127.0.0.1:{server.port}/0"
        for url in (
            f"redis://:{secret}@{at}",
            f"redis://default:{secret}@{at}",
            f"redis://{at}?password_file={file}",
        ):
            backend = RedisBackend(url)
            with RemoteKVMapping(backend, "ep1") as md:
                md["a"] = 1
            assert secret not in repr(backend) + backend.url + str(vars(backend._settings))
            again = pickle.loads(pickle.dumps(backend))
            with RemoteKVMapping(again, "ep1") as md:
                assert md["a"] == 1
        assert secret.encode() not in pickle.dumps(backend)  # with the file: its name only
        for url, says in {
            f"redis://{at}": r"wants a password, and none was given.*\?password_file=",
            f"redis://:wrong-{secret}@{at}": "refuses the user or password",
        }.items():
            with RemoteKVMapping(RedisBackend(url), "ep1") as md:
                with pytest.raises(ConfigurationError, match=says) as e:
                    md["a"] = 2
                shown = traceback.TracebackException.from_exception(e.value, capture_locals=True)
                del shown.stack[0]  # this very function, which knows the password
                assert secret not in "".join(shown.format())
        file.write_text("changed\n")
        with (
            RemoteKVMapping(RedisBackend(f"redis://{at}?password_file={file}"), "ep1") as md,
            pytest.raises(ConfigurationError),
        ):
            md["a"]


def test_an_acl_that_forbids_tracking_costs_speed_only(
    redis_url: str, client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    client.acl_setuser(
        "plain", enabled=True, passwords=["+pw"], keys=["*"], commands=["+@all", "-client|tracking"]
    )
    with RemoteKVMapping(RedisBackend(redis_url.replace("://", "://plain:pw@")), "ep1") as md:
        client.set("ep1:a:b", "1")
        assert md["a"] == {"b": 1}
        client.set("ep1:a:c", "2")
        assert md["a"] == {"b": 1, "c": 2}
        md["a"] = 3
        assert dict(md) == {"a": 3}
        md.clear()
        assert client.keys() == []
    assert "does not tell of changed keys" in caplog.text
    client.acl_deluser("plain")


def test_an_acl_that_forbids_writing(redis_url: str, client: redis.Redis) -> None:
    client.acl_setuser(
        "half", enabled=True, passwords=["+pw"], keys=["*"], commands=["+@all", "-del", "-mset"]
    )
    backend = RedisBackend(redis_url.replace("://", "://half:pw@"))
    face = backend.synchronous
    with pytest.raises(ConfigurationError, match="may not do this"):
        face.commit([Put("a", b"1"), Put("b", b"1")], timeout=T)
    assert client.keys() == []
    face.commit([Put("a", b"1")], timeout=T)
    with pytest.raises(OutcomeUnknown, match="refused in the middle"):
        face.commit([Put("b", b"1", ABSENT), Delete("a")], timeout=T)
    face.close()
    client.acl_deluser("half")


def test_out_of_memory_writes_nothing(server: RedisServer) -> None:
    face = RedisBackend(server.url).synchronous
    face.commit([Put("p:old", b"1"), Put("k", b"1")], timeout=T)
    with redis.Redis(port=server.port) as client:
        client.config_set("maxmemory", "1")
        with pytest.raises(Unavailable, match=r"OOM.*its memory is full; raise maxmemory"):
            face.commit([DeletePrefix("p:"), Put("p:new", b"2"), Put("k", b"2")], timeout=T)
        assert {key: client.get(key) for key in client.scan_iter()} == {b"p:old": b"1", b"k": b"1"}
        client.config_set("maxmemory", "0")
    face.commit([DeletePrefix("p:"), Put("p:new", b"2"), Put("k", b"2")], timeout=T)
    face.close()


# -- other programs ------------------------------------------------------------------------------


def test_keys_of_other_types(
    shared: RemoteKVMapping, client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    shared["a"] = 1
    client.rpush("ep1:queue", "x")
    client.hset("ep1:a:hash", "f", "v")
    for _ in range(2):
        assert dict(shared) == {"a": 1}
    assert caplog.text.count("'ep1:queue'") == 1
    assert "holds a list of another program" in caplog.text
    assert shared["a"] == 1
    with pytest.raises(DecodeError, match=r"'ep1:queue' .* holds a list"):
        shared["queue"]
    with pytest.raises(ConflictError):
        shared.backend.synchronous.commit([Put("ep1:queue", b"1", b"1")], timeout=T)
    shared["a"] = 2
    shared.clear()
    assert set(client.keys()) == {b"ep1:queue", b"ep1:a:hash"}
    assert caplog.records[0].levelno == logging.WARNING


def test_keys_that_are_no_text(shared: RemoteKVMapping, client: redis.Redis) -> None:
    client.set(b"ep1:\xff", "1")
    shared["a"] = 1
    assert dict(shared) == {"a": 1}
    client.set(b"ep1:\xfe", "1")
    assert dict(shared) == {"a": 1}


@pytest.mark.parametrize("sep", ["-", None])
def test_redis_json_dict_reads_and_writes_the_same(
    redis_url: str, client: redis.Redis, sep: str | None
) -> None:
    theirs = RedisJSONDict(client, prefix="xas-")
    entry_point = "xas-" if sep is None else "xas"
    with RemoteKVMapping(RedisBackend(redis_url), entry_point, sep=sep) as ours:
        theirs["user"] = {"name": "Ada", "visits": [1, 2]}
        assert ours["user"] == {"name": "Ada", "visits": [1, 2]}
        ours["user"]["visits"].append(3)
        assert theirs["user"]["visits"][2] == 3
        theirs["user"]["name"] = "Grace"
        ours["n"] = 1.5
        assert dict(ours) == {"n": 1.5, "user": {"name": "Grace", "visits": [1, 2, 3]}}
        assert {k: theirs[k] for k in theirs} == dict(ours)
        del theirs["n"]
        assert "n" not in ours
        ours.clear()
        assert list(theirs) == []


def test_glob_characters_are_letters(redis_url: str, client: redis.Redis) -> None:
    for entry_point in ("ep*", "ep[1]", "ep\\1", "ep?", "[^e]", "ep^-"):
        with (
            RemoteKVMapping(RedisBackend(redis_url), entry_point) as md,
            RemoteKVMapping(RedisBackend(redis_url), "ep1") as other,
        ):
            md["a*[b]?\\"] = 1
            other["a"] = 2
            client.set(f"{entry_point}:nested:x", "3")
            assert dict(md) == {"a*[b]?\\": 1, "nested": {"x": 3}}
            md.clear()
            assert dict(other) == {"a": 2}


def test_nested_keys_of_others_are_never_missed(
    shared: RemoteKVMapping, client: redis.Redis
) -> None:
    shared["a"] = 0
    for n in range(300):
        assert shared["a"] == n
        client.set(f"ep1:a:{n}", n)
        assert shared["a"] == {"_value": n, str(n): n}
        client.set(f"ep1:a:more{n}", n)
        shared["a"] = n + 1
        assert client.keys("ep1:a*") == [b"ep1:a"]


def test_what_a_mapping_costs_the_server(shared: RemoteKVMapping, client: redis.Redis) -> None:
    """One command each, however many keys there are: counted by the server itself."""
    client.mset({f"other:{n}": 1 for n in range(20_000)})
    shared["a"] = 1
    client.config_resetstat()
    for n in range(100):
        shared["a"] = n
        assert shared["a"] == n
    assert commands(client) == {"set": 100, "get": 100}
    client.config_resetstat()
    shared.update({f"k{n}": n for n in range(1000)})
    assert commands(client) == {"mset": 1}
    client.config_resetstat()
    assert len(dict(shared)) == 1001
    assert commands(client) == {"mget": 1, "echo": 1}


def test_an_idle_connection_leaves_nothing_waiting_in_the_server(
    shared: RemoteKVMapping, client: redis.Redis
) -> None:
    shared["a"] = 1
    index = shared.backend.synchronous._session.index
    for n in range(1000):
        client.set(f"ep1:k{n}", n)
    deadline = time.monotonic() + 10
    while not index.known("ep1:").under("ep1:k999") and time.monotonic() < deadline:
        threading.Event().wait(0.01)
    assert len(index.known("ep1:").keys) >= 1000
    assert index.changed is None  # only a watch collects them


def test_keys_that_come_and_go_do_not_fill_the_memory(
    shared: RemoteKVMapping, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kv_dict.backends.redis.index.SLACK", 100)
    shared["a"] = 1
    for n in range(1000):
        client.set(f"ep1:job:{n}", n)
        client.delete(f"ep1:job:{n}")
        assert shared["a"] == 1
    assert len(shared.backend.synchronous._session.index.known("ep1:").keys) < 200


def test_several_entry_points_of_one_backend(redis_url: str, client: redis.Redis) -> None:
    backend = RedisBackend(redis_url)
    mappings = {name: RemoteKVMapping(backend, name) for name in ("a", "b", "a:c", "")}
    for _ in range(2):
        for name, md in mappings.items():
            md["own"] = name
            client.set(f"{name}:own:x" if name else "own:x", "1")
            assert md["own"] == {"_value": name, "x": 1}
            md["own"] = 2
            assert md["own"] == 2
    for md in mappings.values():
        md.close()


# -- the watch -----------------------------------------------------------------------------------


def test_a_watch_is_repaired_and_tells_what_went_meanwhile(server: RedisServer) -> None:
    async def work() -> None:
        backend = RedisBackend(server.url)
        await backend.commit([Put("p:a", b"1"), Put("p:b", b"1")], timeout=T)
        async with Watching(backend, "p:") as watching:
            await watching.until_synced()
            await asyncio.to_thread(server.kill)
            await watching.until(lambda w: w.count(Stale) == 1, "stale")
            await asyncio.to_thread(server.start)
            await backend.commit([Delete("p:a"), Put("p:c", b"1")], timeout=T)
            await watching.until_state({"p:b": b"1", "p:c": b"1"})
            await watching.until_synced(2)
            assert watching.count(Stale) == 1
            server.freeze()
            await watching.until(lambda w: w.count(Stale) == 2, "stale again")
            server.thaw()
            await watching.until_synced(3)
            await backend.commit([Put("p:d", b"1")], timeout=T)
            await watching.until_state({"p:b": b"1", "p:c": b"1", "p:d": b"1"})
        await backend.close()

    asyncio.run(work())


def test_a_watch_begins_before_its_server(server: RedisServer) -> None:
    server.kill()

    async def work() -> None:
        backend = RedisBackend(server.url)
        async with Watching(backend, "") as watching:
            await watching.until(lambda w: w.count(Stale) == 1, "stale")
            await asyncio.to_thread(server.start)
            await watching.until_synced()
        await backend.close()

    asyncio.run(work())


def test_a_watch_sees_expiry_flush_rename_and_scripts(redis_url: str, client: redis.Redis) -> None:
    async def work() -> None:
        backend = RedisBackend(redis_url)
        async with Watching(backend, "p:") as watching:
            await watching.until_synced()
            client.set("p:a", "1", px=50)
            await watching.until(lambda w: "p:a" in w.state, "a put")
            await watching.until_state({})
            client.set("x", "1")
            client.rename("x", "p:b")
            client.eval("redis.call('APPEND', KEYS[1], 'z')", 1, "p:c")
            await watching.until_state({"p:b": b"1", "p:c": b"z"})
            client.flushdb()
            await watching.until_state({})
            client.set("p:d", "1")
            await watching.until_state({"p:d": b"1"})
            client.delete("p:d")
            client.rpush("p:d", "1")
            await watching.until_state({})
            assert watching.count(Stale) == 0
        await backend.close()

    asyncio.run(work())


def test_a_watch_of_a_wrong_password_says_so(tmp_path: Path) -> None:
    async def work(url: str) -> None:
        backend = RedisBackend(url)
        async with aclosing(backend.watch("")) as events:
            with pytest.raises(ConfigurationError):
                await anext(events)

    with RedisServer(tmp_path / "server", "--requirepass", "x") as server:
        asyncio.run(work(server.url))


# -- URLs and clients ----------------------------------------------------------------------------


def test_a_unix_socket_and_a_client(server: RedisServer) -> None:
    with open_mapping(f"unix://{server.socket_path}?db=1", entry_point="ep1") as md:
        md["a"] = 1
        assert md.backend.url == f"unix://{server.socket_path}?db=1"
    with redis.Redis(port=server.port, db=1, decode_responses=True) as client:
        backend = RedisBackend(client=client)
        with RemoteKVMapping(backend, "ep1") as md:
            assert md["a"] == 1
        assert client.get("ep1:a") == "1"
        with pytest.raises(TypeError, match="cannot be pickled"):
            pickle.dumps(backend)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("redis://h:port", "the port is no number"),
        ("redis://h:65536", "no number up to 65535"),
        ("redis://:hush@h/x", "the database is a number"),
        ("redis://h?password=hush", "has no option 'password'"),
        ("redis://h?db=1&db=hush", "given twice"),
        ("redis://h/1?db=2", "given twice"),
        ("redis://h?ca_file=/x", "TLS is for rediss"),
        ("rediss://h?ca_file=/no/such", "is no file"),
        ("rediss://h?cert_file=/dev/null", "is no file"),
        ("redis://:hush@h?password_file=/x", "choose one"),
        ("redis://user@h", "needs a password"),
        ("unix://", "needs the path"),
        ("http://h", "starts with one of redis://"),
    ],
)
def test_urls_that_cannot_work(url: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says) as caught:
        RedisBackend(url)
    assert "hush" not in str(caught.value)


def test_what_is_shown_of_a_url() -> None:
    shown = {
        "redis://h": "redis://h:6379/0",
        "redis://u:p%40@h/2": "redis://u:***@h:6379/2",
        "redis://[::1]:7000": "redis://[::1]:7000/0",
        "redis://u@h?password_file=/run/pw": "redis://u@h:6379/0?password_file=/run/pw",
    }
    for url, expected in shown.items():
        assert RedisBackend(url).url == expected


def test_replies_in_any_pieces() -> None:
    wire = (
        b"*3\r\n$1\r\na\r\n$-1\r\n:5\r\n>2\r\n+invalidate\r\n*1\r\n$3\r\nk\r\n\r\n"
        b"%1\r\n+x\r\n*0\r\n-ERR no\r\n_\r\n#t\r\n,1.5\r\n"
    )
    expected = [[b"a", None, 5], [b"invalidate", [b"k\r\n"]], {b"x": []}, "ERR no", None, True, 1.5]
    for size in (1, 2, 7, len(wire)):
        reader, replies = Reader(), []
        for at in range(0, len(wire), size):
            reader.feed(wire[at : at + size])
            while (reply := reader.next()) is not NOTHING:
                replies.append(reply)
        assert replies == expected
        assert isinstance(replies[1], Push)
        assert isinstance(replies[3], ErrorReply)


def test_a_missing_driver_is_named() -> None:
    program = (
        "import sys; sys.modules['redis'] = None\n"
        "from kv_dict import ConfigurationError, RedisBackend, open_mapping\n"
        "for use in (RedisBackend, lambda: open_mapping('redis://h')):\n"
        "    try:\n"
        "        use()\n"
        "    except ConfigurationError as error:\n"
        "        print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.count("pip install 'kv-dict[redis]'") == 2, done.stderr


# -- TLS -----------------------------------------------------------------------------------------


@pytest.fixture
def tls_port(tls_context: ssl.SSLContext, client: redis.Redis) -> Iterator[int]:
    """A port that speaks TLS in front of the server, and asks for a client's certificate."""
    with FaultProxy(client.connection_pool.connection_kwargs["port"], tls_context) as proxy:
        yield proxy.port


def test_tls(certificates: Path, tls_port: int, redis_url: str) -> None:
    ours = f"cert_file={certificates}/client.pem&key_file={certificates}/client.key"
    authority = f"ca_file={certificates}/ca.pem"
    with RemoteKVMapping(
        RedisBackend(f"rediss://localhost:{tls_port}/0?{authority}&{ours}"), "ep1"
    ) as md:
        md["a"] = "x" * 3_000_000
        assert md["a"] == "x" * 3_000_000
        md.update({f"k{n}": n for n in range(1000)})
        assert len(dict(md)) == 1001
    for url, says in (
        (f"rediss://localhost:{tls_port}/0?{ours}", "not trusted"),
        (f"rediss://127.0.0.1:{tls_port}/0?{authority}&{ours}", "not trusted"),  # not its name
    ):
        with (
            RemoteKVMapping(RedisBackend(url), "ep1", timeout=2) as md,
            pytest.raises(ConfigurationError, match=says),
        ):
            md["a"]
    for url in (
        f"redis://localhost:{tls_port}/0",  # never TLS where it was not asked for, nor without it
        f"{redis_url.replace('redis:', 'rediss:')}?{authority}",
        f"rediss://localhost:{tls_port}/0?{authority}",  # the server wants a certificate
    ):
        with (
            RemoteKVMapping(RedisBackend(url), "ep1", timeout=1) as md,
            pytest.raises((ConfigurationError, Unavailable)),
        ):
            md["a"]


def test_a_watch_over_tls(certificates: Path, tls_port: int, client: redis.Redis) -> None:
    async def work() -> None:
        backend = RedisBackend(
            f"rediss://localhost:{tls_port}/0?ca_file={certificates}/ca.pem"
            f"&cert_file={certificates}/client.pem&key_file={certificates}/client.key"
        )
        async with Watching(backend, "p:") as watching:
            await watching.until_synced()
            for n in range(20):
                client.set("p:a", n)
                await watching.until_state({"p:a": str(n).encode()})
            client.mset({f"p:{n}": "x" * 5000 for n in range(200)})
            await watching.until(lambda w: len(w.state) == 201, "all")
        await backend.close()

    asyncio.run(work())
