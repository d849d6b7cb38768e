"""The thread that renews a baton while it is held."""

from __future__ import annotations

import logging
import threading
from typing import Final

from kv_dict.coordination.lease import Lease
from kv_dict.coordination.record import BatonRecord, Request
from kv_dict.errors import ClosedError, KVDictError, NotHolder

__all__ = ["Keeper"]

_log = logging.getLogger("kv_dict")

_RETRY: Final = 1.0
"""Seconds, at most, until a renewal that failed is tried again."""


class Keeper(threading.Thread):
    """Renews while it is held, and tells when it is lost or asked for."""

    def __init__(self, name: str, lease: Lease, seconds: float) -> None:
        super().__init__(name="kv_dict baton", daemon=True)
        self.stop = threading.Event()
        self._baton, self._lease, self._seconds = name, lease, seconds
        self._requests: tuple[Request, ...] = ()

    def run(self) -> None:  # noqa: D102 - the thread
        pause = self._seconds / 3
        while not self.stop.wait(pause):
            try:
                record = self._lease.renew()
            except (NotHolder, ClosedError):
                self._tell_loss()
                return
            except KVDictError as error:  # tried until it is certain to be lost, and after that
                if pause == self._seconds / 3:
                    _log.warning("baton %r: cannot be renewed: %s", self._baton, error)
                pause = min(self._seconds / 10, _RETRY)
            else:
                pause = self._seconds / 3
                self._tell_requests(record)

    def _tell_loss(self) -> None:
        if self._lease.lost is not None and not self.stop.is_set():
            how = self._lease.loss or "its trace is gone"
            _log.warning("baton %r: lost by this session: %s", self._baton, how)

    def _tell_requests(self, record: BatonRecord) -> None:
        for request in record.requests:
            if request not in self._requests:
                _log.warning(
                    "baton %r: %s asks for it: %s", self._baton, request.by, request.reason
                )
        self._requests = record.requests
