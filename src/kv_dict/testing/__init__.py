"""For those who write a backend: the suite that decides whether it is one.

Write a `RawStore` for the store, subclass `BackendConformance`, and run pytest. Nothing else in
here needs pytest: ``kv_dict.testing.servers`` starts real servers for anybody.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kv_dict.testing.conformance import BackendConformance
    from kv_dict.testing.raw import RawStore
    from kv_dict.testing.watching import Watching

__all__ = ["BackendConformance", "RawStore", "Watching"]


def __getattr__(name: str) -> Any:
    if name == "BackendConformance":
        from kv_dict.testing.conformance import BackendConformance  # noqa: PLC0415

        return BackendConformance
    if name == "RawStore":
        from kv_dict.testing.raw import RawStore  # noqa: PLC0415

        return RawStore
    if name == "Watching":
        from kv_dict.testing.watching import Watching  # noqa: PLC0415

        return Watching
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
