"""Where metadata may come from, a module each, and telling them apart."""

from __future__ import annotations

import os
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
    target: str | os.PathLike[str],
    kind: str | None = None,
    *,
    entry_point: str | None = None,
    separator: str | None = None,
    everything: bool = False,
) -> Source:
    """Return the source that `target` names; nothing is read yet.

    Parameters
    ----------
    target : str or os.PathLike
        The URL of a store, or a file or folder.
    kind : str, optional
        One of `KINDS`; found out where it is clear.
    entry_point, separator, everything
        Of a store of kv-dict: as for `Place.of`.

    Raises
    ------
    ConfigurationError
        There is no such thing, its kind is not clear, or the arguments do not fit together.
    """
    target = os.fspath(target)
    if not isinstance(target, str):
        raise TypeError(f"a source is a URL or a path, not {type(target).__name__}")
    if not target:  # of a variable that is not set, say: it is not the working directory
        raise ConfigurationError("no source is named: give a file, a folder or a URL")
    if kind is not None and kind not in KINDS:
        raise ConfigurationError(f"no kind of source is called {kind!r}: {', '.join(KINDS)}")
    scoped = entry_point is not None or everything
    if not is_url(target) and kind in (None, KVStore.kind):
        target = _url_of_file(target) or target
    if kind is None:
        kind = _kind_of_store(target, scoped) if is_url(target) else _kind_of_file(target)
    if kind == KVStore.kind:
        place = Place.of(target, entry_point, separator, everything=everything)
        return KVStore(place)
    if scoped:
        raise ConfigurationError(f"only a store of kv-dict has entry points; this is {kind}")
    if kind == RedisJSONDictSource.kind:
        return RedisJSONDictSource(target)
    if is_url(target):
        raise ConfigurationError(f"--from {kind} is for a file or folder, and this is a URL")
    return _OF_FILES[kind](Path(target))


def _kind_of_store(url: str, scoped: bool) -> str:
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


def _url_of_file(target: str) -> str | None:
    """Return the URL of a file that is a store, None if `target` is none."""
    if not _beginning(Path(target)).startswith(_SQLITE):
        return None
    from kv_dict.backends.sqlite import SQLiteBackend  # noqa: PLC0415 - with its driver

    return SQLiteBackend(target).url


def _kind_of_file(target: str) -> str:
    path = Path(target)
    if "://" in target:  # not shown: there may be a password in it
        scheme = target.partition(":")[0]
        raise ConfigurationError(f"no store's URL begins with {scheme!r}: redis://host:6379/0, ...")
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
