"""A place in a store: looked at without changing it, or opened to be written."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from kv_dict.backend import Backend, StoreMissing
from kv_dict.backends import open_backend
from kv_dict.errors import ConfigurationError
from kv_dict.keys import KeySpace
from kv_dict.mapping import RemoteKVMapping
from kv_dict.model import Snapshot
from kv_dict.portal import face_of
from kv_dict.profiles import Profile, load_profile

__all__ = ["Place", "is_url"]

_SOON: Final = 5.0
"""Seconds within which a server has to answer at all; what takes longer is the work."""

_MAKING: Final = frozenset({"create_table", "create_bucket"})
_FAMILIES: Final = {"rediss": "redis", "postgres": "postgresql", "tls": "nats"}
_DEFAULTS: Final = {
    "redis": ("6379", "0", ""),
    "postgresql": ("5432", "", "kv_store"),
    "nats": ("4222", "", "kv_dict"),
}


def is_url(target: str) -> bool:
    """Return whether `target` names a store by its URL."""
    return target.partition(":")[0] in (
        "memory", "nats", "postgres", "postgresql", "sqlite", "tls", "unix",
        *("redis", "redis+cluster", "redis+sentinel"),
        *("rediss", "rediss+cluster", "rediss+sentinel"),
    )  # fmt: skip


@dataclass(frozen=True)
class Place:
    """Some keys of a store.

    Attributes
    ----------
    url : str
        Of the store; it may hold secrets. ``backend.url`` is for people.
    space : KeySpace
        Which keys.
    backend : Backend
        The store, not connected yet; nothing is written through it.
    making : bool
        Whether the store is made where it is missing.
    profile : Profile or None
        What named it, where that makes its folder as well.
    """

    url: str
    space: KeySpace
    backend: Backend
    making: bool
    profile: Profile | None = None

    @classmethod
    def of(
        cls,
        target: str,
        entry_point: str | None = None,
        separator: str | None = None,
        *,
        everything: bool = False,
    ) -> Place:
        """Return the place of an entry point, or of everything in the store.

        Parameters
        ----------
        target : str
            A URL, or the name of a profile.
        entry_point : str, optional
            Without one the profile's, ``KV_DICT_ENTRY_POINT``, or ``"md"``.
        separator : str, optional
            Between entry point and key; a colon if nothing is said.
        everything : bool
            Each stored key of the store as it is, whatever its entry point.
        """
        profile = _named(target, entry_point)
        space = KeySpace(profile.entry_point, separator or profile.separator)
        place = cls.at(profile.reveal_url(), KeySpace("", None) if everything else space)
        return replace(place, profile=profile) if profile.makes_folder else place

    @classmethod
    def at(cls, url: str, space: KeySpace) -> Place:
        """Return the place of certain keys in the store that a URL names."""
        plain, making = _without_making(url)
        return cls(url, space, open_backend(plain), making or url.startswith("sqlite:"))

    def __str__(self) -> str:
        if self.space.sep is not None:
            return f"{self.backend.url}, entry point {self.space.entry_point!r}"
        prefix = self.space.prefix
        return f"{self.backend.url}, " + (f"keys {prefix}..." if prefix else "all keys")

    @property
    def file(self) -> Path | None:
        """The file that the store is, if it is one."""
        return getattr(self.backend, "path", None)

    # -- looking -----------------------------------------------------------------------------------

    def look(self, prefix: str | None = None, *, timeout: float) -> Snapshot:
        """Return what is stored there, or under another prefix, and change nothing.

        Raises
        ------
        ConfigurationError
            The store is not there (`StoreMissing`), or cannot be used as configured.
        Unavailable
            The store cannot be asked.
        """
        prefix = self.space.prefix if prefix is None else prefix
        if self.file is not None:
            from kv_dict.backends.sqlite import peek  # noqa: PLC0415 - with its driver

            if not self.file.parent.is_dir() and self.profile is None:
                raise ConfigurationError(f"there is no folder {self.file.parent}")
            if not self.file.exists():
                raise StoreMissing(f"there is no file {self.file}")
            return peek(self.file, prefix, timeout=timeout)
        face = face_of(self.backend)
        face.ping(timeout=min(_SOON, timeout))
        return face.snapshot(prefix, timeout=timeout)

    def foreign_keys(self, *, timeout: float) -> dict[str, str]:
        """Return the keys that `look` leaves out because they hold no entry, and what they hold.

        Only Redis has such keys.
        """
        ask: Any = getattr(self.backend, "foreign_keys", None)
        found: dict[str, str] = ask(self.space.prefix, timeout=timeout) if ask else {}
        return found

    def close(self) -> None:
        """Disconnect."""
        face_of(self.backend).close()

    # -- writing -----------------------------------------------------------------------------------

    def open(self, *, timeout: float) -> RemoteKVMapping:
        """Return a new mapping to write to; the store is made if it may be."""
        if self.profile is not None:
            self.profile.make_folder()
        backend = open_backend(self.url)
        md = RemoteKVMapping(backend, self.space.entry_point, self.space.sep, timeout=timeout)
        try:
            face_of(backend).ping(timeout=min(_SOON, timeout))
        except BaseException:
            md.close()
            raise
        return md

    def is_within(self, path: Path) -> bool:
        """Return whether the store is a file that is `path`, or in that folder."""
        if self.file is None:
            return False
        return Path(os.path.realpath(self.file)).is_relative_to(os.path.realpath(path))

    def overlaps(self, other: Place) -> bool:
        """Return whether some key could belong to both, as far as the addresses tell."""
        ours, theirs = self.space.prefix, other.space.prefix
        if not (ours.startswith(theirs) or theirs.startswith(ours)):
            return False
        if self.file is not None or other.file is not None:
            return self.file is not None and other.file is not None and _same(self.file, other.file)
        mine, its = _address(self.url), _address(other.url)
        return mine[1:] == its[1:] and (
            not mine.servers.isdisjoint(its.servers)
            or not _resolved(mine.servers).isdisjoint(_resolved(its.servers))
        )


def _named(target: str, entry_point: str | None) -> Profile:
    """Return what a user's words for a store mean."""
    if not isinstance(target, str):
        raise TypeError(f"a store is named by a URL, not by {type(target).__name__}")
    if not target:
        raise ConfigurationError("no store is named: give a URL, or 'default' for the default one")
    if target.startswith("memory:"):
        raise ConfigurationError(f"{target} is a new, empty store that ends with this process")
    return load_profile(target, entry_point=entry_point)


def _without_making(url: str) -> tuple[str, bool]:
    """Return a URL without the options that make or change a store, and whether there was one."""
    base, _, query = url.partition("?")
    options = parse_qsl(query, keep_blank_values=True)
    kept = [option for option in options if option[0] not in _MAKING]
    if len(kept) == len(options):
        return url, False
    making = any(name in _MAKING and text.lower() == "true" for name, text in options)
    return base + (f"?{urlencode(kept, quote_via=quote)}" if kept else ""), making


def _same(one: Path, other: Path) -> bool:
    if one.exists() and other.exists():
        return one.samefile(other)
    return os.path.realpath(one) == os.path.realpath(other)


class _Address(NamedTuple):
    """Where a store is: host and port of its servers, and what it is called there."""

    servers: frozenset[tuple[str, str]]
    family: str
    database: str
    name: str


def _address(url: str) -> _Address:
    parts = urlsplit(url)
    family = parts.scheme.partition("+")[0]
    family = _FAMILIES.get(family, family)
    default_port, default_database, default_name = _DEFAULTS.get(family, ("", "", ""))
    options = dict(parse_qsl(parts.query))
    servers = set()
    for server in parts.netloc.rpartition("@")[2].split(","):
        host, colon, port = server.rpartition(":")
        if not colon or not port.isdigit():
            host, port = server, default_port
        servers.add((host.strip("[]").lower() or "localhost", port))
    return _Address(
        frozenset(servers),
        family,
        options.get("db") or parts.path.strip("/") or default_database,
        options.get("bucket") or options.get("table") or default_name,
    )


def _resolved(servers: frozenset[tuple[str, str]]) -> set[tuple[str, str]]:
    """Return the servers by their addresses; this computer has one, whatever it is called."""
    addresses = set()
    for host, port in servers:
        try:
            found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):  # then nothing can be read from there either
            continue
        of_host = {str(entry[4][0]) for entry in found}
        if of_host & {"127.0.0.1", "::1"}:
            of_host = {"localhost"}
        addresses |= {(address, port) for address in of_host}
    return addresses
