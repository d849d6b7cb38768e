"""What a watch has already told its consumer, so that a new snapshot can be told as differences."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from kv_dict.model import Deletion, Entry, Revision

__all__ = ["Delivered"]


class Delivered:
    """The keys and revisions that a consumer knows. Belongs to one watch; not thread-safe."""

    def __init__(self) -> None:
        self._known: dict[str, Revision] = {}

    def changes(self, events: Iterable[Entry | Deletion]) -> Iterator[Entry | Deletion]:
        """Pass on what is news to the consumer, and remember it."""
        for event in events:
            if isinstance(event, Entry):
                if self._known.get(event.key) != event.revision:
                    self._known[event.key] = event.revision
                    yield event
            elif self._known.pop(event.key, None) is not None:
                yield event

    def difference(self, entries: Iterable[Entry]) -> Iterator[Entry | Deletion]:
        """Yield what leads from what the consumer knows to `entries`, deletions first."""
        entries = tuple(entries)
        present = {entry.key for entry in entries}
        gone = [Deletion(key) for key in self._known if key not in present]
        yield from self.changes(gone)
        yield from self.changes(entries)

    def doubt(self) -> None:
        """Take every revision that the consumer knows for outdated: another store counts anew."""
        self._known = dict.fromkeys(self._known, b"")
