"""What the store holds of one key of a mapping, and how a changed value goes back there.

Usually that is one entry. With a separator there may be entries below it, written by other
programs: ``ep1:main:sup1`` is read as ``md["main"]["sup1"]``. A key that has both a value of its
own and entries below is a dict: its own dict with the others merged in, at every depth, or
``{"_value": ...}`` where its own value is no dict. A changed value goes back to the entries its
parts came from.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from kv_dict.codec import Codec
from kv_dict.keys import KeySpace
from kv_dict.model import ABSENT, Delete, Entry, Operation, Put, Revision

__all__ = ["VALUE", "Stored", "group"]

VALUE: Final = "_value"


class Stored:
    """The entries behind one key of a mapping, as read at one point in time. Immutable.

    Parameters
    ----------
    key : str
        The mapping's key.
    entries : sequence of Entry
        The entry of that key, if there is one, and every entry below it.
    space : KeySpace
        How keys are spelt.
    codec : Codec
        How values are.
    """

    __slots__ = ("_codec", "_space", "entries", "key")

    def __init__(self, key: str, entries: Sequence[Entry], space: KeySpace, codec: Codec) -> None:
        self.key = key
        self.entries: Sequence[Entry] = entries
        self._space = space
        self._codec = codec

    def __bool__(self) -> bool:
        return bool(self.entries)

    def same_as(self, other: Stored) -> bool:
        """Return whether both are the same entries at the same revisions."""
        return [(e.key, e.revision) for e in self.entries] == [
            (e.key, e.revision) for e in other.entries
        ]

    def is_like(self, other: Stored) -> bool:
        """Return whether both hold the same, be it of different entry points."""
        return [(self._space.split(e.key), e.value) for e in self.entries] == [
            (other._space.split(e.key), e.value) for e in other.entries
        ]

    def value(self) -> Any:
        """Return the value: new plain data, shared with nobody.

        Raises
        ------
        DecodeError
            An entry is not a value; names the key.
        """
        if len(self.entries) == 1 and self.entries[0].key == self._space.spell(self.key):
            return self._codec.decode(self.entries[0].value, f"md[{self.key!r}]")
        return self._tree().value(self._codec)

    def showing(self, value: Any) -> Stored:
        """Return it with another value, for reading only."""
        data = self._codec.encode(value, f"md[{self.key!r}]")
        entry = Entry(self._space.spell(self.key), data, "")
        return Stored(self.key, (entry,), self._space, self._codec)

    def replacement(self, value: Any) -> list[Operation]:
        """Return the guarded operations after which the store holds `value` under this key.

        Raises
        ------
        EncodeError
            Something in `value` cannot be stored.
        """
        if len(self.entries) <= 1 and not self._is_tree():
            where = self._space.spell(self.key)
            data = self._codec.encode(value, f"md[{self.key!r}]")
            if not self.entries:
                return [Put(where, data, ABSENT)]
            (entry,) = self.entries
            if entry.value == data:
                return []
            return [Put(where, data, entry.revision), *self._nothing_below(value)]
        operations: list[Operation] = []
        self._tree().spread(value, self._codec, self._space, operations)
        return operations

    def _nothing_below(self, value: Any) -> list[Operation]:
        """Return guards: an entry that others have made below would hide a new part of `value`."""
        if self._space.sep is None or not isinstance(value, dict):
            return []
        old = self.value()
        if not isinstance(old, dict):
            return []
        new = [step for step in value if step not in old]
        return [Delete(self._space.join([self.key, step]), ABSENT) for step in new]

    def removal(self) -> list[Operation]:
        """Return the guarded operations that remove all of it."""
        return [Delete(entry.key, entry.revision) for entry in self.entries]

    def after(
        self, operations: Sequence[Operation], revisions: Sequence[Revision | None]
    ) -> Stored:
        """Return what is stored once `operations` of `replacement` were committed."""
        entries = {entry.key: entry for entry in self.entries}
        for operation, revision in zip(operations, revisions, strict=True):
            if isinstance(operation, Put) and revision is not None:
                entries[operation.key] = Entry(operation.key, operation.value, revision)
            elif isinstance(operation, Delete):
                entries.pop(operation.key, None)
        ordered = tuple(entries[key] for key in sorted(entries))
        return Stored(self.key, ordered, self._space, self._codec)

    def _is_tree(self) -> bool:
        return bool(self.entries) and self.entries[0].key != self._space.spell(self.key)

    def _tree(self) -> _Node:
        root = _Node([self.key])
        for entry in self.entries:
            node = root
            for step in self._space.split(entry.key)[1:]:
                node = node.below.setdefault(step, _Node([*node.path, step]))
            node.entry = entry
        return root


class _Node:
    """One stored key of a tree, with those below it."""

    def __init__(self, path: list[str]) -> None:
        self.path = path
        self.entry: Entry | None = None
        self.below: dict[str, _Node] = {}

    @property
    def where(self) -> str:
        return _where(self.path)

    def own_value(self, codec: Codec) -> Any:
        return {} if self.entry is None else codec.decode(self.entry.value, self.where)

    def value(self, codec: Codec) -> Any:
        value = self.own_value(codec)
        if not self.below:
            return value
        if not isinstance(value, dict):
            value = {VALUE: value} if VALUE not in self.below else {}
        for step in sorted(self.below):
            part = self.below[step].value(codec)
            value[step] = _merged(value[step], part) if step in value else part
        return value

    def spread(
        self, value: Any, codec: Codec, space: KeySpace, operations: list[Operation]
    ) -> None:
        """Append the operations that turn what is stored here and below into `value`."""
        if not self.below or not isinstance(value, dict):
            for node in self.below.values():
                node.remove(operations)
            self._put(self.path, self.entry, value, codec, space, operations)
            return
        own = self.own_value(codec)
        here: dict[str, Any] = {}
        staying = set()
        for step, part in value.items():
            if step not in self.below:
                here[step] = part
                continue
            node = self.below[step]
            if isinstance(own, dict) and step in own:
                # Two entries have this part. What changes moves to the one below.
                part_below = node.value(codec)
                where = _where(node.path)
                shown = _merged(own[step], part_below)
                unchanged = codec.encode(part, where) == codec.encode(shown, where)
                if unchanged or not (isinstance(part_below, dict) or isinstance(part, dict)):
                    staying.add(step)
                if unchanged:
                    continue
            node.spread(part, codec, space, operations)
        for step in self.below.keys() - value.keys():
            self.below[step].remove(operations)
        if self.entry is not None and isinstance(own, dict):
            if staying:
                kept = {step: here.get(step, part) for step, part in own.items()}
                here = {step: kept[step] for step in kept if step in here or step in staying} | here
            self._put(self.path, self.entry, here, codec, space, operations)
            # Where others have just made an entry below of that name, it would hide the new part.
            operations += [
                Delete(space.join([*self.path, step]), ABSENT)
                for step in sorted(here.keys() - own.keys())
            ]
            return
        # No dict of its own to take new parts: each becomes an entry below, in the layout's manner.
        alone = not (self.below.keys() & value.keys())
        if VALUE in here and not isinstance(here[VALUE], dict):
            scalar = here.pop(VALUE)
            if alone and not here and (self.entry is None or scalar != own):
                scalar = {VALUE: scalar}  # by itself it would not be read as a dict
            self._put(self.path, self.entry, scalar, codec, space, operations)
        elif not value:
            self._put(self.path, self.entry, {}, codec, space, operations)
        elif self.entry is not None and VALUE not in self.below.keys() & value.keys():
            operations.append(Delete(self.entry.key, self.entry.revision))
        for step, part in here.items():
            self._put([*self.path, step], None, part, codec, space, operations)

    def remove(self, operations: list[Operation]) -> None:
        if self.entry is not None:
            operations.append(Delete(self.entry.key, self.entry.revision))
        for node in self.below.values():
            node.remove(operations)

    def _put(
        self,
        path: list[str],
        entry: Entry | None,
        value: Any,
        codec: Codec,
        space: KeySpace,
        operations: list[Operation],
    ) -> None:
        data = codec.encode(value, _where(path))
        if entry is None:
            operations.append(Put(space.join(path), data, ABSENT))
        elif entry.value != data:
            operations.append(Put(entry.key, data, entry.revision))


def _merged(own: Any, below: Any) -> Any:
    """Return what is read where an entry has one value of a part and those below it another."""
    if not isinstance(below, dict):
        return below  # which hides the other
    if not isinstance(own, dict):
        return {VALUE: own} | below
    shared = {step: _merged(own[step], below[step]) for step in own.keys() & below.keys()}
    return own | below | shared


def _where(path: Sequence[str]) -> str:
    """Return how messages name a place: ``md['main']['sup1']``."""
    return "md" + "".join(f"[{step!r}]" for step in path)


def group(entries: Iterable[Entry], space: KeySpace, codec: Codec) -> list[Stored]:
    """Return the entries of a snapshot by key of the mapping, in the order of those keys."""
    keys: dict[str, list[Entry]] = {}
    for entry in entries:
        keys.setdefault(space.first(entry.key), []).append(entry)
    return [Stored(key, keys[key], space, codec) for key in sorted(keys)]
