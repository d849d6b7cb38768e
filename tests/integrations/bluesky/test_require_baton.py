"""No plan begins in a session that has not got the baton."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from kv_dict import NotHolder, RemoteKVMapping, open_mapping
from kv_dict.coordination import Baton
from kv_dict.testing.servers import RedisServer

pytest.importorskip("bluesky")

import bluesky.plan_stubs as bps

from kv_dict.integrations.bluesky import RunStatus, read_status, require_baton

pytestmark = pytest.mark.beamline


@pytest.mark.parametrize("shown_first", [False, True])
def test_without_it_nothing_happens(
    make_engine: Any, shared: RemoteKVMapping, shown_first: bool
) -> None:
    RE = make_engine(shared)
    began: list[str] = []

    def plan():
        began.append("plan")
        yield from bps.null()

    def wrapper(inner: Any) -> Any:
        began.append("wrapper")
        return inner

    RE.preprocessors.append(wrapper)
    with (
        Baton(shared, program="mine") as mine,
        Baton(shared, program="yours") as yours,
        ExitStack() as stack,
    ):
        if shown_first:
            status = stack.enter_context(RunStatus(RE))
        undo = require_baton(RE, mine)
        if not shown_first:
            status = stack.enter_context(RunStatus(RE))
        with pytest.raises(NotHolder, match="the plan 'plan' did not begin: nobody holds the"):
            RE(plan())
        with pytest.raises(NotHolder, match="the plan 'sleep' did not begin"):
            RE(bps.sleep(1))  # which bluesky would warn of as forgotten
        mine.acquire()
        RE(plan())
        assert began == ["wrapper", "plan"]
        yours.steal("an alignment by hand")
        with pytest.raises(
            NotHolder,
            match=r"'plan' did not begin: .* \(yours, process .* stole it at .* by hand\)",
        ):
            RE(plan())
        assert began == ["wrapper", "plan"]
        assert RE.state == "idle"
        assert status.flush()
        assert (read_status(shared).plan_name, read_status(shared).exit_status) == (
            "plan",
            "success",
        )
        yours.release()
        mine.acquire()
        RE([])
        mine.release()
        undo()
        undo()
        RE(plan())
        assert began == ["wrapper", "plan", "wrapper", "wrapper", "plan"]


def test_while_the_store_is_away(tmp_path: Path, make_engine: Any, eventually: Any) -> None:
    RE = make_engine({})
    with (
        RedisServer(tmp_path / "server") as server,
        open_mapping(server.url) as md,
        Baton(md, lease=1.5) as baton,
    ):
        baton.acquire()
        require_baton(RE, baton)
        server.kill()
        RE(bps.null())
        eventually(lambda: not baton.held)
        with pytest.raises(NotHolder, match="'null' did not begin: the store has been away"):
            RE(bps.null())
        server.start()
        eventually(lambda: baton.held)
        RE(bps.null())
