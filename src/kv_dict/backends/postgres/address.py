"""Where the server is, as whom, and with which secret: read from a DSN, shown without secrets."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from kv_dict.errors import ConfigurationError

__all__ = ["Address"]

_SECRET: Final = frozenset({"password", "sslpassword"})
_MASK: Final = "***"


@dataclass(frozen=True, slots=True)
class Address:
    """A DSN, with its secrets kept apart.

    Attributes
    ----------
    dsn : str
        The DSN without passwords.
    masked : str
        The DSN for people; a password is three asterisks.
    password : str or None
        What the DSN said.
    password_file : Path or None
        A file whose content is the password, read anew for each connection.
    """

    dsn: str = field(repr=False)
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
            parts = None
        if parts is None or parts.scheme not in ("postgresql", "postgres") or parts.fragment:
            raise ConfigurationError(
                "dsn: a PostgreSQL URL is expected, as postgresql://user@host:5432/database, with "
                "special characters of a password as %XX (# is %23, / is %2F, @ is %40)"
            )
        login, at, hosts = parts.netloc.rpartition("@")
        user, colon, password = login.partition(":")
        given = dict(options)
        secret = unquote(password) if colon else given.get("password")
        if secret is not None and password_file is not None:
            raise ConfigurationError("give the password or password_file, not both")
        public = [(name, value) for name, value in options if name not in _SECRET]
        return cls(
            dsn=_build(f"{user}{at}{hosts}", parts.path, public),
            masked=_build(
                f"{user}{f':{_MASK}' if colon else ''}{at}{hosts}",
                parts.path,
                [(n, _MASK if n in _SECRET else v) for n, v in options],
            ),
            password=secret,
            ssl_password=given.get("sslpassword"),
            password_file=None if password_file is None else Path(password_file).expanduser(),
        )

    def with_secrets(self) -> str:
        """Return the whole DSN."""
        secrets = {"password": self.password, "sslpassword": self.ssl_password}
        query = urlencode({n: v for n, v in secrets.items() if v is not None}, quote_via=quote)
        return f"{self.dsn}{'&' if '?' in self.dsn else '?'}{query}" if query else self.dsn

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of `asyncpg.connect`."""
        found: dict[str, Any] = {"dsn": self.dsn}
        if self.ssl_password is not None:
            found["dsn"] += f"{'&' if '?' in self.dsn else '?'}sslpassword=" + quote(
                self.ssl_password, safe=""
            )
        if self.password_file is not None:
            found["password"] = self.read_password()
        elif self.password is not None:
            found["password"] = self.password
        if "application_name=" not in self.dsn:
            found["server_settings"] = {"application_name": "kv_dict"}
        return found

    def read_password(self) -> str:
        """Return the content of `password_file`, without the end of its line."""
        assert self.password_file is not None  # noqa: S101 - the caller looked
        try:
            return self.password_file.read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8"
            raise ConfigurationError(
                f"password_file {self.password_file} cannot be read ({reason})"
            ) from None


def _build(netloc: str, path: str, options: list[tuple[str, str]]) -> str:
    query = urlencode(options, safe="/:,*", quote_via=quote)
    return f"postgresql://{netloc}{path}{'?' if query else ''}{query}"
