"""Opening one connection with redis-py: TLS, login, database; and what its errors mean."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

from kv_dict.credentials import read_password
from kv_dict.errors import ConfigurationError, KVDictError, Unavailable

__all__ = ["Address", "Opener", "driver", "login"]

Address = tuple[str, int]


class Opener:
    """Opens connections that differ in nothing but the address. Immutable.

    Parameters
    ----------
    url : str
        For messages; masked.
    kind : type
        One of redis-py's classes of connections.
    arguments : dict
        Of that class. `login` wraps what is secret among them.
    """

    def __init__(self, url: str, kind: Any, arguments: dict[str, Any]) -> None:
        self.url = url
        self._kind = kind
        self._arguments = arguments

    def open(self, timeout: float, address: Address | None = None) -> Any:
        """Return a connection of redis-py that is connected and logged in, speaking RESP3.

        Parameters
        ----------
        timeout : float
            Seconds for each step of it.
        address : (str, int), optional
            Host and port, in place of those in the arguments.
        """
        from redis.backoff import NoBackoff  # noqa: PLC0415 - the driver is imported when used
        from redis.retry import Retry  # noqa: PLC0415

        place = {} if address is None else {"host": address[0], "port": address[1]}
        connection = self._kind(
            **(self._arguments | place),  # in no variable: a key's password may be among them
            protocol=3,
            retry=Retry(NoBackoff(), 0),
            socket_timeout=max(timeout, 0.001),
            socket_connect_timeout=max(timeout, 0.001),
        )
        try:
            connection.connect()
        except Exception as error:
            connection.disconnect()
            raise self._translated(error, address) from error
        except BaseException:
            connection.disconnect()
            raise
        return connection

    def ask(self, connection: Any, *words: str) -> Any:
        """Return the reply to one command on a connection that nothing else uses yet."""
        try:
            connection.send_command(*words, check_health=False)
            return connection.read_response()
        except Exception as error:
            connection.disconnect()
            raise self._translated(error, (connection.host, connection.port)) from error

    def _translated(self, error: Exception, address: Address | None) -> Exception:
        """Return our exception for one of the driver, which then holds no secret any more."""
        redis = driver()
        if not isinstance(error, redis.RedisError | OSError | KVDictError):
            return error
        if address is None:
            explained = self._explain(error, self.url) or Unavailable(
                f"{self.url} cannot be reached ({error})"
            )
        else:  # one of several, whose URL is told with what became of all of them
            at = f"{address[0]}:{address[1]}"
            explained = self._explain(error, f"{self.url} ({at})") or Unavailable(
                f"{at} cannot be reached ({error})"
            )
        # Frames of the driver hold the password: neither they nor their context are kept.
        error.__context__ = None
        error.__traceback__ = None
        return explained

    def _explain(self, error: Exception, where: str) -> KVDictError | None:
        """Return what the user has to change, None if it is not for the user to change."""
        redis = driver()
        cause = error.__context__
        if isinstance(error, KVDictError):
            return error
        if isinstance(error, redis.AuthenticationError | redis.exceptions.AuthorizationError):
            if not self._arguments.get("credential_provider"):
                return ConfigurationError(
                    f"{where} wants a password, and none was given: put it into a file, and name "
                    "that in the URL: redis://user@host/0?password_file=FILE, without user@ if "
                    "there is none (of a sentinel: sentinel_password_file=)",
                    layer="login",
                )
            return ConfigurationError(
                f"{where} refuses the user or password ({error}); check them in the URL, or the "
                "file that password_file= names",
                layer="login",
            )
        if isinstance(cause, ssl.SSLCertVerificationError):
            return ConfigurationError(
                f"{where}: the server's certificate is not trusted "
                f"({cause.verify_message or cause.reason}); name the authority's file with "
                "ca_file=",
                layer="tls",
            )
        if isinstance(cause, ssl.SSLError) or isinstance(error, ssl.SSLError):
            return ConfigurationError(
                f"{where}: no TLS connection can be made ({error}); is it a port for TLS, and "
                "is a client certificate asked for (cert_file=, key_file=)?",
                layer="tls",
            )
        if isinstance(error, redis.InvalidResponse):
            return Unavailable(
                f"{where}: what answers there is no Redis server; is it the right port?"
            )
        if isinstance(cause, FileNotFoundError) and "ssl_ca_certs" in self._arguments:
            return ConfigurationError(f"{where}: a file of the TLS options is missing", layer="tls")
        if isinstance(error, redis.ResponseError):
            text = str(error)
            if "unknown command" in text.lower() or "NOPROTO" in text:
                return ConfigurationError(
                    f"{where} does not speak RESP3 ({text}); Redis 6 or newer is needed"
                )
            if "DB index" in text or "invalid DB" in text:
                return ConfigurationError(
                    f"{where}: there is no such database ({text})", layer="store"
                )
            if isinstance(error, redis.exceptions.NoPermissionError):
                return ConfigurationError(
                    f"{where}: the user may not do this ({text})", layer="permission"
                )
        return None


def driver() -> Any:
    """Return the module `redis`, imported now."""
    try:
        import redis  # noqa: PLC0415
    except ImportError as error:
        raise ConfigurationError(
            "redis:// needs the redis package: pip install 'kv-dict[redis]'", layer="driver"
        ) from error
    return redis


def login(user: str, secret: str | Path, option: str = "password_file") -> Any:
    """Return what tells the driver user and password; a file is read anew for each connection."""
    from redis.credentials import CredentialProvider  # noqa: PLC0415 - when the driver is there

    class Login(CredentialProvider):
        def get_credentials(self) -> tuple[str] | tuple[str, str]:
            password = secret if isinstance(secret, str) else read_password(secret, option)
            return (user, password) if user else (password,)

    return Login()
