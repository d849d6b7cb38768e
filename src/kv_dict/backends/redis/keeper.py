"""The thread that reads what servers push to connections that nobody is using."""

from __future__ import annotations

import threading
import weakref
from typing import Final, Protocol

__all__ = ["Keeper"]

_IDLE: Final = 1.0
"""Seconds between two looks."""


class Kept(Protocol):
    """What has such a connection."""

    def look(self) -> bool:
        """Read what came, without waiting; return whether there still is a connection."""


class Keeper:
    """One thread a process that reads what servers push to idle connections.

    Nobody else would, and the server would keep it in its memory for as long as it runs.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()  # reentrant, for signal handlers that use a mapping
        self._kept: weakref.WeakSet[Kept] = weakref.WeakSet()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None

    def keep(self, store: Kept) -> None:
        with self._lock:
            self._kept.add(store)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(
                    target=self._run, name="kv_dict redis keeper", daemon=True
                )
                self._thread.start()

    def _run(self) -> None:
        while True:
            self._wake.wait(_IDLE)
            with self._lock:
                stores = list(self._kept)
            idle = [store for store in stores if not store.look()]
            del stores
            with self._lock:
                self._kept.difference_update(idle)
                if not self._kept:
                    self._thread = None
                    return
            del idle
