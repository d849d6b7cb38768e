"""Which store a mapping lives in, and how it is used there: URLs, profiles, the environment."""

from kv_dict.profiles.loading import (
    DEFAULT_ENTRY_POINT,
    Listed,
    list_profiles,
    load_profile,
    open_mapping,
)
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
