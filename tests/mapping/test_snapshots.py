"""Operations on a whole mapping are one question to the store."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from kv_dict import InMemoryAsyncBackend, RemoteKVMapping
from kv_dict.backend import SynchronousFace
from kv_dict.model import Operation


class Counting(InMemoryAsyncBackend):
    """Counts what its synchronous face is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    @property
    def synchronous(self) -> SynchronousFace:
        return _Counted(self._memory, self.asked)


class _Counted(SynchronousFace):
    def __init__(self, face: SynchronousFace, asked: list[str]) -> None:
        self._face = face
        self._asked = asked

    def _ask(self, name: str, *arguments: Any, timeout: float) -> Any:
        self._asked.append(name)
        return getattr(self._face, name)(*arguments, timeout=timeout)

    def read(self, key: str, *, timeout: float) -> Any:
        return self._ask("read", key, timeout=timeout)

    def read_tree(self, key: str, separator: str, *, timeout: float) -> Any:
        return self._ask("read_tree", key, separator, timeout=timeout)

    def snapshot(self, prefix: str, *, timeout: float) -> Any:
        return self._ask("snapshot", prefix, timeout=timeout)

    def commit(self, operations: list[Operation], *, timeout: float) -> Any:
        return self._ask("commit", operations, timeout=timeout)

    def ping(self, *, timeout: float) -> None:
        self._ask("ping", timeout=timeout)

    def close(self) -> None:
        self._face.close()


@pytest.fixture
def md() -> Iterator[RemoteKVMapping]:
    with RemoteKVMapping(Counting(), "ep1") as md:
        md.update({f"k{n}": {"n": n} for n in range(20)})
        md.backend.asked.clear()
        yield md


WHOLE: dict[str, Callable[[RemoteKVMapping], Any]] = {
    "dict": dict,
    "unpacking": lambda md: {**md},
    "keywords": lambda md: dict(**md),
    "update": lambda md: {}.update(md),
    "chain": lambda md: dict(ChainMap({"plan": 1}, md)),
    "or": lambda md: md | {},
    "ror": lambda md: {} | md,
    "copy": lambda md: md.copy(),
    "equal": lambda md: md == {},
    "len": len,
    "bool": bool,
    "list": list,
    "reversed": lambda md: list(reversed(md)),
    "sorted keys": lambda md: sorted(md.keys()),
    "list of keys": lambda md: list(md.keys()),
    "list of values": lambda md: list(md.values()),
    "list of items": lambda md: list(md.items()),
    "dict of items": lambda md: dict(md.items()),
    "sorted items": lambda md: sorted(md.items(), key=str),
    "loop over values": lambda md: [value["n"] for value in md.values()],
    "loop over items": lambda md: {key: value["n"] for key, value in md.items()},
    "keys and": lambda md: md.keys() & {"k1", "x", "k2"},
    "rand keys": lambda md: {"k1", "x", "k2"} & md.keys(),
    "keys equal": lambda md: md.keys() == {"k1"},
    "keys subset": lambda md: md.keys() >= {"k1", "k2"},
    "keys disjoint": lambda md: md.keys().isdisjoint(["x", "y"]),
    "keys minus": lambda md: md.keys() - {"k1"},
    "items equal": lambda md: md.items() == {},
    "value in": lambda md: {"n": 3} in md.values(),
    "repr": repr,
    "match": lambda md: md.popitem(),
}


@pytest.mark.parametrize("name", WHOLE)
def test_one_snapshot(name: str, md: RemoteKVMapping) -> None:
    WHOLE[name](md)
    assert [ask for ask in md.backend.asked if ask != "commit"] == ["snapshot"]


def test_one_read_and_one_commit(md: RemoteKVMapping) -> None:
    md["k1"]["n"] = 5
    assert md.backend.asked == ["read_tree", "commit"]
    md.backend.asked.clear()
    md["k1"] = 6
    assert md.backend.asked == ["commit"]
    md.backend.asked.clear()
    md.update({f"k{n}": n for n in range(1000)})
    assert md.backend.asked == ["commit"]
    md.backend.asked.clear()
    held = md.setdefault("l", [])
    assert md.backend.asked == ["read_tree", "commit"]
    md.backend.asked.clear()
    held.extend(range(50))
    held += [50]
    assert md.backend.asked == ["commit", "commit"]


def test_a_loop_over_a_chain_reads_each_item_when_it_comes_to_it(md: RemoteKVMapping) -> None:
    chain = ChainMap({}, md)
    for key, value in chain.items():
        md[key] = {"n": -1}
        value["seen"] = True  # live: goes to what is stored now
        assert chain[key] == {"n": -1, "seen": True}
