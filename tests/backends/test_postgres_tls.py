"""TLS with PostgreSQL: what is asked for is had, or nothing is sent."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import trustme

from kv_dict import ConfigurationError, RemoteKVMapping, Unavailable
from kv_dict.backends import open_backend
from kv_dict.closing import Closing
from kv_dict.portal import face_of
from kv_dict.testing import Watching

SSL_REQUEST = (8).to_bytes(4, "big") + (80877103).to_bytes(4, "big")


class Front(Closing):
    """Answers PostgreSQL's request for TLS in front of a server that was built without.

    Parameters
    ----------
    port : int
        Of the server, on 127.0.0.1.
    context : ssl.SSLContext, optional
        Without one it says, as such a server does, that there is no TLS.

    Attributes
    ----------
    encrypted, plain : int
        Connections of each kind on which a client sent anything for the server.
    """

    def __init__(self, port: int, context: ssl.SSLContext | None) -> None:
        self.server_port = port
        self.encrypted = self.plain = 0
        self._context = context
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(lambda loop, told: None)  # handshakes fail on purpose
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server = self._there(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port: int = self._server.sockets[0].getsockname()[1]

    def url(self, host: str = "localhost", **options: object) -> str:
        query = "&".join(f"{name}={quote(str(value))}" for name, value in options.items())
        return f"postgresql://postgres@{host}:{self.port}/postgres?{query}"

    def cut(self) -> None:
        """Break every connection."""

        async def abort() -> None:
            for writer in tuple(self._writers):
                writer.transport.abort()
            await asyncio.sleep(0)

        self._there(abort())

    def close(self) -> None:
        async def end() -> None:
            self._server.close()
            while tasks := asyncio.all_tasks() - {asyncio.current_task()}:
                for writer in tuple(self._writers):
                    writer.transport.abort()
                await asyncio.wait(tasks, timeout=0.05)

        self._there(end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _there(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        inside = None
        try:
            first = await reader.readexactly(8)
            if first == SSL_REQUEST:
                writer.write(b"N" if self._context is None else b"S")
                await writer.drain()
                if self._context is not None:
                    await writer.start_tls(self._context)
                first = await reader.read(1 << 16)
            if not first:
                return
            if writer.get_extra_info("cipher"):
                self.encrypted += 1
            else:
                self.plain += 1
            inside = await asyncio.open_connection("127.0.0.1", self.server_port)
            self._writers.add(inside[1])
            inside[1].write(first)
            await asyncio.gather(self._pump(reader, inside[1]), self._pump(inside[0], writer))
        except (OSError, EOFError):
            pass  # the client went, or its handshake failed
        finally:
            for end in (writer, *(inside[1:] if inside else ())):
                self._writers.discard(end)
                end.transport.abort()

    async def _pump(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(1 << 16):
                target.write(data)
                await target.drain()
        target.close()


def server_context(certificates: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.pem", certificates / "server.key")
    return context


@pytest.fixture(scope="module")
def port(postgres_url: str) -> int:
    return int(postgres_url.rpartition(":")[2].partition("/")[0])


@pytest.fixture(scope="module")
def front(certificates: Path, port: int) -> Iterator[Front]:
    """A server that speaks TLS, as localhost."""
    with Front(port, server_context(certificates)) as front:
        yield front


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody's ~/.postgresql/root.crt."""
    monkeypatch.setenv("HOME", str(tmp_path))


def use(url: str) -> None:
    with RemoteKVMapping(open_backend(url), "ep1", timeout=5) as md:
        md["a"] = 1
        assert md["a"] == 1


def test_what_is_verified(certificates: Path, front: Front, table: str, tmp_path: Path) -> None:
    ca = certificates / "ca.pem"
    stranger = tmp_path / "stranger.pem"
    trustme.CA().cert_pem.write_to_path(stranger)
    made = {"table": table, "create_table": "true"}
    before = front.plain
    use(front.url(ca_file=ca, **made))
    use(front.url(sslmode="verify-full", sslrootcert=ca, **made))
    use(front.url("127.0.0.1", sslmode="require", sslrootcert=ca, **made))  # libpq: not the name
    use(front.url("127.0.0.1", sslmode="verify-ca", ca_file=ca, **made))
    use(front.url("127.0.0.1", sslmode="require", **made))  # nothing is verified
    use(front.url("127.0.0.1", **made))  # libpq's prefer: encrypted where there is TLS
    assert front.plain == before
    assert front.encrypted >= 6
    for url, says in (
        (front.url("127.0.0.1", ca_file=ca), "not trusted .*127.0.0.1.*ca_file="),
        (front.url(ca_file=stranger), "not trusted .*ca_file="),
        (front.url(sslmode="verify-ca", sslrootcert=stranger), "not trusted"),
        (front.url(sslmode="verify-full"), "root.crt.* does not exist.*ca_file="),
    ):
        backend = open_backend(url)
        reached = front.encrypted
        with pytest.raises(ConfigurationError, match=says):
            face_of(backend).ping(timeout=5)
        face_of(backend).close()
        assert (front.plain, front.encrypted) == (before, reached), "something was sent"


def test_no_silent_downgrade(certificates: Path, port: int, table: str) -> None:
    made = {"table": table, "create_table": "true"}
    with Front(port, None) as front:
        for options in ({"ca_file": certificates / "ca.pem"}, {"sslmode": "require"}):
            backend = open_backend(front.url(**options))
            with pytest.raises(ConfigurationError, match="speaks no TLS"):
                face_of(backend).ping(timeout=5)
            face_of(backend).close()
        assert front.plain == 0
        use(front.url(**made))  # libpq's prefer, which is what nothing said means
        assert front.plain > 0


def test_client_certificates(
    certificates: Path, port: int, tls_context: ssl.SSLContext, table: str
) -> None:
    made = {"table": table, "create_table": "true", "ca_file": certificates / "ca.pem"}
    mine = {"cert_file": certificates / "client.pem", "key_file": certificates / "client.key"}
    theirs = {"sslcert": certificates / "client.pem", "sslkey": certificates / "client.key"}
    with Front(port, tls_context) as front:
        use(front.url(**made, **mine))
        use(front.url(**made, **theirs))
        backend = open_backend(front.url(**made))
        with pytest.raises((ConfigurationError, Unavailable)):
            face_of(backend).ping(timeout=5)
        face_of(backend).close()


def test_a_cut_is_noticed_before_a_write_is_sent(
    certificates: Path, front: Front, table: str
) -> None:
    url = front.url(table=table, create_table="true", ca_file=certificates / "ca.pem")
    with RemoteKVMapping(open_backend(url), "ep1", timeout=5) as md:
        for number in range(10):
            md["n"] = number
            front.cut()
        assert md["n"] == 9


def test_a_watch_over_tls(certificates: Path, front: Front, table: str) -> None:
    url = front.url(table=table, create_table="true", ca_file=certificates / "ca.pem")

    async def work() -> None:
        backend = open_backend(url)
        async with Watching(backend, "ep1:") as watching:
            await watching.until_synced()
            await asyncio.to_thread(use, url)
            await watching.until_state({"ep1:a": b"1"})
            await asyncio.to_thread(front.cut)
            await watching.until_synced(2)
        await backend.close()

    asyncio.run(work())


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("ca_file=/nowhere", "ca_file=/nowhere is no file"),
        ("sslrootcert=/nowhere", "sslrootcert=/nowhere is no file"),
        ("cert_file=/nowhere", "belong together"),
        ("ca_file=/a&sslrootcert=/b", "another name"),
        ("ca_file=/a&sslmode=prefer", "would go on without TLS"),
        ("sslmode=perhaps", "sslmode"),
    ],
)
def test_options_that_cannot_work(options: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        face_of(open_backend(f"postgresql://127.0.0.1:1/d?{options}")).ping(timeout=5)
