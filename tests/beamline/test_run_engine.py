"""A real RunEngine whose ``RE.md`` is a mapping, with ophyd-async's simulated devices."""

from __future__ import annotations

import copy
import datetime as dt
import json
import pickle
import threading
from typing import Any, Self

import pytest

from kv_dict import DecodeError, EncodeError, RemoteKVMapping

pytest.importorskip("bluesky")
pytest.importorskip("ophyd_async")

import bluesky.plan_stubs as bps
import bluesky.plans as bp
import event_model
import msgpack
import numpy as np
import orjson

pytestmark = pytest.mark.beamline

DEADLINE = 30.0

PLAIN_TYPES = {dict, list, str, int, float, bool, type(None)}

METADATA: dict[str, Any] = {
    "data_session": "pass-312345",
    "proposal": {
        "proposal_id": "312345",
        "pi_name": "Ada",
        "users": [{"name": "Ben", "visits": [1, 2, {"shift": "night"}]}, {"name": "Cleo"}],
    },
    "cycle": "2026-3",
    "empty": {"dict": {}, "list": []},
    "energy": 8.047,
    "ok": True,
    "nothing": None,
    "Ångström unit": "µ",
    "with:separator": {"a:b": 1},
}


def run_nothing(**md: Any) -> Any:
    """A plan of one run without data."""
    yield from bps.open_run(md)
    yield from bps.close_run()


def assert_plain(value: Any, path: str = "start") -> None:
    """Every container and scalar is exactly of a built-in type, at any depth."""
    assert type(value) in PLAIN_TYPES, f"{path} is a {type(value)}"
    if type(value) is dict:
        for key, item in value.items():
            assert type(key) is str, f"a key of {path} is a {type(key)}"
            assert_plain(item, f"{path}[{key!r}]")
    elif type(value) is list:
        for index, item in enumerate(value):
            assert_plain(item, f"{path}[{index}]")


def join(thread: threading.Thread) -> None:
    thread.join(DEADLINE)
    assert not thread.is_alive()


# -- scans -----------------------------------------------------------------------------------------


class TestScans:
    @pytest.mark.parametrize("plan", ["count", "scan", "grid_scan"])
    def test_documents_of_a_real_scan(self, plan, md, RE, devices, documents):
        md.update(METADATA)
        plans = {
            "count": lambda: bp.count([devices.det], 3),
            "scan": lambda: bp.scan([devices.det], devices.x, 0, 1, 3),
            "grid_scan": lambda: bp.grid_scan(
                [devices.det], devices.x, 0, 1, 2, devices.y, 0, 1, 2
            ),
        }
        RE(plans[plan]())

        (start,) = documents.starts
        (stop,) = documents.of("stop")
        assert stop["exit_status"] == "success"
        assert stop["num_events"] == {"primary": 4 if plan == "grid_scan" else 3}
        assert start["plan_name"] == plan
        assert {key: start[key] for key in METADATA} == METADATA
        for key in METADATA:
            assert_plain(start[key], f"start[{key!r}]")
        for name, document in documents:
            event_model.schema_validators[event_model.DocumentNames[name]].validate(document)

    def test_each_scan_has_the_next_scan_id(self, md, RE, devices, documents):
        for _ in range(3):
            RE(bp.count([devices.det]))
        assert [start["scan_id"] for start in documents.starts] == [1, 2, 3]
        assert md["scan_id"] == 3

    def test_a_plan_changes_the_metadata_it_runs_with(self, md, RE, devices, documents):
        md["sample"] = {"name": "Fe2O3", "history": []}

        def plan():
            yield from bp.count([devices.det])
            md["sample"]["history"].append({"plan": "count"})
            md["sample"]["name"] = "Fe3O4"
            yield from bp.count([devices.det])

        RE(plan())
        before, after = documents.starts
        assert before["sample"] == {"name": "Fe2O3", "history": []}
        assert after["sample"] == {"name": "Fe3O4", "history": [{"plan": "count"}]}


# -- what is in a start document -------------------------------------------------------------------


class TestStartDocument:
    @pytest.fixture
    def start(self, md, RE, documents) -> dict[str, Any]:
        md.update(METADATA)
        RE(run_nothing())
        return documents.starts[0]

    def test_is_plain_at_any_depth(self, start):
        assert type(start) is dict
        assert_plain(start)

    def test_equals_that_of_a_dict(self, start, make_engine):
        engine = make_engine(copy.deepcopy(METADATA))
        starts = []
        engine(run_nothing(), {"start": lambda _, document: starts.append(document)})
        for document in (start, starts[0]):
            del document["uid"], document["time"]
        assert start == starts[0]

    def test_is_detached(self, start, md, RE, documents):
        start["proposal"]["users"].append("intruder")
        start["proposal"]["pi_name"] = "Eve"
        assert md["proposal"] == METADATA["proposal"]
        RE(run_nothing())
        assert documents.starts[1]["proposal"] == METADATA["proposal"]
        md["proposal"]["pi_name"] = "Dora"
        assert documents.starts[1]["proposal"]["pi_name"] == "Ada"

    @pytest.mark.parametrize(
        "round_trip",
        [
            pytest.param(lambda x: json.loads(json.dumps(x, allow_nan=False)), id="json"),
            pytest.param(lambda x: orjson.loads(orjson.dumps(x)), id="orjson"),
            pytest.param(lambda x: msgpack.unpackb(msgpack.packb(x)), id="msgpack"),
            pytest.param(
                lambda x: msgpack.unpackb(msgpack.packb(x, strict_types=True)), id="msgpack-strict"
            ),
            pytest.param(lambda x: pickle.loads(pickle.dumps(x)), id="pickle"),
            pytest.param(copy.deepcopy, id="deepcopy"),
            pytest.param(event_model.sanitize_doc, id="sanitize_doc"),
        ],
    )
    def test_survives(self, start, round_trip):
        result = round_trip(start)
        assert result == start
        assert_plain(result)

    @pytest.mark.parametrize("encoder", [json.dumps, orjson.dumps, msgpack.packb])
    def test_a_nested_value_is_encoded_as_a_dict(self, start, md, encoder):
        assert encoder(md["proposal"]) == encoder(METADATA["proposal"])
        assert encoder(dict(md)) == encoder({key: md[key] for key in md})

    def test_dict_of_md_is_what_a_queue_server_sends(self, start, md):
        sent = pickle.dumps(dict(md))
        assert b"kv_dict" not in sent
        assert pickle.loads(sent) == dict(md)


class TestVersions:
    def test_are_kept(self, md, RE):
        import bluesky
        import ophyd
        import ophyd_async

        assert md["versions"] == {
            "ophyd": ophyd.__version__,
            "ophyd_async": ophyd_async.__version__,
            "bluesky": bluesky.__version__,
            "event_model": event_model.__version__,
        }

    def test_an_old_session_is_brought_up_to_date(self, store, make_engine):
        store.open()["versions"] = {"bluesky": "1.0", "site": "7"}
        engine = make_engine(store.open())
        assert engine.md["versions"]["site"] == "7"
        assert engine.md["versions"]["bluesky"] != "1.0"
        assert store.open()["versions"] == engine.md["versions"]


# -- idioms of beamline profiles -------------------------------------------------------------------


class TestIdioms:
    def test_call_overrides_plan_overrides_md(self, md, RE, documents):
        md.update(sample="of md", user="of md", project="of md")
        RE(run_nothing(sample="of plan", user="of plan"), sample="of call")
        (start,) = documents.starts
        assert (start["sample"], start["user"], start["project"]) == ("of call", "of plan", "of md")
        assert dict(md)["sample"] == md["sample"] == "of md"

    def test_or_assignment_stays_the_mapping(self, store, md, RE, documents):
        RE.md |= {"proposal": {"id": 1}, "cycle": "2026-3"}
        assert RE.md is md
        assert store.open()["proposal"] == {"id": 1}
        RE(run_nothing())
        assert documents.starts[0]["cycle"] == "2026-3"

    def test_setdefault_and_assign_is_persisted(self, store, md, RE, documents):
        RE.md.setdefault("a", {})["b"] = 1
        RE.md.setdefault("a", {})["c"] = 2
        RE.md.setdefault("list", []).append({"x": 1})
        assert store.open()["a"] == {"b": 1, "c": 2}
        RE(run_nothing())
        assert documents.starts[0]["a"] == {"b": 1, "c": 2}
        assert documents.starts[0]["list"] == [{"x": 1}]

    def test_an_early_reference_sees_a_change_of_proposal(self, md, RE, documents):
        early = RE.md
        RE.md.update(data_session="pass-1", proposal={"id": 1})
        RE.md.update(data_session="pass-2", proposal={"id": 2})
        assert early["data_session"] == "pass-2"
        RE(run_nothing())
        assert documents.starts[0]["proposal"] == {"id": 2}

    def test_a_key_that_is_removed_is_in_no_later_run(self, md, RE, documents):
        md["sample"] = "x"
        RE(run_nothing())
        del RE.md["sample"]
        RE(run_nothing())
        assert ["sample" in start for start in documents.starts] == [True, False]

    def test_clear_between_runs(self, md, RE, documents):
        md.update(METADATA)
        RE.md.clear()
        RE(run_nothing())
        (start,) = documents.starts
        assert METADATA.keys().isdisjoint(start)
        assert start["scan_id"] == 1


# -- hooks -----------------------------------------------------------------------------------------


class TestHooks:
    def test_validator_gets_a_dict_of_everything(self, md, RE):
        md.update(METADATA)
        seen: list[dict[str, Any]] = []
        RE.md_validator = seen.append
        RE(run_nothing(sample="s"), user="u")
        (given,) = seen
        assert type(given) is dict
        assert given == METADATA | {
            "sample": "s",
            "user": "u",
            "scan_id": 1,
            "plan_name": "run_nothing",
            "plan_type": "generator",
            "versions": md["versions"],
        }
        assert isinstance(given["proposal"], dict)
        assert isinstance(given["proposal"]["users"], list)
        json.dumps(given)

    def test_validator_refuses(self, md, RE, documents):
        def refuse(given: dict[str, Any]) -> None:
            if "data_session" not in given:
                raise ValueError("who are you?")

        RE.md_validator = refuse
        with pytest.raises(ValueError, match="who are you"):
            RE(run_nothing())
        assert not documents.starts
        md["data_session"] = "pass-1"
        RE(run_nothing())
        assert documents.starts[0]["scan_id"] == 2  # as with a dict: it counts attempts

    def test_normalizer_gets_plain_detached_data(self, md, RE, documents):
        md.update(METADATA)

        def normalize(given: Any) -> dict[str, Any]:
            flat = dict(given)
            assert_plain(flat, "normalizer's")
            flat["proposal"]["users"].clear()
            flat["normalized"] = True
            return flat

        RE.md_normalizer = normalize
        RE(run_nothing())
        (start,) = documents.starts
        assert start["normalized"] is True
        assert start["proposal"]["users"] == []
        assert md["proposal"] == METADATA["proposal"]

    def test_normalizer_may_write_to_the_chain_it_gets(self, md, RE, documents):
        def normalize(given: Any) -> dict[str, Any]:
            given["added"] = 1
            return dict(given)

        RE.md_normalizer = normalize
        RE(run_nothing())
        assert documents.starts[0]["added"] == 1
        assert "added" not in md

    @pytest.mark.parametrize("is_async", [False, True])
    def test_scan_id_source_gets_the_mapping(self, is_async, store, make_engine):
        def count(md: RemoteKVMapping) -> int:
            return md.increment("counter", 10)

        async def count_async(md: RemoteKVMapping) -> int:
            return md.increment("counter", 10)

        engine = make_engine(store.open(), scan_id_source=count_async if is_async else count)
        starts: list[dict[str, Any]] = []
        engine.subscribe(lambda _, document: starts.append(document), "start")
        for _ in range(2):
            engine(run_nothing())
        assert [start["scan_id"] for start in starts] == [10, 20]
        assert engine.md["scan_id"] == 20

    def test_callback_changes_md_while_a_run_is_open(self, md, RE, documents):
        RE.subscribe(lambda _, __: RE.md.increment("runs"), "stop")
        RE.subscribe(lambda _, start: RE.md.update(last_uid=start["uid"]), "start")
        RE(run_nothing())
        RE(run_nothing())
        first, second = documents.starts
        assert second["last_uid"] == first["uid"]
        assert second["runs"] == 1
        assert md["runs"] == 2


# -- values ----------------------------------------------------------------------------------------


class TestValues:
    def test_numpy_scalars_are_what_the_schema_takes(self, md, RE, documents):
        md["scan_id"] = np.int64(41)
        md["energy"] = np.float64(8.047)
        md["flags"] = {"on": np.bool_(True), "size": (np.int32(1), np.uint8(2))}
        RE(run_nothing())
        (start,) = documents.starts
        assert start["scan_id"] == 42
        assert start["flags"] == {"on": True, "size": [1, 2]}
        assert_plain(start)

    def test_arrays(self, store, md, RE, documents):
        md["offsets"] = np.arange(6, dtype=np.int16).reshape(2, 3)
        md["nested"] = {"mask": np.array([True, False])}
        for _ in range(2):
            RE(run_nothing())
        for start in documents.starts:
            assert type(start["offsets"]) is np.ndarray
            assert start["offsets"].dtype == np.int16
            np.testing.assert_array_equal(start["offsets"], [[0, 1, 2], [3, 4, 5]])
            np.testing.assert_array_equal(start["nested"]["mask"], [True, False])
        np.testing.assert_array_equal(store.open()["offsets"], md["offsets"])

    def test_times(self, store, md, RE, documents):
        when = dt.datetime(2026, 11, 23, 9, tzinfo=dt.UTC)
        md["start_datetime"] = when
        md["visit"] = {"from": when.date(), "for": dt.timedelta(days=2)}
        RE(run_nothing())
        (start,) = documents.starts
        assert start["start_datetime"] == when
        assert type(start["start_datetime"]) is dt.datetime
        assert start["visit"] == {"from": when.date(), "for": dt.timedelta(days=2)}
        assert store.open()["start_datetime"] == when

    def test_sets_and_bytes_are_plain_in_the_document(self, md, RE, documents):
        md["tags"] = {"a", "b"}
        md["raw"] = {"bytes": b"\0\xff", "buffer": bytearray(b"abc")}
        RE(run_nothing())
        (start,) = documents.starts
        assert type(start["tags"]) is set
        assert start["tags"] == {"a", "b"}
        assert type(start["raw"]["bytes"]) is bytes
        assert type(start["raw"]["buffer"]) is bytearray

    def test_what_cannot_be_stored_is_refused_before_the_run(self, md, RE, devices, documents):
        with pytest.raises(EncodeError, match=r"md\['detectors'\]\[0\]"):
            md["detectors"] = [devices.det]
        RE(run_nothing())
        assert "detectors" not in documents.starts[0]

    @pytest.mark.parametrize("bad", [{"sample": 5}, {"uid": "x"}, {"hints": 3}, {"a.b": 1}])
    def test_what_the_schema_refuses_stops_the_run_as_with_a_dict(self, bad, md, RE, make_engine):
        md.update(bad)
        with pytest.raises(Exception) as of_dict:
            make_engine(dict(bad))(run_nothing())
        with pytest.raises(type(of_dict.value)):
            RE(run_nothing())
        for key in bad:
            del md[key]
        RE(run_nothing())

    @pytest.mark.parametrize("junk", [b"{not json", b"\xff\xfe", b'{"$kv:future":1}', b""])
    def test_an_undecodable_foreign_value_stops_no_run(self, junk, store, md, RE, documents):
        store.write_raw("ep1:broken", junk)
        store.write_raw("ep1:tree:broken", junk)
        md["sample"] = "x"
        RE(run_nothing())
        (start,) = documents.starts
        assert start["sample"] == "x"
        assert "broken" not in start
        with pytest.raises(DecodeError, match="broken"):
            md["broken"]
        md["broken"] = "mended"
        RE(run_nothing())
        assert documents.starts[1]["broken"] == "mended"

    def test_a_foreign_tree_is_nested_in_the_document(self, store, md, RE, documents):
        store.write_raw("ep1:main:sup1", b'{"a":1}')
        store.write_raw("ep1:main:sup2", b"[2]")
        store.write_raw("other:main", b"1")
        RE(run_nothing())
        (start,) = documents.starts
        assert start["main"] == {"sup1": {"a": 1}, "sup2": [2]}
        assert_plain(start)


# -- sessions --------------------------------------------------------------------------------------

RUN = """
import sys
import bluesky.plan_stubs as bps
from bluesky import RunEngine
from kv_dict import open_mapping

def plan():
    yield from bps.open_run()
    yield from bps.close_run()

url, runs = sys.argv[1], int(sys.argv[2])
md = open_mapping(url, entry_point="ep1")
numbers = []

def count(md):
    numbers.append(md.increment("counter"))
    return numbers[-1]

RE = RunEngine(md, scan_id_source=count)
starts = []
RE.subscribe(lambda name, doc: starts.append(doc), "start")
print("ready", flush=True)
sys.stdin.readline()
for _ in range(runs):
    RE(plan())
    md["last"]["uid"] = starts[-1]["uid"]
    md.increment("runs")
assert all(start["shared"] == {"deep": [1, 2]} for start in starts)
assert len(starts) == runs
print(*numbers, flush=True)
md.close()
"""

CHANGE = """
import sys
from kv_dict import open_mapping

with open_mapping(sys.argv[1], entry_point="ep1") as md:
    assert md["scan_id"] == 1, md["scan_id"]
    assert md["sample"] == {"name": "Fe2O3", "steps": ["cut"]}, md["sample"]
    md["sample"]["steps"].append("polished")
    md["user"] = "Ada"
    md["scan_id"] = 100
    del md["obsolete"]
"""


class TestSessions:
    def test_scan_id_goes_on_after_a_restart(self, store, make_engine):
        seen = []
        for _ in range(3):  # sessions
            mapping = store.open()
            engine = make_engine(mapping)
            engine.subscribe(lambda _, document: seen.append(document["scan_id"]), "start")
            engine(run_nothing())
            engine(run_nothing())
            mapping["note"] = "kept"
        assert seen == [1, 2, 3, 4, 5, 6]
        assert store.open()["note"] == "kept"

    def test_restart_when_the_store_was_closed_between(self, sqlite_store, make_engine):
        with sqlite_store.open() as first:
            make_engine(first)(run_nothing())
            first["sample"] = {"name": "x"}
        with sqlite_store.open() as second:
            starts = []
            make_engine(second)(run_nothing(), {"start": lambda _, doc: starts.append(doc)})
        assert (starts[0]["scan_id"], starts[0]["sample"]) == (2, {"name": "x"})

    def test_another_process_changes_metadata_between_runs(
        self, sqlite_store, make_engine, start_program
    ):
        md = sqlite_store.open()
        engine = make_engine(md)
        starts: list[dict[str, Any]] = []
        engine.subscribe(lambda _, document: starts.append(document), "start")
        md.update(sample={"name": "Fe2O3", "steps": ["cut"]}, obsolete=1)
        held = md["sample"]
        engine(run_nothing())
        start_program(CHANGE, f"sqlite://{sqlite_store.path}").end()
        engine(run_nothing())
        held["name"] = "Fe3O4"  # read before the other process wrote
        engine(run_nothing())

        assert [start["scan_id"] for start in starts] == [1, 101, 102]
        assert starts[1]["sample"] == {"name": "Fe2O3", "steps": ["cut", "polished"]}
        assert starts[2]["sample"] == {"name": "Fe3O4", "steps": ["cut", "polished"]}
        assert starts[1]["user"] == "Ada"
        assert ["obsolete" in start for start in starts] == [True, False, False]

    # What the source returns is unique. What the start documents say need not be: bluesky writes
    # the number to md and reads it from there again, and another session may have come between.

    def test_two_run_engines_in_two_processes(self, sqlite_store, start_program):
        md = sqlite_store.open()
        md.update(shared={"deep": [1, 2]}, last={"uid": None})
        runs = 15
        programs = [
            start_program(RUN, f"sqlite://{sqlite_store.path}", str(runs)) for _ in range(2)
        ]
        for program in programs:
            assert program.hear() == "ready"
        for program in programs:
            program.tell("go")
        numbers = [int(number) for program in programs for number in program.end().split()]
        assert sorted(numbers) == list(range(1, 2 * runs + 1))
        assert md["runs"] == 2 * runs

    def test_two_run_engines_of_one_process_share_a_mapping(self, md, make_engine):
        numbers: list[int] = []
        starts: list[dict[str, Any]] = []
        errors: list[BaseException] = []

        def count(md: RemoteKVMapping) -> int:
            numbers.append(number := md.increment("counter"))
            return number

        def session(engine: Any) -> None:
            try:
                for _ in range(10):
                    engine(run_nothing())
            except BaseException as error:
                errors.append(error)

        engines = [make_engine(md, context_managers=[], scan_id_source=count) for _ in range(2)]
        for engine in engines:
            engine.subscribe(lambda _, document: starts.append(document), "start")
        threads = [threading.Thread(target=session, args=(engine,)) for engine in engines]
        for thread in threads:
            thread.start()
        for thread in threads:
            join(thread)
        assert not errors
        assert sorted(numbers) == list(range(1, 21))
        assert {start["scan_id"] for start in starts} <= set(numbers)
        assert len({start["uid"] for start in starts}) == 20


class Writer(threading.Thread):
    """Writes for as long as it is in a ``with`` block; what it raised is raised at the end."""

    def __init__(self, write: Any) -> None:
        super().__init__(name="writer")
        self.write = write
        self.rounds = 0
        self.error: BaseException | None = None
        self._began = threading.Event()
        self._enough = threading.Event()

    def run(self) -> None:
        try:
            while not self._enough.is_set():
                self.rounds += 1
                self.write(self.rounds)
                self._began.set()
        except BaseException as error:
            self.error = error
            self._began.set()

    def __enter__(self) -> Self:
        self.start()
        assert self._began.wait(DEADLINE)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._enough.set()
        join(self)
        if self.error is not None:
            raise self.error


class TestConcurrentWriters:
    def test_assignments_and_nested_changes(self, store, md, RE, documents):
        md.update(nested={"n": 0}, left=0, right=0)
        other = store.open()

        def write(n: int) -> None:
            other["nested"]["n"] = n
            other.update(left=n, right=n)

        with Writer(write) as writer:
            for _ in range(10):
                RE(run_nothing())
        assert writer.rounds > 1
        starts = documents.starts
        assert [start["scan_id"] for start in starts] == list(range(1, 11))
        assert all(start["left"] == start["right"] for start in starts)  # updates are atomic
        seen = [start["nested"]["n"] for start in starts]
        assert seen == sorted(seen)
        RE(run_nothing())
        assert documents.starts[-1]["left"] == writer.rounds

    def test_nested_changes_of_both(self, md, RE, documents):
        md["shared"] = {"thread": 0, "runs": []}
        RE.subscribe(lambda _, document: md["shared"]["runs"].append(document["uid"]), "start")
        with Writer(lambda n: md["shared"].update(thread=n)) as writer:
            for _ in range(10):
                RE(run_nothing())
        assert md["shared"]["thread"] == writer.rounds
        assert md["shared"]["runs"] == [start["uid"] for start in documents.starts]

    def test_keys_that_come_and_go(self, store, md, RE, documents):
        # dict(ChainMap(..., md)) lists the keys first and reads each one later.
        other = store.open()

        def write(n: int) -> None:
            other.update({f"passing{i}": n for i in range(20)})
            for i in range(20):
                del other[f"passing{i}"]

        md.update({f"key{i}": i for i in range(20)})
        with Writer(write):
            for _ in range(40):
                RE(run_nothing())
        assert len(documents.starts) == 40
