"""The handover to the next experiment, and RunEngines whose metadata are switched or layered."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest

from kv_dict import (
    CheckError,
    InMemoryAsyncBackend,
    LayeredMapping,
    ProtectedError,
    RemoteKVMapping,
    Unavailable,
    open_mapping,
)

pytest.importorskip("bluesky")

import bluesky.plan_stubs as bps
from bluesky import RunEngine

from kv_dict.integrations.bluesky import (
    Handover,
    RunStatus,
    read_status,
    scan_id_source,
    start_experiment,
)

from ...away import Away

pytestmark = pytest.mark.beamline

ADA = {"cycle": "2026-2", "username": "ada"}
FIELDS = {"data_session", "cycle", "username", "start_datetime", "proposal"}


@pytest.fixture(params=["sqlite", "redis", "postgres", "nats"])
def md(request: pytest.FixtureRequest, tmp_path: Any) -> Iterator[RemoteKVMapping]:
    if request.param == "sqlite":
        url = f"sqlite://{tmp_path}/md.db"
    else:
        url = request.getfixturevalue(f"{request.param}_url")
        if request.param == "postgres":
            url += f"?table={request.getfixturevalue('table')}&create_table=true"
        if request.param == "nats":
            url += f"?bucket={request.getfixturevalue('bucket')}&create_bucket=true"
    with open_mapping(url, entry_point="xas", reads="replica") as mapping:
        for entry_point in ("xas", "xas-317", "xas-318", "p0", "p1", "p2"):
            with mapping.at(entry_point) as there:
                there.clear()
        mapping.sync()
        yield mapping


@pytest.fixture
def memory() -> Iterator[RemoteKVMapping]:
    with RemoteKVMapping(InMemoryAsyncBackend(), "xas", check="bluesky") as mapping:
        yield mapping


def run_nothing() -> Any:
    yield from bps.open_run()
    yield from bps.close_run()


def start_of(RE: RunEngine) -> dict[str, Any]:
    found: list[dict[str, Any]] = []
    RE(run_nothing(), lambda name, doc: found.append(doc) if name == "start" else None)
    return found[0]


def test_in_place(md: RemoteKVMapping) -> None:
    md.update(sample="the last user's", username="bob", beamline_id="XAS", scan_id=4217, notes=[1])
    changes: list[Any] = []
    md.subscribe(changes.append, initial=False)
    about = {"proposal_id": 318, "title": "Iron oxides", "pi_name": "Ada"}
    before = md.copy()
    would = start_experiment(md, proposal=about, carry_over=["beamline_*"], dry_run=True, **ADA)
    assert md == before
    did = start_experiment(md, proposal=about, carry_over=["beamline_*"], **ADA)
    assert md == did.written | {"beamline_id": "XAS", "scan_id": 4217}
    assert (would.dropped, would.carried) == (did.dropped, did.carried)
    assert did.dropped == {"notes": [1], "sample": "the last user's"}
    assert (would.done, did.done) == (False, True)
    assert set(did.written) == FIELDS
    assert md["data_session"] == "pass-318"
    assert md["proposal"] == {
        "proposal_id": "318",
        "title": "Iron oxides",
        "type": "",
        "pi_name": "Ada",
    }
    assert datetime.fromisoformat(md["start_datetime"]).tzinfo is not None
    assert str(would).splitlines()[0] == "pass-318, in 'xas' (a dry run: nothing is written)"
    assert '  remove: sample = "the last user\'s"' in str(did).splitlines()
    assert "  carry over: beamline_id = 'XAS'" in str(did).splitlines()


def test_to_an_entry_point_of_its_own_and_back(md: RemoteKVMapping) -> None:
    RE = RunEngine(md, scan_id_source=scan_id_source)
    held = RE.md
    md.update(sample="bob's", motors={"x": 1}, scan_id=10)
    options = {"carry_over": ["motors"], "entry_point": "xas-318"}
    would = start_experiment(md, proposal=318, dry_run=True, **ADA, **options)
    assert md.entry_point == "xas"
    assert "leave in 'xas': sample = \"bob's\"" in str(would)
    did = start_experiment(md, proposal=318, **ADA, **options)
    assert did.left == "xas"
    start = start_of(RE)
    assert (start["scan_id"], start["data_session"], start["motors"]) == (11, "pass-318", {"x": 1})
    assert "sample" not in start
    held["sample"] = "ada's"
    start_experiment(md, proposal="319", cycle="2026-2", username="bob", entry_point="xas")
    start = start_of(RE)
    assert (start["scan_id"], start["data_session"]) == (12, "pass-319")
    assert held["sample"] == "bob's"  # as it was left
    start_experiment(md, proposal=318, **ADA, entry_point="xas-318")
    assert (md["sample"], md["scan_id"]) == ("ada's", 12)
    with md.at("xas") as former:
        assert former["sample"] == "bob's"


def test_layers(md: RemoteKVMapping) -> None:
    md.update(scan_id=100, beamline_id="XAS", cycle="2026-1")
    with LayeredMapping.on(md, "xas-317", belongs_under=["scan_id", "beamline_id", "cycle"]) as re:
        RE = RunEngine(re, scan_id_source=scan_id_source)
        re["sample"] = "bob's"
        did = start_experiment(re, proposal=318, **ADA, entry_point="xas-318")
        assert did.dropped == {"sample": "bob's"}
        start = start_of(RE)
        assert {key: start[key] for key in ("scan_id", "beamline_id", "cycle", "username")} == {
            "scan_id": 101,
            "beamline_id": "XAS",
            "cycle": "2026-2",
            "username": "ada",
        }
        assert md["cycle"] == "2026-2"
        assert (md["scan_id"], re.over.get("scan_id")) == (101, None)
        assert start["versions"] == dict(re["versions"])
        with RunStatus(RE):
            RE(run_nothing())
        assert (status := read_status(md)) is not None  # beside what stays
        assert status.scan_id == md["scan_id"] == 102
        re["sample"] = {"name": "ada's"}
        did = start_experiment(re, proposal=319, **ADA, carry_over=["smaple"])
        assert did.missing == ("smaple",)
        assert "carry over: smaple is not there" in str(did)
        assert did.left is None
        assert "sample" not in re
        assert (re["data_session"], re["beamline_id"]) == ("pass-319", "XAS")


@pytest.mark.parametrize("entry_point", [None, "p2"])
@pytest.mark.parametrize("layered", [False, True])
def test_what_is_protected_is_neither_dropped_nor_in_the_way(
    layered: bool, entry_point: str | None
) -> None:
    keys = ["beamline_id", "data_session"]
    xas = RemoteKVMapping(InMemoryAsyncBackend(), "xas", protected=keys)
    with xas if not layered else LayeredMapping.on(xas, "p1", belongs_under=["beamline_id"]) as md:
        with md.unlocked(*keys):
            md.update(beamline_id="XAS", data_session="pass-317", sample="bob's")
        assert md.protected == ("beamline_id", "data_session")
        for change in (lambda: md.update(beamline_id="SAXS"), lambda: md.pop("data_session")):
            with pytest.raises(ProtectedError):
                change()
        did = start_experiment(md, proposal=318, entry_point=entry_point, **ADA)
        assert did.dropped == {"sample": "bob's"}
        assert (md["beamline_id"], md["data_session"]) == ("XAS", "pass-318")
        assert "sample" not in md
        with pytest.raises(ProtectedError):
            md["data_session"] = "by accident"
        with md.unlocked("beamline_id"):
            md["beamline_id"] = "XAS-2"
        assert md["beamline_id"] == "XAS-2"


def test_many_run_engines_on_layers_share_one_count(md: RemoteKVMapping) -> None:
    ids: list[int] = []
    mappings = [LayeredMapping.on(md.at("xas"), f"p{n}") for n in range(3)]
    engines = [RunEngine(each, scan_id_source=scan_id_source) for each in mappings]

    def count(RE: RunEngine) -> None:
        for _ in range(10):
            ids.append(scan_id_source(RE.md))

    threads = [threading.Thread(target=count, args=(RE,)) for RE in engines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    ids += [start_of(RE)["scan_id"] for RE in engines]
    assert sorted(ids) == list(range(1, 34))
    for each in mappings:
        each.close()


def test_scan_ids_are_of_one_entry_point_while_others_switch(memory: RemoteKVMapping) -> None:
    with memory.at("other") as other:
        other["scan_id"] = 1000
    switched = threading.Event()

    def switching() -> None:
        memory.switch("other")
        switched.set()

    source = scan_id_source(start=5)
    after = source._after

    def slow(last: int) -> int:
        if not switched.is_set():
            switching()
        return after(last)

    source._after = slow  # type: ignore[method-assign]
    assert source(memory) == 1001


def test_what_bluesky_would_refuse_is_refused_when_it_is_assigned(memory: RemoteKVMapping) -> None:
    RE = RunEngine(memory, scan_id_source=scan_id_source)
    for key, value in (("sample", [1]), ("data_session", 318), ("x", {"a.b": 1}), ("uid", "mine")):
        with pytest.raises(CheckError, match="bluesky wants"):
            RE.md[key] = value
    RE.md.update(sample={"name": "Fe"}, positions=[{"a.b": 1}])
    start_experiment(memory, proposal=318, **ADA)
    assert start_of(RE)["data_session"] == "pass-318"


def test_bad_arguments(memory: RemoteKVMapping) -> None:
    memory["sample"] = "Fe2O3"
    before = memory.copy()
    bad: list[tuple[type[Exception], str, dict[str, Any]]] = [
        (TypeError, "proposal=None: a number, or a dict", {"proposal": None}),
        (TypeError, "proposal=True", {"proposal": True}),
        (TypeError, "with one as 'proposal_id'", {"proposal": {"title": "x"}}),
        (ValueError, "proposal='': a number such as", {"proposal": " "}),
        (ValueError, "proposal='a/b'", {"proposal": "a/b"}),
        (TypeError, "cycle=2026: a string", {"cycle": 2026}),
        (ValueError, "username='': not empty", {"username": ""}),
        (TypeError, "data_session=7: a string", {"data_session": 7}),
        (TypeError, r"carry_over='sample': a list", {"carry_over": "sample"}),
        (TypeError, "carry_over has 1: keys", {"carry_over": [1]}),
        (ValueError, "carry_over has 'cycle', which each", {"carry_over": ["cycle"]}),
        (TypeError, "entry_point must be a string", {"entry_point": 3}),
        (CheckError, "bluesky wants keys", {"proposal": {"proposal_id": 1, "a.b": 1}}),
    ]
    for kind, message, wrong in bad:
        with pytest.raises(kind, match=message):
            start_experiment(memory, **{"proposal": 318, **ADA, **wrong})
        assert (memory.entry_point, memory.copy()) == ("xas", before)
    with pytest.raises(TypeError, match="md=dict: a RemoteKVMapping or a LayeredMapping"):
        start_experiment({}, proposal=1, **ADA)  # type: ignore[arg-type]
    assert isinstance(start_experiment(memory, proposal=1, dry_run=True, **ADA), Handover)


@pytest.mark.parametrize("entry_point", [None, "xas-318"])
def test_an_outage_leaves_the_former_experiment(entry_point: str | None) -> None:
    backend = Away()
    with RemoteKVMapping(backend, "xas") as md:
        md.update(sample="bob's", data_session="pass-317")
        before = md.copy()
        backend.away = True
        with pytest.raises(Unavailable):
            start_experiment(md, proposal=318, entry_point=entry_point, **ADA)
        backend.away = False
        assert (md.entry_point, md.copy()) == ("xas", before)
