"""One SQLite connection for many threads, that survives replaced files, forks and Ctrl-C."""

from __future__ import annotations

import os
import random
import sqlite3
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from kv_dict.backends.sqlite.file import DatabaseFile, Identity, is_busy
from kv_dict.errors import Unavailable

__all__ = ["SharedConnection", "begin_writing"]

_FORK_PATIENCE: Final = 5.0
_LONGEST_PAUSE: Final = 0.005


class SharedConnection:
    """A connection that is opened when first used, and again when the file was replaced.

    Thread-safe: one thread at a time has it. A fork closes it, in the parent too: what SQLite keeps
    in memory about its locks is wrong in a child, even for connections that the child opens itself,
    as long as an inherited one exists.

    Attributes
    ----------
    opened : int
        How often it was opened: a user who remembers it knows whether it is still the same.
    """

    def __init__(self, file: DatabaseFile) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._identity: Identity | None = None
        self.opened = 0
        _all.add(self)

    @contextmanager
    def use(self, timeout: float) -> Iterator[sqlite3.Connection]:
        """Give the connection to this thread, with no transaction open."""
        connection = self.acquire(timeout)
        try:
            yield connection
        finally:
            self.release()

    def acquire(self, timeout: float) -> sqlite3.Connection:
        """Return the connection as `use` does; `release` has to follow."""
        if not self._lock.acquire(timeout=timeout):
            raise Unavailable(
                f"{self._file.path}: other threads of this process kept the connection for longer "
                f"than {timeout:g} s; nothing was written"
            )
        try:
            connection = self._connection
            if connection is None or self._file.identity() != self._identity:
                self._disconnect()
                connection, self._identity = self._file.connect(timeout)
                self._connection = connection
                self.opened += 1
            elif connection.in_transaction:  # a Ctrl-C fell between two statements
                connection.execute("ROLLBACK")
        except BaseException:
            self._lock.release()
            raise
        return connection

    def release(self) -> None:
        """Let others use the connection."""
        self._lock.release()

    def replaced(self) -> bool:
        """Return whether the file that is connected is no longer the one at its path."""
        try:
            return self._file.identity() != self._identity
        except Unavailable:
            return True

    def close(self) -> None:
        """Disconnect; the next use connects again."""
        with self._lock:
            self._disconnect()

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    # -- around a fork -----------------------------------------------------------------------------

    def before_fork(self) -> bool:
        """Wait for the operation under way, and disconnect; return whether that was possible."""
        if not self._lock.acquire(timeout=_FORK_PATIENCE):
            return False
        self._disconnect()
        return True

    def abandon(self) -> sqlite3.Connection | None:
        """Forget, in a child, what a thread that does not exist here was using."""
        connection, self._connection = self._connection, None
        self._lock = threading.Lock()
        return connection


def begin_writing(connection: sqlite3.Connection, deadline: float) -> None:
    """Begin a transaction that holds the write lock, by a deadline of `time.monotonic`.

    SQLite's own waiting sleeps up to 100 ms between two looks, so that a busy neighbour can starve
    this process; looking more often, at random, does not let it.
    """
    pause = 0.0001
    while True:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if not is_busy(error) or time.monotonic() >= deadline:
                raise
        else:
            return
        time.sleep(pause * random.random())  # noqa: S311 - spreads contenders, keeps no secret
        pause = min(pause * 2, _LONGEST_PAUSE)


_all: weakref.WeakSet[SharedConnection] = weakref.WeakSet()
_at_rest: list[SharedConnection] = []
_abandoned: list[sqlite3.Connection | None] = []  # never closed: closing would be using


def _before_fork() -> None:
    _at_rest.extend(shared for shared in tuple(_all) if shared.before_fork())


def _after_fork_in_parent() -> None:
    while _at_rest:
        _at_rest.pop().release()


def _after_fork_in_child() -> None:
    for shared in tuple(_all):
        if shared not in _at_rest:
            _abandoned.append(shared.abandon())
    _after_fork_in_parent()


os.register_at_fork(
    before=_before_fork,
    after_in_parent=_after_fork_in_parent,
    after_in_child=_after_fork_in_child,
)
