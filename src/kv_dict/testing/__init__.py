"""For those who write a backend: the suite that decides whether it is one.

Needs pytest. Write a `RawStore` for the store, subclass `BackendConformance`, and run pytest.
"""

from kv_dict.testing.conformance import BackendConformance
from kv_dict.testing.raw import RawStore
from kv_dict.testing.watching import Watching

__all__ = ["BackendConformance", "RawStore", "Watching"]
