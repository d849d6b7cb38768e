"""Where the server is, as whom, and with which secrets: read from a DSN, shown without secrets."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from kv_dict.credentials import read_password
from kv_dict.errors import ConfigurationError

__all__ = ["Address"]

_SECRET: Final = frozenset({"password", "sslpassword"})
_MASK: Final = "***"
_TLS: Final = {"ca_file": "sslrootcert", "cert_file": "sslcert", "key_file": "sslkey"}
_UNVERIFIED: Final = frozenset({"disable", "allow", "prefer"})
_OPTION: Final = re.compile(r"[A-Za-z_][\w.]*")
_HOST: Final = re.compile(r"(\[[^\]]*\]|[^\[\]:]*)(:\d+)?")


class _Unshown(str):
    """A DSN that may contain a secret, which no debugger or traceback with variables shows."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"'postgresql://{_MASK}'"


@dataclass(frozen=True, slots=True)
class Address:
    """A DSN, with its secrets kept apart.

    Attributes
    ----------
    login : str
        What precedes the hosts: the user, as in a URL, and an ``@``; or nothing.
    hosts : tuple of str
        ``host:port`` of each server; one empty string for what the environment says.
    rest : str
        The database and the options, secrets left out.
    masked : str
        The DSN for people; a password is three asterisks.
    password : str or None
        What the DSN said.
    password_file : Path or None
        A file whose first line is the password, read anew for each connection.
    """

    login: str
    hosts: tuple[str, ...]
    rest: str
    masked: str
    password: str | None = field(default=None, repr=False)
    ssl_password: str | None = field(default=None, repr=False)
    password_file: Path | None = None

    @classmethod
    def parse(cls, dsn: str, password_file: str | Path | None = None) -> Address:
        """Take a DSN apart.

        Raises
        ------
        ConfigurationError
            It is none; the message does not repeat it, for it may contain a password.
        """
        try:
            parts = urlsplit(dsn)
            options = parse_qsl(parts.query, keep_blank_values=True)
        except (ValueError, AttributeError, TypeError):
            raise _malformed() from None
        login, at, hosts = parts.netloc.rpartition("@")
        user, colon, password = login.partition(":")
        well_formed = (
            parts.scheme in ("postgresql", "postgres")
            and not parts.fragment
            and "@" not in parts.path
            and all(_HOST.fullmatch(host) for host in hosts.split(","))
            and all(_OPTION.fullmatch(name) for name, _ in options)
        )
        if not well_formed:
            raise _malformed()
        given = dict(options)
        if "password_file" in given:
            password_file = password_file or given["password_file"]
        secret = unquote(password) if colon else given.get("password")
        if secret is not None and password_file is not None:
            raise ConfigurationError("give the password or password_file, not both")
        public = {n: v for n, v in given.items() if n not in _SECRET and n != "password_file"}
        return cls(
            login=f"{user}{at}",
            hosts=tuple(hosts.split(",")),
            rest=_rest(parts.path, _with_tls(public)),
            masked=f"postgresql://{user}{f':{_MASK}' if colon else ''}{at}{hosts}"
            + _rest(parts.path, {n: _MASK if n in _SECRET else v for n, v in given.items()}),
            password=secret,
            ssl_password=given.get("sslpassword"),
            password_file=None if password_file is None else Path(password_file).expanduser(),
        )

    def with_secrets(self) -> str:
        """Return the whole DSN, but for what `password_file` holds."""
        secrets = {"password": self.password, "sslpassword": self.ssl_password}
        return self._dsn(",".join(self.hosts), {n: v for n, v in secrets.items() if v is not None})

    def arguments(self, host: str) -> dict[str, Any]:
        """Return the arguments of `asyncpg.connect` for one of the hosts."""
        secrets = {} if self.ssl_password is None else {"sslpassword": self.ssl_password}
        found: dict[str, Any] = {"dsn": _Unshown(self._dsn(host, secrets))}
        if self.password_file is not None:
            found["password"] = self.read_password
        elif self.password is not None:
            found["password"] = lambda: self.password
        if "application_name=" not in self.rest:
            found["server_settings"] = {"application_name": "kv_dict"}
        if (
            len(self.hosts) > 1
            and "target_session_attrs=" not in self.rest
            and "PGTARGETSESSIONATTRS" not in os.environ
        ):
            # Any of them might be a standby: it would answer with what was true a while ago.
            found["target_session_attrs"] = "read-write"
        return found

    def read_password(self) -> str:
        """Return the password that `password_file` holds."""
        assert self.password_file is not None  # noqa: S101 - the caller looked
        return read_password(self.password_file)

    def _dsn(self, hosts: str, more: dict[str, str]) -> str:
        query = urlencode(more, quote_via=quote)
        joint = "&" if "?" in self.rest else "?"
        return f"postgresql://{self.login}{hosts}{self.rest}{joint if query else ''}{query}"


def _malformed() -> ConfigurationError:
    return ConfigurationError(
        "dsn: a PostgreSQL URL is expected, as postgresql://user@host:5432/database, with special "
        "characters of a password as %XX (# is %23, / is %2F, ? is %3F, @ is %40)"
    )


def _rest(path: str, options: dict[str, str]) -> str:
    query = urlencode(options, safe="/:,*", quote_via=quote)
    return f"{path}{'?' if query else ''}{query}"


def _with_tls(options: dict[str, str]) -> dict[str, str]:
    """Return the options with libpq's names for what all backends call ``ca_file`` and so on."""
    named = [name for name in _TLS if name in options]
    if ("cert_file" in named) != ("key_file" in named):
        raise ConfigurationError("cert_file= and key_file= belong together")
    if twice := [name for name in named if _TLS[name] in options]:
        raise ConfigurationError(f"{twice[0]}= is another name of {_TLS[twice[0]]}=: choose one")
    mode = options.get("sslmode", "verify-full")
    if named and mode in _UNVERIFIED:
        raise ConfigurationError(
            f"sslmode={mode} would go on without TLS, and {named[0]}= asks for it; leave sslmode "
            "out (it is verify-full then)"
        )
    if options.get("target_session_attrs") == "prefer-standby":
        raise ConfigurationError(
            "target_session_attrs=prefer-standby would answer with old values; use read-write"
        )
    found = {_TLS.get(name, name): value for name, value in options.items()}
    for name, libpq in _TLS.items():
        if libpq in found and not Path(found[libpq]).is_file():
            raise ConfigurationError(
                f"{name if name in named else libpq}={found[libpq]} is no file"
            )
    return {**found, "sslmode": mode} if named else found
