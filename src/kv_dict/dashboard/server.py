"""`Dashboard`: the web application and the server around it."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import FileResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from kv_dict.dashboard.access import Access, Guard, hosts_of, is_loopback
from kv_dict.dashboard.api import API
from kv_dict.dashboard.board import Board, by_name
from kv_dict.dashboard.source import Source
from kv_dict.errors import ConfigurationError, Unavailable

__all__ = ["Dashboard", "Settings"]

_log = logging.getLogger("kv_dict.dashboard")

STATIC: Final = Path(__file__).parent / "static"

_SEND_BUFFER: Final = 64 * 1024
"""Bytes that the kernel keeps for a reader: what is in there is old by the time it arrives."""

_GRACE: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Where a dashboard listens, and to whom.

    Parameters
    ----------
    host : str
        Address to listen on. Any but this computer's own needs a token.
    port : int
        0 for a free one.
    token : str, optional
        At least 16 characters. Readers need it too, unless only this computer is listened to,
        without a proxy, and `writable` is what it is for.
    writable : bool
        Whether values can be edited, with the token.
    allowed_hosts : sequence of str
        Further names by which browsers may ask for it.
    public_url : str
        How browsers reach it through a proxy: ``https://status.beamline.org/xas``.
    tls_certificate, tls_key : Path, optional
        PEM files, to speak TLS.

    Raises
    ------
    ConfigurationError
        They do not go together; says what to do.
    """

    host: str = "127.0.0.1"
    port: int = 0
    token: str | None = None
    writable: bool = False
    allowed_hosts: Sequence[str] = ()
    public_url: str = ""
    tls_certificate: Path | None = None
    tls_key: Path | None = None

    def __post_init__(self) -> None:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ConfigurationError("TLS needs both a certificate and its key")
        public = urlsplit(self.public_url)
        if self.public_url and not (public.scheme in ("http", "https") and public.hostname):
            raise ConfigurationError(
                f"public_url={self.public_url!r}: a URL like https://status.beamline.org/xas"
            )

    def __repr__(self) -> str:
        return f"Settings(host={self.host!r}, port={self.port}, writable={self.writable})"

    @property
    def root_path(self) -> str:
        """What a proxy puts before the paths; empty without one."""
        return urlsplit(self.public_url).path.rstrip("/")

    @property
    def scheme(self) -> str:
        """``https`` where it speaks TLS itself."""
        return "http" if self.tls_certificate is None else "https"

    def access(self) -> Access:
        """Return what is asked of readers and writers."""
        names = ["localhost", "127.0.0.1", "::1", *self.allowed_hosts]
        public = urlsplit(self.public_url)
        if public.hostname:
            names.append(public.hostname)
        loopback = is_loopback(self.host)
        if self.host in ("0.0.0.0", "::", ""):  # noqa: S104 - compared, not listened on
            names += [socket.gethostname(), socket.getfqdn()]
        else:
            names.append(self.host)
        if not loopback and self.token is None:
            raise ConfigurationError(
                f"listening on {self.host!r} lets other computers read: give a token with "
                "--token-file FILE, or listen on 127.0.0.1"
            )
        return Access(
            hosts_of(names),
            self.token,
            # Readers who come through a proxy are anybody, wherever the proxy runs.
            readers_need_token=self.token is not None
            and not (loopback and self.writable and not self.public_url),
            writable=self.writable,
            secure=self.tls_certificate is not None or public.scheme == "https",
            root_path=self.root_path,
        )


class Dashboard:
    """A web page that shows sources, live, to any number of browsers.

    Parameters
    ----------
    sources : sequence of Source
        What is shown.
    settings : Settings, optional
        Where, and to whom.

    Attributes
    ----------
    port : int
        Where it listens, once it does.

    Examples
    --------
    >>> from kv_dict import open_mapping
    >>> from kv_dict.dashboard import Dashboard, Source
    >>> source = Source("xas", lambda: open_mapping("sqlite:xas.db", reads="replica"))
    >>> with Dashboard([source]).running() as url:
    ...     url.startswith("http://127.0.0.1:")
    True
    """

    def __init__(self, sources: Sequence[Source], settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        self._sources = tuple(by_name(sources).values())
        self._access = self.settings.access()
        self._stop: Callable[[], object] = lambda: None
        self.port = self.settings.port

    def application(self, board: Board) -> Starlette:
        """Return the ASGI application; its lifespan follows the sources."""

        @asynccontextmanager
        async def lifespan(_: Starlette) -> AsyncIterator[None]:
            board.begin()
            try:
                yield
            finally:
                await board.end()

        async def index(request: Any) -> FileResponse:
            return FileResponse(STATIC / "index.html")

        return Starlette(
            routes=[
                Route("/", index),
                Mount("/static", StaticFiles(directory=STATIC)),
                *API(board, self._access).routes(),
            ],
            middleware=[Middleware(Guard, access=self._access)],
            lifespan=lifespan,
        )

    # -- running ---------------------------------------------------------------------------------

    def serve(self, ready: Callable[[str], object] = lambda url: None) -> None:
        """Serve until SIGTERM or Ctrl-C; call `ready` with the URL when connections are taken.

        Raises
        ------
        ConfigurationError
            The address cannot be listened on, the certificate cannot be used, or a store can never
            be opened as it is named. One that is away is waited for.
        """
        listening = self._prepare()
        asyncio.run(self._serve(listening, ready))

    @contextmanager
    def running(self) -> Iterator[str]:
        """Serve in a thread meanwhile, and give the URL."""
        listening = self._prepare()
        ready = threading.Event()
        urls: list[str] = []
        failures: list[BaseException] = []

        def begin(url: str) -> None:
            urls.append(url)
            ready.set()

        def run() -> None:
            try:
                asyncio.run(self._serve(listening, begin))
            except BaseException as error:  # noqa: BLE001 - raised below, where somebody sees it
                failures.append(error)
            finally:
                ready.set()

        thread = threading.Thread(target=run, name="kv_dict dashboard")
        thread.start()
        ready.wait()
        try:
            if urls:
                yield urls[0]
        finally:
            if urls and not failures:
                self._stop()
            thread.join()
        if failures:
            raise failures[0]

    def _prepare(self) -> socket.socket:
        """Find out what cannot work, before anything is served."""
        listening = self._listen()
        try:
            self._open_sources()
        except BaseException:
            listening.close()
            raise
        return listening

    def _listen(self) -> socket.socket:
        settings = self.settings
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        listening = socket.socket(family, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        try:
            listening.bind((settings.host.strip("[]"), settings.port))
        except (OSError, OverflowError) as error:
            listening.close()
            reason = getattr(error, "strerror", None) or str(error)
            raise ConfigurationError(
                f"cannot listen on {settings.host} port {settings.port}: {reason}"
            ) from None
        self.port = listening.getsockname()[1]
        return listening

    def _open_sources(self) -> None:
        try:
            for source in self._sources:
                try:
                    source.open()
                except Unavailable as error:
                    _log.warning("%s: %s; it is tried again", source.name, error)
        except BaseException:
            for source in self._sources:
                source.close()
            raise

    async def _serve(self, listening: socket.socket, ready: Callable[[str], object]) -> None:
        board = Board(self._sources)
        settings = self.settings
        config = uvicorn.Config(
            self.application(board),
            lifespan="on",
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=_GRACE,
            timeout_keep_alive=30,
            ssl_certfile=settings.tls_certificate,
            ssl_keyfile=settings.tls_key,
        )
        try:
            config.load()
        except OSError as error:  # ssl.SSLError is one
            listening.close()
            for source in self._sources:
                source.close()
            raise ConfigurationError(
                f"the TLS certificate {settings.tls_certificate} or its key cannot be used: {error}"
            ) from None
        host = f"[{settings.host.strip('[]')}]" if ":" in settings.host else settings.host
        url = settings.public_url.rstrip("/") or f"{settings.scheme}://{host}:{self.port}"
        server = _Server(config, board, lambda: ready(f"{url}/"))
        loop = asyncio.get_running_loop()
        self._stop = partial(loop.call_soon_threadsafe, server.stop)
        await server.serve(sockets=[listening])


class _Server(uvicorn.Server):
    """A server that ends its streams before it waits for them."""

    def __init__(self, config: uvicorn.Config, board: Board, ready: Callable[[], object]) -> None:
        super().__init__(config)
        self._board = board
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready()

    def stop(self) -> None:
        """End; at once if it is said a second time."""
        self.force_exit = self.should_exit
        self.should_exit = True
        self._board.fanout.close()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Have SIGTERM and Ctrl-C end it, which is how it ends, and no failure."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.stop)
        try:
            yield
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)
