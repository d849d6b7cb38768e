"""What a file says of itself: SQLite's version, how it is written, and where it lies."""

from __future__ import annotations

import contextlib
import sqlite3

from kv_dict.backend import Finding
from kv_dict.backends.sqlite.file import DatabaseFile, explain, network_file_system

__all__ = ["inspect"]

_SYNCHRONOUS = ("OFF", "NORMAL", "FULL", "EXTRA")


def inspect(file: DatabaseFile, timeout: float) -> tuple[Finding, ...]:
    """Look at the file, by a connection of its own."""
    connection, _ = file.connect(timeout)
    with contextlib.closing(connection):
        try:
            synchronous = connection.execute("PRAGMA synchronous").fetchone()[0]
            sound = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        except sqlite3.Error as error:
            raise explain(error, file.path) from error
    told = sound.decode(errors="replace") if isinstance(sound, bytes) else str(sound)
    size = file.path.stat().st_size
    return (
        Finding("version", f"SQLite {sqlite3.sqlite_version}"),
        Finding(
            "durability",
            f"WAL, synchronous={_SYNCHRONOUS[synchronous]}: acknowledged writes are on the disk",
        ),
        _place(file),
        Finding("integrity", f"sound, {size:,} bytes")
        if told == "ok"
        else Finding("integrity", told, "stop the writers and restore a backup"),
    )


def _place(file: DatabaseFile) -> Finding:
    kind = network_file_system(file.path)
    if kind is None:
        return Finding("place", "a local disk")
    return Finding(
        "place",
        f"a network file system ({kind}), where SQLite's locks hold on one computer only",
        "move it to a local disk, or share metadata by a server",
    )
