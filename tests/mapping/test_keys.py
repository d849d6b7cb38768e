"""Every string is a key, and every stored key is the spelling of exactly one path."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kv_dict import Backend, ConfigurationError, EncodeError, RemoteKVMapping
from kv_dict.keys import KeySpace

ODD_KEYS = [
    "",
    " ",
    ":",
    "::",
    "a:b",
    ":a",
    "a:",
    "%",
    "%%",
    "%3A",
    "%3a",
    "%253A",
    "%25",
    "%3",
    "100%",
    "_value",
    "é",
    "中文",
    "\U0001f600",
    "\U0010ffff",
    "\uffff",
    "\ud7ff\ue000",
    "\x00",
    "a\x00b",
    "\x00\x00",
    "\x1b[0m",
    "\n",
    "\r\n",
    "\x7f",
    "[",
    "]",
    "[a-z]",
    "*",
    "?",
    "\\",
    "\\*",
    "a.b",
    "a/b",
    ">",
    "'",
    '"',
    "'; DROP TABLE kv; --",
    "_",
    "A",
    "a",
    "e\u0301",
    "\u202e",
    "\ufeff",
    "None",
    "x" * 10_000,
    "é" * 3000,
]

SEPARATORS: list[str | None] = [":", "/", ".", "::", "ab", "aa", "aba", "é", "->", "*", "\\", None]

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
NASTY = st.text(st.sampled_from(":/.ab*\\->é%23A5CF_ \x00"), max_size=12)
KEYS = TEXT | NASTY


def test_every_string_is_a_key(
    sep_md: RemoteKVMapping, backend: Backend, stored: Callable[[], dict[str, bytes]]
) -> None:
    longest = backend.capabilities.longest_key
    keys = [key for key in ODD_KEYS if longest is None or len(key.encode()) < longest - 10]
    for key in set(ODD_KEYS) - set(keys):
        with pytest.raises(EncodeError, match="cannot be stored"):
            sep_md[key] = 1
    for number, key in enumerate(keys):
        sep_md[key] = number
        assert sep_md[key] == number
        assert key in sep_md
    assert dict(sep_md) == {key: number for number, key in enumerate(keys)}
    assert list(sep_md) == sorted(keys)
    assert len([k for k in stored() if k.startswith(sep_md.entry_point)]) == len(keys)
    for key in keys[::2]:
        del sep_md[key]
        assert key not in sep_md
    assert set(sep_md) == set(keys[1::2])
    sep_md.update({key: {"l": [1]} for key in keys})
    for key in keys:
        sep_md[key]["l"].append(key)
    assert sep_md == {key: {"l": [1, key]} for key in keys}
    assert sep_md.popitem()[0] == max(keys)
    sep_md.clear()
    assert not sep_md


def test_every_string_is_a_key_of_a_nested_dict(sep_md: RemoteKVMapping) -> None:
    sep_md["x"] = {}
    for key in ODD_KEYS:
        sep_md["x"][key] = {key: key}
    assert sep_md["x"] == {key: {key: key} for key in ODD_KEYS}
    assert list(sep_md["x"]) == ODD_KEYS


def test_no_key_is_changed_by_writing_another(sep_md: RemoteKVMapping) -> None:
    """What begins like a key, or is spelt like one, is another key."""
    keys = ["a", "a:", "a:b", "a%3Ab", "a%253Ab", "a%3", "A", "aa", "", ":", "a*", "a?", "a[a]"]
    sep_md.update({key: {"is": key} for key in keys})
    for key in keys:
        sep_md[key] = {"was": key}
        sep_md[key]["n"] = 1
        del sep_md[key]
        assert sep_md == {k: {"is": k} for k in keys if k != key}
        sep_md[key] = {"is": key}


@pytest.mark.parametrize("sep", SEPARATORS)
@given(path=st.lists(KEYS, min_size=1, max_size=4))
@example(path=["a:", ":b"])
@example(path=["%3A", "%253A", "%25"])
@example(path=["", ""])
@example(path=["a", "b", "ab", "aab"])
@example(path=["a", "aa", "aaa", "aaaa"])
@example(path=["abab", "ba", "a"])
def test_split_undoes_join(sep: str | None, path: list[str]) -> None:
    space = KeySpace("ep1", sep)
    if sep is None:
        path = path[:1]
    key = space.join(path)
    assert key.startswith(space.prefix)
    assert space.split(key) == path
    assert space.first(key) == path[0]


@pytest.mark.parametrize("sep", SEPARATORS)
@given(one=st.lists(KEYS, min_size=1, max_size=3), two=st.lists(KEYS, min_size=1, max_size=3))
def test_a_path_is_below_another_in_the_store_only_if_it_is(
    sep: str | None, one: list[str], two: list[str]
) -> None:
    if sep is None:
        return
    space = KeySpace("ep1", sep)
    below = space.join(two).startswith(space.join(one) + sep)
    assert below == (len(two) > len(one) and two[: len(one)] == one)


@pytest.mark.parametrize("sep", [s for s in SEPARATORS if s is None or len(s) == 1])
@given(rest=KEYS)
@example(rest="a%3Ab:c")
@example(rest="%253A%3a%:")
@example(rest="::")
def test_join_undoes_split_of_what_others_wrote(sep: str | None, rest: str) -> None:
    space = KeySpace("ep1", sep)
    key = space.prefix + rest
    assert space.join(space.split(key)) == key


@pytest.mark.parametrize("sep", [s for s in SEPARATORS if s and len(s) > 1])
@given(rest=KEYS)
def test_foreign_keys_of_long_separators_are_read_as_something(sep: str, rest: str) -> None:
    space = KeySpace("ep1", sep)
    path = space.split(space.prefix + rest)
    assert space.split(space.join(path)) == path


def test_plain_keys_are_spelt_as_they_are() -> None:
    space = KeySpace("ep1", ":")
    for key in ("a", "100%", "%2", "é", "a.b", "a b", "[x]", "%3a", "_value"):
        assert space.join([key]) == f"ep1:{key}"
    assert space.join(["a:b", "c"]) == "ep1:a%3Ab:c"
    assert KeySpace("", ":").join(["a"]) == "a"
    assert KeySpace("xas-", None).join(["a:b"]) == "xas-a:b"


@pytest.mark.parametrize(("sep", "names"), [(":", ["ep1", "ep10", "ep", "ep1x", "Ep1", "%3A"])])
def test_neighbours_never_leak(sep: str, names: list[str], backend: Backend) -> None:
    mappings = {name: RemoteKVMapping(backend, name, sep) for name in names}
    try:
        for name, mapping in mappings.items():
            mapping.update({"who": name, "d": {"l": [name]}, "": name})
        for name, mapping in mappings.items():
            assert mapping == {"who": name, "d": {"l": [name]}, "": name}
        mappings["ep1"].clear()
        assert len(mappings["ep1"]) == 0
        for name in names[1:]:
            assert len(mappings[name]) == 3
    finally:
        for mapping in mappings.values():
            mapping.close()


def test_keys_that_begin_alike_never_leak(md: RemoteKVMapping) -> None:
    md.update({"scan": 1, "scan_id": 2, "scan2": {"a": 1}, "sca": 4})
    md["scan"] = {"new": 1}
    del md["scan"]
    assert md == {"scan_id": 2, "scan2": {"a": 1}, "sca": 4}


@pytest.mark.parametrize("key", ["\ud800", "a\udfffb", "\udc80" * 3])
def test_lone_surrogates_are_refused(key: str, sep_md: RemoteKVMapping) -> None:
    sep_md["a"] = 1
    for write in (
        lambda: sep_md.__setitem__(key, 1),
        lambda: sep_md.update({"b": 1, key: 1}),
        lambda: sep_md.setdefault(key, 1),
        lambda: sep_md.increment(key),
    ):
        with pytest.raises(EncodeError, match="surrogate"):
            write()
    assert sep_md == {"a": 1}


@pytest.mark.parametrize("key", ["\ud800", "a\udfff"])
def test_lone_surrogates_are_nowhere(key: str, md: RemoteKVMapping) -> None:
    """No store can hold one: it is not there, and whoever reads it learns why."""
    assert key not in md
    for read in (lambda: md[key], lambda: md.get(key, 5), lambda: md.pop(key, 5)):
        with pytest.raises(EncodeError, match="surrogate"):
            read()


@pytest.mark.parametrize("key", [1, None, b"a", ("a",), 1.5, frozenset("a")])
def test_other_types_are_type_errors(key: object, sep_md: RemoteKVMapping) -> None:
    for use in (
        lambda: sep_md[key],
        lambda: sep_md.__setitem__(key, 1),
        lambda: sep_md.__delitem__(key),
        lambda: sep_md.pop(key, None),
        lambda: sep_md.update({"b": 1, key: 1}),
    ):
        with pytest.raises(TypeError, match=type(key).__name__):
            use()
    assert len(sep_md) == 0


def test_subclasses_of_str_are_their_text(md: RemoteKVMapping) -> None:
    class Name(str):
        __slots__ = ()

        def __str__(self) -> str:
            return "other"

        __repr__ = __str__

    md[Name("a")] = {Name("k"): Name("v")}
    assert md == {"a": {"k": "v"}}
    assert {type(key) for key in md} == {str}
    assert md[Name("a")]["k"] == "v"


@pytest.mark.parametrize("sep", ["", "%", "3", "a%", "A"])
def test_separators_that_cannot_work(sep: str, backend: Backend) -> None:
    with pytest.raises(ConfigurationError, match="sep"):
        RemoteKVMapping(backend, "ep1", sep)


@pytest.mark.parametrize("sep", [s for s in SEPARATORS if s])
def test_a_mapping_with_any_separator(sep: str, backend: Backend) -> None:
    with RemoteKVMapping(backend, "ep1", sep) as md:
        keys = [*ODD_KEYS[:40], sep, sep * 2, "a" + sep, sep + "a", sep[:1], sep[-1:], f"a{sep}b"]
        items = {key: [key] for key in keys}
        md.update(items)
        assert md == items
        for key in sorted(items):
            md[key].append(1)
            assert md.pop(key) == [key, 1]
            del items[key]
            assert md == items
