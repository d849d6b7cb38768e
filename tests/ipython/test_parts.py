"""What is typed, what is offered and what is shown, piece by piece."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from IPython.core.error import UsageError

from kv_dict import Change, InMemoryAsyncBackend, LayeredMapping, RedisBackend, RemoteKVMapping
from kv_dict.integrations.ipython import watching
from kv_dict.integrations.ipython.arguments import Request, parse, typed
from kv_dict.integrations.ipython.completing import offered
from kv_dict.integrations.ipython.places import assign, delete
from kv_dict.integrations.ipython.prompt import LIVE, STALE, segment
from kv_dict.integrations.ipython.target import Target, in_namespace
from kv_dict.integrations.ipython.tree import everything, heading, tree
from kv_dict.mapping.paths import PathError, look
from kv_dict.testing.servers import RedisServer

HOSTILE = "\x1b[31mred\x07\u202e<script>alert(1)</script>\n\x9b2J"


@pytest.fixture
def md() -> Iterator[RemoteKVMapping]:
    with RemoteKVMapping(InMemoryAsyncBackend(), "ep1", reads="replica") as md:
        yield md


# -- what is typed ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("Fe2O3", "Fe2O3"),
        ("two words", "two words"),
        ("7.1", 7.1),
        (".5", 0.5),
        ("+3", 3),
        ("0x10", 16),
        ("1_000", 1000),
        ("007", "007"),
        ("2026-3", "2026-3"),
        ("12.5 mm", "12.5 mm"),
        ("12/3", "12/3"),
        ("NaN", "NaN"),
        ("-Infinity", "-Infinity"),
        ("true", True),
        ("True", True),
        ("null", None),
        ("None", None),
        ("Nothing", "Nothing"),
        ('"7.1"', "7.1"),
        ("'7.1'", "7.1"),
        ('{"name": "Fe", "n": [1, 2.5, null]}', {"name": "Fe", "n": [1, 2.5, None]}),
        ("{'name': 'Fe', 'open': True}", {"name": "Fe", "open": True}),
        ("[1, 2]", [1, 2]),
        ('{"$kv:complex": [1.0, -2.0]}', 1 - 2j),
    ],
)
def test_a_value_is_json_or_python_or_a_string(text: str, value: Any) -> None:
    assert typed(text) == value
    assert type(typed(text)) is type(value)


@pytest.mark.parametrize(
    "text",
    [
        "{broken",
        "[1, 2",
        '"open',
        "{name: Fe}",
        "(",
        "[" * 100_000,
        "{'a': open('f')}",
        '{"$kv:none such": 1}',
        "{'a': {}()}",
    ],
)
def test_what_was_meant_as_a_container_is_not_kept_as_a_string(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        typed(text)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("line", "request_"),
    [
        ("", Request("tree")),
        ("  ", Request("tree")),
        ("sample", Request("show", ("sample",))),
        ("sample/layers/0", Request("show", ("sample", "layers", "0"))),
        ("a~1b~0c", Request("show", ("a/b~c",))),
        ("'my key'", Request("show", ("my key",))),
        ('"my key" 5', Request("set", ("my key",), 5)),
        (r'"a\"b" x y', Request("set", ('a"b',), "x y")),
        ("'-d' 5", Request("set", ("-d",), 5)),
        ("''", Request("show", ("",))),
        ("'open", Request("show", ("'open",))),
        ('sample {"a": 1}', Request("set", ("sample",), {"a": 1})),
        ("-d sample", Request("delete", ("sample",))),
        ("--delete 'my key'", Request("delete", ("my key",))),
        ("-w", Request("watch")),
        ("--watch sample", Request("watch", ("sample",))),
        ("--prompt", Request("prompt")),
        ("--no-prompt", Request("no-prompt")),
        ("-h", Request("help")),
    ],
)
def test_a_line_is_understood(line: str, request_: Request) -> None:
    assert parse(line) == request_


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("--wotch", "no option '--wotch'"),
        ("-d", "which key"),
        ("-d a b", "'b' is too much"),
        ("--prompt on", "'on' is too much"),
        ("-w a/b", "whole item: 'a'"),
        ("a~b 5", "~0"),
        (r"'\xz'", "not a string literal"),
        (f"--{HOSTILE.replace(chr(10), '')}", "no option"),
    ],
)
def test_a_line_that_is_wrong_is_told_what_is(line: str, told: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(line)
    assert told in str(caught.value)
    assert str(caught.value).isprintable()


# -- where -----------------------------------------------------------------------------------------


def test_parts_of_values_are_read_and_changed_in_the_store(md: RemoteKVMapping) -> None:
    at = Target("md", md)
    assert assign(at, ("sample",), {"layers": [1]}) == "md['sample'] = {'layers': [1]}"
    assert assign(at, ("sample", "layers", "-"), 2) == "md['sample']['layers'].append(2)"
    assert assign(at, ("sample", "layers", "-2"), 0) == "md['sample']['layers'][-2] = 0"
    assert assign(at, ("sample", "-"), "dash") == "md['sample']['-'] = 'dash'"
    assert md["sample"] == {"layers": [0, 2], "-": "dash"}
    assert look(md, ("sample", "layers", "1")) == 2
    assert delete(at, ("sample", "layers", "0")) == "deleted md['sample']['layers'][0], which was 0"
    assert delete(at, ("sample", "-")) == "deleted md['sample']['-'], which was 'dash'"
    assert dict(md) == {"sample": {"layers": [2]}}


@pytest.mark.parametrize(
    ("path", "told"),
    [
        (("sampel",), 'there is no "sampel"; did you mean "sample"?'),
        (("sample", "x", "y"), 'there is no "sample/x"'),
        (("sample", "layers", "7"), 'there is no "sample/layers/7": the list has 2 items'),
        (("sample", "layers", "x"), 'its items have numbers, not "x"'),
        (("sample", "layers", "9" * 5000), 'not "999'),
        (("cycle", "x"), 'there is no "cycle/x": "cycle" is of type str'),
        (("a/b", "c/d"), 'there is no "a~1b/c~1d"'),
    ],
)
def test_what_is_not_there_is_told(md: RemoteKVMapping, path: tuple[str, ...], told: str) -> None:
    md.update({"sample": {"layers": [1, 2]}, "cycle": "2026-3", "a/b": {}})
    before = dict(md)
    at = Target("md", md)
    uses = (
        lambda: look(md, path),
        lambda: delete(at, path),
        lambda: assign(at, (*path, "new"), 1),
    )
    for use in uses:
        with pytest.raises(PathError) as caught:
            use()
        assert told in str(caught.value)
        assert len(str(caught.value)) < 300
    assert dict(md) == before


def test_it_is_the_engines_whatever_that_is_and_then_md(md: RemoteKVMapping) -> None:
    engine = SimpleNamespace(md=md)
    assert in_namespace({"RE": engine, "md": {}}) == ("RE.md", md, "")
    assert in_namespace({"RE": SimpleNamespace(md={"a": 1}), "md": md}) == ("RE.md", {"a": 1}, "")
    assert in_namespace({"RE": None, "md": md}) == ("md", md, "")
    assert in_namespace({"md": {"any": "dict"}}) is None


def test_layers_are_shown_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        RemoteKVMapping(InMemoryAsyncBackend(), "xas", reads="replica") as xas,
        LayeredMapping.on(xas, "xas-318") as md,
    ):
        xas.update(scan_id=4217, beamline_id="XAS", sample="hidden")
        to = in_namespace({"md": md})
        assert to == Target("md", md)
        assert list(everything(to, 80)) == [
            "md: xas-318 over xas in memory://",
            "below, in xas:",
            "beamline_id  'XAS'",
            "sample       'hidden'",
            "scan_id      4217",
        ]
        md.update(data_session="pass-318", sample={"name": "Fe2O3"})
        assert list(everything(to, 80))[1:] == [
            "data_session  'pass-318'",
            "sample",
            "  name  'Fe2O3'",
            "below, in xas:",
            "beamline_id  'XAS'",
            "scan_id      4217",
        ]
        assert segment({"md": md}) == [(LIVE, "pass-318 #4217 ")]
        assert assign(to, ("beamline_id",), "SAXS") == "md['beamline_id'] = 'SAXS'"
        assert (look(to.mapping, ("beamline_id",)), xas["beamline_id"]) == ("SAXS", "XAS")
        assert "sample/name" in offered({"md": md}, "%md sample/")
        told: list[Any] = []

        def line(change: Change, width: int) -> str:
            told.append(change.value)
            raise KeyboardInterrupt

        monkeypatch.setattr(watching, "_line", line)
        monkeypatch.setattr(watching, "heading", lambda to: str(xas.increment("scan_id")))
        watching.watch(to, "scan_id", 80)
        assert told == [4218]


def test_offered_is_what_a_word_can_become(md: RemoteKVMapping) -> None:
    md.update(sample={"name": "Fe", "a/b": 1}, samples=[[5], 6], operator="Ada")
    md.update({"my key": 1, "-x": 2, "": 3, "it's": 4})
    names = {"md": md}
    assert offered(names, "%md sam") == ["sample", "samples"]
    assert offered(names, "%md ") == ["operator", "sample", "samples"]
    assert offered(names, "md sample/") == ["sample/name", "sample/a~1b"]
    assert offered(names, "%md samples/0/") == ["samples/0/0"]
    assert offered(names, "%md -d op") == ["operator"]
    assert offered(names, "%md --w") == ["--watch"]
    for nothing in ("%md sample val", "mdsam", "%md operator/x", "%md nothing/x", "%md a~b/c", ""):
        assert offered(names, nothing) == []


# -- what is shown ---------------------------------------------------------------------------------


def test_a_tree_is_readable_and_cut_to_the_terminal() -> None:
    items = {
        "n": 1,
        "sample": {"name": "Fe", "empty": {}, "scans": [{"x": 1}, 2]},
        "a key that is much longer than the others": None,
        "image": np.arange(10_000).reshape(100, 100),
        "text": "x" * 500,
    }
    lines = list(tree(items, 40))
    assert lines[:9] == [
        "n       1",
        "sample",
        "  name   'Fe'",
        "  empty  {}",
        "  scans",
        "    [0]",
        "      x  1",
        "    [1]  2",
        "a key that is much longer than the others  None",
    ]
    assert lines[9].startswith("image   array([[ 0, 1, 2, ...,")
    assert [len(line) for line in lines[9:]] == [40, 40]


def test_nothing_of_a_hostile_value_reaches_the_terminal_or_the_page(md: RemoteKVMapping) -> None:
    items = {
        HOSTILE: HOSTILE,
        "nested": {HOSTILE: [HOSTILE, {"x": HOSTILE}], "b": HOSTILE.encode()},
    }
    md.update(items, data_session=HOSTILE, scan_id=HOSTILE)
    shown = [*tree(dict(md), 10_000), heading(Target("md", md))]
    assert all(line.isprintable() for line in shown)
    assert "red" in shown[0]
    ((token, text),) = segment({"md": md})
    assert token is LIVE
    assert text.isprintable()
    assert len(text) < 60

    class Page(HTMLParser):
        tags: set[str] = set()  # noqa: RUF012

        def handle_starttag(self, tag: str, attrs: Any) -> None:
            self.tags.add(tag)

    page = Page()
    page.feed(md._repr_html_())
    assert page.tags == {"table", "caption", "tr", "th", "td", "code"}
    assert md._repr_html_().isprintable()
    assert "&lt;script&gt;" in md._repr_html_()


def test_a_store_that_is_away_is_shown_and_nothing_waits_for_it(tmp_path: Path) -> None:
    with RedisServer(tmp_path / "redis") as server:
        asking = RemoteKVMapping(RedisBackend(server.url), "ep1", timeout=2.0)
        holding = RemoteKVMapping(RedisBackend(server.url), "ep1", reads="replica", timeout=2.0)
        asking["scan_id"] = 7
        holding.sync()
        assert asking._ipython_key_completions_() == ["scan_id"]
        server.kill()
        assert "Unavailable" in asking._repr_html_()
        assert asking._ipython_key_completions_() == []
        assert offered({"md": asking}, "%md ") == []
        deadline = time.monotonic() + 30
        while holding.stale_since is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert segment({"md": holding}) == [(STALE, "#7 stale ")]
        assert holding._ipython_key_completions_() == ["scan_id"]
        assert "away since" in heading(Target("md", holding))
        asking.close()
        holding.close()


def test_the_segment_reads_the_replica_and_never_the_store(md: RemoteKVMapping) -> None:
    assert segment({"md": md}) == []
    md["scan_id"] = 5
    assert segment({"md": md}) == [(LIVE, "#5 ")]
    md["data_session"] = "pass-318"
    assert segment({"RE": SimpleNamespace(md=md)}) == [(LIVE, "pass-318 #5 ")]
    assert segment({"RE": SimpleNamespace(md={"scan_id": 1})}) == []
    assert segment({}) == []
    with RemoteKVMapping(md.backend, "ep1") as asking:
        assert segment({"md": asking}) == []
    md.close()
    assert segment({"md": md}) == []


# -- what it costs ---------------------------------------------------------------------------------


def test_loading_the_extension_imports_no_more_than_it_needs() -> None:
    program = """
import sys
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell()
before = set(sys.modules)
shell.run_line_magic("load_ext", "kv_dict")
new = {name.partition(".")[0] for name in set(sys.modules) - before}
heavy = {"bluesky", "click", "nats", "numpy", "ophyd_async", "platformdirs", "redis", "rich"} & new
assert not heavy, heavy
assert "kv_dict.profiles.loading" not in sys.modules
assert len(shell.Completer.custom_matchers) == 1
shell.run_line_magic("unload_ext", "kv_dict")
assert not shell.Completer.custom_matchers
assert "md" not in shell.magics_manager.magics["line"]
shell.run_line_magic("load_ext", "kv_dict")
assert "md" in shell.magics_manager.magics["line"]
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
