"""The name of the table, quoted safely, and of what belongs to it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from kv_dict.errors import ConfigurationError

__all__ = ["TableName", "quoted"]

_LONGEST: Final = 50  # PostgreSQL cuts names after 63 bytes; the longest suffix takes 11
_PART: Final = r'(?:"(?:[^"$\x00-\x1f]|"")+"|[^\W\d]\w*)'
_NAME: Final = re.compile(rf"(?:({_PART})\.)?({_PART})")


def quoted(name: str) -> str:
    """Return an identifier as SQL spells it exactly."""
    return '"' + name.replace('"', '""') + '"'


@dataclass(frozen=True, slots=True)
class TableName:
    """The entries' table. `schema` is None where the connection's search path decides."""

    schema: str | None
    name: str

    @classmethod
    def parse(cls, text: str) -> TableName:
        """Read a name as SQL does: ``kv_store``, ``beamline.kv_store``, ``"Odd name"``.

        Raises
        ------
        ConfigurationError
            It is no such name.
        """
        found = _NAME.fullmatch(text) if text else None
        if found is None:
            raise ConfigurationError(
                f"table={text!r} is not the name of a table; give one like kv_store, "
                'schema.kv_store or "Any Name" in double quotes (without $)'
            )
        schema = None if found[1] is None else _exact(found[1])
        name = _exact(found[2])
        if len(name.encode()) > _LONGEST or len((schema or "").encode()) > 63:
            raise ConfigurationError(f"table={text!r} is too long: up to {_LONGEST} bytes")
        return cls(schema, name)

    def of(self, schema: str) -> TableName:
        """Return this table in a certain schema."""
        return TableName(schema, self.name)

    def sql(self, suffix: str = "") -> str:
        """Return the SQL name of the table, or of one of the things that belong to it."""
        own = quoted(self.name + suffix)
        return own if self.schema is None else f"{quoted(self.schema)}.{own}"

    @property
    def channel(self) -> str:
        """The channel on which changes are announced."""
        return f"kv_dict.{self.name}"

    def __str__(self) -> str:
        return self.name if self.schema is None else f"{self.schema}.{self.name}"


def _exact(part: str) -> str:
    return part[1:-1].replace('""', '"') if part.startswith('"') else part.lower()
