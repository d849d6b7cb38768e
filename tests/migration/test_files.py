"""From folders and files: bluesky's PersistentDict, apstools' StoredDict, YAML, JSON."""

from __future__ import annotations

import datetime as dt
import json
import math
import os
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
import yaml

from kv_dict import ConfigurationError, DecodeError, EncodeError, Unavailable
from kv_dict.migration import Report, migrate, prepare
from kv_dict.migration.comparing import same
from kv_dict.migration.sources import open_source
from kv_dict.migration.sources.persistent_dict import PersistentDictSource

Read = Callable[..., dict[str, Any]]
MD: dict[str, Any] = {
    "scan_id": 7,
    "beamline_id": "xas",
    "sample": {"name": "Fe₂O₃", "layers": [1, 2.5, None], "empty": {}},
    "wet": False,
}


def state(path: Path) -> dict[str, Any]:
    """Return everything about a file, or about a folder and all in it, that writing changes."""
    files = [path, *sorted(path.rglob("*"))] if path.is_dir() else [path]
    return {
        str(p): (p.stat().st_ino, p.stat().st_mtime_ns, None if p.is_dir() else p.read_bytes())
        for p in files
    }


@pytest.fixture
def unchanged() -> Iterator[Callable[[Path], Path]]:
    """Checks, when the test is over, that a source is what it was when it was given."""
    before: dict[Path, dict[str, Any]] = {}

    def watch(path: Path) -> Path:
        before[path] = state(path)
        return path

    yield watch
    assert before
    for path, was in before.items():
        assert state(path) == was


# -- PersistentDict --------------------------------------------------------------------------------


@pytest.fixture
def persistent(tmp_path: Path) -> Callable[[dict[str, Any]], Path]:
    """Has bluesky write a PersistentDict."""
    utils = pytest.importorskip("bluesky.utils")

    def write(items: dict[str, Any]) -> Path:
        folder = tmp_path / "persistent"
        utils.PersistentDict(folder).update(items)
        return folder

    return write


OF_PERSISTENT_DICT: dict[str, Any] = MD | {
    "dark": np.arange(6, dtype=">f4").reshape(2, 3),
    "mask": {"pixels": [np.array([True, False])]},
    "phase": 1 - 2j,
    "raw": b"\x00\xff",
    "odd key/with.dots #1 %": "é",
    "": "empty key",
    "nan": math.nan,
}


@pytest.mark.beamline
def test_a_persistent_dict(
    persistent: Callable[..., Path], unchanged: Callable[[Path], Path], url: str, destination: Read
) -> None:
    folder = unchanged(persistent(OF_PERSISTENT_DICT))
    report = migrate(folder, url)
    total = len(OF_PERSISTENT_DICT)
    assert report == Report(read=total, written=total, verified=total)
    assert same(destination(), OF_PERSISTENT_DICT)
    assert migrate(str(folder), url) == Report(read=total, equal=total, verified=total)


@pytest.mark.beamline
def test_what_changes_in_a_persistent_dict_is_told(
    persistent: Callable[..., Path], url: str, destination: Read
) -> None:
    folder = persistent({"n": np.int64(3), "list": [np.bool_(True)], "pair": (1, 2), "a.b": 1})
    migration = prepare(folder, url)
    assert {tuple(conversion) for conversion in migration.plan.conversions} == {
        ("md['n']", "numpy.int64", "int"),
        ("md['list'][0]", "numpy.bool", "bool"),
    }
    assert [warning for warning in migration.plan.warnings if "md['a.b']" in warning]
    migration.run()
    # PersistentDict itself had the tuple in memory only.
    assert same(destination(), {"n": 3, "list": [True], "pair": [1, 2], "a.b": 1})


@pytest.mark.beamline
def test_pickles_in_a_persistent_dict_are_not_run(
    persistent: Callable[..., Path], unchanged: Callable[[Path], Path], tmp_path: Path, url: str
) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "exploded"),)

    records = np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")])
    value = {"deep": [np.array([Bomb()], dtype=object)]}
    folder = unchanged(persistent({"fine": 1, "objects": value, "records": records}))
    migration = prepare(folder, url, skip_unusable=True)
    assert {item.key for item in migration.plan.unusable} == {"objects", "records"}
    reasons = " ".join(item.reason for item in migration.plan.unusable)
    assert "md['objects']['deep'][0] cannot be read" in reasons
    assert "records" in reasons
    assert migration.run() == Report(read=3, written=1, skipped=2, verified=1)
    assert not (tmp_path / "exploded").exists()


def test_the_files_of_an_older_zict(tmp_path: Path, url: str, destination: Read) -> None:
    folder = tmp_path / "old"
    folder.mkdir()
    (folder / "a%2Fb").write_bytes(msgpack.packb({"n": 1}))
    assert migrate(folder, url).verified == 1
    assert destination() == {"a/b": {"n": 1}}


def test_damage_in_a_folder_is_told_by_file(
    tmp_path: Path, unchanged: Callable[[Path], Path], url: str, destination: Read
) -> None:
    folder = tmp_path / "damaged"
    folder.mkdir()
    (folder / "good#1").write_bytes(msgpack.packb(1))
    (folder / "cut#2").write_bytes(msgpack.packb({"long": "x" * 100})[:50])
    (folder / "empty#3").write_bytes(b"")
    (folder / "twice#4").write_bytes(msgpack.packb(1))
    (folder / "twice#5").write_bytes(msgpack.packb(2))
    (folder / "numbers#6").write_bytes(msgpack.packb({1: 2}))
    (folder / "deep#7").write_bytes(b"\x91" * 100_000 + b"\x01")
    (folder / "nested#9").write_bytes(b"\x91" * 1000 + b"\x01")
    (folder / "bad-array#8").write_bytes(
        msgpack.packb({b"nd": True, b"type": "<f8", b"kind": b"", b"shape": [9], b"data": b"x"})
    )
    unchanged(folder)
    migration = prepare(folder, url)
    told = {item.key: item.reason for item in migration.plan.unusable}
    assert told.keys() == {"cut", "empty", "twice", "numbers", "deep", "nested", "bad-array"}
    assert "cut#2" in told["cut"]
    assert "twice#4" in told["twice"]
    assert "twice#5" in told["twice"]
    assert "its key 1 is of type int" in told["numbers"]
    with pytest.raises(EncodeError, match="7 of 8 items cannot be stored"):
        migration.run()
    assert migration.report == Report(read=8, refused=7)
    assert not Path(url.removeprefix("sqlite://")).exists()
    assert migrate(folder, url, skip_unusable=True).written == 1
    assert destination() == {"good": 1}


@pytest.mark.parametrize("content", ["folder", "name", "text"])
def test_a_folder_of_something_else(tmp_path: Path, url: str, content: str) -> None:
    folder = tmp_path / "other"
    folder.mkdir()
    if content == "folder":
        (folder / "sub").mkdir()
    elif content == "name":
        (folder / "with space.txt").write_bytes(msgpack.packb(1))
    else:
        (folder / "README.md").write_text("Hello, this is a text.")
    with pytest.raises((ConfigurationError, DecodeError), match="not a folder of PersistentDict"):
        migrate(folder, url)


def test_a_folder_that_changes_meanwhile(tmp_path: Path) -> None:
    folder = tmp_path / "busy"
    folder.mkdir()
    (folder / "a#1").write_bytes(msgpack.packb(1))

    def write(doing: str, done: int, of: int) -> None:
        (folder / f"b#{done + 2}").write_bytes(msgpack.packb(2))

    with pytest.raises(Unavailable, match="was changed while it was read"):
        PersistentDictSource(folder).read(write, timeout=5)


# -- StoredDict and YAML ---------------------------------------------------------------------------


@pytest.fixture
def stored_dict(tmp_path: Path) -> Callable[[dict[Any, Any]], Path]:
    """Writes a file as apstools 1.7's StoredDict does."""

    def write(items: dict[Any, Any]) -> Path:
        path = tmp_path / ".re_md_dict.yml"
        path.write_text(
            "# Written by StoredDict.\n"
            f"# Dictionary contents written: {dt.datetime.now()}\n\n"  # noqa: DTZ005 - as it does
            + yaml.dump(items.copy(), indent=2)
        )
        return path

    return write


def test_a_stored_dict(
    stored_dict: Callable[..., Path],
    unchanged: Callable[[Path], Path],
    url: str,
    destination: Read,
) -> None:
    shared = [1, 2]
    items = MD | {
        "pair": (1, (2, 3)),
        "energy": np.float64(8.047),
        "counts": OrderedDict(b=1, a=2),
        "tiny": 1e-05,
        "phase": 1 + 2j,
        "nan": math.nan,
        "shared": {"one": shared, "other": shared},
        "when": dt.date(2026, 11, 23),
    }
    path = unchanged(stored_dict(items))
    migration = prepare(path, url)
    assert migration.source.kind == "stored-dict"
    assert {tuple(conversion) for conversion in migration.plan.conversions} == {
        ("md['pair']", "tuple", "list"),
        ("md['pair'][1]", "tuple", "list"),
        ("md['energy']", "numpy.float64", "float"),
        ("md['counts']", "collections.OrderedDict", "dict"),
    }
    assert migration.run() == Report(read=len(items), written=len(items), verified=len(items))
    converted = {"pair": [1, [2, 3]], "energy": 8.047, "counts": {"b": 1, "a": 2}}
    assert same(destination(), items | converted)
    assert migrate(path, url).equal == len(items)


def test_objects_in_a_stored_dict_are_not_built(
    stored_dict: Callable[..., Path], tmp_path: Path, url: str
) -> None:
    path = stored_dict({"fine": 1, 5: "number as key"})
    with path.open("a") as file:
        file.write(f"bomb: {{x: [!!python/object/apply:os.mkdir ['{tmp_path}/exploded']]}}\n")
        file.write("name: !!python/name:os.system ''\n")
    migration = prepare(path, url)
    told = {item.key: item.reason for item in migration.plan.unusable}
    assert told.keys() == {"bomb", "name", "5"}
    assert "md['bomb']['x'][0] cannot be read: !!python/object/apply:os.mkdir" in told["bomb"]
    assert "strings, not int" in told["5"]
    assert migration.plan.add.keys() == {"fine"}
    assert not (tmp_path / "exploded").exists()


def test_yaml_by_hand(tmp_path: Path, url: str, destination: Read) -> None:
    path = tmp_path / "md.yaml"
    path.write_text(
        "defaults: &defaults {a: 1, b: 2}\n"
        "merged: {<<: *defaults, b: 3}\n"
        "when: 2026-11-23\n"
        "names: !!set {x, y}\n"
        "tagged: {$kv:complex: [1.0, -2.0]}\n"
        "on: 1\n"
        "again: 1\nagain: 2\n"
        "inside: {k: 1, k: 2}\n"
        "itself: &x [*x]\n"
    )
    migration = prepare(path, url, skip_unusable=True)
    told = {item.key: item.reason for item in migration.plan.unusable}
    assert told.keys() == {"True", "again", "inside", "itself"}
    assert "line 8" in told["again"]
    migration.run()
    assert destination() == {
        "defaults": {"a": 1, "b": 2},
        "merged": {"a": 1, "b": 3},
        "when": dt.date(2026, 11, 23),
        "names": {"x", "y"},
        "tagged": 1 - 2j,
        "again": 1,
    }


def test_yaml_that_expands_without_end(tmp_path: Path, url: str) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 30)]
    path = tmp_path / "laughs.yaml"
    path.write_text("\n".join(lines))
    told = open_source(path).read(lambda *_: None, timeout=5).unusable
    assert len(told) > 20
    assert "expands to too much" in told[-1].reason


# -- JSON ------------------------------------------------------------------------------------------


def test_json(
    tmp_path: Path, unchanged: Callable[[Path], Path], url: str, destination: Read
) -> None:
    path = tmp_path / "md.json"
    tags = {"when": {"$kv:date": "2026-11-23"}, "future": {"$kv:quux": 1}}
    path.write_text(json.dumps(MD | {"nan": math.nan, "big": 2**70} | tags))
    unchanged(path)
    migration = prepare(path, url, skip_unusable=True)
    assert [item.key for item in migration.plan.unusable] == ["future"]
    migration.run()
    expected = MD | {"nan": math.nan, "big": 2**70, "when": dt.date(2026, 11, 23)}
    assert same(destination(), expected)


# -- sizes and bad input ---------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1, 2000])
@pytest.mark.parametrize("kind", ["persistent-dict", "stored-dict", "json"])
def test_sizes(tmp_path: Path, url: str, destination: Read, kind: str, count: int) -> None:
    items = {f"key {n}": {"n": n} for n in range(count)}
    path = tmp_path / "source"
    if kind == "persistent-dict":
        path.mkdir()
        for n, (key, value) in enumerate(items.items()):
            (path / f"{key.replace(' ', '%20')}#{n}").write_bytes(msgpack.packb(value))
    else:
        path.write_text(json.dumps(items) if kind == "json" else yaml.dump(items))
    told: list[tuple[str, int, int]] = []
    report = migrate(path, url, kind=kind, progress=lambda *args: told.append(args))
    assert report == Report(read=count, written=count, verified=count)
    assert migrate(path, url, kind=kind) == Report(read=count, equal=count, verified=count)
    if count:
        assert destination() == items
        assert {doing for doing, _, _ in told} == {"reading", "comparing", "writing", "verifying"}
        assert all(0 <= done <= of == count for _, done, of in told)
    else:
        assert not Path(url.removeprefix("sqlite://")).exists()


@pytest.mark.parametrize(
    ("kind", "content", "said"),
    [
        ("json", b"", "is not JSON"),
        ("json", b"{", "is not JSON"),
        ("json", b"\xff\xfe\x00", "is not JSON"),
        ("json", b"[1]", "holds a list"),
        ("json", b'{"a": 1, "a": 2}', "is not JSON: the key 'a' is there twice"),
        ("json", b'{"a": ' + b"[" * 100_000, "is nested too deeply"),
        ("yaml", b"a: [1", "is not YAML.*line 1"),
        ("yaml", b"a: \x00", "is not YAML"),
        ("yaml", b"\xff\xff", "is not YAML"),
        ("yaml", b"- 1\n", "holds a sequence"),
        ("yaml", b"just words\n", "holds a scalar"),
        ("yaml", b"a: 1\n---\nb: 1\n", "is not YAML"),
        ("yaml", b"a: " + b"[" * 100_000, "is nested too deeply"),
        ("stored-dict", b"a: b: c\n", "is not YAML"),
    ],
)
def test_files_that_cannot_be_read(
    tmp_path: Path, url: str, kind: str, content: bytes, said: str
) -> None:
    path = tmp_path / "source"
    path.write_bytes(content)
    with pytest.raises(DecodeError, match=f"(?s)source {said}"):
        migrate(path, url, kind=kind)
    assert not Path(url.removeprefix("sqlite://")).exists()


@pytest.mark.parametrize("kind", ["persistent-dict", "stored-dict", "yaml", "json", None])
@pytest.mark.parametrize("what", ["missing", "loop", "other", "device"])
def test_sources_that_are_not_there(tmp_path: Path, url: str, kind: str | None, what: str) -> None:
    path = tmp_path / "source"
    if what == "loop":
        path.symlink_to(path)
    elif what == "device":
        path = Path("/dev/zero")
    elif what == "other" and kind == "persistent-dict":
        path.write_text("{}")
    elif what == "other":
        path.write_text("{}") if kind is None else path.mkdir()
    said = "cannot be read|that can be read|does not show"
    with pytest.raises(ConfigurationError, match=said):
        migrate(path, url, kind=kind)


def test_the_destination_may_not_be_inside_the_source(tmp_path: Path) -> None:
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "a#1").write_bytes(msgpack.packb(1))
    with pytest.raises(ConfigurationError, match="is a part of the source"):
        migrate(folder, f"sqlite://{folder}/md.db")
    assert [path.name for path in folder.iterdir()] == ["a#1"]
