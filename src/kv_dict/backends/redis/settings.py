"""What a URL or a client says of a server: where it is, how to log in, and what may be shown."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from kv_dict.errors import ConfigurationError, KVDictError, Unavailable

if TYPE_CHECKING:
    import redis

__all__ = ["Settings"]

_TLS: Final = {"ca_file": "ssl_ca_certs", "cert_file": "ssl_certfile", "key_file": "ssl_keyfile"}
_OPTIONS: Final = {
    "redis": ("db", "password_file"),
    "rediss": ("db", "password_file", *_TLS),
    "unix": ("db", "password_file"),
}
_OF_A_CLIENT: Final = frozenset(
    {"host", "port", "path", "db", "username", "password", "credential_provider", "client_name"}
    | {"socket_keepalive", "socket_keepalive_options", "socket_type"}
)


class Settings:
    """One server and database. Immutable; shows no secret in `repr`, `url` or errors.

    Attributes
    ----------
    url : str
        Masked.
    """

    def __init__(
        self, url: str, *, kind: Any, arguments: dict[str, Any], exact: str | None
    ) -> None:
        self.url = url
        self._kind = kind
        self._arguments = arguments
        self._exact = None if exact is None else _Secret(exact)

    def __repr__(self) -> str:
        return f"<Settings {self.url}>"

    @classmethod
    def of_url(cls, url: str) -> Settings:
        """Return what a URL says; raises ConfigurationError, without any password in it."""
        driver = _driver()
        try:
            parts = urlsplit(url)
            port, host, user, password = parts.port, parts.hostname, parts.username, parts.password
        except ValueError as error:
            reason = "the port is no number" if "port" in str(error).lower() else "it is malformed"
            raise ConfigurationError(
                f"the URL of a Redis server cannot be read: {reason}"
            ) from None
        scheme = parts.scheme
        if scheme not in _OPTIONS:
            raise ConfigurationError(
                f"RedisBackend: a URL starts with redis://, rediss:// or unix://, not {scheme!r}"
            )
        options = _options(scheme, parts.query)
        path = unquote(parts.path)
        arguments: dict[str, Any] = {}
        if scheme == "unix":
            if not path.strip("/") or host:
                raise ConfigurationError(
                    "unix:// needs the path of a socket: unix:///run/redis.sock"
                )
            kind = driver.UnixDomainSocketConnection
            arguments["path"] = path
            database = options.get("db", "0")
            shown = quote(path)
        else:
            kind = driver.SSLConnection if scheme == "rediss" else driver.Connection
            arguments |= {"host": unquote(host or "localhost"), "port": port or 6379}
            if path.strip("/") and "db" in options:
                raise ConfigurationError("the database is given twice: as /path and as ?db=")
            database = options.get("db") or path.strip("/") or "0"
            shown = f"{_bracketed(arguments['host'])}:{arguments['port']}/{quote(database)}"
        if not (database.isascii() and database.isdigit()):
            raise ConfigurationError(
                f"{scheme}://...: the database is a number, as in redis://localhost:6379/0"
            )
        arguments["db"] = int(database)
        secret: str | Path | None = None if password is None else unquote(password)
        if "password_file" in options:
            if secret is not None:
                raise ConfigurationError("password_file= and a password in the URL: choose one")
            secret = Path(options["password_file"]).absolute()
        if secret is not None:
            arguments["credential_provider"] = _provider(unquote(user or ""), secret)
        elif user:
            raise ConfigurationError(f"{scheme}://{user}@...: a user needs a password as well")
        if scheme == "rediss":
            arguments |= {_TLS[name]: options[name] for name in _TLS if name in options}
            arguments |= {
                "ssl_cert_reqs": "required",
                "ssl_check_hostname": True,
                "ssl_min_version": ssl.TLSVersion.TLSv1_2,
            }
        who = "" if secret is None else f"{user or ''}:***@" if isinstance(secret, str) else ""
        if isinstance(secret, Path) and user:
            who = f"{user}@"
        kept = {k: v for k, v in options.items() if k != "db" or scheme == "unix"}
        query = f"?{urlencode(kept, safe='/')}" if kept else ""
        return cls(f"{scheme}://{who}{shown}{query}", kind=kind, arguments=arguments, exact=url)

    @classmethod
    def of_client(cls, client: redis.Redis) -> Settings:
        """Return what an existing client connects to; it is not used itself, nor closed."""
        driver = _driver()
        if not isinstance(client, driver.Redis):
            raise ConfigurationError(
                f"client= takes a redis.Redis, not {type(client).__module__}."
                f"{type(client).__name__}"
            )
        pool = client.connection_pool
        kind = pool.connection_class
        for known in (
            driver.SSLConnection,
            driver.UnixDomainSocketConnection,
            driver.Connection,
        ):
            if kind is known:
                break
        else:
            raise ConfigurationError(
                f"client= connects by {kind.__name__}, which RedisBackend cannot open more of; "
                "pass a client of one server, or a URL"
            )
        arguments = {
            name: value
            for name, value in pool.connection_kwargs.items()
            if name in _OF_A_CLIENT or name.startswith("ssl_")
        }
        if arguments.get("password") is not None and not arguments.get("credential_provider"):
            arguments["credential_provider"] = _provider(
                arguments.get("username") or "", arguments["password"]
            )
        arguments.pop("password", None)
        arguments.pop("username", None)
        database = arguments.get("db") or 0
        if "path" in arguments:
            shown = f"unix://{quote(arguments['path'])}?db={database}"
        else:
            scheme = "rediss" if kind is driver.SSLConnection else "redis"
            host = arguments.get("host", "localhost")
            shown = f"{scheme}://{_bracketed(host)}:{arguments.get('port', 6379)}/{database}"
        return cls(shown, kind=kind, arguments=arguments, exact=None)

    def exact_url(self) -> str:
        """Return the URL with its password, for a pickle; TypeError if it came from a client."""
        if self._exact is None:
            raise TypeError(
                f"a RedisBackend made with client= cannot be pickled ({self.url}); make it from a "
                "URL"
            )
        return self._exact.reveal()

    def connect(self, timeout: float) -> Any:
        """Return a connection of redis-py that is connected and logged in, speaking RESP3."""
        driver = _driver()
        from redis.backoff import NoBackoff  # noqa: PLC0415 - the driver is imported when used
        from redis.retry import Retry  # noqa: PLC0415

        connection = self._kind(
            **self._arguments,
            protocol=3,
            retry=Retry(NoBackoff(), 0),
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
        )
        try:
            connection.connect()
        except (driver.RedisError, OSError, KVDictError) as error:
            connection.disconnect()
            # Frames of the driver hold the password: neither they nor their context are kept.
            explained = self._explain(error)
            error.__context__ = None
            raise explained from error.with_traceback(None)
        except BaseException:
            connection.disconnect()
            raise
        return connection

    def _explain(self, error: Exception) -> KVDictError:
        driver = _driver()
        cause = error.__context__
        if isinstance(error, KVDictError):
            return error
        if isinstance(error, driver.AuthenticationError | driver.exceptions.AuthorizationError):
            return ConfigurationError(
                f"{self.url} refuses the user or password ({error}); check them in the URL, or the "
                "file that password_file= names"
            )
        if isinstance(cause, ssl.SSLCertVerificationError):
            return ConfigurationError(
                f"{self.url}: the server's certificate is not trusted "
                f"({cause.verify_message or cause.reason}); name the authority's file with ca_file="
            )
        if isinstance(cause, ssl.SSLError) or isinstance(error, ssl.SSLError):
            return ConfigurationError(
                f"{self.url}: no TLS connection can be made ({error}); is it a port for TLS, and "
                "is a client certificate asked for (cert_file=, key_file=)?"
            )
        if isinstance(cause, FileNotFoundError) and "ssl_ca_certs" in self._arguments:
            return ConfigurationError(f"{self.url}: a file of the TLS options is missing")
        if isinstance(error, driver.ResponseError):
            text = str(error)
            if "unknown command" in text.lower() or "NOPROTO" in text:
                return ConfigurationError(
                    f"{self.url} does not speak RESP3 ({text}); Redis 6 or newer is needed"
                )
            if "DB index" in text or "invalid DB" in text:
                return ConfigurationError(f"{self.url}: there is no such database ({text})")
            if isinstance(error, driver.exceptions.NoPermissionError):
                return ConfigurationError(f"{self.url}: the user may not do this ({text})")
        return Unavailable(f"{self.url} cannot be reached ({error}); nothing was written")


class _Secret:
    """Text that `repr` does not show: not in a debugger's list of variables either."""

    def __init__(self, text: str) -> None:
        self.reveal: Callable[[], str] = lambda: text

    def __repr__(self) -> str:
        return "***"


def _driver() -> Any:
    try:
        import redis  # noqa: PLC0415
    except ImportError as error:
        raise ConfigurationError(
            "redis:// needs the redis package: pip install 'kv-dict[redis]'"
        ) from error
    return redis


def _provider(user: str, secret: str | Path) -> Any:
    """Return what tells the driver user and password; a file is read anew for each connection."""
    from redis.credentials import CredentialProvider  # noqa: PLC0415 - when the driver is there

    class Login(CredentialProvider):
        def get_credentials(self) -> tuple[str] | tuple[str, str]:
            password = secret if isinstance(secret, str) else _first_line(secret)
            return (user, password) if user else (password,)

    return Login()


def _first_line(path: Path) -> str:
    try:
        text = path.read_text()
    except OSError as error:
        raise ConfigurationError(f"password_file={path}: {error.strerror}") from None
    password = text.partition("\n")[0].rstrip("\r")
    if not password:
        raise ConfigurationError(f"password_file={path}: its first line is empty")
    return password


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


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
