"""Which server to connect to: the one that was named, a sentinels' master, or a slot's owner."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, Final

from kv_dict.backends.redis.opening import Address, Opener
from kv_dict.errors import ConfigurationError, Unavailable, Unsupported

__all__ = ["Cluster", "Direct", "OfMaster", "OfSlot", "Route"]

PAUSE: Final = 0.05
"""Seconds between two looks for a server that is being elected: nobody tells when it is."""


class Route(ABC):
    """How to reach the server that holds some keys. Immutable to its users; thread-safe.

    Attributes
    ----------
    url : str
        Masked.
    probe : tuple of bytes
        A command that reads nothing, and that only the right server answers without an error.
    moves : bool
        The right server may change; after it has refused, it is worth looking for the new one.
    replicas : int
        How many replicas must have a write before it counts as acknowledged.
    """

    probe: tuple[bytes, ...] = (b"ECHO", b"")  # a server without room on its disk refuses PING
    moves: bool = False

    def __init__(self, url: str, replicas: int = 0) -> None:
        self.url = url
        self.replicas = replicas

    @abstractmethod
    def connect(self, timeout: float) -> Any:
        """Return a connection of redis-py; nobody has used it yet."""

    def serving(self, text: str) -> Route:
        """Return the route to every key that begins with `text`."""
        return self


class Direct(Route):
    """To one server."""

    def __init__(self, url: str, opener: Opener, replicas: int = 0) -> None:
        super().__init__(url, replicas)
        self._opener = opener

    def connect(self, timeout: float) -> Any:
        return self._opener.open(timeout)


class OfMaster(Route):
    """To whichever server the sentinels call the master now, if it says so itself.

    Parameters
    ----------
    url : str
        Masked.
    name : str
        Of the master, as the sentinels know it.
    sentinels : list of (str, int)
        Their addresses.
    ask, opener : Opener
        For connections to the sentinels, and to the master.
    """

    moves = True

    def __init__(
        self,
        url: str,
        name: str,
        sentinels: list[Address],
        ask: Opener,
        opener: Opener,
        replicas: int = 0,
    ) -> None:
        super().__init__(url, replicas)
        self._name = name
        self._sentinels = sentinels
        self._ask = ask
        self._opener = opener

    def connect(self, timeout: float) -> Any:
        return _found(self.url, timeout, lambda: self._sentinels, self._by)

    def _by(self, sentinel: Address, patience: float, deadline: float) -> Any:
        connection = self._ask.open(patience, sentinel)
        known = self._ask.ask(connection, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._name)
        connection.disconnect()
        if known is None:
            raise ConfigurationError(
                f"{self.url}: the sentinel {sentinel[0]}:{sentinel[1]} knows no master "
                f"{self._name!r}; the URL ends with its name: redis+sentinel://host:26379/name"
            )
        address = (known[0].decode(), int(known[1]))
        try:
            connection = self._opener.open((deadline - time.monotonic()) / 2, address)
            role = self._opener.ask(connection, "ROLE")[0]
        except Unavailable as error:
            raise _NotYet(str(error)) from error
        if role != b"master":
            connection.disconnect()
            raise _NotYet(f"{address[0]}:{address[1]} is no master yet")
        self._sentinels = _first(sentinel, self._sentinels)
        return connection


class Cluster(Route):
    """To the servers of a cluster, each of which owns some of the 16,384 slots.

    Parameters
    ----------
    url : str
        Masked.
    seeds : list of (str, int)
        Addresses of some of the servers; the others are learnt from them.
    opener : Opener
        For connections to any of them.
    """

    moves = True

    def __init__(self, url: str, seeds: list[Address], opener: Opener, replicas: int = 0) -> None:
        super().__init__(url, replicas)
        self._nodes = seeds
        self._opener = opener
        self._slots: dict[int, OfSlot] = {}

    def serving(self, text: str) -> OfSlot:
        """Return the route to every key that begins with `text`, which has to hold a hash tag."""
        tag = _tag(text)
        if tag is None:
            raise Unsupported(
                f"{self.url}: keys that begin with {text!r} are spread over the servers of the "
                "cluster; keep a mapping's keys together with braces around the entry point: "
                "RemoteKVMapping(backend, '{xas}')"
            )
        from redis.crc import key_slot  # noqa: PLC0415 - the driver is imported when used

        slot = key_slot(tag.encode())
        return self._slots.setdefault(slot, OfSlot(self, slot, tag))

    def connect(self, timeout: float) -> Any:
        """Connect to any server of the cluster."""
        return _found(
            self.url,
            timeout,
            lambda: self._nodes,
            lambda node, patience, deadline: self._opener.open(patience, node),
        )

    def connect_to(self, slot: int, timeout: float) -> Any:
        """Return a connection to the server that owns `slot`."""

        def by(node: Address, patience: float, deadline: float) -> Any:
            connection = self._opener.open(patience, node)
            owner, nodes = _owner(self._opener.ask(connection, "CLUSTER", "SLOTS"), slot, node)
            self._nodes = _first(node, [*self._nodes, *nodes])
            if owner == node:
                return connection
            connection.disconnect()
            if owner is None:
                raise _NotYet(f"no server owns the slot {slot} now")
            try:
                return self._opener.open((deadline - time.monotonic()) / 2, owner)
            except Unavailable as error:
                raise _NotYet(str(error)) from error

        return _found(self.url, timeout, lambda: self._nodes, by)


class OfSlot(Route):
    """To the server that owns one slot now."""

    moves = True

    def __init__(self, cluster: Cluster, slot: int, tag: str) -> None:
        super().__init__(cluster.url, cluster.replicas)
        self._cluster = cluster
        self.slot = slot
        # A key that is not there: while its slot is being moved, the server says so (ASK).
        self.probe = (b"EXISTS", f"{{{tag}}}\0kv_dict".encode())

    def connect(self, timeout: float) -> Any:
        return self._cluster.connect_to(self.slot, timeout)


class _NotYet(Exception):
    """There are servers that answer, but not yet the one that is looked for."""


def _found(
    url: str,
    timeout: float,
    candidates: Callable[[], list[Address]],
    by: Callable[[Address, float, float], Any],
) -> Any:
    """Return the first connection that a candidate leads `by` to.

    While some candidate answers, but leads to no server that is ready, they are asked again until
    the time is over: an election takes seconds. While none of them can be reached that is said at
    once.

    Parameters
    ----------
    url : str
        For messages.
    timeout : float
        Seconds.
    candidates : callable
        Returns whom to ask, the likeliest first.
    by : callable
        Gets a candidate, the seconds that it may take to answer, and the deadline of all.
    """
    deadline = time.monotonic() + timeout
    while True:
        reasons: dict[str, None] = {}
        electing = False
        for asked, patience in _shares(candidates(), deadline):
            try:
                return by(asked, patience, deadline)
            except _NotYet as reason:
                electing = True
                reasons[str(reason)] = None
            except Unavailable as error:
                reasons[str(error)] = None
        if not electing or time.monotonic() + PAUSE >= deadline:
            raise Unavailable(
                f"{url}: no server that takes writes was found ({'; '.join(reasons)})"
            )
        time.sleep(PAUSE)


def _shares(candidates: list[Address], deadline: float) -> Iterator[tuple[Address, float]]:
    """Yield each with its share of the time that is left: one that hangs leaves some to others."""
    for at, candidate in enumerate(candidates):
        left = deadline - time.monotonic()
        if at and left <= 0:
            return
        yield candidate, left / min(len(candidates) - at, 3)


def _first(one: Address, all_: list[Address]) -> list[Address]:
    return list(dict.fromkeys([one, *all_]))


def _owner(slots: Any, slot: int, asked: Address) -> tuple[Address | None, list[Address]]:
    """Return the owner of `slot`, and all masters and replicas, from a reply to CLUSTER SLOTS."""
    owner = None
    nodes = []
    for low, high, *servers in slots:
        for at, (host, port, *_) in enumerate(servers):
            node = (host.decode() if host else asked[0], int(port))
            nodes.append(node)
            if at == 0 and low <= slot <= high:
                owner = node
    return owner, nodes


def _tag(text: str) -> str | None:
    """Return the hash tag of every key that begins with `text`: what is in its first braces."""
    start = text.find("{")
    end = text.find("}", start + 1)
    return text[start + 1 : end] if start >= 0 and start + 1 < end else None
