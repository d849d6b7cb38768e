"""The embedded default: one file, several processes of one computer."""

from kv_dict.backends.sqlite.backend import SQLiteBackend

__all__ = ["SQLiteBackend"]
