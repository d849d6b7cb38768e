"""One state, told to many."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from kv_dict.dashboard.fanout import Fanout


def put(fanout: Fanout, name: str, value: Any, **options: Any) -> None:
    fanout.put(name, json.dumps([name, value]).encode(), **options)


def told(frame: bytes) -> list[Any]:
    if not frame:
        return []
    lines = dict(line.split(": ", 1) for line in frame.decode().strip().splitlines())
    assert lines["event"] == "changes"
    return json.loads(lines["data"])


async def caught_up(fanout: Fanout, number: int) -> None:
    while fanout.told < number:
        await fanout.turn()


def test_readers_learn_what_they_have_missed_and_no_more() -> None:
    async def main() -> None:
        fanout = Fanout(interval=0.001)
        put(fanout, "a", 1)
        put(fanout, "b", 1)
        await caught_up(fanout, 2)
        put(fanout, "a", 2)
        await caught_up(fanout, 3)
        assert told(fanout.since(0)) == [["b", 1], ["a", 2]]
        assert told(fanout.since(2)) == [["a", 2]]
        assert told(fanout.since(3)) == []

    asyncio.run(main())


def test_what_changes_often_is_told_once_a_frame_as_it_is_by_then() -> None:
    async def main() -> None:
        fanout = Fanout(interval=0.05)
        put(fanout, "first", 0)
        await caught_up(fanout, 1)
        for number in range(1000):
            put(fanout, "n", number)
        await fanout.turn()
        assert told(fanout.since(1)) == [["n", 999]]
        assert fanout.counts.changes == 1001

    asyncio.run(main())


def test_equally_far_readers_share_the_bytes() -> None:
    async def main() -> None:
        fanout = Fanout(interval=0.001)
        put(fanout, "a", 1)
        await caught_up(fanout, 1)
        assert fanout.since(0) is fanout.since(0)

    asyncio.run(main())


def test_the_snapshot_has_what_is_there_and_a_frame_after_it_the_rest() -> None:
    async def main() -> None:
        fanout = Fanout(interval=0.001)
        put(fanout, "a", 1)
        put(fanout, "b", 1)
        put(fanout, "b", None, gone=True)
        position, whole = fanout.snapshot()
        assert json.loads(whole)["items"] == [["a", 1]]
        assert fanout.position(json.loads(whole)["id"]) == position == 3
        assert len(fanout) == 1
        put(fanout, "c", 1)
        await caught_up(fanout, 4)
        assert told(fanout.since(position)) == [["c", 1]]
        assert fanout.snapshot()[1] != whole

    asyncio.run(main())


def test_a_reader_who_was_away_learns_of_deletions_or_begins_anew() -> None:
    async def main() -> None:
        fanout = Fanout(interval=0.001, gone_kept=10)
        for number in range(100):
            put(fanout, f"key{number}", 1)
        start = fanout.snapshot()[0]
        before = f"{fanout.epoch}-{start}"
        put(fanout, "key0", None, gone=True)
        await caught_up(fanout, 101)
        assert fanout.position(before) == start
        assert told(fanout.since(start)) == [["key0", None]]
        for number in range(1, 50):
            put(fanout, f"key{number}", None, gone=True)
        assert fanout.position(before) is None
        assert len(fanout) == 50
        assert fanout.position(f"{fanout.epoch}-{fanout.snapshot()[0]}") is not None

    asyncio.run(main())


def test_ids_of_others_are_not_taken_for_its_own() -> None:
    async def main() -> None:
        fanout = Fanout(interval=0.001)
        put(fanout, "a", 1)
        assert fanout.position(f"{fanout.epoch}-1") == 1
        for strange in (None, "", "-", "1", "abc-1", f"{fanout.epoch}-2", f"{fanout.epoch}-",
                        f"{fanout.epoch}-x", f"{fanout.epoch}--1", f"{fanout.epoch}-" + "9" * 5000,
                        f"{fanout.epoch}-²", Fanout().epoch + "-1"):  # fmt: skip
            assert fanout.position(strange) is None, strange

    asyncio.run(main())


def test_beats_wake_readers_who_have_nothing_to_learn() -> None:
    async def main() -> None:
        fanout = Fanout(beat=0.01)
        task = asyncio.create_task(fanout.run())
        beats = fanout.beats
        while fanout.beats < beats + 3:
            await fanout.turn()
        assert fanout.beat_frame.startswith(b"event: beat\n")
        task.cancel()

    asyncio.run(main())


def test_closing_wakes_everybody() -> None:
    async def main() -> None:
        fanout = Fanout(interval=60)
        put(fanout, "a", 1)
        await caught_up(fanout, 1)
        put(fanout, "a", 2)
        readers = [asyncio.create_task(fanout.turn()) for _ in range(10)]
        await asyncio.sleep(0)
        fanout.close()
        await asyncio.gather(*readers)
        await fanout.turn()

    asyncio.run(main())
