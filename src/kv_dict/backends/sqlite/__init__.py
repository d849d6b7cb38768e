"""The embedded default: one file, several processes of one computer."""

from kv_dict.backends.sqlite.backend import SQLiteBackend
from kv_dict.backends.sqlite.peek import peek

__all__ = ["SQLiteBackend", "peek"]
