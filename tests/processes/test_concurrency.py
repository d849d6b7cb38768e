"""Several processes change one store at the same time, and lose nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from kv_dict import RemoteKVMapping, SQLiteBackend

PROCESSES, EACH = 4, 500

PRELUDE = """
import sys
from kv_dict import RemoteKVMapping, SQLiteBackend
path, me, each = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
md = RemoteKVMapping(SQLiteBackend(path), "ep1", timeout=60)
"""

INCREMENTS = {
    "transform": (
        "for _ in range(each): "
        "md.transform('counters', lambda c: {**c, 'n': c.get('n', 0) + 1}, default={})"
    ),
    "nested increment": "for _ in range(each): md['counters'].increment('n')",
    "nested transform": "for _ in range(each): md['counters'].transform('n', lambda n: n + 1)",
}


def run_everywhere(path: Path, work: str, each: int = EACH) -> None:
    """Run `work` in `PROCESSES` processes at once."""
    running = [
        subprocess.Popen(
            [sys.executable, "-c", PRELUDE + work, str(path), str(me), str(each)],
            stderr=subprocess.PIPE,
            text=True,
        )
        for me in range(PROCESSES)
    ]
    for process in running:
        _, errors = process.communicate(timeout=100)
        assert process.returncode == 0, errors


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "md.db"
    with RemoteKVMapping(SQLiteBackend(path), "ep1") as md:
        md.update(
            counters={"n": 0},
            fields={},
            own={str(me): 0 for me in range(PROCESSES)},
            list=[],
            sets={"a": set()},
        )
    return path


def test_top_level_increments(path: Path) -> None:
    run_everywhere(path, "for _ in range(each): md.increment('n')")
    with RemoteKVMapping(SQLiteBackend(path), "ep1") as md:
        assert md["n"] == PROCESSES * EACH


@pytest.mark.parametrize("work", INCREMENTS)
def test_nested_increments(path: Path, work: str) -> None:
    run_everywhere(path, INCREMENTS[work])
    with RemoteKVMapping(SQLiteBackend(path), "ep1") as md:
        assert md["counters"] == {"n": PROCESSES * EACH}


def test_different_fields_of_one_nested_dict(path: Path) -> None:
    each = EACH // 2  # each write costs as much as there is already
    run_everywhere(path, "for i in range(each): md['fields'][f'{me}-{i}'] = i", each)
    with RemoteKVMapping(SQLiteBackend(path), "ep1") as md:
        assert md["fields"] == {f"{me}-{i}": i for me in range(PROCESSES) for i in range(each)}


def test_read_modify_write_of_different_fields(path: Path) -> None:
    run_everywhere(path, "for i in range(each): md['own'][str(me)] += 1")
    with RemoteKVMapping(SQLiteBackend(path), "ep1") as md:
        assert md["own"] == {str(me): EACH for me in range(PROCESSES)}


def test_lists_and_sets(path: Path) -> None:
    run_everywhere(path, "for i in range(each // 5): md['list'].append([me, i])")
    run_everywhere(path, "for i in range(each // 5): md['sets']['a'].add(f'{me}-{i}')")
    expected = [[me, i] for me in range(PROCESSES) for i in range(EACH // 5)]
    with RemoteKVMapping(SQLiteBackend(path), "ep1") as md:
        assert sorted(md["list"]) == expected
        for me in range(PROCESSES):  # each writer's own order is kept
            assert [item for item in md["list"] if item[0] == me] == expected[
                me * EACH // 5 : (me + 1) * EACH // 5
            ]
        assert md["sets"]["a"] == {f"{me}-{i}" for me, i in expected}


def test_an_update_is_never_seen_in_part(path: Path) -> None:
    work = """
for i in range(each):
    if me:
        md.update(x=i, y=i, z={"i": i})
    else:
        seen = dict(md)
        if "x" in seen and not seen["x"] == seen["y"] == seen["z"]["i"]:
            raise SystemExit(f"torn: {seen}")
"""
    run_everywhere(path, work, each=300)


def test_many_processes_make_the_file_at_once(tmp_path: Path) -> None:
    path = tmp_path / "new.db"
    run_everywhere(path, "md.increment('n')", each=1)
    with RemoteKVMapping(SQLiteBackend(path), "ep1") as md:
        assert md["n"] == PROCESSES
