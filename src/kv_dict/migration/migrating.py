"""Doing it: refuse, write, read back, and say what was done."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from kv_dict.errors import (
    ConfigurationError,
    ConflictError,
    EncodeError,
    KVDictError,
    OutcomeUnknown,
    Unsupported,
)
from kv_dict.mapping import RemoteKVMapping
from kv_dict.mapping.options import check_timeout
from kv_dict.migration.comparing import same
from kv_dict.migration.places import Place
from kv_dict.migration.planning import Entry, Plan, make_plan
from kv_dict.migration.sources import Progress, Source, open_source
from kv_dict.model import Operation
from kv_dict.portal import face_of

__all__ = ["EXISTING", "TIMEOUT", "Migration", "Report", "migrate", "prepare"]

EXISTING: Final = ("refuse", "overwrite", "keep")
TIMEOUT: Final = 30.0
_SHOWN: Final = 5


@dataclass
class Report:
    """What was done so far; true also after an error.

    Attributes
    ----------
    read : int
        Items in the source.
    written : int
        Items that were added or changed, and acknowledged by the destination.
    equal : int
        Items that the destination had already.
    kept : int
        Items where the destination's own value was kept.
    skipped : int
        Items that cannot be stored, left out.
    refused : int
        Items because of which nothing was written.
    verified : int
        Items that were read back from the destination, with the same type and value.
    uncertain : list of str
        Keys that may or may not have been written.
    """

    read: int = 0
    written: int = 0
    equal: int = 0
    kept: int = 0
    skipped: int = 0
    refused: int = 0
    verified: int = 0
    uncertain: list[str] = field(default_factory=list)


class Migration:
    """A plan, and what carries it out. Made by `prepare`; used once, by one thread.

    Attributes
    ----------
    source : Source
        Where the items come from; it has been read.
    destination : Place
        Where they go; it has been looked at, and not changed.
    plan : Plan
        What `run` will do.
    report : Report
        What it has done.
    """

    def __init__(
        self,
        source: Source,
        destination: Place,
        plan: Plan,
        *,
        existing: str,
        skip_unusable: bool,
        timeout: float,
    ) -> None:
        self.source = source
        self.destination = destination
        self.plan = plan
        self._existing = existing
        self._skip_unusable = skip_unusable
        self._timeout = timeout
        unusable, differing = len(plan.unusable), len(plan.change)
        self.report = Report(
            read=plan.read,
            equal=len(plan.equal),
            kept=differing if existing == "keep" else 0,
            skipped=unusable if skip_unusable else 0,
            refused=(0 if skip_unusable else unusable) + (differing if existing == "refuse" else 0),
        )

    @property
    def to_write(self) -> dict[str, Entry]:
        """The items that `run` writes, by key."""
        changed = self.plan.change if self._existing == "overwrite" else {}
        return self.plan.add | changed

    def refusal(self) -> KVDictError | None:
        """Return why `run` would refuse to begin, None if it would not."""
        plan = self.plan
        if plan.unusable and not self._skip_unusable:
            reasons = "; ".join(item.reason for item in plan.unusable[:_SHOWN])
            return EncodeError(
                f"{len(plan.unusable)} of {plan.read} items cannot be stored, and nothing was "
                f"written: {reasons}{_more(plan.unusable)}. Put them right, or leave them out with "
                "--skip-unusable"
            )
        if plan.change and self._existing == "refuse":
            keys = list(plan.change)
            return ConflictError(
                f"the destination has another value of {', '.join(map(repr, keys[:_SHOWN]))}"
                f"{_more(keys)}, and nothing was written. Say what shall be: --overwrite or "
                "--keep-existing",
                [self.destination.space.spell(key) for key in keys],
            )
        return None

    def run(self, progress: Progress | None = None) -> Report:
        """Write what is to be written, read everything back, and return the report.

        Raises
        ------
        EncodeError, ConflictError
            It refuses to begin (`refusal`), or the destination was changed by others meanwhile.
        Unavailable, OutcomeUnknown
            The destination stopped to answer. What was written by then is in `report`, and stays;
            a new migration does the rest.
        """
        progress = progress or _silent
        if (refusal := self.refusal()) is not None:
            raise refusal
        if self.to_write:
            with self.destination.open(timeout=self._timeout) as md:
                for entries in self._commits(md):
                    progress("writing", self.report.written, len(self.to_write))
                    self._commit(md, entries)
            progress("writing", self.report.written, len(self.to_write))
        self._verify(progress)
        return self.report

    def _commits(self, md: RemoteKVMapping) -> Iterator[list[Entry]]:
        """Yield the items in as few commits as the destination can take."""
        most = md.backend.capabilities.max_operations
        chunk: list[Entry] = []
        size = 0
        for entry in self.to_write.values():
            needed = len(entry.operations(self.destination))
            if chunk and most is not None and size + needed > most:
                yield chunk
                chunk, size = [], 0
            chunk.append(entry)
            size += needed
        yield chunk

    def _commit(self, md: RemoteKVMapping, entries: list[Entry]) -> None:
        operations: list[Operation] = []
        for entry in entries:
            operations += entry.operations(self.destination)
        try:
            face_of(md.backend).commit(operations, timeout=self._timeout)
        except Unsupported:
            if len(entries) == 1:
                raise
            for entry in entries:  # several together is more than this server can do
                self._commit(md, [entry])
            return
        except ConflictError as conflict:
            raise ConflictError(
                f"others changed the destination since it was compared; the rest was not written "
                f"({conflict}). Run the migration again",
                conflict.keys,
            ) from None
        except BaseException as error:
            certain = isinstance(error, KVDictError) and not isinstance(error, OutcomeUnknown)
            self.report.uncertain = [] if certain else [entry.key for entry in entries]
            raise
        self.report.written += len(entries)

    def _verify(self, progress: Progress) -> None:
        """Compare with what a new mapping reads."""
        expected = self.plan.equal | self.to_write
        if not expected:
            return
        with self.destination.open(timeout=self._timeout) as md:
            found = md.copy()
        wrong = []
        for done, (key, entry) in enumerate(expected.items()):
            progress("verifying", done, len(expected))
            if key in found and same(found[key], entry.value):
                self.report.verified += 1
            else:
                wrong.append(key)
        progress("verifying", len(expected), len(expected))
        if wrong:
            raise ConflictError(
                f"{len(wrong)} of {len(expected)} items do not read back as they were written: "
                f"{', '.join(map(repr, wrong[:_SHOWN]))}{_more(wrong)}. Others may have changed "
                "them; run the migration again to see what differs",
                [self.destination.space.spell(key) for key in wrong],
            )


def prepare(
    source: str | os.PathLike[str],
    to: str,
    *,
    kind: str | None = None,
    from_entry_point: str | None = None,
    from_separator: str | None = None,
    all_entry_points: bool = False,
    entry_point: str | None = None,
    existing: str = "refuse",
    skip_unusable: bool = False,
    timeout: float = TIMEOUT,
    progress: Progress | None = None,
) -> Migration:
    """Read a source, compare it with a destination, and return what a migration would do.

    Neither is changed. The parameters and errors are those of `migrate`.
    """
    if existing not in EXISTING:
        raise ConfigurationError(f"existing={existing!r}: one of {', '.join(EXISTING)}")
    check_timeout(timeout)
    if all_entry_points and (entry_point is not None or from_entry_point is not None):
        raise ConfigurationError("either all entry points, each under its name, or one")
    origin = open_source(
        source,
        kind,
        entry_point=from_entry_point,
        separator=from_separator,
        everything=all_entry_points,
    )
    destination = Place.of(to, entry_point, everything=all_entry_points)
    if origin.holds(destination):
        raise ConfigurationError(
            f"the destination, {destination}, is a part of the source, {origin.name}: migrating "
            "would change it. What is there already in the layout of kv-dict needs no migration"
        )
    progress = progress or _silent
    reading = origin.read(progress, timeout=timeout)
    plan = make_plan(reading, destination, progress, timeout=timeout)
    return Migration(
        origin,
        destination,
        plan,
        existing=existing,
        skip_unusable=skip_unusable,
        timeout=timeout,
    )


def migrate(
    source: str | os.PathLike[str],
    to: str,
    *,
    kind: str | None = None,
    from_entry_point: str | None = None,
    from_separator: str | None = None,
    all_entry_points: bool = False,
    entry_point: str | None = None,
    existing: str = "refuse",
    skip_unusable: bool = False,
    timeout: float = TIMEOUT,
    progress: Progress | None = None,
) -> Report:
    """Copy the metadata of another place into a store, verify the copy, and report.

    The source is only read. Items that the destination has already, with the same types and values,
    are left alone, so that a migration can be run again, after an interruption too.

    Parameters
    ----------
    source : str or os.PathLike
        ``redis://host:6379/0?prefix=xas-`` (redis-json-dict), the URL of a store of kv-dict 0.1 or
        later, the folder of a bluesky ``PersistentDict``, or a file: of apstools' ``StoredDict``,
        other YAML, JSON.
    to : str
        The URL of a store.
    kind : str, optional
        Of the source, where that is not clear: one of `KINDS`.
    from_entry_point, from_separator : str, optional
        Of a source that is a store of kv-dict: ``KV_DICT_ENTRY_POINT`` or
        ``"md"``, and ``":"``.
    all_entry_points : bool
        Copy every stored key of such a source as it is.
    entry_point : str, optional
        In the destination: ``KV_DICT_ENTRY_POINT`` or ``"md"``.
    existing : {"refuse", "overwrite", "keep"}
        What to do if the destination has another value of some key.
    skip_unusable : bool
        Leave out items that cannot be stored, instead of refusing to begin.
    timeout : float
        Seconds for each operation of a store.
    progress : callable, optional
        Called with what is being done, how much is done, and how much there is.

    Returns
    -------
    Report
        The counts.

    Raises
    ------
    EncodeError
        Items cannot be read or stored; nothing was written.
    ConflictError
        The destination has other values; nothing was written. Or others wrote there meanwhile.
    ConfigurationError
        The source or the destination cannot be used like this.
    DecodeError
        The source cannot be read.
    Unavailable, OutcomeUnknown
        A store does not answer. What was written stays, and a new migration does the rest.

    Examples
    --------
    >>> from kv_dict.migration import migrate
    >>> path = tmp_path / "md.json"
    >>> _ = path.write_text('{"beamline_id": "xas", "scan_id": 7}')
    >>> migrate(str(path), f"sqlite://{tmp_path}/md.db").verified
    2
    """
    migration = prepare(
        source,
        to,
        kind=kind,
        from_entry_point=from_entry_point,
        from_separator=from_separator,
        all_entry_points=all_entry_points,
        entry_point=entry_point,
        existing=existing,
        skip_unusable=skip_unusable,
        timeout=timeout,
        progress=progress,
    )
    return migration.run(progress)


def _more(items: list[Any]) -> str:
    return f" and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""


def _silent(doing: str, done: int, of: int) -> None:
    pass
