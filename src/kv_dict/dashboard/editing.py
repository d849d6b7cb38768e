"""Changing one key from the page, only if it still is what the editor was shown."""

from __future__ import annotations

from kv_dict.dashboard.encoding import CODEC, fingerprint, value_json
from kv_dict.dashboard.layout import Layout
from kv_dict.errors import ConflictError, KVDictError
from kv_dict.mapping import RemoteKVMapping
from kv_dict.mapping.retry import attempts
from kv_dict.model import Revision

__all__ = ["Changed", "PartlyHidden", "remove", "write"]


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


class PartlyHidden(KVDictError):
    """Parts of the value are kept from the editor, and would be lost."""

    def __init__(self, key: str) -> None:
        super().__init__(
            f"parts of {key!r} are hidden here, and would be lost; nothing was written. "
            "`kv-dict set` changes one part and keeps the others"
        )


def write(
    md: RemoteKVMapping, key: str, data: bytes, expected: str | None, layout: Layout
) -> bytes:
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
    layout : Layout
        What of it is kept from who writes it.

    Raises
    ------
    Changed
        It is something else; nothing was written.
    PartlyHidden
        Not all of it was shown; nothing was written.
    DecodeError
        `data` is not JSON that can be stored.
    """
    value = CODEC.decode(data, "the new value")
    for _ in attempts(md.timeout, f"md[{key!r}]"):
        try:
            was = _check(md, key, expected, layout)
            written = md.commit({key: value}, expected={key: was})
        except Changed:
            raise
        except ConflictError:
            md.sync()  # what it is now decides
            continue
        break
    return value_json(layout.shown(key, written[key].value), key)


def remove(md: RemoteKVMapping, key: str, expected: str, layout: Layout) -> None:
    """Remove a key if it still is what `expected` says; otherwise as `write`."""
    for _ in attempts(md.timeout, f"md[{key!r}]"):
        try:
            md.commit(delete=[key], expected={key: _check(md, key, expected, layout)})
        except Changed:
            raise
        except ConflictError:
            md.sync()
            continue
        break


def _check(md: RemoteKVMapping, key: str, expected: str | None, layout: Layout) -> Revision | None:
    """Return the revision of what is expected, or raise Changed."""
    try:
        version = md.version(key)
    except KeyError:
        version = None
    if version is not None and layout.shown(key, version.value) is not version.value:
        raise PartlyHidden(key)
    now = None if version is None else value_json(version.value, key)
    if (None if now is None else fingerprint(now)) != expected:
        raise Changed(key, now)
    return None if version is None else version.revision
