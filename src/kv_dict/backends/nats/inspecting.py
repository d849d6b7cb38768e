"""What a server and a bucket say of themselves: version, encryption, copies and storage."""

from __future__ import annotations

import ssl
from typing import Any

from nats.aio.client import Client

from kv_dict.backend import Finding
from kv_dict.backends.nats.bucket import BucketState

__all__ = ["findings"]


def findings(state: BucketState, client: Client) -> tuple[Finding, ...]:
    """Return what is known of a bucket, and of the server that a client is connected to."""
    server: dict[str, Any] = client._server_info  # its public name for the version parses it
    return (
        Finding("version", f"NATS {server.get('version', 'not told')}"),
        Finding("encryption", _encryption(client) or "none: what is sent can be read on the way"),
        _storage(state),
        Finding(
            "replicas",
            f"{state.replicas}: "
            + ("the loss of a server is survived" if state.replicas > 2 else "one server has it"),
        ),
        Finding(
            "sync",
            "when a write is on the disk is the server's setting, which it does not tell",
            ""
            if state.replicas > 2
            else "jetstream { sync_interval: always } in its configuration; the default of two "
            "minutes loses acknowledged writes in a power failure",
        ),
        _batches(state),
        Finding("history", f"{state.history} values of each key"),
    )


def _encryption(client: Client) -> str | None:
    transport: Any = client._transport
    found = transport._io_writer.get_extra_info("ssl_object") if transport is not None else None
    return found.version() if isinstance(found, ssl.SSLObject) else None


def _storage(state: BucketState) -> Finding:
    kind = state.config.get("storage", "file")
    if kind == "file":
        return Finding("durability", "storage file")
    return Finding(
        "durability",
        f"storage {kind}: all of it is lost when the server ends",
        "make a bucket with --storage=file, and move the data there (kv-dict export, import)",
    )


def _batches(state: BucketState) -> Finding:
    if state.atomic:
        return Finding("batches", "allowed: updates of several keys are atomic")
    return Finding(
        "batches",
        "not allowed: updates of several keys are no atomic step, and guarded ones are refused",
        f"nats stream edit {state.config.get('name', 'KV_...')} --allow-batch (NATS 2.12 or newer)",
    )
