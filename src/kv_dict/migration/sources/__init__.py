"""Where metadata may come from, a module each, and telling them apart."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from kv_dict.errors import ConfigurationError
from kv_dict.migration.places import Place, is_url
from kv_dict.migration.sources.json_file import JSONFile
from kv_dict.migration.sources.kv_store import KVStore
from kv_dict.migration.sources.persistent_dict import PersistentDictSource
from kv_dict.migration.sources.redis_json_dict import RedisJSONDictSource, prefix_in
from kv_dict.migration.sources.source import Progress, Reading, Source, Unreadable, Unusable
from kv_dict.migration.sources.yaml_file import StoredDictFile, YAMLFile, is_of_stored_dict

__all__ = [
    "KINDS",
    "Progress",
    "Reading",
    "Source",
    "Unreadable",
    "Unusable",
    "open_source",
]

_OF_FILES: Final = {
    source.kind: source for source in (PersistentDictSource, StoredDictFile, YAMLFile, JSONFile)
}

KINDS: Final = (RedisJSONDictSource.kind, KVStore.kind, *_OF_FILES)
"""Every kind of source."""

_SQLITE: Final = b"SQLite format 3\0"


def open_source(
    target: str,
    kind: str | None = None,
    *,
    entry_point: str | None = None,
    sep: str = ":",
    everything: bool = False,
) -> Source:
    """Return the source that `target` names; nothing is read yet.

    Parameters
    ----------
    target : str
        The URL of a store, or a file or folder.
    kind : str, optional
        One of `KINDS`; found out where it is clear.
    entry_point, sep, everything
        Of a store of kv-dict: as for `Place.of`.

    Raises
    ------
    ConfigurationError
        There is no such thing, its kind is not clear, or the arguments do not fit together.
    """
    if kind is not None and kind not in KINDS:
        raise ConfigurationError(f"no kind of source is called {kind!r}: {', '.join(KINDS)}")
    if not is_url(target):
        url = _url_of_file(target, kind)
        if url is None:
            found = kind or _kind_of_file(target)
            _refuse_scope(found, entry_point, everything)
            return _OF_FILES[found](Path(target))
        target = url
    scoped = entry_point is not None or everything
    kind = kind or _kind_of_store(target, scoped=scoped)
    if kind == RedisJSONDictSource.kind:
        _refuse_scope(kind, entry_point, everything)
        return RedisJSONDictSource(target)
    if kind in _OF_FILES:
        raise ConfigurationError(f"--from {kind} is for a file or folder, and this is a URL")
    place = Place.of(target, entry_point, sep=sep, everything=everything)
    KVStore.refuse_making(place, target)
    return KVStore(place)


def _refuse_scope(kind: str, entry_point: str | None, everything: bool) -> None:
    if entry_point is not None or everything:
        raise ConfigurationError(f"only a store of kv-dict has entry points; this is {kind}")


def _kind_of_store(url: str, *, scoped: bool) -> str:
    if not url.startswith(("redis", "unix:")):
        return KVStore.kind
    if prefix_in(url) is not None and not scoped:
        return RedisJSONDictSource.kind
    if scoped:
        return KVStore.kind
    raise ConfigurationError(
        "a Redis database may have been written by redis-json-dict or by kv-dict; say which: "
        "--from redis-json-dict, and its prefix in the URL (?prefix=xas-), or --from kv-dict, and "
        "--from-entry-point"
    )


def _url_of_file(target: str, kind: str | None) -> str | None:
    """Return the URL of a file that is a store, None if `target` is none."""
    path = Path(target)
    if kind not in (None, KVStore.kind) or not _beginning(path).startswith(_SQLITE):
        if kind in (KVStore.kind, RedisJSONDictSource.kind):
            raise ConfigurationError(
                f"--from {kind} needs the URL of a store, such as redis://host:6379/0, and "
                f"{target!r} is none"
            )
        return None
    from kv_dict.backends.sqlite import SQLiteBackend  # noqa: PLC0415 - with its driver

    return SQLiteBackend(path).url


def _kind_of_file(target: str) -> str:
    path = Path(target)
    try:
        if path.is_dir():
            return PersistentDictSource.kind
        path.stat()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise ConfigurationError(
            f"{target!r} is neither a file or folder that can be read ({why}) nor the URL of a "
            "store, such as redis://host:6379/0?prefix=xas-"
        ) from None
    if is_of_stored_dict(_beginning(path)):
        return StoredDictFile.kind
    kind = {".json": JSONFile.kind, ".yml": YAMLFile.kind, ".yaml": YAMLFile.kind}.get(
        path.suffix.lower()
    )
    if kind is None:
        raise ConfigurationError(
            f"what {target} is does not show; say it: --from stored-dict, --from yaml or "
            "--from json"
        )
    return kind


def _beginning(path: Path) -> bytes:
    """Return the first bytes of a plain file; none of anything else."""
    try:
        if not path.is_file():
            return b""
        with path.open("rb") as file:
            return file.read(1000)
    except (OSError, ValueError):  # said where it is read
        return b""
