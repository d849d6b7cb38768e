"""The bucket: which stream it is, what it can do, and making it."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
from dataclasses import dataclass
from typing import Any, Final

from kv_dict.backend import StoreMissing
from kv_dict.backends.nats.connection import Connection
from kv_dict.errors import ConfigurationError, KVDictError, Unavailable, Unsupported

__all__ = [
    "MOST_KEPT",
    "PASSING",
    "Bucket",
    "BucketMissing",
    "BucketState",
    "NewBucket",
    "error_of",
]

STREAM_NOT_FOUND: Final = 10059
NAME_IN_USE: Final = 10058
NO_PEERS: Final = 10005
NOT_CLUSTERED: Final = 10074
NO_BATCHES: Final = 10174
NOT_ENABLED: Final = (10039, 10076)
PASSING: Final = (10008, 10009, 10118)
"""A cluster without a leader, for the moment: nothing was done."""

HISTORY: Final = 8
"""Values of each key that a bucket keeps which is made without a word about it."""

MOST_KEPT: Final = 64
"""Values of a key in a bucket, by the rules of NATS."""

PAUSE: Final = 0.05
MEMORY: Final = 10.0
"""Seconds after which a bucket's configuration is asked for anew: an operator may edit it."""


class BucketMissing(Exception):  # never leaves this package
    """There is no such stream."""


@dataclass(frozen=True, slots=True)
class BucketState:
    """What a bucket can do, and how far it is.

    Attributes
    ----------
    created : str
        When it was made: another time means another bucket.
    shape : tuple of int
        Messages, subjects and the first sequence: what a purge changes.
    names : dict of str to int
        How many messages there are of each subject, where they were asked for.
    """

    created: str
    last: int
    shape: tuple[int, int, int]
    direct: bool
    atomic: bool
    replicas: int
    history: int  # messages of each key; below 1: all
    config: dict[str, Any]
    names: dict[str, int]


@dataclass(frozen=True, slots=True)
class NewBucket:
    """What is asked of a bucket, and what it is made with if it has to be made and may be."""

    name: str
    create: bool
    history: int | None
    replicas: int

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-zA-Z0-9_-]+", self.name):
            raise ConfigurationError(
                f"bucket={self.name!r}: a bucket's name is made of letters, digits, '_' and '-'"
            )
        if self.history is not None and (
            type(self.history) is not int or not 1 <= self.history <= MOST_KEPT
        ):
            raise ConfigurationError(
                f"history={self.history!r}: a bucket keeps from 1 to {MOST_KEPT} values of each key"
            )
        if not 1 <= self.replicas <= 5:
            raise ConfigurationError(f"replicas={self.replicas!r}: from 1 to 5 servers")


class Bucket:
    """One bucket by its name, whether it exists or not."""

    def __init__(self, wanted: NewBucket, *, where: str) -> None:
        self.wanted = wanted
        self.name = wanted.name
        self.stream = f"KV_{wanted.name}"
        self.prefix = f"$KV.{wanted.name}."
        self._where = where
        self._enough = wanted.history is None

    async def check_history(self, connection: Connection, deadline: float) -> None:
        """Look, once, whether the bucket keeps the history that is asked for."""
        if not self._enough:
            await self.state(connection, deadline)

    def how_to_keep(self, history: str) -> str:
        """Return what an operator runs to have more values of a key kept."""
        server = shlex.quote(self._where.partition("/?")[0])
        return (
            f"nats stream edit {self.stream} --max-msgs-per-subject={history} --force "
            f"--server {server}"
        )

    async def state(
        self, connection: Connection, deadline: float, names: str | None = None
    ) -> BucketState:
        """Ask the leader. `names` is a filter of the subjects to count.

        Raises
        ------
        BucketMissing
            There is no such bucket.
        ConfigurationError
            It keeps a shorter history than is asked for: when first looked at, before any write.
        """
        subjects: dict[str, int] = {}
        while True:
            body = {"subjects_filter": names, "offset": len(subjects)} if names else {}
            found = await self.call(connection, f"STREAM.INFO.{self.stream}", body, deadline)
            subjects |= found["state"].get("subjects") or {}
            if len(subjects) >= found.get("total", 0):
                break
        config, state = found["config"], found["state"]
        known = BucketState(
            created=found["created"],
            last=state["last_seq"],
            shape=(state["messages"], state.get("num_subjects", 0), state["first_seq"]),
            direct=config.get("allow_direct", False),
            atomic=config.get("allow_atomic", False),
            replicas=config.get("num_replicas", 1),
            history=config.get("max_msgs_per_subject", -1),
            config=config,
            names=subjects,
        )
        connection.cached = (known, connection.loop.time())
        if not self._enough:
            self._check_history(known.history)
        return known

    def _check_history(self, kept: int) -> None:
        wanted = self.wanted.history or 0
        if 0 < kept < wanted:
            raise ConfigurationError(
                f"{self._where}: history={wanted} is asked for, and the bucket keeps {kept} "
                f"value{'s' * (kept > 1)} of each key. Have it keep more: "
                f"{self.how_to_keep(str(wanted))}; or ask for no more than it keeps"
            )
        self._enough = True  # an operator who changes it later stops nobody

    async def abilities(self, connection: Connection, deadline: float) -> BucketState:
        """Return what this connection knows of the bucket, if that is not old; else ask."""
        if connection.cached is not None:
            known: BucketState
            known, asked = connection.cached
            if connection.loop.time() < asked + MEMORY:
                return known
        state = await self.state(connection, deadline)
        if self.wanted.create and not (state.direct and state.atomic):
            wanted = state.config | {"allow_direct": True, "allow_atomic": True}
            await self.call(connection, f"STREAM.UPDATE.{self.stream}", wanted, deadline)
            state = await self.state(connection, deadline)
        return state

    async def make(self, connection: Connection, deadline: float) -> None:
        """Make the bucket; ConfigurationError if that was not asked for."""
        connection.cached = None
        if not self.wanted.create:
            server = shlex.quote(self._where.partition("/?")[0])
            raise StoreMissing(
                f"there is no bucket {self.name!r} on {self._where}. Make it once: nats kv add "
                f"{self.name} --history={self.wanted.history or HISTORY} --server {server} && nats "
                f"stream edit {self.stream} --allow-batch --force --server {server} (add "
                "--replicas=3 on a cluster); or pass create_bucket=True (in a URL "
                "?create_bucket=true)",
                layer="store",
            )
        config = {
            "name": self.stream,
            "description": "kv_dict",
            "subjects": [f"{self.prefix}>"],
            "retention": "limits",
            "storage": "file",
            "discard": "new",
            "max_msgs_per_subject": self.wanted.history or HISTORY,
            "max_consumers": -1,
            "max_msgs": -1,
            "max_bytes": -1,
            "max_age": 0,
            "max_msg_size": -1,
            "num_replicas": self.wanted.replicas,
            "duplicate_window": 120_000_000_000,
            "deny_delete": True,
            "allow_rollup_hdrs": True,
            "allow_direct": True,
        }
        try:
            await self.call(connection, f"STREAM.CREATE.{self.stream}", config, deadline)
        except KVDictError as error:
            raise type(error)(f"the bucket cannot be made: {error}") from None
        # A server before 2.12 refuses nothing that it does not know, and has no atomic batches.
        await self.abilities(connection, deadline)

    async def call(
        self, connection: Connection, request: str, body: dict[str, Any], deadline: float
    ) -> Any:
        """Ask JetStream's API, and return the answer; raise what its error means."""
        payload = json.dumps(body).encode() if body else b""
        while True:
            message = await connection.ask(f"$JS.API.{request}", payload, deadline=deadline)
            answer = json.loads(message.data)
            if "error" not in answer:
                return answer
            code = answer["error"].get("err_code")
            if code == STREAM_NOT_FOUND:
                raise BucketMissing
            if code == NAME_IN_USE:  # somebody else made it just now, with other options
                return answer
            if code not in PASSING or connection.loop.time() + PAUSE >= deadline:
                raise error_of(answer["error"], self._where)
            await asyncio.sleep(PAUSE)


def error_of(error: dict[str, Any], where: str) -> KVDictError:
    """Return what an error of JetStream's API means to a user."""
    code = error.get("err_code")
    text = f"{where}: {error.get('description')} ({code})"
    if code in NOT_ENABLED:
        return ConfigurationError(f"{text}: JetStream has to be enabled (nats-server -js)")
    if code == NOT_CLUSTERED:
        return ConfigurationError(f"{text}: replicas= is for a cluster")
    if code == NO_PEERS:
        return Unavailable(f"{text}: start the servers that are missing, or ask for less replicas")
    if code == NO_BATCHES:
        return Unsupported(text)
    return Unavailable(text)
