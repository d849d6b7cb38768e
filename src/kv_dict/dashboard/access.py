"""Who may ask, and from where: hosts, tokens, cookies, and headers that keep a browser safe.

The cookie is signed with the token and kept nowhere: so it is still good after the dashboard was
restarted, and a new token makes all of them void.
"""

from __future__ import annotations

import hmac
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kv_dict.errors import ConfigurationError

__all__ = ["CSRF_HEADER", "SESSION", "Access", "Guard", "hosts_of", "is_loopback"]

CSRF_HEADER: Final = "X-CSRF-Token"
SESSION: Final = 30 * 24 * 3600
"""Seconds that a login lasts."""

LEAST_TOKEN: Final = 16
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_OPEN: Final = ("/", "/healthz", "/readyz", "/api/session", "/api/login")
"""What is served without a token: the empty page, and whether the process works."""

_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


def is_loopback(host: str) -> bool:
    """Return whether an address or name is this computer's, for nobody else."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


@dataclass(frozen=True, slots=True)
class Access:
    """What is asked of a reader and of a writer.

    Parameters
    ----------
    hosts : frozenset of str
        Names, without ports, by which the dashboard may be asked for: another one in a ``Host``
        header is a page elsewhere that makes a browser look here.
    token : str or None
        What writers show, and readers too if `readers_need_token`.
    readers_need_token : bool
        Whether reading needs it.
    writable : bool
        Whether anything can be written at all.
    secure : bool
        Whether browsers come over TLS, so that the cookie goes over nothing else.
    root_path : str
        What a proxy puts before the paths.
    """

    hosts: frozenset[str]
    token: str | None = None
    readers_need_token: bool = False
    writable: bool = False
    secure: bool = False
    root_path: str = ""

    def __post_init__(self) -> None:
        if self.token is None and (self.readers_need_token or self.writable):
            raise ConfigurationError("a token is needed to let people write, or read from afar")
        if self.token is not None and len(self.token) < LEAST_TOKEN:
            raise ConfigurationError(
                f"the token has {len(self.token)} characters; at least {LEAST_TOKEN}, such as "
                "python -c 'import secrets; print(secrets.token_urlsafe())' makes"
            )

    def __repr__(self) -> str:
        token = "***" if self.token else None
        return f"Access(hosts={sorted(self.hosts)}, token={token!r}, writable={self.writable})"

    # -- tokens ----------------------------------------------------------------------------------

    @property
    def cookie_name(self) -> str:
        """Of its own for each token: browsers keep one jar for all the ports of a host."""
        return f"kv_dict_dashboard_{self._signed('cookie', '')[:8]}"

    def cookie(self, connection: HTTPConnection) -> str:
        """Return the cookie that a request shows; empty without one."""
        return connection.cookies.get(self.cookie_name, "")

    def is_token(self, given: str) -> bool:
        """Return whether it is the token, in a time that does not tell how much of it is right."""
        return self.token is not None and hmac.compare_digest(given.encode(), self.token.encode())

    def new_session(self) -> str:
        """Return a cookie's value."""
        content = f"{int(time.time()) + SESSION}.{secrets.token_urlsafe(12)}"
        return f"{content}.{self._signed('session', content)}"

    def is_session(self, cookie: str) -> bool:
        """Return whether it is the value of a cookie that was given, and still counts."""
        content, _, signature = cookie.rpartition(".")
        good = hmac.compare_digest(self._signed("session", content).encode(), signature.encode())
        until = content.partition(".")[0]
        return good and until.isdigit() and int(until) > time.time()

    def csrf_token(self, cookie: str) -> str:
        """Return what a page has to send beside its cookie when it writes."""
        return self._signed("csrf", cookie)

    def _signed(self, purpose: str, content: str) -> str:
        key = (self.token or secrets.token_hex()).encode()
        return hmac.new(key, f"{purpose}:{content}".encode(), sha256).hexdigest()

    # -- requests --------------------------------------------------------------------------------

    def is_known(self, connection: HTTPConnection) -> bool:
        """Return whether a request shows the token, or a cookie that was given for it."""
        if self.token is None:
            return False
        return self._shows_token(connection) or self.is_session(self.cookie(connection))

    def refusal(self, connection: HTTPConnection) -> tuple[int, str] | None:
        """Return the status and the reason if a request shall not be answered."""
        host = _name(connection.headers.get("host", ""))
        if host not in self.hosts:
            return 421, (
                f"this dashboard does not answer as {host!r:.80}; start it with "
                "--allowed-host NAME or --public-url URL"
            )
        if connection.headers.get("sec-fetch-site") == "cross-site" and _is_api(connection):
            return 403, "asked for by a page of another site"
        path, method = connection.scope["path"], connection.scope["method"]
        if method in _SAFE or path == "/api/login":
            if not self.readers_need_token or _is_open(path) or self.is_known(connection):
                return None
            return 401, "a token is needed"
        return self._refusal_to_write(connection)

    def _refusal_to_write(self, connection: HTTPConnection) -> tuple[int, str] | None:
        if not self.writable:
            return 403, "this dashboard only shows; start it with --writable to edit"
        if not self.is_known(connection):
            return 401, "a token is needed"
        if self._shows_token(connection):
            return None  # a program: a browser sends that header for no other site
        sent = connection.headers.get(CSRF_HEADER, "")
        right = self.csrf_token(self.cookie(connection))
        if not hmac.compare_digest(sent.encode(), right.encode()):
            return 403, f"{CSRF_HEADER} is missing or wrong: load the page again"
        if not self._is_own(connection.headers.get("origin")):
            return 403, "asked for by a page of another site"
        return None

    def _shows_token(self, connection: HTTPConnection) -> bool:
        scheme, _, shown = connection.headers.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and self.is_token(shown.strip())

    def _is_own(self, origin: str | None) -> bool:
        return origin is None or (urlsplit(origin).hostname or "") in self.hosts


class Guard:
    """ASGI middleware: refuses what shall not be answered, and adds the headers for browsers."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path: str = scope["path"]
        root = self._access.root_path
        if root and (path == root or path.startswith(root + "/")):  # a proxy may have cut it off
            scope = {**scope, "path": path[len(root) :] or "/"}
        connection = HTTPConnection(scope)
        refused = self._access.refusal(connection)

        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
                headers.setdefault(
                    "Cache-Control", "no-store" if _is_api(connection) else "no-cache"
                )
            await send(message)

        if refused is None:
            await self._app(scope, receive, send_safely)
            return
        status, reason = refused
        headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
        await JSONResponse({"error": reason}, status, headers)(scope, receive, send_safely)


def _name(host: str) -> str:
    """Return the name in a ``Host`` header, without the port."""
    name = host.rpartition(":")[0] if ":" in host and not host.endswith("]") else host
    return name.lower().rstrip(".")


def _is_api(connection: HTTPConnection) -> bool:
    return not (connection.scope["path"] == "/" or connection.scope["path"].startswith("/static/"))


def _is_open(path: str) -> bool:
    return path in _OPEN or path.startswith("/static/")


def hosts_of(names: Iterable[str]) -> frozenset[str]:
    """Return names as `Access` takes them."""
    return frozenset(name.lower().strip("[]").rstrip(".") for name in names) | frozenset(
        f"[{name}]" for name in names if ":" in name
    )
