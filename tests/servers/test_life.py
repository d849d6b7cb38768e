"""What is left in this process, and in the server, of mappings that are gone."""

from __future__ import annotations

import gc
import threading
import time
import warnings
from collections.abc import Callable

from kv_dict import RemoteKVMapping
from kv_dict.backends import open_backend
from kv_dict.testing.proxy import FaultProxy
from kv_dict.testing.servers import ServerProcess

DEADLINE = 20.0


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_forgotten_mapping_is_disconnected(server: ServerProcess, proxy: FaultProxy) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        for reads in ("server", "replica", "replica"):
            md = RemoteKVMapping(open_backend(server.store_url(proxy.port)), "ep1", reads=reads)
            md["a"] = reads
            assert md["a"] == reads
            assert not proxy.idle
            del md
            gc.collect()
        until(lambda: gc.collect() >= 0 and proxy.idle)


def test_many_mappings_leave_no_thread(server: ServerProcess, proxy: FaultProxy) -> None:
    def use(number: int) -> None:
        backend = open_backend(server.store_url(proxy.port))
        with RemoteKVMapping(backend, "ep1", reads="replica") as md:
            md.subscribe(lambda change: None)
            md["a"] = number
            assert md["a"] == number

    for number in range(3):  # the loop's thread, and those where it has work done
        use(number)
    before = set(threading.enumerate())
    for number in range(10):
        use(number)
    assert len(set(threading.enumerate()) - before) <= 3  # that its pool has grown by
    until(lambda: proxy.idle)
