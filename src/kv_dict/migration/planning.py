"""What a migration would do: every item of the source, compared with what the destination has."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from kv_dict.backend import StoreMissing
from kv_dict.codec import JSONCodec
from kv_dict.errors import DecodeError, EncodeError
from kv_dict.keys import check_key
from kv_dict.mapping.stored import Stored, group
from kv_dict.migration.comparing import differences, kind_of, same
from kv_dict.migration.places import Place
from kv_dict.migration.sources import Progress, Reading, Unreadable, Unusable
from kv_dict.migration.sources.source import unreadable_in
from kv_dict.model import ABSENT, Delete, Operation, Put

__all__ = ["Conversion", "Entry", "Plan", "make_plan"]

_RESERVED: Final = ("uid", "time")


class Conversion(NamedTuple):
    """A value whose type changes: the path of it, and what it was and will be."""

    path: str
    before: str
    after: str


@dataclass(frozen=True)
class Entry:
    """An item that can be stored.

    Attributes
    ----------
    value : object
        As it will be read from the destination.
    data : bytes
        As it will be stored there.
    before : object
        What the destination has; meaningless where `there` is empty. `Unreadable` if that cannot be
        decoded.
    there : Stored
        The entries that the destination has of this key.
    """

    key: str
    value: Any
    data: bytes
    before: Any
    there: Stored

    def operations(self, place: Place) -> list[Operation]:
        """Return the guarded operations after which the destination has it and nothing below."""
        where = place.space.spell(self.key)
        expected = {entry.key: entry.revision for entry in self.there.entries}
        operations: list[Operation] = [Put(where, self.data, expected.pop(where, ABSENT))]
        operations += [Delete(key, revision) for key, revision in expected.items()]
        return operations


@dataclass
class Plan:
    """What is to be done with each item.

    Attributes
    ----------
    read : int
        How many items the source has.
    add, change, equal : dict of str to Entry
        By what the destination has: nothing, something else, the same.
    unusable : list of Unusable
        Items that cannot be read or stored.
    left : list of str
        Keys that only the destination has.
    conversions : list of Conversion
        Values that come back as another type.
    warnings : list of str
        What bluesky will refuse.
    notes : list of str
        What is to be known of the source.
    """

    read: int = 0
    add: dict[str, Entry] = field(default_factory=dict)
    change: dict[str, Entry] = field(default_factory=dict)
    equal: dict[str, Entry] = field(default_factory=dict)
    unusable: list[Unusable] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    conversions: list[Conversion] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def make_plan(reading: Reading, place: Place, progress: Progress, *, timeout: float) -> Plan:
    """Return what would have to be done. The destination is looked at, and not changed."""
    there, foreign = _there(place, timeout)
    plan = Plan(
        len(reading),
        unusable=list(reading.unusable),
        left=[key for key in there if key not in reading.items],
        notes=list(reading.notes),
    )
    longest = place.backend.capabilities.longest_key
    for done, (key, value) in enumerate(reading.items.items()):
        progress("comparing", done, len(reading.items))
        try:
            entry = _entry(key, value, place, there, foreign, longest)
        except (EncodeError, TypeError) as error:
            plan.unusable.append(Unusable(key if isinstance(key, str) else repr(key), str(error)))
            continue
        except RecursionError:
            plan.unusable.append(Unusable(key, f"md[{key!r}] is nested too deeply"))
            continue
        for difference in differences(value, entry.value, f"md[{key!r}]"):
            before, after = kind_of(difference.left), kind_of(difference.right)
            plan.conversions.append(Conversion(difference.path, before, after))
        plan.warnings += _refused_by_bluesky(key, entry.value)
        if not entry.there:
            plan.add[key] = entry
        elif same(entry.before, entry.value):
            plan.equal[key] = entry
        else:
            plan.change[key] = entry
    progress("comparing", len(reading.items), len(reading.items))
    return plan


def _there(place: Place, timeout: float) -> tuple[dict[str, Stored], dict[str, str]]:
    """Return what the destination has of each key, and the stored keys that are no entries."""
    try:
        entries = place.look(timeout=timeout).entries
        foreign = place.foreign_keys(timeout=timeout)
    except StoreMissing:
        if not place.making:
            raise
        return {}, {}
    finally:
        place.close()
    return {stored.key: stored for stored in group(entries, place.space, JSONCodec())}, foreign


def _entry(
    key: Any,
    value: Any,
    place: Place,
    there: dict[str, Stored],
    foreign: dict[str, str],
    longest: int | None,
) -> Entry:
    check_key(key)
    where = place.space.spell(key)
    if where in foreign:
        raise EncodeError(f"md[{key!r}] has no room: in the destination it is {foreign[where]}")
    if longest is not None and len(where.encode()) > longest:
        raise EncodeError(
            f"the key {key[:40]!r}... is longer than the {longest} bytes that a key of this "
            "destination may always have"
        )
    if found := unreadable_in(value, f"md[{key!r}]"):
        raise EncodeError(f"{found[0]} cannot be read: {found[1]}")
    codec = JSONCodec()
    data = codec.encode(value, f"md[{key!r}]")
    stored = there.get(key) or Stored(key, (), place.space, codec)
    before: Any = None
    if stored:
        try:
            before = stored.value()
        except DecodeError as error:
            before = Unreadable(str(error))
    return Entry(key, codec.decode(data, f"md[{key!r}]"), data, before, stored)


def _refused_by_bluesky(key: str, value: Any) -> Iterator[str]:
    if key in _RESERVED:
        yield f"md[{key!r}]: bluesky gives every run a {key!r} of its own and refuses another"
    for path in _odd_keys({key: value}, "md"):
        yield f"{path}: bluesky refuses keys with '.' or '/' in what a run carries"


def _odd_keys(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            if "." in key or "/" in key:
                yield f"{path}[{key!r}]"
            yield from _odd_keys(item, f"{path}[{key!r}]")
    elif isinstance(value, list):
        for at, item in enumerate(value):
            yield from _odd_keys(item, f"{path}[{at}]")
