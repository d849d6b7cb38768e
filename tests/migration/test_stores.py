"""From stores: redis-json-dict, kv-dict 0.1.7, and every kind of store of this version."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import math
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nats
import numpy as np
import pytest
import redis
from redis_json_dict import RedisJSONDict

from kv_dict import (
    ConfigurationError,
    EncodeError,
    InMemoryAsyncBackend,
    KVDictError,
    RemoteKVMapping,
    SQLiteBackend,
    Unavailable,
    open_mapping,
)
from kv_dict.backends import open_backend
from kv_dict.migration import Report, migrate, prepare
from kv_dict.migration.comparing import same
from kv_dict.testing.proxy import FaultProxy
from kv_dict.testing.raw.postgres import Elsewhere
from kv_dict.testing.servers import RedisServer, free_port

Read = Callable[..., dict[str, Any]]
VALUES: dict[str, Any] = {
    "null": None,
    "true": True,
    "int": -7,
    "uint64": 2**64 - 1,
    "whole-float": 1.0,
    "negative-zero": -0.0,
    "unicode": 'Å 中文 \U0001f600 \x00 " \\',
    "list": [1, "two", None, [3.5, {"x": []}]],
    "dict": {"b": 1, "a": {"c": [1, {"d": None}]}, "": {"é:*": True}},
}

# Every key of a store, its exact content and what the server knows of it.
State = Callable[[], Any]


@pytest.fixture
def redis_state(client: redis.Redis) -> State:
    def state() -> dict[bytes, tuple[Any, Any]]:
        return {key: (client.dump(key), client.pexpiretime(key)) for key in client.scan_iter()}

    return state


@pytest.fixture
def postgres_state(sql: Elsewhere, table: str) -> State:
    def state() -> Any:
        rows = sql.fetch(f"SELECT xmin::text, ctid::text, k, v::text FROM {table} ORDER BY k")
        columns = sql.fetch(
            "SELECT attname, atttypid::regtype::text FROM pg_attribute "
            "WHERE attrelid = $1::text::regclass AND attnum > 0", table
        )  # fmt: skip
        beside = sql.fetch("SELECT relname FROM pg_class WHERE relname LIKE $1", f"{table}%")
        return [[tuple(row) for row in found] for found in (rows, columns, beside)]

    return state


@pytest.fixture
def nats_state(nats_url: str, bucket: str) -> State:
    async def ask() -> Any:
        client = await nats.connect(nats_url)
        answer = await client.request(f"$JS.API.STREAM.INFO.KV_{bucket}", b"")
        await client.close()
        info = json.loads(answer.data)
        return info["config"], info["created"], info["state"]

    return lambda: asyncio.run(ask())


# -- redis-json-dict -------------------------------------------------------------------------------


@pytest.fixture
def source(redis_url: str) -> str:
    return f"{redis_url}?prefix=xas-"


def test_redis_json_dict(
    client: redis.Redis, redis_state: State, source: str, url: str, destination: Read
) -> None:
    theirs = RedisJSONDict(client, "xas-")
    theirs.update(VALUES | {"a:b/c *": 1, "": 2, "array": np.arange(3)})
    client.set("other", "not JSON")
    client.set("xas-going", '"soon"', px=600_000)
    before = redis_state()
    total = len(theirs)
    assert migrate(source, url) == Report(read=total, written=total, verified=total)
    expected = VALUES | {"a:b/c *": 1, "": 2, "array": [0, 1, 2], "going": "soon"}
    assert same(destination(), expected)
    assert migrate(source, url) == Report(read=total, equal=total, verified=total)
    assert redis_state() == before


def test_nulls_of_redis_json_dict_are_told(client: redis.Redis, source: str, url: str) -> None:
    RedisJSONDict(client, "xas-").update({"x": math.nan, "y": {"z": [1, math.inf]}, "n": 1})
    (note,) = prepare(source, url).plan.notes
    assert "md['x'], md['y']['z'][1]:" in note
    assert "NaN" in note


def test_keys_of_other_programs_are_told_each_time(
    client: redis.Redis, redis_state: State, source: str, url: str, destination: Read
) -> None:
    RedisJSONDict(client, "xas-")["fine"] = 1
    client.rpush("xas-queue", "x")
    client.hset("xas-hash", "field", "x")
    client.set("xas-text", "not JSON")
    client.set(b"xas-\xff", "1")
    before = redis_state()
    for _ in range(2):
        told = {item.key: item.reason for item in prepare(source, url).plan.unusable}
        assert told.keys() == {"xas-queue", "xas-hash", "text", repr(b"xas-\xff")}
        assert "is a list of another program" in told["xas-queue"]
        assert "not JSON" in told["text"]
        with pytest.raises(EncodeError, match="4 of 5 items"):
            migrate(source, url)
    assert migrate(source, url, skip_unusable=True).skipped == 4
    assert destination() == {"fine": 1}
    assert redis_state() == before


def test_a_key_of_another_program_in_the_destination(
    client: redis.Redis, redis_url: str, tmp_path: Path
) -> None:
    path = tmp_path / "md.json"
    path.write_text('{"queue": 1, "free": 2}')
    client.rpush("md:queue", "x")
    (item,) = prepare(path, redis_url, existing="overwrite").plan.unusable
    assert item.key == "queue"
    assert item.reason.startswith("md['queue'] has no room: in the destination it is a list of")
    assert migrate(path, redis_url, skip_unusable=True).written == 1
    assert client.lrange("md:queue", 0, -1) == [b"x"]


def test_a_prefix_is_needed_and_may_be_empty(
    client: redis.Redis, redis_url: str, url: str, destination: Read
) -> None:
    RedisJSONDict(client, "").update({"a": 1})
    with pytest.raises(ConfigurationError, match="say which: --from redis-json-dict"):
        migrate(redis_url, url)
    with pytest.raises(ConfigurationError, match=r"name it.*\?prefix=xas-"):
        migrate(redis_url, url, kind="redis-json-dict")
    assert migrate(f"{redis_url}?prefix=", url).written == 1
    assert destination() == {"a": 1}


@pytest.mark.parametrize("count", [0, 1, 5000])
def test_sizes(client: redis.Redis, source: str, url: str, count: int) -> None:
    RedisJSONDict(client, "xas-").update({f"k{n}": {"n": n} for n in range(count)})
    assert migrate(source, url) == Report(read=count, written=count, verified=count)
    assert migrate(source, url) == Report(read=count, equal=count, verified=count)


def test_within_one_database_to_another_prefix(client: redis.Redis, redis_url: str) -> None:
    RedisJSONDict(client, "xas-").update(VALUES)
    migrate(f"{redis_url}?prefix=xas-", redis_url, entry_point="xas")
    with RemoteKVMapping(open_backend(redis_url), "xas") as md:
        assert same(md.copy(), VALUES)


# -- kv-dict 0.1.7 ---------------------------------------------------------------------------------


def test_old_kv_dict_on_redis(
    client: redis.Redis,
    redis_url: str,
    redis_state: State,
    old_kv_dict: Callable[..., None],
    url: str,
    destination: Read,
) -> None:
    old_kv_dict(["open", "RedisBackend", redis_url, {}, ":"], ["update", VALUES])
    client.set("ep1:main", "5")
    client.set("ep1:main:sup1", '{"x": 1}')
    before = redis_state()
    report = migrate(redis_url, url, from_entry_point="ep1")
    assert report.verified == len(VALUES) + 1
    assert same(destination(), VALUES | {"main": {"_value": 5, "sup1": {"x": 1}}})
    assert redis_state() == before


def test_another_separator(
    client: redis.Redis, redis_url: str, url: str, destination: Read
) -> None:
    client.set("ep1/main/sup1", "1")
    migrate(redis_url, url, from_entry_point="ep1", from_separator="/")
    assert destination() == {"main": {"sup1": 1}}


def test_old_kv_dict_on_postgres(
    postgres_url: str,
    table: str,
    postgres_state: State,
    old_kv_dict: Callable[..., None],
    url: str,
    destination: Read,
) -> None:
    values = {key: value for key, value in VALUES.items() if key != "unicode"}  # it has a NUL
    options = {"table": table, "create_table": True}
    old_kv_dict(["open", "PostgresBackend", postgres_url, options, ":"], ["update", values])
    before = postgres_state()
    origin = f"{postgres_url}{'&' if '?' in postgres_url else '?'}table={table}"
    assert migrate(origin, url, from_entry_point="ep1").verified == len(values)
    found = destination()
    # Its column is jsonb, which has no negative zero, and sorts the keys of objects.
    assert same(found | {"negative-zero": -0.0}, values)
    with pytest.raises(ConfigurationError, match="a source is only read"):
        migrate(f"{origin}&create_table=true", url, from_entry_point="ep1")
    assert postgres_state() == before


def test_old_kv_dict_on_nats(
    nats_url: str,
    bucket: str,
    nats_state: State,
    old_kv_dict: Callable[..., None],
    url: str,
    destination: Read,
) -> None:
    options = {"bucket": bucket, "create_bucket": True}
    old_kv_dict(["open", "NatsBackend", nats_url, options, "."], ["update", VALUES])
    before = nats_state()
    report = migrate(f"{nats_url}?bucket={bucket}", url, from_entry_point="ep1")
    assert report.verified == len(VALUES)
    assert same(destination(), VALUES)
    assert nats_state() == before


# -- stores of this version ------------------------------------------------------------------------

RICH: dict[str, Any] = VALUES | {
    "array": np.arange(4.0),
    "when": dt.datetime(2026, 11, 23, 9, 30),  # noqa: DTZ001
    "set": {1, 2},
    "nan": math.nan,
    "a:b": {"c:d": 1},
}


@pytest.fixture(params=["sqlite", "redis", "postgres", "nats"])
def any_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty store that is made when it is first written to."""
    if request.param == "sqlite":
        yield f"sqlite://{tmp_path}/any.db"
    elif request.param == "redis":
        request.getfixturevalue("client")
        yield request.getfixturevalue("redis_url")
    elif request.param == "postgres":
        base, name = (request.getfixturevalue(n) for n in ("postgres_url", "table"))
        yield f"{base}{'&' if '?' in base else '?'}table={name}&create_table=true"
    else:
        base, name = (request.getfixturevalue(n) for n in ("nats_url", "bucket"))
        yield f"{base}?bucket={name}&create_bucket=true"


def without_making(url: str) -> str:
    return url.replace("&create_table=true", "").replace("&create_bucket=true", "")


def test_into_each_store_and_out_of_it(
    any_store: str, tmp_path: Path, url: str, destination: Read
) -> None:
    start = tmp_path / "start.db"
    with RemoteKVMapping(SQLiteBackend(start), "ep1") as md:
        md.update(RICH)
    options: dict[str, Any] = {"from_entry_point": "ep1", "entry_point": "bl"}
    total = len(RICH)
    plan = prepare(str(start), any_store, **options).plan
    assert plan.add.keys() == RICH.keys()
    assert not plan.conversions
    if "=true" in any_store:  # to look made nothing
        with pytest.raises(ConfigurationError, match="there is no"):
            prepare(str(start), without_making(any_store), **options)
    assert migrate(start, any_store, **options) == Report(total, written=total, verified=total)
    assert migrate(start, any_store, **options) == Report(total, equal=total, verified=total)
    assert migrate(without_making(any_store), url, kind="kv-dict", from_entry_point="bl").written
    assert same(destination(), RICH)


def test_5000_keys_into_each_store(any_store: str, tmp_path: Path) -> None:
    items = {f"key {n}": {"n": n} for n in range(5000)}
    path = tmp_path / "many.json"
    path.write_text(json.dumps(items))
    assert migrate(path, any_store).verified == 5000
    assert migrate(path, any_store) == Report(read=5000, equal=5000, verified=5000)


def test_all_entry_points_keep_their_layout(
    client: redis.Redis, redis_url: str, redis_state: State, url: str
) -> None:
    stored = {"ep1:a": b"1", "ep1:main:sup1": b'{"x":1}', "bl:xas:b": b"[2]", "alone": b'"x"'}
    client.mset(stored)
    before = redis_state()
    report = migrate(redis_url, url, all_entry_points=True)
    assert report == Report(read=4, written=4, verified=4)
    with sqlite3.connect(url.removeprefix("sqlite://")) as database:
        found = dict(database.execute("SELECT key, value FROM entries"))
    database.close()
    assert found == {key: value.decode() for key, value in stored.items()}
    assert redis_state() == before


def test_an_empty_scope_tells_what_there_is(client: redis.Redis, redis_url: str, url: str) -> None:
    client.mset({"ep1:a": "1", "xas:b": "2"})
    migration = prepare(redis_url, url, kind="kv-dict")
    assert migration.plan.read == 0
    assert migration.plan.notes == ["nothing is stored there; there is: ep1, xas"]
    assert migration.run() == Report()


def beside(path: Path) -> dict[str, Any]:
    return {
        p.name: (p.stat().st_ino, p.stat().st_mtime_ns, p.read_bytes())
        for p in path.parent.iterdir()
        if p.name.startswith(path.name) and not p.name.endswith("-shm")  # SQLite's locks
    }


@pytest.mark.parametrize("state", ["closed", "open", "killed"])
def test_a_sqlite_source_is_not_touched(
    tmp_path: Path, url: str, destination: Read, state: str
) -> None:
    path = tmp_path / "source #1%.db"
    with RemoteKVMapping(SQLiteBackend(path), "md") as md:
        md.update(VALUES)
        if state == "killed":
            copy = tmp_path / "copy" / "source.db"
            copy.parent.mkdir()
            for name in ("", "-wal"):
                shutil.copy(f"{path}{name}", f"{copy}{name}")
            path = copy
        elif state == "open":
            before = beside(path)
            assert len(before) == 2
            assert migrate(path, url).verified == len(VALUES)
            assert beside(path) == before
    if state != "open":
        before = beside(path)
        assert migrate(path, url).verified == len(VALUES)
        assert beside(path) == before
    assert same(destination(), VALUES)


@pytest.mark.parametrize("content", [b"", b"SQLite format 3\0 and no more of it", None])
def test_sqlite_sources_that_are_none(tmp_path: Path, url: str, content: bytes | None) -> None:
    path = tmp_path / "source.db"
    if content is None:
        with sqlite3.connect(path) as database:
            database.execute("CREATE TABLE other (x)")
        database.close()
    else:
        path.write_bytes(content)
    before = path.read_bytes()
    with pytest.raises(KVDictError, match=r"is empty|not a SQLite database|not a store of kv-dict"):
        migrate(f"sqlite://{path}", url)
    assert path.read_bytes() == before
    with pytest.raises(ConfigurationError, match="there is no file"):
        migrate(f"sqlite://{tmp_path}/missing.db", url)
    assert not (tmp_path / "missing.db").exists()


# -- the destination is the source -----------------------------------------------------------------


def test_a_file_into_itself(tmp_path: Path) -> None:
    path = tmp_path / "md.db"
    with RemoteKVMapping(SQLiteBackend(path), "md") as md:
        md["a"] = 1
    (tmp_path / "link.db").symlink_to(path)
    for target in (path, tmp_path / "link.db"):
        with pytest.raises(ConfigurationError, match="is a part of the source"):
            migrate(path, f"sqlite://{target}")
    assert migrate(path, f"sqlite://{path}", entry_point="other").written == 1


@pytest.mark.parametrize("prefix", ["", "m", "md:", "md:sub"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST"])
def test_a_server_into_itself(redis_url: str, prefix: str, host: str) -> None:
    source = f"{redis_url}?prefix={prefix}"
    with pytest.raises(ConfigurationError, match="is a part of the source"):
        migrate(source, redis_url.replace("127.0.0.1", host))


@pytest.mark.parametrize(
    ("one", "other", "refused"),
    [
        ("postgresql://h/db", "postgres://ada@h:5432/db?table=kv_store", True),
        ("postgresql://h/db", "postgresql://h/db?table=other", False),
        ("postgresql://h/db", "postgresql://h/db2", False),
        ("nats://h", "nats://user:pw@h:4222/?bucket=kv_dict", True),
        ("nats://h", "nats://h/?bucket=other", False),
        ("nats://127.0.0.1", "nats://192.0.2.2", False),
        ("nats://192.0.2.1,192.0.2.2", "nats://192.0.2.2", True),
    ],
)
def test_which_addresses_are_the_same(one: str, other: str, refused: bool) -> None:
    from kv_dict.migration.places import Place

    here, there = Place.of(one), Place.of(other)
    assert here.overlaps(there) == there.overlaps(here) == refused
    assert not here.overlaps(Place.of(other, "elsewhere"))


# -- sources and destinations that cannot be used --------------------------------------------------


def test_a_source_that_is_down(url: str) -> None:
    where = f"127.0.0.1:{free_port()}"
    for source in (f"redis://{where}/0?prefix=x", f"postgresql://{where}/db", f"nats://{where}"):
        with pytest.raises(Unavailable):
            migrate(source, url, timeout=1)
    assert not Path(url.removeprefix("sqlite://")).exists()


def test_a_source_that_does_not_answer(redis_url: str, url: str) -> None:
    with FaultProxy(int(redis_url.rpartition(":")[2].partition("/")[0])) as proxy:
        proxy.black_hole()
        with pytest.raises(Unavailable):
            migrate(f"redis://127.0.0.1:{proxy.port}/0?prefix=x", url, timeout=0.5)


def test_a_wrong_password(tmp_path: Path, url: str) -> None:
    with RedisServer(tmp_path, "--requirepass", "hush") as server:
        wrong = server.url.replace("redis://", "redis://:not-it@")
        with pytest.raises(ConfigurationError) as caught:
            migrate(f"{wrong}?prefix=x", url)
        right = server.url.replace("redis://", "redis://:hush@")
        with redis.Redis.from_url(right) as client:
            client.set("x-a", "1")
        migration = prepare(f"{right}?prefix=x-", right, entry_point="md")
        migration.run()
    for text in (str(caught.value), migration.source.name, str(migration.destination)):
        assert "not-it" not in text
        assert "hush" not in text


@pytest.mark.parametrize(
    ("source", "to", "options", "said"),
    [
        ("redis://h/0?prefix=x", "memory://", {}, "new, empty store"),
        ("memory://", "sqlite:x.db", {}, "new, empty store"),
        ("redis://h/0?prefix=x", "nobody", {}, "is not a URL, and no profile has that name"),
        ("redis://h/0?prefix=x", "md.db", {}, "that of a file is 'sqlite:md.db'"),
        ("sqlite:.", "sqlite:x.db", {}, "is a folder; name a file in it"),
        ("redis://h/0?prefix=x", "sqlite:no/folder/x.db", {"kind": "json"}, "for a file or folder"),
        ("redis://h/0?prefix=x", "rediss:///", {"kind": "other"}, "no kind of source"),
        ("sqlite:x.db", "sqlite:y.db", {"kind": "redis-json-dict"}, "keeps its keys in Redis"),
        ("foo://u:hush@h", "sqlite:y.db", {}, "begins with 'foo'"),
        ("redis://h/0?prefix=x", "foo://u:hush@h", {}, "no backend for .foo."),
        ("redis://h/0?prefix=x", "redis://[::1", {}, "malformed"),
        ("redis://h", "sqlite:y.db", {"all_entry_points": True, "entry_point": "x"}, "either all"),
        ("redis://h", "sqlite:y.db", {"existing": "merge"}, "one of refuse, overwrite, keep"),
        ("nats://h", "sqlite:y.db", {"from_separator": "%"}, "cannot separate keys"),
        ("nats://h/?create_bucket=true", "sqlite:y.db", {}, "only read"),
        ("nats://h/?colour=red", "sqlite:y.db", {}, "no option 'colour'"),
    ],
)
def test_what_cannot_be_meant(source: str, to: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said) as caught:
        migrate(source, to, **options)
    assert "hush" not in str(caught.value)


def test_what_is_no_text() -> None:
    with pytest.raises(TypeError, match="a URL or a path"):
        migrate(b"md.json", "sqlite:x.db")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="named by a URL"):
        migrate("redis://h/0?prefix=x", InMemoryAsyncBackend())  # type: ignore[arg-type]


def test_importing_it_imports_no_driver() -> None:
    program = (
        "import sys, kv_dict.migration; "
        "heavy = {'sqlite3', 'redis', 'nats', 'asyncpg', 'numpy', 'bluesky', 'yaml', 'msgpack',"
        " 'rich', 'asyncio'} & set(sys.modules); sys.exit(', '.join(heavy) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_profiles_are_places_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "kv_dict.toml").write_text(
        '[profiles.old]\nurl = "sqlite:old.db"\nentry_point = "xas-"\nseparator = false\n'
        '[profiles.new]\nurl = "sqlite:new.db"\nentry_point = "xas"\n'
    )
    monkeypatch.chdir(tmp_path)
    with open_mapping("old") as md:
        md["sample"] = "Fe2O3"
    report = migrate("old", "new", kind="kv-dict")
    assert (report.written, report.verified) == (1, 1)
    with open_mapping("new") as md:
        assert dict(md) == {"sample": "Fe2O3"}
        assert md.entry_point == "xas"
