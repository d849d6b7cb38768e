"""The steps of `kv-dict check`, from the configuration up to being told of a change."""

from __future__ import annotations

import asyncio
import os
import platform
import socket
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from importlib.metadata import version
from typing import Final, Literal
from urllib.parse import unquote, urlsplit

from kv_dict.backend import Backend
from kv_dict.cli.bounded import within
from kv_dict.cli.opening import Store, missing_file
from kv_dict.errors import ConfigurationError, KVDictError, OutcomeUnknown, Unavailable
from kv_dict.keys import KeySpace
from kv_dict.mapping import RemoteKVMapping
from kv_dict.model import Changes, Delete, Put, Stale, WatchEvent
from kv_dict.portal import face_of
from kv_dict.profiles import Profile

__all__ = ["Step", "examine"]

_DRIVERS: Final = {
    "redis": "redis",
    "rediss": "redis",
    "unix": "redis",
    "postgres": "asyncpg",
    "postgresql": "asyncpg",
    "nats": "nats-py",
    "tls": "nats-py",
}
_PORTS: Final = {"redis": 6379, "rediss": 6379, "nats": 4222, "tls": 4222}
_PORT_OF_SENTINELS: Final = 26379
_PORT_OF_POSTGRES: Final = 5432
_LAYERS: Final = {"tls": "encryption", "permission": "rights"}


@dataclass(frozen=True, slots=True)
class Step:
    """What was found of one layer.

    Attributes
    ----------
    layer : str
        What was looked at.
    status : {"ok", "warn", "fail"}
        How it is.
    found, advice : str
        What is the case, and what to do about it.
    exit_status : int
        What the process should end with for this: 0, 2 or 3.
    """

    layer: str
    status: Literal["ok", "warn", "fail"]
    found: str
    advice: str = ""
    exit_status: int = 0


def examine(store: Store, *, writes: bool) -> Iterator[Step]:
    """Yield each layer as soon as it is known; the last one is the first that failed."""
    try:
        profile = store.profile()
        backend = profile.backend()
    except ConfigurationError as error:
        yield _failed("configuration", error)
        return
    yield Step("configuration", "ok", f"{backend.url}, entry point {profile.entry_point!r}")
    yield Step("driver", "ok", _driver(backend))
    backend.retain()
    try:
        connected = True
        for step in _network(backend.url, profile.timeout):
            connected = connected and step.status != "fail"
            yield step
        if connected:
            yield from _store(backend, profile, writes)
    finally:
        if backend.release():
            face_of(backend).close()


def _failed(layer: str, error: Exception, advice: str = "") -> Step:
    """Return the step for an error: which layer it is about, and how to end."""
    away = isinstance(error, Unavailable | OutcomeUnknown | OSError)
    layer = _layer(error) or layer
    first_line = str(error).partition("\n")[0].removesuffix(":")
    return Step(layer, "fail", first_line, advice, 3 if away else 2)


def _layer(error: Exception) -> str | None:
    layer = getattr(error, "layer", None)
    return _LAYERS.get(layer, layer) if layer else None


def _driver(backend: Backend) -> str:
    scheme = urlsplit(backend.url).scheme.partition("+")[0]
    ours = f"kv-dict {version('kv-dict')}, Python {platform.python_version()}"
    name = _DRIVERS.get(scheme)
    return f"{name} {version(name)}, {ours}" if name else ours


# -- the network -----------------------------------------------------------------------------------


def _network(url: str, timeout: float) -> Iterator[Step]:
    """Look up and connect to each host of a URL: one that answers is enough."""
    steps: list[Step] = []
    for host, port in _hosts(url):
        steps += _host(host, port, timeout)
    if any(step.layer == "connect" and step.status == "ok" for step in steps):
        steps = [
            Step(s.layer, "warn", s.found, s.advice) if s.status == "fail" else s for s in steps
        ]
    yield from steps


def _hosts(url: str) -> list[tuple[str, int]]:
    """Return hosts and ports of a masked URL; none where there is no network in between."""
    parts = urlsplit(url)
    if parts.scheme in ("sqlite", "memory", "unix"):
        return []
    base, _, kind = parts.scheme.partition("+")
    port = _PORT_OF_SENTINELS if kind == "sentinel" else _PORTS.get(base, _PORT_OF_POSTGRES)
    found = []
    for text in parts.netloc.rpartition("@")[2].split(","):
        one = urlsplit(f"//{text}")
        if one.hostname:  # PostgreSQL: otherwise the environment, or a socket, says it
            found.append((unquote(one.hostname), one.port or port))
    return found


def _host(host: str, port: int, timeout: float) -> list[Step]:
    try:
        known = within(timeout, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    except OSError as error:
        why = error.strerror if isinstance(error, socket.gaierror) else str(error)
        found = f"{host} has no address: {why}"
        return [Step("name", "fail", found, "check the spelling, and the name server", 3)]
    addresses = list(dict.fromkeys(str(address[0]) for *_, address in known))
    steps = [Step("name", "ok", f"{host} is {', '.join(addresses)}")]
    begun = time.perf_counter()
    try:
        socket.create_connection((host, port), timeout).close()
    except TimeoutError:
        found = f"{host}:{port} does not answer within {timeout:g} s"
        advice = "is the computer on, and does a firewall let this port through?"
        return [*steps, Step("connect", "fail", found, advice, 3)]
    except OSError as error:
        found = f"{host}:{port}: {error.strerror or error}"
        advice = "is the server running, on this port, for other computers too?"
        return [*steps, Step("connect", "fail", found, advice, 3)]
    return [*steps, Step("connect", "ok", f"{host}:{port} in {_since(begun)}")]


# -- the store -------------------------------------------------------------------------------------


def _store(backend: Backend, profile: Profile, writes: bool) -> Iterator[Step]:
    if not writes and (path := missing_file(backend)):
        yield Step("store", "fail", f"there is no file {path}; the first write makes it", "", 2)
        return
    has_users = urlsplit(backend.url).scheme not in ("sqlite", "memory")
    begun = time.perf_counter()
    try:
        face_of(backend).ping(timeout=profile.timeout)
    except KVDictError as error:
        if _layer(error) == "store":
            yield Step("login", "ok", "this program is let in")
        if isinstance(error, ConfigurationError):
            yield _failed("login" if has_users else "store", error)
        else:
            tls = urlsplit(backend.url).scheme.startswith(("rediss", "tls"))
            advice = "does the server speak TLS on this port?" if tls else ""
            yield _failed("answer", error, advice)
        return
    if has_users:
        yield Step("login", "ok", f"this program is let in; it answers in {_since(begun)}")
    else:
        yield Step("answer", "ok", f"in {_since(begun)}")
    yield Step("store", "ok", "it is there")
    yield from _findings(backend, profile.timeout)
    yield from _use(backend, profile, writes)


def _findings(backend: Backend, timeout: float) -> Iterator[Step]:
    try:
        findings = asyncio.run(backend.inspect(timeout=timeout))
    except KVDictError as error:
        yield Step("server", "warn", f"it does not tell about itself: {error}")
        return
    for finding in findings:
        status: Literal["ok", "warn"] = "warn" if finding.advice else "ok"
        yield Step(finding.name, status, finding.found, finding.advice)


def _use(backend: Backend, profile: Profile, writes: bool) -> Iterator[Step]:
    """Read, write and be told, as a program would."""
    try:
        with RemoteKVMapping(
            backend, profile.entry_point, profile.separator, timeout=profile.timeout
        ) as md:
            begun = time.perf_counter()
            count = len(md)
            yield Step("read", "ok", f"{count} items in {_since(begun)}")
    except KVDictError as error:
        yield _failed("read", error)
        return
    scratch = profile.entry_point
    if writes:
        scratch += f"-check-{os.urandom(4).hex()}"
    prefix = KeySpace(scratch, profile.separator).prefix
    yield from asyncio.run(_follow(backend, prefix, profile.timeout, writes))


async def _follow(backend: Backend, prefix: str, timeout: float, writes: bool) -> list[Step]:
    """Follow what is under a prefix, write there, and be told of it by the store."""
    begun = time.perf_counter()
    try:
        async with aclosing(backend.watch(prefix)) as events:
            async with asyncio.timeout(timeout):
                first = await anext(events)
            if isinstance(first, Stale):
                raise Unavailable(first.reason)
            if not writes:
                return [Step("watch", "ok", f"it is followed after {_since(begun)}")]
            return await _write(backend, f"{prefix}probe", events, timeout)
    except TimeoutError:
        return [Step("watch", "fail", f"no first news within {timeout:g} s", "", 3)]
    except KVDictError as error:
        return [_failed("watch", error)]


async def _write(
    backend: Backend, key: str, events: AsyncGenerator[WatchEvent, None], timeout: float
) -> list[Step]:
    begun = time.perf_counter()
    written = False
    try:
        await backend.commit([Put(key, b'"of kv-dict check"')], timeout=timeout)
        written = True
        steps = [Step("write", "ok", f"written and acknowledged in {_since(begun)}")]
        try:
            async with asyncio.timeout(timeout):
                await _told(events, key)
        except TimeoutError:
            found = f"it did not tell of the change within {timeout:g} s"
            return [*steps, Step("watch", "fail", found, "look at the log of the server", 3)]
        span = _since(begun)
        return [*steps, Step("watch", "ok", f"told {span} after the write began")]
    except KVDictError as error:
        advice = f"writing was tried at {key!r}; --read-only leaves it out"
        return [_failed("watch" if written else "write", error, "" if written else advice)]
    finally:
        if written:
            await backend.commit([Delete(key)], timeout=timeout)


async def _told(events: AsyncGenerator[WatchEvent, None], key: str) -> None:
    """Return when a watch has told of a key."""
    async for event in events:
        if isinstance(event, Stale):
            raise Unavailable(event.reason)
        news = event.events if isinstance(event, Changes) else event.entries
        if any(one.key == key for one in news):
            return


def _since(begun: float) -> str:
    return _milliseconds(time.perf_counter() - begun)


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.2g} ms" if seconds < 0.1 else f"{seconds * 1000:.0f} ms"
