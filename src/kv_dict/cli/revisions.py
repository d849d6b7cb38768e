"""Revisions as text: what is printed, and what ``--if-revision`` takes."""

from __future__ import annotations

from hashlib import blake2b

from kv_dict.model import Revision

__all__ = ["as_text"]


def as_text(revision: Revision) -> str:
    """Return a revision in a few letters and digits; equal texts mean equal revisions.

    Where the store's revision is long, as Redis' is, which is the value itself, a digest of it.
    """
    text = str(revision) if not isinstance(revision, bytes) else ""
    if text.isascii() and text.isalnum() and len(text) <= 32:
        return text
    data = revision if isinstance(revision, bytes) else text.encode()
    return blake2b(data, digest_size=8).hexdigest()
