"""Values that one asyncio task reads as its own, whatever others have stored since.

bluesky takes a scan id, assigns it, and then reads it back for the start document. Between the two
another session may have taken the next one. The task that took a number must read its own.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any, Final

__all__ = ["NO_PIN", "pin", "pinned", "pinned_keys", "unpin"]

NO_PIN: Final = object()

_pins: ContextVar[dict[tuple[object, str], Any]] = ContextVar("kv_dict_pins")
_NONE: Final[dict[tuple[object, str], Any]] = {}


def pin(scope: object, key: str, value: Any) -> None:
    """Have the running task read `value` at a key of a scope; RuntimeError outside of a task."""
    import asyncio  # noqa: PLC0415 - who is in a task has it imported

    asyncio.get_running_loop()
    _pins.set({**_pins.get(_NONE), (scope, key): value})


def unpin(scope: object, key: str) -> None:
    """Have the running task read what is stored again."""
    pins = _pins.get(_NONE)
    if (scope, key) in pins:
        _pins.set({place: value for place, value in pins.items() if place != (scope, key)})


def pinned(scope: object, key: str) -> Any:
    """Return what the running task reads at a key, `NO_PIN` if that is what is stored."""
    pins = _pins.get(_NONE)
    return pins.get((scope, key), NO_PIN) if pins else NO_PIN


def pinned_keys(scope: object) -> list[str]:
    """Return the keys of a scope that the running task has pinned."""
    return [key for of, key in _pins.get(_NONE) if of is scope]
