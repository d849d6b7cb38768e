"""Changing one key from the page, only if it still is what the editor was shown."""

from __future__ import annotations

from typing import Any, Final

from kv_dict.dashboard.encoding import CODEC, fingerprint, value_json
from kv_dict.errors import ConflictError
from kv_dict.mapping import RemoteKVMapping

__all__ = ["Changed", "remove", "write"]

_NOTHING: Final = object()


class Changed(ConflictError):
    """The key is not what the editor was shown.

    Attributes
    ----------
    present : bytes or None
        The JSON of what it is now; None if it is gone.
    """

    def __init__(self, key: str, present: bytes | None) -> None:
        what = "was deleted" if present is None else "was changed"
        super().__init__(f"{key!r} {what} by somebody else meanwhile; nothing was written")
        self.present = present


def write(md: RemoteKVMapping, key: str, data: bytes, expected: str | None) -> bytes:
    """Make the value of JSON `data` that of a key, and return the JSON of what is stored now.

    Parameters
    ----------
    md : RemoteKVMapping
        Where.
    key : str
        Which.
    data : bytes
        JSON, tagged where needed.
    expected : str or None
        The `fingerprint` of what it has to be now; None: there has to be nothing.

    Raises
    ------
    Changed
        It is something else; nothing was written.
    DecodeError
        `data` is not JSON that can be stored.
    """
    value = CODEC.decode(data, "the new value")

    def replace(present: Any) -> Any:
        _check(key, present, expected)
        return value

    md.sync()  # writing what is there already asks nobody
    return value_json(md.transform(key, replace, _NOTHING), key)


def remove(md: RemoteKVMapping, key: str, expected: str) -> None:
    """Remove a key if it still is what `expected` says; otherwise as `write`."""
    try:
        md._remove(key, lambda stored: _check(key, stored.value(), expected))
    except KeyError:
        raise Changed(key, None) from None


def _check(key: str, present: Any, expected: str | None) -> None:
    now = None if present is _NOTHING else value_json(present, key)
    if (None if now is None else fingerprint(now)) != expected:
        raise Changed(key, now)
