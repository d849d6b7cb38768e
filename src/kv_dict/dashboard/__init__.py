"""A live web page of what is stored: for the wall, the control room and the phone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kv_dict.dashboard.layout import Layout, Rule, Tile

if TYPE_CHECKING:
    from kv_dict.dashboard.server import Dashboard, Settings
    from kv_dict.dashboard.source import Source

__all__ = ["Dashboard", "Layout", "Rule", "Settings", "Source", "Tile"]

_MODULES: Final = {"Dashboard": "server", "Settings": "server", "Source": "source"}


def __getattr__(name: str) -> object:
    """Import the web server when it is asked for: a terminal reads layouts without."""
    if name in _MODULES:
        import importlib  # noqa: PLC0415

        value = getattr(importlib.import_module(f"kv_dict.dashboard.{_MODULES[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
