"""What a server says of itself: version, encryption, and whether it keeps what it acknowledged."""

from __future__ import annotations

import contextlib
import ssl
from typing import Any

from kv_dict.backend import Finding
from kv_dict.backends.redis.opening import driver
from kv_dict.backends.redis.routes import Route
from kv_dict.errors import Unavailable

__all__ = ["inspect"]


def inspect(route: Route, timeout: float) -> tuple[Finding, ...]:
    """Ask a server, by a connection of its own."""
    connection = route.connect(timeout)
    try:
        info = _info(_ask(connection, route.url, "INFO"))
        set_ = {
            name: _pairs(_ask(connection, route.url, "CONFIG", "GET", name)).get(name)
            for name in ("appendonly", "appendfsync", "maxmemory", "maxmemory-policy")
        }
        tls = connection._sock  # no public name gives it away
        how = tls.version() if isinstance(tls, ssl.SSLSocket) else None
    finally:
        connection.disconnect()
    return (
        _version(info),
        Finding("encryption", how or "none: what is sent can be read on the way"),
        _durability(info, set_),
        _memory(set_),
        *_replicas(info, route.replicas),
    )


def _ask(connection: Any, url: str, *words: str) -> Any:
    """Return the reply to a command; None if the user may not ask, or the server knows it not."""
    redis = driver()
    try:
        connection.send_command(*words, check_health=False)
        return connection.read_response()
    except redis.ResponseError:
        return None
    except (redis.RedisError, OSError) as error:
        raise Unavailable(f"{url}: {error}") from error


def _text(reply: Any) -> str:
    return reply.decode(errors="replace") if isinstance(reply, bytes) else str(reply)


def _info(reply: Any) -> dict[str, str]:
    lines = _text(reply or b"").splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)


def _pairs(reply: Any) -> dict[str, str]:
    if isinstance(reply, list):
        reply = dict(zip(reply[::2], reply[1::2], strict=True))
    return {_text(name): _text(value) for name, value in (reply or {}).items()}


def _version(info: dict[str, str]) -> Finding:
    for name in ("valkey", "dragonfly", "redis"):
        with contextlib.suppress(KeyError):
            return Finding("version", f"{name.capitalize()} {info[f'{name}_version']}")
    return Finding("version", "not told (the user may not ask INFO)")


def _durability(info: dict[str, str], told: dict[str, str | None]) -> Finding:
    appends, syncs = told["appendonly"], told["appendfsync"]
    name = "durability"
    if appends is None:
        if info.get("aof_enabled") == "0":
            appends = "no"
        else:
            return Finding(
                name,
                "not told (the user may not ask CONFIG GET)",
                "ask who runs the server for appendonly yes and appendfsync always",
            )
    if appends != "yes":
        return Finding(
            name,
            f"appendonly {appends}: a crash of the server loses what was written since its last "
            "dump",
            "CONFIG SET appendonly yes, CONFIG SET appendfsync always, CONFIG REWRITE",
        )
    if syncs != "always":
        return Finding(
            name,
            f"appendonly yes, appendfsync {syncs}: a power failure loses the last "
            f"{'second' if syncs == 'everysec' else 'seconds'} of acknowledged writes",
            "CONFIG SET appendfsync always, CONFIG REWRITE",
        )
    return Finding(name, "appendonly yes, appendfsync always: acknowledged writes are on the disk")


def _memory(told: dict[str, str | None]) -> Finding:
    most, policy = told["maxmemory"], told["maxmemory-policy"]
    name = "eviction"
    if policy is None:
        return Finding(name, "not told (the user may not ask CONFIG GET)")
    if policy != "noeviction":
        bound = "once maxmemory is set" if most == "0" else f"when {most} bytes are full"
        return Finding(
            name,
            f"maxmemory-policy {policy}: the server may delete keys {bound}",
            "CONFIG SET maxmemory-policy noeviction, CONFIG REWRITE",
        )
    return Finding(name, "maxmemory-policy noeviction: no key is deleted to make room")


def _replicas(info: dict[str, str], wanted: int) -> list[Finding]:
    there = info.get("connected_slaves")
    if there is None:
        return []
    if int(there) < wanted:
        return [
            Finding(
                "replicas",
                f"{there} connected, and a write is acknowledged when {wanted} have it",
                "start the replicas that are missing",
            )
        ]
    return [Finding("replicas", f"{there} connected, {wanted} waited for")]
