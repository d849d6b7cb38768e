"""Revisions: of what is there, and as text, which is printed and which ``--if-revision`` takes."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, Final

from kv_dict.cli.output import Line
from kv_dict.cli.values import brief
from kv_dict.errors import DecodeError
from kv_dict.mapping import RemoteKVMapping, Version
from kv_dict.model import Revision

__all__ = ["UNREADABLE", "as_text", "guards", "in_brief", "version_of"]

UNREADABLE: Final = object()
"""In place of a value that another program wrote and this one cannot read."""


def version_of(md: RemoteKVMapping, key: str) -> Version:
    """Return what an item is; one that cannot be read is `UNREADABLE`, and can be replaced.

    Raises
    ------
    KeyError
        It is not there.
    """
    try:
        return md.version(key)
    except DecodeError:
        return Version(UNREADABLE, None, "")


def in_brief(value: Any) -> Line:
    """Return the value of such an item as `brief` shows values."""
    return [("unreadable", "warn")] if value is UNREADABLE else brief(value)


def guards(found: Mapping[str, Version]) -> dict[str, Revision]:
    """Return the revisions that a commit should expect; of what cannot be read none is known."""
    return {key: one.revision for key, one in found.items() if one.value is not UNREADABLE}


def as_text(revision: Revision) -> str:
    """Return a revision in a few letters and digits; equal texts mean equal revisions.

    Where the store's revision is long, as Redis' is, which is the value itself, a digest of it.
    """
    text = str(revision) if not isinstance(revision, bytes) else ""
    if text.isascii() and text.isalnum() and len(text) <= 32:
        return text
    data = revision if isinstance(revision, bytes) else text.encode()
    return blake2b(data, digest_size=8).hexdigest()
