"""Access to a store that does not go through the backend under test."""

from __future__ import annotations

from abc import ABC, abstractmethod

from kv_dict.backend import Backend

__all__ = ["RawStore"]


class RawStore(ABC):
    """One empty store, and the hooks with which the suite looks behind a backend's back.

    They have to use the store's own client, not the backend's code: a mistake that a backend makes
    both in writing and in reading shows nowhere else.
    """

    @abstractmethod
    def open(self) -> Backend:
        """Return a backend on the store: a new one, unless the store lives in the backend."""

    def open_keeping(self, history: int) -> Backend | None:
        """Have the store keep so many values of each key, and return a backend on it.

        None, unless it is overridden: a store that keeps no earlier values.
        """
        return None

    @abstractmethod
    def get(self, key: str) -> bytes | None:
        """Return the value under a stored key, None if there is none."""

    @abstractmethod
    def put(self, key: str, value: bytes) -> None:
        """Store a value as a program would that knows nothing of kv_dict."""

    @abstractmethod
    def delete(self, key: str) -> None:
        """Remove a key as such a program would."""

    @abstractmethod
    def keys(self) -> set[str]:
        """Return all stored keys."""
