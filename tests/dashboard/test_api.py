"""What programs can ask for, and what they are told."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import threading
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest

import kv_dict.dashboard.events
from kv_dict import RemoteKVMapping, SQLiteBackend, open_mapping
from kv_dict.dashboard import Dashboard, Layout, Source
from kv_dict.model import Put
from kv_dict.testing.servers.redis import RedisServer


def keys(client: Any) -> dict[str, Any]:
    items = client.json("/api/keys")["items"]
    return {item["key"]: item for item in items if item.get("part") == "metadata"}


def write_raw(path: Path, key: str, value: bytes) -> None:
    """Write as another program would, past the mapping."""

    async def write() -> None:
        backend = SQLiteBackend(path)
        await backend.commit([Put(key, value)], timeout=5)
        await backend.close()

    asyncio.run(write())


# -- events ---------------------------------------------------------------------------------------


def test_a_stream_begins_with_what_is_there_and_goes_on_with_changes(
    md: RemoteKVMapping, serve: Any
) -> None:
    md.update(sample="Fe2O3", scan_id=1)
    events = serve().until_live().events()
    kind, whole = events.next()
    assert kind == "snapshot"
    there = {item["key"]: item for item in whole["items"] if "key" in item}
    assert there["sample"] | {"time": None, "revision": None} == {
        "source": "xas",
        "part": "metadata",
        "key": "sample",
        "value": "Fe2O3",
        "count": 0,
        "time": None,
        "revision": None,
    }
    assert there["sample"]["time"] > 1e9
    health = next(item["health"] for item in whole["items"] if "health" in item)
    assert health["state"] == "live"
    assert health["entry_point"] == "xas"
    md["scan_id"] = 2
    kind, (item,) = events.next()
    assert kind == "changes"
    assert (item["key"], item["value"], item["count"]) == ("scan_id", 2, 1)
    del md["sample"]
    item = events.until(lambda item: item["key"] == "sample")
    assert item["gone"]
    events.close()


def test_a_reader_goes_on_where_it_was(md: RemoteKVMapping, serve: Any) -> None:
    client = serve().until_live()
    first = client.events()
    md.update(a=1, b=1)
    first.until(lambda item: item.get("key") == "b")
    first.close()
    md["a"] = 2
    del md["b"]
    for how in ("since", "header"):
        again = (
            client.events(since=first.id)
            if how == "since"
            else client.events(**{"Last-Event-ID": first.id})
        )
        seen: dict[str, Any] = {}
        for item in again.items():
            seen[item["key"]] = item
            if len(seen) == 2:
                break
        assert again.id.startswith(first.id.partition("-")[0])
        assert seen["a"]["value"] == 2
        assert seen["b"]["gone"]
        again.close()


@pytest.mark.parametrize(
    "strange", ["0-1", "nonsense", "-", "ffffffff-99999999999999999999", "a-b"]
)
def test_a_strange_id_gets_everything(md: RemoteKVMapping, serve: Any, strange: str) -> None:
    md["a"] = 1
    events = serve().until_live().events(since=strange)
    assert events.next()[0] == "snapshot"
    events.close()


def test_beats_tell_that_silence_is_no_outage(serve: Any) -> None:
    events = serve().until_live().events()
    assert events.any()[0] == "snapshot"
    kind, data = events.any()
    assert kind == "beat"
    assert data["time"] > 1e9
    events.close()


def test_nested_and_unusual_values_arrive_as_they_are_stored(
    md: RemoteKVMapping, serve: Any
) -> None:
    md["nested"] = {"b": [1, {"c": None}], "a": True}
    md["nan"] = float("nan")
    md["when"] = datetime(2026, 11, 23)  # noqa: DTZ001
    md["array"] = np.arange(3)
    md["big"] = 2**80
    client = serve().until_live()
    text = client.ask("/api/keys").body.decode()
    assert '"value":{"b":[1,{"c":null}],"a":true}' in text
    there = keys(client)
    assert there["nan"]["value"] == {"$kv:float": "nan"}
    assert there["when"]["value"] == {"$kv:datetime": "2026-11-23T00:00:00"}
    assert "$kv:ndarray" in there["array"]["value"]
    assert "$kv:int" in there["big"]["value"]


def test_a_nested_change_is_one_change(md: RemoteKVMapping, serve: Any) -> None:
    md["sample"] = {"name": "Fe2O3", "layers": [1]}
    events = serve().until_live().events()
    md["sample"]["layers"].append(2)
    item = events.until(lambda item: item.get("count") == 1)
    assert item["value"] == {"name": "Fe2O3", "layers": [1, 2]}
    events.close()


def test_what_is_large_is_sent_when_it_is_asked_for(md: RemoteKVMapping, serve: Any) -> None:
    md["large"] = {"text": "é" * 500_000}
    client = serve().until_live()
    item = keys(client)["large"]
    assert "value" not in item
    assert item["size"] > 1_000_000
    assert item["preview"].startswith('{"text":"é')
    assert len(client.ask("/api/keys").body) < 5000
    assert client.json("/api/value?key=large") == {"text": "é" * 500_000}


def test_the_feed_tells_what_was_before(md: RemoteKVMapping, serve: Any) -> None:
    md["a"] = 1
    client = serve().until_live()
    events = client.events()
    md["a"] = 2
    events.until(lambda item: item.get("value") == 2)
    md["a"] = "x" * 1000
    events.until(lambda item: "x" in str(item.get("value")))
    del md["a"]
    events.until(lambda item: item.get("gone"))
    first, second, third = client.json("/api/feed")["changes"]
    assert (first["value"], first["previous"]) == (2, {"value": 1})
    assert second["preview"] == '"' + "x" * 199
    assert third["gone"]
    assert third["previous"]["size"] == 1002
    events.close()


def test_history_is_of_the_store_and_of_what_was_seen(md: RemoteKVMapping, serve: Any) -> None:
    client = serve(history=8).until_live()
    events = client.events()
    for energy in (7.1, 7.2, 7.3):
        md["energy"] = energy
        events.until(lambda item, energy=energy: item.get("value") == energy)
    told = client.json("/api/history?key=energy")
    assert told["kept_by_store"]
    assert [one["value"] for one in told["stored"]] == [7.1, 7.2, 7.3]
    assert [one["value"] for one in told["seen"]] == [7.1, 7.2, 7.3]
    del md["energy"]
    events.until(lambda item: item.get("gone"))
    assert client.json("/api/history?key=energy")["seen"][-1]["gone"]
    events.close()


def test_a_store_without_history_has_what_was_seen(md: RemoteKVMapping, serve: Any) -> None:
    client = serve().until_live()
    events = client.events()
    md["a"] = 1
    events.until(lambda item: item.get("key") == "a")
    told = client.json("/api/history?key=a")
    assert not told["kept_by_store"]
    assert [one["value"] for one in told["seen"]] == [1]
    events.close()


# -- sources --------------------------------------------------------------------------------------


def test_several_entry_points_and_their_companions(
    opened: Callable[..., RemoteKVMapping], serve: Any
) -> None:
    opened("xas")["a"] = 1
    opened("xrd")["a"] = 2
    opened("xas@status")["state"] = "running"
    opened("xas@presence")["alice"] = {"host": "ws1"}
    opened("xas@baton")["holder"] = "alice"
    client = serve(("xas", "xrd")).until_live()
    items = client.json("/api/keys")["items"]
    there = {(i["source"], i["part"], i["key"]): i["value"] for i in items if "key" in i}
    assert there == {
        ("xas", "metadata", "a"): 1,
        ("xrd", "metadata", "a"): 2,
        ("xas", "status", "state"): "running",
        ("xas", "presence", "alice"): {"host": "ws1"},
        ("xas", "baton", "holder"): "alice",
    }
    assert client.json("/api/value?source=xrd&key=a") == 2
    missing = client.ask("/api/value?key=a")
    assert missing.status == 404
    assert "xas, xrd" in missing.json()["error"]


def test_sources_say_what_they_are(serve: Any, store_path: Path) -> None:
    client = serve(layout=Layout(title="XAS")).until_live()
    (source,) = client.json("/api/sources")["sources"]
    assert source["name"] == "xas"
    assert source["layout"]["title"] == "XAS"
    assert source["url"] == f"sqlite://{store_path}"


def test_hidden_keys_never_leave_the_process(md: RemoteKVMapping, serve: Any) -> None:
    md.update(smtp_password="hunter2", sample="x")
    client = serve(layout=Layout(hide=("*password*",))).until_live()
    events = client.events()
    md["smtp_password"] = "hunter3"
    md["sample"] = "y"
    events.until(lambda item: item.get("value") == "y")
    assert list(keys(client)) == ["sample"]
    for path in ("/api/keys", "/api/feed", "/api/sources", "/metrics"):
        body = client.ask(path).body
        assert b"hunter" not in body
        assert b"smtp" not in body
    for path in ("/api/value?key=smtp_password", "/api/history?key=smtp_password"):
        assert client.ask(path).status == 404
    events.close()


def test_what_cannot_be_decoded_is_left_out(
    md: RemoteKVMapping, serve: Any, store_path: Path
) -> None:
    md["good"] = 1
    write_raw(store_path, "xas:bad", b"\xff\xfe")
    write_raw(store_path, "xas:deep", b"[" * 10_000 + b"]" * 10_000)
    write_raw(store_path, "xas:rather_deep", b"[" * 190 + b"]" * 190)
    client = serve().until_live()
    there = keys(client)
    assert set(there) == {"good", "rather_deep"}
    assert "nested" in there["rather_deep"]["value"]["$kv:unreadable"]
    assert client.ask("/api/value?key=bad").status == 422
    assert client.ask("/api/value?key=deep").status == 422


def test_the_store_is_away_and_back(md: RemoteKVMapping, serve: Any, store_path: Path) -> None:
    md["a"] = 1
    client = serve().until_live()
    events = client.events()
    elsewhere = store_path.parent.with_name("elsewhere")
    store_path.parent.rename(elsewhere)
    item = events.until(lambda item: item.get("health", {}).get("state") == "stale")
    assert item["health"]["since"] > 1e9
    assert client.ask("/readyz").status == 503
    assert client.ask("/healthz").status == 200
    assert 'source_live{source="xas"} 0' in client.ask("/metrics").body.decode()
    assert keys(client)["a"]["value"] == 1
    elsewhere.rename(store_path.parent)
    events.until(lambda item: item.get("health", {}).get("state") == "live")
    md["a"] = 2
    events.until(lambda item: item.get("value") == 2)
    events.close()


def test_a_store_that_is_not_there_yet_is_waited_for(anybody: Any, tmp_path: Path) -> None:
    server = RedisServer(tmp_path / "redis").start()
    server.stop()

    def opener() -> RemoteKVMapping:
        return open_mapping(server.url, entry_point="xas", reads="replica")

    with Dashboard([Source("xas", opener)]).running() as url:
        client = type(anybody)(url)
        events = client.events()
        item = events.until(lambda item: item.get("health", {}).get("reason"))
        assert item["health"]["state"] == "connecting"
        assert str(server.port) in item["health"]["reason"]
        assert client.ask("/api/value?key=a").status == 503
        with server:
            events.until(lambda item: item.get("health", {}).get("state") == "live")
            with opener() as md:
                md["a"] = 1
            events.until(lambda item: item.get("value") == 1)
            events.close()


# -- the rest -------------------------------------------------------------------------------------


def test_everything_compressed_is_the_same(md: RemoteKVMapping, serve: Any) -> None:
    md.update({f"key{n}": n for n in range(500)})
    client = serve().until_live()
    answer = client.ask("/api/keys", Accept_Encoding="gzip")
    assert answer.headers["content-encoding"] == "gzip"
    assert len(answer.body) < len(client.ask("/api/keys").body) / 5
    assert len(json.loads(gzip.decompress(answer.body))["items"]) == 501


def test_metrics_count_what_happens(md: RemoteKVMapping, serve: Any) -> None:
    md["a"] = 1
    client = serve().until_live()
    events = client.events()
    events.next()
    text = client.ask("/metrics").body.decode()
    for line in (
        "kv_dict_dashboard_viewers 1",
        "kv_dict_dashboard_snapshots_total 1",
        'kv_dict_dashboard_source_live{source="xas"} 1',
        'kv_dict_dashboard_source_keys{source="xas"} 1',
    ):
        assert line in text.splitlines()
    events.close()
    client.until("/metrics", lambda answer: b"viewers 0\n" in answer.body)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/value", 400),
        ("/api/value?key=none", 404),
        ("/api/value?key=a&source=other", 404),
        ("/api/history", 400),
        ("/nothing", 404),
        ("/static/../server.py", 404),
        ("/static/..%2fserver.py", 404),
        ("/static/%2e%2e/server.py", 404),
        ("/api/value?key=" + quote("<script>" * 100), 404),
    ],
)
def test_strange_requests_get_an_answer(anybody: Any, path: str, status: int) -> None:
    answer = anybody.ask(path)
    assert answer.status == status
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_reader_that_takes_nothing_costs_the_others_nothing(
    md: RemoteKVMapping, serve: Any
) -> None:
    client = serve().until_live()
    stalled, lively = client.events(), client.events()
    stalled.next()
    text = "x" * 5000
    writing = threading.Thread(
        target=lambda: [md.update({f"k{n % 50}": f"{n}{text}"}) for n in range(600)]
    )
    writing.start()
    lively.until(lambda item: str(item.get("value")).startswith("599x"))
    writing.join()
    # What the stalled one missed was not kept for it: it gets each key's last value.
    stalled.until(lambda item: str(item.get("value")).startswith("599x"))
    sent = client.ask("/metrics").body.decode()
    assert "stalled_total 0" in sent
    stalled.close()
    lively.close()


def test_a_reader_that_takes_nothing_for_long_is_let_go(
    md: RemoteKVMapping, serve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kv_dict.dashboard.events, "STALLED", 0.3)
    client = serve().until_live()
    with socket.socket() as stalled:
        stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stalled.connect(("127.0.0.1", int(client.url.rpartition(":")[2].strip("/"))))
        stalled.sendall(b"GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        deadline = time.monotonic() + 20
        number = 0
        while b"stalled_total 1" not in client.ask("/metrics").body:
            assert time.monotonic() < deadline
            number += 1
            md.update({f"k{n}": f"{number}" + "x" * 5000 for n in range(50)})
        client.until("/metrics", lambda answer: b"viewers 0\n" in answer.body)


def test_ending_ends_the_streams_at_once(anybody: Any, md: RemoteKVMapping) -> None:
    dashboard = Dashboard([Source("m", lambda: RemoteKVMapping(md.backend, "m", reads="replica"))])
    with dashboard.running() as url:
        client = type(anybody)(url)
        events = client.until_live().events()
        events.next()
    assert events.next()[0] == "end"
    events.close()
