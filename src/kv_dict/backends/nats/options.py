"""Where the server is and who asks: what a user may say about a NATS connection."""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, unquote, urlsplit

from kv_dict.credentials import read_password
from kv_dict.errors import ConfigurationError

__all__ = ["Options"]

PING_INTERVAL: Final = 1
"""Seconds; a server that leaves two pings unanswered is taken for lost."""

CONNECT_TIMEOUT: Final = 2


_CREDENTIALS: Final = re.compile(
    r"-----BEGIN NATS USER JWT-----\s*(\S+)\s*-+END NATS USER JWT-+.*?"
    r"-----BEGIN USER NKEY SEED-----\s*(\S+)\s*-+END USER NKEY SEED-+",
    re.DOTALL,
)


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
    credentials_file: str | None = None
    nkey_seed_file: str | None = None
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None

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
        elif login and (given.get("password_file") or given.get("password")):
            told = {"user": unquote(name)}
        elif login:
            told = {"token": unquote(name)}
        told |= {option: value for option, value in given.items() if value is not None}
        for host in hosts:
            try:
                port = urlsplit(f"{scheme}://{host}").port
            except ValueError:
                raise ConfigurationError(
                    f"{scheme}://{host}: the port is no number up to 65535"
                ) from None
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
        ways = [self.user, self.token, self.credentials_file, self.nkey_seed_file]
        if sum(way is not None for way in ways) > 1:
            raise ConfigurationError(
                "one of user, token, credentials_file and nkey_seed_file, not several"
            )
        if bool(self.cert_file) != bool(self.key_file):
            raise ConfigurationError("a client certificate needs both cert_file and key_file")

    @property
    def secure(self) -> bool:
        """Whether nothing may be sent without TLS."""
        return self.servers[0].startswith("tls:") or bool(self.ca_file or self.cert_file)

    def url(self, bucket: str) -> str:
        """Return the URL for people: without secrets."""
        return f"{self.shown}/?bucket={quote(bucket)}"

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of the client's ``connect``; reads the files that are named."""
        arguments: dict[str, Any] = {
            "name": "kv_dict",
            "allow_reconnect": False,
            "pending_size": 0,  # nothing is kept to be sent later
            "ping_interval": PING_INTERVAL,
            "connect_timeout": CONNECT_TIMEOUT,
        }
        if self.user is not None:
            arguments["user"] = self.user
            arguments["password"] = self.password
            if self.password_file:
                arguments["password"] = read_password(self.password_file)
        if self.token is not None:
            arguments["token"] = self.token
        if self.credentials_file is not None:
            arguments["user_credentials"] = self._credentials(self.credentials_file)
        if self.nkey_seed_file is not None:
            seed = _text(self.nkey_seed_file, "nkey_seed_file").strip()
            _check_seed(seed, f"nkey_seed_file={self.nkey_seed_file}")
            arguments["nkeys_seed_str"] = seed
        if self.secure:
            arguments["tls"] = self._tls()
        return arguments

    def _credentials(self, path: str) -> Any:
        from nats.aio.client import RawCredentials  # noqa: PLC0415 - no driver to parse a URL

        # Looked at here, because the driver would look for the end of another file for ever.
        found = _CREDENTIALS.search(_text(path, "credentials_file"))
        if found is None:
            raise ConfigurationError(
                f"credentials_file={path} has no user JWT and seed: it is what "
                "`nsc generate creds` writes"
            )
        _check_seed(found[2], f"credentials_file={path}")
        return RawCredentials(
            f"-----BEGIN NATS USER JWT-----\n{found[1]}\n------END NATS USER JWT------\n\n"
            f"-----BEGIN USER NKEY SEED-----\n{found[2]}\n------END USER NKEY SEED------\n"
        )

    def _tls(self) -> ssl.SSLContext:
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
            if self.cert_file:
                context.load_cert_chain(self.cert_file, self.key_file, _no_password)
        except (OSError, ssl.SSLError) as error:
            raise ConfigurationError(
                f"{self.shown}: ca_file={self.ca_file}, cert_file={self.cert_file}, "
                f"key_file={self.key_file}: {error}"
            ) from error
        return context


def _check_seed(seed: str, where: str) -> None:
    try:
        import nkeys  # type: ignore[import-untyped]  # noqa: PLC0415 - few use keys
    except ImportError as error:
        raise ConfigurationError(f"{where}: {error}; pip install 'kv-dict[nats]'") from None
    try:
        nkeys.from_seed(bytearray(seed.encode())).wipe()
    except (nkeys.NkeysError, ValueError):
        raise ConfigurationError(f"{where} holds no seed of a user (SU...)") from None


def _no_password() -> str:
    """Answer in place of a person at the terminal, whom OpenSSL would ask."""
    return ""


def _text(path: str, option: str) -> str:
    try:
        return Path(path).read_text()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise ConfigurationError(f"{option}={path}: {why}") from None
