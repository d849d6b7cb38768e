"""From a thread to an event loop: how a mapping calls a backend that is only asynchronous.

One private daemon thread a process runs the loop of every such backend. It is never bluesky's loop
nor the caller's. A forked child starts its own when it first needs one.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from kv_dict.backend import Backend, SynchronousFace
from kv_dict.errors import LoopThreadError, OutcomeUnknown, Unavailable
from kv_dict.locks import Turn
from kv_dict.model import Entry, Operation, Revision, Snapshot

if TYPE_CHECKING:
    import asyncio

__all__ = ["Job", "PortalFace", "face_of", "is_ending", "sleep", "spawn"]

_Result = TypeVar("_Result")

GRACE: Final = 1.0
"""Seconds that a backend may overrun its own deadline, or a cancelled call take to end."""

CLOSE_TIMEOUT: Final = 5.0


def face_of(backend: Backend) -> SynchronousFace:
    """Return the backend's native synchronous face, or one through the loop thread."""
    return backend.synchronous or PortalFace(backend)


def spawn(make: Callable[[], Coroutine[Any, Any, None]], name: str) -> Job:
    """Run a coroutine in the loop thread until it ends or is cancelled; it handles its errors."""
    return _portal().spawn(make, name)


def is_ending() -> bool:
    """Return whether the process ends: worker threads are refused then, while the loop goes on."""
    return not threading.main_thread().is_alive()


async def sleep(seconds: float) -> None:
    """Let the loop do other things for so long."""
    import asyncio  # noqa: PLC0415 - takes longer to import than all of kv_dict

    await asyncio.sleep(seconds)


class Job:
    """A coroutine that runs in the loop thread. Thread-safe."""

    def __init__(
        self, portal: _Portal, make: Callable[[], Coroutine[Any, Any, None]], name: str
    ) -> None:
        self._portal = portal
        self._call = _Call(make, portal.loop, name)
        portal.loop.call_soon_threadsafe(self._call.start)

    def cancel(self, *, wait: bool = True) -> None:
        """Cancel it, and wait for its end, but not for long, and not in the loop thread."""
        self._portal.loop.call_soon_threadsafe(self._call.cancel)
        if wait and not self._portal.is_here() and not sys.is_finalizing():
            self._call.ended.acquire(timeout=CLOSE_TIMEOUT)


class _Portal:
    """The loop and its thread."""

    def __init__(self) -> None:
        import asyncio  # noqa: PLC0415 - most backends need no loop

        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="kv_dict loop", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        self.loop.run_forever()

    def is_here(self) -> bool:
        """Return whether this is called in the loop thread."""
        return threading.get_ident() == self._thread.ident

    def spawn(self, make: Callable[[], Coroutine[Any, Any, None]], name: str) -> Job:
        return Job(self, make, name)

    def call(
        self, make: Callable[[], Coroutine[Any, Any, _Result]], timeout: float, writing: str | None
    ) -> _Result:
        """Run the coroutine that `make` returns in the loop, and return what it returns.

        Parameters
        ----------
        make : callable
            Called in the loop thread.
        timeout : float
            Seconds after which the coroutine should have ended by itself.
        writing : str or None
            What is written, if anything: then an overrun means OutcomeUnknown.
        """
        if self.is_here():
            raise LoopThreadError(
                "a mapping was used from the event loop that serves it, which would wait for "
                "itself for ever; use it from another thread (asyncio.to_thread), or await the "
                "backend's own methods"
            )
        if sys.is_finalizing():
            raise Unavailable(
                "the interpreter is ending, and its other threads run no more: use a mapping "
                "before, at the latest in a function registered with atexit"
            )
        call = _Call(make, self.loop)
        self.loop.call_soon_threadsafe(call.start)
        try:
            ended = call.ended.acquire(timeout=timeout + GRACE)
        except BaseException as interrupt:  # Ctrl-C
            self.loop.call_soon_threadsafe(call.cancel)
            call.ended.acquire(timeout=GRACE)
            if writing and not call.refused:
                interrupt.add_note(f"{writing} may or may not have been written")
            raise
        if ended:
            return call.outcome()
        self.loop.call_soon_threadsafe(call.cancel)
        late = f"no answer within {timeout:g} s"
        if writing:
            raise OutcomeUnknown(f"{late}; {writing} may or may not have been written")
        raise Unavailable(late)


class _Call(Generic[_Result]):
    """One coroutine on its way through the loop. `ended` is released when its outcome is there."""

    def __init__(
        self,
        make: Callable[[], Coroutine[Any, Any, _Result]],
        loop: asyncio.AbstractEventLoop,
        name: str | None = None,
    ) -> None:
        self._make = make
        self._loop = loop
        self._name = name
        self._task: asyncio.Task[None] | None = None
        self._begun = False
        self._result: _Result
        self._error: BaseException | None = None
        self.ended = threading.Lock()
        self.ended.acquire()

    def start(self) -> None:
        self._task = self._loop.create_task(self._run(), name=self._name)

    def cancel(self) -> None:
        if self._task is not None and self._task.cancel() and not self._begun:
            self._error = Unavailable("cancelled before it began")
            self.ended.release()  # `_run` will not

    async def _run(self) -> None:
        self._begun = True
        try:
            self._result = await self._make()
        except BaseException as error:  # noqa: BLE001 - raised again where it was waited for
            self._error = error
        finally:
            self.ended.release()

    @property
    def refused(self) -> bool:
        """Whether it ended with an error that says that nothing was written."""
        return isinstance(self._error, Exception) and not isinstance(self._error, OutcomeUnknown)

    def outcome(self) -> _Result:
        if self._error is not None:
            try:
                raise self._error
            finally:
                self._error = None  # the traceback refers to this frame: do not keep the cycle
        return self._result


class PortalFace(SynchronousFace):
    """The synchronous face of an asynchronous backend."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def read(self, key: str, *, timeout: float) -> Entry | None:
        return _portal().call(lambda: self._backend.read(key, timeout=timeout), timeout, None)

    def read_tree(self, key: str, separator: str, *, timeout: float) -> Snapshot:
        return _portal().call(
            lambda: self._backend.read_tree(key, separator, timeout=timeout), timeout, None
        )

    def snapshot(self, prefix: str, *, timeout: float) -> Snapshot:
        return _portal().call(
            lambda: self._backend.snapshot(prefix, timeout=timeout), timeout, None
        )

    def commit(
        self, operations: Sequence[Operation], *, timeout: float
    ) -> tuple[Revision | None, ...]:
        return _portal().call(
            lambda: self._backend.commit(operations, timeout=timeout),
            timeout,
            f"{len(operations)} operation(s) on {self._backend.url}",
        )

    def history(self, key: str, *, timeout: float) -> tuple[Entry, ...]:
        return _portal().call(lambda: self._backend.history(key, timeout=timeout), timeout, None)

    def ping(self, *, timeout: float) -> None:
        _portal().call(lambda: self._backend.ping(timeout=timeout), timeout, None)

    def close(self) -> None:
        if not sys.is_finalizing():  # then connections end with the process
            _portal().call(self._backend.close, CLOSE_TIMEOUT, None)


_making: Final = Turn()
_current: _Portal | None = None


def _portal() -> _Portal:
    return _current or _making.take(_make, CLOSE_TIMEOUT, _not_made)


def _make(_: float) -> _Portal:
    global _current  # noqa: PLW0603 - one a process, made when first needed
    if _current is None:
        _current = _Portal()
    return _current


def _not_made() -> Unavailable:
    return Unavailable(f"no event loop could be started within {CLOSE_TIMEOUT:g} s")


def _after_fork_in_child() -> None:
    global _current  # noqa: PLW0603 - the parent's thread does not exist here
    _current = None


os.register_at_fork(after_in_child=_after_fork_in_child)
