"""Reading and committing, by any number of threads and processes."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from kv_dict.backend import NO_HISTORY, Backend, SynchronousFace, check_operations, prefix_end
from kv_dict.backends.sqlite.connection import (
    SharedConnection,
    begin_writing,
    retry_while_busy,
)
from kv_dict.backends.sqlite.file import DatabaseFile, explain
from kv_dict.errors import ConflictError, OutcomeUnknown, Unavailable, Unsupported
from kv_dict.model import (
    ABSENT,
    Delete,
    DeletePrefix,
    Entry,
    Operation,
    Put,
    Revision,
    Snapshot,
)

__all__ = ["Store", "entries_of", "key_range"]

_COLUMNS = "key, value, revision, time"
_READ = f"SELECT {_COLUMNS} FROM entries WHERE key = ?"
_RANGE = f"SELECT {_COLUMNS} FROM entries WHERE key >= ? AND key < ?"
_HISTORY = "SELECT key, value, revision, time FROM history WHERE key = ? ORDER BY revision"
_CLOCK = "SELECT revision FROM clock"
_PUT = (
    "INSERT INTO entries (key, value) VALUES (?, ?) "
    "ON CONFLICT (key) DO UPDATE SET value = excluded.value"
)
_ABOVE_ALL_TEXT = b""  # in SQLite's order every BLOB comes after every TEXT

_Result = TypeVar("_Result")

_logger = logging.getLogger("kv_dict")


def entries_of(rows: Iterable[tuple[Any, ...]]) -> list[Entry]:
    """Return the entries of rows of `key, value, revision, time`, text being bytes."""
    entries = []
    for key, value, revision, written in rows:
        try:
            entries.append(Entry(key.decode(), as_bytes(value), revision, written))
        except (AttributeError, UnicodeDecodeError):
            _logger.warning("a row with the key %r is not text, and left out", key)
    return entries


def as_bytes(value: Any) -> bytes:
    """Return what is in the column: of numbers that a foreign hand put there, their JSON."""
    return value if isinstance(value, bytes) else str(value).encode()


def key_range(prefix: str) -> tuple[str, str | bytes]:
    """Return the bounds, second one excluded, of every key that starts with `prefix`."""
    end = prefix_end(prefix)
    return prefix, _ABOVE_ALL_TEXT if end is None else end


class Store(SynchronousFace):
    """The native synchronous face. Two connections, so that reads never wait for a commit's fsync.

    Thread-safe and fork-safe.
    """

    def __init__(self, owner: Backend, file: DatabaseFile) -> None:
        self._owner = owner
        self._file = file
        self._reader = SharedConnection(owner, file)
        self._writer = SharedConnection(owner, file)

    def read(self, key: str, *, timeout: float) -> Entry | None:
        entries = entries_of(self._select(_READ, (key,), timeout))
        return entries[0] if entries else None

    def read_tree(self, key: str, separator: str, *, timeout: float) -> Snapshot:
        rows = self._select(
            f"{_READ} UNION ALL {_RANGE}", (key, *key_range(key + separator)), timeout
        )
        return Snapshot(tuple(entries_of(sorted(rows) if len(rows) > 1 else rows)))

    def snapshot(self, prefix: str, *, timeout: float) -> Snapshot:
        def select(connection: sqlite3.Connection, deadline: float) -> Snapshot:
            def attempt() -> Snapshot:
                connection.execute("BEGIN")
                try:
                    (revision,) = connection.execute(_CLOCK).fetchone()
                    rows = connection.execute(
                        f"{_RANGE} ORDER BY key", key_range(prefix)
                    ).fetchall()
                finally:
                    self._roll_back(connection)
                return Snapshot(tuple(entries_of(rows)), revision)

            return retry_while_busy(attempt, deadline)

        return self._read(select, timeout)

    def commit(
        self, operations: Sequence[Operation], *, timeout: float
    ) -> tuple[Revision | None, ...]:
        check_operations(operations)
        return self._writer.use(
            lambda connection, deadline: self._commit(connection, operations, deadline), timeout
        )

    def history(self, key: str, *, timeout: float) -> tuple[Entry, ...]:
        rows = self._select(_HISTORY, (key,), timeout)
        if not rows and not self._select("SELECT 1 FROM clock WHERE history > 0", (), timeout):
            raise Unsupported(f"{self._owner.url}: {NO_HISTORY}")
        return tuple(entries_of(rows))

    def ping(self, *, timeout: float) -> None:
        self._select(_CLOCK, (), timeout)

    def close(self) -> None:
        self._owner.closed = True
        self._reader.close()
        self._writer.close()

    # -- reading -----------------------------------------------------------------------------------

    def _select(self, statement: str, values: tuple[Any, ...], timeout: float) -> list[Any]:
        def select(connection: sqlite3.Connection, deadline: float) -> list[Any]:
            return retry_while_busy(
                lambda: connection.execute(statement, values).fetchall(), deadline
            )

        return self._read(select, timeout)

    def _read(
        self, select: Callable[[sqlite3.Connection, float], _Result], timeout: float
    ) -> _Result:
        try:
            return self._reader.use(select, timeout)
        except sqlite3.Error as error:
            raise explain(error, self._file.path) from error

    # -- committing, while the connection is ours --------------------------------------------------

    def _commit(
        self, connection: sqlite3.Connection, operations: Sequence[Operation], deadline: float
    ) -> tuple[Revision | None, ...]:
        committing = False
        try:
            begin_writing(connection, deadline)
            self._check(connection, operations)
            revisions = tuple([self._apply(connection, op, deadline) for op in operations])
            committing = True
            retry_while_busy(lambda: connection.execute("COMMIT"), deadline)
            if not self._writer.replaced():
                return revisions
        except sqlite3.Error as error:
            self._roll_back(connection)
            if committing and error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_IOERR:
                # The record may have reached the disk before the error did.
                raise OutcomeUnknown(
                    f"{self._file.path}: the disk failed while committing ({error}); the write may "
                    "or may not be in the file: read it when the disk works again"
                ) from error
            raise explain(error, self._file.path) from error
        except BaseException as error:
            if committing and not connection.in_transaction:  # a Ctrl-C that came too late
                error.add_note(f"{self._file.path}: the write under way was committed")
            self._roll_back(connection)
            raise
        raise OutcomeUnknown(
            f"{self._file.path} was replaced by another file during the write; it may or may not "
            "be in the one that is there now"
        )

    def _check(self, connection: sqlite3.Connection, operations: Sequence[Operation]) -> None:
        conflicts = []
        for operation in operations:
            if isinstance(operation, DeletePrefix) or operation.expected is None:
                continue
            row = connection.execute(
                "SELECT revision FROM entries WHERE key = ?", (operation.key,)
            ).fetchone()
            found = ABSENT if row is None else row[0]
            if found != operation.expected:
                conflicts.append(operation.key)
        if conflicts:
            raise ConflictError(f"changed by somebody else: {', '.join(conflicts)}", conflicts)

    def _apply(
        self, connection: sqlite3.Connection, operation: Operation, deadline: float
    ) -> Revision | None:
        if time.monotonic() > deadline:
            raise Unavailable(f"{self._file.path}: the write took longer than its timeout")
        if isinstance(operation, Put):
            connection.execute(_PUT, (operation.key, _text_or_blob(operation.value)))
            revision: int = connection.execute(_CLOCK).fetchone()[0]
            return revision
        if isinstance(operation, Delete):
            connection.execute("DELETE FROM entries WHERE key = ?", (operation.key,))
        else:
            connection.execute(
                "DELETE FROM entries WHERE key >= ? AND key < ?", key_range(operation.prefix)
            )
        return None

    def _roll_back(self, connection: sqlite3.Connection) -> None:
        with suppress(sqlite3.Error):  # the error that led here is the one to report
            if connection.in_transaction:
                connection.execute("ROLLBACK")


def _text_or_blob(value: bytes) -> str | bytes:
    """JSON goes in as text, which the sqlite3 shell shows and its JSON functions read."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value
