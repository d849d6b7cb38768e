"""A store of kv-dict, of this version or of 0.1, which has the same layout: ``entry point:key``."""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from kv_dict.codec import JSONCodec
from kv_dict.errors import ConfigurationError, DecodeError, Unsupported
from kv_dict.mapping.stored import group
from kv_dict.migration.places import Place
from kv_dict.migration.sources.source import Progress, Reading, Source, Unusable

__all__ = ["KVStore"]

_SHOWN: Final = 10


class KVStore(Source):
    """Some keys of a store.

    Parameters
    ----------
    place : Place
        Which; nothing is made or upgraded there.
    """

    kind = "kv-dict"

    def __init__(self, place: Place) -> None:
        if place.making and not place.file:
            raise ConfigurationError(
                f"{place.backend.url}: a source is only read; leave create_table and create_bucket "
                "out of its URL"
            )
        self.place = place

    @property
    def name(self) -> str:
        return str(self.place)

    def read(self, progress: Progress, *, timeout: float) -> Reading:
        try:
            reading = self._read(timeout)
        finally:
            self.place.close()
        progress("reading", len(reading), len(reading))
        return reading

    def _read(self, timeout: float) -> Reading:
        reading = Reading()
        entries = self.place.look(timeout=timeout).entries
        for stored in group(entries, self.place.space, JSONCodec()):
            try:
                reading.items[stored.key] = stored.value()
            except DecodeError as error:
                reading.unusable.append(Unusable(stored.key, str(error)))
        for key, what in self.place.foreign_keys(timeout=timeout).items():
            reading.unusable.append(Unusable(key, f"{key!r} is {what}"))
        if not reading and (others := self._entry_points(timeout)):
            reading.notes.append(f"nothing is stored there; there is: {', '.join(others)}")
        return reading

    def _entry_points(self, timeout: float) -> list[str]:
        """Return what the stored keys of the whole store begin with."""
        sep = self.place.space.sep or ":"
        with suppress(Unsupported):  # a cluster cannot list all
            keys = [entry.key for entry in self.place.look("", timeout=timeout).entries]
            names = sorted({key.partition(sep)[0] for key in keys})
            return names if len(names) <= _SHOWN else [*names[:_SHOWN], "..."]
        return []

    def holds(self, destination: Place) -> bool:
        return self.place.overlaps(destination)
