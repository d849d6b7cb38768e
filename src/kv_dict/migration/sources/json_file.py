"""A JSON file: an object, each of whose members is an item."""

from __future__ import annotations

from typing import Any

from kv_dict.codec.documents import parse_json
from kv_dict.codec.tags import restore
from kv_dict.errors import DecodeError
from kv_dict.migration.sources.source import PathSource, Progress, Reading, Unusable, bytes_of

__all__ = ["JSONFile"]


class JSONFile(PathSource):
    """Plain JSON, and what kv_dict stores: numpy arrays, dates and others as tagged JSON.

    Parameters
    ----------
    path : Path
        The file.
    """

    kind = "json"

    def read(self, progress: Progress, *, timeout: float) -> Reading:
        found = self._parse(bytes_of(self.path))
        if not isinstance(found, dict):
            raise DecodeError(
                f"{self.path} holds {_KINDS.get(type(found), 'a value')}, not an object of keys "
                "and values"
            )
        reading = Reading()
        for key, value in found.items():
            try:
                reading.items[key] = restore(value, f"md[{key!r}]")
            except (DecodeError, RecursionError) as error:
                reading.unusable.append(Unusable(key, str(error)))
        progress("reading", len(found), len(found))
        return reading

    def _parse(self, data: bytes) -> Any:
        try:
            return parse_json(data)
        except RecursionError:
            raise DecodeError(f"{self.path} is nested too deeply to be read") from None
        except ValueError as error:
            raise DecodeError(f"{self.path} is not JSON: {error}") from None


_KINDS = {list: "a list", str: "a text", bool: "true or false", int: "a number", float: "a number"}
