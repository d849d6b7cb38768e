"""Every exception that kv_dict raises of its own.

::

    KVDictError
    ├── Unavailable          the store cannot be asked; nothing was or will be written
    ├── OutcomeUnknown       a write was sent and not answered: applied or not, nobody knows
    ├── ConflictError        the store holds something else than the write expected
    ├── ProtectedError       (a TypeError) a change of a key that the mapping protects
    ├── EncodeError          (a TypeError) a key or value that cannot be stored
    ├── CheckError           (a ValueError) a value that could be stored, and that a check refuses
    ├── DecodeError          (a ValueError) what is stored cannot be read as a value
    ├── NotHolder            the baton is in another session's hands, or in nobody's
    ├── RunOpenError         a run is open, and would go on with another proposal's metadata
    ├── Unsupported          the backend cannot do this, and says so instead of pretending
    ├── ClosedError          used after ``close()``
    ├── ConfigurationError   (a ValueError) a URL, an option or a file that cannot work
    └── ReentryError         (a RuntimeError) a call that would have to wait for itself
        └── LoopThreadError  ... from the event loop thread that would have to answer it

A missing key stays a :class:`KeyError`, a key that is not a string a :class:`TypeError`, as with a
dict. Drivers' exceptions never leave a backend: each is translated there, and chained as the cause.

A write ends in one of three ways: it returns (acknowledged by the store), it raises
:class:`OutcomeUnknown`, or it raises anything else, and then it has changed nothing.
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = [
    "CheckError",
    "ClosedError",
    "ConfigurationError",
    "ConflictError",
    "DecodeError",
    "EncodeError",
    "KVDictError",
    "LoopThreadError",
    "NotHolder",
    "OutcomeUnknown",
    "ProtectedError",
    "ReentryError",
    "RunOpenError",
    "Unavailable",
    "Unsupported",
]


class KVDictError(Exception):
    """Base of every exception that kv_dict raises of its own."""


class Unavailable(KVDictError):
    """The store cannot be reached or refuses to work; nothing was written and nothing will be."""


class OutcomeUnknown(KVDictError):
    """A write was sent but not acknowledged: it may or may not have been applied.

    Read the key again to learn which. It is safe to repeat a write that gives the same result
    when applied twice (``md[key] = value``), and not safe to repeat one that does not.
    """


class ConflictError(KVDictError):
    """A guarded write found another revision than it expected; nothing was written.

    Attributes
    ----------
    keys : tuple of str
        The keys, as the backend stores them, that did not match. Empty where the conflict is not
        about a stored revision (a nested container that is no longer part of the mapping, say).
    """

    def __init__(self, message: str, keys: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.keys = tuple(keys)

    def __reduce__(self) -> tuple[type[ConflictError], tuple[str, tuple[str, ...]]]:
        return type(self), (str(self), self.keys)


class ProtectedError(KVDictError, TypeError):
    """A change of a key that the mapping protects; nothing was written.

    Attributes
    ----------
    keys : tuple of str
        The protected keys of the mapping that the operation would have changed.
    """

    def __init__(self, keys: Iterable[str]) -> None:
        self.keys = tuple(sorted(keys))
        named = " and ".join(f"md[{key!r}]" for key in self.keys)
        arguments = ", ".join(repr(key) for key in self.keys)
        verb = "is" if len(self.keys) == 1 else "are"
        super().__init__(
            f"{named} {verb} protected, and nothing was written; if it is meant: "
            f"with md.unlocked({arguments}): ..."
        )

    def __reduce__(self) -> tuple[type[ProtectedError], tuple[tuple[str, ...]]]:
        return type(self), (self.keys,)


class EncodeError(KVDictError, TypeError):
    """A key or value that cannot be stored; the message names the path of the culprit."""


class CheckError(KVDictError, ValueError):
    """A value that could be stored, and that the mapping's check refuses; nothing was written.

    What is checked is the mapping's ``check`` option: what bluesky would refuse later, for example,
    when a run begins.
    """


class DecodeError(KVDictError, ValueError):
    """What the store holds under a key is not a value this program can read; names the key."""


class NotHolder(KVDictError):
    """The baton is in another session's hands, or in nobody's; the message says whose."""


class RunOpenError(KVDictError):
    """A run is open, and would go on with the metadata of another proposal; nothing was done."""


class Unsupported(KVDictError):
    """The backend cannot do what was asked."""


class ClosedError(KVDictError):
    """The mapping or backend was used after ``close()``."""


class ConfigurationError(KVDictError, ValueError):
    """A URL, option, driver or file that cannot work; the message says what to change.

    Attributes
    ----------
    layer : {"driver", "tls", "login", "permission", "store"} or None
        What on the way to the data it is about, where that is known: the library, the encryption,
        who may come in, what they may do, the bucket or table.
    """

    def __init__(self, message: str, *, layer: str | None = None) -> None:
        super().__init__(message)
        self.layer = layer


class ReentryError(KVDictError, RuntimeError):
    """A call was made, by the same thread, in the middle of another one that it would wait for."""


class LoopThreadError(ReentryError):
    """A blocking call was made on the very thread whose event loop would have to answer it."""
