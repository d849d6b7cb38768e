"""`Presence`: which sessions are there."""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
import uuid
from dataclasses import dataclass
from typing import Any, Final

from kv_dict.closing import Closing
from kv_dict.coordination.beside import GOODBYE, open_beside
from kv_dict.coordination.pulse import Pulse, check_seconds, elapsed
from kv_dict.coordination.session import Session
from kv_dict.errors import ClosedError, KVDictError, Unavailable
from kv_dict.mapping import LayeredMapping, RemoteKVMapping

__all__ = ["Presence", "Present"]

_log = logging.getLogger("kv_dict")

LEAST_EVERY: Final = 0.05
"""Seconds."""

MISSED: Final = 3
"""After so many signs of life that did not come, a session is taken for gone."""


@dataclass(frozen=True, slots=True)
class Present:
    """A session that is there.

    Attributes
    ----------
    session : Session
        Who it is.
    since : float
        When it came, in seconds since the epoch, by its own clock.
    last_seen : float
        Seconds since this observer last saw a sign of life, by its own clock.
    alive : bool
        Whether one was seen. False for a session that was there when this observer came, and has
        not given one since: either will show, its next sign or its disappearance.
    """

    session: Session
    since: float
    last_seen: float
    alive: bool

    def __str__(self) -> str:
        state = f"seen {self.last_seen:.0f} s ago" if self.alive else "not seen alive yet"
        return f"{self.session}, {state}"


class Presence(Closing):
    """Announces this session to others that share a mapping's store, and lists them. Thread-safe.

    A thread gives a sign of life every few seconds and looks for those of others; whoever has not
    given one for three times as long is taken off the list. No two computers' clocks are compared.

    Parameters
    ----------
    md : RemoteKVMapping or LayeredMapping
        The metadata that is shared; sessions are kept beside it, in ``<entry point>@presence``.
    every : float
        Seconds between two signs of life.
    announce : bool
        Whether to be seen. A display only looks, and writes nothing.
    program : str, optional
        What others read of this session; the name of its command if not given.

    Examples
    --------
    >>> with Presence(md, program="queue server") as presence:
    ...     [(one.session.program, one.alive) for one in presence.sessions()]
    [('queue server', True)]

    Notes
    -----
    During an outage nothing is written and nothing swept; the sessions are there again after it.
    """

    def __init__(
        self,
        md: RemoteKVMapping | LayeredMapping,
        *,
        every: float = 5.0,
        announce: bool = True,
        program: str | None = None,
    ) -> None:
        self._every = check_seconds("every", every, LEAST_EVERY)
        self.session = Session.here(program)
        self._key = uuid.uuid4().hex
        self._announce = announce
        self._items = open_beside(md, "presence", timeout=max(self._every, 1.0))
        self._since = time.time()
        self._beats = 0
        self._pulses: dict[str, Pulse] = {}
        self._strange: set[str] = set()
        self._looked = False
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="kv_dict presence", daemon=True)
        try:
            self._beat()
            self._look()
        except BaseException:
            self._items.close()
            raise
        self._thread.start()
        atexit.register(self.close)

    def sessions(self) -> list[Present]:
        """Return who is there now, in order of when they came.

        Raises
        ------
        Unavailable
            The store cannot be asked.
        """
        if self._stop.is_set():
            raise ClosedError("this presence was closed; make a new one")
        return self._look()

    def close(self) -> None:
        """Leave: this session is off the list at once. Idempotent."""
        if self._stop.is_set():
            return
        self._stop.set()
        atexit.unregister(self.close)
        self._items.timeout = min(self._items.timeout, GOODBYE)
        if self._thread is not threading.current_thread():
            self._thread.join(GOODBYE)
        try:
            if self._announce and os.getpid() == self.session.pid:  # not of a forked child
                if self._thread.is_alive():  # it may give a last sign of life yet
                    raise Unavailable(f"the store has not answered for {GOODBYE:g} s")
                self._items.pop(self._key, None)
        except KVDictError as error:
            _log.warning("presence: others will see this session for a while yet: %s", error)
        finally:
            self._items.close()

    # -- the thread --------------------------------------------------------------------------------

    def _run(self) -> None:
        away = False
        while not self._stop.wait(self._every):
            try:
                self._beat()
                self._look()
            except ClosedError:
                return
            except KVDictError as error:
                if not away:
                    _log.warning("presence: no sign of life can be given: %s", error)
                away = True
            else:
                away = False

    def _beat(self) -> None:
        if self._announce:
            self._beats += 1
            self._items[self._key] = {
                "session": self.session.as_item(),
                "since": self._since,
                "every": self._every,
                "beats": self._beats,
            }

    def _look(self) -> list[Present]:
        with self._lock:
            items = self._items.copy()
            now = elapsed()
            there = []
            for key, item in items.items():
                try:
                    session, since, every, beats = _parse(item)
                except ValueError:
                    if key not in self._strange:
                        self._strange.add(key)
                        _log.warning("presence: %r holds %.80r, not a session", key, item)
                    continue
                known = key in self._pulses
                pulse = self._pulses.setdefault(key, Pulse())
                still = pulse.see(beats, now)
                alive = pulse.moved or key == self._key
                if self._looked and not known:  # it came while this observer looked
                    pulse.moved = alive = True
                if still <= MISSED * every:
                    there.append(Present(session, since, still, alive))
                elif self._announce:
                    self._sweep(key, session, still)
            self._pulses = {key: pulse for key, pulse in self._pulses.items() if key in items}
            self._looked = True
        return sorted(there, key=lambda one: (one.since, one.session.uid))

    def _sweep(self, key: str, session: Session, still: float) -> None:
        """Remove what a crashed session left; one that was only stopped announces itself again."""
        if self._items.pop(key, None) is not None:
            _log.info("presence: %s is gone: no sign of life for %.1f s", session, still)


def _parse(item: Any) -> tuple[Session, float, float, int]:
    match item:
        case {
            "session": session,
            "since": float() | int() as since,
            "every": float() | int() as every,
            "beats": int(beats),
        }:
            return Session.from_item(session), since, every, beats
    raise ValueError(item)
