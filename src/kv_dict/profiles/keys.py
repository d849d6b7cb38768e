"""The keys that a profile may have: what each takes, and what is said of anything else.

Keys of tables, as ``tls`` and ``defaults``, are named with a dot here: ``tls.ca``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from kv_dict.checks import NAMES
from kv_dict.credentials import Unshown
from kv_dict.errors import ConfigurationError, KVDictError
from kv_dict.keys import KeySpace, check_key

__all__ = ["FACILITIES", "KEYS", "TABLES", "Given", "Key", "Origin", "checked", "closest", "table"]

FACILITIES: Final = ("nslsii", "bits", "bluesky-nats")
_SECRETS: Final = ("password", "sslpassword", "token")
_NOT_HERE: Final = "whoever may read the file would know it: put it into a file of its own, which "
_OF_BLUESKY: Final = {
    "scan_id": "the RunEngine counts it up at every run",
    "versions": "the RunEngine writes it when it starts",
}


class Origin(NamedTuple):
    """Where settings come from.

    Attributes
    ----------
    where : str
        For people: a file and a table in it, or ``environment KV_DICT_URL``, ``argument``,
        ``default``.
    folder : Path or None
        Of the file: where its relative paths begin.
    """

    where: str
    folder: Path | None = None

    def of(self, key: str) -> str:
        """Return how an error names a key of it."""
        return f"{self.where} {key}" if self.folder is not None else self.where

    def path(self, key: str, text: str) -> str:
        """Return the absolute path that a text of it means."""
        try:
            return str(((self.folder or Path()) / Path(text).expanduser()).absolute())
        except (RuntimeError, OSError) as error:  # no such user; no working directory any more
            raise self.refusal(key, f"{text}: {error}") from None

    def refusal(self, key: str, what: str) -> ConfigurationError:
        """Return the error that says what is wrong with a key of it."""
        return ConfigurationError(f"{self.of(key)}: {what}")


class Given(NamedTuple):
    """The value of a setting, and where it comes from."""

    value: Any
    origin: Origin


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a profile.

    Attributes
    ----------
    name : str
        As in the file; ``options.*`` stands for each key of that table.
    check : callable
        Returns the value as it is used, or raises `_Wrong` with what is wrong and what is right.
    default : object
        What holds where nothing is said.
    of_address : bool
        Whether another URL makes it void.
    from_text : callable or None
        What the text of an environment variable means; None: there is no such variable.
    is_path : bool
        Whether it names a file, relative to the one that it is in.
    """

    name: str
    check: Callable[[Any], Any]
    default: Any = None
    of_address: bool = False
    from_text: Callable[[str], Any] | None = str
    is_path: bool = False

    @property
    def variable(self) -> str | None:
        """The environment variable that overrides it, if there is one."""
        if self.from_text is None:
            return None
        return "KV_DICT_" + self.name.upper().replace(".", "_")


# -- what a value has to be ----------------------------------------------------------------------


class _Wrong(Exception):
    """A value that a key does not take; says what is wrong and what would be right."""


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise _Wrong(f"{_short(value)} is not a text; text in quotes is expected")
    if "\0" in value:
        raise _Wrong("the text holds a NUL character")
    return value


def _url(value: Any) -> str:
    return Unshown(_text(value))


def _one_of(*choices: str) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        if value not in choices:
            expected = " or ".join(map(repr, choices))
            hint = closest(value, choices) if isinstance(value, str) else ""
            raise _Wrong(f"{_short(value)}: {expected} is expected{hint}")
        return str(value)

    return check


def _entry_point(value: Any) -> str:
    if not isinstance(value, str):
        raise _Wrong(f"{_short(value)} is not a text; text in quotes is expected")
    try:
        return check_key(value)
    except KVDictError as error:
        raise _Wrong(str(error)) from None


def _separator(value: Any) -> str | None:
    if value is False or value == "":
        return None
    if not isinstance(value, str):
        raise _Wrong(f"{_short(value)}: a text is expected, or false for none")
    try:
        KeySpace("", value)
    except KVDictError as error:
        raise _Wrong(str(error)) from None
    return value


def _seconds(value: Any) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 < value <= 86_400:
        raise _Wrong(f"{_short(value)}: seconds are expected, above 0, up to 86400")
    return float(value)


def _seconds_of_text(text: str) -> Any:
    try:
        return float(text)
    except ValueError:
        return text  # which is then refused


def _protected(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(key, str) for key in value):
        raise _Wrong(f"{_short(value)}: a list of keys is expected, as in ['beamline_id']")
    for key in value:
        if key in _OF_BLUESKY:
            raise _Wrong(f"{key!r} cannot be protected: {_OF_BLUESKY[key]}")
    return tuple(dict.fromkeys(_entry_point(key) for key in value))


def _yes_or_no(value: Any) -> bool:
    if not isinstance(value, bool):
        raise _Wrong(f"{_short(value)}: true or false is expected")
    return value


def _yes_or_no_of_text(text: str) -> Any:
    return {"true": True, "1": True, "false": False, "0": False}.get(text.lower(), text)


def _option(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    return _text(value)


def _storable(value: Any) -> Any:
    from kv_dict.codec import JSONCodec  # noqa: PLC0415 - only those who have defaults need it

    try:
        JSONCodec().encode(value, "it")
    except KVDictError as error:
        raise _Wrong(str(error)) from None
    return value


def _as_given(value: Any) -> Any:
    return value  # checked by what shows it: a mistake there keeps no session from its metadata


def _short(value: Any) -> str:
    text = {True: "true", False: "false"}[value] if isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


KEYS: Final[dict[str, Key]] = {
    key.name: key
    for key in (
        Key("url", _url, of_address=True),
        Key("from", _one_of(*FACILITIES), from_text=None),
        Key("file", _text, from_text=None, is_path=True),
        Key("user", _text, of_address=True),
        Key("password_file", _text, of_address=True, is_path=True),
        Key("tls.ca", _text, of_address=True, is_path=True),
        Key("tls.cert", _text, of_address=True, is_path=True),
        Key("tls.key", _text, of_address=True, is_path=True),
        Key("options.*", _option, of_address=True, from_text=None),
        Key("entry_point", _entry_point, "md"),
        Key("separator", _separator, ":", from_text=lambda t: False if t == "false" else t),
        Key("reads", _one_of("server", "replica"), "replica"),
        Key("timeout", _seconds, 5.0, from_text=_seconds_of_text),
        Key("on_outage", _one_of("fail", "continue"), "fail"),
        Key("protected", _protected, (), from_text=lambda t: [k.strip() for k in t.split(",")]),
        Key("check", _one_of("none", *NAMES), "bluesky"),
        Key("require_baton", _yes_or_no, False, from_text=_yes_or_no_of_text),
        Key("defaults.*", _storable, from_text=None),
        Key("dashboard.*", _as_given, from_text=None),
    )
}
TABLES: Final = ("tls", "options", "defaults", "dashboard")


def checked(name: str, value: Any, origin: Origin) -> Given:
    """Return a setting whose value is what its key takes.

    Raises
    ------
    ConfigurationError
        It is not; the message says where it was given, what is wrong and what would be right.
    """
    part, dot, _ = name.partition(".")
    key = KEYS.get(name) or KEYS.get(f"{part}.*" if dot else name)
    if key is None:
        raise _unknown(name, origin)
    try:
        value = key.check(value)
    except _Wrong as error:
        raise origin.refusal(name, str(error)) from None
    is_path = key.is_path or (part == "options" and name.endswith("_file"))
    return Given(origin.path(name, value) if is_path else value, origin)


def table(content: Mapping[str, Any], origin: Origin) -> dict[str, Given]:
    """Return the settings in the table of a profile in a file; no password may be among them."""
    given: dict[str, Given] = {}
    for name, value in content.items():
        if name in TABLES:
            if not isinstance(value, dict):
                raise origin.refusal(name, f"{_short(value)}: a table is expected")
            items = {f"{name}.{key}": item for key, item in value.items()}
        else:
            items = {name: value}
        for key, item in items.items():
            if key.rpartition("options.")[2] in _SECRETS:
                raise origin.refusal(key, f"{_NOT_HERE}password_file = names")
            given[key] = checked(key, item, origin)
    if "url" in given:
        _refuse_password(given, origin)
    return given


def _refuse_password(given: Mapping[str, Given], origin: Origin) -> None:
    url, _, query = given["url"].value.partition("?")
    token = url.startswith(("nats:", "tls:")) and "@" in url
    with_file = "password_file" in given or "password_file=" in query
    if (
        re.search("//[^@]*:[^@]*@", url)
        or re.search(f"(^|&)({'|'.join(_SECRETS)})=", query)
        or (token and not with_file)
    ):
        raise origin.refusal(
            "url", f"it holds a password or token, and {_NOT_HERE}password_file = names"
        )


def _unknown(name: str, origin: Origin) -> ConfigurationError:
    part, dot, _ = name.partition(".")
    prefix = f"{part}." if dot else ""
    known = [key for key in KEYS if key.startswith(prefix)] if dot else _top_level()
    hint = closest(name, known) or f"; known are {', '.join(known)}"
    return origin.refusal(name, f"there is no such key{hint}")


def _top_level() -> list[str]:
    return list(dict.fromkeys(name.partition(".")[0] for name in KEYS))


def closest(name: str, known: Iterable[str]) -> str:
    """Return a question that names what may have been meant, or nothing."""
    from difflib import get_close_matches  # noqa: PLC0415 - only mistakes need it

    found = get_close_matches(name, list(known), n=1)
    return f"; did you mean {found[0]!r}?" if found else ""
