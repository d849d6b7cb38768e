"""Which store a mapping lives in, and how it is used there: URLs, profiles, the environment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kv_dict.profiles.opening import open_mapping

if TYPE_CHECKING:
    from kv_dict.profiles.loading import DEFAULT_ENTRY_POINT, Listed, list_profiles, load_profile
    from kv_dict.profiles.profile import Profile, Setting, default_path

__all__ = [
    "DEFAULT_ENTRY_POINT",
    "Listed",
    "Profile",
    "Setting",
    "default_path",
    "list_profiles",
    "load_profile",
    "open_mapping",
]

_OF_PROFILE = ("Profile", "Setting", "default_path")


def __getattr__(name: str) -> object:
    """Import the rest when it is first asked for: `import kv_dict` does without."""
    if name in __all__:
        import importlib  # noqa: PLC0415

        module = "profile" if name in _OF_PROFILE else "loading"
        value = getattr(importlib.import_module(f"kv_dict.profiles.{module}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
