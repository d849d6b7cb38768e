"""Reading and committing, by any number of threads, and in forked children."""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Callable, Collection, Sequence
from typing import Final, Protocol, TypeVar

from kv_dict.backend import NEVER_HISTORY, SynchronousFace, check_operations
from kv_dict.backends.redis.commits import Plan, wait_for_replicas
from kv_dict.backends.redis.index import Refused, base_of
from kv_dict.backends.redis.keeper import Keeper
from kv_dict.backends.redis.link import Lost
from kv_dict.backends.redis.resp import ErrorReply
from kv_dict.backends.redis.routes import PAUSE, Route
from kv_dict.backends.redis.session import Session
from kv_dict.errors import (
    ConfigurationError,
    ConflictError,
    KVDictError,
    OutcomeUnknown,
    ReentryError,
    Unavailable,
    Unsupported,
)
from kv_dict.locks import Turn
from kv_dict.model import DeletePrefix, Entry, Operation, Put, Revision, Snapshot

__all__ = ["Owner", "Store"]

_Result = TypeVar("_Result")

ELSEWHERE: Final = frozenset(
    {"READONLY", "MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN", "LOADING", "MASTERDOWN", "NOREPLICAS"}
)
"""Errors of a server that is not the one to ask, or not yet; nothing was written."""

_CLOSE_PATIENCE: Final = 1.0


class Owner(Protocol):
    """The backend, as far as its store needs it."""

    closed: bool

    def check_open(self) -> None:
        """Raise ClosedError if it was closed."""

    def wake_watches(self, keys: Collection[str] = ()) -> None:
        """Tell watches that the backend was closed, or of changed keys."""


class Store(SynchronousFace):
    """The native synchronous face: one connection, opened when first used and again when lost.

    Thread-safe: one thread at a time has the connection. The server works through one command at a
    time as well, so more connections would not be faster. Fork-safe: a child opens its own.

    Parameters
    ----------
    owner : Owner
        Whose store it is.
    route : Route
        To the server.
    """

    def __init__(self, owner: Owner, route: Route) -> None:
        self._owner = owner
        self._route = route
        self._turn = Turn()
        self._session: Session | None = None
        _stores.add(self)

    def read(self, key: str, *, timeout: float) -> Entry | None:
        return self._reading(timeout, lambda session, by: session.read(key, by))

    def read_tree(self, key: str, separator: str, *, timeout: float) -> Snapshot:
        entries = self._reading(timeout, lambda session, by: session.read_tree(key, separator, by))
        return Snapshot(tuple(entries))

    def snapshot(self, prefix: str, *, timeout: float) -> Snapshot:
        entries = self._reading(timeout, lambda session, by: session.snapshot(prefix, by))
        return Snapshot(tuple(entries))

    def history(self, key: str, *, timeout: float) -> tuple[Entry, ...]:
        self._owner.check_open()
        raise Unsupported(f"{self._route.url}: Redis {NEVER_HISTORY}")

    def foreign_keys(self, prefix: str, *, timeout: float) -> dict[str, str]:
        """See `RedisBackend.foreign_keys`."""
        return self._reading(timeout, lambda session, by: session.foreign_keys(prefix, by))

    def ping(self, *, timeout: float) -> None:
        self._reading(timeout, lambda session, by: session.ask(by, b"PING"))

    def commit(
        self, operations: Sequence[Operation], *, timeout: float
    ) -> tuple[Revision | None, ...]:
        self._owner.check_open()
        check_operations(operations)
        if not operations:
            return ()
        written = self._in_turn(lambda deadline: self._commit(operations, deadline), timeout)
        if written:
            self._owner.wake_watches(written)
        return tuple([op.value if isinstance(op, Put) else None for op in operations])

    def close(self) -> None:
        self._owner.closed = True
        self._owner.wake_watches()
        session = self._session
        if not self._dropped():
            if session is not None:
                session.link.close()  # wakes the thread that waits in it
            self._dropped()  # a thread that is connecting finds out by itself, and disconnects

    def _dropped(self) -> bool:
        """Disconnect, if nobody else uses the connection for long; return whether it was done."""
        try:
            self._in_turn(lambda _: self._drop(), _CLOSE_PATIENCE)
        except (Unavailable, ReentryError):
            return False
        return True

    # -- while the connection is ours ------------------------------------------------------------

    def _in_turn(self, work: Callable[[float], _Result], timeout: float) -> _Result:
        """Return ``work(deadline)``, with nobody else using the connection."""

        def busy() -> KVDictError:
            return Unavailable(
                f"{self._route.url}: other threads of this process kept the connection for "
                f"longer than {timeout:g} s"
            )

        return self._turn.take(lambda left: work(time.monotonic() + left), max(timeout, 0), busy)

    def _reading(self, timeout: float, work: Callable[[Session, float], _Result]) -> _Result:
        """Return what `work` reads; on a new connection if the one at hand turns out useless."""
        self._owner.check_open()
        return self._in_turn(lambda deadline: self._read(work, deadline), timeout)

    def _read(self, work: Callable[[Session, float], _Result], deadline: float) -> _Result:
        again = True
        while True:
            try:
                return work(self._ready(deadline), deadline)
            except Lost as lost:
                self._drop()
                if lost.late or not again:
                    raise self._unavailable(lost) from lost
                again = self._route.moves
            except Refused as refused:
                if not self._look_elsewhere(refused.reply, deadline):
                    raise refusal(self._route.url, refused.reply) from None
            except KVDictError:
                raise
            except BaseException:  # Ctrl-C: an answer may still be on its way
                self._drop()
                raise

    def _look_elsewhere(self, reply: ErrorReply, deadline: float) -> bool:
        """Return whether to try again on a new connection, after a reply that refuses to work.

        A server that is not, or no longer, the one that takes writes is left in any case.
        """
        if reply.code not in ELSEWHERE:
            return False
        self._drop()
        if not self._route.moves or time.monotonic() + PAUSE >= deadline:
            return False
        time.sleep(PAUSE)
        return True

    def _commit(self, operations: Sequence[Operation], deadline: float) -> set[str]:
        """Apply `operations`; return the keys that were written or deleted."""
        while True:
            try:
                return self._commit_once(operations, deadline)
            except Refused as refused:
                if not self._look_elsewhere(refused.reply, deadline):
                    raise refusal(self._route.url, refused.reply) from None

    def _commit_once(self, operations: Sequence[Operation], deadline: float) -> set[str]:
        sent = False
        try:
            session = self._ready(deadline)
            plan = Plan(
                operations, lambda at, prefix: self._under(operations, at, prefix, deadline)
            )
            request, scripted = plan.request()
            copies = self._route.replicas if plan.writes else 0
            wait = wait_for_replicas(copies, deadline) if copies else b""
            try:
                session.link.send(request + wait, deadline)
                sent = plan.writes
            except Exception:
                raise
            except BaseException:  # Ctrl-C: it may have been sent all the same
                sent = plan.writes
                raise
            reply = session.link.receive(deadline)
            had = session.link.receive(deadline) if wait else 0
            if scripted and type(reply) is ErrorReply and reply.code == "NOSCRIPT":
                sent = False  # not known to the server: nothing was run
                session.link.send(plan.script() + wait, deadline)
                sent = plan.writes
                reply = session.link.receive(deadline)
                had = session.link.receive(deadline) if wait else 0
            for key in plan.puts:  # also if it was refused in the middle
                session.index.written(key)
            self._check(plan, scripted, reply)
            self._prune_late(session, operations, plan, deadline)
        except Lost as lost:
            self._drop()
            if sent:
                raise OutcomeUnknown(
                    f"{self._route.url}: {lost}; the write was sent, and may or may not have "
                    "been applied"
                ) from lost
            raise self._unavailable(lost) from lost
        except (KVDictError, Refused):
            raise
        except BaseException as interrupt:
            self._drop()
            if sent:
                interrupt.add_note(f"{self._route.url}: the write may or may not be applied")
            raise
        if wait and (type(had) is ErrorReply or had < copies):
            self._drop()  # it may be a master of the past
            raise OutcomeUnknown(
                f"{self._route.url}: the write was applied, but {copies} replica(s) did not "
                f"confirm it in time ({had}); a fail-over now may lose it"
            )
        return plan.puts.keys() | plan.deletes | plan.pruned

    def _check(self, plan: Plan, scripted: bool, reply: object) -> None:
        """Raise what the answer to a commit says, unless it says that it was applied."""
        if type(reply) is ErrorReply:
            raise Refused(reply)
        if scripted and reply:
            conflicts = plan.conflicts(reply)
            raise ConflictError(f"changed by somebody else: {', '.join(conflicts)}", conflicts)

    def _under(
        self, operations: Sequence[Operation], position: int, prefix: str, deadline: float
    ) -> set[str]:
        """Return the keys that a DeletePrefix has to delete."""
        session = self._ready_now()
        key = _assigned(operations, position, prefix)
        if key is None:
            return session.index.region(session.link, prefix, deadline).under(prefix)
        separator = prefix[len(key) :]
        region = session.index.region(session.link, base_of(key, separator), deadline)
        region.expect(key, separator)
        return region.under(prefix)

    def _prune_late(
        self, session: Session, operations: Sequence[Operation], plan: Plan, deadline: float
    ) -> None:
        """Delete what was under a prefix already, but known only when the commit was answered.

        Its writer was done before the commit was, but the news were still on their way when it was
        sent. (Without tracking the search just before the commit is all there is.)
        """
        settled = plan.pruned | plan.deletes | plan.puts.keys()
        late: set[str] = set()
        for operation in operations:
            if isinstance(operation, DeletePrefix):
                region = session.index.known(operation.prefix)
                if region is not None:
                    late |= region.under(operation.prefix) - settled
        if late:
            again = Plan([DeletePrefix("")], lambda position, prefix: late)
            try:
                session.link.send(again.script(), deadline)
                reply = session.link.receive(deadline)
            except Lost as lost:
                self._drop()
                raise OutcomeUnknown(
                    f"{self._route.url}: {lost}; the write was applied, but perhaps not to keys "
                    "that others added meanwhile"
                ) from lost
            if type(reply) is ErrorReply:
                raise OutcomeUnknown(
                    f"{self._route.url}: the write was applied, but not to keys that others "
                    f"added meanwhile ({reply})"
                )

    def _ready_now(self) -> Session:
        assert self._session is not None  # noqa: S101 - `_ready` came before
        return self._session

    def _ready(self, deadline: float) -> Session:
        """Return a session whose connection was alive a moment ago, all that it had to say read."""
        session = self._session
        if session is not None:
            try:
                session.link.collect()
            except Lost:
                self._drop()
            else:
                return session
        self._owner.check_open()
        session = self._session = Session(self._route, deadline - time.monotonic())
        if self._owner.closed:
            self._drop()
            self._owner.check_open()
        _keeper.keep(self)
        return session

    def _drop(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.link.close()

    def _unavailable(self, lost: Lost) -> Unavailable:
        return Unavailable(f"{self._route.url} cannot be asked ({lost})")

    # -- other threads, other processes ----------------------------------------------------------

    def look(self) -> bool:
        """Read what the server pushed to an idle connection; return whether there is one."""
        self._turn.try_take(self._collect)  # if it is in use, its user reads
        return self._session is not None

    def _collect(self) -> None:
        if self._session is not None:
            try:
                self._session.link.collect()
            except Lost:
                self._drop()

    def after_fork(self) -> None:
        """Forget, in a child, the parent's connection."""
        session, self._session = self._session, None
        if session is not None:
            session.link.abandon()


def _assigned(operations: Sequence[Operation], position: int, prefix: str) -> str | None:
    """Return the key whose children `prefix` names, if the next operation puts that key."""
    if position + 1 < len(operations):
        following = operations[position + 1]
        if isinstance(following, Put) and following.key != prefix:
            return following.key if prefix.startswith(following.key) else None
    return None


def refusal(url: str, reply: ErrorReply) -> KVDictError:
    """Return our exception for an error that the server replied."""
    if reply.code == "PARTIAL":
        return OutcomeUnknown(
            f"{url} refused in the middle ({reply}): some of the write was applied; allow the user "
            "all of GET, SET, MSET, DEL, TYPE"
        )
    if reply.code in ("NOPERM", "NOAUTH"):
        return ConfigurationError(
            f"{url}: the user may not do this ({reply}); see ACL SETUSER", layer="permission"
        )
    remedy = _REMEDIES.get(reply.code, "")
    return Unavailable(f"{url} refuses ({reply}){remedy}")


_REMEDIES: Final = {
    "LOADING": ": it is starting, and reads its data; wait for it",
    "MASTERDOWN": ": it is a replica that has lost its master; bring the master back, or name it",
    "MISCONF": ": it cannot write to its disk; free some space, and see its log",
    "NOREPLICAS": ": fewer replicas are connected than min-replicas-to-write demands",
    "OOM": ": its memory is full; raise maxmemory, or remove what is not needed",
    "READONLY": ": it is a replica; name its master, or the sentinels (redis+sentinel://)",
}


_stores: weakref.WeakSet[Store] = weakref.WeakSet()
_keeper = Keeper()


def _after_fork_in_child() -> None:
    global _keeper  # noqa: PLW0603 - its thread does not exist here
    _keeper = Keeper()
    for store in tuple(_stores):
        store.after_fork()


os.register_at_fork(after_in_child=_after_fork_in_child)
