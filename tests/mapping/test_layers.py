"""A proposal's values over the beamline's, on every backend."""

from __future__ import annotations

import asyncio
import copy
import json
import queue
import threading
from collections import ChainMap
from collections.abc import Iterator
from typing import Any

import pytest

from kv_dict import (
    Backend,
    ConfigurationError,
    EncodeError,
    InMemoryAsyncBackend,
    LayeredMapping,
    RemoteKVMapping,
    Unavailable,
)
from kv_dict.mapping.feed import Change

from ..away import Away

DEADLINE = 10.0
BELOW = ("scan_id", "beamline_*")


@pytest.fixture
def under(backend: Backend, reads: str) -> Iterator[RemoteKVMapping]:
    with RemoteKVMapping(backend, "xas", reads=reads) as mapping:
        mapping.update(beamline_id="XAS", cycle="default", detector={"exposure": 0.1, "n": [1]})
        yield mapping


@pytest.fixture
def md(under: RemoteKVMapping) -> Iterator[LayeredMapping]:
    with LayeredMapping.on(under, "p1", belongs_under=BELOW) as mapping:
        yield mapping


@pytest.fixture
def over(md: LayeredMapping) -> RemoteKVMapping:
    return md.over


def test_reads(md: LayeredMapping, over: RemoteKVMapping, under: RemoteKVMapping) -> None:
    over.update(sample="Fe2O3", cycle="2026-3", beamline_id="a leftover")
    expected = {
        "beamline_id": "XAS",
        "cycle": "2026-3",
        "detector": {"exposure": 0.1, "n": [1]},
        "sample": "Fe2O3",
    }
    assert dict(md) == md.copy() == copy.deepcopy(md) == dict(md.items()) == expected
    assert dict(ChainMap({}, md)) == expected
    assert md == expected
    assert (md | {}) == ({} | md) == expected
    assert list(md) == list(md.keys()) == sorted(expected)
    assert list(reversed(md)) == sorted(expected, reverse=True)
    assert len(md) == len(expected)
    assert (md["cycle"], md.get("beamline_id"), md.get("none", 7)) == ("2026-3", "XAS", 7)
    assert "detector" in md
    assert "none" not in md
    with pytest.raises(KeyError):
        md["none"]
    for made in (dict(md), copy.deepcopy(md), md.copy(), dict(list(md.items()))):
        assert type(made["detector"]) is dict
        assert type(made["detector"]["n"]) is list
    assert json.loads(json.dumps(md.copy())) == expected
    assert "entry_points=('p1', 'xas')" in repr(md)


def test_writes_go_where_a_key_belongs(
    md: LayeredMapping, over: RemoteKVMapping, under: RemoteKVMapping
) -> None:
    md["sample"] = "Fe2O3"
    md["beamline_mode"] = "pink"
    md |= {"cycle": "2026-3"}
    md.update(user="ada", scan_id=41)
    assert md.increment("scan_id") == 42
    assert md.setdefault("detector", {}) == {"exposure": 0.1, "n": [1]}
    assert md.setdefault("visits", 1) == 1
    assert md.transform("visits", lambda n: n + 1) == 2
    assert over == {"cycle": "2026-3", "sample": "Fe2O3", "user": "ada", "visits": 2}
    assert under["scan_id"] == 42
    assert under["beamline_mode"] == "pink"
    assert under["cycle"] == "default"
    assert md.layer("scan_id") is under
    assert md.layer("sample") is over


def test_what_is_read_as_a_default_is_never_changed(
    md: LayeredMapping, over: RemoteKVMapping, under: RemoteKVMapping
) -> None:
    before = under.copy()
    detector = md["detector"]
    detector["exposure"] = 2.0
    detector["n"].append(2)
    md["detector"]["n"].append(3)
    for key, value in md.items():
        if key == "detector":
            value["by"] = "a loop"
    assert over == {"detector": {"exposure": 2.0, "n": [1, 2, 3], "by": "a loop"}}
    assert md.transform("cycle", str.upper) == "DEFAULT"
    assert under == before
    del md["detector"]  # uncovers
    assert md["detector"] == before["detector"]
    md["detector"].setdefault("exposure", 5)  # changes nothing
    assert "detector" not in over


def test_containers_below_write_below(md: LayeredMapping, under: RemoteKVMapping) -> None:
    md["beamline_hutch"] = {"doors": []}
    md["beamline_hutch"]["doors"].append("east")
    assert under["beamline_hutch"] == {"doors": ["east"]}
    assert "beamline_hutch" not in md.over


def test_two_make_the_same_default_their_own(md: LayeredMapping, under: RemoteKVMapping) -> None:
    with LayeredMapping.on(under.at("xas"), "p1", belongs_under=BELOW) as other:
        one, two = md["detector"], other["detector"]
        one["mine"] = 1
        two["theirs"] = 2
        md.sync()
        assert md["detector"] == {"exposure": 0.1, "n": [1], "mine": 1, "theirs": 2}


def test_operators_in_place(md: LayeredMapping, over: RemoteKVMapping) -> None:
    md["names"] = ["a"]
    md["names"] += ["b"]
    md["detector"] |= {"x": 1}
    md["beamline_list"] = []
    md["beamline_list"] += [1]
    assert over == {"detector": {"exposure": 0.1, "n": [1], "x": 1}, "names": ["a", "b"]}
    assert md["beamline_list"] == [1]


def test_removing(md: LayeredMapping, over: RemoteKVMapping, under: RemoteKVMapping) -> None:
    md.update(cycle="2026-3", sample="Fe2O3", scan_id=1)
    with pytest.raises(KeyError, match=r"'detector' is an item of 'xas', below"):
        del md["detector"]
    with pytest.raises(KeyError, match="delete it there"):
        md.pop("detector")
    assert md.pop("detector", 7) == 7
    with pytest.raises(KeyError, match=r"^'none'$"):
        del md["none"]
    del md["cycle"]
    assert md["cycle"] == "default"
    del md["scan_id"]
    assert "scan_id" not in under
    assert md.pop("sample") == "Fe2O3"
    md.update(a=1, b=2)
    assert md.popitem() == ("b", 2)
    md.clear()
    assert over == {}
    assert md == under
    with pytest.raises(KeyError, match="empty"):
        md.popitem()


def test_one_commit_for_both_layers(
    md: LayeredMapping, over: RemoteKVMapping, under: RemoteKVMapping
) -> None:
    over["gone"] = 1
    commits = []
    scope = md.over._scope
    ask = scope.ask_to_commit
    scope.ask_to_commit = lambda *args: commits.append(args) or ask(*args)  # type: ignore
    md.commit({"sample": "Fe2O3", "scan_id": 3}, delete=["gone", "beamline_id", "never"])
    assert len(commits) == 1
    assert (over.copy(), under.get("scan_id"), "beamline_id" in under) == (
        {"sample": "Fe2O3"},
        3,
        False,
    )
    with pytest.raises(EncodeError):
        md.update(sample="new", scan_id=object())
    with pytest.raises(EncodeError):
        md.update(sample=object(), scan_id=4)
    with pytest.raises(ValueError, match="both put and deleted: sample"):
        md.commit({"sample": 1}, delete=["sample"])
    assert (md["sample"], md["scan_id"]) == ("Fe2O3", 3)
    md.update()
    with RemoteKVMapping(md.over.backend, "p1") as elsewhere:
        elsewhere["sample"] = "theirs"  # which a replica may not know yet
        md.update(sample="last", scan_id=4)
        assert elsewhere["sample"] == "last"


def test_switch(md: LayeredMapping, under: RemoteKVMapping) -> None:
    md.update(sample="Fe2O3", scan_id=7)
    held = md["detector"]
    md.switch("p2")
    assert md.over.entry_point == "p2"
    assert "sample" not in md
    assert md["scan_id"] == 7
    with pytest.raises(KeyError):
        md["sample"]
    md["sample"] = "CeO2"
    with pytest.raises(Exception, match="was switched from 'p1' to 'p2'"):
        held["exposure"] = 3
    md.switch("p1")
    assert md["sample"] == "Fe2O3"
    with pytest.raises(ConfigurationError, match="one is within the other"):
        md.switch("xas")
    assert md.over.entry_point == "p1"


def test_subscribers_are_told_of_what_is_read(md: LayeredMapping, under: RemoteKVMapping) -> None:
    told: queue.Queue[Change] = queue.Queue()

    def following() -> tuple[str, str, object, object]:
        change = told.get(timeout=DEADLINE)
        return change.kind, change.key, change.value, change.previous

    md["cycle"] = "mine"
    md.sync()
    token = md.subscribe(told.put)
    initial = [told.get(timeout=DEADLINE) for _ in range(3)]
    assert {(change.key, change.initial) for change in initial} == {
        ("beamline_id", True),
        ("cycle", True),
        ("detector", True),
    }
    assert next(change.value for change in initial if change.key == "cycle") == "mine"
    md.over.update(beamline_id="hidden")  # belongs below: nobody reads it there
    under["cycle"] = "hidden"
    md["sample"] = "Fe2O3"
    assert following() == ("put", "sample", "Fe2O3", None)
    if md.over.reads == "replica":  # one source has told; the other one has by now, too
        md.sync()
    md["scan_id"] = 1
    assert following() == ("put", "scan_id", 1, None)
    del md["cycle"]
    assert following() == ("put", "cycle", "hidden", "mine")
    under["cycle"] = "shown"
    assert following() == ("put", "cycle", "shown", "hidden")
    md["cycle"] = "mine"
    assert following() == ("put", "cycle", "mine", "shown")
    md.switch("p2")
    assert following() == ("put", "cycle", "shown", "mine")
    assert following() == ("delete", "sample", None, "Fe2O3")
    under["scan_id"] = 2
    assert following() == ("put", "scan_id", 2, 1)
    md.unsubscribe(token)
    with pytest.raises(KeyError):
        md.unsubscribe(token)


def test_versions_peeks_and_feeds_are_of_what_is_read(
    md: LayeredMapping, over: RemoteKVMapping, under: RemoteKVMapping, reads: str
) -> None:
    over.update(sample="Fe2O3", cycle="2026-3", beamline_id="a leftover")
    for key, layer in (("cycle", over), ("detector", under), ("beamline_id", under)):
        assert md.version(key) == layer.version(key)
        assert md.layers_of(key)[-1] is under
        assert md.peek(key, "none") == (md[key] if reads == "replica" else "none")
    with pytest.raises(KeyError, match="none"):
        md.version("none")
    assert md.peek("none", 7) == 7
    woken = threading.Event()
    feed = md.feed(woken.set, key="cycle")
    assert [change.value for change in feed.take()] == ["2026-3"]
    woken.clear()
    del md["cycle"]
    assert woken.wait(DEADLINE)
    changes = list(feed.take())
    assert [(change.kind, change.value) for change in changes] == [("put", "default")]
    feed.close()

    async def first() -> Any:
        async for change in md.changes(prefix="beam"):
            return change.value
        return None

    assert asyncio.run(first()) == "XAS"


def test_bad_arguments(under: RemoteKVMapping, backend: Backend) -> None:
    retained = backend._retained
    with pytest.raises(TypeError, match="over must be a RemoteKVMapping, not dict"):
        LayeredMapping({}, under)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"belongs_under='scan_id': a list"):
        LayeredMapping.on(under, "p1", belongs_under="scan_id")
    with pytest.raises(TypeError, match="keys of a RemoteKVMapping are strings"):
        LayeredMapping.on(under, "p1", belongs_under=[1])  # type: ignore[list-item]
    for entry_point in ("xas", "xas:p1", ""):
        with pytest.raises(ConfigurationError, match="one is within the other"):
            LayeredMapping.on(under, entry_point)
    assert backend._retained == retained
    with LayeredMapping.on(under.at("xas"), "p1") as md:
        for wrong in (md.__getitem__, md.__delitem__, md.layer, md.get):
            with pytest.raises(TypeError, match="are strings"):
                wrong(1)  # type: ignore[operator]
        with pytest.raises(TypeError, match="are strings"):
            md[1] = 1  # type: ignore[index]
        assert 1 not in md
        with pytest.raises(TypeError):
            hash(md)
    assert backend._retained == retained


def test_closing(under: RemoteKVMapping) -> None:
    md = LayeredMapping.on(under, "p1")
    md.subscribe(lambda change: None)
    md.close()
    md.close()
    for use in (md.copy, md.__enter__, lambda: md["a"], lambda: md.update(a=1, scan_id=1)):
        with pytest.raises(Exception, match="was closed"):
            use()
    assert not [t for t in threading.enumerate() if "kv_dict subscription" in t.name]


# -- two stores ------------------------------------------------------------------------------------


def test_layers_of_two_stores_are_written_one_after_the_other() -> None:
    proposals = Away()
    under = RemoteKVMapping(InMemoryAsyncBackend(), "xas")
    with LayeredMapping(RemoteKVMapping(proposals, "xas"), under) as md:
        md.update(sample="Fe2O3", scan_id=1)
        assert (dict(md.over), dict(under)) == ({"sample": "Fe2O3"}, {"scan_id": 1})
        with pytest.raises(EncodeError):
            md.update(sample=object(), scan_id=2)
        assert under["scan_id"] == 1  # refused before anything was written
        proposals.away = True
        with pytest.raises(Unavailable, match="cut off") as raised:
            md.update(sample="CeO2", scan_id=2)
        assert raised.value.__notes__ == ["written before, to the other layer: scan_id"]
        proposals.away = False
        assert dict(md) == {"sample": "Fe2O3", "scan_id": 2}


@pytest.mark.parametrize("on_outage", ["fail", "continue"])
def test_both_layers_during_an_outage(on_outage: str) -> None:
    backend = Away()
    under = RemoteKVMapping(backend, "xas", reads="replica", on_outage=on_outage)
    with LayeredMapping.on(under, "p1") as md:
        md.update(sample="Fe2O3", scan_id=1)
        backend.away = True
        if on_outage == "fail":
            with pytest.raises(Unavailable):
                md.update(sample="CeO2", scan_id=2)
            assert dict(md) == {"sample": "Fe2O3", "scan_id": 1}
        else:
            md.update(sample="CeO2", scan_id=2)
            assert dict(md) == {"sample": "CeO2", "scan_id": 2}
            assert md.waiting == ("sample", "scan_id")
        backend.away = False
        if on_outage == "continue":
            for layer in (md.over, md.under):
                assert layer._scope.settled(DEADLINE)
            assert md.waiting == ()
            with under.at("p1") as over:
                over.sync()
                assert over == {"sample": "CeO2"}
