"""Entry points beside the metadata's, for what is kept of the sessions that share it."""

from __future__ import annotations

from typing import Final

from kv_dict.errors import ConfigurationError
from kv_dict.mapping import LayeredMapping, RemoteKVMapping

__all__ = ["GOODBYE", "beside", "open_beside"]

GOODBYE: Final = 2.0
"""Seconds, at most, for telling others that a session leaves: it is a courtesy, and people wait."""


def beside(md: RemoteKVMapping | LayeredMapping, what: str) -> str:
    """Return the entry point ``<that of md>@<what>``, which is not within the metadata's own.

    Of layers, beside the lower one: the beamline's, which stays when a proposal ends.

    Raises
    ------
    ConfigurationError
        The mapping has the whole store, so that nothing is beside it.

    Examples
    --------
    >>> beside(md, "status")
    'docs@status'
    """
    md = _staying(md)
    if not isinstance(md, RemoteKVMapping):
        raise TypeError(f"md is a RemoteKVMapping, as open_mapping() returns, not {type(md)!r:.60}")
    if md.sep is not None:
        return f"{md.entry_point}@{what}"
    if not md.entry_point:
        raise ConfigurationError(
            f"there is no room for {what!r} beside a mapping of the whole store, and so only for "
            "one that has an entry point: give it one"
        )
    return f"@{what} {md.entry_point}"


def open_beside(
    md: RemoteKVMapping | LayeredMapping, what: str, *, timeout: float
) -> RemoteKVMapping:
    """Open that entry point, asking the store each time, to close it when done."""
    where = beside(md, what)
    md = _staying(md)
    return RemoteKVMapping(md.backend, where, md.sep, timeout=max(0.1, min(md.timeout, timeout)))


def _staying(md: RemoteKVMapping | LayeredMapping) -> RemoteKVMapping:
    return md.under if isinstance(md, LayeredMapping) else md
