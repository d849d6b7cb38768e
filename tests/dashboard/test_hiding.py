"""What is hidden leaves the process by no way."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from kv_dict import ConfigurationError, RedisBackend, RemoteKVMapping
from kv_dict.dashboard import Dashboard, Layout, Source
from kv_dict.testing.servers import RedisServer

PEOPLE = {
    "title": "Iron",
    "pi_email": "hunter-1",
    "team": [{"name": "Ada", "email": "hunter-2"}, {"name": "Bob", "phone": "hunter-3"}],
    "a/b": {"c": "hunter-4", "~": "hunter-5"},
}


@pytest.mark.parametrize(
    ("pattern", "gone"),
    [
        ("*email", "pi_email email"),
        ("proposal/pi_email", "pi_email"),
        ("proposal/*_email", "pi_email"),
        ("*/team", "team name email phone"),
        ("proposal/team/*/[ep]*", "email phone"),
        ("proposal/team/1/phone", "phone"),
        ("proposal/a~1b/c", "c"),
        ("proposal/a~1b/~0", "~"),
        ("a~1b", "a/b c ~"),
        ("proposal/a", ""),
        ("/pi_email", ""),
        ("Proposal/pi_email", ""),
    ],
)
def test_a_pattern_is_a_path(pattern: str, gone: str) -> None:
    layout = Layout(hide=(pattern,))
    assert not layout.hides("proposal")
    left = _names(layout.shown("proposal", PEOPLE))
    assert left == _names(PEOPLE) - set(gone.split())


def _names(value: Any) -> set[str]:
    if isinstance(value, list):
        return set().union(*map(_names, value))
    if isinstance(value, dict):
        return set(value).union(*map(_names, value.values()))
    return set()


def test_items_of_lists_keep_their_places() -> None:
    shown = Layout(hide=("proposal/team/0",)).shown("proposal", PEOPLE)
    assert shown["team"] == [None, PEOPLE["team"][1]]
    assert PEOPLE["team"][0]["name"] == "Ada"


def test_a_key_is_hidden_with_all_that_is_in_it() -> None:
    for pattern in ("proposal", "/proposal", "prop*", "*"):
        assert Layout(hide=(pattern,)).hides("proposal")
    for pattern in ("proposal/title", "proposal/*", "title", "/title"):
        assert not Layout(hide=(pattern,)).hides("proposal")
    assert Layout(hide=("proposal/*",)).shown("proposal", PEOPLE) == {}
    assert Layout(hide=("a~1b",)).hides("a/b")


def test_what_has_nothing_hidden_is_the_same_object() -> None:
    layout = Layout(hide=("password", "x/y"))
    for value in (PEOPLE, [1, [2]], "x", 3.5, None, {}, []):
        assert layout.shown("proposal", value) is value
    assert layout.shown("x", {"y": 1, "z": 2}) == {"z": 2}


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("", "empty step"),
        ("/", "empty step"),
        ("proposal/", "empty step"),
        ("a//b", "empty step"),
        ("**/b", "one step"),
        ("a/~b", "written ~0"),
    ],
)
def test_what_is_no_pattern_is_refused(pattern: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{re.escape(pattern)}.: .*{said}"):
        Layout(hide=(pattern,))
    with pytest.raises(ConfigurationError, match=rf"dashboard\.hide\[1\] = .*{said}"):
        Layout.from_dict({"hide": ["fine", pattern]})


def everything(client: Any) -> str:
    """Return all that the dashboard says of its keys."""
    said = []
    for path in (
        "keys",
        "feed",
        "sources",
        "session",
        "value?key=proposal",
        "history?key=proposal",
    ):
        answer = client.ask(f"/api/{path}")
        assert answer.status == 200, answer
        said += [answer.body.decode(), str(answer.headers)]
    said += [client.ask("/api/value?key=proposal&pretty=1").body.decode()]
    said += [client.ask("/metrics").body.decode()]
    return "".join(said)


HIDE = ("*email", "proposal/team/*/phone", "proposal/a~1b")


def test_it_leaves_by_no_way(md: RemoteKVMapping, serve: Callable[..., Any]) -> None:
    md["proposal"] = PEOPLE
    client = serve(layout=Layout(hide=HIDE), history=10).until_live()
    events = client.events()
    told = [events.next()]
    md["proposal"]["pi_email"] = "hunter-6"
    md["proposal"]["title"] = "Cobalt"
    md["proposal"]["team"][0]["name"] = "Eve"
    while "Eve" not in str(told[-1]):
        told.append(events.next())
    del md["proposal"]
    while "gone" not in str(told[-1]):
        told.append(events.next())
    md["proposal"] = PEOPLE
    while "Ada" not in str(told[-1]):
        told.append(events.next())
    said = everything(client) + str(told)
    events.close()
    assert "Cobalt" in said
    assert "Ada" in said
    assert "hunter" not in said
    assert "email" not in said


def test_a_revision_that_is_a_digest_tells_nothing_of_it(anybody: Any, tmp_path: Any) -> None:
    with RedisServer(tmp_path / "redis") as server:

        def opened() -> RemoteKVMapping:
            return RemoteKVMapping(RedisBackend(server.url), "xas", reads="replica")

        def revisions(secret: str) -> list[str]:
            with opened() as md:
                md["proposal"] = {"title": "Iron", "pi_email": secret}
            source = Source("xas", opened, Layout(hide=("*email",)))
            with Dashboard([source]).running() as url:
                items = type(anybody)(url).until_live().json("/api/keys")["items"]
            return [item["revision"] for item in items if item.get("key") == "proposal"]

        assert len(revisions("hunter-1")) == 1
        assert revisions("hunter-1") == revisions("hunter-2")
