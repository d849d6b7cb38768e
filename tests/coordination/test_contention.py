"""Four processes contend for the baton while holders are killed and stopped, and the server too.

Each contender notes, with the time, the token by which it believes to hold the baton. If two had
ever held it at a time, some note would be of a lesser token than an earlier one.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kv_dict import open_mapping
from kv_dict.coordination import Baton, Presence
from kv_dict.testing.servers import RedisServer

LEASE = 0.6
CONTENDERS, ROUNDS = 4, 4

CONTENDER = """
import os, random, sys, time
from kv_dict import NotHolder, OutcomeUnknown, Unavailable, ConflictError, open_mapping
from kv_dict.coordination import Baton, elapsed

url, lease, notes = sys.argv[1:]
away = (NotHolder, Unavailable, OutcomeUnknown, ConflictError)
file = os.open(notes, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
with open_mapping(url, entry_point="race") as md, Baton(md, lease=float(lease)) as baton:
    while True:
        try:
            baton.acquire(wait=1)
        except away:
            continue
        end = elapsed() + random.uniform(0, 3 * float(lease))
        while elapsed() < end:
            token, now = baton.token, elapsed()
            if token is None or not baton.held:
                break
            os.write(file, f"{now!r} {token} {os.getpid()}\\n".encode())
            time.sleep(0.001)
        try:
            baton.release()
        except away:
            pass
"""

HOLDER = """
import sys
from kv_dict import NotHolder, open_mapping
from kv_dict.coordination import Baton

with open_mapping(sys.argv[1], entry_point="race") as md:
    with Baton(md, lease=float(sys.argv[2]), program="holder") as baton:
        print(baton.acquire(), flush=True)
        for line in sys.stdin:
            try:
                print("may act with", baton.check(), flush=True)
            except NotHolder as error:
                print(error, flush=True)
"""

VISITOR = """
import sys
from kv_dict import open_mapping
from kv_dict.coordination import Presence

with open_mapping(sys.argv[1], entry_point="race") as md, Presence(md, every=0.1):
    print("here", flush=True)
    sys.stdin.read()
"""


class Notes:
    """What the contenders believed, in order of time."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "notes"
        self.path.touch()

    def read(self) -> list[tuple[float, int, int]]:
        lines = self.path.read_text().splitlines(keepends=True)
        words = [line.split() for line in lines if line.endswith("\n")]
        return sorted((float(now), int(token), int(pid)) for now, token, pid in words)

    def last(self) -> tuple[int, int]:
        """Return the greatest token, and who had it."""
        notes = self.read()
        return max((token, pid) for _, token, pid in notes) if notes else (0, 0)

    def check(self) -> None:
        notes = self.read()
        holders: dict[int, int] = {}
        for (_, earlier, _), (now, token, pid) in itertools.pairwise(notes):
            assert token >= earlier, f"at {now} {pid} held by {token} what was held by {earlier}"
            assert holders.setdefault(token, pid) == pid


def contend(
    url: str, notes: Notes, start: Callable[..., Any], eventually: Any, server: Any = None
) -> None:
    contenders = {}

    def one_more() -> None:
        program = start(CONTENDER, url, str(LEASE), str(notes.path))
        contenders[program.pid] = program

    def goes_on_after(token: int) -> None:
        eventually(lambda: notes.last()[0] > token)

    for _ in range(CONTENDERS):
        one_more()
    goes_on_after(3)
    for n in range(ROUNDS):
        token, pid = notes.last()
        if n % 2:
            contenders.pop(pid).kill()
            goes_on_after(token)
            one_more()
        else:
            contenders[pid].freeze()
            if not url.startswith("sqlite"):  # there it may have been stopped with the file locked
                goes_on_after(token)
            else:
                time.sleep(2 * LEASE)
            contenders[pid].thaw()
            goes_on_after(notes.last()[0])
        if server is not None and n % 3 == 1:
            server.kill()
            server.start()
            goes_on_after(notes.last()[0])
    for program in contenders.values():
        program.kill()
    notes.check()


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_four_processes(url: str, tmp_path: Path, start: Any, eventually: Any) -> None:
    notes = Notes(tmp_path)
    contend(url, notes, start, eventually)
    with open_mapping(url, entry_point="race") as md, Baton(md) as baton:
        assert baton.read().token >= notes.last()[0]
        what = [line.what for line in baton.log]
        assert {"acquired", "expired", "released"} >= set(what)
        assert "expired" in what


def test_four_processes_and_a_server_that_is_killed(
    tmp_path: Path, start: Any, eventually: Any
) -> None:
    with RedisServer(tmp_path / "server") as server:
        contend(server.url, Notes(tmp_path), start, eventually, server)


@pytest.mark.parametrize("url", ["redis", "postgres"], indirect=True)
def test_one_that_was_stopped_learns_before_it_acts(url: str, start: Any, eventually: Any) -> None:
    holder = start(HOLDER, url, str(LEASE))
    assert holder.hear() == "1"
    assert holder.ask("may I?") == "may act with 1"
    with open_mapping(url, entry_point="race") as md, Baton(md, program="taker") as baton:
        holder.freeze()
        assert baton.acquire(wait=30) == 2
        assert [line.what for line in baton.log] == ["acquired", "expired"]
        holder.thaw()
        said = holder.ask("may I?")
        assert "(taker, process " in said
        assert "has the baton 'baton'" in said
        baton.release()
        said = holder.ask("may I?")
        assert said.startswith("nobody holds the baton 'baton' (this session lost it: ")
        assert "token 2  taken over, not renewed, by " in said
        assert said.endswith("): acquire() it first")


@pytest.mark.parametrize("url", ["sqlite", "nats"], indirect=True)
def test_a_killed_session_disappears(url: str, start: Any, eventually: Any) -> None:
    with (
        open_mapping(url, entry_point="race") as md,
        Presence(md, every=0.1, program="me") as presence,
        Presence(md, every=0.1, announce=False) as display,
    ):
        first, second = start(VISITOR, url), start(VISITOR, url)
        first.hear()

        def there() -> list[tuple[str, int]]:
            shown = [(one.session.program, one.session.pid) for one in presence.sessions()]
            assert all(one.alive for one in presence.sessions())
            return sorted(shown)

        eventually(lambda: len(there()) == 3)
        assert {pid for name, pid in there() if name == "python"} == {first.pid, second.pid}
        first.kill()
        eventually(lambda: first.pid not in [pid for _, pid in there()])
        assert second.pid in [pid for _, pid in there()]
        eventually(lambda: len(display.sessions()) == 2)
        if not url.startswith("sqlite"):  # there it may be stopped with the file locked
            second.freeze()  # it looks gone, and is swept
            eventually(lambda: [name for name, _ in there()] == ["me"])
            second.thaw()
            eventually(lambda: len(there()) == 2)
