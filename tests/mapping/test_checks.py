"""A check is asked at every write, before anything is written, about what would be read."""

from __future__ import annotations

import enum
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from kv_dict import (
    Backend,
    CheckError,
    ConfigurationError,
    EncodeError,
    InMemoryAsyncBackend,
    RemoteKVMapping,
)


def test_every_way_to_write(
    backend: Backend, reads: str, stored: Callable[[], dict[str, bytes]]
) -> None:
    with RemoteKVMapping(backend, "ep1", reads=reads, check="bluesky") as md:
        md.update(sample={"name": "Fe"}, scan_id=7, x={"y": [1], "z": {}}, data_groups=["a"])
        before = stored()

        def operator() -> None:
            md["sample"] |= {"a.b": 1}

        def or_update() -> None:
            nonlocal md
            md |= {"fine": 1, "sample": None}

        writes: list[Callable[[], Any]] = [
            lambda: md.__setitem__("scan_id", "8"),
            lambda: md.__setitem__("a/b", 1),
            lambda: md.update(fine=1, sample=3),
            lambda: md.setdefault("uid", "mine"),
            lambda: md.setdefault("owner"),
            lambda: md.transform("scan_id", str),
            lambda: md.increment("scan_id", 0.5),
            lambda: md.commit({"time": 1}, delete=["x"]),
            lambda: md["x"].update({"a.b": 1}),
            lambda: md["x"]["z"].setdefault("a/b", 1),
            lambda: md["x"]["z"].__setitem__("", 1),
            lambda: md["data_groups"].append(1),
            lambda: md["sample"].transform("deep", lambda _: {".": 1}, None),
            operator,
            or_update,
            lambda: RemoteKVMapping.fromkeys(
                ["sample"], 1, backend=backend, entry_point="ep1", check="bluesky"
            ),
        ]
        for write in writes:
            with pytest.raises(CheckError, match=r"bluesky wants .*; nothing was written"):
                write()
            assert stored() == before
        md["x"]["y"].append({"a.b": "free in a list"})
        del md["scan_id"]
        md.pop("sample")
        md.clear()


def test_it_is_asked_about_what_will_be_read(backend: Backend) -> None:
    numpy = pytest.importorskip("numpy")

    class Number(enum.IntEnum):
        SEVEN = 7

    asked: list[tuple[str, Any]] = []
    with RemoteKVMapping(backend, "ep1", check=lambda k, v: asked.append((k, v))) as md:
        md.update(a=numpy.int64(3), b=(1, 2), c=Number.SEVEN)
        md["b"].append(numpy.float32(0.5))
        assert asked == [("a", 3), ("b", [1, 2]), ("c", 7), ("b", [1, 2, 0.5])]
        assert [type(value) for _, value in asked] == [int, list, int, list]
        with pytest.raises(EncodeError):
            md["d"] = object()
        asked[-1][1].append("what it does to the value reaches nobody")
        assert md["b"] == [1, 2, 0.5]


def test_a_function_of_ones_own(backend: Backend) -> None:
    def positive(key: str, value: Any) -> None:
        if key == "energy" and not value > 0:
            raise ValueError(f"energy is in keV, above 0, not {value}")

    with RemoteKVMapping(backend, "ep1", check=positive) as md:
        md["energy"] = 7.1
        with pytest.raises(CheckError, match=r"md\['energy'\] is refused: energy .* not -1; noth"):
            md["energy"] = -1
        with pytest.raises(CheckError, match="'>' not supported"):
            md["energy"] = "high"
        assert md == {"energy": 7.1}


def test_what_is_there_already_is_not_checked(backend: Backend) -> None:
    with RemoteKVMapping(backend, "ep1") as other:
        other.update(sample=[1], x={"a.b": 1, "c.d": 2})
    with RemoteKVMapping(backend, "ep1", check="bluesky") as md:
        assert md["sample"] == [1]
        assert md.setdefault("sample", "Fe") == [1]
        with pytest.raises(CheckError):
            md["x"]["fine"] = 1  # the whole value is what a run would get
        md["x"] = {"fine": 1}
        del md["sample"]
        assert md == {"x": {"fine": 1}}


def test_options() -> None:
    backend = InMemoryAsyncBackend()
    with pytest.raises(ConfigurationError, match="check='nobody': 'bluesky', or a function"):
        RemoteKVMapping(backend, "ep1", check="nobody")
    with pytest.raises(TypeError, match="check=3"):
        RemoteKVMapping(backend, "ep1", check=3)  # type: ignore[arg-type]
    assert backend._retained == 0
    with (
        RemoteKVMapping(backend, "ep1", check="bluesky") as md,
        pickle.loads(pickle.dumps(md)) as again,
        pytest.raises(CheckError),
    ):
        again["sample"] = 1
