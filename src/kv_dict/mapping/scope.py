"""One entry point of a store: loading, listing and committing what is stored there."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple, TypeVar

from kv_dict.backend import Backend
from kv_dict.codec import Codec
from kv_dict.errors import (
    ClosedError,
    ConflictError,
    DecodeError,
    KVDictError,
    OutcomeUnknown,
    Unavailable,
    Unsupported,
)
from kv_dict.keys import KeySpace
from kv_dict.locks import Turn
from kv_dict.mapping.pins import NO_PIN, pin, pinned, pinned_keys, unpin
from kv_dict.mapping.protection import Protection
from kv_dict.mapping.retry import attempts
from kv_dict.mapping.stored import Stored, group
from kv_dict.model import ABSENT, Delete, DeletePrefix, Entry, Operation, Put, Revision
from kv_dict.portal import face_of
from kv_dict.replica import Group, Replica

__all__ = ["Scope", "Version"]

_Result = TypeVar("_Result")

_SCALARS: Final = frozenset({str, int, float, bool, type(None)})
"""Most values, which need not wait for an import that is nearly as slow as all of a local read."""

_AWAY_TIMEOUT: Final = 0.3
"""Seconds that a write which may be held back waits for a store that is known to be away."""


class Version(NamedTuple):
    """A value that an item had.

    Attributes
    ----------
    value : object
        Plain and detached.
    time : float or None
        When it was written, in seconds since the epoch.
    revision : int, str or bytes
        The store's token of it.
    """

    value: Any
    time: float | None
    revision: Revision


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
    holds_back : bool
        Whether a write that the store cannot be asked for waits until it is back.
    protected : iterable of str
        The keys that nothing changes unless they are unlocked.

    Attributes
    ----------
    local : bool
        Whether reads are answered by a replica.
    replica : Replica or None
        What follows the store, for reads or for subscriptions.
    """

    def __init__(
        self,
        backend: Backend,
        space: KeySpace,
        codec: Codec,
        timeout: float,
        *,
        local: bool = False,
        holds_back: bool = False,
        protected: Iterable[str] = (),
    ) -> None:
        self.backend = backend
        self.space = space
        self.codec = codec
        self.timeout = timeout
        self.protection = Protection(protected, space)
        self.closed = False
        self._turns: dict[str, Turn] = {}
        self._face = face_of(backend)
        self._warned: dict[str, Revision] = {}
        self._counted: dict[str, Group] = {}
        self.local = local
        self._holds_back = holds_back
        self.replica: Replica | None = None
        self._following: Replica
        backend.retain()
        if local:
            try:
                self.follow()
            except BaseException:
                self.close()
                raise

    def __str__(self) -> str:
        return f"entry_point={self.space.entry_point!r}, backend={self.backend.url!r}"

    # -- reading ---------------------------------------------------------------------------------

    def read(self, key: str, timeout: float | None = None) -> Stored:
        """Return what reads see of a checked key: a pin, the replica's entries, or the store's."""
        stored = self._read(key, timeout)
        return stored if pinned(self, key) is NO_PIN else self._pinned(key)

    def _pinned(self, key: str) -> Stored:
        return Stored(key, (), self.space, self.codec).showing(pinned(self, key))

    def _read(self, key: str, timeout: float | None = None) -> Stored:
        replica = self.replica
        if not self.local or replica is None:
            return self.load(key, timeout)
        self.check_open()
        if replica.asleep:
            replica.open(self.timeout if timeout is None else timeout)
        return Stored(key, replica.groups.get(key, ()), self.space, self.codec)

    def load(self, key: str, timeout: float | None = None) -> Stored:
        """Return what the store holds of a checked key now; falsy if nothing."""
        self.check_open()
        timeout = self.timeout if timeout is None else timeout
        asked = time.monotonic()
        try:
            entries = self._ask(self.space.spell(key), timeout)
        except Unavailable:
            if self._holds_back:  # what it shows is what its writes are made on
                return self._read(key)
            raise
        if self.replica is not None:
            self.replica.answered(key, entries, asked)
        return Stored(key, entries, self.space, self.codec)

    def _ask(self, stored_key: str, timeout: float) -> tuple[Entry, ...]:
        if self.space.sep is not None:
            return self._face.read_tree(stored_key, self.space.sep, timeout=timeout).entries
        entry = self._face.read(stored_key, timeout=timeout)
        return () if entry is None else (entry,)

    def versions(self, key: str, timeout: float) -> Iterator[tuple[Stored, Callable[[], float]]]:
        """Yield a key as it is held here, and then, after each conflict, as the store has it.

        Each with a function that tells the seconds left; ConflictError when none are.
        """
        first = True
        for left in attempts(timeout, f"md[{key!r}]"):
            yield (self._read if first else self.load)(key, left()), left
            first = False

    def readable(self, timeout: float | None = None) -> list[tuple[Stored, Any]]:
        """Return what reads see of every key that can be decoded, in order of the keys.

        As of one point in time; each with its value, new plain data.
        """
        readable = []
        everything = self._everything(self.timeout if timeout is None else timeout)
        if own := pinned_keys(self):
            everything = [stored for stored in everything if stored.key not in own]
            everything += [self._pinned(key) for key in own]
            everything.sort(key=lambda stored: stored.key)
        for stored in everything:
            try:
                readable.append((stored, stored.value()))
            except DecodeError as error:
                self._warn_once(stored, error)
        return readable

    def count(self) -> int:
        """Return how many keys `readable` would return; decodes only what is new in a replica."""
        groups = None if pinned_keys(self) else self._held(self.timeout)
        if groups is None:
            return len(self.readable())
        before, counted = self._counted, {}
        for key, entries in groups.items():
            if before.get(key) is not entries:  # they are replaced, never changed
                stored = Stored(key, entries, self.space, self.codec)
                try:
                    stored.value()
                except DecodeError as error:
                    self._warn_once(stored, error)
                    continue
            counted[key] = entries
        self._counted = counted
        return len(counted)

    def _everything(self, timeout: float) -> list[Stored]:
        groups = self._held(timeout)
        if groups is None:
            return self.ask_everything(timeout)
        return [
            Stored(key, entries, self.space, self.codec) for key, entries in sorted(groups.items())
        ]

    def _held(self, timeout: float) -> dict[str, Group] | None:
        """Return all that the replica holds; None where the store is asked."""
        self.check_open()
        replica = self.replica
        if not self.local or replica is None:
            return None
        if replica.asleep:
            replica.open(timeout)
        return replica.all()

    def ask_everything(self, timeout: float) -> list[Stored]:
        """Return what the store holds of every key now, whatever a replica shows."""
        self.check_open()
        snapshot = self._face.snapshot(self.space.prefix, timeout=timeout)
        return group(snapshot.entries, self.space, self.codec)

    def plain(self) -> dict[str, Any]:
        """Return all items as a plain dict, from one snapshot."""
        return {stored.key: value for stored, value in self.readable()}

    def live(self, stored: Stored, value: Any) -> Any:
        """Return the `value` of `stored`, writing through if it is a container."""
        if type(value) in _SCALARS:
            return value
        from kv_dict.mapping.nested import live  # noqa: PLC0415 - containers know their scope

        return live(self, stored, value)

    # -- writing ---------------------------------------------------------------------------------

    def assign(self, items: dict[str, Any]) -> None:
        """Make each checked key hold its value and nothing else, in one commit.

        With a replica it is guarded by the revisions held there, and done again on a conflict: so a
        write that is still under way when its caller has given up cannot overwrite a newer one.
        """
        for key, value in items.items():
            own = pinned(self, key)
            if own is not NO_PIN and type(own) is type(value) and own == value and len(items) == 1:
                self._reach(key, value)
                return
        puts = [
            Put(self.space.spell(key), self.codec.encode(value, f"md[{key!r}]"))
            for key, value in items.items()
        ]
        if not self.local:
            self.commit(self._assignment(puts))
            return
        for left in attempts(self.timeout, " and ".join(f"md[{key!r}]" for key in items)):
            guarded = [self._guarded(key, put) for key, put in zip(items, puts, strict=True)]
            try:
                self.commit(self._assignment(guarded), left())
            except ConflictError as conflict:
                self._refresh(conflict.keys, left())
            except Unsupported:  # no guards on several keys at once there: the plain promise holds
                self.commit(self._assignment(puts), left())
                return
            else:
                return

    def _reach(self, key: str, number: Any) -> None:
        """Have the store hold at least a number that is pinned; others may hold a later one."""
        for stored, left in self.versions(key, self.timeout):
            held = stored.value() if stored else None
            if isinstance(held, int) and held >= number:
                break
            try:
                self.commit(stored.replacement(number), left())
            except ConflictError:
                continue
            break
        pin(self, key, number)

    def _assignment(self, puts: list[Put]) -> list[Operation]:
        if self.space.sep is None:
            return list(puts)
        below = [DeletePrefix(put.key + self.space.sep) for put in puts]
        return [operation for pair in zip(below, puts, strict=True) for operation in pair]

    def _guarded(self, key: str, put: Put) -> Put:
        held = [entry.revision for entry in self._read(key).entries if entry.key == put.key]
        return Put(put.key, put.value, held[0] if held else ABSENT)

    def _refresh(self, stored_keys: Sequence[str], timeout: float) -> None:
        """Ask the store for keys that the replica was wrong about."""
        for key in {self.space.first(stored) for stored in stored_keys}:
            self.load(key, timeout)

    def clear(self) -> None:
        """Remove every entry of this entry point, in one commit; guarded as `assign` is."""
        everything = DeletePrefix(self.space.prefix)
        replica = self.replica
        most = self.backend.capabilities.max_operations
        for left in attempts(self.timeout, "the mapping"):
            guards: list[Operation] = []
            if self.local and replica is not None:
                held = [entry for group in replica.all().values() for entry in group]
                if most is None or len(held) < most:
                    guards = [Delete(entry.key, entry.revision) for entry in held]
            try:
                self.commit([*guards, everything], left())
            except ConflictError:
                self.sync(left())
            except Unsupported:
                self.commit([everything], left())
                return
            else:
                return

    def sync(self, timeout: float | None = None) -> None:
        """Have reads see all that was acknowledged before; at once where the store is asked."""
        self.check_open()
        if self.replica is not None:
            timeout = self.timeout if timeout is None else timeout
            if self.replica.asleep:
                self.replica.open(timeout)
            self.replica.sync(timeout)

    def commit(
        self, operations: Sequence[Operation], timeout: float | None = None
    ) -> tuple[Revision | None, ...]:
        """Commit to the backend, and tell the replica. What is pinned of it is so no longer.

        ProtectedError if it would change a key that is locked.
        """
        self.check_open()
        self.protection.check(operations)
        for key in pinned_keys(self):
            if any(
                self.space.first(operation.key) == key
                for operation in operations
                if not isinstance(operation, DeletePrefix)
            ):
                unpin(self, key)
        timeout = self.timeout if timeout is None else timeout
        replica = self.replica
        if self._holds_back and replica is not None:
            if replica.stale_since is not None:
                timeout = min(timeout, _AWAY_TIMEOUT)
            try:
                return self._commit(operations, timeout)
            except (Unavailable, OutcomeUnknown):
                return replica.hold_back(operations)
        return self._commit(operations, timeout)

    def _commit(
        self, operations: Sequence[Operation], timeout: float
    ) -> tuple[Revision | None, ...]:
        asked = time.monotonic()
        revisions = self._face.commit(operations, timeout=timeout)
        if self.replica is not None:
            for key in self.replica.committed(operations, revisions, asked):
                # Others wrote it at the same time: one's own write has to be seen, or theirs.
                asked = time.monotonic()
                with suppress(KVDictError):  # it is committed all the same; the replica asks again
                    self.replica.answer(key, self._face.read(key, timeout=timeout), asked)
        return revisions

    def history(self, key: str) -> list[Version]:
        """Return the values that a checked key had, as far back as the store keeps them."""
        self.check_open()
        entries = self._face.history(self.space.spell(key), timeout=self.timeout)
        return [
            Version(self.codec.decode(entry.value, f"md[{key!r}]"), entry.time, entry.revision)
            for entry in entries
        ]

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

    def follow(self) -> Replica:
        """Return the replica, live; one that mappings of this layout on this backend share."""
        self.check_open()
        if self.replica is None:
            shared = Replica.shared(
                self.backend, self.space.prefix, self.space.first, self.space.sep
            )
            if self.__dict__.setdefault("_following", shared) is not shared:
                shared.release()  # another thread was faster
            self.replica = self._following
        self.replica.open(self.timeout)
        return self.replica

    def close(self) -> None:
        """Release the backend, and close it if nobody else uses it. Idempotent."""
        if not self.closed:
            self.closed = True
            if self.replica is not None:
                self.replica.release()
            if self.backend.release():
                self._face.close()

    def abandon(self) -> None:
        """End what nobody can use any more, without waiting: for a mapping that was forgotten."""
        if self.replica is not None and not self.closed:
            self.replica.release(wait=False)

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
