"""What a URL says of a server: where it is, how to log in, and what of it may be shown."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any, Final
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit

from kv_dict.backends.redis.opening import Address, Opener, driver, login
from kv_dict.backends.redis.routes import Cluster, Direct, OfMaster, Route
from kv_dict.credentials import Secret
from kv_dict.errors import ConfigurationError

__all__ = ["Settings", "bracketed"]

_TLS: Final = {"ca_file": "ssl_ca_certs", "cert_file": "ssl_certfile", "key_file": "ssl_keyfile"}
_ANY: Final = ("password_file", "replicas")
_SENTINELS: Final = (*_ANY, "db", "sentinel_user", "sentinel_password_file")
_OPTIONS: Final = {
    "redis": ("db", *_ANY),
    "rediss": ("db", *_ANY, *_TLS),
    "unix": ("db", *_ANY),
    "redis+sentinel": _SENTINELS,
    "rediss+sentinel": (*_SENTINELS, *_TLS),
    "redis+cluster": _ANY,
    "rediss+cluster": (*_ANY, *_TLS),
}


class Settings:
    """Where the entries are. Immutable; shows no secret in `repr`, `url` or errors.

    Parameters
    ----------
    route : Route
        To the server or servers.
    exact : str or None
        The URL with its password; None if there was none.
    """

    def __init__(self, route: Route, *, exact: str | None = None) -> None:
        self.route = route
        self._exact = None if exact is None else Secret(exact)

    @property
    def url(self) -> str:
        """The URL, masked."""
        return self.route.url

    def __repr__(self) -> str:
        return f"<Settings {self.url}>"

    @classmethod
    def of_url(cls, url: str) -> Settings:
        """Return what a URL says; raises ConfigurationError, without any password in it."""
        driver()
        try:
            parts = urlsplit(url)
        except ValueError:
            raise ConfigurationError("the URL of a Redis server is malformed") from None
        if parts.scheme not in _OPTIONS:
            known = ", ".join(f"{scheme}://" for scheme in _OPTIONS)
            raise ConfigurationError(
                f"RedisBackend: a URL starts with one of {known}, not {parts.scheme!r}"
            )
        return cls(_route(parts, _options(parts.scheme, parts.query)), exact=url)

    def exact_url(self) -> str:
        """Return the URL with its password, for a pickle; TypeError if it came from a client."""
        if self._exact is None:
            raise TypeError(
                f"a RedisBackend made with client= cannot be pickled ({self.url}); make it from a "
                "URL"
            )
        return self._exact.reveal()


def _route(parts: SplitResult, options: dict[str, str]) -> Route:
    scheme = parts.scheme
    replicas = _number(scheme, "replicas", options.get("replicas", "0"))
    user, secret = _login(parts, options)
    arguments: dict[str, Any] = {}
    if scheme.startswith("rediss"):
        arguments |= {_TLS[name]: options[name] for name in _TLS if name in options}
        arguments |= {
            "ssl_cert_reqs": "required",
            "ssl_check_hostname": True,
            "ssl_min_version": ssl.TLSVersion.TLSv1_2,
        }
    of_sentinels = dict(arguments)
    if secret is not None:
        arguments["credential_provider"] = login(user, secret)
    path = unquote(parts.path)
    if scheme == "unix":
        if not path.strip("/") or parts.netloc.rpartition("@")[2]:
            raise ConfigurationError("unix:// needs the path of a socket: unix:///run/redis.sock")
        arguments |= {"path": path, "db": _number(scheme, "db", options.get("db", "0"))}
        url = _shown(parts, user, secret, quote(path), options)
        opener = Opener(url, driver().UnixDomainSocketConnection, arguments)
        return Direct(url, opener, replicas)

    kind = driver().SSLConnection if scheme.startswith("rediss") else driver().Connection
    sentinel, cluster = scheme.endswith("+sentinel"), scheme.endswith("+cluster")
    addresses = _addresses(parts, 26379 if sentinel else 6379)
    shown = ",".join(f"{bracketed(host)}:{port}" for host, port in addresses)
    names = [name for name in path.split("/") if name]
    if sentinel:
        if not names:
            raise ConfigurationError(
                f"{scheme}:// ends with the name of the master, as the sentinels know it: "
                f"{scheme}://host:26379/mymaster"
            )
        shown += f"/{quote(names.pop(0))}"
    if names and "db" in options:
        raise ConfigurationError("the database is given twice: as /path and as ?db=")
    if len(names) > 1 or (cluster and names):
        raise ConfigurationError(f"{scheme}://...: {'/'.join(names)!r} is no database")
    if not cluster:
        arguments["db"] = _number(scheme, "db", options.get("db") or (names or ["0"])[0])
        shown += f"/{arguments['db']}"
    url = _shown(parts, user, secret, shown, {k: v for k, v in options.items() if k != "db"})
    opener = Opener(url, kind, arguments)
    if cluster:
        return Cluster(url, addresses, opener, replicas)
    if not sentinel:
        if len(addresses) > 1:
            raise ConfigurationError(
                f"{scheme}:// names one server; several are redis+sentinel:// or redis+cluster://"
            )
        (arguments["host"], arguments["port"]) = addresses[0]
        return Direct(url, opener, replicas)
    if "sentinel_password_file" in options:
        file = Path(options["sentinel_password_file"]).absolute()
        of_sentinels["credential_provider"] = login(
            options.get("sentinel_user", ""), file, "sentinel_password_file"
        )
    elif "sentinel_user" in options:
        raise ConfigurationError(f"{scheme}://: sentinel_user= needs sentinel_password_file=")
    name = unquote(next(filter(None, parts.path.split("/"))))
    return OfMaster(url, name, addresses, Opener(url, kind, of_sentinels), opener, replicas)


def _login(parts: SplitResult, options: dict[str, str]) -> tuple[str, str | Path | None]:
    """Return the user, and the password or the file that holds it."""
    user, colon, password = parts.netloc.rpartition("@")[0].partition(":")
    if "password_file" in options:
        if colon:
            raise ConfigurationError("password_file= and a password in the URL: choose one")
        return unquote(user), Path(options["password_file"]).absolute()
    if colon:
        return unquote(user), unquote(password)
    if user:
        raise ConfigurationError(f"{parts.scheme}://{user}@...: a user needs a password as well")
    return "", None


def _addresses(parts: SplitResult, port: int) -> list[Address]:
    found = []
    for text in parts.netloc.rpartition("@")[2].split(","):
        one = urlsplit(f"//{text}")
        try:
            found.append((unquote(one.hostname or "localhost"), one.port or port))
        except ValueError:
            raise ConfigurationError(
                "the URL of a Redis server cannot be read: the port is no number up to 65535"
            ) from None
    return found


def _shown(
    parts: SplitResult, user: str, secret: str | Path | None, rest: str, options: dict[str, str]
) -> str:
    who = f"{quote(user)}:***@" if isinstance(secret, str) else f"{quote(user)}@" if user else ""
    query = f"?{urlencode(options, safe='/')}" if options else ""
    return f"{parts.scheme}://{who}{rest}{query}"


def _number(scheme: str, name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        what = "the database" if name == "db" else f"the option {name!r}"
        raise ConfigurationError(
            f"{scheme}://...: {what} is a number, as in redis://localhost:6379/0"
        )
    return int(text)


def _options(scheme: str, query: str) -> dict[str, str]:
    options = parse_qsl(query, keep_blank_values=True)
    names = [name for name, _ in options]
    known = _OPTIONS[scheme]
    for name in names:
        if name not in known:
            hint = "; TLS is for rediss://" if name in _TLS else ""
            raise ConfigurationError(
                f"{scheme}:// has no option {name!r} (known: {', '.join(known)}){hint}"
            )
        if names.count(name) > 1:
            raise ConfigurationError(f"{scheme}://...: the option {name!r} is given twice")
    for name, value in options:
        if not value:
            raise ConfigurationError(f"{scheme}://...: the option {name!r} is empty")
        if name in _TLS and not Path(value).is_file():
            raise ConfigurationError(f"{scheme}://...: {name}={value} is no file")
    if ("cert_file" in names) != ("key_file" in names):
        raise ConfigurationError(f"{scheme}://...: cert_file= and key_file= belong together")
    return dict(options)


def bracketed(host: str) -> str:
    """Return a host as it is spelt in a URL."""
    return f"[{host}]" if ":" in host else host
