"""`SQLiteBackend`, and its watch."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from kv_dict.backend import (
    Capabilities,
    Finding,
    SynchronousDriverBackend,
    SynchronousFace,
    check_history,
)
from kv_dict.backends.sqlite.connection import SharedConnection
from kv_dict.backends.sqlite.file import DatabaseFile, explain
from kv_dict.backends.sqlite.schema import REACH
from kv_dict.backends.sqlite.store import Store, entries_of, key_range
from kv_dict.errors import ClosedError, ConfigurationError, KVDictError, Unavailable
from kv_dict.model import Changes, Deletion, Entry, Snapshot, Stale, WatchEvent

__all__ = ["SQLiteBackend"]


class SQLiteBackend(SynchronousDriverBackend):
    """A SQLite file, shared by any number of threads and processes of one computer.

    The file is made, with ``-wal`` and ``-shm`` files beside it, when first used; its folder has to
    exist. A write that returned is on the disk (``synchronous=FULL``). Thread-safe and fork-safe.

    Parameters
    ----------
    path : str or os.PathLike
        The file. Not on a network file system: SQLite's locks do not cross computers.
    poll_interval : float
        Seconds between two looks of a watch for changes by others; a look takes about 5
        microseconds.
    history : int, optional
        How many values of each key the file keeps from now on for `RemoteKVMapping.history`, the
        present one included; 0 for none. The file remembers it, for whoever writes. A new one keeps
        none.

    Examples
    --------
    >>> from kv_dict import RemoteKVMapping
    >>> with RemoteKVMapping(SQLiteBackend(tmp_path / "md.db"), "ep1") as md:
    ...     md["user"] = {"name": "Ada"}
    >>> with RemoteKVMapping(SQLiteBackend(tmp_path / "md.db"), "ep1") as md:
    ...     md["user"]["name"]
    'Ada'
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        poll_interval: float = 0.01,
        history: int | None = None,
    ) -> None:
        text = os.fspath(path)
        if text == ":memory:" or not text:
            raise ConfigurationError(
                f"SQLiteBackend({text!r}): a file is needed, for all connections to share; "
                "use InMemoryAsyncBackend() for a store in memory"
            )
        if "\0" in text:
            raise ConfigurationError(f"{text!r} is not a path: it holds a NUL character")
        if not 0 < poll_interval <= 60:
            raise ConfigurationError(f"poll_interval={poll_interval!r}: seconds, above 0, up to 60")
        try:
            self.path = Path(text).absolute()
        except FileNotFoundError:
            raise ConfigurationError(
                f"{text} is relative to a working directory that was removed; name it from /, or "
                "change to another one"
            ) from None
        self.poll_interval = poll_interval
        self._file = DatabaseFile(self.path, None if history is None else check_history(history))
        self._store = Store(self, self._file)

    @property
    def url(self) -> str:
        path = quote(os.fsencode(self.path))
        return f"sqlite://{path}" if path.count("/") > 1 else f"sqlite:///{path}"

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(persistent=True, multi_process=True, ordered=True)

    @property
    def synchronous(self) -> SynchronousFace:
        return self._store

    async def inspect(self, *, timeout: float) -> tuple[Finding, ...]:
        from kv_dict.backends.sqlite.inspecting import inspect  # noqa: PLC0415 - rarely asked

        self.check_open()
        return inspect(self._file, timeout)

    async def watch(self, prefix: str) -> AsyncGenerator[WatchEvent, None]:
        import asyncio  # noqa: PLC0415 - only a watch needs it

        self.check_open()
        follower = _Follower(self, self._file, prefix)
        fresh = time.time()
        begun = stale = False
        try:
            while True:
                try:
                    news = follower.look()
                except ClosedError:
                    raise
                except KVDictError as error:
                    if not begun and not isinstance(error, Unavailable):
                        raise  # not a store at all; later on, it may become one again
                    if not stale:
                        stale = True
                        yield Stale(fresh, str(error))
                else:
                    if news is not None:
                        yield news
                    fresh = time.time()
                    begun, stale = True, False
                await asyncio.sleep(self.poll_interval)
                self.check_open()
        finally:
            follower.close()

    def __reduce__(self) -> tuple[object, tuple[str, float, int | None]]:
        return _rebuild, (str(self.path), self.poll_interval, self._file.history)


def _rebuild(path: str, poll_interval: float, history: int | None) -> SQLiteBackend:
    return SQLiteBackend(path, poll_interval=poll_interval, history=history)


class _Follower:
    """One watch's own connection, and how far it has read. Used by one task.

    `PRAGMA data_version` tells in microseconds whether any other connection has committed.
    """

    def __init__(self, owner: SQLiteBackend, file: DatabaseFile, prefix: str) -> None:
        self._path = file.path
        self._shared = SharedConnection(owner, file)
        self._range = key_range(prefix)
        self._opened = 0
        self._version = -1
        self._schema = -1
        self._revision = -1

    def look(self) -> WatchEvent | None:
        """Return what is new, if anything; raises Unavailable while the file cannot be read."""
        seen, self._opened = self._opened, -1  # an error leaves it so: then all is looked at again
        try:
            return self._shared.use(lambda connection, _: self._news(connection, seen), timeout=0.1)
        except sqlite3.Error as error:
            raise explain(error, self._path) from error

    def close(self) -> None:
        self._shared.close()

    def _news(self, connection: sqlite3.Connection, seen: int) -> WatchEvent | None:
        (version,) = connection.execute("PRAGMA data_version").fetchone()
        news: WatchEvent | None = None
        if seen != self._shared.opened:
            news = self._everything(connection)
        elif version != self._version:
            news = self._since(connection)
        self._opened, self._version = self._shared.opened, version
        return news

    def _begin(self, connection: sqlite3.Connection) -> tuple[int, int]:
        """Begin to read at one point in time; return the schema's version and the revision."""
        connection.execute("BEGIN")
        (revision,) = connection.execute("SELECT revision FROM clock").fetchone()
        (schema,) = connection.execute("PRAGMA schema_version").fetchone()
        return schema, revision

    def _everything(self, connection: sqlite3.Connection) -> Snapshot:
        asked = time.monotonic()
        self._schema, self._revision = self._begin(connection)
        rows = connection.execute(
            "SELECT key, value, revision, time FROM entries WHERE key >= ? AND key < ? "
            "ORDER BY key",
            self._range,
        ).fetchall()
        connection.execute("ROLLBACK")
        return Snapshot(tuple(entries_of(rows)), self._revision, asked)

    def _since(self, connection: sqlite3.Connection) -> WatchEvent | None:
        asked = time.monotonic()
        schema, revision = self._begin(connection)
        # Tombstones are forgotten in time (but not what came after an empty file), and a file may
        # be restored from a backup in place, which changes the version of its schema.
        known = self._revision == 0 or 0 <= revision - self._revision < REACH
        if schema != self._schema or not known:
            connection.execute("ROLLBACK")
            return self._everything(connection)
        rows = connection.execute(
            "SELECT key, value, revision, time, 0 AS gone FROM entries "
            "WHERE revision > ? AND key >= ? AND key < ? "
            "UNION ALL SELECT key, NULL, revision, time, 1 FROM tombstones "
            "WHERE revision > ? AND key >= ? AND key < ? ORDER BY 3",
            (self._revision, *self._range) * 2,
        ).fetchall()
        connection.execute("ROLLBACK")
        self._revision = revision
        events = tuple(_events(rows))
        return Changes(events, asked) if events else None


def _events(rows: list[tuple[Any, ...]]) -> Iterator[Entry | Deletion]:
    for *row, gone in rows:
        for entry in entries_of([tuple(row)]):
            yield Deletion(entry.key, entry.revision, entry.time) if gone else entry
