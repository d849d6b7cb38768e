"""From arguments, environment and files to the one `Profile` that is in force.

What is nearer wins: an argument over an environment variable, that over the profile in a file, that
over what the facility's own configuration says, that over the defaults. Another URL makes the whole
address void that is farther away, so that no login or certificate is shown to another server.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import quote

from kv_dict.checks import checker
from kv_dict.errors import ConfigurationError
from kv_dict.profiles.address import backend_of, exact_url
from kv_dict.profiles.environment import overrides, selected
from kv_dict.profiles.files import File, existing
from kv_dict.profiles.keys import FACILITIES, KEYS, Given, Origin, checked, closest, table
from kv_dict.profiles.profile import Profile, Setting, default_path

__all__ = ["DEFAULT_ENTRY_POINT", "Listed", "list_profiles", "load_profile"]

DEFAULT_ENTRY_POINT: Final[str] = KEYS["entry_point"].default
BUILT_IN: Final = ("default", *FACILITIES)
_OF_URL: Final = "(url)"
_DEFAULT: Final = Origin("default")
_FOR_ANYTHING: Final = {"check": Given("none", _DEFAULT)}
"""Of a store that no profile describes: one that somebody wrote is for the RE.md of a beamline."""


def load_profile(
    target: str | None = None,
    *,
    entry_point: str | None = None,
    reads: str | None = None,
    timeout: float | None = None,
    on_outage: str | None = None,
    profile_dir: str | os.PathLike[str] | None = None,
) -> Profile:
    """Return the profile of a name, or the one that is in force: validated, frozen, not connected.

    Parameters
    ----------
    target : str, optional
        The name of a profile, or the URL of a store, for which no file is looked at. Either way
        ``KV_DICT_PROFILE``, ``KV_DICT_URL`` and what belongs to it do not count then.
    entry_point, reads, timeout, on_outage : optional
        In place of what the profile and the environment say.
    profile_dir : str or os.PathLike, optional
        An IPython profile directory to search, in place of that of the running IPython.

    Raises
    ------
    ConfigurationError
        There is no such profile, or its name is empty; a key is not known, a value is of the wrong
        kind, a file cannot be read, or a driver is not installed. Says where, what, and what to do.

    Examples
    --------
    >>> from kv_dict.profiles import load_profile
    >>> profile = load_profile("redis://:secret@xas-server/1", entry_point="xas")
    >>> profile.url, profile.entry_point, profile.reads
    ('redis://:***@xas-server:6379/1', 'xas', 'server')
    """
    if target is not None and not isinstance(target, str):
        raise TypeError(
            f"target is a URL or the name of a profile, not {type(target).__name__}; that of a "
            "file is 'sqlite:///path/to/file.db'"
        )
    if target is not None and not target.strip():
        raise ConfigurationError(
            "the URL, or the name of the profile, is empty: was it to come from a variable that is "
            "not set? Leave it out to use the profile in force"
        )
    said = {
        "entry_point": entry_point,
        "reads": reads,
        "timeout": timeout,
        "on_outage": on_outage,
    }
    arguments = {
        name: checked(name, value, Origin(f"argument {name}"))
        for name, value in said.items()
        if value is not None
    }
    nearer = overrides()
    if target:
        nearer = _without_address(nearer)
    if target and ":" in target:
        given = {"url": Given(target, Origin("argument")), "reads": Given("server", _DEFAULT)}
        given |= _FOR_ANYTHING | nearer | arguments
        return _profile(_OF_URL, Origin("argument"), given)
    name, source, given = _selected(target, profile_dir)
    if "url" in nearer:
        given = _without_address(given)
    return _profile(name, source, _with_facility(given | nearer | arguments))


class Listed(NamedTuple):
    """A profile that is there to be used.

    Attributes
    ----------
    name : str
        Its name.
    where : str
        The file it is in, or ``built in``.
    url : str or None
        The store, masked; None where it cannot be used, or is not used.
    in_force : bool
        Whether it is what `open_mapping` opens by itself.
    problem : str or None
        Why it cannot be used, or where the one is that hides it.
    """

    name: str
    where: str
    url: str | None
    in_force: bool
    problem: str | None


def list_profiles(profile_dir: str | os.PathLike[str] | None = None) -> list[Listed]:
    """Return every profile in the files that are searched, the nearest first, and the built-in."""
    files = existing(profile_dir)
    in_force, _ = _name(None, files)
    found: dict[str, Listed] = {}
    hidden: list[Listed] = []
    for name, where in [
        *((name, str(file.place.path)) for file in files for name in file.profiles),
        *((name, "built in") for name in BUILT_IN),
    ]:
        if name in found:
            if where != "built in":
                hidden.append(Listed(name, where, None, False, f"hidden by {found[name].where}"))
            continue
        url = problem = None
        try:
            target = None if name == in_force else name
            url = load_profile(target, profile_dir=profile_dir).url
        except ConfigurationError as error:
            problem = str(error)
        found[name] = Listed(name, where, url, name == in_force, problem)
    return [*found.values(), *hidden]


# -- which profile --------------------------------------------------------------------------------


def _selected(
    target: str | None, profile_dir: str | os.PathLike[str] | None
) -> tuple[str, Origin, dict[str, Given]]:
    """Return the name of the profile, what chose it, and what the nearest file says of it."""
    files = existing(profile_dir)
    name, source = _name(target, files)
    for file in files:
        if name in file.profiles:
            return name, source, table(file.profiles[name], file.origin(name))
    if name == "default":
        return name, source, dict(_FOR_ANYTHING)
    if name in FACILITIES:
        return name, source, {"from": Given(name, Origin("built in"))}
    if target and ("/" in name or name.endswith((".db", ".sqlite"))):
        url = f"sqlite:///{name}" if name.startswith("/") else f"sqlite:{name}"
        raise ConfigurationError(f"{name!r} is not a URL; that of a file is {url!r}")
    known = list(dict.fromkeys([*(n for file in files for n in file.profiles), *BUILT_IN]))
    said = f"{name!r} is not a URL, and" if target else f"{source.where} = {name!r}:"
    raise ConfigurationError(
        f"{said} no profile has that name{closest(name, known)} (there are "
        f"{', '.join(known)}; `kv-dict profile path` tells where they are searched). A URL is like "
        "sqlite:///path/to/file.db or memory://"
    )


def _name(target: str | None, files: list[File]) -> tuple[str, Origin]:
    if target is not None:
        return target, Origin("argument")
    if (name := selected()) is not None:
        return name, Origin("environment KV_DICT_PROFILE")
    for file in files:
        if file.default is not None:
            return file.default, Origin(f"{file.place.path} default")
    return "default", _DEFAULT


# -- what it says ---------------------------------------------------------------------------------


def _without_address(given: Mapping[str, Given]) -> dict[str, Given]:
    """Return the settings that do not say which server it is, or who asks it."""
    return {
        name: one
        for name, one in given.items()
        if not (name.startswith("options.") or (name in KEYS and KEYS[name].of_address))
    }


def _with_facility(given: dict[str, Given]) -> dict[str, Given]:
    """Return the settings on top of what the facility's own configuration says."""
    if "from" not in given:
        if "file" in given:
            raise given["file"].origin.refusal("file", "it needs from = as well, to say of what")
        return given
    facility = given["from"].value
    if facility == "nslsii":
        from kv_dict.profiles.nslsii import settings  # noqa: PLC0415 - the one that is used
    elif facility == "bits":
        from kv_dict.profiles.bits import settings  # noqa: PLC0415
    else:
        from kv_dict.profiles.bluesky_nats import settings  # noqa: PLC0415
    below = settings(given)
    if "password_file" in given:
        for name in ("password", "token"):
            below.pop(name, None)
    return below | given


def _profile(name: str, source: Origin, given: dict[str, Given]) -> Profile:
    folder = None
    if "url" not in given:
        path = default_path()
        folder = path.parent
        given["url"] = Given(f"sqlite://{quote(os.fsencode(path))}", _DEFAULT)
    for key in KEYS.values():
        if key.default is not None:
            given.setdefault(key.name, Given(key.default, _DEFAULT))
    value = {key: one.value for key, one in given.items()}
    if value["on_outage"] == "continue" and value["reads"] != "replica":
        raise given["on_outage"].origin.refusal(
            "on_outage",
            "'continue' needs reads = 'replica', to read meanwhile; "
            f"{given['reads'].origin.of('reads')} is {value['reads']!r}",
        )
    _check_defaults(value["check"], given)
    address = exact_url(given)
    url = backend_of(address, given).url
    return Profile(
        name=name,
        url=url,
        entry_point=value["entry_point"],
        separator=value["separator"],
        reads=value["reads"],
        timeout=value["timeout"],
        on_outage=value["on_outage"],
        check=value["check"],
        require_baton=value["require_baton"],
        protected=value["protected"],
        settings=(Setting("profile", name, source.where), *_shown(given, url)),
        _address=address,
        _defaults=_of_table("defaults", value),
        _dashboard=_of_table("dashboard", value),
        _folder=folder,
    )


def _check_defaults(check: str, given: Mapping[str, Given]) -> None:
    """Refuse default metadata that the mapping itself would refuse, and say where they are."""
    refuse = checker(None if check == "none" else check)
    if refuse is None:
        return
    for name, one in given.items():
        if name.startswith("defaults."):
            try:
                refuse(name[9:], one.value)
            except (TypeError, ValueError) as error:
                said = str(error).removesuffix("; nothing was written")
                raise one.origin.refusal(name, f"{said} (or check = 'none')") from None


def _of_table(name: str, value: Mapping[str, Any]) -> dict[str, Any]:
    return {key.partition(".")[2]: v for key, v in value.items() if key.startswith(f"{name}.")}


def _shown(given: Mapping[str, Given], url: str) -> list[Setting]:
    order = list(KEYS)

    def place(name: str) -> tuple[int, str]:
        part, dot, _ = name.partition(".")
        known = name if name in KEYS else f"{part}.*" if dot else "user"
        return order.index(known), name

    return [
        Setting(
            name,
            url if name == "url" else "***" if name in ("password", "token") else given[name].value,
            given[name].origin.where,
        )
        for name in sorted(given, key=place)
    ]
