"""Reading a file without touching it: not a byte of it changes, and no file appears beside it."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Any
from urllib.parse import quote

from kv_dict.backend import StoreMissing
from kv_dict.backends.sqlite.file import explain, folder_instead
from kv_dict.backends.sqlite.schema import APPLICATION_ID
from kv_dict.backends.sqlite.store import entries_of, key_range
from kv_dict.errors import ConfigurationError, Unavailable
from kv_dict.model import Snapshot

__all__ = ["peek"]

_ATTEMPTS = 5


def peek(path: Path, prefix: str, *, timeout: float) -> Snapshot:
    """Return every entry of the store at `path` whose key starts with `prefix`.

    Where no program uses the file it is read as what cannot change, which needs neither locks nor
    the ``-wal`` and ``-shm`` files that even a reader would make. Where one does, they are there
    and are read too; only SQLite's locks in the ``-shm`` file are written then.

    Parameters
    ----------
    path : Path
        The file.
    prefix : str
        Of stored keys.
    timeout : float
        Seconds to wait for a lock that another program holds.

    Raises
    ------
    ConfigurationError
        There is no such file, it is empty (`StoreMissing`), or not a store of kv_dict.
    Unavailable
        It cannot be read now.
    """
    if path.is_dir():
        raise folder_instead(path)
    for _ in range(_ATTEMPTS):
        before = _state(path)
        used = any(Path(f"{path}{suffix}").exists() for suffix in ("-wal", "-journal"))
        how = "mode=ro" if used else "mode=ro&immutable=1"
        try:
            snapshot = _read(f"file:{quote(os.fsencode(path))}?{how}", path, prefix, timeout)
        except sqlite3.Error as error:
            if _state(path) != before:
                continue
            raise explain(error, path) from error
        if used or _state(path) == before:
            return snapshot
    raise Unavailable(f"{path} changed each time while it was read; try again")


def _read(uri: str, path: Path, prefix: str, timeout: float) -> Snapshot:
    connection = sqlite3.connect(uri, uri=True, timeout=timeout, isolation_level=None)
    connection.text_factory = bytes
    try:
        connection.execute("BEGIN")
        (kind,) = connection.execute("PRAGMA application_id").fetchone()
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        if kind == tables == 0:
            raise StoreMissing(f"{path} is empty")
        if kind != APPLICATION_ID:
            raise ConfigurationError(f"{path} is not a store of kv-dict; nothing in it was changed")
        rows: list[Any] = connection.execute(
            "SELECT key, value, revision, time FROM entries WHERE key >= ? AND key < ? "
            "ORDER BY key",
            key_range(prefix),
        ).fetchall()
        (revision,) = connection.execute("SELECT revision FROM clock").fetchone()
    finally:
        connection.close()
    return Snapshot(tuple(entries_of(rows)), revision)


def _state(path: Path) -> tuple[tuple[int, int, int] | None, ...]:
    """Return what tells whether somebody wrote: of the file, and of those beside it."""
    try:
        os.stat(path)  # noqa: PTH116 - as below
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from None
    return tuple(_stamp(f"{path}{suffix}") for suffix in ("", "-wal", "-journal"))


def _stamp(path: str) -> tuple[int, int, int] | None:
    try:
        status = os.stat(path)  # noqa: PTH116 - of a string that is no Path yet
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
