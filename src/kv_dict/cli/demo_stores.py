"""The stores that the demonstration can run on: a file, or a server that it starts by itself."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kv_dict.backends.sqlite import SQLiteBackend
from kv_dict.errors import ConfigurationError
from kv_dict.testing.servers import (
    NatsServer,
    PostgresServer,
    RedisServer,
    ServerError,
    ServerProcess,
)

__all__ = ["DemoStore", "demo_store"]

SERVERS: Final[dict[str, type[ServerProcess]]] = {
    "nats": NatsServer,
    "postgres": PostgresServer,
    "redis": RedisServer,
}


@dataclass(frozen=True)
class DemoStore:
    """Where the demonstration keeps its metadata.

    Attributes
    ----------
    url : str
        Of the store.
    server : ServerProcess or None
        What serves it, to be killed and started; None for a file.
    """

    url: str
    server: ServerProcess | None = None


@contextmanager
def demo_store(backend: str, path: Path | None) -> Iterator[DemoStore]:
    """Yield a store; a temporary one is gone afterwards.

    Parameters
    ----------
    backend : {"sqlite", "nats", "postgres", "redis"}
        What it is. Servers are real ones, from wheels or on PATH, on a free port of this computer.
    path : Path or None
        The file of SQLite to use and keep.

    Raises
    ------
    ConfigurationError
        The server's program is not there, or does not run.
    """
    if path is not None:
        if backend != "sqlite":
            raise ConfigurationError(f"--path is a file for SQLite; --backend {backend} has none")
        yield DemoStore(SQLiteBackend(path.absolute()).url)
        return
    with tempfile.TemporaryDirectory(prefix="kv-dict-demo-") as folder:
        if backend == "sqlite":
            yield DemoStore(SQLiteBackend(Path(folder) / "metadata.db").url)
            return
        server = SERVERS[backend](Path(folder) / backend)
        try:
            server.start()
        except ServerError as error:
            raise ConfigurationError(str(error)) from None
        try:
            yield DemoStore(server.store_url(), server)
        finally:
            server.kill()
