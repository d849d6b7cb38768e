"""`RunStatus`: a RunEngine shows what it does, beside the metadata."""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
import uuid
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, Final

from kv_dict.closing import Closing
from kv_dict.coordination import Pulse, Session
from kv_dict.coordination.beside import open_beside
from kv_dict.coordination.pulse import check_seconds
from kv_dict.errors import ClosedError, ConfigurationError, DecodeError, KVDictError
from kv_dict.integrations.bluesky.plans import discard, name_of
from kv_dict.integrations.bluesky.progress import Progress
from kv_dict.integrations.bluesky.status import ENDED, ITEM, MISSED, Status
from kv_dict.keys import check_key
from kv_dict.mapping import LayeredMapping, RemoteKVMapping

if TYPE_CHECKING:  # readers of a status, in this package too, need no bluesky
    from bluesky import RunEngine

__all__ = ["RunStatus", "metadata_of"]

_log = logging.getLogger("kv_dict")

_TIMEOUT: Final = 2.0
"""Seconds for one write, in a thread that nobody waits for."""

_RETRY: Final = 0.5
"""Seconds from a write that failed to the next one."""

_AT_REST: Final = ("idle", ENDED)


class RunStatus(Closing):
    """Shows what a RunEngine does, beside its metadata: ``status = RunStatus(RE)``.

    It listens to the RunEngine's documents, states and plans, which costs each some microseconds,
    and writes what they come to in a thread of its own: the latest state, at most once in `every`
    seconds, and the last one always. Whether the store is there or not, and whatever fails in here,
    no run waits for it or fails. Readers use `read_status`, or watch ``<entry point>@status``.

    Parameters
    ----------
    RE : bluesky.RunEngine
        The RunEngine. A `state_hook` that it has goes on being called.
    md : RemoteKVMapping or LayeredMapping, optional
        Beside what to show it; the RunEngine's own metadata if not given.
    name : str
        The item to write, for a second RunEngine that is to be shown beside the first.
    every : float
        Seconds between two writes, at least; 0.1 to 0.25 looks immediate to people.
    renew : float
        Seconds between two writes, at most: readers take a session for dead that has not written
        for three times as long.
    program : str, optional
        What readers are told of this session; the name of its command if not given.

    Examples
    --------
    >>> from bluesky import RunEngine
    >>> from kv_dict.integrations.bluesky import read_status
    >>> RE = RunEngine(md)
    >>> with RunStatus(RE) as status:
    ...     status.flush()
    ...     read_status(md).state
    True
    'idle'

    Notes
    -----
    Where two RunEngines use one item, it shows the one whose plan is under way, and of two plans
    the one that began last. At the end of the program, or by `close`, the state becomes
    ``"ended"``. ``RE.reset()`` unsubscribes it from the documents: make a new one after it.
    """

    def __init__(
        self,
        RE: RunEngine,  # noqa: N803 - what everybody calls it
        md: RemoteKVMapping | LayeredMapping | None = None,
        *,
        name: str = ITEM,
        every: float = 0.2,
        renew: float = 5.0,
        program: str | None = None,
    ) -> None:
        self._RE: Any = RE
        self._name = check_key(name)
        self._every = check_seconds("every", every, 0.01)
        self._renew = check_seconds("renew", renew, self._every)
        self._session = Session.here(program)
        self._uid = uuid.uuid4().hex
        self._progress = Progress(str(RE.state))
        self._items = open_beside(
            metadata_of(RE.md if md is None else md), "status", timeout=_TIMEOUT
        )
        self._other = Pulse()
        self._renewals = 0
        self._begun = False  # a plan, since the last write: then it is this one that is shown
        self._complained = False
        self._closed = False
        self._wake = threading.Event()
        self._wake.set()
        self._end = threading.Event()
        self._written = -1
        self._progressed = threading.Condition()
        self._attach()
        self._thread = threading.Thread(target=self._run, name="kv_dict status", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def flush(self, timeout: float = _TIMEOUT) -> bool:
        """Return when all that happened before the call is written: True; or False, too late."""
        target = self._progress.changes
        with self._progressed:
            return self._progressed.wait_for(lambda: self._written >= target, timeout)

    def close(self) -> None:
        """Leave the RunEngine alone, and show that the session has ended. Idempotent, bounded."""
        if self._closed:
            return
        self._closed = True
        atexit.unregister(self.close)
        self._detach()
        if os.getpid() == self._session.pid:  # a forked child has not got the thread
            self._progress.state(ENDED)
            self._end.set()
            self._wake.set()
            self._thread.join(2 * _TIMEOUT + 1)
        self._items.close()

    # -- what the RunEngine tells, in its threads ------------------------------------------------

    def _attach(self) -> None:
        self._token = self._RE.subscribe(self)
        self._hook_before: Callable[[Any, Any], object] | None = self._RE.state_hook
        self._RE.state_hook = self._hook
        self._RE.preprocessors.insert(0, self._watch)  # the plan itself, before others wrap it

    def _detach(self) -> None:
        self._RE.unsubscribe(self._token)
        if self._RE.state_hook == self._hook:  # else another one was chained behind it
            self._RE.state_hook = self._hook_before
        if self._watch in self._RE.preprocessors:
            self._RE.preprocessors.remove(self._watch)

    def __call__(self, name: str, doc: dict[str, Any]) -> None:
        """Note a document; the RunEngine calls it."""
        self._note(self._progress.document, name, doc)

    def _hook(self, new: Any, old: Any) -> None:
        self._note(self._progress.state, str(new))
        if self._hook_before is not None:
            self._hook_before(new, old)

    def _watch(self, plan: Any) -> Any:
        return plan if self._closed else _Watched(plan, self._plan_began, self._plan_ended)

    def _plan_began(self, name: str) -> None:
        self._begun = True
        self._note(self._progress.plan_began, name)

    def _plan_ended(self, error: BaseException | None) -> None:
        self._note(self._progress.plan_ended, *_verdict(error))

    def _note(self, function: Callable[..., None], *arguments: Any) -> None:
        if self._closed:
            return
        try:
            function(*arguments)
            if not self._wake.is_set():
                self._wake.set()
        except Exception:  # noqa: BLE001 - a document of a kind never seen must not end a run
            if not self._complained:
                self._complained = True
                _log.warning("status: cannot follow the RunEngine in this", exc_info=True)

    # -- the thread that writes --------------------------------------------------------------------

    def _run(self) -> None:
        away = False
        while True:
            self._wake.wait(self._renew)
            self._wake.clear()
            ending = self._end.is_set()
            changes = self._progress.changes
            try:
                self._write()
            except ClosedError:
                return
            except KVDictError as error:
                if not away:
                    _log.warning("status: runs are not shown for now: %s", error)
                away = True
                self._wake.set()
            else:
                away = False
                with self._progressed:
                    self._written = changes
                    self._progressed.notify_all()
            if ending:
                return
            self._end.wait(max(self._every, _RETRY) if away else self._every)

    def _write(self) -> None:
        begun, self._begun = self._begun, False
        status = self._status()

        def put(item: Any) -> Any:
            if not self._gives_way(item, status, begun):
                raise _Occupied
            return status.as_item()

        try:
            self._items.transform(self._name, put, None)
        except _Occupied:
            return
        except BaseException:
            self._begun = begun or self._begun
            raise

    def _status(self) -> Status:
        self._renewals += 1
        known = self._progress.fields()
        at_rest = known["state"] in _AT_REST
        return Status(
            **known,
            suspended=not at_rest and any(one.tripped for one in self._RE.suspenders),
            host=self._session.host,
            pid=self._session.pid,
            user=self._session.user,
            program=self._session.program,
            session=self._uid,
            updated=time.time(),
            renewals=self._renewals,
            renewed_every=self._renew,
        )

    def _gives_way(self, item: Any, mine: Status, begun: bool) -> bool:
        """Return whether what is shown is this session's, or less worth showing."""
        try:
            shown = Status.from_item(item)
        except DecodeError:
            return True
        if shown.session == self._uid or shown.state == ENDED:
            return True
        still = self._other.see((shown.session, shown.renewals))
        if still > MISSED * shown.renewed_every:
            return True
        if shown.state in _AT_REST:  # a plan that is over already was the last one all the same
            return begun or mine.state not in _AT_REST
        return begun and mine.state not in _AT_REST


class _Occupied(Exception):
    """Raised to write nothing: another session's RunEngine is shown."""


class _Watched(Generator[Any, Any, Any]):
    """A plan that tells when it begins and how it ends, and else is as it was.

    Not a generator with ``yield from``, which treats the exceptions of a halt in another way than
    the plan by itself.
    """

    def __init__(
        self,
        plan: Any,
        began: Callable[[str], None],
        ended: Callable[[BaseException | None], None],
    ) -> None:
        self._plan = plan
        self.__name__ = name_of(plan)  # for those who are handed this plan next
        self._began = began
        self._ended = ended
        self._open: bool | None = None  # not begun yet

    def send(self, value: Any) -> Any:
        if self._open is None:
            self._begin()
        try:
            return self._plan.send(value)
        except BaseException as error:
            self._end(error)
            raise

    def throw(self, kind: Any, value: Any = None, traceback: Any = None) -> Any:
        if self._open is None:
            self._begin()
        try:
            if value is None and traceback is None:
                return self._plan.throw(kind)
            return self._plan.throw(kind, value, traceback)
        except BaseException as error:
            self._end(error)
            raise

    def close(self) -> None:
        if self._open is None:
            discard(self._plan)
            return
        self._plan.close()
        if self._open:
            self._end(GeneratorExit())

    def _begin(self) -> None:
        self._open = True
        self._began(self.__name__)

    def _end(self, error: BaseException) -> None:
        if self._open:
            self._open = False
            self._ended(None if isinstance(error, StopIteration) else error)


def _verdict(error: BaseException | None) -> tuple[str, BaseException | None]:
    """Return the exit status that bluesky gives, and the error if it is worth telling."""
    import asyncio  # noqa: PLC0415 - bluesky has imported them

    from bluesky.utils import FailedPause, RequestAbort, RequestStop  # noqa: PLC0415

    if error is None or isinstance(error, RequestStop):
        return "success", None
    if isinstance(error, GeneratorExit | RequestAbort | asyncio.CancelledError):
        return "abort", None
    if isinstance(error, FailedPause):
        return "abort", error
    return "fail", error


def metadata_of(found: Any) -> RemoteKVMapping | LayeredMapping:
    """Return what a RunEngine has as metadata; ConfigurationError if nobody else can see it."""
    if not isinstance(found, RemoteKVMapping | LayeredMapping):
        raise ConfigurationError(
            f"RE.md is a {type(found).__name__}, which other programs cannot see: "
            "RunEngine(open_mapping()), or RunStatus(RE, open_mapping())"
        )
    return found
