"""Where profiles are searched, and what is read there."""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

from kv_dict.errors import ConfigurationError
from kv_dict.profiles.documents import parse_toml, read_text
from kv_dict.profiles.keys import Origin, closest

__all__ = ["FILE_NAME", "File", "Place", "existing", "places"]

FILE_NAME: Final = "kv_dict.toml"
_TOP: Final = ("default", "profiles")
_NAME: Final = re.compile(r"[\w.-]+")


class Place(NamedTuple):
    """Where a file is looked for, and why there."""

    path: Path
    why: str


class File(NamedTuple):
    """What a file says.

    Attributes
    ----------
    place : Place
        Where it is.
    default : str or None
        The profile that it names to be used.
    profiles : dict
        Its tables, by the name of the profile; not looked at yet.
    """

    place: Place
    default: str | None
    profiles: Mapping[str, Mapping[str, Any]]

    def origin(self, name: str) -> Origin:
        """Return where the settings of one of its profiles come from."""
        return Origin(f"{self.place.path} [profiles.{name}]", self.place.path.parent)


def places(profile_dir: str | os.PathLike[str] | None = None) -> list[Place]:
    """Return where profiles are searched, the nearest first.

    Parameters
    ----------
    profile_dir : str or os.PathLike, optional
        The IPython profile directory; by default that of the running IPython, or what
        ``--profile-dir`` on the command line says.
    """
    if named := os.environ.get("KV_DICT_CONFIG"):
        where = Origin("environment KV_DICT_CONFIG").path("", named)
        return [Place(Path(where), "KV_DICT_CONFIG")]
    import platformdirs  # noqa: PLC0415 - costs what a caller with a URL need not pay

    found = []
    with suppress(FileNotFoundError):  # the working directory was removed
        found.append(Place(Path(FILE_NAME).absolute(), "working directory"))
    directory = profile_dir or _running_ipython() or _argument(sys.argv)
    if directory:
        where = Origin("IPython profile directory").path("", os.fspath(directory))
        found.append(Place(Path(where) / FILE_NAME, "IPython profile directory"))
    user = platformdirs.user_config_path("kv-dict", appauthor=False)
    found.append(Place(user / FILE_NAME, "user's configuration"))
    site = platformdirs.site_config_dir("kv-dict", appauthor=False, multipath=True)
    found += [Place(Path(p) / FILE_NAME, "system's configuration") for p in site.split(os.pathsep)]
    nearest: dict[Path, Place] = {}
    for place in found:
        nearest.setdefault(place.path, place)
    return list(nearest.values())


def existing(profile_dir: str | os.PathLike[str] | None = None) -> list[File]:
    """Return what the files say that are there, the nearest first.

    Raises
    ------
    ConfigurationError
        One of them cannot be read, is no TOML, or has something at its top that is not known.
    """
    found = [file for file in map(_read, places(profile_dir)) if file is not None]
    if not found and (named := os.environ.get("KV_DICT_CONFIG")):
        raise ConfigurationError(f"environment KV_DICT_CONFIG: there is no file {named}")
    return found


def _running_ipython() -> str | None:
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(getattr(shell, "profile_dir", None), "location", None)


def _argument(argv: Sequence[str]) -> str | None:
    """Return what ``--profile-dir=X`` says, as IPython and Jupyter kernels are told."""
    for at, text in enumerate(argv):
        name, equals, value = text.partition("=")
        if name == "--profile-dir":
            return value if equals else next(iter(argv[at + 1 :]), None)
    return None


def _read(place: Place) -> File | None:
    path = place.path
    try:
        text = read_text(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        remedy = "correct its permissions" if error.errno == errno.EACCES else "repair it"
        raise ConfigurationError(
            f"{path} cannot be read ({error.strerror}); {remedy}, or name another file in "
            "KV_DICT_CONFIG"
        ) from None
    except ValueError as error:
        raise ConfigurationError(f"{path} is no TOML: {error}") from None
    content = parse_toml(path, text)
    top = Origin(str(path), path.parent)
    for key in content:
        if key not in _TOP:
            hint = closest(key, _TOP) or "; known are default and [profiles.NAME]"
            raise top.refusal(key, f"there is no such key{hint}")
    default = content.get("default")
    if default is not None and not isinstance(default, str):
        raise top.refusal("default", f"{default!r}: the name of a profile is expected")
    profiles = content.get("profiles", {})
    if not isinstance(profiles, dict):
        raise top.refusal("profiles", "tables [profiles.NAME] are expected")
    for name, table in profiles.items():
        if not isinstance(table, dict):
            raise top.refusal(f"profiles.{name}", f"a table [profiles.{name}] is expected")
        if not _NAME.fullmatch(name):
            raise top.refusal(f"[profiles.{name!r}]", "letters, digits and _ . - are expected")
    return File(place, default, profiles)
