"""A server whose answers take a while: what counts then is how often it is asked."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from typing import Any

from benchmarks.cases import Case, Topic
from benchmarks.competitors import Competitor
from benchmarks.topics import dict_operations as near
from benchmarks.works import Here, Round, Work

DELAY = 0.05


class Line:
    """A connection to a port on which each answer arrives `DELAY` seconds late."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        listening = asyncio.start_server(self._serve, "127.0.0.1", 0)
        server = asyncio.run_coroutine_threadsafe(listening, self._loop).result(10)
        self.port: int = server.sockets[0].getsockname()[1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_connection("127.0.0.1", self._to)
        with suppress(OSError):
            await asyncio.gather(
                self._pass(reader, to_server, 0), self._pass(from_server, writer, DELAY)
            )

    async def _pass(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, delay: float
    ) -> None:
        while data := await source.read(1 << 16):
            self._loop.call_later(delay, target.write, data)
        self._loop.call_later(delay, target.close)

    def close(self) -> None:
        """End it."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)


def far(work: Work) -> Callable[[Here], AbstractContextManager[Round]]:
    """Make the same work count how often it waits for the server, by a second mapping."""

    @contextmanager
    def distant(here: Here) -> Iterator[Round]:
        with closing(Line(here.where.port)) as line:
            url = here.where.url.replace(f":{here.where.port}", f":{line.port}")
            md = here.competitor.open(here.where._replace(url=url, port=line.port))
            if here.competitor.bare:
                md.update(here.md.everything() if hasattr(here.md, "everything") else {})
            with work(here._replace(md=md)) as round_:
                yield lambda seconds: [took / DELAY for took in round_(seconds)]
            if hasattr(md, "close"):
                md.close()

    return distant


read = far(near.read_number)
write = far(near.write)
change_nested = far(near.change_nested)
change_held = far(near.change_held)
update_10 = far(near.update_10)
update_1000 = far(near.update_1000)
everything = far(near.everything)

for name, work in list(globals().items()):
    if getattr(work, "__name__", "") == "distant":
        work.__name__ = name

WORKS: dict[str, tuple[Any, int]] = {
    "md[key]": (read, 100),
    "md[key] = v": (write, 100),
    "md[key][part] = v": (change_nested, 100),
    "held[part] = v": (change_held, 100),
    "md.update, 10 keys": (update_10, 100),
    "dict(md)": (everything, 100),
    "md.update, 1,000 keys": (update_1000, near.THOUSAND),
}


def _on_a_server(competitor: Competitor) -> bool:
    return bool(competitor.server) and competitor.name != "nats-py"


FAR = Topic(
    "far",
    "How often the server is asked",
    f"Round trips: the time of a call on a line where each answer takes {DELAY * 1e3:g} ms, "
    "divided by that.",
    lambda sizes: [
        Case(name, work, keys, _on_a_server, "round trips") for name, (work, keys) in WORKS.items()
    ],
)
