"""Threads that change one key take turns; those that change different keys do not wait."""

from __future__ import annotations

import gc
import threading

import pytest

from kv_dict import RemoteKVMapping, Unavailable
from kv_dict.locks import Turn


def test_a_slow_change_of_one_key_does_not_hold_up_another(md: RemoteKVMapping) -> None:
    md.update(slow=0, other=0)
    begun, go_on = threading.Event(), threading.Event()

    def slow(value: int) -> int:
        begun.set()
        assert go_on.wait(30)
        return value + 1

    thread = threading.Thread(target=lambda: md.transform("slow", slow))
    thread.start()
    try:
        assert begun.wait(30)
        assert md.increment("other") == 1
        md.timeout = 0.1
        with pytest.raises(
            Unavailable, match=r"md\['slow'\]: other threads' changes of it did not"
        ):
            md.increment("slow")
    finally:
        md.timeout = 5
        go_on.set()
        thread.join()
    assert md["slow"] == 1


def test_a_function_may_use_the_mapping(md: RemoteKVMapping) -> None:
    md.update(a=1, b={"n": 2})

    def total(value: int) -> int:
        md["b"]["n"] += 1
        return value + md["b"]["n"] + md.increment("c")

    assert md.transform("a", total) == 5
    assert md == {"a": 5, "b": {"n": 3}, "c": 1}


def test_turns_are_not_kept(md: RemoteKVMapping) -> None:
    """A mapping whose keys are made anew for years would have one for each of them."""

    def turns() -> int:
        return sum(isinstance(one, Turn) for one in gc.get_objects())

    md["d"] = {}
    before = turns()
    for n in range(50):
        md.increment(f"n{n}")
        md["d"][f"x{n}"] = n
    assert turns() <= before
