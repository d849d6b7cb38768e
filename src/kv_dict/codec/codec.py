"""The codecs a mapping can use.

`JSONCodec` is the one: JSON types become plain JSON that any program reads, the other types of
`kv_dict.codec.tags` become tagged JSON that only this codec turns back.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, Protocol

import orjson

from kv_dict.codec.tags import MARK, Refused, restore
from kv_dict.codec.walk import find_surrogate, to_json
from kv_dict.errors import DecodeError, EncodeError, KVDictError

__all__ = ["Codec", "CustomCodec", "JSONCodec"]

_TAG_BEGINS = f'"{MARK}'.encode()
_LONG_INTEGER = re.compile(rb"[0-9]{19}")
_LONGEST_PATH = 120  # characters that are shown; of what contains itself it has no end
_DEEPEST = 200  # what is read may be nested deeper than what is written, but not without end


class Codec(Protocol):
    """A value to bytes and back. `where` is how messages name the value: ``md['scan']``."""

    def encode(self, value: Any, where: str) -> bytes:
        """Return the bytes of `value`, or raise EncodeError with the path of the culprit."""

    def decode(self, data: bytes, where: str) -> Any:
        """Return a new value, shared with nobody, or raise DecodeError."""


class JSONCodec:
    """JSON, tagged where needed.

    Examples
    --------
    >>> codec = JSONCodec()
    >>> codec.encode({"energy": 8.047, "when": {1, 2}}, "md['x']")
    b'{"energy":8.047,"when":{"$kv:set":[1,2]}}'
    >>> codec.decode(b'{"$kv:complex":[1.0,-2.0]}', "md['x']")
    (1-2j)
    """

    def encode(self, value: Any, where: str) -> bytes:
        """Return the JSON of `value`.

        Raises
        ------
        EncodeError
            Something in `value` cannot be stored; the message says where, what, and what to do.
        """
        try:
            plain = to_json(value)
            try:
                return orjson.dumps(plain)
            except orjson.JSONEncodeError as error:
                raise find_surrogate(plain) or Refused(str(error)) from None
        except Refused as refused:
            path = refused.path
            if len(path) > _LONGEST_PATH:
                path = f"{path[: _LONGEST_PATH // 2]}...{path[-_LONGEST_PATH // 2 :]}"
            message = f"{where}{path} cannot be stored: {refused.reason}"
            raise EncodeError(message) from None

    def decode(self, data: bytes, where: str) -> Any:
        """Return the value of `data`.

        Raises
        ------
        DecodeError
            `data` is not JSON, or tagged by a newer version of this program.
        """
        try:
            if len(data) > 18 and _LONG_INTEGER.search(data):
                value = json.loads(data)  # orjson reads integers beyond 64 bits as floats
            else:
                value = orjson.loads(data)
        except (ValueError, RecursionError):
            value = _decode_leniently(data, where)
        if len(data) > 2 * _DEEPEST and _is_deep(value):
            raise DecodeError(f"{where} holds a value that is nested deeper than {_DEEPEST} levels")
        return restore(value, where) if _TAG_BEGINS in data else value


def _decode_leniently(data: bytes, where: str) -> Any:
    """Read what Python's own json module writes and strict JSON does not know (NaN, Infinity)."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        shown = data if len(data) <= 40 else data[:37] + b"..."
        raise DecodeError(f"{where} holds {shown!r}, which is not JSON: {error}") from None


def _is_deep(value: Any) -> bool:
    """Return whether `value` is nested deeper than `_DEEPEST`, without recursion."""
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(_DEEPEST):
        inside = [part.values() if isinstance(part, dict) else part for part in level]
        level = [item for items in inside for item in items if isinstance(item, dict | list)]
        if not level:
            return False
    return True


class CustomCodec:
    """A pair of a caller's functions in place of `JSONCodec`.

    Parameters
    ----------
    encoder : callable
        Value to ``str`` or ``bytes``; `json.dumps`, say. None for that of `JSONCodec`.
    decoder : callable
        ``str`` to value; `json.loads`, say. None for that of `JSONCodec`.
    """

    def __init__(
        self,
        encoder: Callable[[Any], str | bytes] | None,
        decoder: Callable[[str], Any] | None,
    ) -> None:
        self.encoder = encoder
        self.decoder = decoder
        self._json = JSONCodec()

    def encode(self, value: Any, where: str) -> bytes:
        """Return what the encoder makes of `value`; its errors become EncodeError."""
        if self.encoder is None:
            return self._json.encode(value, where)
        try:
            encoded = self.encoder(value)
        except KVDictError:
            raise
        except Exception as error:
            raise EncodeError(f"{where} cannot be stored: json_encoder said {error!r}") from error
        if isinstance(encoded, str):
            try:
                return encoded.encode()
            except UnicodeEncodeError as error:
                raise EncodeError(f"{where} cannot be stored: json_encoder gave {error}") from None
        if isinstance(encoded, bytes):
            return encoded
        raise EncodeError(
            f"{where} cannot be stored: json_encoder gave {type(encoded).__name__}, not text"
        )

    def decode(self, data: bytes, where: str) -> Any:
        """Return what the decoder makes of `data`; its errors become DecodeError."""
        if self.decoder is None:
            return self._json.decode(data, where)
        try:
            return _of_plain_kinds(self.decoder(data.decode()))
        except KVDictError:
            raise
        except Exception as error:
            raise DecodeError(f"{where} cannot be read: json_decoder said {error!r}") from error


def _of_plain_kinds(value: Any) -> Any:
    """Return `value` with subclasses of dict and list made plain: only those can be live."""
    if isinstance(value, dict):
        return {key: _of_plain_kinds(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_of_plain_kinds(item) for item in value]
    return value
