"""Which mapping is meant: that of the RunEngine in the session, or else the profile's."""

from __future__ import annotations

import atexit
import threading
from collections.abc import Mapping, MutableMapping
from typing import Any, NamedTuple

from kv_dict.mapping import LayeredMapping, RemoteKVMapping

__all__ = ["Target", "close_profile", "in_namespace", "target"]


class Target(NamedTuple):
    """A mapping, and what to call it.

    Attributes
    ----------
    name : str
        As it is written in Python: ``RE.md``, ``md``.
    mapping : MutableMapping
        Not always a `RemoteKVMapping`: a RunEngine may have been given a dict.
    of : str
        Where it comes from, if it is not in the session: the name of a profile.
    """

    name: str
    mapping: MutableMapping[str, Any]
    of: str = ""


_opening = threading.Lock()
_profile: Target | None = None


def in_namespace(namespace: Mapping[str, Any]) -> Target | None:
    """Return ``RE.md``, or else a mapping called ``md``; None if there is neither.

    ``RE.md`` counts whatever mapping it is, because that is what the runs will carry.
    """
    of_engine = getattr(namespace.get("RE"), "md", None)
    if isinstance(of_engine, MutableMapping):
        return Target("RE.md", of_engine)
    md = namespace.get("md")
    return Target("md", md) if isinstance(md, RemoteKVMapping | LayeredMapping) else None


def target(namespace: Mapping[str, Any]) -> Target:
    """Return the mapping of the session, or else that of the profile in force, opened once.

    Raises
    ------
    KVDictError
        The profile's cannot be opened.
    """
    found = in_namespace(namespace)
    if found is not None:
        return found
    global _profile  # noqa: PLW0603 - one for the process, as the shell is
    with _opening:
        if _profile is None:
            from kv_dict.profiles import load_profile  # noqa: PLC0415 - most sessions have RE.md

            profile = load_profile()
            _profile = Target("md", profile.open(), profile.name)
            atexit.register(close_profile)
        return _profile


def close_profile() -> None:
    """Close what `target` has opened."""
    global _profile
    with _opening:
        opened, _profile = _profile, None
    if opened is not None and isinstance(opened.mapping, RemoteKVMapping):
        opened.mapping.close()
        atexit.unregister(close_profile)
