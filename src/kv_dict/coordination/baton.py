"""`Baton`: who may act, one session at a time."""

from __future__ import annotations

import atexit
import logging
import threading
import time
from typing import Any, Final, Self

from kv_dict.closing import Closing
from kv_dict.coordination.beside import GOODBYE, open_beside
from kv_dict.coordination.keeper import Keeper
from kv_dict.coordination.lease import MARGIN, Lease
from kv_dict.coordination.pulse import check_seconds
from kv_dict.coordination.record import BatonRecord, Handover, Request
from kv_dict.coordination.session import Session
from kv_dict.errors import (
    ClosedError,
    ConfigurationError,
    ConflictError,
    KVDictError,
    NotHolder,
    OutcomeUnknown,
    Unavailable,
)
from kv_dict.mapping import LayeredMapping, RemoteKVMapping

__all__ = ["Baton"]

_log = logging.getLogger("kv_dict")

LEAST_LEASE: Final = 0.2
"""Seconds."""

_POLL: Final = 0.5
"""Seconds, at most, between two looks at a baton that is waited for."""


class Baton(Closing):
    """Who may act, of the sessions that share a mapping's store. Thread-safe.

    While it is held, a thread renews it, three times a lease. A session that crashes, is stopped or
    is cut off from the store does not renew; when its lease is over others may take the baton over.
    Each change of hands gives a greater `token`.

    Parameters
    ----------
    md : RemoteKVMapping or LayeredMapping
        The metadata that is shared; batons are kept beside it, in ``<entry point>@baton``.
    name : str
        Which baton, if there are several.
    lease : float
        Seconds for which it stays this session's without a renewal: how long an outage may last
        before no plan can begin, and how long others wait for a crashed session.
    program : str, optional
        What others read of this session, ``"queue server"``; the name of its command if not given.

    Examples
    --------
    >>> with Baton(md) as baton:
    ...     baton.acquire(wait=60)
    ...     baton.held
    1
    True

    Notes
    -----
    Two never hold it at a time, unless it is stolen: see :doc:`/how-to/baton`. That supposes
    that the store keeps what it acknowledged; a token is no greater than the last if all was lost.
    A forked child holds nothing.
    """

    def __init__(
        self,
        md: RemoteKVMapping | LayeredMapping,
        name: str = "baton",
        *,
        lease: float = 30.0,
        program: str | None = None,
    ) -> None:
        self.name = _check_name(name)
        self.lease = check_seconds("lease", lease, LEAST_LEASE)
        self._items = open_beside(md, "baton", timeout=self.lease / 3)
        self._lease = Lease(self._items, name, self.lease, program)
        self._ended = threading.Event()
        self._keeper: Keeper | None = None
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        state = f"token {self.token}" if self.held else "not held"
        return f"<Baton {self.name!r} of {self._items.entry_point} ({state})>"

    # -- without asking the store ----------------------------------------------------------------

    @property
    def session(self) -> Session:
        """Who this is, as others see it."""
        return self._lease.session

    @property
    def held(self) -> bool:
        """Whether this session has it, by what is known here; costs a microsecond.

        False once the last renewal is a lease ago: others may have it by then.
        """
        return self._lease.held

    @property
    def token(self) -> int | None:
        """The fencing token, while it is not known to be lost.

        To be handed to what the baton protects, which refuses one less than the greatest it saw.
        """
        return self._lease.token

    # -- what the store says -----------------------------------------------------------------------

    def read(self) -> BatonRecord:
        """Return all that the store has of it."""
        return self._lease.read()

    @property
    def holder(self) -> Session | None:
        """Whose it is, as the store says: a session that crashed stays until it is taken over."""
        return self.read().holder

    @property
    def log(self) -> tuple[Handover, ...]:
        """The last changes of hands, oldest first: who took it from whom, and why."""
        return self.read().log

    @property
    def requests(self) -> tuple[Request, ...]:
        """Who has asked the holder for it."""
        return self.read().requests

    # -- changing hands ----------------------------------------------------------------------------

    def acquire(self, wait: float = 0.0) -> int:
        """Take it, and keep it until `release`.

        Parameters
        ----------
        wait : float
            Seconds to wait for it. A session that is gone is waited for a tenth longer than its
            lease, from when this one first looked.

        Returns
        -------
        int
            The fencing token.

        Raises
        ------
        NotHolder
            Another session has it; the message says who.
        Unavailable, OutcomeUnknown
            The store was away all the time.
        DecodeError
            What is stored there is no baton; not waited for.
        """
        deadline = time.monotonic() + check_seconds("wait", wait, 0.0)
        while True:
            self._check_open()
            problem: KVDictError
            try:
                record = self._lease.attempt()
            except (Unavailable, OutcomeUnknown, ConflictError) as error:  # it may pass
                problem = error
            else:
                if record is None:
                    return self._took()
                problem = NotHolder(self._whose(record))
            left = deadline - time.monotonic()
            if left <= 0:
                raise problem
            self._ended.wait(min(left, _POLL, self.lease / 10))

    def steal(self, reason: str) -> int:
        """Take it from whoever has it, at once; it is noted who did, and why.

        The robbed session learns with its next renewal, within a third of its lease, or before its
        next plan. Until then it goes on with what it does.
        """
        self._check_open()
        self._lease.steal(_said(reason, "steal"))
        return self._took()

    def ask(self, reason: str) -> None:
        """Ask the holder for it: its session is told, in its log, at its next renewal."""
        self._check_open()
        record = self._lease.ask(_said(reason, "ask"))
        if not record.claim:
            raise NotHolder("nobody holds the baton, so there is nobody to ask: acquire() it")

    def renew(self) -> None:
        """Give a sign of life now; the thread does so by itself.

        Raises
        ------
        NotHolder
            It is not this session's, or not any more; the message says whose it is.
        """
        self._check_open()
        self._renew()

    def check(self) -> int:
        """Return the token if this session may act now, or raise NotHolder saying who may.

        Asks the store. If that is away, what is known here holds until the end of the lease.
        """
        self._check_open()
        try:
            self._renew()
            if not self.held:  # stopped for a lease since it asked: it may not be true any more
                self._renew()
        except (NotHolder, ClosedError):
            raise
        except KVDictError as error:
            if not self.held:
                raise NotHolder(
                    f"the store has been away for longer than the lease of the baton "
                    f"({self.lease:g} s), so another session may have taken it: {error}"
                ) from None
        token = self.token
        if token is None:  # released by another thread meanwhile
            raise NotHolder(self._why_not())
        if not self.held:
            raise NotHolder(
                f"the store took longer than the lease of the baton ({self.lease:g} s) to answer, "
                "so another session may have taken it meanwhile; try again"
            )
        return token

    def release(self) -> None:
        """Give it up. If the store cannot be told, that raises, and the lease ends it there."""
        self._stop_renewing()
        if self._lease.release():
            _log.info("baton %r: released by %s", self.name, self.session)

    def close(self) -> None:
        """Give it up if it is held, and release what this object uses. Idempotent."""
        if self._ended.is_set():
            return
        self._ended.set()
        self._items.timeout = min(self._items.timeout, GOODBYE)
        try:
            self.release()
        except KVDictError as error:
            _log.warning("baton %r: others have to wait for its lease to end: %s", self.name, error)
        finally:
            atexit.unregister(self.close)
            self._items.close()

    def __enter__(self) -> Self:
        self._check_open()
        return self

    # -- helpers -----------------------------------------------------------------------------------

    def _renew(self) -> None:
        try:
            self._lease.renew()
        except NotHolder:
            raise NotHolder(self._why_not()) from None

    def _took(self) -> int:
        token = self._lease.token
        if token is None:
            raise NotHolder(self._why_not())
        with self._lock:
            if self._keeper is not None:  # it may just be learning that its time is over
                self._keeper.stop.set()
            self._keeper = Keeper(self.name, self._lease, self.lease)
            self._keeper.start()
            atexit.unregister(self.close)
            atexit.register(self.close)
        _log.info("baton %r: token %d held by %s", self.name, token, self.session)
        return token

    def _stop_renewing(self) -> None:
        with self._lock:
            keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.stop.set()

    def _check_open(self) -> None:
        if self._ended.is_set():
            raise ClosedError(f"baton {self.name!r} was closed; make a new one")

    def _why_not(self) -> str:
        try:
            record = self.read()
        except Unavailable:
            record = self._lease.lost or BatonRecord()
        if record.claim:
            return self._whose(record)
        lost = f" (this session lost it: {loss})" if (loss := self._lease.loss) else ""
        return f"nobody holds the baton {self.name!r}{lost}: acquire() it first"

    def _whose(self, record: BatonRecord) -> str:
        return whose(self.name, record, self._lease.still(record))


def whose(name: str, record: BatonRecord, still: float) -> str:
    """Say who has a baton, since when, and what to do about it."""
    since = time.strftime("%H:%M:%S on %Y-%m-%d", time.localtime(record.since))
    last = record.log[-1] if record.log else None
    how = "stole" if last is not None and last.what == "stolen" else "took"
    why = f" ({last.reason})" if last is not None and last.reason else ""
    quiet = f" It has not renewed for {still:.0f} s." if still > record.lease / 2 else ""
    return (
        f"{record.holder} has the baton {name!r}: it {how} it at {since}{why}.{quiet} "
        f"Ask for it with baton.ask('why'); wait with baton.acquire(wait=600), which takes "
        f"{record.lease * MARGIN:.0f} s if that session is gone; or baton.steal('why')"
    )


def _check_name(name: Any) -> str:
    if not isinstance(name, str) or not name:
        raise ConfigurationError(f"name={name!r}: the name of a baton is a string")
    return name


def _said(reason: Any, verb: str) -> str:
    if not isinstance(reason, str) or not reason.strip():
        raise ConfigurationError(f"{verb}({reason!r}): say why, in words; others read it")
    return reason.strip()
