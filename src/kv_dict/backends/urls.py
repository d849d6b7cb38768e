"""From a URL to a backend, importing no other driver than the one it names."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit

from kv_dict.backend import Backend
from kv_dict.errors import ConfigurationError

__all__ = ["open_backend"]


def open_backend(url: str) -> Backend:
    """Return the backend that `url` names. Nothing is connected yet.

    Parameters
    ----------
    url : str
        ``memory://``; ``sqlite:///absolute/path.db``, or ``sqlite:///name.db`` and
        ``sqlite:relative/path.db`` for a file in the working directory, ``sqlite:~/path.db`` for
        one in the home folder; ``redis://host:port/db``, ``rediss://`` with TLS,
        ``unix:///path/of/redis.sock``, ``redis+sentinel://host/master``,
        ``redis+cluster://host:port,host:port/``; ``postgresql://user@host/database``;
        ``nats://host:4222/``, ``tls://`` with TLS. Options of the constructor may follow as query
        parameters: ``sqlite:///path.db?poll_interval=0.05``,
        ``nats://host:4222/?bucket=kv_dict&create_bucket=true``.

    Raises
    ------
    ConfigurationError
        The URL names no backend, or an option that the backend does not have.

    Examples
    --------
    >>> open_backend("memory://")
    <InMemoryAsyncBackend memory://>
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ConfigurationError(f"the URL {url.partition(':')[0]}:... is malformed") from None
    if ":" not in url:  # not shown: it may be a password that was put in the wrong place
        raise ConfigurationError(
            "that is not a URL; one is like sqlite:///path/to/file.db or redis://host:6379/0"
        )
    opener = _OPENERS.get(parts.scheme)
    if opener is None:
        known = ", ".join(f"{scheme}:" for scheme in _OPENERS)
        raise ConfigurationError(
            f"no backend for {parts.scheme or url.partition(':')[0]!r}: a URL starts with one of "
            f"{known} as in sqlite:///path/to/file.db"
        )
    if parts.fragment or url.endswith("#"):
        # What follows is not named: it may be the rest of a password.
        raise ConfigurationError(f"write '#' in a URL as %23 ({parts.scheme}:...#...)")
    options = parse_qsl(parts.query, keep_blank_values=True)
    names = [name for name, _ in options]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        # Names only: a value may be a secret.
        raise ConfigurationError(f"given twice in a {parts.scheme} URL: {', '.join(twice)}")
    return opener(parts, dict(options))


def _open_memory(parts: SplitResult, options: dict[str, str]) -> Backend:
    from kv_dict.backends.memory import InMemoryAsyncBackend  # noqa: PLC0415

    if parts.netloc or parts.path.strip("/"):
        raise ConfigurationError(
            "memory:// takes no name: every one is a new, empty store; to share one in a process, "
            "pass the same InMemoryAsyncBackend to each mapping"
        )
    return InMemoryAsyncBackend(**_refuse_unknown("memory", options, {"history": int}))


def _open_sqlite(parts: SplitResult, options: dict[str, str]) -> Backend:
    from kv_dict.backends.sqlite import SQLiteBackend  # noqa: PLC0415

    if parts.netloc:
        raise ConfigurationError(
            f"sqlite://{parts.netloc}... names a host; a file is sqlite:///absolute/path.db "
            "(three slashes) or sqlite:relative/path.db (none)"
        )
    path = unquote(parts.path)
    if path.startswith("/") and path.count("/") == 1:
        path = path[1:]  # sqlite:///name.db: nobody keeps a database in the root folder
    if path.startswith("//"):
        path = "/" + path.lstrip("/")
    if not path:
        raise ConfigurationError("sqlite:// needs a file: sqlite:///path/to/file.db")
    converted = _refuse_unknown("sqlite", options, {"poll_interval": float, "history": int})
    home = os.path.expanduser(path)  # noqa: PTH111 - a ~ that means nobody stays as it is
    return SQLiteBackend(Path(home), **converted)


def _open_redis(parts: SplitResult, options: dict[str, str]) -> Backend:
    from kv_dict.backends.redis import RedisBackend  # noqa: PLC0415

    return RedisBackend(parts.geturl())


def _open_nats(parts: SplitResult, options: dict[str, str]) -> Backend:
    from kv_dict.backends.nats import NatsBackend  # noqa: PLC0415

    if parts.path.strip("/"):
        raise ConfigurationError(
            f"{parts.scheme}://host:4222/... takes no path; a bucket is named as in "
            f"{parts.scheme}://host:4222/?bucket=kv_dict"
        )
    texts = (
        "bucket", "user", "password", "token", "password_file", "credentials_file",
        "nkey_seed_file", "ca_file", "cert_file", "key_file",
    )  # fmt: skip
    known: dict[str, Callable[[str], Any]] = dict.fromkeys(texts, str)
    converted = _refuse_unknown(
        parts.scheme, options, known | {"create_bucket": _boolean, "history": int, "replicas": int}
    )
    return NatsBackend(f"{parts.scheme}://{parts.netloc}", **converted)


def _open_postgres(parts: SplitResult, options: dict[str, str]) -> Backend:
    from kv_dict.backends.postgres import PostgresBackend  # noqa: PLC0415

    known: dict[str, Callable[[str], Any]] = {
        "table": str,
        "create_table": _boolean,
        "history": int,
        "password_file": str,
        "statement_cache_size": int,
        "max_connections": int,
    }
    own = {name: options.pop(name) for name in known if name in options}
    # What is left is for the server and its client library: sslmode, target_session_attrs, ...
    query = urlencode(options, quote_via=quote)
    converted = _refuse_unknown(parts.scheme, own, known)
    return PostgresBackend(parts._replace(query=query).geturl(), **converted)


def _boolean(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError("true or false")
    return text.lower() == "true"


def _refuse_unknown(
    scheme: str, options: dict[str, str], known: dict[str, Callable[[str], Any]]
) -> dict[str, Any]:
    converted = {}
    for name, text in options.items():
        if name not in known:
            choice = ", ".join(known) or "none"
            raise ConfigurationError(f"{scheme}:// has no option {name!r} (known: {choice})")
        try:
            converted[name] = known[name](text)
        except ValueError as error:
            raise ConfigurationError(f"{scheme}://...?{name}={text}: {error}") from None
    return converted


_OPENERS: dict[str, Callable[[SplitResult, dict[str, str]], Backend]] = {
    "memory": _open_memory,
    "nats": _open_nats,
    "sqlite": _open_sqlite,
    "postgres": _open_postgres,
    "postgresql": _open_postgres,
    "redis": _open_redis,
    "redis+cluster": _open_redis,
    "redis+sentinel": _open_redis,
    "rediss": _open_redis,
    "rediss+cluster": _open_redis,
    "rediss+sentinel": _open_redis,
    "tls": _open_nats,
    "unix": _open_redis,
}
