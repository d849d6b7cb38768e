"""Opening, closing, forgetting and pickling a mapping."""

from __future__ import annotations

import gc
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kv_dict import (
    ClosedError,
    ConfigurationError,
    InMemoryAsyncBackend,
    RemoteKVMapping,
    SQLiteBackend,
)
from kv_dict.backend import Backend

USES: dict[str, Callable[[RemoteKVMapping], Any]] = {
    "read": lambda md: md["a"],
    "get": lambda md: md.get("a"),
    "in": lambda md: "a" in md,
    "len": len,
    "iter": list,
    "dict": dict,
    "items": lambda md: list(md.items()),
    "equal": lambda md: md == {},
    "write": lambda md: md.update(a=1),
    "del": lambda md: md.pop("a"),
    "clear": lambda md: md.clear(),
    "setdefault": lambda md: md.setdefault("a", 1),
    "increment": lambda md: md.increment("n"),
    "peek": lambda md: md.peek("a"),
    "sync": lambda md: md.sync(),
    "with": lambda md: md.__enter__(),
}


@pytest.mark.parametrize("use", USES)
def test_use_after_close_says_so(use: str, backend: Backend) -> None:
    md = RemoteKVMapping(backend, "ep1")
    md["a"] = {"n": 1}
    held = md["a"]
    md.close()
    md.close()
    with pytest.raises(ClosedError, match="was closed; open a new one"):
        USES[use](md)
    with pytest.raises(ClosedError):
        held["n"] = 2
    assert held == {"n": 1}
    assert "ClosedError" in repr(md)


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_the_last_mapping_closes_the_backend_and_a_new_one_opens_it(
    kind: str, tmp_path: Path
) -> None:
    backend: Backend = (
        InMemoryAsyncBackend() if kind == "memory" else SQLiteBackend(tmp_path / "md.db")
    )
    with RemoteKVMapping(backend, "one") as one:
        with RemoteKVMapping(backend, "two") as two:
            two["a"] = 1
        assert not backend.closed
        one["a"] = 2
    assert backend.closed
    with RemoteKVMapping(backend, "one") as again:
        assert again == {"a": 2}


def test_a_pickle_reconnects(tmp_path: Path) -> None:
    with RemoteKVMapping(SQLiteBackend(tmp_path / "md.db"), "ep1", None, timeout=3) as md:
        md["a"] = 1
        with pickle.loads(pickle.dumps(md)) as again:
            again["b"] = 2
            assert (again.entry_point, again.sep, again.timeout) == ("ep1", None, 3)
        assert md == {"a": 1, "b": 2}


def test_a_forgotten_one_warns(tmp_path: Path) -> None:
    backend = SQLiteBackend(tmp_path / "md.db")
    md = RemoteKVMapping(backend, "ep1")
    md["a"] = 1
    with pytest.warns(ResourceWarning, match="unclosed RemoteKVMapping"):  # noqa: PT031
        del md
        gc.collect()
    backend.synchronous.close()


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"timeout": 0}, ConfigurationError, "above 0"),
        ({"timeout": 1e12}, ConfigurationError, "up to a day"),
        ({"timeout": "5"}, TypeError, "as a number"),
        ({"reads": "sometimes"}, ConfigurationError, "'server' or 'replica'"),
        ({"sep": ""}, ConfigurationError, "cannot separate keys"),
        ({"sep": "%"}, ConfigurationError, "cannot separate keys"),
        ({"sep": 5}, TypeError, "sep must be a string"),
    ],
)
def test_options_are_checked(options: dict[str, Any], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        RemoteKVMapping(InMemoryAsyncBackend(), "ep1", **options)


@pytest.mark.parametrize("backend", ["sqlite:a.db", None, {}])
def test_a_backend_is_asked_for(backend: Any) -> None:
    with pytest.raises(TypeError, match=r"open_mapping\(\) takes a URL"):
        RemoteKVMapping(backend, "ep1")


def test_fromkeys_writes() -> None:
    backend = InMemoryAsyncBackend()
    with RemoteKVMapping.fromkeys(["a", "b"], [], backend=backend, entry_point="ep1") as md:
        md["a"].append(1)
        assert md == {"a": [1], "b": []}
    with pytest.raises(TypeError, match="backend"):
        RemoteKVMapping.fromkeys(["a"])  # type: ignore[call-arg]


def test_a_peek_asks_nobody_and_shows_what_the_replica_holds(backend: Backend) -> None:
    with (
        RemoteKVMapping(backend, "ep1") as asking,
        RemoteKVMapping(backend, "ep1", reads="replica") as holding,
    ):
        holding["sample"] = {"layers": [1]}
        assert asking.peek("sample") is None
        assert holding.peek("nothing", "none") == "none"
        held = holding.peek("sample")
        assert type(held) is dict
        held["layers"].append(2)
        assert holding["sample"] == {"layers": [1]}
        with pytest.raises(TypeError):
            holding.peek(5)
