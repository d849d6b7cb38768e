"""Protected keys: what stands in a mapping that nobody shall change by accident."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

from kv_dict.errors import ProtectedError
from kv_dict.keys import KeySpace, check_key
from kv_dict.model import DeletePrefix, Operation

if TYPE_CHECKING:
    from kv_dict.mapping.scope import Scope

__all__ = ["Protecting", "Protection", "protected_keys"]

_UNLOCKED: Final[ContextVar[tuple[_Unlocked, ...]]] = ContextVar("kv_dict_unlocked", default=())


def protected_keys(keys: Iterable[str]) -> tuple[str, ...]:
    """Return keys that may be protected; TypeError or EncodeError if one is none."""
    if isinstance(keys, str):
        raise TypeError(f"protected={keys!r}: a list of keys, as in protected=[{keys!r}]")
    return tuple(check_key(key) for key in keys)


class _Unlocked:
    """What one block of `unlocked` allows."""

    def __init__(self, protection: Protection, keys: frozenset[str]) -> None:
        self.protection = protection
        self.keys = keys


class Protection:
    """Which keys of one mapping are protected, and which of them are unlocked here and now.

    Thread-safe: what one thread or asynchronous task unlocks stays locked for all others.

    Parameters
    ----------
    keys : iterable of str
        The protected keys of the mapping.
    space : KeySpace
        How keys are spelt in the store.
    """

    def __init__(self, keys: Iterable[str], space: KeySpace) -> None:
        self.keys = frozenset(keys)
        self._space = space

    def check(self, operations: Sequence[Operation]) -> None:
        """Raise ProtectedError if one of `operations` changes a key that is locked."""
        if not self.keys:
            return
        locked = self.keys.difference(
            *(one.keys for one in _UNLOCKED.get() if one.protection is self)
        )
        touched = locked & {key for one in operations for key in self._changed_by(one)}
        if touched:
            raise ProtectedError(touched)

    def _changed_by(self, operation: Operation) -> Iterable[str]:
        if not isinstance(operation, DeletePrefix):
            return (self._space.first(operation.key),)
        if operation.prefix == self._space.prefix:
            return self.keys  # all of the mapping
        return (self._space.first(operation.prefix),)

    @contextmanager
    def unlocked(self, keys: Iterable[str]) -> Iterator[None]:
        """Allow changes of `keys` in the block, to this thread or asynchronous task."""
        mine = _Unlocked(self, frozenset(check_key(key) for key in keys))
        _UNLOCKED.set((*_UNLOCKED.get(), mine))
        try:
            yield
        finally:  # only this one: others may have begun since, and go on, as in two plans
            _UNLOCKED.set(tuple(one for one in _UNLOCKED.get() if one is not mine))


class Protecting:
    """What a mapping offers for keys that it protects."""

    _scope: Scope

    @property
    def protected(self) -> tuple[str, ...]:
        """The keys that this mapping changes only in a block of `unlocked`."""
        return tuple(sorted(self._scope.protection.keys))

    def unlocked(self, *keys: str) -> AbstractContextManager[None]:
        """Return a context in which this mapping may change these protected keys.

        Parameters
        ----------
        *keys : str
            What shall be changed; a key that is not protected may be among them.

        Notes
        -----
        Holds for the thread, or the asynchronous task, that entered it, and may be nested. Other
        threads, as that in which a RunEngine runs plans, still find the keys locked.

        Examples
        --------
        >>> from kv_dict import InMemoryAsyncBackend, RemoteKVMapping
        >>> md = RemoteKVMapping(InMemoryAsyncBackend(), "ep1", protected=["beamline_id"])
        >>> with md.unlocked("beamline_id"):
        ...     md["beamline_id"] = "XAS"
        >>> md["beamline_id"] = "SAXS"
        Traceback (most recent call last):
            ...
        kv_dict.errors.ProtectedError: md['beamline_id'] is protected, and nothing was written; ...
        >>> md.close()
        """
        return self._scope.protection.unlocked(keys)
