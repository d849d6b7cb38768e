"""A process that is killed in mid-write takes nothing with it that was acknowledged."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from pathlib import Path

from kv_dict import RemoteKVMapping, SQLiteBackend

WRITERS, ROUNDS = 4, 5

WRITER = """
import sys
from kv_dict import RemoteKVMapping, SQLiteBackend
path, me, start = sys.argv[1], sys.argv[2], int(sys.argv[3])
md = RemoteKVMapping(SQLiteBackend(path), "ep1", timeout=30)
for n in range(start, 1_000_000):
    md.update({f"a{me}": n, f"b{me}": n})   # two keys in one commit: never one without the other
    md["nested"][me] = n
    sys.stdout.write(f"{n}\\n")
    sys.stdout.flush()                       # acknowledged, and told
"""

HOLDER = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
connection.execute("DELETE FROM entries")
print("held", flush=True)
time.sleep(60)
"""


def test_kill_9_of_all_writers(tmp_path: Path) -> None:
    path = tmp_path / "md.db"
    with RemoteKVMapping(SQLiteBackend(path), "ep1") as md:
        md["nested"] = {}
    told = [0] * WRITERS
    for _ in range(ROUNDS):
        writers = [
            subprocess.Popen(
                [sys.executable, "-c", WRITER, str(path), str(me), str(told[me] + 1)],
                stdout=subprocess.PIPE,
                text=True,
            )
            for me in range(WRITERS)
        ]
        for writer in writers:  # each has written something before any is killed
            assert writer.stdout is not None
            assert writer.stdout.readline()
        for writer in writers:
            writer.kill()
        for me, writer in enumerate(writers):
            assert writer.stdout is not None
            rest = writer.stdout.read()  # not communicate(): it forgets what readline() buffered
            writer.wait(30)
            writer.stdout.close()
            lines = [line for line in rest.splitlines(keepends=True) if line.endswith("\n")]
            told[me] = int(lines[-1]) if lines else told[me] + 1
        with RemoteKVMapping(SQLiteBackend(path), "ep1") as md:
            for me in range(WRITERS):
                assert md[f"a{me}"] == md[f"b{me}"]
                # At most the one write that was under way is there without having been told.
                assert told[me] <= md[f"a{me}"] <= told[me] + 1
                assert told[me] <= md["nested"][str(me)] <= told[me] + 1
                told[me] = md[f"a{me}"]
        connection = sqlite3.connect(path)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        connection.close()


def test_a_killed_writer_does_not_keep_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "md.db"
    with RemoteKVMapping(SQLiteBackend(path), "ep1") as md:
        md["n"] = 0
        holder = subprocess.Popen(
            [
                sys.executable,
                "-c",
                HOLDER,
                str(path),
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        holder.kill()
        holder.communicate()
        started = time.monotonic()
        assert md.increment("n") == 1
        assert time.monotonic() - started < md.timeout
