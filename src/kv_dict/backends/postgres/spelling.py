r"""Keys and values as PostgreSQL's `text` can hold them: UTF-8 without NUL.

Ordinary keys and JSON are stored as they are. In a key, NUL becomes ``\x01\x01`` and ``\x01``
becomes ``\x01\x02``: character by character, and in such a way that the order of keys and what is a
prefix of what stay the same. A value that is not such text is stored as ``\x`` and hexadecimal
digits, as psql shows `bytea`; no JSON begins with a backslash.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["read_key", "read_value", "spell_key", "spell_value"]

_ESCAPED: Final = re.compile("\x01([\x01\x02])")


def spell_key(key: str) -> str:
    r"""Return what is stored for `key`.

    Examples
    --------
    >>> spell_key("ep1:user"), spell_key("a\x00b")
    ('ep1:user', 'a\x01\x01b')
    """
    if "\x00" in key or "\x01" in key:
        return key.replace("\x01", "\x01\x02").replace("\x00", "\x01\x01")
    return key


def read_key(stored: str) -> str:
    """Return the key that `stored` stands for."""
    if "\x01" in stored:
        return _ESCAPED.sub(lambda found: "\x00" if found[1] == "\x01" else "\x01", stored)
    return stored


def spell_value(value: bytes) -> str:
    r"""Return what is stored for `value`.

    Examples
    --------
    >>> spell_value(b'{"a": 1}'), spell_value(b"\xff\x00")
    ('{"a": 1}', '\\xff00')
    """
    if b"\x00" not in value and not value.startswith(b"\\"):
        try:
            return value.decode()
        except UnicodeDecodeError:
            pass
    return "\\x" + value.hex()


def read_value(stored: str | None) -> bytes:
    """Return the value that `stored` stands for; SQL's NULL is JSON's."""
    if stored is None:
        return b"null"
    if stored.startswith("\\x"):
        try:
            return bytes.fromhex(stored[2:])
        except ValueError:  # a foreign hand's
            pass
    return stored.encode()
