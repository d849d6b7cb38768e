"""`NatsBackend`: what a user sees of all this."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Sequence
from contextlib import aclosing
from typing import Any, Final, TypeVar

from nats.aio.client import Client

from kv_dict.backend import Backend, Capabilities, check_operations
from kv_dict.backends.nats.bucket import Bucket, BucketMissing
from kv_dict.backends.nats.connection import Connection, Connections
from kv_dict.backends.nats.following import Doubt, Follower
from kv_dict.backends.nats.options import Options
from kv_dict.backends.nats.reading import Reader, entry_of
from kv_dict.backends.nats.spelling import LONGEST_KEY, below, spell
from kv_dict.backends.nats.writing import MAX_OPERATIONS, Writer
from kv_dict.errors import ConfigurationError, KVDictError
from kv_dict.model import Entry, Operation, Revision, Snapshot, Stale, Synced, WatchEvent

__all__ = ["NatsBackend"]

REPAIR_PAUSE: Final = 0.1

_Result = TypeVar("_Result")


class NatsBackend(Backend):
    """A key-value bucket of NATS JetStream.

    Thread-safe and fork-safe: each event loop that uses it has a connection of its own, which is
    closed when the loop ends by ``asyncio.run``, or by `close`. ``nats kv watch kv_dict`` shows
    every change; the stored key ``ep1:user`` is the bucket's ``ep1.user``.

    Parameters
    ----------
    url : str
        ``nats://host:4222`` or ``tls://host:4222``; several hosts of a cluster with commas between
        them. ``user:password@`` or ``token@`` may stand before the hosts.
    bucket : str
        Its name.
    client : nats.aio.client.Client or None
        A connected client to use in place of a connection of one's own; it is not closed. Every
        call is answered in the event loop that it was connected in, which has to be running.
    create_bucket : bool
        Make the bucket when it is not there, and allow it direct access and atomic batches. In
        production somebody made it, with the replicas that it needs.
    history : int
        Values that a new bucket keeps of each key, 1 to 64.
    user, password, token : str or None
        Credentials; better in files:
    password_file, credentials, nkeys_seed : str or None
        Files with the password of `user`, a user's JWT and seed, or a seed.
    ca, certificate, key : str or None
        Files for TLS: who is trusted, and the certificate and key to show.

    Examples
    --------
    >>> NatsBackend("nats://bl02:secret@nats.example", bucket="metadata")
    <NatsBackend nats://***@nats.example/?bucket=metadata>
    """

    def __init__(
        self,
        url: str = "nats://localhost:4222",
        bucket: str = "kv_dict",
        *,
        client: Client | None = None,
        create_bucket: bool = False,
        history: int = 8,
        user: str | None = None,
        password: str | None = None,
        token: str | None = None,
        password_file: str | None = None,
        credentials: str | None = None,
        nkeys_seed: str | None = None,
        ca: str | None = None,
        certificate: str | None = None,
        key: str | None = None,
    ) -> None:
        self._options = Options.parse(
            url,
            user=user,
            password=password,
            token=token,
            password_file=password_file,
            credentials=credentials,
            nkeys_seed=nkeys_seed,
            ca=ca,
            certificate=certificate,
            key=key,
        )
        self._client = client
        self._home = _loop_of(client) if client is not None else None
        where = self._options.url(bucket)
        self._bucket = Bucket(bucket, create=create_bucket, history=history, where=where)
        self._reader = Reader(self._bucket, self.url)
        self._writer = Writer(self._bucket, self._reader, self.url)
        self._connections = Connections(self._options, client)

    @property
    def url(self) -> str:
        return self._options.url(self._bucket.name)

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            persistent=True,
            multi_process=True,
            ordered=True,
            max_operations=MAX_OPERATIONS,
            longest_key=LONGEST_KEY,
        )

    # -- operations ------------------------------------------------------------------------------

    async def read(self, key: str, *, timeout: float) -> Entry | None:
        subject = self._bucket.prefix + spell(key)

        async def work(connection: Connection, deadline: float) -> Entry | None:
            found = await self._reader.last(connection, subject, deadline)
            return None if found is None or found.value is None else entry_of(key, found)

        return await self._run(work, timeout)

    async def read_tree(self, key: str, separator: str, *, timeout: float) -> Snapshot:
        """Return the entry at `key` and all below it.

        One request for exactly those where the separator is a colon; with another one the server
        cannot select them.
        """
        if not separator.startswith(":"):
            return await super().read_tree(key, separator, timeout=timeout)
        name = spell(key)
        below_key = key + separator
        snapshot = await self._snapshot([name, f"{name}.>"], timeout)
        if separator == ":":
            return snapshot
        entries = (e for e in snapshot.entries if e.key == key or e.key.startswith(below_key))
        return Snapshot(tuple(entries), snapshot.revision)

    async def snapshot(self, prefix: str, *, timeout: float) -> Snapshot:
        """Return every entry whose key starts with `prefix`.

        The server selects by what is before the last colon of `prefix`, the rest is done here.
        """
        snapshot = await self._snapshot([below(prefix)], timeout)
        if prefix == "" or prefix.endswith(":"):
            return snapshot
        entries = (entry for entry in snapshot.entries if entry.key.startswith(prefix))
        return Snapshot(tuple(entries), snapshot.revision)

    async def _snapshot(self, names: list[str], timeout: float) -> Snapshot:
        filters = [self._bucket.prefix + name for name in names]

        async def work(connection: Connection, deadline: float) -> Snapshot:
            view = await self._reader.view(connection, filters, deadline)
            return Snapshot(tuple(self._reader.entries(view.found)), view.upto)

        return await self._run(work, timeout)

    async def commit(
        self, operations: Sequence[Operation], *, timeout: float
    ) -> tuple[Revision | None, ...]:
        """Apply all operations or none: one message, or one atomic batch.

        A `DeletePrefix` is resolved into deletes by a look at the bucket, with a guard that nothing
        has changed there since.
        """
        self.check_open()
        check_operations(operations)

        async def work(connection: Connection, deadline: float) -> tuple[Revision | None, ...]:
            return await self._writer.commit(connection, operations, deadline)

        return await self._run(work, timeout)

    async def ping(self, *, timeout: float) -> None:
        async def work(connection: Connection, deadline: float) -> None:
            await self._bucket.state(connection, deadline)

        await self._run(work, timeout)

    async def _run(
        self, work: Callable[[Connection, float], Awaitable[_Result]], timeout: float
    ) -> _Result:
        """Do it with this loop's connection, and once more where the bucket had to be made."""
        self.check_open()
        if self._home is not None and asyncio.get_running_loop() is not self._home:
            return await self._at_home(self._run(work, timeout))
        connection = self._connections.here()
        deadline = connection.loop.time() + timeout
        try:
            return await work(connection, deadline)
        except BucketMissing:
            await self._bucket.make(connection, deadline)
        try:
            return await work(connection, deadline)
        except BucketMissing:
            raise ConfigurationError(f"{self.url}: the bucket is deleted as soon as made") from None

    async def _at_home(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        """Do it in the loop of the client that was given."""
        home = self._home
        if home is None or not home.is_running():
            work.close()
            raise ConfigurationError(
                f"{self.url}: the event loop in which `client` was connected does not run"
            )
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, home))

    # -- watching --------------------------------------------------------------------------------

    async def watch(self, prefix: str) -> AsyncGenerator[WatchEvent, None]:
        self.check_open()
        if self._home is not None and asyncio.get_running_loop() is not self._home:
            events = self.watch(prefix)
            try:
                while True:
                    yield await self._at_home(_next(events))
            finally:
                if self._home.is_running():
                    await self._at_home(events.aclose())
        follower = Follower(self._bucket, self._reader, prefix)
        stale = False
        while True:
            connection = self._connections.here()
            try:
                async with aclosing(follower.follow(connection)) as news:
                    async for event in news:
                        if isinstance(event, Synced):
                            stale = False
                        yield event
            except (Doubt, KVDictError, BucketMissing) as error:
                self.check_open()
                missing = isinstance(error, BucketMissing)
                why = str(await self._missing(connection) if missing else error)
                if not stale:
                    stale = True
                    yield Stale(follower.fresh, why)
            self.check_open()
            await asyncio.sleep(REPAIR_PAUSE)
            self.check_open()

    async def _missing(self, connection: Connection) -> Exception:
        try:
            await self._bucket.make(connection, connection.loop.time() + 2)
        except (KVDictError, BucketMissing) as error:
            return error
        return Doubt("the bucket was deleted; it was made again")

    # -- life ------------------------------------------------------------------------------------

    async def close(self) -> None:
        self.closed = True
        if self._home is not None and asyncio.get_running_loop() is not self._home:
            if self._home.is_running():
                await self._at_home(self._connections.close())
            return
        await self._connections.close()

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        if self._client is not None:
            raise ConfigurationError(
                f"{self.url}: a backend on a client of yours cannot be pickled; give it a URL"
            )
        bucket = self._bucket
        return _rebuild, (self._options, bucket.name, bucket.create, bucket.history)


def _rebuild(options: Options, bucket: str, create: bool, history: int) -> NatsBackend:
    backend = NatsBackend(options.servers[0], bucket, create_bucket=create, history=history)
    backend._options = options
    backend._bucket = Bucket(bucket, create=create, history=history, where=backend.url)
    backend._reader = Reader(backend._bucket, backend.url)
    backend._writer = Writer(backend._bucket, backend._reader, backend.url)
    backend._connections = Connections(options, None)
    return backend


def _loop_of(client: Client) -> asyncio.AbstractEventLoop:
    """Return the loop in which a client was connected: the one of its task that reads."""
    if not client.is_connected or client._reading_task is None:
        raise ConfigurationError("client= takes a connected client: await nats.connect(...)")
    return client._reading_task.get_loop()


async def _next(events: AsyncGenerator[WatchEvent, None]) -> WatchEvent:
    return await anext(events)
