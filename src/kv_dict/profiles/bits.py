"""``from = "bits"``: the ``iconfig.yml`` of an instrument made with BITS (apsbits).

Of its ``RUN_ENGINE``, ``DEFAULT_METADATA`` are the profile's defaults, and ``MD_PATH``, where BITS
saves ``RE.md`` as YAML, says where the SQLite file is: beside it, with the same name and ``.db``.
As in BITS, it is relative to the working directory.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from kv_dict.errors import ConfigurationError
from kv_dict.profiles.documents import read_document
from kv_dict.profiles.keys import Given, Origin, checked

__all__ = ["settings"]

USUAL: Final = ("iconfig.yml", "configs/iconfig.yml")


def settings(given: Mapping[str, Given]) -> dict[str, Given]:
    """Return what ``iconfig.yml`` says, below what the profile says in `given`."""
    path = _path(given)
    origin = Origin(f"{path} RUN_ENGINE", path.parent)
    section = read_document(path).get("RUN_ENGINE") or {}
    if not isinstance(section, dict):
        raise ConfigurationError(f"{path} RUN_ENGINE: a mapping is expected")
    defaults = section.get("DEFAULT_METADATA") or {}
    if not isinstance(defaults, dict):
        raise origin.refusal("DEFAULT_METADATA", "a mapping is expected")
    found = {
        f"defaults.{key}": checked(f"defaults.{key}", value, origin)
        for key, value in defaults.items()
    }
    if (saved := section.get("MD_PATH")) and "url" not in given:
        where = Origin(f"{path} RUN_ENGINE MD_PATH")
        found["url"] = Given(_beside(saved, where), where)
    return found


def _path(given: Mapping[str, Given]) -> Path:
    if "file" in given:
        return Path(given["file"].value)
    for name in USUAL:
        if Path(name).is_file():
            return Path(name).absolute()
    raise ConfigurationError(
        f"the profile is from bits, and neither {' nor '.join(USUAL)} is in the working directory; "
        "name it with file ="
    )


def _beside(saved: Any, origin: Origin) -> str:
    if not isinstance(saved, str) or not Path(saved).name:
        raise origin.refusal("MD_PATH", f"{saved!r}: a path is expected")
    path = Path(origin.path("MD_PATH", saved))
    return f"sqlite://{quote(str(path.with_suffix('.db')))}"
