"""The stores a mapping can live in. Only modules in here import a driver, and only when used."""

from __future__ import annotations

from kv_dict.backends.urls import open_backend

__all__ = ["open_backend"]
