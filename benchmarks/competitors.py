"""Who takes part. To add somebody, write a function that opens it.

Nothing is imported before it is opened: in the process of kv-dict 0.1.7 the name `kv_dict` is that
package's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.where import Where

UPSTREAM = "kv-dict==0.1.7"


@dataclass(frozen=True)
class Competitor:
    """Somebody who takes part.

    Attributes
    ----------
    name : str
        As in the tables.
    open : callable
        Returns something that is like a dict, empty when the folder and the scope are new.
    server : str
        The server that it needs: ``"redis"``, ``"postgres"``, ``"nats"`` or none.
    floor : str
        The competitor whose time is 1 in the tables.
    shared : bool
        Whether several processes may change it at the same time.
    imports : str
        What a program imports to use it, where that is worth measuring.
    requirement : str
        What to install for it in a folder of its own, which comes first on its path.
    """

    name: str
    open: Callable[[Where], Any]
    server: str = ""
    floor: str = "dict"
    shared: bool = True
    imports: str = ""
    requirement: str = ""

    @property
    def ours(self) -> bool:
        """Whether it is of this project."""
        return self.name.startswith("kv_dict ")

    @property
    def bare(self) -> bool:
        """Whether it is a driver, and no dict."""
        return self.name in BARE.values()

    @property
    def replica(self) -> bool:
        """Whether its reads are local and its writes are not."""
        return self.name.endswith(" replica")


COMPETITORS: dict[str, Competitor] = {}
BARE = {"sqlite": "sqlite3", "redis": "redis-py", "postgres": "asyncpg", "nats": "nats-py"}


def competitor(name: str, **more: Any) -> Callable[[Callable[[Where], Any]], Any]:
    """Have the function that follows open a competitor; `more` are the attributes of that."""

    def add(function: Callable[[Where], Any]) -> Callable[[Where], Any]:
        COMPETITORS[name] = Competitor(name, function, **more)
        return function

    return add


# -- peers -----------------------------------------------------------------------------------------


@competitor("dict", shared=False, imports="pass")
def plain_dict(where: Where) -> Any:
    return {}


@competitor("PersistentDict", shared=False, imports="from bluesky.utils import PersistentDict")
def persistent_dict(where: Where) -> Any:
    from bluesky.utils import PersistentDict

    return PersistentDict(where.folder)


@competitor("redis-json-dict", server="redis", floor="redis-py", imports="import redis_json_dict")
def redis_json_dict(where: Where) -> Any:
    import redis
    from redis_json_dict import RedisJSONDict

    return RedisJSONDict(redis.Redis(port=where.port), f"{where.scope}-")


# It says that it runs on Python 3.11, and needs 3.12 for this.
SHIM = "import typing; typing.override = getattr(typing, 'override', lambda function: function)"


def upstream(backend: str, where: Where, **options: Any) -> Any:
    exec(SHIM)
    import kv_dict

    made = getattr(kv_dict, backend)(where.url.partition("?")[0].rstrip("/"), **options)
    return kv_dict.RemoteKVMapping(made, where.scope, "." if "Nats" in backend else ":")


for server, backend, options in (
    ("redis", "RedisBackend", {}),
    ("postgres", "PostgresBackend", {"table": "upstream", "create_table": True}),
    ("nats", "NatsBackend", {"bucket": "upstream", "create_bucket": True}),
):
    COMPETITORS[f"kv-dict 0.1.7 {server}"] = Competitor(
        f"kv-dict 0.1.7 {server}",
        partial(upstream, backend, **options),
        server=server,
        floor=BARE[server],
        imports=f"{SHIM}; import kv_dict" if server == "redis" else "",
        requirement=UPSTREAM,
    )


# -- bare drivers ----------------------------------------------------------------------------------


@competitor("sqlite3", floor="sqlite3", imports="import sqlite3")
def sqlite3(where: Where) -> Any:
    from benchmarks.drivers import BareSQLite

    return BareSQLite(where)


@competitor("redis-py", server="redis", floor="redis-py", imports="import redis")
def redis_py(where: Where) -> Any:
    from benchmarks.drivers import BareRedis

    return BareRedis(where)


@competitor("asyncpg", server="postgres", floor="asyncpg", imports="import asyncpg")
def asyncpg(where: Where) -> Any:
    from benchmarks.drivers import BarePostgres

    return BarePostgres(where)


@competitor("nats-py", server="nats", floor="nats-py", imports="import nats")
def nats_py(where: Where) -> Any:
    from benchmarks.drivers import BareNats

    return BareNats(where)


# -- this project ----------------------------------------------------------------------------------


def kv_dict(store: str, reads: str, where: Where) -> Any:
    from kv_dict import RemoteKVMapping
    from kv_dict.backends import open_backend

    local = {"memory": "memory://", "sqlite": f"sqlite://{Path(where.folder).parent}/md.db"}
    backend = open_backend(local.get(store) or where.url)
    return RemoteKVMapping(backend, where.scope, reads=reads, timeout=60)


for store in ("memory", "sqlite", "redis", "postgres", "nats"):
    for reads in ("server", "replica"):
        if store == "memory" and reads == "replica":
            continue  # it is in the same process either way
        name = f"kv_dict {store}" + (" replica" if reads == "replica" else "")
        COMPETITORS[name] = Competitor(
            name,
            partial(kv_dict, store, reads),
            server="" if store in ("memory", "sqlite") else store,
            floor=BARE.get(store, "dict"),
            shared=store != "memory",
            imports="import kv_dict" if store == "memory" else "",
        )
