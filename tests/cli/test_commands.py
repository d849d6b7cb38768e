"""What each command does to a store, and what it says."""

from __future__ import annotations

import contextlib
import datetime as dt
import decimal
import json
import pathlib
import sqlite3
import threading
import uuid
from typing import Any

import numpy as np
import pytest

from kv_dict import RemoteKVMapping
from kv_dict.codec import JSONCodec

from .conftest import Run, lines

EVERYTHING: dict[str, Any] = {
    "none": None, "true": True, "int": 7, "float": 8.047, "one": 1.0, "text": "Fe₂O₃\n\t\x85\u2028",
    "list": [1, [2, {"x": []}]], "dict": {"b": 1, "a": {}}, "int64": 2**63, "huge": 10**5000,
    "nan": float("nan"), "inf": [float("inf"), -float("inf")], "complex": complex(1, float("nan")),
    "decimal": decimal.Decimal("1.10"), "bytes": bytes(range(256)), "bytearray": bytearray(b"x"),
    "set": {1, "a", (1, 2)}, "frozenset": frozenset({1.5}), "uuid": uuid.UUID(int=7),
    "path": pathlib.Path("/data/a b"), "date": dt.date(2026, 1, 2), "time": dt.time(1, 2, 3),
    "datetime": dt.datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=dt.UTC), "delta": dt.timedelta(1, 2, 3),
    "array": np.arange(6.0).reshape(2, 3), "names": np.array(["a", "bc"]), "yes": "yes", "n": "no",
    "looks like a number": "1e5", "a tag": {"$kv:set": [1]}, "$kv:set": [1], "on": "on",
    "": "empty",
    "a/b~c": {"x/y": 1}, "hostile\x1b[2J": "\x1b[31m\u202e\x07", "date as text": "2026-01-02",
    "colon: here": "- a\n- b", "emoji": "🙂", "astral 😀": "\U0010ffff", "null": "null", "~": "~",
}  # fmt: skip


def encoded(items: dict[str, Any]) -> dict[str, bytes]:
    return {key: JSONCodec().encode(value, key) for key, value in items.items()}


# -- ls --------------------------------------------------------------------------------------------


def test_ls_shows_a_tree(run: Run, md: RemoteKVMapping) -> None:
    md.update(sample={"name": "Fe2O3", "layers": [12.5, {"a": 1}]}, scan_id=7)
    assert run("ls").stdout == (
        "sample\n"
        '  name                  "Fe2O3"\n'
        '  layers                [12.5, {"a": 1}]\n'
        "scan_id                 7\n"
    )
    assert run("ls", "--depth", "1").stdout.splitlines()[0].endswith('"layers": [12.5, {"a": 1}]}')
    assert run("ls", "--keys").stdout == "sample\nscan_id\n"
    assert run("ls", "s?an*").stdout.startswith("scan_id")
    assert run("ls", "--prefix", "sam", "--keys").stdout == "sample\n"
    told = {line["key"]: line for line in lines(run("ls", "--json"))}
    assert told["sample"]["value"] == md["sample"]
    assert told["scan_id"]["time"] == pytest.approx(md.version("scan_id").time)
    assert told["scan_id"]["revision"] in run("ls", "--long").stdout


def test_ls_of_nothing_is_empty_and_of_nothing_like_that_a_failure(run: Run) -> None:
    run("set", "scan_id=1")
    run("del", "scan_id")
    assert run("ls").output == ""
    run("set", "scan_id=1")
    assert "none of the 1 keys" in run("ls", "x*", status=1).stderr
    assert 'did you mean "scan_id"' in run("ls", "scan_ids", status=1).stderr


@pytest.mark.parametrize(
    "looking", [("ls",), ("get", "a"), ("history", "a"), ("export",), ("check", "--read-only")]
)
def test_looking_makes_no_file(run: Run, tmp_path: pathlib.Path, looking: tuple[str, ...]) -> None:
    status = 2 if looking[0] == "check" else 1
    told = run(*looking, "--url", f"sqlite://{tmp_path}/beamlne.db", status=status).output
    assert f"there is no file {tmp_path}/beamlne.db; the first write makes it" in told
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("option", ["--url", "--profile"])
def test_an_empty_option_is_not_the_default_store(run: Run, option: str) -> None:
    told = run("set", option, "", "a=1", status=2).stderr
    assert "is empty: was it to come from a variable that is not set?" in told


# -- get -------------------------------------------------------------------------------------------


def test_get_a_value_or_a_part(run: Run, md: RemoteKVMapping) -> None:
    md["sample"] = {"name": "Fe2O3", "layers": [12.5, 8.0]}
    md["a/b~c"] = {"x/y": 1, "0": "zero"}
    assert run("get", "sample/layers/-1").stdout == "8.0\n"
    assert run("get", "a~1b~0c/x~1y").stdout == "1\n"
    assert run("get", "a~1b~0c/0").stdout == '"zero"\n'
    assert run("get", "--raw", "sample/name").stdout == "Fe2O3\n"
    assert run("get", "--raw", "sample").stdout == '{"name":"Fe2O3","layers":[12.5,8.0]}\n'
    (told,) = lines(run("get", "--json", "sample/name"))
    assert told["value"] == "Fe2O3"
    assert told["path"] == ["sample", "name"]


def test_get_raw_bytes_are_bytes(run: Run, md: RemoteKVMapping) -> None:
    md["bytes"] = bytes(range(256))
    assert run("get", "--raw", "bytes").stdout_bytes == bytes(range(256))


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("Sample", 'did you mean "sample"'),
        ("sampel", 'did you mean "sample"'),
        ("sample/nam", 'did you mean "sample/name"'),
        ("sample/layers/2", "the list has 2 items"),
        ("sample/layers/first", "its items have numbers"),
        ("sample/name/x", '"sample/name" is of type str'),
        ("xyz", 'there is no "xyz"'),
        ("", 'there is no ""'),
    ],
)
def test_get_what_is_not_there(run: Run, md: RemoteKVMapping, path: str, said: str) -> None:
    md["sample"] = {"name": "Fe2O3", "layers": [12.5, 8.0]}
    assert said in run("get", path, status=1).stderr


def test_a_wrong_escape_is_wrong_usage(run: Run) -> None:
    assert "'~' in a key is written ~0" in run("get", "a~2", status=2).stderr


def test_every_value_is_shown_and_nothing_of_it_obeyed(run: Run, md: RemoteKVMapping) -> None:
    md.update(EVERYTHING)
    shown = run("ls").stdout + "".join(run("get", spelt(key)).stdout for key in EVERYTHING if key)
    unsafe = {c for c in shown if not c.isprintable() and c != "\n"} | ({"\u202e"} & set(shown))
    assert unsafe == set()
    assert "array 2x3 float64 [[0., 1., 2.], [3., 4., 5.]]" in shown
    assert "bytes (256) 00 01 02" in shown
    assert r"\u001b[31m\u202e\u0007" in shown


def spelt(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")


def test_huge_and_deep_values_are_cut_in_lists_and_whole_in_get(
    run: Run, md: RemoteKVMapping
) -> None:
    deep: list[Any] = []
    for _ in range(95):
        deep = [deep]
    md.update(long="x" * 300_000, deep=deep, wide={str(n): n for n in range(5000)})
    listed = run("ls", "--depth", "1").stdout
    assert max(map(len, listed.splitlines())) < 20_000
    assert len(run("get", "long").stdout) > 300_000
    assert run("get", "deep").stdout.count("[") == 96
    assert len(run("get", "wide").stdout.splitlines()) == 5002


# -- set -------------------------------------------------------------------------------------------


def test_set_tells_what_was_there(run: Run, md: RemoteKVMapping) -> None:
    assert run("set", "operator", "Ada").stdout == 'operator = "Ada"  (new)\n'
    assert run("set", "operator=Rosalind F.").stdout == 'operator = "Rosalind F."  (was "Ada")\n'
    assert run("set", "-q", "operator=x=y").stdout == ""
    assert md["operator"] == "x=y"
    (told,) = lines(run("set", "--json", "operator", "null"))
    assert told == {"key": "operator", "value": None, "previous": "x=y"}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("7", 7), ("8.0", 8.0), ("1e-3", 1e-3), ("true", True), ("null", None), ('"7"', "7"),
        ('{"a": [1, {"b": 2}]}', {"a": [1, {"b": 2}]}), ("2026-3", "2026-3"), ("pass-7", "pass-7"),
        ("two words", "two words"), ("Fe₂O₃", "Fe₂O₃"), ('{"$kv:set": [1]}', {1}), ("1,5", "1,5"),
        ("12:30", "12:30"),
    ],
)  # fmt: skip
def test_set_reads_json_and_words(run: Run, md: RemoteKVMapping, text: str, value: Any) -> None:
    run("set", "x", text)
    assert md["x"] == value
    assert type(md.copy()["x"]) is type(value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("True", "as true"), ("None", "as null"), (".5", "as 0.5"), ("1.", "as 1"), ("+5", "as 5"),
        ("{a: 1}", "is not JSON"), ("[1, 2", "is not JSON"), ('"open', "is not JSON"),
        ("", "is not JSON"), ('{"$kv:new": 1}', "newer kv-dict"), ("[" * 5000, "not JSON"),
        ('{"$kv:datetime": "soon"}', "does not fit"),
    ],
)  # fmt: skip
def test_set_refuses_what_was_meant_otherwise(
    run: Run, md: RemoteKVMapping, text: str, said: str
) -> None:
    assert said in run("set", "x", text, status=1).stderr
    assert "x" not in md
    if "$kv" not in text:
        run("set", "--string", "x", text)
        assert md["x"] == text


def test_set_reads_standard_input(run: Run, md: RemoteKVMapping) -> None:
    run("set", "x", "-", stdin='{"a": 1}\n')
    assert md["x"] == {"a": 1}
    run("set", "--string", "x", "-", stdin="a line\n")
    assert md["x"] == "a line"
    assert "not UTF-8" in run("set", "x", "-", stdin=b"\xff", status=1).stderr


def test_set_several_is_one_step(run: Run, md: RemoteKVMapping) -> None:
    run("set", "a=1", "b=two")
    assert md.copy() == {"a": 1, "b": "two"}
    run("set", "a=5", "b={", status=1)
    assert md.copy() == {"a": 1, "b": "two"}
    assert "given twice" in run("set", "a=1", "a=2", status=2).stderr
    assert "has no value" in run("set", "a", status=2).stderr
    assert "has no value" in run("set", "a=1", "b", "c", status=2).stderr


def test_set_refuses_a_key_that_was_lost(run: Run, md: RemoteKVMapping) -> None:
    """As in ``kv-dict set $KEY=3``, where no such variable is set."""
    assert 'has no key in front of "="' in run("set", "=3", "a=1", status=2).stderr
    assert dict(md) == {}
    run("set", "", "3")
    assert dict(md) == {"": 3}


def test_set_and_del_put_right_what_cannot_be_read(
    run: Run, md: RemoteKVMapping, tmp_path: pathlib.Path
) -> None:
    def damage(*keys: str) -> None:
        with contextlib.closing(sqlite3.connect(tmp_path / "md.db")) as other, other:
            other.executemany(
                "INSERT OR REPLACE INTO entries (key, value) VALUES (?, ?)",
                [(f"md:{key}", "{no JSON") for key in keys],
            )

    md["a"] = 1
    damage("bad", "worse")
    assert "not JSON" in run("get", "bad", status=1).stderr
    assert run("set", "bad", "2").stdout == "bad = 2  (was unreadable)\n"
    assert "worse = 3  (was unreadable)" in run("set", "a=2", "worse=3", "new=4").stdout
    assert dict(md) == {"a": 2, "bad": 2, "new": 4, "worse": 3}

    damage("bad", "worse")
    assert "cannot be read" in run("set", "bad", "5", "--if-revision", "7", status=1).stderr
    assert "is there already" in run("set", "bad", "5", "--if-absent", status=1).stderr
    assert "not JSON" in run("set", "bad/part", "5", status=1).stderr
    assert lines(run("set", "bad", "5", "--json")) == [{"key": "bad", "value": 5}]
    assert run("del", "worse").stdout == "worse removed  (was unreadable)\n"
    damage("worse")
    assert lines(run("del", "worse", "a", "--json")) == [
        {"key": "worse"},
        {"key": "a", "previous": 2},
    ]
    assert dict(md) == {"bad": 5, "new": 4}

    damage("bad")
    told = run("import", "--replace", "-", stdin='{"bad": 6, "a": 1}', status=1).stderr
    assert "what is there of 'bad' cannot be read" in told
    assert dict(md) == {"new": 4}


def test_set_a_part_leaves_the_rest(run: Run, md: RemoteKVMapping) -> None:
    md["sample"] = {"name": "x", "layers": [1, 2], "when": {3}}
    assert run("set", "sample/layers/0", "5").stdout == "sample/layers/0 = 5  (was 1)\n"
    run("set", "sample/layers/-=9", "sample/name=Au", "sample/new={}")
    assert md["sample"] == {"name": "Au", "layers": [5, 2, 9], "when": {3}, "new": {}}
    for path in ("sample/no/such", "sample/layers/7", "none/x", "sample/name/x", "sample/when/3"):
        run("set", path, "1", status=1)
    assert "one after the other" in run("set", "sample/name=1", "b=1", status=2).stderr


def test_parts_that_several_change_at_once_are_all_kept(run: Run, md: RemoteKVMapping) -> None:
    md["counts"] = {str(n): 0 for n in range(4)}

    def work(n: int) -> None:
        for value in range(1, 16):
            md["counts"][str(n)] = value

    threads = [threading.Thread(target=work, args=(n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    for value in range(1, 16):
        run("set", "counts/3", str(value))
    for thread in threads:
        thread.join(30)
    assert md["counts"] == {str(n): 15 for n in range(4)}


def test_set_if_revision(run: Run, md: RemoteKVMapping) -> None:
    md["scan"] = {"n": 1}
    (seen,) = lines(run("get", "--json", "scan"))
    run("set", "scan/n=2", "--if-revision", seen["revision"])
    conflict = run("set", "scan/n=3", "--if-revision", seen["revision"], status=1).stderr
    assert 'is now {"n": 2}' in conflict
    run("set", "scan=3", "--if-revision", seen["revision"], status=1)
    (seen,) = lines(run("ls", "--json"))
    run("set", "scan=3", "--if-revision", seen["revision"])
    assert md["scan"] == 3
    del md["scan"]
    assert "any more" in run("set", "scan=4", "--if-revision", "1", status=1).stderr
    assert "for one item" in run("set", "a=1", "b=1", "--if-revision", "1", status=2).stderr


def test_set_if_absent(run: Run, md: RemoteKVMapping) -> None:
    run("set", "--if-absent", "a=1", "b=2")
    refused = run("set", "--if-absent", "b=3", "c=4", status=1).stderr
    assert '"b" is there already: 2' in refused
    assert md.copy() == {"a": 1, "b": 2}
    md["d"] = {}
    run("set", "--if-absent", "d/x=1")
    assert '"d/x" is 1' in run("set", "--if-absent", "d/x=2", status=1).stderr


# -- del -------------------------------------------------------------------------------------------


def test_del(run: Run, md: RemoteKVMapping) -> None:
    md.update(a=1, b=2, c={"x": [1, 2]})
    assert 'there is no "d"' in run("del", "a", "d", status=1).stderr
    assert run("del", "a", "b").stdout == "a removed  (was 1)\nb removed  (was 2)\n"
    (told,) = lines(run("del", "c/x/0", "--json"))
    assert told == {"key": "c", "path": ["c", "x", "0"], "previous": 1}
    assert md.copy() == {"c": {"x": [2]}}
    run("del", "c/y", status=1)
    run("del", "z/y", status=1)
    assert "one at a time" in run("del", "c/x", "c", status=2).stderr


# -- history ---------------------------------------------------------------------------------------


def test_history(run: Run, md: RemoteKVMapping) -> None:
    for energy in range(6):
        md["energy"] = energy
    told = lines(run("history", "energy", "--json"))
    assert [line["value"] for line in told] == [2, 3, 4, 5]
    assert [line["time"] for line in told] == sorted(line["time"] for line in told)
    assert run("history", "energy", "--last", "1").stdout.endswith("  5\n")
    assert 'did you mean "energy"' in run("history", "energie", status=1).stderr
    assert "whole items" in run("history", "energy/x", status=2).stderr
    assert "history=N" in run("--url", "memory://", "history", "x", status=1).stderr


# -- export, import --------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["json", "yaml"])
def test_every_type_survives_a_file(
    run: Run, md: RemoteKVMapping, tmp_path: pathlib.Path, form: str
) -> None:
    md.update(EVERYTHING)
    file = tmp_path / f"all.{form}"
    run("export", str(file))
    other = f"sqlite://{tmp_path / 'other.db'}"
    run("--url", other, "import", str(file))
    assert run("--url", other, "export").stdout == run("export").stdout
    md.clear()
    run("import", str(file))
    assert encoded(md.copy()) == encoded(EVERYTHING)
    same = f"0 new, 0 changed, 0 removed, {len(EVERYTHING)} the same"
    assert same in run("import", str(file)).stdout


def test_export_through_a_pipe(run: Run, md: RemoteKVMapping) -> None:
    md.update(a=1, b=2, sample=3)
    piped = run("export", "--format", "yaml", "--select", "s*", "--select", "a").stdout
    assert piped == "a: 1\nsample: 3\n"
    md.clear()
    run("import", "--format", "yaml", "-", stdin=piped)
    assert md.copy() == {"a": 1, "sample": 3}


def test_export_does_not_replace_a_file(
    run: Run, md: RemoteKVMapping, tmp_path: pathlib.Path
) -> None:
    file = tmp_path / "there.json"
    file.write_text("mine")
    assert "--force" in run("export", str(file), status=1).stderr
    assert file.read_text() == "mine"
    run("export", "--force", str(file))
    assert json.loads(file.read_text()) == {}
    assert "cannot write" in run("export", str(tmp_path / "no" / "x"), status=1).stderr
    assert {path.name for path in tmp_path.iterdir()} <= {
        "there.json", "md.db", "md.db-wal", "md.db-shm"
    }  # fmt: skip


def test_import_overwrites_only_if_told(
    run: Run, md: RemoteKVMapping, tmp_path: pathlib.Path
) -> None:
    md.update(same=1, changed={"x": 1, "y": 2}, other=3)
    file = tmp_path / "in.json"
    file.write_text('{"same": 1, "changed": {"x": 5, "z": 0}, "new": 9}')
    before = md.copy()
    refused = run("import", str(file), status=1)
    assert "~ changed/x  1 -> 5" in refused.stdout
    assert "--overwrite" in refused.stderr
    dry = run("import", "--dry-run", "--replace", str(file)).stdout
    assert dry.splitlines() == [
        "~ changed/x  1 -> 5",
        "- changed/y  2",
        "+ changed/z  0",
        "+ new  9",
        "- other  3",
        "1 new, 1 changed, 1 removed, 1 the same (nothing was written)",
    ]
    assert md.copy() == before
    run("import", "--overwrite", str(file))
    assert md.copy() == {"same": 1, "changed": {"x": 5, "z": 0}, "new": 9, "other": 3}
    run("import", "--replace", str(file))
    assert md.copy() == {"same": 1, "changed": {"x": 5, "z": 0}, "new": 9}


def test_import_tells_1_from_true_and_from_1_0(run: Run, md: RemoteKVMapping) -> None:
    md.update(a=1, b=True)
    told = run("import", "--dry-run", "-", stdin='{"a": 1.0, "b": 1}').stdout
    assert "~ a  1 -> 1.0\n~ b  true -> 1\n" in told


@pytest.mark.parametrize(
    ("form", "text", "said"),
    [
        ("json", "[1]", "a list"), ("json", "", "not JSON"), ("json", '{"a": 1', "not JSON"),
        ("json", '{"a": 1, "a": 2}', "'a' is there twice"), ("json", '{"x": ' * 200_000, "deeply"),
        ("json", '{"a": {"$kv:new": 1}}', "newer kv-dict"), ("yaml", "", "empty"),
        ("json", '{"a": "\\ud800"}', "lone surrogate"), ("yaml", "a: [1", "line 2, column 1"),
        ("yaml", "a: 1\na: 2", "'a' is there twice (line 2"), ("yaml", "1: 2", "keys are strings"),
        ("yaml", "a: &x [1]\nb: [*x, *x]", "alias"), ("yaml", "a: !!python/name:os.system", "tag"),
        ("yaml", "a: " + "[" * 9000, "YAML"), ("json", b"\xff{}", "not UTF-8"),
        ("yaml", "a: {1: 2}", "keys are strings"),
    ],
)  # fmt: skip
def test_import_of_nonsense_changes_nothing(
    run: Run, md: RemoteKVMapping, form: str, text: str, said: str
) -> None:
    md["a"] = 0
    failed = run("import", "--format", form, "--replace", "-", stdin=text, status=1)
    assert said in failed.stderr
    assert md.copy() == {"a": 0}


def test_yaml_by_hand(run: Run, md: RemoteKVMapping) -> None:
    run(
        "import", "--format", "yaml", "-",
        stdin="start: 2026-01-02\nproposal: {id: 301234, pi: Ada}\nraw: !!binary AAE=\n",
    )  # fmt: skip
    assert md.copy() == {
        "start": dt.date(2026, 1, 2),
        "proposal": {"id": 301234, "pi": "Ada"},
        "raw": b"\x00\x01",
    }


# -- which store -----------------------------------------------------------------------------------


def test_options_before_or_behind_the_command(run: Run, md: RemoteKVMapping, url: str) -> None:
    run("--entry-point", "xas", "set", "a=1")
    run("set", "--entry-point", "saxs", "a=2")
    assert run("--entry-point", "saxs", "get", "a", "--entry-point", "xas").stdout == "1\n"
    assert run("--url", "memory://", "get", "a", "--url", url, "--entry-point", "saxs").stdout
    run("--url", "memory://", "get", "a", "--entry-point", "saxs", status=1)
    assert "choose one" in run("--url", url, "--profile", "x", "ls", status=2).stderr
    assert "choose one" in run("ls", "--url", url, "--profile", "x", status=2).stderr
    run("ls", "--timeout", "0", status=2)
    run("ls", "--url", "nothing", status=2)
    run("ls", "--url", "sqlite:no/folder/x.db", status=2)
    run("ls", "--url", "redis://127.0.0.1:1/0", status=3)


def test_a_profile(run: Run, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "kv-dict.toml"
    file.write_text(
        f"""[profiles.xas]\nurl = "sqlite://{tmp_path / "xas.db"}"\nentry_point = "xas-"\n"""
        """separator = false\nprotected = ["beamline_id"]\n[profiles.xas.defaults]\ncycle = 1\n"""
    )
    monkeypatch.setenv("KV_DICT_CONFIG", str(file))
    monkeypatch.delenv("KV_DICT_URL")
    run("ls", "--profile", "nobody", status=2)
    run("set", "--profile", "xas", "a=0")
    assert run("ls", "--profile", "xas", "--keys").stdout == "a\n"  # looking puts no defaults in
    refused = run("--profile", "xas", "set", "a=1", "beamline_id=XAS", status=1).stderr
    assert "--unlock" in refused
    run("--profile", "xas", "set", "a=1", "beamline_id=XAS", "--unlock")
    refused = run("--profile", "xas", "set", "sample=[1]", status=1).stderr
    assert "bluesky wants a string or a dict; nothing was written; --unlock writes it" in refused
    run("--profile", "xas", "import", "-", stdin='{"a": 2, "b.c": 1}', status=1)
    run("--profile", "xas", "set", "--unlock", "sample=[1]")
    assert "(was [1])" in run("--profile", "xas", "del", "sample").stdout
    run("--profile", "xas", "del", "beamline_id", status=1)
    run("--profile", "xas", "import", "--replace", "-", stdin="{}", status=1)
    assert run("--profile", "xas", "ls", "--keys").stdout == "a\nbeamline_id\n"
    run("--profile", "xas", "del", "--unlock", "beamline_id")
    assert '"xas-"' in run("check", "--profile", "xas").stdout.replace("'", '"')


def test_a_wrong_command_suggests(run: Run) -> None:
    assert "Did you mean watch?" in run("wach", status=2).stderr


@pytest.mark.parametrize("command", ["ls", "get", "set", "del", "watch", "history", "export"])
def test_help_has_an_example(run: Run, command: str) -> None:
    assert "\\b" not in run(command, "--help").stdout  # what click is told, not the user
    assert f"  kv-dict {command}" in run(command, "--help").stdout


# -- completion ------------------------------------------------------------------------------------


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(run: Run, shell: str) -> None:
    script = run("completion", shell).stdout
    assert "_KV_DICT_COMPLETE" in script
    assert "kv-dict" in script


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("kv-dict ex", ["export"]),
        ("kv-dict get s", ["sample", "scan_id"]),
        ("kv-dict get sample/", ["sample/name", "sample/x~1y"]),
        ("kv-dict get --url redis://127.0.0.1:1 s", []),
        ("kv-dict --url memory:// del s", []),
    ],
)
def test_keys_are_completed(
    run: Run, md: RemoteKVMapping, words: str, completed: list[str]
) -> None:
    from click.shell_completion import ShellComplete

    from kv_dict.cli.commands import cli

    md.update(sample={"name": 1, "x/y": 2}, scan_id=1, other=2)
    *before, begun = words.split()[1:]
    found = ShellComplete(cli, {}, "kv-dict", "_X").get_completions(before, begun)
    assert [item.value for item in found] == completed
