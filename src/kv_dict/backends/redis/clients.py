"""What an existing client of redis-py connects to, so that connections of our own go there too."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import quote

from kv_dict.backends.redis.opening import Address, Opener, driver, login
from kv_dict.backends.redis.routes import Cluster, Direct, OfMaster, Route
from kv_dict.backends.redis.settings import Settings, bracketed
from kv_dict.errors import ConfigurationError

__all__ = ["settings_of_client"]

_COPIED: Final = frozenset(
    {"host", "port", "path", "db", "username", "password", "credential_provider", "client_name"}
    | {"socket_keepalive", "socket_keepalive_options", "socket_type"}
)


def settings_of_client(client: Any) -> Settings:
    """Return the settings of a client: a plain one, a sentinel's or a cluster's, asynchronous too.

    It is neither used nor closed.
    """
    redis = driver()
    import redis.asyncio as asynchronous  # noqa: PLC0415 - the driver is imported when used

    if isinstance(client, redis.RedisCluster | asynchronous.RedisCluster):
        return Settings(_cluster(client))
    if not isinstance(client, redis.Redis | asynchronous.Redis):
        raise ConfigurationError(
            "client= takes a client of the redis package (Redis, RedisCluster, redis.asyncio's, or "
            f"what Sentinel.master_for returns), not {type(client).__module__}."
            f"{type(client).__name__}; or pass a URL"
        )
    pool = client.connection_pool
    if hasattr(pool, "sentinel_manager"):
        return Settings(_sentinel(pool))
    tls = _is_tls(pool.connection_class)
    arguments = _arguments(pool.connection_kwargs, tls=tls)
    database = arguments.get("db") or 0
    if "path" in arguments:
        url = f"unix://{quote(arguments['path'])}?db={database}"
        return Settings(Direct(url, Opener(url, redis.UnixDomainSocketConnection, arguments)))
    url = f"{_scheme(tls)}://{_shown([_address(arguments)])}/{database}"
    return Settings(Direct(url, Opener(url, _kind(tls), arguments)))


def _sentinel(pool: Any) -> Route:
    if not pool.is_master:
        raise ConfigurationError(
            "client= reads from replicas (slave_for); pass what master_for returns, or a URL"
        )
    pools = [sentinel.connection_pool for sentinel in pool.sentinel_manager.sentinels]
    addresses = [_address(one.connection_kwargs) for one in pools]
    tls, tls_there = _is_tls(pools[0].connection_class), _is_tls(pool.connection_class)
    arguments = _arguments(pool.connection_kwargs, tls=tls_there)
    asking = _arguments(pools[0].connection_kwargs, tls=tls)
    shown = f"{_shown(addresses)}/{quote(pool.service_name)}/{arguments.get('db') or 0}"
    url = f"{_scheme(tls_there)}+sentinel://{shown}"
    return OfMaster(
        url,
        pool.service_name,
        addresses,
        Opener(url, _kind(tls), asking),
        Opener(url, _kind(tls_there), arguments),
    )


def _cluster(client: Any) -> Route:
    nodes = client.nodes_manager.startup_nodes.values()
    addresses = [(node.host, int(node.port)) for node in nodes]
    settings = getattr(client, "connection_kwargs", None) or client.nodes_manager.connection_kwargs
    tls = bool(settings.get("ssl")) or _is_tls(settings.get("connection_class"))
    arguments = _arguments(settings, tls=tls)
    url = f"{_scheme(tls)}+cluster://{_shown(addresses)}/"
    return Cluster(url, addresses, Opener(url, _kind(tls), arguments))


def _arguments(given: dict[str, Any], *, tls: bool) -> dict[str, Any]:
    """Return what a connection of ours takes over: addresses and logins, but no time limits."""
    arguments = {
        name: value
        for name, value in given.items()
        if name in _COPIED or (tls and name.startswith("ssl_"))
    }
    password, user = arguments.pop("password", None), arguments.pop("username", None)
    if password is not None and not arguments.get("credential_provider"):
        arguments["credential_provider"] = login(user or "", password)
    return arguments


def _is_tls(kind: Any) -> bool:
    """Return whether a class of connections speaks TLS; ConfigurationError for one of others."""
    import redis.asyncio.connection as asynchronous  # noqa: PLC0415
    import redis.asyncio.sentinel as asynchronous_sentinel  # noqa: PLC0415
    import redis.connection as synchronous  # noqa: PLC0415
    import redis.sentinel as sentinel  # noqa: PLC0415

    tls = (
        synchronous.SSLConnection,
        asynchronous.SSLConnection,
        sentinel.SentinelManagedSSLConnection,
        asynchronous_sentinel.SentinelManagedSSLConnection,
    )
    plain = (
        None,
        synchronous.Connection,
        synchronous.UnixDomainSocketConnection,
        asynchronous.Connection,
        asynchronous.UnixDomainSocketConnection,
        sentinel.SentinelManagedConnection,
        asynchronous_sentinel.SentinelManagedConnection,
    )
    if kind not in tls + plain:
        raise ConfigurationError(
            f"client= connects by {kind.__name__}, which RedisBackend cannot open more of; pass a "
            "client with one of redis-py's own connections, or a URL"
        )
    return kind in tls


def _kind(tls: bool) -> Any:
    return driver().SSLConnection if tls else driver().Connection


def _scheme(tls: bool) -> str:
    return "rediss" if tls else "redis"


def _address(arguments: dict[str, Any]) -> Address:
    return arguments.get("host") or "localhost", int(arguments.get("port") or 6379)


def _shown(addresses: list[Address]) -> str:
    return ",".join(f"{bracketed(host)}:{port}" for host, port in addresses)
