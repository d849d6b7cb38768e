"""What redis-json-dict wrote: plain Redis strings of JSON, behind a literal prefix."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import parse_qsl, quote, urlencode

from kv_dict.errors import ConfigurationError
from kv_dict.keys import KeySpace
from kv_dict.migration.places import Place
from kv_dict.migration.sources.kv_store import KVStore
from kv_dict.migration.sources.source import Reading

__all__ = ["RedisJSONDictSource", "prefix_in"]

_SHOWN: Final = 5


class RedisJSONDictSource(KVStore):
    """``RedisJSONDict(client, prefix)``.

    Parameters
    ----------
    url : str
        Of the Redis database, with the option ``prefix``: ``redis://host:6379/0?prefix=xas-``.
    """

    kind = "redis-json-dict"

    def __init__(self, url: str) -> None:
        if not url.startswith(("redis", "unix:")):
            raise ConfigurationError("redis-json-dict keeps its keys in Redis: redis://host:6379/0")
        prefix = prefix_in(url)
        if prefix is None:
            raise ConfigurationError(
                "redis-json-dict keeps its keys behind a prefix: name it, as in "
                "redis://host:6379/0?prefix=xas- (an empty prefix= means all keys of the database)"
            )
        base, _, query = url.partition("?")
        rest = [(name, text) for name, text in parse_qsl(query, True) if name != "prefix"]
        plain = base + (f"?{urlencode(rest, quote_via=quote)}" if rest else "")
        super().__init__(Place.at(plain, KeySpace(prefix, None)))

    def _read(self, timeout: float) -> Reading:
        reading = super()._read(timeout)
        nulls = [f"md[{k!r}]{path}" for k, v in reading.items.items() for path in _nulls(v)]
        if nulls:
            shown = ", ".join(nulls[:_SHOWN]) + (", ..." if len(nulls) > _SHOWN else "")
            reading.notes.append(
                f"None at {shown}: redis-json-dict stored NaN and infinity as null too, so they "
                "may have been that"
            )
        return reading


def prefix_in(url: str) -> str | None:
    """Return the option ``prefix`` of a URL, None if it has none."""
    return dict(parse_qsl(url.partition("?")[2], keep_blank_values=True)).get("prefix")


def _nulls(value: Any, path: str = "") -> Iterator[str]:
    """Yield the path of every None in a value of JSON."""
    if value is None:
        yield path
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _nulls(item, f"{path}[{key!r}]")
    elif isinstance(value, list):
        for at, item in enumerate(value):
            yield from _nulls(item, f"{path}[{at}]")
