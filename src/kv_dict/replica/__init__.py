"""A local copy of the entries under one prefix, kept live by a watch: reading it asks nobody.

`contents.py` decides which of two pieces of news is newer, `replica.py` gets the news.
"""

from kv_dict.replica.contents import Group, Listener
from kv_dict.replica.replica import Replica

__all__ = ["Group", "Listener", "Replica"]
