"""What is left in this process, and in the server, of mappings that are gone."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import warnings

import pytest

from kv_dict import RemoteKVMapping
from kv_dict.backends import open_backend
from kv_dict.testing.proxy import FaultProxy
from kv_dict.testing.servers import ServerProcess
from kv_dict.testing.waiting import until

DEADLINE = 20.0


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
        until(lambda: gc.collect() >= 0 and proxy.idle, DEADLINE)


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
    until(lambda: proxy.idle, DEADLINE)


CLOSES_LATE = """
import sys
from kv_dict import RemoteKVMapping, portal
from kv_dict.backends import open_backend

portal.CLOSE_TIMEOUT = 1000.0

class Instrument:
    def __init__(self, url, reads):
        self.md = RemoteKVMapping(open_backend(url), "ep1", reads=reads)
        self.md["a"] = 1

    def __del__(self):
        self.md.close()
        print("closed")

instrument = Instrument(*sys.argv[1:])
"""


@pytest.mark.parametrize("reads", ["server", "replica"])
def test_closing_while_the_interpreter_ends(server: ServerProcess, reads: str) -> None:
    """The threads that would end what is to be closed have stopped: nobody waits for them."""
    ended = subprocess.run(
        [sys.executable, "-c", CLOSES_LATE, server.store_url(), reads],
        capture_output=True,
        text=True,
        timeout=DEADLINE * 2,
        check=True,
    )
    assert (ended.stdout, ended.stderr) == ("closed\n", "")
