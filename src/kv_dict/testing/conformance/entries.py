"""Reading, putting and deleting one entry."""

from __future__ import annotations

import time
from typing import Final

import pytest

from kv_dict.backend import Backend
from kv_dict.model import (
    ABSENT,
    Delete,
    Put,
)
from kv_dict.testing.conformance.base import ConformanceBase
from kv_dict.testing.raw import RawStore

__all__ = ["EntryConformance"]

KEYS: Final = [
    "plain",
    "ep1:user",
    "ep1:main:sup1",
    "",
    ":",
    "::",
    " ",
    "with space",
    "tab\tnewline\n",
    "\x00",
    "a\x00b",
    "\x7f\x80",
    "%",
    "%3A",
    "=41",
    "a.b",
    ".a",
    "a.",
    "a..b",
    "*",
    ">",
    "$",
    "?",
    "[a]",
    "a\\b",
    "'quoted\"",
    "; DROP TABLE entries; --",
    "Σ→é",
    "\U0001f600",
    "\ud7ff\ue000",
    "\U0010ffff",
    "k" * 200,
]


class EntryConformance(ConformanceBase):
    """Reading, putting and deleting one entry."""

    def test_a_missing_key_is_none(self, backend: Backend) -> None:
        assert self.read(backend, "missing") is None

    def test_a_put_is_read_back_and_is_really_there(self, raw: RawStore, backend: Backend) -> None:
        (revision,) = self.commit(backend, Put("k", b'{"a": 1}'))
        entry = self.read(backend, "k")
        assert entry is not None
        assert (entry.key, entry.value, entry.revision) == ("k", b'{"a": 1}', revision)
        assert raw.get("k") == b'{"a": 1}'
        assert raw.keys() == {"k"}

    def test_a_foreign_programs_put_is_read(self, raw: RawStore, backend: Backend) -> None:
        raw.put("k", b"7")
        entry = self.read(backend, "k")
        assert entry is not None
        assert entry.value == b"7"

    @pytest.mark.parametrize(
        "value",
        [b"", b"null", "\u00e9\U0001f600".encode(), b"x" * 500_000],
        ids=["empty", "null", "unicode", "half a megabyte"],
    )
    def test_any_text_is_a_value(self, raw: RawStore, backend: Backend, value: bytes) -> None:
        self.commit(backend, Put("k", value))
        entry = self.read(backend, "k")
        assert entry is not None
        assert entry.value == value
        assert raw.get("k") == value

    def test_every_string_is_a_key(self, raw: RawStore, backend: Backend) -> None:
        for number, key in enumerate(KEYS):
            self.commit(backend, Put(key, str(number).encode(), ABSENT))
        for number, key in enumerate(KEYS):
            entry = self.read(backend, key)
            assert entry is not None, key
            assert entry.value == str(number).encode(), key
            assert raw.get(key) == str(number).encode(), key
        assert self.keys_under(backend, "") == sorted(KEYS)
        for key in KEYS:
            self.commit(backend, Delete(key))
        assert raw.keys() == set()

    def test_a_delete_removes(self, raw: RawStore, backend: Backend) -> None:
        self.commit(backend, Put("k", b"1"))
        assert self.commit(backend, Delete("k")) == (None,)
        assert self.read(backend, "k") is None
        assert raw.keys() == set()

    def test_an_unguarded_delete_of_a_missing_key_is_no_error(self, backend: Backend) -> None:
        assert self.commit(backend, Delete("missing")) == (None,)

    def test_the_time_is_about_now_where_it_is_known(self, backend: Backend) -> None:
        before = time.time()
        self.commit(backend, Put("k", b"1"))
        entry = self.read(backend, "k")
        assert entry is not None
        assert entry.time is None or before - 2 <= entry.time <= time.time() + 2
