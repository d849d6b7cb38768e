"""Servers and writers are killed while others write: no acknowledged write is lost, none is torn.

``pytest -m soak -s -n 0`` does the same for longer: KV_DICT_SOAK_SECONDS on each server.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kv_dict import RemoteKVMapping
from kv_dict.backends import open_backend
from kv_dict.testing.servers import ServerProcess

HERE = Path(__file__).parent
WRITERS = 4
KILLS = 10
EACH = 500
DEADLINE = 40.0
SOAK_SECONDS = float(os.environ.get("KV_DICT_SOAK_SECONDS", "60"))


class Writer:
    """One process of writer.py, and what it reported."""

    def __init__(self, url: str, me: str, heard: threading.Condition) -> None:
        self.me = me
        self.outcomes: dict[str, dict[int, str]] = defaultdict(dict)
        self.tally: Counter[str] = Counter()
        self.killed = False
        self._heard = heard
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "writer.py"), url, me],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._listener = threading.Thread(target=self._listen)
        self._listener.start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.endswith("\n"):
                what, n, outcome = line.split()
                with self._heard:
                    self.outcomes[what][int(n)] = outcome
                    self.tally[outcome] += 1
                    self._heard.notify_all()
        self.process.wait()
        with self._heard:
            self._heard.notify_all()

    @property
    def failures(self) -> int:
        return self.tally["denied"] + self.tally["unknown"]

    def kill(self) -> None:
        self.killed = True
        self.process.kill()
        self._end()

    def stop(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self._end()
        assert self.process.returncode == 0

    def _end(self) -> None:
        self._listener.join(DEADLINE)
        assert not self._listener.is_alive(), f"writer {self.me} did not end"
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()


class Crowd:
    """Writers of one store, those that are gone included."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.heard = threading.Condition()
        self.writers: list[Writer] = []
        self.gone: list[Writer] = []
        with RemoteKVMapping(open_backend(url), "ep1", timeout=15) as md:
            md.update(held={}, nested={}, top=0)

    def grow(self) -> None:
        """Have as many writers as there should be."""
        while len(self.writers) < WRITERS:
            number = len(self.writers) + len(self.gone)
            self.writers.append(Writer(self.url, f"w{number}", self.heard))

    def wait_for(self, what: str, count: Callable[[Writer], int], more: int) -> None:
        """Wait until each writer's count has grown."""
        with self.heard:
            before = [count(writer) for writer in self.writers]

            def grown() -> bool:
                assert all(w.process.poll() is None for w in self.writers), "a writer ended"
                now = map(count, self.writers)
                return all(n - then >= more for n, then in zip(now, before, strict=True))

            assert self.heard.wait_for(grown, DEADLINE), f"{what}: {self.tallies()}"

    def acknowledged(self, more: int) -> None:
        self.wait_for("acknowledged", lambda writer: writer.tally["acknowledged"], more)

    def failed(self) -> None:
        self.wait_for("noticed", lambda writer: writer.failures, 1)

    def kill(self, some: int = WRITERS) -> None:
        gone, self.writers = self.writers[:some], self.writers[some:]
        self.gone += gone
        for writer in gone:  # all at once, and only then wait
            writer.process.kill()
        for writer in gone:
            writer.kill()

    def stop(self) -> None:
        for writer in self.writers:
            writer.stop()
        self.gone += self.writers
        self.writers = []

    def tallies(self) -> list[dict[str, int]]:
        return [dict(writer.tally) for writer in self.writers]


@pytest.fixture
def crowd(server: ServerProcess) -> Iterator[Crowd]:
    crowd = Crowd(server.store_url())
    yield crowd
    crowd.kill()


def account(crowd: Crowd) -> Counter[str]:
    """Compare what was reported with what is stored; return what was counted."""
    count: Counter[str] = Counter()
    with RemoteKVMapping(open_backend(crowd.url), "ep1", timeout=15) as md:
        stored = dict(md)
    pairs: dict[str, dict[int, list[Any]]] = defaultdict(lambda: defaultdict(list))
    for key, value in stored.items():
        if key.endswith(("-a", "-b")):
            me, n, _ = key.split("-")
            assert value == int(n)
            pairs[me][int(n)].append(key)
    for writer in crowd.gone:
        count.update(writer.tally)
        count += of_pairs(writer, pairs.pop(writer.me, {}))
        count += of_increments(
            writer.outcomes["nested"], stored["nested"].get(writer.me, 0), writer.killed
        )
        count += of_assignments(
            writer.outcomes["held"], stored["held"].get(writer.me, 0), writer.killed
        )
    assert not pairs, "pairs that nobody wrote"
    everybody = dict(enumerate(o for w in crowd.gone for o in w.outcomes["top"].values()))
    count += of_increments(everybody, stored["top"], sum(w.killed for w in crowd.gone))
    return count


def of_pairs(writer: Writer, found: dict[int, list[str]]) -> Counter[str]:
    reported = writer.outcomes["pair"]
    unreported = {max(reported, default=0) + 1} if writer.killed else set()
    assert found.keys() <= reported.keys() | unreported, "a pair that was not written yet"
    return Counter(
        lost=sum(o == "acknowledged" and n not in found for n, o in reported.items()),
        undead=sum(o == "denied" and n in found for n, o in reported.items()),
        torn=sum(len(keys) != 2 for keys in found.values()),
    )


def of_increments(reported: dict[int, str], found: int, unreported: int) -> Counter[str]:
    outcomes = Counter(reported.values())
    least = outcomes["acknowledged"]
    most = least + outcomes["unknown"] + unreported
    return Counter(lost_increments=max(0, least - found), undead=max(0, found - most))


def of_assignments(reported: dict[int, str], found: int, unreported: int) -> Counter[str]:
    last = max((n for n, o in reported.items() if o == "acknowledged"), default=0)
    denied = reported.get(found) == "denied"
    ahead = found > max(reported, default=0) + unreported
    return Counter(lost=found < last, undead=denied or ahead)


def check(crowd: Crowd, server: ServerProcess, **more: int) -> None:
    """Print the account as a table, and check that it has no losses."""
    count = account(crowd)
    row = {
        "server": type(server).__name__,
        **more,
        **{
            name: count[name]
            for name in (
                "acknowledged", "unknown", "denied", "lost", "lost_increments", "torn", "undead"
            )
        },
    }  # fmt: skip
    for line in row.keys(), row.values():
        say(" ".join(f"{cell:>15}" for cell in line))
    assert count["acknowledged"]
    assert {row[name] for name in ("lost", "lost_increments", "torn", "undead")} == {0}, row


def say(line: str) -> None:
    sys.stdout.write(f"\n{line}")


def test_kill_9_of_the_server(server: ServerProcess, crowd: Crowd) -> None:
    crowd.grow()
    for _ in range(KILLS):
        crowd.acknowledged(more=5)
        server.kill()
        crowd.failed()
        server.start()
    crowd.acknowledged(more=5)
    crowd.stop()
    check(crowd, server, server_kills=KILLS)


def test_kill_9_of_the_writers(server: ServerProcess, crowd: Crowd) -> None:
    kills = 3
    with RemoteKVMapping(open_backend(crowd.url), "ep1", timeout=15) as md:
        for round_ in range(kills):
            crowd.grow()
            crowd.acknowledged(more=5)
            crowd.kill()
            # Nothing that they held keeps others from writing.
            md.timeout = 5
            md.update({f"x{round_}": 1, "held": {**md["held"], "x": 1}})
            md["nested"]["x"] = round_
    check(crowd, server, writer_kills=kills * WRITERS)


def test_increments_of_many_processes(server: ServerProcess) -> None:
    url = server.store_url()
    with RemoteKVMapping(open_backend(url), "ep1", timeout=15) as md:
        md["counters"] = {"n": 0}
        running = [
            subprocess.Popen(
                [sys.executable, str(HERE / "incrementer.py"), url, str(EACH)],
                stderr=subprocess.PIPE,
                text=True,
            )
            for _ in range(WRITERS)
        ]
        for process in running:
            _, errors = process.communicate(timeout=100)
            assert process.returncode == 0, errors
        total = WRITERS * EACH
        assert dict(md) == {"counters": {"n": total}, "top": total}


@pytest.mark.soak
@pytest.mark.timeout(SOAK_SECONDS * 2 + 120)
def test_soak(server: ServerProcess, crowd: Crowd) -> None:
    seed = random.randrange(10**6)
    say(f"seed {seed}")
    chance = random.Random(seed)
    kills = Counter[str]()
    deadline = time.monotonic() + SOAK_SECONDS
    while time.monotonic() < deadline:
        crowd.grow()
        crowd.acknowledged(more=chance.randrange(1, 60))
        if chance.random() < 0.3:
            some = chance.randrange(1, WRITERS + 1)
            crowd.kill(some)
            kills["writer_kills"] += some
        else:
            server.kill()
            if crowd.writers and chance.random() < 0.7:
                crowd.failed()
            server.start()
            kills["server_kills"] += 1
    crowd.acknowledged(more=5)
    crowd.stop()
    check(crowd, server, **kills)
