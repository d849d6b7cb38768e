"""How a mapping's keys are spelt in the store.

With a separator, ``md["user"]`` of entry point ``ep1`` is the stored key ``ep1:user``, and a stored
key one level deeper (``ep1:main:sup1``) is read as nested. A key that itself contains the separator
has it escaped as ``%3A``. Everything else is left as it is, the percent sign included, unless
leaving it would make an escape: so every stored key that another program wrote is the spelling of
exactly one path, and the other way round.

Without a separator the entry point is a literal prefix and nothing is escaped.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from kv_dict.errors import ConfigurationError, EncodeError

__all__ = ["KeySpace", "check_key"]

_USED_BY_ESCAPES = frozenset("%0123456789ABCDEF")


def check_key(key: object) -> str:
    """Return `key` if it is a string that UTF-8 can encode.

    Raises
    ------
    TypeError
        `key` is not a string.
    EncodeError
        It holds half of a surrogate pair, which no store can keep.
    """
    if not isinstance(key, str):
        raise TypeError(
            f"keys of a RemoteKVMapping are strings, not {type(key).__name__}: {key!r:.80}"
        )
    if not key.isascii():
        try:
            key.encode()
        except UnicodeEncodeError as error:
            raise EncodeError(
                f"the key {key!r:.80} cannot be stored: character {error.start} is a lone surrogate"
            ) from None
    return key if type(key) is str else str.__str__(key)


class KeySpace:
    r"""The keys of one entry point.

    Parameters
    ----------
    entry_point : str
        The logical scope, a beamline or an endstation.
    sep : str or None
        Between entry point, key and nested keys; None for flat keys behind a literal prefix.

    Attributes
    ----------
    prefix : str
        What every stored key of this entry point starts with.

    Examples
    --------
    >>> space = KeySpace("ep1", ":")
    >>> space.join(["main", "sup1"])
    'ep1:main:sup1'
    >>> space.join(["a:b"])
    'ep1:a%3Ab'
    >>> space.split("ep1:a%3Ab:c")
    ['a:b', 'c']
    >>> KeySpace("xas-", None).join(["user"])
    'xas-user'
    """

    __slots__ = ("_escape", "_unescape", "entry_point", "prefix", "sep")

    def __init__(self, entry_point: str, sep: str | None) -> None:
        for name, text in (("entry_point", entry_point), ("sep", sep)):
            if text is not None and not isinstance(text, str):
                raise TypeError(f"{name} must be a string, not {type(text).__name__}")
        check_key(entry_point)
        if sep is not None:
            check_key(sep)
            if not sep or not _USED_BY_ESCAPES.isdisjoint(sep):
                raise ConfigurationError(
                    f"sep={sep!r} cannot separate keys: use one or more characters other than '%' "
                    "and 0-9 A-F, which escapes are made of, or None for flat keys"
                )
        self.entry_point = entry_point
        self.sep = sep
        self.prefix = entry_point + sep if sep and entry_point else entry_point
        if sep is not None:
            code = "".join(f"%{byte:02X}" for byte in sep[0].encode())
            # The separator's first character, where it begins a separator or could with what
            # follows the key (a proper prefix of the separator at the end).
            rest = [re.escape(sep[1:])] + [
                re.escape(sep[1:end]) + "$" for end in range(1, len(sep))
            ]
            begins = f"{re.escape(sep[0])}(?={'|'.join(rest)})"
            # '%' is escaped only where it would otherwise read as an escape, or as an escaped '%'.
            ambiguous = f"(?=(?:25)*{re.escape(code[1:])})"
            self._escape = (re.compile(f"%{ambiguous}"), re.compile(begins), code)
            self._unescape = re.compile(f"%25{ambiguous}|{re.escape(code)}")

    def spell(self, key: str) -> str:
        """Return the stored key of one mapping key."""
        if self.sep is None or ("%" not in key and self.sep[0] not in key):
            return self.prefix + key
        return self.prefix + self._spell(key)

    def join(self, path: Sequence[str]) -> str:
        """Return the stored key of a path of mapping keys."""
        if self.sep is None:
            (key,) = path
            return self.prefix + key
        return self.prefix + self.sep.join([self._spell(key) for key in path])

    def split(self, stored: str) -> list[str]:
        """Return the path that a stored key (which starts with `prefix`) spells."""
        rest = stored[len(self.prefix) :]
        if self.sep is None:
            return [rest]
        return [self._read(part) for part in rest.split(self.sep)]

    def first(self, stored: str) -> str:
        """Return the first step of `split`: the key of the mapping that a stored key belongs to."""
        rest = stored[len(self.prefix) :]
        if self.sep is None:
            return rest
        return self._read(rest.partition(self.sep)[0])

    def _spell(self, key: str) -> str:
        percent, begins, code = self._escape
        if "%" in key:
            key = percent.sub("%25", key)
        if self.sep is not None and self.sep[0] in key:
            key = begins.sub(code, key)
        return key

    def _read(self, part: str) -> str:
        if "%" not in part:
            return part
        return self._unescape.sub(
            lambda escape: "%" if escape[0] == "%25" else (self.sep or "")[0], part
        )
