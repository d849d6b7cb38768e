"""Opening the file, knowing it again, and saying what is wrong with it."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from kv_dict.backends.sqlite.schema import APPLICATION_ID, CREATE, UPGRADE, VERSION
from kv_dict.errors import ConfigurationError, EncodeError, KVDictError, Unavailable

__all__ = ["DatabaseFile", "Identity", "explain", "folder_instead", "is_busy"]

Identity = tuple[int, int]
"""Device and inode: what tells a file from another one that took its name."""

_NETWORK: Final = frozenset(
    {"9p", "afs", "beegfs", "ceph", "cifs", "fuse.sshfs", "glusterfs", "gpfs", "lustre", "nfs"}
    | {"nfs4", "smb3", "smbfs"}
)


class DatabaseFile:
    """The file at `path`: opens connections to it, and makes it when it is not there.

    A file that was there and is gone is not made again: whatever removed it may bring it back, and
    an empty one in its place would pass for a store that lost everything.

    Parameters
    ----------
    path : Path
        Where it is.
    history : int or None
        How many values of each key it is to keep from now on; None: as many as it does.
    """

    def __init__(self, path: Path, history: int | None = None) -> None:
        self.path = path
        self.history = history
        self._seen = False

    def identity(self) -> Identity:
        """Return which file `path` names now; raises Unavailable if it is gone."""
        try:
            status = os.stat(self.path)  # noqa: PTH116 - in front of every read: twice as fast
        except OSError as error:
            raise Unavailable(
                f"{self.path} is gone ({error.strerror}); put it back, or close this and open a "
                "new mapping to begin with an empty store"
            ) from None
        return status.st_dev, status.st_ino

    def connect(self, timeout: float) -> tuple[sqlite3.Connection, Identity]:
        """Return a connection and the identity of what it is connected to.

        Raises
        ------
        ConfigurationError
            There is no such folder, or the file is something else than a kv_dict store.
        Unavailable
            It cannot be opened now.
        """
        if self._seen:
            self.identity()
        elif self.path.is_dir():
            raise folder_instead(self.path)
        elif not self.path.parent.is_dir():
            raise ConfigurationError(
                f"cannot make {self.path}: there is no folder {self.path.parent}; make it first, "
                "or check the path (sqlite:///... is absolute, sqlite:... relative)"
            )
        deadline = time.monotonic() + timeout
        while True:
            try:
                return self._connect()
            except sqlite3.Error as error:
                # Making a file at the same time as another process ends in "locked" at once.
                if not is_busy(error) or time.monotonic() >= deadline:
                    raise explain(error, self.path) from error
            time.sleep(0.005)

    def _connect(self) -> tuple[sqlite3.Connection, Identity]:
        connection = sqlite3.connect(
            self.path,
            timeout=0.1,  # for what a reader may have to wait for; writers look for themselves
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            self._prepare(connection)
            identity = self.identity()
        except BaseException:
            connection.close()
            raise
        self._seen = True
        return connection, identity

    def _prepare(self, connection: sqlite3.Connection) -> None:
        connection.execute("BEGIN")  # one point in time: another process may be making it just now
        try:
            kind, version, objects = _what_it_is(connection)
        finally:
            if connection.in_transaction:  # an error of the disk may have ended it
                connection.execute("ROLLBACK")
        if kind == 0 and objects == 0:
            self._create(connection)
        elif kind != APPLICATION_ID:
            raise ConfigurationError(
                f"{self.path} is a SQLite database of another program; nothing in it was changed. "
                "Choose another file"
            )
        elif version > VERSION:
            raise ConfigurationError(
                f"{self.path} was made by a newer kv-dict (its format is {version}, this one "
                f"knows up to {VERSION}); upgrade kv-dict"
            )
        else:
            self._use_wal(connection)  # a backup made by VACUUM INTO, say, has another mode
            if version < VERSION:
                self._upgrade(connection)
        connection.text_factory = bytes  # what a foreign hand wrote may not be UTF-8
        # An acknowledged write must survive a power failure: FULL costs one fsync a commit.
        connection.execute("PRAGMA synchronous = FULL")
        if self.history is not None:
            (kept,) = connection.execute("SELECT history FROM clock").fetchone()
            if kept != self.history:
                connection.execute("UPDATE clock SET history = ?", (self.history,))

    def _create(self, connection: sqlite3.Connection) -> None:
        if kind := network_file_system(self.path):
            warnings.warn(
                f"{self.path} is on a network file system ({kind}): SQLite's locks hold on one "
                "computer only, and two that write to it will damage it. Use a local disk, or a "
                "server (Redis, PostgreSQL, NATS) to share metadata between computers",
                RuntimeWarning,
                stacklevel=2,
            )
        self._use_wal(connection)
        self._change(connection, CREATE, lambda: _what_it_is(connection)[0] == 0)

    def _upgrade(self, connection: sqlite3.Connection) -> None:
        self._change(connection, UPGRADE, lambda: _what_it_is(connection)[1] < VERSION)

    def _change(
        self,
        connection: sqlite3.Connection,
        statements: Sequence[str],
        needed: Callable[[], bool],
    ) -> None:
        """Execute all statements or none, unless another process was faster."""
        connection.execute("BEGIN IMMEDIATE")
        try:
            if needed():
                for statement in statements:
                    connection.execute(statement)
            connection.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):  # the first error is the one to report
                connection.execute("ROLLBACK")
            raise

    def _use_wal(self, connection: sqlite3.Connection) -> None:
        mode = connection.execute("PRAGMA journal_mode").fetchone()[0]
        if mode != "wal":
            mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        if mode != "wal":
            raise ConfigurationError(
                f"the file system of {self.path} does not offer what SQLite's WAL needs "
                f"(journal mode stays {mode!r}); choose a file on a local disk"
            )


def _what_it_is(connection: sqlite3.Connection) -> tuple[int, int, int]:
    """Return application id, format version and the number of tables of the connected file."""
    kind: int = connection.execute("PRAGMA application_id").fetchone()[0]
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    objects: int = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    return kind, version, objects


def network_file_system(path: Path, mounts: Path = Path("/proc/self/mounts")) -> str | None:
    """Return the type of the network file system that `path` is on; None if on none, or unknown."""
    try:
        lines = mounts.read_text().splitlines()
    except OSError:  # not Linux
        return None
    resolved = path.resolve()
    best, kind = -1, ""
    for line in lines:
        _, point, fstype, *_ = line.split(" ")
        folder = Path(point.replace("\\040", " "))
        if len(folder.parts) > best and resolved.is_relative_to(folder):
            best, kind = len(folder.parts), fstype
    return kind if kind in _NETWORK else None


def folder_instead(path: Path) -> ConfigurationError:
    """Return the error for a folder where a file is needed."""
    return ConfigurationError(f"{path} is a folder; name a file in it: {path / 'metadata.db'}")


def is_busy(error: sqlite3.Error) -> bool:
    """Return whether an error says that somebody else has the lock."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
    )


def explain(error: sqlite3.Error, path: Path) -> KVDictError:
    """Return our exception for a driver's that certainly left the store as it was."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_TOOBIG or isinstance(error, sqlite3.DataError):
        return EncodeError(f"the key or value is larger than SQLite can hold ({error})")
    if code == sqlite3.SQLITE_NOTADB:
        return ConfigurationError(
            f"{path} is not a SQLite database; nothing in it was changed. Choose another file"
        )
    return Unavailable(f"{path}: {_REASONS.get(code, f'SQLite says: {error}')}")


_REASONS = {
    sqlite3.SQLITE_BUSY: "another process held the lock for longer than the timeout",
    sqlite3.SQLITE_LOCKED: "another connection held the lock for longer than the timeout",
    sqlite3.SQLITE_FULL: "the disk is full; free some space",
    sqlite3.SQLITE_READONLY: (
        "it is read-only for this user, who has to be allowed to write to the file and to its "
        "folder, also to read: SQLite keeps its locks there"
    ),
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened; check the file's and folder's permissions",
    sqlite3.SQLITE_PERM: "access is denied; check the file's and folder's permissions",
    sqlite3.SQLITE_CORRUPT: "it is damaged; restore a backup",
    sqlite3.SQLITE_IOERR: "reading or writing the disk failed; see the system's log",
}
