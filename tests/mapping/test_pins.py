"""A value that one task reads as its own."""

from __future__ import annotations

import asyncio

import pytest

from kv_dict import RemoteKVMapping


def test_only_the_task_that_pinned_it_reads_it(md: RemoteKVMapping) -> None:
    md["n"] = 7

    async def mine() -> None:
        md.pin("n", 5)
        assert (md["n"], md.get("n"), md.copy()["n"], dict(md.items())["n"]) == (5, 5, 5, 5)
        md["n"] = 5  # never less than what others have stored since
        assert md["n"] == 5
        assert await asyncio.to_thread(lambda: md["n"]) == 5  # it works for the task
        del md["n"]
        assert "n" not in md
        md.pin("n", 6)
        assert list(md) == ["n"]
        md["n"] = 6
        md.pin("n", 8)
        assert md.increment("n") == 7
        assert md["n"] == 7
        md.pin("n", 9)

    async def everybody() -> None:
        await asyncio.create_task(mine())
        assert md["n"] == 7

    asyncio.run(everybody())
    assert md["n"] == 7
    with pytest.raises(RuntimeError):
        md.pin("n", 1)
    with pytest.raises(TypeError):
        md.pin(1, 1)
