"""The wire format (RESP3): packing commands, and reading replies as they trickle in."""

from __future__ import annotations

from typing import Any, Final

__all__ = ["NOTHING", "ErrorReply", "Push", "Reader", "pack"]

NOTHING: Final = object()
"""What `Reader.next` returns while no reply is complete."""


class ErrorReply(str):
    """An error that the server replied, as it spelt it: ``WRONGTYPE Operation against ...``."""

    __slots__ = ()

    @property
    def code(self) -> str:
        """The first word, in capitals, by which clients tell errors."""
        return self.partition(" ")[0]


class Push(list[Any]):
    """A message that nobody asked for, such as an invalidation; it answers no command."""


def pack(*parts: bytes) -> bytes:
    """Return the bytes of one command."""
    packed = [b"*%d\r\n" % len(parts)]
    for part in parts:
        packed.append(b"$%d\r\n%b\r\n" % (len(part), part))
    return b"".join(packed)


class Reader:
    """Turns bytes into replies; resumes where it was in a reply that comes in many pieces."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._at = 0
        self._open: list[tuple[int, int, list[Any]]] = []  # aggregates: kind, size, items so far

    def feed(self, data: bytes) -> None:
        """Take what was received."""
        if self._at:
            del self._data[: self._at]
            self._at = 0
        self._data += data

    def next(self) -> Any:
        """Return the next complete reply, or NOTHING.

        Strings are bytes; null is None; arrays and sets are lists, maps dicts, errors `ErrorReply`.
        """
        while True:
            value = self._item()
            if value is NOTHING:
                return NOTHING
            while self._open:
                kind, size, items = self._open[-1]
                if value is not _OPENED:
                    items.append(value)
                if len(items) < size:
                    break
                self._open.pop()
                value = _closed(kind, items)
            else:
                return value

    def _item(self) -> Any:
        """Return one scalar, NOTHING, or _OPENED after the head of an aggregate."""
        data, at = self._data, self._at
        end = data.find(b"\r\n", at)
        if end < 0:
            return NOTHING
        kind = data[at]
        head = bytes(data[at + 1 : end])
        if kind in _BULK:
            size = int(head)
            if size >= 0:
                last = end + 2 + size
                if len(data) < last + 2:
                    return NOTHING
                self._at = last + 2
                text = bytes(data[end + 2 : last])
                if kind == _STRING:
                    return text
                return _error(text) if kind == _BULK_ERROR else text[4:]
            self._at = end + 2
            return None
        self._at = end + 2
        if kind in _AGGREGATE:
            size = int(head)
            if size < 0:
                return None
            self._open.append((kind, size * 2 if kind in b"%|" else size, []))
            return _OPENED
        if kind == _SIMPLE:
            return head
        if kind in b":(":
            return int(head)
        if kind == _ERROR:
            return _error(head)
        if kind == _BOOLEAN:
            return head == b"t"
        return None if kind == _NULL else float(head)


_OPENED: Final = object()
_STRING, _SIMPLE, _ERROR, _BULK_ERROR, _PUSH, _BOOLEAN, _NULL = b"$+-!>#_"
_BULK: Final = frozenset(b"$!=")
_AGGREGATE: Final = frozenset(b"*~%>|")


def _error(text: bytes) -> ErrorReply:
    return ErrorReply(text.decode(errors="replace"))


def _closed(kind: int, items: list[Any]) -> Any:
    if kind == _PUSH:
        return Push(items)
    if kind in b"%|":
        return dict(zip(items[::2], items[1::2], strict=True))
    return items
