"""Presence: who is there, and who is not any more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kv_dict import ClosedError, ConfigurationError, RemoteKVMapping, Unavailable, open_mapping
from kv_dict.coordination import Presence
from kv_dict.testing.servers import RedisServer


def names(presence: Presence) -> list[str]:
    return [one.session.program for one in presence.sessions()]


def test_coming_and_leaving(md: RemoteKVMapping, eventually: Any) -> None:
    with (
        Presence(md, every=0.1, program="ipython") as one,
        Presence(md, every=0.1, announce=False) as display,
    ):
        assert [(x.session.program, x.alive) for x in display.sessions()] == [("ipython", False)]
        eventually(lambda: display.sessions()[0].alive)
        assert str(display.sessions()[0]).endswith(" s ago")
        with Presence(md, every=0.1, program="queue server") as two:
            assert names(one) == names(two) == ["ipython", "queue server"]
            assert all(x.alive for x in one.sessions())
            assert [x.alive for x in two.sessions() if x.session.program == "queue server"]
        assert names(one) == names(display) == ["ipython"]
    assert dict(md) == {}
    with Presence(md, announce=False) as display:
        assert names(display) == []
    with pytest.raises(ClosedError, match="was closed"):
        display.sessions()


def test_what_a_crashed_session_left(md: RemoteKVMapping, eventually: Any, caplog: Any) -> None:
    with RemoteKVMapping(md.backend, "ep1@presence") as stored:
        with Presence(md, every=0.1, program="gone"):
            ((key, item),) = stored.copy().items()
        stored[key] = item  # as if it had not said goodbye
        with Presence(md, every=0.1, announce=False) as display:
            assert [(one.session.program, one.alive) for one in display.sessions()] == [
                ("gone", False)
            ]
            eventually(lambda: names(display) == [])
            assert key in stored  # a display writes nothing
        with Presence(md, every=0.1, program="here") as here:
            eventually(lambda: names(here) == ["here"])
            assert key not in stored
            stored["x"] = "no session"
            assert names(here) == ["here"]
            assert names(here) == ["here"]
            assert caplog.text.count("'x' holds 'no session', not a session") == 1


def test_mistakes_are_told(md: RemoteKVMapping) -> None:
    for every in (0, -1, "5", None, float("nan"), True):
        with pytest.raises(ConfigurationError, match=r"seconds, 0\.05 or more"):
            Presence(md, every=every)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="program=3"):
        Presence(md, program=3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="RemoteKVMapping"):
        Presence({})  # type: ignore[arg-type]


def test_an_outage(tmp_path: Path, eventually: Any, caplog: Any) -> None:
    with (
        RedisServer(tmp_path / "server") as server,
        open_mapping(server.url) as md,
        Presence(md, every=0.1, program="one") as one,
    ):
        server.kill()
        eventually(lambda: "no sign of life can be given" in caplog.text)
        with pytest.raises(Unavailable):
            one.sessions()
        server.start()
        with Presence(md, every=0.1, program="two") as two:
            eventually(lambda: all(x.alive for x in two.sessions()) and len(two.sessions()) == 2)
        assert names(one) == ["one"]
        server.kill()
    assert caplog.text.count("others will see this session for a while yet") == 1
