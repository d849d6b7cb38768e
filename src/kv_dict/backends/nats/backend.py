"""`NatsBackend`: what a user sees of all this."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from nats.aio.client import Client

from kv_dict.backend import Backend, Capabilities, Finding, check_operations
from kv_dict.backends.nats.bucket import Bucket, BucketMissing, NewBucket
from kv_dict.backends.nats.connection import Connection
from kv_dict.backends.nats.connections import Connections
from kv_dict.backends.nats.following import Doubt, Follower
from kv_dict.backends.nats.home import Home
from kv_dict.backends.nats.options import Options
from kv_dict.backends.nats.reading import Reader, entry_of
from kv_dict.backends.nats.spelling import LONGEST_KEY, below, spell
from kv_dict.backends.nats.writing import MAX_OPERATIONS, Writer
from kv_dict.errors import ConfigurationError, KVDictError
from kv_dict.model import Entry, Operation, Revision, Snapshot, Stale, WatchEvent

__all__ = ["NatsBackend"]

REPAIR_PAUSE: Final = 0.1
REFUSED_PAUSE: Final = 1.0
CLOSE_TIMEOUT: Final = 2.0

_Result = TypeVar("_Result")


class NatsBackend(Backend):
    """A key-value bucket of NATS JetStream.

    Thread-safe and fork-safe: each event loop that uses it has a connection of its own, which is
    closed when the loop ends by ``asyncio.run``, or by `close`. ``nats kv watch kv_dict`` shows
    every change; the stored key ``ep1:user`` is the bucket's ``ep1.user``.

    Parameters
    ----------
    url : str
        ``nats://host:4222``, or ``tls://host:4222`` for nothing without TLS. Name every server of a
        cluster, with commas: ``nats://a:4222,b:4222,c:4222``. ``user:password@`` or ``token@`` may
        stand before the hosts; ``user@`` with `password_file`.
    bucket : str
        Its name.
    client : nats.aio.client.Client or None
        A connected client to use in place of connections of one's own; it is not closed. Every call
        is answered in the event loop that it was connected in, which has to be running: a blocking
        call in that loop's own thread would wait for itself.
    create_bucket : bool
        Make the bucket when it is not there, and allow it direct access and atomic batches. In
        production somebody made it.
    history : int, optional
        The values that a bucket keeps of each key, 1 to 64, for `RemoteKVMapping.history`; the
        present one included, and deletions counted. One that is made keeps 8 if nothing is said. An
        existing one is not changed: if it keeps fewer than is asked for, that is a
        `ConfigurationError` which says what to run.
    replicas : int
        Of a bucket that is made: the servers of a cluster that hold it, 1 to 5.
    user, password, token : str or None
        Credentials; better in files:
    password_file, credentials_file, nkey_seed_file : str, Path or None
        With the password of `user` in its first line; with a user's JWT and seed (``.creds``); with
        a seed. Read anew for each connection.
    ca_file, cert_file, key_file : str, Path or None
        For TLS: who is trusted instead of what the system trusts, and the certificate and key to
        show. With any of them, ``nats://`` means TLS too.

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
        history: int | None = None,
        replicas: int = 1,
        user: str | None = None,
        password: str | None = None,
        token: str | None = None,
        password_file: str | Path | None = None,
        credentials_file: str | Path | None = None,
        nkey_seed_file: str | Path | None = None,
        ca_file: str | Path | None = None,
        cert_file: str | Path | None = None,
        key_file: str | Path | None = None,
    ) -> None:
        files = {
            "password_file": password_file,
            "credentials_file": credentials_file,
            "nkey_seed_file": nkey_seed_file,
            "ca_file": ca_file,
            "cert_file": cert_file,
            "key_file": key_file,
        }
        paths = {name: str(path) for name, path in files.items() if path is not None}
        options = Options.parse(url, user=user, password=password, token=token, **paths)
        self._client = client
        self._home = None if client is None else Home(client, options.url(bucket))
        self._begin(options, NewBucket(bucket, create_bucket, history, replicas))

    def _begin(self, options: Options, wanted: NewBucket) -> None:
        self._options = options
        self._bucket = Bucket(wanted, where=options.url(wanted.name))
        self._reader = Reader(self._bucket, self.url)
        self._writer = Writer(self._bucket, self._reader, self.url)
        self._connections = Connections(options, self._client)
        # Their tasks keep connections alive: one that is forgotten without `close` has to end them.
        weakref.finalize(self, self._connections.stop).atexit = False

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

        return await self._run(work, timeout, writes=True)

    async def history(self, key: str, *, timeout: float) -> tuple[Entry, ...]:
        """Return the values that a key had, oldest first, as far back as the bucket keeps them.

        `Unsupported` for a bucket that keeps one message of each key.
        """
        subject = self._bucket.prefix + spell(key)

        async def work(connection: Connection, deadline: float) -> tuple[Entry, ...]:
            found = await self._reader.history(connection, subject, deadline)
            return tuple([entry_of(key, one) for one in found if one.value is not None])

        return await self._run(work, timeout)

    async def ping(self, *, timeout: float) -> None:
        async def work(connection: Connection, deadline: float) -> None:
            await self._bucket.state(connection, deadline)

        await self._run(work, timeout)

    async def inspect(self, *, timeout: float) -> tuple[Finding, ...]:
        from kv_dict.backends.nats.inspecting import findings  # noqa: PLC0415 - rarely asked

        async def work(connection: Connection, deadline: float) -> tuple[Finding, ...]:
            state = await self._bucket.state(connection, deadline)
            return findings(state, connection.client)

        return await self._run(work, timeout)

    async def _run(
        self,
        work: Callable[[Connection, float], Awaitable[_Result]],
        timeout: float,
        *,
        writes: bool = False,
    ) -> _Result:
        """Do it with this loop's connection, and once more where the bucket had to be made."""
        self.check_open()
        home = self._home
        if home is not None and not home.here:
            return await home.run(lambda: self._run(work, timeout), timeout, writes=writes)
        connection = self._connections.here()
        deadline = connection.loop.time() + timeout
        try:
            await self._bucket.check_history(connection, deadline)
            return await work(connection, deadline)
        except BucketMissing:
            await self._bucket.make(connection, deadline)
        try:
            return await work(connection, deadline)
        except BucketMissing:
            raise ConfigurationError(f"{self.url}: the bucket is deleted as soon as made") from None

    # -- watching --------------------------------------------------------------------------------

    async def watch(self, prefix: str) -> AsyncGenerator[WatchEvent, None]:
        self.check_open()
        home = self._home
        if home is not None and not home.here:
            events = self.watch(prefix)
            try:
                while True:
                    yield await home.run(partial(_next, events), None)
            finally:
                if home.loop.is_running():
                    await home.run(events.aclose, None)
        follower = Follower(self._bucket, self._reader, prefix)
        begun = stale = False
        while True:
            pause = REPAIR_PAUSE
            connection = self._connections.here()
            try:
                async with aclosing(follower.follow(connection)) as news:
                    async for event in news:
                        if isinstance(event, Snapshot):
                            begun, stale = True, False
                        yield event
            except (Doubt, KVDictError, BucketMissing) as error:
                self.check_open()
                why: Exception = error
                if isinstance(error, BucketMissing):
                    why = await self._missing(connection)
                    if not begun and isinstance(why, Doubt):
                        continue  # made when first used
                if not begun and isinstance(why, ConfigurationError):
                    raise why from error
                if isinstance(why, ConfigurationError):  # somebody has to come and change it
                    pause = REFUSED_PAUSE
                if not stale:
                    stale = True
                    yield Stale(follower.fresh, str(why))
            self.check_open()
            await asyncio.sleep(pause)
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
        home = self._home
        if home is not None and not home.here:
            if home.loop.is_running():
                await home.run(self._connections.close, CLOSE_TIMEOUT)
            return
        await self._connections.close()

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        if self._client is not None:
            raise ConfigurationError(
                f"{self.url}: a backend on a client of yours cannot be pickled; give it a URL"
            )
        return _rebuild, (self._options, self._bucket.wanted)


def _rebuild(options: Options, wanted: NewBucket) -> NatsBackend:
    backend = NatsBackend.__new__(NatsBackend)
    backend._client = backend._home = None
    backend._begin(options, wanted)
    return backend


async def _next(events: AsyncGenerator[WatchEvent, None]) -> WatchEvent:
    return await anext(events)
