"""One entry point of a store: loading, listing and committing what is stored there."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from typing import Any, Final, NamedTuple, TypeVar
from weakref import WeakValueDictionary

from kv_dict.backend import Backend
from kv_dict.checks import Check
from kv_dict.codec import Codec
from kv_dict.errors import (
    CheckError,
    ConflictError,
    DecodeError,
    KVDictError,
    OutcomeUnknown,
    Unavailable,
    Unsupported,
)
from kv_dict.keys import KeySpace
from kv_dict.locks import Turn
from kv_dict.mapping.lifetime import Lifetime, ending
from kv_dict.mapping.pins import NO_PIN, pin, pinned, pinned_keys, unpin
from kv_dict.mapping.protection import Protection
from kv_dict.mapping.retry import attempts
from kv_dict.mapping.stored import Stored, group
from kv_dict.model import ABSENT, Delete, DeletePrefix, Entry, Operation, Put, Revision
from kv_dict.replica import Group

__all__ = ["GONE", "Scope", "Version"]

_Result = TypeVar("_Result")

GONE: Final = object()
"""Stands, among the values to assign, for an item that shall not be there."""

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


class Scope(Lifetime):
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
    check : callable, optional
        What refuses values that could be stored.

    Attributes
    ----------
    local : bool
        Whether reads are answered by a replica.
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
        check: Check | None = None,
    ) -> None:
        super().__init__(backend, space, timeout)
        self.codec = codec
        self.protection = Protection(protected, space)
        self._turns: WeakValueDictionary[str, Turn] = WeakValueDictionary()
        self._warned: dict[str, Revision] = {}
        self._counted: dict[str, Group] = {}
        self.local = local
        self._holds_back = holds_back
        self._check = check
        if local:
            try:
                self.follow()
            except BaseException:
                self.close()
                raise

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
            if self.ended:
                return self.load(key, timeout)
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
            if self._holds_back and not self.ended:  # its writes are made on what it shows
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
        """Yield what a write shall replace: as it is held here; after a conflict, as it is stored.

        Each with a function that tells the seconds left; ConflictError when none are.
        """
        first = True
        for left in attempts(timeout, f"md[{key!r}]"):
            with _writing():
                stored = (self._read if first else self.load)(key, left())
            yield stored, left
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

    def size(self) -> int:
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
        asleep = replica is not None and replica.asleep
        if not self.local or replica is None or (asleep and self.ended):
            return None
        if asleep:
            replica.open(timeout)
        return replica.all()

    def ask_everything(self, timeout: float) -> list[Stored]:
        """Return what the store holds of every key now, whatever a replica shows."""
        self.check_open()
        try:
            snapshot = self._face.snapshot(self.space.prefix, timeout=timeout)
        except Unavailable:
            if self._holds_back:  # as `load`
                return self._everything(timeout)
            raise
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
        """Make each checked key hold its value and nothing else, or be `GONE`, in one commit.

        With a replica it is guarded by the revisions held there, and done again on a conflict: so a
        write that is still under way when its caller has given up cannot overwrite a newer one.
        """
        for key, value in items.items():
            own = pinned(self, key)
            if own is not NO_PIN and type(own) is type(value) and own == value and len(items) == 1:
                self._reach(key, value)
                return
        changes = self.changes(items)
        if not self.local:
            self.commit(self.assignment(changes, guarded=False))
            return
        for left in attempts(self.timeout, " and ".join(f"md[{key!r}]" for key in items)):
            try:
                self.commit(self.assignment(changes, guarded=True), left())
            except ConflictError as conflict:
                self.refresh(conflict.keys, left())
            except Unsupported:  # no guards on several keys at once there: the plain promise holds
                self.commit(self.assignment(changes, guarded=False), left())
                return
            else:
                return

    def changes(self, items: dict[str, Any]) -> dict[str, Put | Delete]:
        """Return what has to be done to the entry of each key; raise if a value is refused."""
        changes: dict[str, Put | Delete] = {}
        for key, value in items.items():
            where = self.space.spell(key)
            if value is GONE:
                changes[key] = Delete(where)
            else:
                changes[key] = Put(where, self.encoded(key, value))
        return changes

    def assignment(self, changes: dict[str, Put | Delete], guarded: bool) -> list[Operation]:
        """Return the operations of `changes`, and of removing what is below their keys."""
        operations: list[Operation] = []
        for key, change in changes.items():
            if self.space.sep is not None:
                operations.append(DeletePrefix(change.key + self.space.sep))
            operations.append(self._guarded(key, change) if guarded else change)
        return operations

    def replacement(self, stored: Stored, value: Any) -> list[Operation]:
        """Return the operations after which the store holds `value` instead, if it may."""
        if self._check is not None:
            self.encoded(stored.key, value)
        return stored.replacement(value)

    def encoded(self, key: str, value: Any) -> bytes:
        """Return the bytes of a value; EncodeError, or CheckError if it is refused as it reads."""
        where = f"md[{key!r}]"
        data = self.codec.encode(value, where)
        if self._check is not None:
            read = self.codec.decode(data, where)
            try:
                self._check(key, read)
            except CheckError:
                raise
            except (TypeError, ValueError) as error:
                raise CheckError(f"{where} is refused: {error}; nothing was written") from error
        return data

    def _reach(self, key: str, number: Any) -> None:
        """Have the store hold at least a number that is pinned; others may hold a later one."""
        for stored, left in self.versions(key, self.timeout):
            held = stored.value() if stored else None
            if isinstance(held, int) and held >= number:
                break
            try:
                self.commit(self.replacement(stored, number), left())
            except ConflictError:
                continue
            break
        pin(self, key, number)

    def _guarded(self, key: str, change: Put | Delete) -> Put | Delete:
        held = [entry.revision for entry in self._read(key).entries if entry.key == change.key]
        return replace(change, expected=held[0] if held else ABSENT)

    def refresh(self, stored_keys: Sequence[str], timeout: float) -> None:
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
                self.catch_up(left())
            except Unsupported:
                self.commit([everything], left())
                return
            else:
                return

    def sync(self, timeout: float | None = None) -> None:
        """Have reads see all that was acknowledged before; at once where the store is asked."""
        self.check_open()
        replica = self.replica
        if replica is None:
            return
        timeout = self.timeout if timeout is None else timeout
        if replica.asleep:
            if self.ended:
                return
            replica.open(timeout)
        replica.sync(timeout)

    def catch_up(self, timeout: float) -> None:
        """Have reads see what a commit was in conflict with: as `load`, for all keys."""
        with suppress(Unavailable) if self._holds_back else nullcontext():
            self.sync(timeout)

    def commit(
        self, operations: Sequence[Operation], timeout: float | None = None
    ) -> tuple[Revision | None, ...]:
        """Commit to the backend, and tell the replica."""
        self.permit(operations)
        timeout = self.patience(timeout)
        asked = time.monotonic()
        try:
            revisions = self.ask_to_commit(operations, timeout)
        except (Unavailable, OutcomeUnknown):
            if (held_back := self.hold_back(operations)) is None:
                raise
            return held_back
        self.committed(operations, revisions, asked, timeout)
        return revisions

    def permit(self, operations: Sequence[Operation]) -> None:
        """Raise if `operations` may not be committed; end the pins of what they change.

        ProtectedError if they would change a key that is locked.
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

    def patience(self, timeout: float | None = None) -> float:
        """Return how long to wait for a commit: not long for a store that is known to be away."""
        timeout = self.timeout if timeout is None else timeout
        replica = self.replica
        if self._holds_back and replica is not None and replica.stale_since is not None:
            return min(timeout, _AWAY_TIMEOUT)
        return timeout

    def ask_to_commit(
        self, operations: Sequence[Operation], timeout: float
    ) -> tuple[Revision | None, ...]:
        """Commit to the backend, and tell nobody."""
        with _writing():
            return self._face.commit(operations, timeout=timeout)

    @property
    def may_hold_back(self) -> bool:
        """Whether writes may wait for the store: not once nobody would see to them any more."""
        return self._holds_back and self.replica is not None and not self.ended

    def hold_back(self, operations: Sequence[Operation]) -> tuple[Revision | None, ...] | None:
        """Have `operations` wait for the store, and return their revisions; None if not."""
        with ending:
            if not self.may_hold_back or self.replica is None:
                return None
            return self.replica.hold_back(operations)

    def committed(
        self,
        operations: Sequence[Operation],
        revisions: Sequence[Revision | None],
        asked: float,
        timeout: float,
    ) -> None:
        """Tell the replica of an acknowledged commit, sent at `asked`."""
        if self.replica is not None:
            for key in self.replica.committed(operations, revisions, asked):
                # Others wrote it at the same time: one's own write has to be seen, or theirs.
                with suppress(KVDictError):  # it is committed all the same; the replica asks again
                    self.replica.ask(key, timeout)

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
        finds that it is stale, again and again. A turn lasts as long as somebody has it or waits
        for it. Two threads that come first at the same instant may get one each: then they meet in
        the store, as two processes do.
        """
        turn = self._turns.setdefault(key, Turn(reentrant=True))
        return turn.take(work, self.timeout, lambda: self._busy(key))

    def _busy(self, key: str) -> Unavailable:
        return Unavailable(
            f"md[{key!r}]: other threads' changes of it did not end within {self.timeout:g} s; "
            "nothing was written"
        )

    def _warn_once(self, stored: Stored, error: DecodeError) -> None:
        revision = stored.entries[0].revision
        if self._warned.get(stored.key) != revision:
            import logging  # noqa: PLC0415 - rarely needed

            self._warned[stored.key] = revision
            logging.getLogger("kv_dict").warning(
                "%s; it is left out of the mapping (%s)", error, self
            )


@contextmanager
def _writing() -> Iterator[None]:
    """Say what Unavailable means for a write, whatever the backend: a read may raise it too."""
    try:
        yield
    except Unavailable as error:
        told = Unavailable(f"{error}; nothing was written")
        raise told.with_traceback(error.__traceback__) from error.__cause__
