"""Changes as JSON for the page: each encoded once, whoever looks.

Values go as they are stored, tagged JSON for what JSON lacks, so that nothing is lost between the
store and an editor. What is large goes as its first characters, and is fetched when asked for.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any, Final

import orjson

from kv_dict.codec import JSONCodec
from kv_dict.errors import EncodeError
from kv_dict.model import Revision

__all__ = ["CODEC", "LARGE", "as_item", "as_news", "fingerprint", "revision_text", "value_json"]

CODEC: Final = JSONCodec()

LARGE: Final = 8 * 1024
"""Bytes of JSON beyond which a value is not sent unasked."""

PREVIEW: Final = 300
_IN_FEED: Final = 400


def value_json(value: Any, key: str) -> bytes:
    """Return the JSON of a value; of what a custom codec read and this one cannot store, a word."""
    try:
        return CODEC.encode(value, f"md[{key!r}]")
    except EncodeError as error:
        return orjson.dumps({"$kv:unreadable": str(error)})


def fingerprint(data: bytes) -> str:
    """Return a short text that is the same for the same JSON, as an HTTP entity tag."""
    return blake2b(data, digest_size=12).hexdigest()


def revision_text(revision: Revision | None, value: bytes | None) -> str | None:
    """Return a revision in a few letters.

    Of one that is the stored value, as Redis', a digest of what is shown: one of the value itself
    would let readers check what they guess of its hidden parts.
    """
    if revision is None or isinstance(revision, int):
        return None if revision is None else str(revision)
    return blake2b(value or b"", digest_size=6).hexdigest()


def as_item(name: tuple[str, str, str], value: bytes | None, about: dict[str, Any]) -> bytes:
    """Return the state of one key as the page gets it; `value` None: it is gone."""
    source, part, key = name
    item: dict[str, Any] = {"source": source, "part": part, "key": key, **about}
    return orjson.dumps(item | _shown(value, LARGE, PREVIEW))


def as_news(
    name: tuple[str, str, str], value: bytes | None, previous: bytes | None, about: dict[str, Any]
) -> bytes:
    """Return one line of the feed."""
    source, part, key = name
    item: dict[str, Any] = {"source": source, "part": part, "key": key, **about}
    item |= _shown(value, _IN_FEED, _IN_FEED // 2)
    if previous is not None:
        item["previous"] = _shown(previous, _IN_FEED, _IN_FEED // 2)
    return orjson.dumps(item)


def _shown(value: bytes | None, large: int, preview: int) -> dict[str, Any]:
    if value is None:
        return {"gone": True}
    if len(value) <= large:
        return {"value": orjson.Fragment(value)}
    return {"size": len(value), "preview": value[:preview].decode(errors="ignore")}
