"""Dashboards on real stores, asked over real connections."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from kv_dict import InMemoryAsyncBackend, RemoteKVMapping, SQLiteBackend
from kv_dict.dashboard import Dashboard, Layout, Settings, Source

DEADLINE = 20.0
"""Seconds that anything may take before a test gives up waiting for it."""


@dataclass
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Events:
    """A stream of events, read as it comes."""

    def __init__(self, client: Client, path: str, headers: dict[str, str]) -> None:
        self._connection = client.connect()
        self._connection.request("GET", client.root + path, headers=headers)
        self.response = self._connection.getresponse()
        self.id = ""

    def next(self) -> tuple[str, Any]:
        """Return the next event but a beat; ('end', None) at the end."""
        while True:
            event, data = self.any()
            if event != "beat":
                return event, data

    def any(self) -> tuple[str, Any]:
        """Return the next event."""
        event, data = "", ""
        while line := self.response.readline():
            name, _, value = line.decode().rstrip("\n").partition(": ")
            if name == "event":
                event = value
            elif name == "data":
                data = value
            elif name == "id":
                self.id = value
            elif not name and event:
                return event, json.loads(data)
        return "end", None

    def items(self) -> Iterator[dict[str, Any]]:
        """Yield the items of all events."""
        while True:
            event, data = self.next()
            if event == "end":
                return
            yield from data["items"] if event == "snapshot" else data

    def until(self, condition: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        """Return the first item that meets the condition."""
        return next(item for item in self.items() if condition(item))

    def close(self) -> None:
        self.response.close()
        self._connection.close()


@dataclass
class Client:
    """A program that asks a dashboard."""

    url: str
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def root(self) -> str:
        return urlsplit(self.url).path.rstrip("/")

    def connect(self) -> http.client.HTTPConnection:
        host = urlsplit(self.url)
        return http.client.HTTPConnection(host.hostname or "", host.port, timeout=DEADLINE)

    def ask(
        self, path: str, method: str = "GET", body: bytes | str | None = None, **headers: str
    ) -> Answer:
        connection = self.connect()
        sent = self.headers | {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, self.root + path, body=body, headers=sent)
        response = connection.getresponse()
        answer = Answer(response.status, dict(response.getheaders()), response.read())
        connection.close()
        return answer

    def json(self, path: str, **headers: str) -> Any:
        answer = self.ask(path, **headers)
        assert answer.status == 200, answer
        return answer.json()

    def events(self, since: str = "", **headers: str) -> Events:
        query = f"?since={quote(since)}" if since else ""
        return Events(self, f"/api/events{query}", self.headers | headers)

    def until(self, path: str, condition: Callable[[Any], object]) -> Any:
        """Ask again until the answer meets the condition; return it."""
        deadline = time.monotonic() + DEADLINE
        while not condition(answer := self.ask(path)):
            assert time.monotonic() < deadline, answer
            time.sleep(0.01)
        return answer

    def until_live(self) -> Client:
        self.until("/readyz", lambda answer: answer.status == 200)
        return self


def _shared(**settings: Any) -> Iterator[Client]:
    backend = InMemoryAsyncBackend()
    source = Source("m", lambda: RemoteKVMapping(backend, "m", reads="replica"))
    dashboard = Dashboard([source], Settings(**settings))
    with dashboard.running() as url:
        yield Client(url).until_live()


@pytest.fixture(scope="session")
def anybody() -> Iterator[Client]:
    """A dashboard that tells everybody that there is nothing."""
    yield from _shared()


@pytest.fixture(scope="session")
def guarded() -> Iterator[Client]:
    """One that tells so only to who knows the token."""
    yield from _shared(token="a-token-for-the-tests")


@pytest.fixture
def store_path(tmp_path: Path) -> Path:
    (tmp_path / "store").mkdir()
    return tmp_path / "store" / "md.db"


@pytest.fixture
def opened(store_path: Path) -> Iterator[Callable[..., RemoteKVMapping]]:
    """A function that opens a mapping of an entry point of the test's store."""
    with ExitStack() as stack:

        def open_(entry_point: str = "xas", **options: Any) -> RemoteKVMapping:
            backend = SQLiteBackend(store_path)
            return stack.enter_context(RemoteKVMapping(backend, entry_point, **options))

        yield open_


@pytest.fixture
def md(opened: Callable[..., RemoteKVMapping]) -> RemoteKVMapping:
    """The mapping that other programs write to."""
    return opened()


@pytest.fixture
def serve(store_path: Path) -> Iterator[Callable[..., Client]]:
    """A function that starts a dashboard of the test's store and returns a client of it."""
    with ExitStack() as stack:

        def start(
            entry_points: tuple[str, ...] = ("xas",),
            layout: Layout | None = None,
            history: int | None = None,
            **settings: Any,
        ) -> Client:
            def opener(entry_point: str) -> Callable[[], RemoteKVMapping]:
                options = {} if history is None else {"history": history}
                return lambda: RemoteKVMapping(
                    SQLiteBackend(store_path, **options), entry_point, reads="replica", timeout=2
                )

            sources = [Source(name, opener(name), layout) for name in entry_points]
            dashboard = Dashboard(sources, Settings(**settings))
            url = stack.enter_context(dashboard.running())
            port = dashboard.port
            return Client(f"http://127.0.0.1:{port}{urlsplit(url).path}")

        yield start
