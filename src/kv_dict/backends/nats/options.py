"""Where the server is and who asks: what a user may say about a NATS connection."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, unquote, urlsplit

from kv_dict.errors import ConfigurationError

__all__ = ["Options"]

RECONNECT_WAIT: Final = 0.2
PING_INTERVAL: Final = 2
CONNECT_TIMEOUT: Final = 2


@dataclass(frozen=True, slots=True)
class Options:
    """Servers and credentials. Its `repr` shows no secret.

    Files are read when a connection is made, so that a credential can be replaced on the disk.
    """

    servers: tuple[str, ...]
    shown: str
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    password_file: str | None = None
    credentials: str | None = None
    nkeys_seed: str | None = None
    ca: str | None = None
    certificate: str | None = None
    key: str | None = None

    @classmethod
    def parse(cls, url: str, **given: str | None) -> Options:
        """Take the servers, and possibly a user, from `url`, the rest from options."""
        scheme, mark, rest = url.partition("://")
        if scheme not in ("nats", "tls") or not mark:
            raise ConfigurationError(
                "the URL of a NATS server is nats://host:4222 or tls://host:4222"
            )
        parts = urlsplit(f"{scheme}://{rest.rpartition('@')[2]}")
        if parts.query or parts.fragment or parts.path.strip("/"):
            raise ConfigurationError(
                f"{scheme}://{parts.netloc} is followed by something: options in a URL are for "
                "open_backend() and open_mapping(), those of NatsBackend are arguments"
            )
        hosts = [host.strip() for host in parts.netloc.split(",") if host.strip()]
        if not hosts:
            raise ConfigurationError(f"{scheme}:// names no host: nats://localhost:4222")
        login = rest.rpartition("@")[0]
        name, colon, secret = login.partition(":")
        told: dict[str, str] = {}
        if colon:
            told = {"user": unquote(name), "password": unquote(secret)}
        elif login:
            told = {"token": unquote(name)}
        told |= {option: value for option, value in given.items() if value is not None}
        for host in hosts:
            try:
                port = urlsplit(f"{scheme}://{host}").port
            except ValueError:
                raise ConfigurationError(f"{scheme}://{host}: the port is no number") from None
            if port == 0:
                raise ConfigurationError(f"{scheme}://{host}: a server has no port 0")
        options = cls(
            servers=tuple(f"{scheme}://{host}" for host in hosts),
            shown=f"{scheme}://{'***@' if login else ''}{','.join(hosts)}",
            **told,
        )
        options.check()
        return options

    def check(self) -> None:
        """Raise ConfigurationError for what cannot be meant."""
        if (self.password is not None or self.password_file) and not self.user:
            raise ConfigurationError("a password needs a user")
        if self.password is not None and self.password_file:
            raise ConfigurationError("either password or password_file")
        if self.user and self.password is None and not self.password_file:
            raise ConfigurationError("user needs password_file (or password)")
        ways = [self.user, self.token, self.credentials, self.nkeys_seed]
        if sum(way is not None for way in ways) > 1:
            raise ConfigurationError("one of user, token, credentials and nkeys_seed, not several")
        if bool(self.certificate) != bool(self.key):
            raise ConfigurationError("a client certificate needs both certificate and key")

    def url(self, bucket: str) -> str:
        """Return the URL for people: without secrets."""
        return f"{self.shown}/?bucket={quote(bucket)}"

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of the client's ``connect``; reads the files that are named."""
        arguments: dict[str, Any] = {
            "servers": list(self.servers),
            "name": "kv_dict",
            "pending_size": 0,  # nothing is kept to be sent when the server comes back
            "max_reconnect_attempts": -1,
            "reconnect_time_wait": RECONNECT_WAIT,
            "ping_interval": PING_INTERVAL,
            "connect_timeout": CONNECT_TIMEOUT,
        }
        if self.user is not None:
            arguments["user"] = self.user
            arguments["password"] = self.password
            if self.password_file:
                arguments["password"] = _text(self.password_file, "password_file").rstrip("\r\n")
        if self.token is not None:
            arguments["token"] = self.token
        if self.credentials is not None:
            _text(self.credentials, "credentials")
            arguments["user_credentials"] = self.credentials
        if self.nkeys_seed is not None:
            _text(self.nkeys_seed, "nkeys_seed")
            arguments["nkeys_seed"] = self.nkeys_seed
        if self.ca or self.certificate or self.servers[0].startswith("tls:"):
            arguments["tls"] = self._tls()
        return arguments

    def _tls(self) -> ssl.SSLContext:
        try:
            context = ssl.create_default_context(cafile=self.ca)
            if self.certificate:
                context.load_cert_chain(self.certificate, self.key)
        except (OSError, ssl.SSLError) as error:
            raise ConfigurationError(
                f"{self.shown}: ca={self.ca}, certificate={self.certificate}, key={self.key}: "
                f"{error}"
            ) from error
        return context


def _text(path: str, option: str) -> str:
    try:
        return Path(path).read_text()
    except OSError as error:
        raise ConfigurationError(f"{option}={path}: {error.strerror or error}") from error
