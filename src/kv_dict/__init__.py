"""A dictionary that lives in a key-value server: persistent, shared, watched metadata.

Start with `open_mapping`, or with a backend and `RemoteKVMapping`. No driver is imported before a
backend that needs it is made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kv_dict.backend import Backend
from kv_dict.errors import (
    CheckError,
    ClosedError,
    ConfigurationError,
    ConflictError,
    DecodeError,
    EncodeError,
    KVDictError,
    LoopThreadError,
    NotHolder,
    OutcomeUnknown,
    ProtectedError,
    ReentryError,
    RunOpenError,
    Unavailable,
    Unsupported,
)
from kv_dict.mapping import Change, LayeredMapping, RemoteKVMapping, Version
from kv_dict.profiles import open_mapping

if TYPE_CHECKING:
    from kv_dict.backends.memory import InMemoryAsyncBackend
    from kv_dict.backends.nats import NatsBackend
    from kv_dict.backends.postgres import PostgresBackend
    from kv_dict.backends.redis import RedisBackend
    from kv_dict.backends.sqlite import SQLiteBackend

__all__ = [
    "Backend",
    "Change",
    "CheckError",
    "ClosedError",
    "ConfigurationError",
    "ConflictError",
    "DecodeError",
    "EncodeError",
    "InMemoryAsyncBackend",
    "KVDictError",
    "LayeredMapping",
    "LoopThreadError",
    "NatsBackend",
    "NotHolder",
    "OutcomeUnknown",
    "PostgresBackend",
    "ProtectedError",
    "RedisBackend",
    "ReentryError",
    "RemoteKVMapping",
    "RunOpenError",
    "SQLiteBackend",
    "Unavailable",
    "Unsupported",
    "Version",
    "open_mapping",
]

_BACKENDS = {
    "InMemoryAsyncBackend": "kv_dict.backends.memory",
    "RedisBackend": "kv_dict.backends.redis",
    "NatsBackend": "kv_dict.backends.nats",
    "PostgresBackend": "kv_dict.backends.postgres",
    "SQLiteBackend": "kv_dict.backends.sqlite",
}


def __getattr__(name: str) -> object:
    """Import a backend, and with it its driver, when its class is first asked for."""
    if name in _BACKENDS:
        import importlib  # noqa: PLC0415

        value = getattr(importlib.import_module(_BACKENDS[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)


def load_ipython_extension(shell: object) -> None:
    """Do what ``%load_ext kv_dict`` asks for; see :doc:`/how-to/ipython`."""
    from kv_dict.integrations.ipython import load_ipython_extension as load  # noqa: PLC0415

    load(shell)


def unload_ipython_extension(shell: object) -> None:
    """Do what ``%unload_ext kv_dict`` asks for."""
    from kv_dict.integrations.ipython import unload_ipython_extension as unload  # noqa: PLC0415

    unload(shell)
