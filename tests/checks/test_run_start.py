"""The check of what bluesky accepts, against bluesky and event-model themselves."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kv_dict import CheckError, ConfigurationError, InMemoryAsyncBackend, RemoteKVMapping
from kv_dict.checks import check_run_start, checker
from kv_dict.codec import JSONCodec

event_model = pytest.importorskip("event_model")
np = pytest.importorskip("numpy")

KNOWN = tuple(event_model.schemas[event_model.DocumentNames.start]["properties"])

words = st.sampled_from(
    [
        *("event", "linked", "calculated", "static", "type", "field", "location", "stream"),
        *("value", "calculation", "callable", "args", "kwargs", "dimensions", "configuration"),
        *("projection", "version", "name", "a", "a.b", "a/b", "", " ", "\n", "."),
    ]
)
leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    words,
    st.text(max_size=3),
    st.binary(max_size=2),
    st.datetimes(),
    st.sets(st.integers(), max_size=2),
    st.builds(np.array, st.lists(st.one_of(st.integers(0, 9), words), max_size=2)),
    st.just(np.array(3)),
    st.just(np.array([["a"], ["b"]])),
)
values = st.recursive(
    leaves,
    lambda inside: st.one_of(
        st.lists(inside, max_size=3), st.dictionaries(words, inside, max_size=4)
    ),
    max_leaves=8,
)

of_events = {"field": words, "location": st.just("event"), "stream": words}
nearly_right = {
    "data_groups": st.lists(st.one_of(words, leaves), max_size=3),
    "scan_id": st.one_of(st.integers(), st.floats(), st.booleans()),
    "hints": st.fixed_dictionaries(
        {},
        optional={
            "dimensions": st.lists(
                st.lists(st.one_of(words, st.lists(st.one_of(words, leaves), max_size=2))),
                max_size=2,
            ),
            "a": leaves,
        },
    ),
    "projections": st.lists(
        st.fixed_dictionaries(
            {
                "configuration": st.one_of(st.just({}), st.just({"a.b": 1}), leaves),
                "version": words,
                "projection": st.dictionaries(
                    words,
                    st.one_of(
                        st.fixed_dictionaries({**of_events, "type": st.just("linked")}),
                        st.fixed_dictionaries(
                            {
                                **of_events,
                                "type": st.just("linked"),
                                "config_device": leaves,
                                "config_index": leaves,
                            }
                        ),
                        st.fixed_dictionaries(
                            {
                                **of_events,
                                "type": st.just("calculated"),
                                "calculation": st.fixed_dictionaries(
                                    {"callable": words}, optional={"args": values, "kwargs": values}
                                ),
                            }
                        ),
                        st.fixed_dictionaries({"type": st.just("static"), "value": leaves}),
                        values,
                    ),
                    max_size=2,
                ),
            },
            optional={"name": leaves},
        ),
        max_size=2,
    ),
}
items = st.one_of(
    st.tuples(st.one_of(words, st.text(max_size=3)), values),
    st.tuples(st.sampled_from(KNOWN), values),
    *(st.tuples(st.just(key), nearly) for key, nearly in nearly_right.items()),
)


def bluesky_accepts(key: str, value: Any) -> bool:
    from bluesky.run_engine import _default_md_validator

    try:
        _default_md_validator({key: value})
        event_model.compose_run(metadata={key: value})
    except Exception:
        return False
    return True


def accepted(key: str, value: Any) -> bool:
    try:
        check_run_start(key, value)
    except CheckError:
        return False
    return True


@pytest.mark.beamline
@settings(max_examples=700, deadline=None)
@given(items)
@example(("scan_id", 5.0))
@example(("scan_id", math.nan))
@example(("uid", "given"))
@example(("data_groups", np.array(3)))
@example(("x", [{"a.b": 1}]))
@example(("a\n", {"b\n": 1}))
def test_it_accepts_what_bluesky_accepts_and_nothing_else(item: tuple[str, Any]) -> None:
    key, value = item
    codec = JSONCodec()
    read = codec.decode(codec.encode(value, "md"), "md")  # as a run gets it
    assert accepted(key, read) == bluesky_accepts(key, read)


@pytest.mark.beamline
def test_as_deep_as_can_be_stored() -> None:
    deep: dict[str, Any] = {}
    for _ in range(99):
        deep = {"a": deep}
    with RemoteKVMapping(InMemoryAsyncBackend(), "ep1", check="bluesky") as md:
        md["deep"] = deep
        assert bluesky_accepts("deep", md.copy()["deep"])


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("scan_id", "12", r"md\['scan_id'\] is '12', and bluesky wants a whole number"),
        ("sample", ["Fe"], r"md\['sample'\] is \['Fe'\], and bluesky wants a string or a dict"),
        ("data_session", 318, r"md\['data_session'\] is 318, and bluesky wants a string"),
        ("data_groups", ["a", 1], r"md\['data_groups'\]\[1\] is 1, .* wants a string"),
        ("hints", "x", r"md\['hints'\] is 'x', and bluesky wants a dict"),
        ("a.b", 1, r"the key of md\['a.b'\] is 'a.b', .* no '\.' and no '/'"),
        ("x", {"y": {"a/b": 1}}, r"the key of md\['x'\]\['y'\]\['a/b'\] is 'a/b'"),
        ("uid", "mine", r"md\['uid'\] is 'mine', .* make that itself, for each run"),
        ("time", 1.0, r"make that itself"),
        ("sample", None, r"is None, .*; nothing was written"),
    ],
)
def test_messages_name_the_place_and_what_is_wanted(key: str, value: Any, message: str) -> None:
    with pytest.raises(CheckError, match=message):
        check_run_start(key, value)


def test_names_of_checks() -> None:
    assert checker(None) is None
    assert checker("bluesky") is check_run_start
    assert checker(check_run_start) is check_run_start
    with pytest.raises(ConfigurationError, match="check='blusky': 'bluesky', or a function"):
        checker("blusky")
    with pytest.raises(TypeError, match="a name, or a function"):
        checker(7)  # type: ignore[arg-type]
