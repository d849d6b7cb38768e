"""Ctrl-C in the middle of operations: it works, and nothing is left in a bad state."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kv_dict import RemoteKVMapping, SQLiteBackend

BUSY = """
import signal, sys
from kv_dict import RemoteKVMapping, SQLiteBackend
md = RemoteKVMapping(SQLiteBackend(sys.argv[1]), "ep1", timeout=30)
md["d"] = {"n": 0}
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})   # but in the block that expects it
print("ready", flush=True)
interrupts = 0
while interrupts < 20:
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        while True:
            md["d"]["n"] = md.increment("n")
            dict(md)
            md.update(a=1, b=2)
    except KeyboardInterrupt:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        interrupts += 1
        print("interrupted", flush=True)
before = md["n"]
assert md.increment("n") == before + 1      # it still works
md["d"]["n"] = 0
print(type(md["d"]).__name__, md["d"], flush=True)
"""

WAITING = """
import asyncio, sys, time
from kv_dict import InMemoryAsyncBackend, RemoteKVMapping

class Slow(InMemoryAsyncBackend):
    synchronous = None
    async def read(self, key, *, timeout): await asyncio.sleep(60)
    async def read_tree(self, key, separator, *, timeout): await asyncio.sleep(60)
    async def commit(self, operations, *, timeout): await asyncio.sleep(60)
    async def close(self): pass

md = RemoteKVMapping(Slow(), "ep1", timeout=60)
for name, work in {"read": lambda: md["a"], "write": lambda: md.update(a=1)}.items():
    print(name, flush=True)
    started = time.monotonic()
    try:
        work()
    except KeyboardInterrupt as interrupt:
        notes = getattr(interrupt, "__notes__", [])
        print(name, "ended", time.monotonic() - started < 30, notes, flush=True)
"""


@pytest.mark.timeout(90)
def test_interrupts_at_any_point_leave_it_usable(tmp_path: Path) -> None:
    path = tmp_path / "md.db"
    busy = subprocess.Popen(
        [sys.executable, "-c", BUSY, str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert busy.stdout is not None
    assert busy.stdout.readline() == "ready\n"
    for n in range(20):
        time.sleep(0.003 * (n % 7))  # anywhere in its work: the point is that it does not matter
        busy.send_signal(signal.SIGINT)
        assert busy.stdout.readline() == "interrupted\n"
    rest, errors = busy.communicate(timeout=30)
    assert busy.returncode == 0, errors
    assert rest == "NestedDict {'n': 0}\n"
    with RemoteKVMapping(SQLiteBackend(path), "ep1") as md:
        assert md.increment("n") > 1


def test_waiting_for_the_loop_thread_can_be_interrupted() -> None:
    waiting = subprocess.Popen(
        [sys.executable, "-c", WAITING],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert waiting.stdout is not None
    for name in ("read", "write"):
        assert waiting.stdout.readline() == f"{name}\n"
        time.sleep(0.2)  # into the wait
        waiting.send_signal(signal.SIGINT)
        told = waiting.stdout.readline()
        assert told.startswith(f"{name} ended True")
        assert ("may or may not have been written" in told) == (name == "write")
    _, errors = waiting.communicate(timeout=30)
    assert waiting.returncode == 0, errors
