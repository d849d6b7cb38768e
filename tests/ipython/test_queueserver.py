"""The same folder, run by the manager of bluesky-queueserver."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from kv_dict import open_mapping
from kv_dict.coordination import Baton, Presence
from kv_dict.testing.servers import RedisServer
from kv_dict.testing.servers.process import free_port

pytestmark = pytest.mark.beamline

START = "from bluesky_queueserver.manager.start_manager import start_manager; start_manager()"
DEADLINE = 60.0
ADA = {"user": "ada", "user_group": "primary"}


class Manager:
    """A running manager, asked as its clients do."""

    def __init__(self, arguments: list[str], env: dict[str, str], log: Path) -> None:
        import zmq

        control, news = (f"tcp://127.0.0.1:{free_port()}" for _ in range(2))
        self.log = log
        with log.open("w") as output:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-c", START, *arguments),
                    *("--zmq-control-addr", control, "--zmq-info-addr", news),
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=env,
                cwd=log.parent,
            )
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.REQ)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.RCVTIMEO, int(DEADLINE * 1000))
        self._socket.connect(control)

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Return the answer to a request that has to succeed."""
        self._socket.send_json({"method": method, "params": parameters})
        answer = self._socket.recv_json()
        assert answer.get("success", True), f"{answer}\n{self.log.read_text()}"
        return dict(answer)

    def wait(self, condition: Callable[[dict[str, Any]], bool]) -> None:
        """Ask for the status until `condition` holds of it."""
        deadline = time.monotonic() + DEADLINE
        while not condition(self.ask("status")):
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)

    def run(self, *plans: tuple[str, dict[str, Any]]) -> list[tuple[str, str, list[int]]]:
        """Run plans; return the name, exit status and scan ids of each."""
        for name, arguments in plans:
            item = {"item_type": "plan", "name": name, "kwargs": arguments}
            self.ask("queue_item_add", item=item, **ADA)
        self.ask("queue_start")
        self.wait(
            lambda status: (
                status["items_in_history"] == len(plans) and status["manager_state"] == "idle"
            )
        )
        return [
            (item["name"], item["result"]["exit_status"], item["result"]["scan_ids"])
            for item in self.ask("history_get")["items"]
        ]

    def call(self, name: str, **arguments: Any) -> Any:
        """Call a function of the startup files in the worker; return what it returned."""
        item = {"item_type": "function", "name": name, "kwargs": arguments}
        task = self.ask("function_execute", item=item, **ADA)["task_uid"]
        deadline = time.monotonic() + DEADLINE
        while (answer := self.ask("task_result", task_uid=task))["status"] != "completed":
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)
        assert answer["result"]["success"], answer
        return answer["result"]["return_value"]

    def stop(self) -> None:
        """Stop it and its worker."""
        try:
            if self._process.poll() is None:
                self.ask("manager_stop", option="safe_off")
            self._process.wait(DEADLINE)
        finally:
            self._socket.close()
            self._context.term()
            self._process.kill()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    """Where the metadata is, and the queue."""
    with RedisServer(tmp_path / "redis") as server:
        yield server


@pytest.fixture
def manager(collection: Path, env: dict[str, str], server: RedisServer) -> Iterator[Manager]:
    toml = collection / "kv_dict.toml"
    toml.write_text(toml.read_text().replace("redis://localhost:6379/0", server.url))
    manager = Manager(
        [f"--startup-dir={collection / 'startup'}", f"--redis-addr=localhost:{server.port}"],
        env | {"KV_DICT_PROFILE": "redis", "KV_DICT_REQUIRE_BATON": "true"},
        collection.parent / "log",
    )
    yield manager
    manager.stop()


def test_the_queue_runs_and_shares_the_metadata(
    manager: Manager, server: RedisServer, collection: Path
) -> None:
    lists = collection / "startup" / "existing_plans_and_devices.yaml"
    committed = yaml.safe_load(lists.read_text())
    manager.wait(lambda status: status["manager_state"] == "idle")
    manager.ask("environment_open")
    manager.wait(lambda status: status["worker_environment_state"] == "idle")
    with open_mapping(server.url, entry_point="sim") as md:
        assert manager.ask("re_metadata")["re_metadata"] == dict(md)
        assert md["beamline_id"] == "SIM"
        md.update(operator="Rosalind", sample="the last user's")  # by another session
        with Baton(md, program="ipython") as baton:  # which measures before the queue does
            baton.acquire()
        assert manager.call("take_baton") == 2
        proposal = {"proposal_id": "318", "title": "Iron", "pi_name": "Ada", "cycle": "2026-3"}
        assert manager.run(
            ("change_proposal", proposal),
            ("sample_map", {"name": "Fe2O3", "points": 2}),
            ("count", {"detectors": ["det"]}),
        ) == [
            ("change_proposal", "completed", []),
            ("sample_map", "completed", [1]),
            ("count", "completed", [2]),
        ]
        of_worker = manager.ask("re_metadata")["re_metadata"]
        assert of_worker == dict(md)
        shown = {key: of_worker[key] for key in ("operator", "data_session", "scan_id")}
        assert shown == {"operator": "Rosalind", "data_session": "pass-318", "scan_id": 2}
        assert "sample" not in md
        with open_mapping(server.url, entry_point="sim@beamline") as beamline:
            assert dict(beamline) == {"energy": 7.112, "shutter": "closed"}
        with Presence(md, announce=False) as presence, Baton(md) as baton:
            programs = [one.session.program for one in presence.sessions()]
            assert (programs, baton.holder.program) == (["queue server"], "queue server")
            manager.call("release_baton")
            assert baton.holder is None
    # The lists that are committed, for before an environment is open, are those of the worker.
    for what in ("plans", "devices"):
        of_worker = manager.ask(f"{what}_allowed", user_group="primary")[f"{what}_allowed"]
        assert set(of_worker) == set(committed[f"existing_{what}"])
    manager.ask("environment_close")
    manager.wait(lambda status: not status["worker_environment_exists"])
