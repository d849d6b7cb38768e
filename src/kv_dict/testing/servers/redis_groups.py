"""Several servers that stand in for one another: a master under sentinels, and a cluster."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, Self

import redis

from kv_dict.closing import Closing
from kv_dict.testing.servers.process import ServerError, free_port
from kv_dict.testing.servers.redis import RedisServer, find_binary

__all__ = ["RedisCluster", "SentinelServer", "Sentinels"]

PATIENCE: Final = 30.0
DOWN_AFTER: Final = 400
"""Milliseconds of silence after which a server counts as down."""


class SentinelServer(RedisServer):
    """One sentinel, that watches over a master called `name`; `more` is of its configuration."""

    def __init__(
        self, folder: Path, name: str, master: int, quorum: int = 2, more: str = ""
    ) -> None:
        super().__init__(folder)
        self._watched = (name, master, quorum)
        self._more = more

    def command(self) -> list[str]:
        name, master, quorum = self._watched
        configuration = self.folder / "sentinel.conf"  # which it writes to as well
        if not configuration.exists() or f"port {self.port}\n" not in configuration.read_text():
            configuration.write_text(
                f"port {self.port}\nbind 127.0.0.1\ndir {self.folder}\n"
                f"sentinel monitor {name} 127.0.0.1 {master} {quorum}\n"
                f"sentinel down-after-milliseconds {name} {DOWN_AFTER}\n"
                f"sentinel failover-timeout {name} 1500\n" + self._more
            )
        return [str(find_binary()), str(configuration), "--sentinel"]


class Sentinels(Closing):
    """A master, two replicas of it, and three sentinels. A context manager.

    Attributes
    ----------
    servers : list of RedisServer
        The master as it was at the start, and its replicas.
    sentinels : list of SentinelServer
    """

    name: Final = "beamline"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            options = (
                *("--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1"),
                *("--min-replicas-to-write", "1", "--min-replicas-max-lag", "3"),
            )
            master = stack.enter_context(RedisServer(self._folder / "server0", *options))
            of = ("--replicaof", "127.0.0.1", str(master.port))
            self.servers = [master]
            for n in (1, 2):
                replica = RedisServer(self._folder / f"server{n}", *options, *of)
                self.servers.append(stack.enter_context(replica))
            self.sentinels = [
                stack.enter_context(
                    SentinelServer(self._folder / f"sentinel{n}", self.name, master.port)
                )
                for n in range(3)
            ]
            _until(self._agree, "the sentinels know one another and the replicas")
            self._stack = stack.pop_all()
        return self

    def close(self) -> None:
        """Stop the servers."""
        self._stack.close()

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        return f"redis+sentinel://{hosts}/{self.name}/0"

    def master(self) -> RedisServer:
        """Return the server that the first sentinel that answers calls the master."""
        for sentinel in self.sentinels:
            try:
                with redis.Redis(port=sentinel.port) as client:
                    port = int(client.sentinel_get_master_addr_by_name(self.name)[1])
            except redis.ConnectionError:
                continue
            return next(server for server in self.servers if server.port == port)
        raise ServerError("no sentinel answers")

    def _agree(self) -> bool:
        for sentinel in self.sentinels:
            with redis.Redis(port=sentinel.port) as client:
                known: dict[str, Any] = client.sentinel_masters()[self.name]
            if (known["num-other-sentinels"], known["num-slaves"]) != (2, 2):
                return False
        with redis.Redis(port=self.servers[0].port) as client:
            replicas = client.info("replication")
        return all(replicas.get(f"slave{n}", {}).get("state") == "online" for n in range(2))


class RedisCluster(Closing):
    """Three masters that share the slots, and a replica of the first. A context manager.

    Attributes
    ----------
    servers : list of RedisServer
        The masters, then the replica of the first of them.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.servers = [
                stack.enter_context(
                    RedisServer(
                        self._folder / f"server{n}",
                        *("--cluster-enabled", "yes", "--cluster-port", str(free_port())),
                        *("--cluster-node-timeout", str(2 * DOWN_AFTER)),
                        *("--repl-diskless-sync-delay", "0"),
                    )
                )
                for n in range(4)
            ]
            bounds = (0, 5461, 10923, 16384)
            for n, server in enumerate(self.servers):
                with redis.Redis(port=server.port) as client:
                    if n < 3:
                        client.execute_command(
                            "CLUSTER ADDSLOTSRANGE", bounds[n], bounds[n + 1] - 1
                        )
                    client.execute_command("CLUSTER SET-CONFIG-EPOCH", n + 1)
                    if n:
                        first = self.servers[0]
                        bus = int(first.command()[first.command().index("--cluster-port") + 1])
                        client.execute_command("CLUSTER MEET", "127.0.0.1", first.port, bus)
            _until(self._met, "the servers know one another")
            with redis.Redis(port=self.servers[3].port) as client:
                client.execute_command("CLUSTER REPLICATE", self.identity(self.servers[0]))
            _until(self._ready, "the cluster is complete")
            self._stack = stack.pop_all()
        return self

    def close(self) -> None:
        """Stop the servers."""
        self._stack.close()

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{server.port}" for server in self.servers[:2])
        return f"redis+cluster://{hosts}/"

    def identity(self, server: RedisServer) -> str:
        """Return the name of a server in the cluster."""
        with redis.Redis(port=server.port, decode_responses=True) as client:
            return str(client.execute_command("CLUSTER MYID"))

    def owner(self, slot: int) -> RedisServer:
        """Return the server that owns a slot, as the second master sees it."""
        with redis.Redis(port=self.servers[1].port) as client:
            slots = client.execute_command("CLUSTER SLOTS")
        for low, high, (_, port, *_), *_ in _rows(slots):
            if low <= slot <= high:
                return next(server for server in self.servers if server.port == port)
        raise ServerError(f"nobody owns the slot {slot}")

    def move(self, slot: int, target: RedisServer, keys: int = 0) -> None:
        """Move a slot to another server, key by key, as its tools do."""
        source = self.owner(slot)
        there, here = self.identity(target), self.identity(source)
        with redis.Redis(port=target.port) as t, redis.Redis(port=source.port) as s:
            t.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", here)
            s.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", there)
            while found := s.execute_command("CLUSTER GETKEYSINSLOT", slot, 10):
                s.execute_command(
                    *("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS"), *found
                )
            for client in (t, s):
                client.execute_command("CLUSTER SETSLOT", slot, "NODE", there)
        _until(lambda: self.owner(slot) is target, "the others have heard of it")

    def _met(self) -> bool:
        return all(info["cluster_known_nodes"] == "4" for info in self._infos())

    def _ready(self) -> bool:
        with redis.Redis(port=self.servers[3].port) as client:
            replica = client.info("replication")
        return replica.get("master_link_status") == "up" and all(
            info["cluster_state"] == "ok" for info in self._infos()
        )

    def _infos(self) -> list[dict[str, str]]:
        infos = []
        for server in self.servers:
            with redis.Redis(port=server.port, decode_responses=True) as client:
                text = client.execute_command("CLUSTER INFO")
            if not isinstance(text, dict):
                text = dict(line.split(":") for line in text.split("\r\n") if line)
            infos.append(text)
        return infos


def _rows(slots: Any) -> list[Any]:
    """Return the rows of CLUSTER SLOTS, of which redis-py makes a dict."""
    if isinstance(slots, dict):
        return [(low, high, row["primary"]) for (low, high), row in slots.items()]
    return list(slots)


def _until(condition: Any, what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise ServerError(f"not within {PATIENCE:g} s: {what}")
        time.sleep(0.02)
