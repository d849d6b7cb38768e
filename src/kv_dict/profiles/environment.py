"""What the environment variables ``KV_DICT_*`` say."""

from __future__ import annotations

import os
from typing import Final

from kv_dict.profiles.keys import KEYS, Given, Origin, checked, closest

__all__ = ["VARIABLES", "overrides", "selected"]

VARIABLES: Final = {
    "KV_DICT_CONFIG": None,
    "KV_DICT_PROFILE": None,
    **{key.variable: key for key in KEYS.values() if key.variable is not None},
}
"""By name; with the key that it overrides, if it is of one."""

_OF_OTHERS: Final = ("KV_DICT_TEST_", "KV_DICT_DOCS_")  # the project's own tests and pages
_told: set[str] = set()


def selected() -> str | None:
    """Return the profile that the environment names, if it does."""
    return os.environ.get("KV_DICT_PROFILE") or None


def overrides() -> dict[str, Given]:
    """Return the settings that the environment overrides; an empty variable counts as not set.

    A variable that nothing knows is told in the log, once.
    """
    for name in sorted(os.environ):
        if name.startswith("KV_DICT_") and name not in VARIABLES and name not in _told:
            _tell(name)
    given = {}
    for name, key in VARIABLES.items():
        text = os.environ.get(name)
        if key is not None and key.from_text is not None and text:
            value = key.from_text(text)
            given[key.name] = checked(key.name, value, Origin(f"environment {name}"))
    return given


def _tell(name: str) -> None:
    if name.startswith(_OF_OTHERS):
        return
    import logging  # noqa: PLC0415 - rarely needed

    _told.add(name)
    hint = closest(name, VARIABLES)
    logging.getLogger("kv_dict").warning(
        "the environment variable %s means nothing to kv_dict%s", name, hint
    )
