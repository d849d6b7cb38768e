"""``from = "bluesky-nats"``: the file with the NATS client's configuration that bluesky-nats reads.

As `NATSClientConfigBuilder.from_file` of bluesky-nats 1 does: JSON, YAML or TOML, each key an
argument of the NATS client. Servers and credentials are taken from it. How it reconnects, pings and
buffers is not: kv_dict sees to that by itself, for that decides what an unanswered write means.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from kv_dict.credentials import Secret
from kv_dict.errors import ConfigurationError
from kv_dict.profiles.documents import read_document
from kv_dict.profiles.keys import Given, Origin, closest

__all__ = ["settings"]

LEFT_OUT: Final = frozenset(
    {
        "allow_reconnect",
        "connect_timeout",
        "dont_randomize",
        "drain_timeout",
        "flush_timeout",
        "flusher_queue_size",
        "inbox_prefix",
        "max_outstanding_pings",
        "max_reconnect_attempts",
        "name",
        "no_echo",
        "pedantic",
        "pending_size",
        "ping_interval",
        "reconnect_time_wait",
        "verbose",
    }
)
"""What tunes the client, and does not say which server it is or who asks."""

REFUSED: Final = {
    "tls": "say it in [profiles.NAME.tls], with ca, cert and key",
    "tls_hostname": "the certificate has to name the host that servers names",
    "tls_handshake_first": "servers that want it are not supported",
    "nkeys_seed_str": "put the seed into a file, and name that with nkeys_seed",
}
_FILES: Final = {"user_credentials": "credentials_file", "nkeys_seed": "nkey_seed_file"}
TAKEN: Final = ("servers", "user", "password", "token", *_FILES)


def settings(given: Mapping[str, Given]) -> dict[str, Given]:
    """Return what the file says, below what the profile says in `given`."""
    if "file" not in given:
        raise ConfigurationError(
            "a profile from bluesky-nats needs file =, the path of the client's configuration "
            "(JSON, YAML or TOML)"
        )
    if "url" in given:
        return {}
    path = Path(given["file"].value)
    origin = Origin(str(path), path.parent)
    content = {key: v for key, v in read_document(path).items() if v is not None and v is not False}
    for key in content:
        if key in REFUSED:
            raise origin.refusal(key, f"it is not taken from there; {REFUSED[key]}")
        if key not in TAKEN and key not in LEFT_OUT:
            hint = closest(str(key), (*TAKEN, *LEFT_OUT))
            raise origin.refusal(str(key), f"bluesky-nats has no such key{hint}")
    servers = content.pop("servers", ["nats://localhost:4222"])
    texts = {key: _text(content[key], key, origin) for key in TAKEN if key in content}
    found = {"url": Given(_url(servers, origin), origin)}
    if "user" in texts:
        found["user"] = Given(texts["user"], origin)
    for key in ("password", "token"):
        if key in texts:
            found[key] = Given(Secret(texts[key]), origin)
    for key, option in _FILES.items():
        if key in texts:
            found[f"options.{option}"] = Given(origin.path(key, texts[key]), origin)
    return found


def _url(servers: Any, origin: Origin) -> str:
    listed = [servers] if isinstance(servers, str) else servers
    if not isinstance(listed, list) or not listed or not all(isinstance(s, str) for s in listed):
        raise origin.refusal("servers", "a URL or a list of URLs is expected")
    hosts, schemes = [], set()
    for server in listed:
        scheme, mark, rest = server.strip().rpartition("://")
        host = rest.rstrip("/")
        if "@" in host:
            raise origin.refusal("servers", "a login in them is not taken; say user and password")
        if not host or "/" in host or (mark and scheme not in ("nats", "tls")):
            raise origin.refusal("servers", f"{server!r}: nats://host:4222 is expected")
        schemes.add(scheme or "nats")
        hosts.append(host)
    return f"{'tls' if 'tls' in schemes else 'nats'}://{','.join(hosts)}/"


def _text(value: Any, key: str, origin: Origin) -> str:
    if not isinstance(value, str) or not value:
        raise origin.refusal(key, "text is expected")
    return value
