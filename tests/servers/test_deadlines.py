"""Whatever a server or a network does, every operation ends in time, and says what is true."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from kv_dict import (
    Backend,
    ConfigurationError,
    KVDictError,
    OutcomeUnknown,
    RemoteKVMapping,
    Unavailable,
)
from kv_dict.backends import open_backend
from kv_dict.testing.proxy import FaultProxy
from kv_dict.testing.servers import RedisServer, ServerProcess

TIMEOUT = 0.3
GRACE = 4.0
"""Seconds beyond the timeout that this test allows a busy machine."""

OPERATIONS: dict[str, Callable[[RemoteKVMapping], object]] = {
    "read": lambda md: md["n"],
    "list": dict,
    "write": lambda md: md.__setitem__("n", 2),
    "update": lambda md: md.update(n=2, m=2),
    "increment": lambda md: md.increment("n"),
    "delete": lambda md: md.__delitem__("n"),
    "clear": lambda md: md.clear(),
}
READS = ("read", "list")


@pytest.fixture
def url(server: ServerProcess, proxy: FaultProxy) -> str:
    """The store's URL through the proxy; an item `n` is there."""
    with RemoteKVMapping(open_backend(server.store_url()), "ep1") as md:
        md["n"] = 1
    return server.store_url(proxy.port)


@pytest.fixture
def md(url: str) -> Iterator[RemoteKVMapping]:
    """A mapping through the proxy, whose connection is warm."""
    with RemoteKVMapping(open_backend(url), "ep1", timeout=15) as md:
        assert md["n"] == 1
        md.timeout = TIMEOUT
        yield md


@pytest.fixture
def warm(url: str) -> Iterator[dict[str, RemoteKVMapping]]:
    """For each operation, a mapping through the proxy with a warm connection of its own."""
    mds = {
        name: RemoteKVMapping(open_backend(url), f"ep-{name}", timeout=15) for name in OPERATIONS
    }
    for md in mds.values():
        md["n"] = 1
        md.timeout = TIMEOUT
    yield mds
    for md in mds.values():
        md.close()


def ends(operation: Callable[[], object]) -> KVDictError:
    """Return the error that an operation ends with, in time."""
    started = time.monotonic()
    with pytest.raises(KVDictError) as caught:
        operation()
    took = time.monotonic() - started
    assert took < TIMEOUT + GRACE, f"took {took:.2f} s: {caught.value}"
    assert caught.value.args[0], "an error says something"
    return caught.value


def all_at_once(mds: dict[str, RemoteKVMapping]) -> dict[str, KVDictError]:
    """Try every operation, each in a thread of its own; return how each ended."""
    errors: dict[str, KVDictError] = {}

    def use(name: str) -> None:
        errors[name] = ends(lambda: OPERATIONS[name](mds[name]))

    threads = [threading.Thread(target=use, args=(name,)) for name in mds]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors.keys() == mds.keys()
    return errors


def check_outage(mds: dict[str, RemoteKVMapping], *, back: Callable[[], object]) -> None:
    """Try everything twice during an outage, and then again after it."""
    first = all_at_once(mds)
    second = all_at_once(mds)
    for name in mds:
        kinds = {type(first[name]), type(second[name])}
        assert kinds <= ({Unavailable} if name in READS else {Unavailable, OutcomeUnknown}), name
    back()
    for name, md in mds.items():
        works_again(md, first[name], second[name])


def works_again(md: RemoteKVMapping, *errors: KVDictError) -> None:
    """Check that the mapping goes on with no action, and that nothing was done that was denied."""
    md.timeout = 15
    found = dict(md)
    if all(isinstance(error, Unavailable) for error in errors):
        assert found == {"n": 1}
        time.sleep(0.1)  # nor is it done later
        assert dict(md) == {"n": 1}
    md["n"] = 10
    md["x"] = {"y": 1}
    md["x"]["y"] += 1
    assert md["n"] == 10
    assert md["x"] == {"y": 2}


def test_frozen(server: ServerProcess, warm: dict[str, RemoteKVMapping]) -> None:
    server.freeze()
    check_outage(warm, back=server.thaw)


def test_black_holed(proxy: FaultProxy, warm: dict[str, RemoteKVMapping]) -> None:
    proxy.black_hole()
    check_outage(warm, back=proxy.heal)


def test_down(server: ServerProcess, warm: dict[str, RemoteKVMapping]) -> None:
    server.kill()
    check_outage(warm, back=server.start)


def test_cut_in_mid_request(proxy: FaultProxy, md: RemoteKVMapping) -> None:
    md.timeout = 1
    proxy.cut_answers()
    with pytest.raises((Unavailable, OutcomeUnknown)) as caught:
        md["n"] = 2
    with pytest.raises(Unavailable):
        md["n"]
    md.timeout = 15
    proxy.heal()
    assert md["n"] in ((1,) if isinstance(caught.value, Unavailable) else (1, 2))
    proxy.cut()
    md["n"] = 3
    proxy.cut()
    assert md["n"] == 3


def test_refused(proxy: FaultProxy, url: str) -> None:
    proxy.close()
    check_never_there(url)


def test_an_address_that_never_answers(server: ServerProcess) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=100) as deaf:
        check_never_there(server.store_url(deaf.getsockname()[1]))


def check_never_there(url: str) -> None:
    """Every operation says in time that nothing was done, or that this is no such server."""
    mds = {name: RemoteKVMapping(open_backend(url), "ep1", timeout=TIMEOUT) for name in OPERATIONS}
    for error in all_at_once(mds).values():
        assert isinstance(error, Unavailable | ConfigurationError), error
    for md in mds.values():
        md.close()


def test_something_else_answers(server: ServerProcess) -> None:
    """A web server, say: an error of ours, and in time."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            client.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        check_never_there(server.store_url(listener.getsockname()[1]))
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def test_a_server_that_speaks_tls_only(server: ServerProcess, tls_context: ssl.SSLContext) -> None:
    with FaultProxy(server.port, tls_context) as proxy:
        check_never_there(server.store_url(proxy.port))


def test_threads_that_share_a_mapping(server: ServerProcess, md: RemoteKVMapping) -> None:
    server.freeze()
    errors = all_at_once(dict.fromkeys(OPERATIONS, md))
    server.thaw()
    works_again(md, *errors.values())


def test_after_unavailable_nothing_is_written_later(
    server: ServerProcess, proxy: FaultProxy, url: str
) -> None:
    """A write that was `Unavailable` is not in a driver's buffer, to be sent later."""
    denied = 0
    with RemoteKVMapping(open_backend(url), "ep1", timeout=TIMEOUT) as md:
        for round_ in range(6):
            proxy.black_hole() if round_ % 2 else server.freeze()
            for attempt in range(2):
                key = f"k{round_}{attempt}"
                try:
                    md[key] = "denied"
                except Unavailable:
                    denied += 1
                except OutcomeUnknown:
                    md.timeout = 10
                    proxy.heal()
                    server.thaw()
                    del_if_there(md, key)
                    md.timeout = TIMEOUT
                    break
            proxy.heal()
            server.thaw()
        md.timeout = 10
        md["last"] = 1
        assert set(md) == {"n", "last"}
    assert denied


def del_if_there(md: RemoteKVMapping, key: str) -> None:
    """Take back what may have been written."""
    time.sleep(0.2)  # what the server had received it works through first
    md.pop(key, None)


def test_cancelled_operations(server: ServerProcess, url: str) -> None:
    """A cancelled task leaves the connection usable for the next."""
    from kv_dict.model import Put

    async def work(backend: Backend) -> None:
        for n in range(20):
            task = asyncio.create_task(backend.commit([Put("ep1:c", b"%d" % n)], timeout=5))
            await asyncio.sleep(0.0005 * n)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            found = await backend.read("ep1:n", timeout=5)
            assert found is not None
            assert found.value == b"1"
        await backend.close()

    if not isinstance(server, RedisServer):
        asyncio.run(work(open_backend(url)))
    asyncio.run(work(open_backend(server.store_url())))
