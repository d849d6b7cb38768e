"""One SQLite connection for many threads, that survives replaced files, forks and Ctrl-C."""

from __future__ import annotations

import os
import random
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable
from typing import Final, TypeVar

from kv_dict.backend import Backend
from kv_dict.backends.sqlite.file import DatabaseFile, Identity, is_busy
from kv_dict.errors import KVDictError, Unavailable
from kv_dict.locks import Turn

__all__ = ["SharedConnection", "begin_writing"]

_Result = TypeVar("_Result")

_FORK_PATIENCE: Final = 5.0
_LONGEST_PAUSE: Final = 0.0005


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

    def __init__(self, owner: Backend, file: DatabaseFile) -> None:
        self._owner = owner
        self._file = file
        self._turn = Turn()
        self._connection: sqlite3.Connection | None = None
        self._identity: Identity | None = None
        self.opened = 0
        with _registry:
            _all.add(self)

    def use(self, work: Callable[[sqlite3.Connection, float], _Result], timeout: float) -> _Result:
        """Return ``work(connection, left)``, with no transaction open and nobody else using it.

        Parameters
        ----------
        work : callable
            Gets the connection, and the deadline of `time.monotonic` by which it has to end.
        timeout : float
            Seconds.
        """

        def in_turn(left: float) -> _Result:
            deadline = time.monotonic() + left
            try:
                return work(self._connected(left), deadline)
            finally:
                if self._owner.closed:  # meanwhile
                    self._disconnect()

        return self._turn.take(in_turn, timeout, self._busy)

    def replaced(self) -> bool:
        """Return whether the file that is connected is no longer the one at its path."""
        try:
            return self._file.identity() != self._identity
        except Unavailable:
            return True

    def close(self) -> None:
        """Disconnect, or let whoever uses it now do so; the next use connects again."""
        self._turn.try_take(self._disconnect)

    def _connected(self, left: float) -> sqlite3.Connection:
        self._owner.check_open()
        connection = self._connection
        if connection is None or self._file.identity() != self._identity:
            self._disconnect()
            connection, self._identity = self._file.connect(left)
            self._connection = connection
            self.opened += 1
        elif connection.in_transaction:  # a Ctrl-C fell between two statements
            connection.execute("ROLLBACK")
        return connection

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _busy(self) -> KVDictError:
        return Unavailable(
            f"{self._file.path}: other threads of this process kept the connection for longer than "
            "the timeout"
        )

    # -- around a fork -----------------------------------------------------------------------------

    def before_fork(self) -> bool:
        """Wait for the operation under way, and disconnect; return whether that was possible."""
        if not self._turn.hold(_FORK_PATIENCE):
            return False
        self._disconnect()
        return True

    def after_fork(self) -> None:
        """Let others use it again."""
        self._turn.give()

    def abandon(self) -> sqlite3.Connection | None:
        """Forget, in a child, what a thread that does not exist here was using."""
        connection, self._connection = self._connection, None
        return connection


def begin_writing(connection: sqlite3.Connection, deadline: float) -> None:
    """Begin a transaction that holds the write lock, by a deadline of `time.monotonic`.

    SQLite's own waiting sleeps up to 100 ms between two looks, so that a busy neighbour can starve
    this process; looking more often, at random, does not let it.
    """
    retry_while_busy(lambda: connection.execute("BEGIN IMMEDIATE"), deadline)


def retry_while_busy(work: Callable[[], _Result], deadline: float) -> _Result:
    """Return what `work` returns, calling it again while somebody else has the lock it needs."""
    pause = 0.0001
    while True:
        try:
            return work()
        except sqlite3.OperationalError as error:
            if not is_busy(error) or time.monotonic() >= deadline:
                raise
        time.sleep(pause * random.random())  # noqa: S311 - spreads contenders, keeps no secret
        pause = min(pause * 2, _LONGEST_PAUSE)


_registry = threading.Lock()  # held over a fork, so that no child inherits it locked
_all: weakref.WeakSet[SharedConnection] = weakref.WeakSet()
_at_rest: list[SharedConnection] = []
_abandoned: list[sqlite3.Connection | None] = []  # never closed: closing would be using


def _before_fork() -> None:
    _registry.acquire()
    _at_rest.extend(shared for shared in tuple(_all) if shared.before_fork())


def _after_fork_in_parent() -> None:
    while _at_rest:
        _at_rest.pop().after_fork()
    _registry.release()


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
