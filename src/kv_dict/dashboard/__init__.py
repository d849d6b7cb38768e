"""A live web page of what is stored: for the wall, the control room and the phone."""

from kv_dict.dashboard.layout import Layout, Rule, Tile
from kv_dict.dashboard.server import Dashboard, Settings
from kv_dict.dashboard.source import Source

__all__ = ["Dashboard", "Layout", "Rule", "Settings", "Source", "Tile"]
