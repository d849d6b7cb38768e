"""Following what others do: the replica's state, subscriptions, and earlier values."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from typing import Any

from kv_dict.keys import check_key
from kv_dict.mapping.feed import Change, Feed
from kv_dict.mapping.scope import Scope, Version
from kv_dict.mapping.stored import Stored
from kv_dict.mapping.subscriptions import Subscriptions

__all__ = ["Following", "Subscribing"]


class Subscribing:
    """What a mapping, or several read as one, offer to those who want to be told of changes."""

    _subscriptions: Subscriptions

    def subscribe(
        self,
        callback: Callable[[Change], object],
        *,
        key: str | None = None,
        prefix: str | None = None,
        initial: bool = True,
    ) -> int:
        """Have `callback` called with each `Change` of an item, by any writer in any process.

        Parameters
        ----------
        callback : callable
            Called with a `Change`, one at a time and in order, in a thread of its own: a slow one
            delays nobody, and is told the last state of what changed more than 10,000 times
            meanwhile. What it raises is logged, and it goes on.
        key : str, optional
            Only this item.
        prefix : str, optional
            Only items whose keys start so.
        initial : bool
            Begin with what is there: changes whose `initial` is true.

        Returns
        -------
        int
            The token for `unsubscribe`.

        Raises
        ------
        Unavailable
            The store cannot be reached, so that what is there is not known.

        Notes
        -----
        During an outage nothing is told; after it, what is different. Closing the mapping ends all
        subscriptions. A forked child has none.

        Examples
        --------
        >>> import queue
        >>> told = queue.Queue()
        >>> token = md.subscribe(told.put, key="shutter")
        >>> md["shutter"] = "open"
        >>> change = told.get(timeout=5)
        >>> change.kind, change.key, change.value
        ('put', 'shutter', 'open')
        >>> md.unsubscribe(token)
        """
        return self._subscriptions.subscribe(self, callback, key, prefix, initial)

    def unsubscribe(self, token: int) -> None:
        """End a subscription; KeyError if there is none of that token.

        No call begins afterwards. One that is under way is waited for, for a second.
        """
        self._subscriptions.unsubscribe(token)

    def changes(
        self, *, key: str | None = None, prefix: str | None = None, initial: bool = True
    ) -> AsyncGenerator[Change, None]:
        """Iterate over changes in an event loop, as `subscribe` tells them.

        Ends when the mapping is closed. Use it in ``async with contextlib.aclosing(...)`` where the
        loop over it may be left.

        Examples
        --------
        >>> import asyncio
        >>> async def first():
        ...     async for change in md.changes(key="sample"):
        ...         return change.value
        >>> md["sample"] = "Fe2O3"
        >>> asyncio.run(first())
        'Fe2O3'
        """
        return self._subscriptions.changes(key, prefix, initial)

    def feed(
        self,
        wake: Callable[[], object],
        *,
        key: str | None = None,
        prefix: str | None = None,
        initial: bool = True,
    ) -> Feed:
        """Return changes to be taken at one's own pace: for event loops of any kind.

        Parameters
        ----------
        wake : callable
            Called, from any thread and often, when there is something to take, and when
            `stale_since` became another. It must not block: ``loop.call_soon_threadsafe(...)``.
        key, prefix, initial
            As of `subscribe`.

        Returns
        -------
        Feed
            Its ``take()`` yields the changes there are, for one thread at a time; ``close()`` ends
            it.

        Raises
        ------
        Unavailable
            The store cannot be reached.

        Notes
        -----
        Blocks for as long as the store needs for a first snapshot, if nothing follows it yet.

        Examples
        --------
        >>> import threading
        >>> ready = threading.Event()
        >>> md["shutter"] = "open"
        >>> feed = md.feed(ready.set, key="shutter")
        >>> [change.value for change in feed.take()]
        ['open']
        >>> feed.close()
        """
        return self._subscriptions.feed(key, prefix, initial, wake)


class Following(Subscribing):
    """What a mapping offers to those who watch it."""

    _scope: Scope

    @property
    def stale_since(self) -> float | None:
        """When the last good news came, in seconds since the epoch, if the store is away now.

        None while the replica is live, and where each read asks the store.
        """
        replica = self._scope.replica
        return None if replica is None else replica.stale_since

    @property
    def waiting(self) -> tuple[str, ...]:
        """The keys of writes that wait for the store to come back (``on_outage="continue"``)."""
        return self._scope.waiting

    def peek(self, key: str, default: Any = None) -> Any:
        """Return what the replica holds of an item, plain and detached, and never ask the store.

        For a prompt or a display that nothing may keep waiting: takes a microsecond or two, during
        an outage too. `default` where the item is missing, and where there is no replica.

        Examples
        --------
        >>> from kv_dict import InMemoryAsyncBackend, RemoteKVMapping
        >>> with RemoteKVMapping(InMemoryAsyncBackend(), "ep1", reads="replica") as md:
        ...     md["scan_id"] = 4217
        ...     md.peek("scan_id"), md.peek("data_session", "none")
        (4217, 'none')
        """
        scope = self._scope
        scope.check_open()
        replica = scope.replica
        entries = replica.groups.get(check_key(key)) if replica and not replica.asleep else None
        return Stored(key, entries, scope.space, scope.codec).value() if entries else default

    def sync(self) -> None:
        """Return when reads see everything that was acknowledged, to anybody, before the call.

        With ``reads="server"`` they do anyway.

        Raises
        ------
        Unavailable
            The store cannot be asked.
        """
        self._scope.sync()

    def history(self, key: str) -> list[Version]:
        """Return the values that an item had, oldest first, as far back as the store keeps them.

        Of values stored under the key itself; entries of other programs below it are left out, as
        are deletions.

        Returns
        -------
        list of (value, time, revision)

        Raises
        ------
        Unsupported
            The store keeps only the present values.

        Examples
        --------
        >>> from kv_dict import InMemoryAsyncBackend, RemoteKVMapping
        >>> with RemoteKVMapping(InMemoryAsyncBackend(history=8), "ep1") as md:
        ...     md["energy"] = 7.1
        ...     md["energy"] = 7.2
        ...     [value for value, time, revision in md.history("energy")]
        [7.1, 7.2]
        """
        return self._scope.history(check_key(key))
