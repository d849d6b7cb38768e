"""Servers, and the competitors on them, for one topic."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from benchmarks.competitors import Competitor
from benchmarks.where import Where
from benchmarks.worker import Player, Refused
from kv_dict import RemoteKVMapping
from kv_dict.backends import open_backend
from kv_dict.closing import Closing
from kv_dict.testing.servers import NatsServer, PostgresServer, RedisServer, ServerProcess

SERVERS: dict[str, type[ServerProcess]] = {
    "redis": RedisServer,
    "postgres": PostgresServer,
    "nats": NatsServer,
}


class World(Closing):
    """Everything that is started, until its block is left. Servers keep what they acknowledge.

    Parameters
    ----------
    data : Path or None
        The folder in which they keep it; by default that of temporary files.
    """

    def __init__(self, data: Path | None = None) -> None:
        self._data = data
        self._ends = ExitStack()
        self._servers: dict[str, ServerProcess] = {}
        self._folder = Path()

    def __enter__(self) -> Self:
        folder = tempfile.TemporaryDirectory(prefix="kv-dict-benchmark-", dir=self._data)
        self._folder = Path(self._ends.enter_context(folder))
        return self

    def close(self) -> None:
        """End everything that was started."""
        self._ends.close()

    def server(self, kind: str) -> ServerProcess:
        """Return a server, started when it is first asked for."""
        if kind not in self._servers:
            server = SERVERS[kind](self._folder / f"{kind}-server")
            self._servers[kind] = self._ends.enter_context(server)
        return self._servers[kind]

    def player(self, competitor: Competitor) -> Player:
        """Return a new process of a competitor; Refused if it cannot be opened."""
        scope = re.sub(r"\W+", "_", competitor.name)
        folder = self._folder / scope
        folder.mkdir(exist_ok=True)
        where = Where(str(folder), scope)
        if competitor.server:
            server = self.server(competitor.server)
            where = where._replace(url=server.store_url(), port=server.port)
        path = install(competitor.requirement) if competitor.requirement else ""
        player = Player(competitor, where, path)
        self._ends.callback(player.close)
        return player

    def fill(self, competitors: list[Competitor], count: int) -> None:
        """Put so many keys that are nobody's into each store."""
        for kind in {competitor.server for competitor in competitors if competitor.server}:
            if kind == "redis":  # as other programs do: our own mappings keep an index
                import redis

                with redis.Redis(port=self.server(kind).port) as client:
                    for first in range(0, count, 10_000):
                        client.mset({f"foreign:{n}": n for n in range(first, first + 10_000)})
            else:
                _fill(self.server(kind).store_url(), count)
        if any("sqlite" in competitor.name for competitor in competitors):
            _fill(f"sqlite://{self._folder}/md.db", count)


def _fill(url: str, count: int) -> None:
    with RemoteKVMapping(open_backend(url), "foreign", timeout=60) as md:
        for first in range(0, count, 1000):
            md.update({f"key{n}": n for n in range(first, first + 1000)})


def install(requirement: str) -> str:
    """Return a folder with a package of that version, and nothing else."""
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = caches / "kv-dict-benchmarks" / requirement.replace("==", "-")
    if folder.exists():
        return str(folder)
    if uv := os.environ.get("UV") or shutil.which("uv"):
        installer = [uv, "pip", "install", "--python", sys.executable]
    elif importlib.util.find_spec("pip"):
        installer = [sys.executable, "-m", "pip", "install"]
    else:
        raise Refused(f"neither uv nor pip is here to install {requirement}")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as new:
        command = [*installer, "--quiet", "--no-deps", "--target", f"{new}/package", requirement]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        if done.returncode:
            raise Refused(f"{requirement} cannot be installed: {done.stderr.strip()}")
        Path(new, "package").rename(folder)
    return str(folder)
