"""What the driver's exceptions mean."""

from __future__ import annotations

import ssl

import asyncpg
from asyncpg import exceptions

from kv_dict.errors import ConfigurationError, EncodeError, KVDictError, Unavailable

__all__ = [
    "DRIVER_ERRORS",
    "again_at_once",
    "explain",
    "lost",
    "read_only",
    "reason",
    "undone",
    "unsent",
]

DRIVER_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, exceptions.InternalClientError)
"""What asyncpg raises of its own; an `OSError` may come too."""

_LOST = ("08", "57P01", "57P02", "57P03", "57P05", "40003")
_AGAIN = frozenset({"40001", "40P01"})
_READ_ONLY = "25006"


def lost(error: BaseException) -> bool:
    """Return whether an error says that the connection is gone, or about to be."""
    if isinstance(error, asyncpg.PostgresError):
        return str(error.sqlstate or "").startswith(_LOST)
    return isinstance(
        error, OSError | asyncpg.InterfaceError | exceptions.InternalClientError
    ) and not isinstance(error, asyncpg.DataError)


def undone(error: BaseException) -> bool:
    """Return whether a statement that ended so certainly had no effect.

    The server answered with an error, and so undid it; or the driver refused to send it.
    """
    if isinstance(error, asyncpg.PostgresError):
        return not lost(error)
    return unsent(error)


def unsent(error: BaseException) -> bool:
    """Return whether the driver refused to send a statement, on a connection that had ended.

    asyncpg checks the state of its protocol before it writes; the server's last words to an idle
    connection, that it hangs up, leave a state in which nothing can be sent.
    """
    if isinstance(error, exceptions.InternalClientError):
        return str(error).startswith(("cannot switch to state", "not connected"))
    return isinstance(error, asyncpg.InterfaceError)


def read_only(error: BaseException) -> bool:
    """Return whether the server takes no writes: another one may have become the primary."""
    return isinstance(error, asyncpg.PostgresError) and error.sqlstate == _READ_ONLY


def again_at_once(error: BaseException) -> bool:
    """Return whether the statement was undone because of another writer, and may be sent again."""
    return isinstance(error, asyncpg.PostgresError) and error.sqlstate in _AGAIN


def explain(error: BaseException, url: str, table: str) -> KVDictError:
    """Return our exception for a driver's that certainly left the store as it was."""
    state = getattr(error, "sqlstate", None) or ""
    if isinstance(error, asyncpg.DataError) and not isinstance(error, asyncpg.PostgresError):
        return EncodeError(f"{url}: PostgreSQL cannot hold this key or value ({error})")
    if state == "42501":
        return ConfigurationError(
            f"{url}: {error}. As the owner of the table: GRANT SELECT, INSERT, UPDATE, DELETE ON "
            f"{table}, {table}_tombstones, {table}_history TO this user, SELECT, UPDATE ON "
            f"{table}_clock (to read only, SELECT on each), USAGE on their schema, and EXECUTE on "
            f"the function {table}_commit if PUBLIC has it not; with create_table=True the user "
            "also needs CREATE on the schema, and to upgrade a table, to own it",
            layer="permission",
        )
    if state[:2] == "28" or state == "3D000":
        return ConfigurationError(
            f"{url}: {error}; check the user, the password (or password_file) and the database",
            layer="login",
        )
    if state in ("42P01", "3F000", "42703", "42883"):
        return ConfigurationError(
            f"{url}: {error}; the table was dropped or changed. Restore it, or open a new mapping "
            "with create_table=True to begin with an empty one",
            layer="store",
        )
    if state in ("42704", "22023"):
        return ConfigurationError(f"{url}: {error}; check the options in the URL")
    if state in ("54000", "22001", "22003", "22021") or isinstance(error, UnicodeEncodeError):
        return EncodeError(f"{url}: PostgreSQL cannot hold this key or value ({error})")
    if isinstance(error, exceptions.ClientConfigurationError):
        said = str(error).partition("\n")[0]
        return ConfigurationError(
            f"{url}: {said} (ca_file= names the authority's file)", layer="tls"
        )
    if tls := _tls(error):
        return ConfigurationError(f"{url}: {tls}", layer="tls")
    return Unavailable(f"{url}: {reason(error)}")


def _tls(error: BaseException) -> str | None:
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"the server's certificate is not trusted ({error.verify_message or error.reason}); "
            "name the authority's file with ca_file="
        )
    if isinstance(error, ssl.SSLError) and not isinstance(
        error, ssl.SSLEOFError | ssl.SSLZeroReturnError | ssl.SSLSyscallError
    ):
        return (
            f"no TLS connection can be made ({error.reason or error}); check what ca_file=, "
            "cert_file= and key_file= name: does the server ask for a client certificate?"
        )
    if isinstance(error, ConnectionError) and "rejected SSL upgrade" in str(error):
        return "the server speaks no TLS, which sslmode or ca_file demands; nothing was sent"
    return None


def reason(error: BaseException) -> str:
    """Return what happened, for people; the server is not named."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ConnectionRefusedError):
        return "nobody listens there; is the server running?"
    if isinstance(error, exceptions.TargetServerAttributeNotMatched):
        return "it is not what target_session_attrs asks for"
    if isinstance(error, asyncpg.PostgresError):
        known = _REASONS.get(error.sqlstate or "")
        return known or f"PostgreSQL says: {error} ({error.sqlstate})"
    return f"the connection failed ({str(error) or type(error).__name__})"


_REASONS = {
    _READ_ONLY: (
        "this server only reads; name all servers and target_session_attrs=read-write in the URL"
    ),
    "53100": "the server's disk is full",
    "53300": "the server has no connection left (max_connections, or the user's limit)",
    "55P03": "another transaction held the table for longer than the timeout",
    "57014": "the server's statement_timeout ended it, or somebody cancelled it",
    "57P01": "the server is shutting down",
    "57P03": "the server is starting up or shutting down",
}
