"""Bringing metadata from elsewhere into a store: `migrate`, and `prepare` to look first."""

from __future__ import annotations

from kv_dict.migration.migrating import EXISTING, TIMEOUT, Migration, Report, migrate, prepare
from kv_dict.migration.planning import Conversion, Plan
from kv_dict.migration.sources import KINDS, Unreadable, Unusable

__all__ = [
    "EXISTING",
    "KINDS",
    "TIMEOUT",
    "Conversion",
    "Migration",
    "Plan",
    "Report",
    "Unreadable",
    "Unusable",
    "migrate",
    "prepare",
]
