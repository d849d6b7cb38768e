"""What happens to what the destination has, when it is interrupted, and when others write."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kv_dict import (
    ConflictError,
    KVDictError,
    OutcomeUnknown,
    RemoteKVMapping,
    SQLiteBackend,
    Unavailable,
)
from kv_dict.backends import open_backend
from kv_dict.migration import Report, migrate, prepare
from kv_dict.migration.comparing import differences, same
from kv_dict.testing.proxy import FaultProxy
from kv_dict.testing.servers import NatsServer

Read = Callable[..., dict[str, Any]]
SOURCE = {"equal": {"n": 1}, "differs": [1, 2], "new": "x"}
THERE = {"equal": {"n": 1}, "differs": [1, 2.0], "own": "y"}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "md.json"
    path.write_text(json.dumps(SOURCE))
    return path


@pytest.fixture
def there(url: str) -> Iterator[RemoteKVMapping]:
    """A mapping of the destination, which has something already."""
    with RemoteKVMapping(SQLiteBackend(url.removeprefix("sqlite://")), "md") as md:
        md.update(THERE)
        yield md


# -- what the destination has ----------------------------------------------------------------------


def test_other_values_are_refused(source: Path, url: str, there: RemoteKVMapping) -> None:
    migration = prepare(source, url)
    plan = migration.plan
    assert (list(plan.add), list(plan.change), list(plan.equal)) == (
        ["new"], ["differs"], ["equal"]
    )  # fmt: skip
    assert plan.left == ["own"]
    assert same(plan.change["differs"].before, [1, 2.0])
    with pytest.raises(ConflictError, match=r"another value of 'differs'.*--overwrite") as caught:
        migration.run()
    assert caught.value.keys == ("md:differs",)
    assert same(there.copy(), THERE)
    assert migration.report == Report(read=3, equal=1, refused=1)


def test_other_values_are_replaced(source: Path, url: str, there: RemoteKVMapping) -> None:
    report = migrate(source, url, existing="overwrite")
    assert report == Report(read=3, written=2, equal=1, verified=3)
    assert same(there.copy(), SOURCE | {"own": "y"})
    assert migrate(source, url, existing="overwrite") == Report(read=3, equal=3, verified=3)


def test_other_values_are_kept(source: Path, url: str, there: RemoteKVMapping) -> None:
    report = migrate(source, url, existing="keep")
    assert report == Report(read=3, written=1, equal=1, kept=1, verified=2)
    assert same(there.copy(), THERE | {"new": "x"})
    again = migrate(source, url, existing="keep")
    assert again == Report(read=3, equal=2, kept=1, verified=2)


def test_what_is_stored_below_a_key_is_replaced_with_it(tmp_path: Path, url: str) -> None:
    file = Path(url.removeprefix("sqlite://"))
    with RemoteKVMapping(SQLiteBackend(file), "md", sep=None) as raw:
        raw.update({":differs": 1, ":differs:sub": 2, ":other": 3})
    path = tmp_path / "md.json"
    path.write_text(json.dumps({"differs": {"a": 1}}))
    assert migrate(path, url, existing="overwrite").verified == 1
    with RemoteKVMapping(SQLiteBackend(file), "md", sep=None) as raw:
        assert raw == {":differs": {"a": 1}, ":other": 3}


def test_a_damaged_value_there_is_another_value(source: Path, url: str) -> None:
    from kv_dict.model import Put

    backend = SQLiteBackend(url.removeprefix("sqlite://"))
    with RemoteKVMapping(backend, "md") as there:
        backend.synchronous.commit([Put("md:new", b"{broken")], timeout=5)
        with pytest.raises(ConflictError, match="'new'"):
            migrate(source, url)
        assert migrate(source, url, existing="overwrite").verified == 3
        assert there["new"] == "x"


def test_a_key_that_the_destination_may_not_hold(
    nats_url: str, bucket: str, tmp_path: Path
) -> None:
    path = tmp_path / "md.json"
    path.write_text(json.dumps({"k" * 1100: 1, "short": 2}))
    to = f"{nats_url}?bucket={bucket}&create_bucket=true"
    (item,) = prepare(path, to).plan.unusable
    assert "longer than the 1000 bytes" in item.reason
    assert migrate(path, to, skip_unusable=True).written == 1


# -- others who write at the same time -------------------------------------------------------------


def test_what_others_write_between_is_not_overwritten(
    source: Path, url: str, there: RemoteKVMapping
) -> None:
    migration = prepare(source, url, existing="overwrite")
    there["new"] = "theirs"
    with pytest.raises(ConflictError, match="others changed the destination"):
        migration.run()
    assert same(there.copy(), THERE | {"new": "theirs"})  # all or nothing
    assert migration.report.written == 0


def test_what_others_change_before_it_is_verified(
    source: Path, url: str, there: RemoteKVMapping
) -> None:
    def meddle(doing: str, done: int, of: int) -> None:
        if (doing, done) == ("writing", of):
            there["new"] = "theirs"

    migration = prepare(source, url, existing="overwrite")
    with pytest.raises(ConflictError, match=r"1 of 3 items do not read back.*'new'"):
        migration.run(meddle)
    assert migration.report == Report(read=3, written=2, equal=1, verified=2)


# -- interruptions ---------------------------------------------------------------------------------

MANY = {f"key {n:04}": {"n": n} for n in range(2500)}


@pytest.fixture
def many(tmp_path: Path) -> Path:
    path = tmp_path / "many.json"
    path.write_text(json.dumps(MANY))
    return path


def test_a_server_that_is_killed_half_way(many: Path, tmp_path: Path) -> None:
    with NatsServer(tmp_path / "nats") as server:
        to = server.store_url()

        def kill(doing: str, done: int, of: int) -> None:
            if doing == "writing" and done == 1000:
                server.kill()

        migration = prepare(many, to, timeout=5)
        with pytest.raises((Unavailable, OutcomeUnknown)):
            migration.run(kill)
        assert migration.report.written == 1000  # of one commit, which the bucket takes at most
        assert len(migration.report.uncertain) in (0, 1000)
        server.start()
        report = migrate(many, to)
        assert report.equal in (1000, 2000)
        assert report == Report(2500, 2500 - report.equal, report.equal, verified=2500)
        with RemoteKVMapping(open_backend(to), "md") as md:
            assert md.copy() == MANY


def test_ctrl_c_half_way(many: Path, nats_url: str, bucket: str) -> None:
    to = f"{nats_url}?bucket={bucket}&create_bucket=true"

    def interrupt(doing: str, done: int, of: int) -> None:
        if doing == "writing" and done == 1000:
            os.kill(os.getpid(), signal.SIGINT)

    migration = prepare(many, to)
    with pytest.raises(KeyboardInterrupt):
        migration.run(interrupt)
    report = migrate(many, to)
    assert report.equal >= migration.report.written >= 1000
    assert report.verified == 2500


def test_an_answer_that_does_not_come(many: Path, nats_url: str, bucket: str) -> None:
    """The outcome of one commit is not known; the next run sees what came of it."""
    port = int(nats_url.rpartition(":")[2].strip("/"))
    to = f"nats://127.0.0.1:{port}/?bucket={bucket}&create_bucket=true"
    with FaultProxy(port) as proxy:

        def cut(doing: str, done: int, of: int) -> None:
            if doing == "writing" and done == 1000:
                proxy.black_hole()

        through = to.replace(f":{port}", f":{proxy.port}")
        migration = prepare(many, through, timeout=1)
        with pytest.raises((Unavailable, OutcomeUnknown)) as caught:
            migration.run(cut)
        unknown = isinstance(caught.value, OutcomeUnknown)
        assert len(migration.report.uncertain) == (1000 if unknown else 0)
    assert migrate(many, to).verified == 2500


def test_two_at_once_do_not_disturb_each_other(many: Path, url: str, destination: Read) -> None:
    outcomes: list[Any] = []

    def run() -> None:
        try:
            outcomes.append(migrate(many, url))
        except KVDictError as error:
            outcomes.append(error)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [o for o in outcomes if isinstance(o, Report)]
    assert all(isinstance(o, Report | ConflictError) for o in outcomes), outcomes
    assert destination() == MANY


# -- comparing -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (1, 1.0),
        (1, True),
        (0.0, -0.0),
        ([1], (1,)),
        ({"a": 1}, {"a": 2}),
        ({"a": 1}, {"b": 1}),
        ([1], [1, 2]),
        ({1}, {1.0}),
        ({1}, frozenset({1})),
        (b"a", bytearray(b"a")),
        (np.arange(2), np.arange(2.0)),
        (np.arange(2), np.arange(2).reshape(1, 2)),
        (np.arange(2), np.array([0, 2])),
        (np.float64(1), 1.0),
        (float("nan"), None),
    ],
)
def test_what_differs(left: Any, right: Any) -> None:
    assert not same({"x": [left]}, {"x": [right]})
    (first, *_) = differences({"x": [left]}, {"x": [right]})
    assert first.path.startswith("['x'][0]")
    for value in (left, right):
        assert same(value, value)


def test_what_is_the_same() -> None:
    nan = float("nan")
    assert same({"a": [nan, {1, 2}], "b": 1}, {"b": 1, "a": [float("nan"), {2, 1}]})
    assert same(np.array([nan]), np.array([nan]))
    assert same(complex(nan, 1), complex(nan, 1))
