"""One connection: commands out, replies in, and pushes whenever they come; each by a deadline."""

from __future__ import annotations

import select
import ssl
import time
from collections.abc import Callable
from typing import Any, Final

from kv_dict.backends.redis.resp import NOTHING, Push, Reader, pack
from kv_dict.backends.redis.routes import Route

__all__ = ["Link", "Lost"]

_READ_SIZE: Final = 1 << 16
_WAIT: Final = (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Lost(Exception):
    """The connection is of no more use: broken, or silent beyond the deadline.

    Attributes
    ----------
    late : bool
        There was no answer in time: asking again at once would take as long.
    """

    def __init__(self, reason: str, *, late: bool = False) -> None:
        super().__init__(reason)
        self.late = late


class Link:
    """A connection to the server, not blocking. Used by one thread at a time.

    redis-py opens it (addresses, TLS, login, database); the framing is done here, where what was
    sent, what was not and how long it may take are known exactly.

    Parameters
    ----------
    route : Route
        Where to; connected at once.
    timeout : float
        Seconds that may take.
    told : callable
        Called with each push, in their order among the replies.
    """

    def __init__(self, route: Route, timeout: float, told: Callable[[Push], None]) -> None:
        self._connection = route.connect(timeout)
        self._socket = self._connection._sock  # no public name gives it away
        self._socket.setblocking(False)
        self._tls = isinstance(self._socket, ssl.SSLSocket)
        self._reader = Reader()
        self._told = told
        self._readable = select.poll()
        self._readable.register(self._socket, select.POLLIN)

    def fileno(self) -> int:
        """Return the descriptor that becomes readable when something came."""
        return int(self._socket.fileno())

    def call(self, deadline: float, *parts: bytes) -> Any:
        """Send one command and return its reply."""
        self.send(pack(*parts), deadline)
        return self.receive(deadline)

    def send(self, data: bytes, deadline: float) -> None:
        """Send all of `data`; after `Lost` it was not sent completely, and will not be."""
        view: bytes | memoryview = data
        while True:
            try:
                sent = self._socket.send(view)
            except _WAIT as wait:
                self._wait_to_send(isinstance(wait, ssl.SSLWantReadError), deadline)
                continue
            except OSError as error:
                raise Lost(str(error)) from error
            if sent == len(view):
                return
            view = memoryview(view)[sent:]

    def receive(self, deadline: float) -> Any:
        """Return the next reply."""
        while True:
            reply = self._reader.next()
            if type(reply) is Push:
                self._told(reply)
            elif reply is NOTHING:
                self._fill(deadline)
            else:
                return reply

    def collect(self) -> None:
        """Take in what came without being asked for; `Lost` if that is the end of the connection.

        Never waits.
        """
        self.expect_nothing(self.take())

    @staticmethod
    def expect_nothing(reply: Any) -> None:
        """Raise `Lost` if there is an answer to no question."""
        if reply is not NOTHING:
            raise Lost(f"an answer to no question: {reply!r:.80}")

    def take(self) -> Any:
        """Return the next reply if it came already, or else NOTHING. Never waits."""
        while True:
            while type(reply := self._reader.next()) is Push:
                self._told(reply)
            if reply is not NOTHING:
                return reply
            if not self._pending() and not self._readable.poll(0):
                return NOTHING
            if not self._receive_some():
                return NOTHING

    def close(self) -> None:
        """Disconnect; a thread that waits in it finds it `Lost`."""
        self._connection.disconnect()

    def abandon(self) -> None:
        """Close a forked child's copy, which leaves the parent's as it is."""
        self._socket.close()

    # -- bytes -----------------------------------------------------------------------------------

    def _pending(self) -> bool:
        return self._tls and self._socket.pending() > 0

    def _fill(self, deadline: float) -> None:
        while True:
            if not self._pending():
                left = deadline - time.monotonic()
                if left <= 0 or not self._readable.poll(left * 1000 + 1):
                    raise Lost("no answer in time", late=True)
            if self._receive_some():
                return

    def _receive_some(self) -> bool:
        try:
            data = self._socket.recv(_READ_SIZE)
        except _WAIT:
            return False
        except OSError as error:
            raise Lost(str(error)) from error
        if not data:
            raise Lost("the server closed the connection")
        self._reader.feed(data)
        return True

    def _wait_to_send(self, reading: bool, deadline: float) -> None:
        writable = select.poll()
        # What the server pushes meanwhile is taken in, or both would wait for the other to read.
        writable.register(
            self._socket, select.POLLIN if reading else select.POLLIN | select.POLLOUT
        )
        left = deadline - time.monotonic()
        ready = writable.poll(left * 1000 + 1) if left > 0 else []
        if not ready:
            raise Lost("the server did not take the request in time", late=True)
        if ready[0][1] & select.POLLIN:
            self._receive_some()
