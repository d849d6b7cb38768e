"""Which keys there may be under the prefixes in use, so that no read or write has to search.

Redis finds keys by a prefix only by looking at every key of the database. Here that is done once:
the connection then asks the server to push the names of keys that change under the prefix (RESP3
client tracking, in broadcasting mode). The server sends what has changed before it acknowledges the
change, and on this same connection, so an answer that is received here comes after the names of
everything that was acknowledged before it was asked for.

What is kept is a *superset*: a key in it may be gone, a key not in it is certainly not there. It
belongs to one connection and is lost with it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any, Final

from kv_dict.backends.redis.link import Link
from kv_dict.backends.redis.resp import ErrorReply, Push

__all__ = ["Index", "Region", "escaped"]

_log = logging.getLogger("kv_dict")

SCAN_COUNT: Final = b"10000"
MAX_REGIONS: Final = 64
SLACK: Final = 10_000
"""Names of keys that came and went, kept before the prefix is searched again."""


class Region:
    """The keys that may be there under one prefix.

    Attributes
    ----------
    complete : bool
        No key is missing: the database was searched, and all that came later was told.
    """

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.complete = False
        self.keys: set[str] = set()
        self.limit = SLACK
        self._trees: dict[tuple[str, str], dict[str, set[str]]] = {}

    def add(self, key: str) -> None:
        if key not in self.keys:
            self.keys.add(key)
            for (base, sep), trees in self._trees.items():
                _plant(key, base, sep, trees)

    def discard(self, keys: Iterable[str]) -> None:
        """Forget keys that were seen not to be there."""
        for key in keys:
            self.keys.discard(key)
            for (base, sep), trees in self._trees.items():
                root = _root(key, base, sep)
                if root in trees:
                    trees[root].discard(key)
                    if not trees[root]:
                        del trees[root]

    def clear(self) -> None:
        """Forget all of them, until they are searched again."""
        self.complete = False
        self.keys.clear()
        for trees in self._trees.values():
            trees.clear()

    def under(self, prefix: str) -> set[str]:
        """Return the keys that start with `prefix`; at once for a prefix given to `expect`."""
        if prefix == self.prefix:
            return set(self.keys)
        for (base, sep), trees in self._trees.items():
            if _root(prefix, base, sep) == prefix:
                return set(trees.get(prefix, ()))
        return {key for key in self.keys if key.startswith(prefix)}

    def expect(self, key: str, sep: str) -> None:
        """Sort the keys so that `under` answers at once for what is below `key` and its siblings.

        For a separator of one character; others may overlap with what they separate.
        """
        base = base_of(key, sep)
        if len(sep) == 1 and (base, sep) not in self._trees:
            if len(self._trees) >= MAX_REGIONS:
                self._trees.clear()
            trees = self._trees[base, sep] = {}
            for known in self.keys:
                _plant(known, base, sep, trees)


def base_of(key: str, sep: str) -> str:
    """Return what `key` and its siblings start with: all up to its last separator."""
    return key[: key.rfind(sep) + len(sep)] if sep in key else ""


def _root(key: str, base: str, sep: str) -> str | None:
    if not key.startswith(base):
        return None
    at = key.find(sep, len(base))
    return None if at < 0 else key[: at + 1]


def _plant(key: str, base: str, sep: str, trees: dict[str, set[str]]) -> None:
    root = _root(key, base, sep)
    if root is not None:
        trees.setdefault(root, set()).add(key)


class Index:
    """The regions of one connection. Used by one thread at a time, like the connection.

    Attributes
    ----------
    tracking : bool
        Whether the server pushes the names of all keys that change. If it does not (Dragonfly knows
        no broadcasting, an ACL may forbid it), every question searches the database anew. A watch
        is then still told of the keys that it has read, if the server can do that.
    changed : set of str, or None
        Collects the keys that were told to have changed, for a watch that empties it; None where
        that is not wanted, and where any key may have changed.
    """

    def __init__(self, url: str, probe: tuple[bytes, ...], *, collect: bool) -> None:
        self._url = url
        self._probe = probe
        self._collect = collect
        self._regions: dict[str, Region] = {}
        self.tracking = True
        self.changed: set[str] | None = set() if collect else None

    def told(self, push: Push) -> None:
        """Take in what the server pushed."""
        if not push or push[0] != b"invalidate":
            return
        if push[1] is None:  # FLUSHDB, FLUSHALL; or another data set is about to be loaded
            self.changed = None
            for region in self._regions.values():
                region.clear()
            return
        for raw in push[1]:
            try:
                key = raw.decode()
            except UnicodeDecodeError:
                continue  # no entry: a stored key is text
            self.written(key)
            if self.changed is not None:
                self.changed.add(key)

    def written(self, key: str) -> None:
        """Note that there may be such a key now.

        What was deleted is not noted: a key that somebody else makes again in the same turn of the
        server's loop as our deletion is not told of, being counted as our own change.
        """
        for prefix, region in self._regions.items():
            if key.startswith(prefix):
                region.add(key)

    def known(self, prefix: str) -> Region | None:
        """Return the region that covers `prefix`, if there is one."""
        region = self._covering(prefix)
        return region if region is not None and region.complete else None

    def _covering(self, prefix: str) -> Region | None:
        for known, region in self._regions.items():
            if prefix.startswith(known):
                return region
        return None

    def doubt(self) -> None:
        """Search every region again before it is used the next time."""
        for region in self._regions.values():
            region.complete = False

    def region(self, link: Link, prefix: str, deadline: float) -> Region:
        """Return a region that covers `prefix`; searches the database if that is needed."""
        region = self._covering(prefix)
        if region is None:
            if self.tracking:
                self._track(link, prefix, deadline)
            region = Region(prefix)
            if self.tracking:
                self._regions[prefix] = region  # before the search: what is pushed meanwhile counts
        if region.complete and len(region.keys) > region.limit:
            region.clear()
        while not region.complete:
            region.complete = True  # unless a flush comes in between
            try:
                self._search(link, region, deadline)
            except BaseException:
                region.complete = False
                raise
            region.limit = 2 * len(region.keys) + SLACK
        return region

    def _track(self, link: Link, prefix: str, deadline: float) -> None:
        inside = [known for known in self._regions if known.startswith(prefix)]
        if inside or len(self._regions) >= MAX_REGIONS:
            # Prefixes of one connection must not overlap, and none can be taken back alone.
            link.call(deadline, b"CLIENT", b"TRACKING", b"OFF")
            link.collect()
            self._regions.clear()
        words = [b"CLIENT", b"TRACKING", b"ON", b"BCAST", b"NOLOOP"]  # `written` notes our own
        if prefix:
            words += [b"PREFIX", prefix.encode()]
        reply = link.call(deadline, *words)
        if isinstance(reply, ErrorReply):
            self.tracking = False
            self._regions.clear()
            if self._collect:  # of the keys that were read, if not of all under the prefix
                link.call(deadline, b"CLIENT", b"TRACKING", b"ON")
            _say_once(
                "%s does not tell of changed keys (%s): every listing, every assignment and every "
                "read of a mapping with a separator searches all keys of the database, and a watch "
                "does so every second; sep=None avoids most of it",
                self._url,
                reply,
            )

    def _search(self, link: Link, region: Region, deadline: float) -> None:
        pattern = escaped(region.prefix)
        cursor: Any = b"0"
        while True:
            reply = link.call(deadline, b"SCAN", cursor, b"MATCH", pattern, b"COUNT", SCAN_COUNT)
            if isinstance(reply, ErrorReply):
                raise Refused(reply)
            cursor, found = reply
            for raw in found:
                try:
                    region.add(raw.decode())
                except UnicodeDecodeError:
                    _log.warning("%s: the key %r is not text; it is left out", self._url, raw[:80])
            if cursor == b"0":
                break
        # Some of the keys may be elsewhere already, while their slot of a cluster is being moved.
        reply = link.call(deadline, *self._probe)
        if isinstance(reply, ErrorReply):
            raise Refused(reply)


def _say_once(message: str, url: str, reply: ErrorReply) -> None:
    if url not in _said:
        _said.add(url)
        _log.warning(message, url, reply)


_said: set[str] = set()


class Refused(Exception):
    """The server answered with an error; nothing was changed."""

    def __init__(self, reply: ErrorReply) -> None:
        super().__init__(reply)
        self.reply = reply


def escaped(prefix: str) -> bytes:
    """Return the glob pattern of every key that starts with `prefix`, whatever is in it."""
    literal = "".join("\\" + c if c in "*?[]\\^-" else c for c in prefix)
    return literal.encode() + b"*"
