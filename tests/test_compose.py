"""compose.yaml, as far as it goes without a container engine: its settings, on real servers."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
from pathlib import Path
from typing import Any

import nats
import pytest
import redis
import yaml

from kv_dict import NatsBackend, RedisBackend, RemoteKVMapping
from kv_dict.testing.servers import NatsServer, RedisServer

ROOT = Path(__file__).parents[1]
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
SERVERS = {name: service for name, service in SERVICES.items() if "ports" in service}


def unescaped(text: str) -> str:
    """Return a string as a container gets it: a single dollar would be a variable of compose's."""
    assert not re.search(r"(?<!\$)\$(?!\$)", text)
    return text.replace("$$", "$")


def test_what_it_serves() -> None:
    assert set(SERVERS) == {"nats", "valkey", "postgres"}


@pytest.mark.parametrize("name", SERVERS)
def test_only_this_computer_can_connect(name: str) -> None:
    assert SERVERS[name]["ports"]
    assert all(port.startswith("127.0.0.1:") for port in SERVERS[name]["ports"])


@pytest.mark.parametrize("name", SERVERS)
def test_each_is_checked_kept_and_pinned(name: str) -> None:
    service = SERVERS[name]
    assert service["healthcheck"]["test"][0] == "CMD"
    (volume,) = service["volumes"]
    assert volume.split(":")[0] in COMPOSE["volumes"]
    assert not service["image"].endswith(":latest")
    assert ":" in service["image"]


def default_url(example: str) -> str:
    text = (ROOT / "examples" / f"remote_mapping_{example}_example.py").read_text()
    (found,) = re.findall(rf'else\s+"({example}[a-z]*://[^"]+)"', text)
    return found


def test_the_examples_find_the_servers() -> None:
    def port(name: str) -> str:
        return SERVERS[name]["ports"][0].split(":")[1]

    environment = SERVERS["postgres"]["environment"]
    user, password = environment["POSTGRES_USER"], environment["POSTGRES_PASSWORD"]
    database = environment["POSTGRES_DB"]
    assert default_url("redis") == f"redis://localhost:{port('valkey')}/0"
    assert default_url("nats") == f"nats://localhost:{port('nats')}/?bucket=kv_dict"
    assert default_url("postgres") == (
        f"postgresql://{user}:{password}@localhost:{port('postgres')}/{database}"
    )
    assert port("nats") == "14222"


class ComposedNats(NatsServer):
    """A NATS server with the configuration of compose.yaml, and a folder of the test's own."""

    def prepare(self) -> None:
        text = COMPOSE["configs"]["nats"]["content"]
        assert "sync_interval: always" in text
        text = text.replace('"/data"', json.dumps(str(self.folder / "data")))
        text = re.sub(r"(?m)^(port|http):.*$", "", text)
        (self.folder / "server.conf").write_text(text)


def test_nats_and_its_bucket(tmp_path: Path) -> None:
    making = SERVICES["nats-bucket"]
    assert making["depends_on"]["nats"]["condition"] == "service_healthy"
    stream = unescaped(making["environment"]["STREAM"])
    words = shlex.split(unescaped(making["command"][2]).partition("$(")[2].partition(")")[0])
    assert words[:3] == ["nats", "request", "--raw"]

    async def make(url: str) -> None:
        client = await nats.connect(url)
        for _ in range(2):  # it is there the second time
            answer = json.loads((await client.request(words[3], stream.encode(), timeout=10)).data)
            assert "error" not in answer
        await client.close()

    with ComposedNats(tmp_path / "nats") as server:
        asyncio.run(make(server.url))
        with RemoteKVMapping(NatsBackend(server.url), "ep1") as md:  # nothing has to be made
            md.update({f"k{n}": n for n in range(100)})  # one atomic batch
            md["k1"] = 2
            assert len(md) == 100


def test_valkey(tmp_path: Path) -> None:
    command = SERVICES["valkey"]["command"]
    assert command[0] == "valkey-server"
    with RedisServer(tmp_path / "redis", *command[1:]) as server:
        with redis.Redis.from_url(server.url) as client:
            assert client.config_get("append*")["appendonly"] == "yes"
            assert client.config_get("append*")["appendfsync"] == "always"
        with RemoteKVMapping(RedisBackend(server.url), "ep1") as md:
            md["a"] = 1
        server.kill()
        server.start()
        with RemoteKVMapping(RedisBackend(server.url), "ep1") as md:
            assert md["a"] == 1
