"""How stored keys are spelt as names of a NATS bucket, and back.

A bucket's names are tokens of ``-/_=a-zA-Z0-9`` with dots between them. A ``:`` of a stored key
becomes such a dot, so that ``ep1:user`` is ``ep1.user`` and a filter can select what is below a
key; every other character is left as it is, or written as ``=XX`` for each byte of its UTF-8 form.
An empty token is a lone ``=``.

=============  ===============  =============================================
stored key     name             why
=============  ===============  =============================================
``ep1:user``   ``ep1.user``
``a.b``        ``a=2Eb``        a dot is not a colon
``a=b``        ``a=3Db``        an equals sign begins an escape
``Σ``          ``=CE=A3``       UTF-8
``ep1:``       ``ep1.=``        the last token is empty
(empty)        ``=``
``_kv``        ``=5Fkv``        NATS reserves names that start with ``_kv``
=============  ===============  =============================================

Each key has one name, and a name that is no key's (``=zz``, ``=41``) is nobody's: entries that
another program stored under such a name are not seen.
"""

from __future__ import annotations

import re
from typing import Final

from kv_dict.errors import EncodeError

__all__ = ["LONGEST_KEY", "below", "read_name", "spell"]

LONGEST_KEY: Final = 1000
"""Bytes of UTF-8 that have a name, whatever they are."""

LONGEST: Final = 3 * LONGEST_KEY + 2
"""Characters of a name. A server's control line has 4,096 in all, the rest is for the reply."""

_PLAIN: Final = re.compile(r"(?!_kv)[-/_a-zA-Z0-9]+(?::[-/_a-zA-Z0-9]+)*", re.ASCII)
_ESCAPED: Final = re.compile(r"[^-/_a-zA-Z0-9]", re.ASCII)
_ESCAPES: Final = re.compile(r"(?:=[0-9A-F]{2})+")


def spell(key: str) -> str:
    """Return the name of a stored key.

    Raises
    ------
    EncodeError
        The name would be too long, or the key is not encodable.

    Examples
    --------
    >>> spell("ep1:user name")
    'ep1.user=20name'
    """
    if _PLAIN.fullmatch(key):
        name = key.replace(":", ".")
    else:
        try:
            name = ".".join(_ESCAPED.sub(_escape, token) or "=" for token in key.split(":"))
        except UnicodeEncodeError:
            raise EncodeError(f"the key {key!r:.80} cannot be stored: a lone surrogate") from None
        if name.startswith("_kv"):
            name = "=5F" + name[1:]
    if len(name) > LONGEST:
        raise EncodeError(
            f"the key {key[:40]!r}... cannot be stored: NATS would need a name of {len(name)} "
            f"characters for it, and {LONGEST} are possible"
        )
    return name


def read_name(name: str) -> str | None:
    """Return the stored key that `name` spells, None if it is no key's name."""
    if "=" not in name:
        return None if name.startswith("_kv") else name.replace(".", ":")
    tokens = ["" if part == "=" else part for part in name.split(".")]
    try:
        key = _ESCAPES.sub(_unescape, ":".join(tokens))
        return key if spell(key) == name else None
    except (UnicodeDecodeError, EncodeError):
        return None


def below(prefix: str) -> str:
    """Return the filter of names that selects at least every key that starts with `prefix`.

    It selects no others if the prefix is empty or ends with a colon.

    Examples
    --------
    >>> below("ep1:")
    'ep1.>'
    >>> below("ep1:us")
    'ep1.>'
    """
    whole, colon, _ = prefix.rpartition(":")
    return f"{spell(whole)}.>" if colon else ">"


def _escape(character: re.Match[str]) -> str:
    return "".join(f"={byte:02X}" for byte in character[0].encode())


def _unescape(escapes: re.Match[str]) -> str:
    return bytes.fromhex(escapes[0].replace("=", "")).decode()
