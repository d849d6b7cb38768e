"""Which store a mapping lives in: what `open_mapping` makes of a URL, or of nothing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from kv_dict.backend import Backend
from kv_dict.errors import ConfigurationError
from kv_dict.mapping import RemoteKVMapping
from kv_dict.portal import face_of

__all__ = ["DEFAULT_ENTRY_POINT", "default_path", "open_mapping"]

DEFAULT_ENTRY_POINT: Final = "md"


def default_path() -> Path:
    """Return the SQLite file that is used when nothing else is said: one for each user."""
    import platformdirs  # noqa: PLC0415 - costs what a caller with a URL need not pay

    return platformdirs.user_data_path("kv-dict", appauthor=False) / "metadata.db"


def open_mapping(
    target: str | None = None, *, entry_point: str | None = None, reads: str | None = None
) -> RemoteKVMapping:
    """Open a mapping: ``RunEngine(open_mapping())``.

    Parameters
    ----------
    target : str, optional
        The URL of a store. Without one, the environment's ``KV_DICT_URL``, or else a SQLite file in
        the user's data folder, which is made when it is not there.
    entry_point : str, optional
        The scope within the store; ``"md"`` unless ``KV_DICT_ENTRY_POINT`` says otherwise.
    reads : {"server", "replica"}, optional
        As for `RemoteKVMapping`: from a local copy that is kept live, or from the store each time.
        Without a target ``"replica"``, with a URL ``"server"``.

    Returns
    -------
    RemoteKVMapping
        Connected: a store that cannot be used is found out here, not at the first read.

    Raises
    ------
    ConfigurationError
        The target is no URL of a known kind, or what it names cannot be used.
    Unavailable
        The store cannot be reached.

    Examples
    --------
    >>> from kv_dict import open_mapping
    >>> with open_mapping("memory://") as md:
    ...     md["sample"] = "Fe2O3"
    ...     md["sample"]
    'Fe2O3'
    """
    url = target or os.environ.get("KV_DICT_URL") or None
    if entry_point is None:
        entry_point = os.environ.get("KV_DICT_ENTRY_POINT") or DEFAULT_ENTRY_POINT
    backend = _default_backend() if url is None else _backend(url)
    if reads is None:
        reads = "replica" if target is None else "server"
    mapping = RemoteKVMapping(backend, entry_point, reads=reads)
    try:
        face_of(backend).ping(timeout=mapping.timeout)
    except BaseException:
        mapping.close()
        raise
    return mapping


def _default_backend() -> Backend:
    from kv_dict.backends.sqlite import SQLiteBackend  # noqa: PLC0415

    path = default_path()
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise ConfigurationError(
            f"cannot make {path.parent}, where metadata is kept by default ({error.strerror}); say "
            "where with KV_DICT_URL=sqlite:////some/folder/metadata.db"
        ) from None
    return SQLiteBackend(path)


def _backend(url: str) -> Backend:
    if not isinstance(url, str):
        raise TypeError(f"target is a URL, not {type(url).__name__}; for a file: sqlite:///path")
    if ":" not in url:
        raise ConfigurationError(
            f"{url!r} is not a URL; a store is named like sqlite:///path/to/file.db or memory://"
        )
    from kv_dict.backends import open_backend  # noqa: PLC0415 - as above

    return open_backend(url)
