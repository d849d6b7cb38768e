"""From the settings of a profile to the one URL that names its store."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from kv_dict.backend import Backend
from kv_dict.credentials import Secret, read_password
from kv_dict.errors import ConfigurationError
from kv_dict.profiles.keys import Given, Origin

__all__ = ["backend_of", "exact_url"]

_OPTION_OF: Final = {
    "password_file": "password_file",
    "tls.ca": "ca_file",
    "tls.cert": "cert_file",
    "tls.key": "key_file",
}


def exact_url(given: Mapping[str, Given]) -> Secret:
    """Return the URL with everything in it: login, TLS and options.

    Parameters
    ----------
    given : mapping of str to Given
        The settings, ``url`` among them.

    Raises
    ------
    ConfigurationError
        Something is given twice, or a file that is named cannot be used.
    """
    url, origin = given["url"]
    if origin.folder is None and not any(_concerns_address(key) for key in given):
        return Secret(url)  # just as it was given
    if "#" in url:
        raise origin.refusal("url", "write '#' in a URL as %23")
    try:
        parts = urlsplit(url)
    except ValueError:
        raise origin.refusal("url", "the URL is malformed") from None
    options: dict[str, tuple[str, str, Origin]] = {}
    for key, name, value, source in _options(parts.query, given):
        if name in options:
            raise source.refusal(key, f"{name} is given twice, here and in {options[name][1]}")
        if name.endswith("_file"):
            _check_file(key, name, value, source)
        options[name] = value, source.of(key), source
    parts = parts._replace(
        netloc=_with_login(parts.netloc, parts.scheme, given, "password_file" in options),
        query=urlencode({name: text for name, (text, *_) in options.items()}, safe="/:,*"),
    )
    if parts.scheme == "sqlite" and not parts.netloc and parts.path:
        path = origin.path("url", _file_of(unquote(parts.path)))
        slashes = "//" if path.count("/") > 1 else "///"
        return Secret(f"sqlite:{slashes}{quote(path)}{'?' if parts.query else ''}{parts.query}")
    return Secret(parts.geturl())


def backend_of(address: Secret, given: Mapping[str, Given]) -> Backend:
    """Return the backend at an address, not connected; an error says where it was configured."""
    from kv_dict.backends import open_backend  # noqa: PLC0415 - a driver is imported when used

    origin = given["url"].origin
    try:
        return open_backend(address.reveal())
    except ConfigurationError as error:
        if origin.where == "argument":
            raise
        what = str(error)
    raise origin.refusal("url", what)  # without the frames in which the whole URL is


def _file_of(path: str) -> str:
    """Return which file the path of a SQLite URL means; as `open_backend` does."""
    if path.startswith("//"):
        return "/" + path.lstrip("/")
    return path[1:] if path.startswith("/") and path.count("/") == 1 else path


def _concerns_address(key: str) -> bool:
    return key in _OPTION_OF or key in ("user", "password", "token") or key.startswith("options.")


def _options(query: str, given: Mapping[str, Given]) -> Iterator[tuple[str, str, str, Origin]]:
    """Yield each option: the key it was given by, the backends' name of it, its value, origin."""
    origin = given["url"].origin
    for name, text in parse_qsl(query, keep_blank_values=True):
        yield "url", name, origin.path("url", text) if name.endswith("_file") else text, origin
    for key, (value, source) in given.items():
        if key in _OPTION_OF:
            yield key, _OPTION_OF[key], value, source
        elif key.startswith("options."):
            yield key, key.partition(".")[2], value, source


def _check_file(key: str, name: str, path: str, origin: Origin) -> None:
    if name.endswith("password_file"):
        read_password(path, origin.of(key))
        return
    try:
        with Path(path).open("rb"):
            pass
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "this is no path"
        raise origin.refusal(key, f"{path} cannot be read ({why})") from None


def _with_login(
    netloc: str, scheme: str, given: Mapping[str, Given], has_password_file: bool
) -> str:
    """Return host and port with user and password in front, if there are any."""
    named = [name for name in ("user", "password", "token") if name in given]
    if not named:
        return netloc
    origin = given[named[0]].origin
    if scheme in ("sqlite", "memory"):
        raise origin.refusal(named[0], f"a store at {scheme}: has no users; leave it out")
    if "@" in netloc:
        raise origin.refusal(named[0], "the URL has a login already; choose one")
    if "token" in named and len(named) > 1:
        raise origin.refusal(named[0], "one of user and token, not both")
    if scheme in ("nats", "tls") and named == ["user"] and not has_password_file:
        raise origin.refusal("user", "it needs password_file as well")  # it would be a token
    text = {
        name: quote(one.reveal() if isinstance(one, Secret) else one, safe="")
        for name, one in ((name, given[name].value) for name in named)
    }
    password = f":{text['password']}" if "password" in text else ""
    return f"{text.get('user', '')}{password}{text.get('token', '')}@{netloc}"
