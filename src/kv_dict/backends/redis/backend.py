"""`RedisBackend`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING

from kv_dict.backend import Backend, Capabilities, Finding, SynchronousFace
from kv_dict.backends.redis.clients import settings_of_client
from kv_dict.backends.redis.cluster import ClusterStore
from kv_dict.backends.redis.routes import Cluster
from kv_dict.backends.redis.settings import Settings
from kv_dict.backends.redis.store import Store
from kv_dict.model import Entry, Operation, Revision, Snapshot, WatchEvent

if TYPE_CHECKING:
    import redis

    from kv_dict.backends.redis.watching import Watch

__all__ = ["RedisBackend"]


class RedisBackend(Backend):
    """A database of a Redis or Valkey server: each entry a plain string under its stored key.

    Other programs can read and write the entries; guards compare values, which are the revisions.
    A write is as durable as the server is configured: ``appendonly yes`` and ``appendfsync always``
    keep every acknowledged one. Thread-safe and fork-safe. Needs the ``redis`` extra, and a server
    that speaks RESP3 (6.0 or newer).

    Parameters
    ----------
    url : str
        ``redis://[user:password@]host[:port][/database]``, ``rediss://`` for TLS, or
        ``unix:///path/of/socket?db=0``;
        ``redis+sentinel://[user:password@]host:26379,host2:26379/master_name[/database]`` for
        whichever server the sentinels call the master; ``redis+cluster://host:7000,host2:7001/``
        for a cluster, where an entry point needs braces (``"{xas}"``), which keep its keys on one
        server. With ``rediss+`` the last two speak TLS, the sentinels included.

        Options: ``password_file`` (read anew for each connection); for TLS ``ca_file``,
        ``cert_file``, ``key_file``; for sentinels ``sentinel_user``, ``sentinel_password_file``;
        ``replicas``, the number of replicas that must have a write before it is acknowledged. The
        server's certificate and name are always checked.
    client : redis.Redis, optional
        In place of a URL: what this client connects to. It may be asynchronous, of a cluster, or
        what a ``Sentinel``'s ``master_for`` returned. It is neither used nor closed: the backend
        opens its own connections with the same settings.

    Notes
    -----
    Redis can find keys by a prefix only by searching the whole database. That is done once for each
    entry point and connection; afterwards the server pushes the names of keys that change there
    (client tracking). So a read is one GET and an assignment one SET, however many keys others keep
    in the database; a listing is one MGET. The names of all keys under the entry point are kept in
    memory, about 200 bytes each.

    A DeletePrefix deletes all that was there when the commit was asked for, in the same script call
    as the rest, and what was told of before it was answered right afterwards. A key that others
    create while the commit is under way may stay, as if it had been created just after.

    A pickle holds the URL with the password, if there is one in it; with ``password_file`` it holds
    only the name of the file.

    Examples
    --------
    >>> RedisBackend("redis://:secret@xas-server:6379/1")
    <RedisBackend redis://:***@xas-server:6379/1>
    """

    def __init__(
        self, url: str = "redis://localhost:6379/0", *, client: redis.Redis | None = None
    ) -> None:
        self._settings = Settings.of_url(url) if client is None else settings_of_client(client)
        route = self._settings.route
        self._store: Store | ClusterStore = (
            ClusterStore(self, route) if isinstance(route, Cluster) else Store(self, route)
        )
        self._watches: set[Watch] = set()

    @property
    def url(self) -> str:
        return self._settings.url

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(persistent=True, multi_process=True, ordered=False)

    @property
    def synchronous(self) -> SynchronousFace:
        return self._store

    async def read(self, key: str, *, timeout: float) -> Entry | None:
        import asyncio  # noqa: PLC0415 - takes longer to import than all of kv_dict

        return await asyncio.to_thread(self._store.read, key, timeout=timeout)

    async def read_tree(self, key: str, separator: str, *, timeout: float) -> Snapshot:
        import asyncio  # noqa: PLC0415

        return await asyncio.to_thread(self._store.read_tree, key, separator, timeout=timeout)

    async def snapshot(self, prefix: str, *, timeout: float) -> Snapshot:
        import asyncio  # noqa: PLC0415

        return await asyncio.to_thread(self._store.snapshot, prefix, timeout=timeout)

    async def commit(
        self, operations: Sequence[Operation], *, timeout: float
    ) -> tuple[Revision | None, ...]:
        import asyncio  # noqa: PLC0415

        return await asyncio.to_thread(self._store.commit, operations, timeout=timeout)

    async def ping(self, *, timeout: float) -> None:
        import asyncio  # noqa: PLC0415

        await asyncio.to_thread(self._store.ping, timeout=timeout)

    async def inspect(self, *, timeout: float) -> tuple[Finding, ...]:
        import asyncio  # noqa: PLC0415

        from kv_dict.backends.redis.inspecting import inspect  # noqa: PLC0415 - rarely asked

        self.check_open()
        return await asyncio.to_thread(inspect, self._settings.route, timeout)

    def foreign_keys(self, prefix: str, *, timeout: float) -> dict[str, str]:
        """Return the keys under `prefix` that `snapshot` leaves out: lists, hashes, no text.

        Each with what it is. Blocking; searches the whole database.
        """
        return self._store.foreign_keys(prefix, timeout=timeout)

    async def watch(self, prefix: str) -> AsyncGenerator[WatchEvent, None]:
        from kv_dict.backends.redis.watching import Watch  # noqa: PLC0415 - imports asyncio

        self.check_open()
        watch = Watch(self._settings.route.serving(prefix), prefix, self.check_open)
        self._watches.add(watch)
        try:
            async with aclosing(watch.events()) as events:
                async for event in events:
                    yield event
        finally:
            self._watches.discard(watch)

    async def close(self) -> None:
        import asyncio  # noqa: PLC0415

        await asyncio.to_thread(self._store.close)

    def wake_watches(self, keys: Collection[str] = ()) -> None:
        """Tell them that this was closed, or of changed keys if the server does not."""
        for watch in tuple(self._watches):
            if not (keys and watch.told):
                watch.wake(keys)

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return RedisBackend, (self._settings.exact_url(),)
