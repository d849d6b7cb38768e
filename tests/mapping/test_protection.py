"""Protected keys: every way to change one is refused, and `unlocked` allows it, here and now."""

from __future__ import annotations

import asyncio
import pickle
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kv_dict import (
    EncodeError,
    InMemoryAsyncBackend,
    KVDictError,
    ProtectedError,
    RemoteKVMapping,
    SQLiteBackend,
)

Change = Callable[[RemoteKVMapping], Any]

SEPARATED, FLAT = ("ep1", ":"), ("xas-", None)


def assign_nested(md: RemoteKVMapping) -> None:
    md["site"]["name"] = "other"


def append_below(md: RemoteKVMapping) -> None:
    md["site"]["doors"].append("C")


def in_place(md: RemoteKVMapping) -> None:
    md["site"]["doors"] += ["C"]


def merge(md: RemoteKVMapping) -> None:
    md |= {"free": 2, "site": 1}


def delete(md: RemoteKVMapping) -> None:
    del md["site"]


def assign(md: RemoteKVMapping) -> None:
    md["site"] = 1


CHANGES: list[Change] = [
    assign,
    delete,
    assign_nested,
    append_below,
    in_place,
    merge,
    lambda md: md["site"].clear(),
    lambda md: md["site"].update(name="x"),
    lambda md: md["site"].setdefault("new", 1),
    lambda md: md["site"].pop("name"),
    lambda md: md.update({"free": 2, "site": 1}),
    lambda md: md.clear(),
    lambda md: md.pop("site"),
    lambda md: md.popitem(),
    lambda md: md.transform("site", lambda value: {**value, "new": 1}),
    lambda md: md.setdefault("empty", 1),
    lambda md: md.increment("empty"),
]


@pytest.fixture(params=[SEPARATED, FLAT], ids=["separator", "flat"])
def layout(request: pytest.FixtureRequest) -> tuple[str, str | None]:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture(params=["server", "replica"])
def md(
    request: pytest.FixtureRequest, tmp_path: Path, layout: tuple[str, str | None]
) -> Iterator[RemoteKVMapping]:
    backend = SQLiteBackend(tmp_path / "md.db")
    protected = ["site", "empty"]
    with RemoteKVMapping(backend, *layout, reads=request.param, protected=protected) as mapping:
        with mapping.unlocked("site"):
            mapping["site"] = {"name": "XAS", "doors": ["A", "B"]}
        mapping["free"] = 1
        yield mapping


@pytest.mark.parametrize("change", CHANGES)
def test_no_way_to_change_it(md: RemoteKVMapping, change: Change) -> None:
    before = md.copy()
    with pytest.raises(ProtectedError, match=r"with md\.unlocked\('\w+'") as caught:
        change(md)
    assert set(caught.value.keys) <= {"site", "empty"}
    assert md.copy() == before
    assert md["site"] == before["site"], "what is shown has not changed either"
    with md.unlocked(*md.protected):
        change(md)
    assert md.copy() != before


def test_reading_and_the_other_keys_are_free(md: RemoteKVMapping) -> None:
    assert md["site"]["doors"] == ["A", "B"]
    assert md.setdefault("site", 0) == md["site"], "it is there: nothing would be written"
    md["free"] = {"a": [1]}
    md["free"]["a"].append(2)
    md["sites"] = md["site:"] = md["sit"] = 1  # names that only look like it
    del md["sites"], md["site:"], md["free"]
    with pytest.raises(KeyError):
        del md["missing"]


def test_it_is_one_mapping_that_protects(md: RemoteKVMapping) -> None:
    with RemoteKVMapping(md.backend, md.entry_point, md.sep, protected=["free"]) as other:
        with md.unlocked("site", "free"), pytest.raises(ProtectedError):
            other["free"] = 2
        other["site"] = 5
    md.sync()
    assert md["site"] == 5


def test_nested_unlocking_ends_where_it_began(md: RemoteKVMapping) -> None:
    with md.unlocked("site"):
        with md.unlocked("empty", "not protected at all"):
            md.update(site=1, empty=2)
        md["site"] = 3
        with pytest.raises(ProtectedError) as caught:
            md["empty"] = 4
        assert caught.value.keys == ("empty",)
    with pytest.raises(ProtectedError):
        md["site"] = 5
    with pytest.raises(RuntimeError, match="on purpose"), md.unlocked("site"):
        raise RuntimeError("on purpose")
    with pytest.raises(ProtectedError):
        md["site"] = 5


def test_another_thread_is_still_locked_out(md: RemoteKVMapping) -> None:
    caught: list[BaseException] = []

    def change() -> None:
        try:
            md["site"] = "of a thread"
        except ProtectedError as error:
            caught.append(error)

    with md.unlocked("site"):
        thread = threading.Thread(target=change)
        thread.start()
        thread.join(10)
        md["site"] = "mine"
    assert len(caught) == 1
    assert md["site"] == "mine"


def test_another_task_is_still_locked_out(md: RemoteKVMapping) -> None:
    async def unlocking(begun: asyncio.Event, end: asyncio.Event) -> None:
        with md.unlocked("site"):
            begun.set()
            await end.wait()
            md["site"] = "of the task"

    async def both() -> None:
        begun, end = asyncio.Event(), asyncio.Event()
        task = asyncio.create_task(unlocking(begun, end))
        await begun.wait()
        with pytest.raises(ProtectedError):
            md["site"] = "of the other"
        end.set()
        await task

    asyncio.run(both())
    assert md["site"] == "of the task"


def test_the_error(md: RemoteKVMapping) -> None:
    with pytest.raises(ProtectedError) as caught:
        md.clear()
    assert str(caught.value) == (
        "md['empty'] and md['site'] are protected, and nothing was written; if it is meant: "
        "with md.unlocked('empty', 'site'): ..."
    )
    assert isinstance(caught.value, KVDictError)
    assert isinstance(caught.value, TypeError)
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.keys) == (str(caught.value), caught.value.keys)


def test_blocks_may_end_in_any_order(md: RemoteKVMapping) -> None:
    """Those of two plans that take turns: what the first one ends stays ended."""
    first, second = md.unlocked("site"), md.unlocked("empty")
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    md["empty"] = 1
    with pytest.raises(ProtectedError):
        md["site"] = 1
    second.__exit__(None, None, None)
    for key in ("site", "empty"):
        with pytest.raises(ProtectedError):
            md[key] = 1


def test_a_copy_in_another_process_protects_the_same(md: RemoteKVMapping) -> None:
    with pickle.loads(pickle.dumps(md)) as again:
        assert again.protected == ("empty", "site")
        with pytest.raises(ProtectedError):
            again["site"] = 1


@pytest.mark.parametrize(
    ("protected", "error"), [("site", TypeError), ([1], TypeError), (["\ud800"], EncodeError)]
)
def test_what_cannot_be_protected(protected: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        RemoteKVMapping(InMemoryAsyncBackend(), "ep1", protected=protected)


def test_a_write_held_back_is_protected_too(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    folder.mkdir()
    with RemoteKVMapping(
        SQLiteBackend(folder / "md.db"),
        "ep1",
        reads="replica",
        on_outage="continue",
        timeout=1,
        protected=["site"],
    ) as md:
        with md.unlocked("site"):
            md["site"] = 1
        folder.rename(tmp_path / "away")
        with pytest.raises(ProtectedError):
            md["site"] = 2
        md["free"] = 1
        assert md.waiting == ("free",)
        (tmp_path / "away").rename(folder)
