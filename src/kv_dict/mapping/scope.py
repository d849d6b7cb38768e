"""One entry point of a store: loading, listing and committing what is stored there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from kv_dict.backend import Backend
from kv_dict.codec import Codec
from kv_dict.errors import ClosedError, DecodeError, Unavailable
from kv_dict.keys import KeySpace
from kv_dict.locks import Turn
from kv_dict.mapping.portal import face_of
from kv_dict.mapping.stored import Stored, group
from kv_dict.model import DeletePrefix, Entry, Operation, Put, Revision

__all__ = ["Scope"]

_Result = TypeVar("_Result")


class Scope:
    """What a mapping and the containers read from it share. Thread-safe.

    Parameters
    ----------
    backend : Backend
        The store; retained until `close`.
    space : KeySpace
        The entry point, and how keys are spelt.
    codec : Codec
        How values are.
    timeout : float
        Seconds for each operation that is not given its own.
    """

    def __init__(self, backend: Backend, space: KeySpace, codec: Codec, timeout: float) -> None:
        self.backend = backend
        self.space = space
        self.codec = codec
        self.timeout = timeout
        self.closed = False
        self._turns: dict[str, Turn] = {}
        self._face = face_of(backend)
        self._warned: dict[str, Revision] = {}
        backend.retain()

    def __str__(self) -> str:
        return f"entry_point={self.space.entry_point!r}, backend={self.backend.url!r}"

    # -- reading ---------------------------------------------------------------------------------

    def load(self, key: str, timeout: float | None = None) -> Stored:
        """Return what the store holds of a checked key now; falsy if nothing."""
        self.check_open()
        timeout = self.timeout if timeout is None else timeout
        stored_key = self.space.spell(key)
        entries: tuple[Entry, ...]
        if self.space.sep is None:
            entry = self._face.read(stored_key, timeout=timeout)
            entries = () if entry is None else (entry,)
        else:
            entries = self._face.read_tree(stored_key, self.space.sep, timeout=timeout).entries
        return Stored(key, entries, self.space, self.codec)

    def readable(self, timeout: float | None = None) -> list[tuple[Stored, Any]]:
        """Return what the store holds of every key that can be decoded, in order of the keys.

        From one snapshot; each with its value, new plain data.
        """
        self.check_open()
        timeout = self.timeout if timeout is None else timeout
        snapshot = self._face.snapshot(self.space.prefix, timeout=timeout)
        readable = []
        for stored in group(snapshot.entries, self.space, self.codec):
            try:
                readable.append((stored, stored.value()))
            except DecodeError as error:
                self._warn_once(stored, error)
        return readable

    def plain(self) -> dict[str, Any]:
        """Return all items as a plain dict, from one snapshot."""
        return {stored.key: value for stored, value in self.readable()}

    def live(self, stored: Stored, value: Any) -> Any:
        """Return the `value` of `stored`, writing through if it is a container."""
        from kv_dict.mapping.nested import live  # noqa: PLC0415 - containers know their scope

        return live(self, stored, value)

    # -- writing ---------------------------------------------------------------------------------

    def assignment(self, key: str, value: Any) -> list[Operation]:
        """Return the unguarded operations that make a checked key hold `value` and nothing else."""
        stored_key = self.space.spell(key)
        put = Put(stored_key, self.codec.encode(value, f"md[{key!r}]"))
        return [put] if self.space.sep is None else [DeletePrefix(stored_key + self.space.sep), put]

    def commit(
        self, operations: Sequence[Operation], timeout: float | None = None
    ) -> tuple[Revision | None, ...]:
        """Commit to the backend."""
        self.check_open()
        timeout = self.timeout if timeout is None else timeout
        return self._face.commit(operations, timeout=timeout)

    def in_turn(self, key: str, work: Callable[[float], _Result]) -> _Result:
        """Return ``work(left)``, letting one thread at a time read and then write one key.

        Others could only get in its way: a compare-and-set that waits for theirs to be committed
        finds that it is stale, again and again.
        """
        turn = self._turns.get(key)
        if turn is None:
            turn = self._turns.setdefault(key, Turn(reentrant=True))
        return turn.take(work, self.timeout, lambda: self._busy(key))

    def _busy(self, key: str) -> Unavailable:
        return Unavailable(
            f"md[{key!r}]: other threads' changes of it did not end within {self.timeout:g} s; "
            "nothing was written"
        )

    # -- life ------------------------------------------------------------------------------------

    def close(self) -> None:
        """Release the backend, and close it if nobody else uses it. Idempotent."""
        if not self.closed:
            self.closed = True
            if self.backend.release():
                self._face.close()

    def check_open(self) -> None:
        """Raise ClosedError after `close`."""
        if self.closed:
            raise ClosedError(
                f"this mapping ({self}) was closed; open a new one with open_mapping() or "
                "RemoteKVMapping(...)"
            )

    def _warn_once(self, stored: Stored, error: DecodeError) -> None:
        revision = stored.entries[0].revision
        if self._warned.get(stored.key) != revision:
            import logging  # noqa: PLC0415 - rarely needed

            self._warned[stored.key] = revision
            logging.getLogger("kv_dict").warning(
                "%s; it is left out of the mapping (%s)", error, self
            )
