"""A connection and what is known of the keys: reading at one point in time."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from kv_dict.backends.redis.index import SCAN_COUNT, Index, Refused, base_of, escaped
from kv_dict.backends.redis.link import Link
from kv_dict.backends.redis.resp import ErrorReply, pack
from kv_dict.backends.redis.routes import Route
from kv_dict.errors import DecodeError
from kv_dict.model import Entry

__all__ = ["Session", "entry"]

_log = logging.getLogger("kv_dict")
_warned: set[tuple[str, str]] = set()  # one line for each key, not one for each listing
_MANY = 1000


def entry(key: str, value: bytes) -> Entry:
    """Return an entry; its revision is the value itself, Redis has no other."""
    return Entry(key, value, value)


class Session:
    """Used by one thread at a time, until its connection is `Lost`."""

    def __init__(self, route: Route, timeout: float, *, watching: bool = False) -> None:
        self.url = route.url
        self.probe = route.probe
        self.index = Index(route.url, route.probe, collect=watching)
        self.link = Link(route, timeout, self.index.told)

    def ask(self, deadline: float, *parts: bytes) -> Any:
        """Return the reply to a command that writes nothing; `Refused` if it is an error."""
        reply = self.link.call(deadline, *parts)
        if type(reply) is ErrorReply:
            raise Refused(reply)
        return reply

    def read(self, key: str, deadline: float) -> Entry | None:
        """Return the entry at `key`."""
        value = self.link.call(deadline, b"GET", key.encode())
        if type(value) is ErrorReply:
            if value.code == "WRONGTYPE":
                raise self._not_a_string(key, deadline)
            raise Refused(value)
        return None if value is None else entry(key, value)

    def read_tree(self, key: str, separator: str, deadline: float) -> list[Entry]:
        """Return the entry at `key` and those below it, sorted: one GET if there are none below.

        With entries below, it is read again until no key was added meanwhile. With none, a commit
        that changes `key` and makes the first entry below it in the very moment of the GET may be
        seen with its first half only: the server tells of new keys just after the answer.
        """
        below = key + separator
        while True:
            region = self.index.region(self.link, base_of(key, separator), deadline)
            region.expect(key, separator)
            if not region.under(below):
                own = self.read(key, deadline)
                self.link.collect()  # what came together with the answer
                if self.index.tracking and not region.under(below):
                    return [] if own is None else [own]
                if not self.index.tracking:
                    return [] if own is None else [own]
            keys = sorted({key, *region.under(below)})
            found = self._values(keys, deadline)
            if key not in found:
                kind = self.ask(deadline, b"TYPE", key.encode())
                if kind not in (b"none", b"string"):
                    raise self._not_a_string(key, deadline)
            else:
                self.ask(deadline, *self.probe)
            if not self.index.tracking or region.under(below) <= set(keys):
                region.discard(k for k in keys if k not in found)
                return [entry(k, found[k]) for k in keys if k in found]

    def snapshot(self, prefix: str, deadline: float) -> list[Entry]:
        """Return all entries under `prefix`, sorted, as they were at one point in time.

        One MGET of every key that may be there; then again if the server tells of others that were
        there by then.
        """
        while True:
            region = self.index.region(self.link, prefix, deadline)
            keys = sorted(region.under(prefix))
            found = self._values(keys, deadline)
            # The server tells of the changes of one turn of its loop after the answers of that
            # turn; this answer is of a later one.
            self.ask(deadline, *self.probe)
            if not self.index.tracking or region.under(prefix) <= set(keys):
                break
        missing = [key for key in keys if key not in found]
        region.discard(missing)
        self._warn_of_other_types(missing, deadline)
        return [entry(key, found[key]) for key in keys if key in found]

    def foreign_keys(self, prefix: str, deadline: float) -> dict[str, str]:
        """Return the keys under `prefix` that hold no entry, each with what it is instead."""
        foreign: dict[str, str] = {}
        cursor: Any = b"0"
        while True:
            cursor, found = self.ask(
                deadline, b"SCAN", cursor, b"MATCH", escaped(prefix), b"COUNT", SCAN_COUNT
            )
            for key, kind in zip(found, self._types(found, deadline), strict=True):
                try:
                    name = key.decode()
                except UnicodeDecodeError:
                    foreign[repr(key)] = "a key that is not text"
                    continue
                if kind not in (b"string", b"none"):
                    foreign[name] = f"a {kind.decode()} of another program, not a string"
            if cursor == b"0":
                return foreign

    def _values(self, keys: Sequence[str], deadline: float) -> dict[str, bytes]:
        if not keys:
            return {}
        values = self.ask(deadline, b"MGET", *[key.encode() for key in keys])
        return {k: v for k, v in zip(keys, values, strict=True) if v is not None}

    def _not_a_string(self, key: str, deadline: float) -> DecodeError:
        kind = self.ask(deadline, b"TYPE", key.encode())
        return DecodeError(
            f"{key!r} in {self.url} holds a {kind.decode()} of another program, not a string; it "
            "cannot be read as a value"
        )

    def _warn_of_other_types(self, keys: Sequence[str], deadline: float) -> None:
        unsaid = [key for key in keys if (self.url, key) not in _warned]
        for key, kind in zip(unsaid, self._types(unsaid, deadline), strict=True):
            if kind not in (b"none", b"string"):
                if len(_warned) < _MANY:
                    _warned.add((self.url, key))
                _log.warning(
                    "%r in %s holds a %s of another program, not a string; it is left out",
                    key,
                    self.url,
                    kind.decode(),
                )

    def _types(self, keys: Sequence[str | bytes], deadline: float) -> list[bytes]:
        """Return what is at each key: all are asked for at once, for there may be thousands."""
        questions = [pack(b"TYPE", k if isinstance(k, bytes) else k.encode()) for k in keys]
        self.link.send(b"".join(questions), deadline)
        kinds = [self.link.receive(deadline) for _ in keys]
        for kind in kinds:
            if type(kind) is ErrorReply:
                raise Refused(kind)
        return kinds
