"""The synchronous face of a cluster: each operation goes to the server of its slot."""

from __future__ import annotations

from collections.abc import Sequence

from kv_dict.backend import SynchronousFace
from kv_dict.backends.redis.routes import Cluster
from kv_dict.backends.redis.store import Owner, Store
from kv_dict.errors import Unsupported
from kv_dict.model import DeletePrefix, Entry, Operation, Revision, Snapshot

__all__ = ["ClusterStore"]


class ClusterStore(SynchronousFace):
    """One `Store` for each slot of a cluster that is in use. Thread-safe and fork-safe."""

    def __init__(self, owner: Owner, cluster: Cluster) -> None:
        self._owner = owner
        self._cluster = cluster
        self._stores: dict[int, Store] = {}

    def _at(self, text: str) -> Store:
        route = self._cluster.serving(text)
        store = self._stores.get(route.slot)
        if store is None:  # of two threads that make one, the first one's is used
            store = self._stores.setdefault(route.slot, Store(self._owner, route))
        return store

    def read(self, key: str, *, timeout: float) -> Entry | None:
        return self._at(key).read(key, timeout=timeout)

    def read_tree(self, key: str, separator: str, *, timeout: float) -> Snapshot:
        return self._at(key).read_tree(key, separator, timeout=timeout)

    def snapshot(self, prefix: str, *, timeout: float) -> Snapshot:
        return self._at(prefix).snapshot(prefix, timeout=timeout)

    def commit(
        self, operations: Sequence[Operation], *, timeout: float
    ) -> tuple[Revision | None, ...]:
        self._owner.check_open()
        named = [op.prefix if isinstance(op, DeletePrefix) else op.key for op in operations]
        stores = {self._at(text): text for text in named}
        if len(stores) > 1:
            raise Unsupported(
                f"{self._cluster.url}: one commit cannot change {' and '.join(stores.values())}: "
                "they are on different servers of the cluster; give them the same text in braces"
            )
        for store in stores:
            return store.commit(operations, timeout=timeout)
        return ()

    def foreign_keys(self, prefix: str, *, timeout: float) -> dict[str, str]:
        """See `RedisBackend.foreign_keys`."""
        return self._at(prefix).foreign_keys(prefix, timeout=timeout)

    def ping(self, *, timeout: float) -> None:
        self._owner.check_open()
        self._cluster.connect(timeout).disconnect()

    def close(self) -> None:
        self._owner.closed = True
        self._owner.wake_watches()
        for store in tuple(self._stores.values()):
            store.close()
