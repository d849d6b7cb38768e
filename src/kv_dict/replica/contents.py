"""What a replica holds, and whether a piece of news is newer than that.

Three sources tell of entries: the watch, one's own acknowledged commits, and answers to reads that
had to ask the store. They arrive by different ways, so the last to arrive is not always the last to
have happened. Of each piece of news there is one question, is it newer than what is held, and three
answers, found in this order:

1. The store was asked for it after what is held was known here: newer.
2. Both have revisions that are numbers: the greater one is newer.
3. Nobody knows. The store is asked again, until the first rule decides.

So a key never goes back in time, one's own write is visible to one's next read, and no state that
lasts is ever missed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from kv_dict.model import (
    ABSENT,
    Delete,
    DeletePrefix,
    Deletion,
    Entry,
    Operation,
    Put,
    Revision,
    Snapshot,
)
from kv_dict.replica.held_back import HeldBack, Waiting

__all__ = ["Contents", "Group", "Listener"]

Group = tuple[Entry, ...]
"""The entries that one key of a mapping is made of, in order of their stored keys."""

Listener = Callable[[str, Group, Entry | Deletion], None]
"""Called at each change, in order, with the group's key, the group, and what changed in it.

Must only take note: the replica waits for it.
"""

MEMORY: Final = 60.0
"""Seconds that a deleted key is remembered: longer than any news of it can be under way."""

_FEW: Final = 1000


class _Sweep(NamedTuple):
    """One's own commit deleted a prefix: older news of keys under it may be under way."""

    revision: int | None
    done: float


class _Grave(NamedTuple):
    """A key went at a revision, or, if that is not `exact`, at a later one that is not known."""

    revision: int
    exact: bool


class Contents:
    """The entries, in groups. Not thread-safe, but for looking up one of `groups`.

    Parameters
    ----------
    prefix : str
        What every key starts with.
    group : callable
        Returns which group a stored key belongs to.

    Attributes
    ----------
    groups : dict of str to Group
        All that is held.
    doubts : set of str
        Keys that have to be asked for, see `answer`.
    listeners : tuple of Listener
        Whom to tell.
    held_back : HeldBack
        Writes that wait for the store: what is learnt of their keys is kept for later.
    """

    def __init__(self, prefix: str, group: Callable[[str], str]) -> None:
        self._prefix = prefix
        self._group = group
        self.groups: dict[str, Group] = {}
        self.doubts: set[str] = set()
        self.listeners: tuple[Listener, ...] = ()
        self.held_back = HeldBack()
        self._entries: dict[str, Entry] = {}
        self._known: dict[str, float] = {}  # since when each key is as it is held, or gone
        self._told: dict[str, float] = {}  # when a value that is its own revision was last told
        self._gone: dict[str, _Grave] = {}
        self._crowd = _FEW  # how many deleted keys are remembered before the old ones are forgotten
        # A key never heard of was not there when the store last told all that is there:
        self._floor = -1  # at this revision,
        self._whole = 0.0  # and known here since then.
        self._position = -1  # how far the watch has come
        self._sweeps: dict[str, _Sweep] = {}  # the last one of each prefix

    # -- news ------------------------------------------------------------------------------------

    def watched(self, news: Iterable[Entry | Deletion], asked: float | None) -> None:
        """Take what a watch says has changed."""
        for one in news:
            self._position = max(self._position, _number(one.revision))
            self._judge(one, asked)
        self._passed(asked)

    def begin(self, snapshot: Snapshot) -> None:
        """Take the snapshot with which a watch begins, or begins again."""
        reached = _number(snapshot.revision)
        if reached < self._position:
            self._floor = -1  # a store that was made anew counts from the beginning
        self._position = reached
        self._compare(snapshot, snapshot.asked)
        for key in [key for key in self._known if key not in self._entries]:
            if snapshot.asked is not None and self._known[key] <= snapshot.asked:
                self._forget(key)  # that it is gone is contained
        self._passed(snapshot.asked)

    def asked_for(self, snapshot: Snapshot, asked: float) -> None:
        """Take a snapshot that was asked for apart from the watch."""
        self._compare(snapshot, asked)

    def answered(self, name: str, entries: Sequence[Entry], asked: float) -> None:
        """Take what the store answered of one group."""
        found = {entry.key for entry in entries}
        for held in self.groups.get(name, ()):
            if held.key not in found:
                self._judge(Deletion(held.key), asked)
        for entry in entries:
            self._judge(entry, asked)

    def answer(self, key: str, entry: Entry | None, asked: float) -> bool:
        """Take what the store answered of one key; return whether it is in doubt no longer."""
        self.doubts.discard(key)
        return self._judge(Deletion(key) if entry is None else entry, asked)

    def committed(
        self, operations: Sequence[Operation], revisions: Sequence[Revision | None], asked: float
    ) -> set[str]:
        """Take one's own acknowledged commit, sent at `asked`; return the keys to be asked for.

        Until they are, it is not seen that it was committed.
        """
        before = frozenset(self.doubts)
        unseen: set[str] = set()
        seen: set[str] = set()
        last = max(map(_number, revisions), default=-1)
        for operation, revision in zip(operations, revisions, strict=True):
            if isinstance(operation, Put):
                if operation.key.startswith(self._prefix) and revision is not None:
                    (seen if self._put(operation, revision, asked) else unseen).add(operation.key)
            elif isinstance(operation, DeletePrefix):
                self._sweep(operation.prefix, last if last >= 0 else None, asked)
            elif operation.expected is not ABSENT:
                self._deleted(operation, asked)
        return (self.doubts - before - seen) | unseen

    # -- writes that wait for the store -----------------------------------------------------------

    def hold_back(self, operations: Sequence[Operation]) -> tuple[Revision | None, ...]:
        """Show what a commit would make, until the store is back; ConflictError as ever."""
        changes, revisions = self.held_back.add(operations, self._entries)
        for change in changes:
            if isinstance(change, Entry) or change.key in self._entries:
                self._hold(change)
        return revisions

    def delivered(self, key: str, was: Waiting, entry: Entry | None, asked: float) -> None:
        """Take what the store holds since a write that waited was committed, or refused."""
        if self.held_back.waiting.get(key) is not was:  # there is a later one
            base = ABSENT if entry is None else entry.revision
            self.held_back.waiting[key] = replace(self.held_back.waiting[key], base=base)
            return
        del self.held_back.waiting[key]
        learnt = self.held_back.learnt.pop(key, None)
        if entry is not None:
            self._hold(entry)
        elif key in self._entries:
            self._hold(Deletion(key))
        self._known[key] = asked
        if learnt is not None:
            self._judge(learnt, None)

    def after_fork(self) -> None:
        """Leave to the parent, in a child, whom to tell and what waits: it would be stored twice.

        What waits is still shown, until the snapshot with which the child begins.
        """
        self.listeners = ()
        self.held_back = HeldBack()

    # -- is it newer? ----------------------------------------------------------------------------

    def _compare(self, snapshot: Snapshot, asked: float | None) -> None:
        found = {entry.key for entry in snapshot.entries}
        for key in [key for key in self._entries if key not in found]:
            self._judge(Deletion(key, snapshot.revision), asked)
        for entry in snapshot.entries:
            self._judge(entry, asked)
        self._floor = max(self._floor, _number(snapshot.revision))
        self._whole = time.monotonic()

    def _judge(self, news: Entry | Deletion, asked: float | None) -> bool:
        """Hold `news` if it is newer than what is held; doubt if that cannot be told.

        Return whether it could be told.
        """
        key = news.key
        if key in self.held_back.waiting:
            self.held_back.learnt[key] = news
            return True
        held = self._entries.get(key)
        if held is None and isinstance(news, Deletion):
            self._bury(key, news.revision)
            return True
        if isinstance(news, Entry) and held is not None and _is_same(held, news):
            if not isinstance(news.revision, int):
                self._told[key] = time.monotonic()  # it may have been another one in between
            return True
        newer = self._is_newer(news, held, asked)
        if newer is None:
            self.doubts.add(key)
        elif newer:
            self._hold(news)
        return newer is not None

    def _is_newer(
        self, news: Entry | Deletion, held: Entry | None, asked: float | None
    ) -> bool | None:
        key, revision = news.key, news.revision
        known = self._known.get(key)
        if known is not None:
            grave = self._gone.get(key)
            last = held.revision if held is not None else grave.revision if grave else None
            known = max(known, self._told.get(key, known))
            newer = _is_newer(revision, asked, last, known)
            if newer and held is None and grave is not None and not grave.exact:
                newer = _is_newer(None, asked, None, known)  # it may have been put before it went
            return newer
        newer = _is_newer(revision, asked, self._floor, self._whole)
        # There may be many of them, or the key may be long.
        many = len(self._sweeps) > len(key)
        for end in range(len(key) + 1) if many else {*map(len, self._sweeps)}:
            sweep = self._sweeps.get(key[:end])
            if newer and sweep is not None:
                newer = _is_newer(revision, asked, sweep.revision, sweep.done)
        return newer

    def _put(self, operation: Put, revision: Revision, asked: float) -> bool:
        """Take note of one's own put; return whether one's next read is as new as that.

        If it was guarded, it is known what it replaced. If that is what has been held ever since
        it was sent, it is seen, and what may have come after it is asked for.
        """
        key = operation.key
        entry = Entry(key, operation.value, revision, time.time())
        if self._judge(entry, asked):
            return True
        held = self._entries.get(key)
        replaced = held is not None and held.revision == operation.expected
        if replaced and self._known[key] <= asked:
            self._hold(entry)  # and stays in doubt
            return True
        return False

    def _deleted(self, operation: Delete, asked: float) -> None:
        """Take note of one's own delete. If it was guarded, it is known what it deleted."""
        held, expected = self._entries.get(operation.key), operation.expected
        if held is not None and held.revision == expected:
            if self._told.get(operation.key, asked) > asked:
                self.doubts.add(operation.key)  # the same may have been put again since
            self._hold(Deletion(operation.key))
        elif held is None or not (_number(held.revision) > _number(expected) >= 0):
            self._judge(Deletion(operation.key), asked)

    def _sweep(self, prefix: str, revision: int | None, asked: float) -> None:
        name = self._group(prefix)
        if len(prefix) > len(self._prefix) and self._group(prefix + ".") == name:
            swept = [entry.key for entry in self.groups.get(name, ())]  # of one group only
        else:
            swept = list(self._entries)
        for key in swept:
            if key.startswith(prefix):
                self._judge(Deletion(key, revision), asked)
        self._sweeps.pop(prefix, None)
        self._sweeps[prefix] = _Sweep(revision, time.monotonic())
        if len(self._sweeps) > _FEW:  # while the watch is away; a snapshot ends them
            del self._sweeps[next(iter(self._sweeps))]

    def _passed(self, asked: float | None) -> None:
        """Forget the sweeps that the watch has come past."""
        if self._sweeps:
            old = max(time.monotonic() - MEMORY, -1.0 if asked is None else asked)
            self._sweeps = {
                prefix: sweep
                for prefix, sweep in self._sweeps.items()
                if sweep.done > old and (sweep.revision is None or sweep.revision > self._position)
            }

    # -- holding ---------------------------------------------------------------------------------

    def _hold(self, news: Entry | Deletion) -> None:
        """Make it what is held, and tell the listeners.

        `_entries` comes last: if a Ctrl-C, or a fork, tears this before, the same news are still
        news when the watch brings them, and all of it is done again.
        """
        key = news.key
        name = self._group(key)
        group = tuple(entry for entry in self.groups.get(name, ()) if entry.key != key)
        if isinstance(news, Entry):
            group = (*group, news)
            if len(group) > 1:
                group = tuple(sorted(group, key=_by_key))
        if group:
            self.groups[name] = group
        else:
            self.groups.pop(name, None)
        for listener in self.listeners:
            listener(name, group, news)
        if isinstance(news, Entry):
            self._known[key] = time.monotonic()
            self._told.pop(key, None)
            self._gone.pop(key, None)
            self._entries[key] = news
        else:
            last = self._entries[key].revision
            if isinstance(last, int):
                self._gone[key] = _Grave(last, exact=False)
            self._bury(key, news.revision)
            del self._entries[key]

    def _bury(self, key: str, revision: Revision | None) -> None:
        """Remember that a key went, for as long as older news of it may come."""
        now = self._known[key] = time.monotonic()
        self._told.pop(key, None)
        grave = self._gone.get(key)
        if isinstance(revision, int):
            if grave is None or revision >= grave.revision:
                self._gone[key] = _Grave(revision, exact=True)
        elif grave is not None:  # it may have been put, and gone again
            self._gone[key] = _Grave(grave.revision, exact=False)
        absent = len(self._known) - len(self._entries)
        if absent > self._crowd and absent > len(self._entries):
            old = now - MEMORY
            for buried, since in tuple(self._known.items()):
                if since < old and buried not in self._entries:
                    self._forget(buried)
            # Looked through again when there are twice as many: each costs its share, and no more.
            self._crowd = max(_FEW, 2 * (len(self._known) - len(self._entries)))

    def _forget(self, key: str) -> None:
        del self._known[key]
        self._gone.pop(key, None)


def _is_same(held: Entry, news: Entry) -> bool:
    # Both, because a store that was made anew may give the same revision to another value.
    return held.revision == news.revision and held.value == news.value


def _is_newer(
    revision: Revision | None, asked: float | None, last: Revision | None, known: float
) -> bool | None:
    """Return whether news are newer than what was known at `known`; None if that cannot be told."""
    if asked is not None and asked >= known:
        return True
    if isinstance(revision, int) and isinstance(last, int):
        return revision > last
    return None


def _number(revision: object) -> int:
    return revision if isinstance(revision, int) else -1


def _by_key(entry: Entry) -> str:
    return entry.key
