"""What the page, and any other program, can ask for: JSON over HTTP."""

from __future__ import annotations

import asyncio
import gzip
import time
from collections.abc import Awaitable, Callable
from functools import wraps
from importlib.metadata import version
from typing import Any, Final

import orjson
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from kv_dict.dashboard import metrics
from kv_dict.dashboard.access import SESSION, Access
from kv_dict.dashboard.board import Board
from kv_dict.dashboard.editing import Changed, PartlyHidden, remove, write
from kv_dict.dashboard.encoding import fingerprint, value_json
from kv_dict.dashboard.events import Events
from kv_dict.dashboard.source import METADATA, Source
from kv_dict.errors import (
    CheckError,
    ClosedError,
    ConflictError,
    DecodeError,
    EncodeError,
    KVDictError,
    OutcomeUnknown,
    ProtectedError,
    Unavailable,
    Unsupported,
)
from kv_dict.mapping import RemoteKVMapping

__all__ = ["API"]

LARGEST_BODY: Final = 4 * 1024 * 1024
HISTORY_BYTES: Final = 4 * 1024 * 1024

_STATUS: Final[dict[type[Exception], int]] = {
    ConflictError: 409,
    PartlyHidden: 403,
    ProtectedError: 403,
    CheckError: 422,
    EncodeError: 422,
    DecodeError: 422,
    Unavailable: 503,
    ClosedError: 503,
    OutcomeUnknown: 504,
    Unsupported: 501,
}

Endpoint = Callable[["API", Request], Awaitable[Response]]


class _Refused(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def _told(endpoint: Endpoint) -> Endpoint:
    """Turn the errors of an endpoint into answers."""

    @wraps(endpoint)
    async def answer(self: API, request: Request) -> Response:
        try:
            return await endpoint(self, request)
        except _Refused as refused:
            return JSONResponse({"error": str(refused)}, refused.status)
        except Changed as changed:
            present = changed.present
            body: dict[str, Any] = {"error": str(changed), "present": None}
            if present is not None:
                body |= {"present": _pretty(present), "tag": fingerprint(present)}
            return JSONResponse(body, 412)
        except KVDictError as error:
            status = next((s for kind, s in _STATUS.items() if isinstance(error, kind)), 409)
            return JSONResponse({"error": str(error)}, status)

    return answer


class API:
    """The endpoints.

    Parameters
    ----------
    board : Board
        What is served.
    access : Access
        To whom; it was checked before a request comes here.
    """

    def __init__(self, board: Board, access: Access) -> None:
        self._board = board
        self._access = access
        self._compressed: tuple[int, bytes] = (-1, b"")

    def routes(self) -> list[BaseRoute]:
        """Return them, with their paths."""
        return [
            Route("/healthz", self.health),
            Route("/readyz", self.ready),
            Route("/metrics", self.metrics),
            Route("/api/session", self.session),
            Route("/api/login", self.log_in, methods=["POST"]),
            Route("/api/sources", self.sources),
            Route("/api/keys", self.keys),
            Route("/api/events", Events(self._board.fanout)),
            Route("/api/feed", self.feed),
            Route("/api/value", self.value),
            Route("/api/value", self.put, methods=["PUT"]),
            Route("/api/value", self.delete, methods=["DELETE"]),
            Route("/api/history", self.history),
        ]

    # -- the process -----------------------------------------------------------------------------

    async def health(self, request: Request) -> Response:
        """``GET /healthz``: 200 as long as the process answers."""
        return JSONResponse({"status": "ok"})

    async def ready(self, request: Request) -> Response:
        """``GET /readyz``: 200 while every source is live, else 503."""
        live = all(source.state == "live" for source in self._board.sources.values())
        return JSONResponse({"status": "live" if live else "stale"}, 200 if live else 503)

    async def metrics(self, request: Request) -> Response:
        """``GET /metrics``: for Prometheus."""
        return Response(
            metrics.text(self._board), media_type="text/plain; version=0.0.4; charset=utf-8"
        )

    # -- who asks --------------------------------------------------------------------------------

    async def session(self, request: Request) -> Response:
        """``GET /api/session``: what this reader may do."""
        access = self._access
        known = access.is_known(request)
        body = {
            "may_read": known or not access.readers_need_token,
            "may_write": access.writable and known,
            "writable": access.writable,
            "version": version("kv-dict"),
        }
        if access.writable and (cookie := access.cookie(request)) and known:
            body["csrf"] = access.csrf_token(cookie)
        return JSONResponse(body)

    @_told
    async def log_in(self, request: Request) -> Response:
        """``POST /api/login``: ``{"token": ...}`` for a cookie."""
        try:
            given = orjson.loads(await _body(request))["token"]
        except (ValueError, KeyError, TypeError):
            raise _Refused(400, 'send {"token": "..."}') from None
        if not isinstance(given, str) or not self._access.is_token(given):
            raise _Refused(401, "that is not the token of this dashboard")
        response = JSONResponse({"status": "ok"})
        response.set_cookie(
            self._access.cookie_name,
            self._access.new_session(),
            max_age=SESSION,
            path=self._access.root_path or "/",
            secure=self._access.secure,
            httponly=True,
            samesite="strict",
        )
        return response

    # -- what there is ---------------------------------------------------------------------------

    async def sources(self, request: Request) -> Response:
        """``GET /api/sources``: what is followed, and what the board shows of each."""
        return _json(
            {
                "sources": [
                    {"name": s.name, "layout": s.layout.as_dict(), **s.about}
                    for s in self._board.sources.values()
                ],
                "time": time.time(),
            }
        )

    async def keys(self, request: Request) -> Response:
        """``GET /api/keys``: the state of everything, and the id to go on from."""
        number, whole = self._board.fanout.snapshot()
        if "gzip" not in request.headers.get("accept-encoding", ""):
            return Response(whole, media_type="application/json")
        if self._compressed[0] != number:
            self._compressed = number, gzip.compress(whole, 1)
        headers = {"Content-Encoding": "gzip", "Vary": "Accept-Encoding"}
        return Response(self._compressed[1], headers=headers, media_type="application/json")

    async def feed(self, request: Request) -> Response:
        """``GET /api/feed``: the last changes, oldest first."""
        news = b",".join(self._board.recent.feed)
        return Response(b'{"changes":[%s]}' % news, media_type="application/json")

    @_told
    async def value(self, request: Request) -> Response:
        """``GET /api/value``: a value, and a tag to edit it; in lines with ``pretty=1``."""
        source, key = self._asked_for(request)
        value = self._value(source, key)
        shown = source.layout.shown(key, value)
        data = value_json(shown, key)
        body = _pretty(data) if request.query_params.get("pretty") else data
        # Without a tag it cannot be written: what is hidden would be lost.
        headers = {"ETag": f'"{fingerprint(data)}"'} if shown is value else None
        return Response(body, headers=headers, media_type="application/json")

    def _value(self, source: Source, key: str) -> Any:
        try:
            return _mapping(source)[key]
        except KeyError:
            raise _Refused(404, f"{source.name} has no key {key!r:.200}") from None

    @_told
    async def history(self, request: Request) -> Response:
        """``GET /api/history``: what one key was: from the store, and as it was seen here."""
        source, key = self._asked_for(request)
        md = _mapping(source)
        seen = self._board.recent.of((source.name, METADATA, key))
        stored: list[dict[str, Any]] = []
        kept = True
        try:
            versions = await asyncio.to_thread(md.history, key)
        except Unsupported:
            kept = False
        except (Unavailable, DecodeError) as error:
            return _json({"stored": [], "seen": _states(seen), "error": str(error)})
        else:
            size = 0
            for one in reversed(versions):
                data = value_json(source.layout.shown(key, one.value), key)
                size += len(data)
                if size > HISTORY_BYTES:
                    break
                stored.append({"value": orjson.Fragment(data), "time": one.time})
        return _json({"stored": stored[::-1], "seen": _states(seen), "kept_by_store": kept})

    # -- changing it -----------------------------------------------------------------------------

    @_told
    async def put(self, request: Request) -> Response:
        """``PUT /api/value``: a new value, with ``If-Match`` or ``If-None-Match: *``."""
        source, key = self._asked_for(request)
        expected = _expected(request, absent_too=True)
        body = await _body(request)
        stored = await asyncio.to_thread(
            write, _mapping(source), key, body, expected, source.layout
        )
        return Response(
            stored, headers={"ETag": f'"{fingerprint(stored)}"'}, media_type="application/json"
        )

    @_told
    async def delete(self, request: Request) -> Response:
        """``DELETE /api/value``, with ``If-Match``."""
        source, key = self._asked_for(request)
        expected = _expected(request, absent_too=False) or ""
        await asyncio.to_thread(remove, _mapping(source), key, expected, source.layout)
        return Response(status_code=204)

    def _asked_for(self, request: Request) -> tuple[Source, str]:
        name, key = request.query_params.get("source", ""), request.query_params.get("key")
        if not name and len(self._board.sources) == 1:
            name = next(iter(self._board.sources))
        source = self._board.sources.get(name)
        if source is None:
            known = ", ".join(self._board.sources)
            raise _Refused(404, f"there is no source {name!r:.80} (there are: {known})")
        if key is None:
            raise _Refused(400, "say which: ?key=")
        if source.layout.hides(key):
            raise _Refused(404, f"{source.name} has no key {key!r:.200}")
        return source, key


def _mapping(source: Source) -> RemoteKVMapping:
    if source.mapping is None:
        raise _Refused(503, f"{source.name}: {source.reason or 'not connected yet'}")
    return source.mapping


def _expected(request: Request, *, absent_too: bool) -> str | None:
    tag = request.headers.get("if-match")
    if tag is not None:
        return tag.strip().strip('"')
    if absent_too and request.headers.get("if-none-match") == "*":
        return None
    raise _Refused(428, "say what it is now: If-Match with the ETag of GET /api/value")


async def _body(request: Request) -> bytes:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > LARGEST_BODY:
            raise _Refused(413, f"more than {LARGEST_BODY} bytes")
    return body


def _states(seen: tuple[Any, ...]) -> list[dict[str, Any]]:
    return [
        {"gone": True, "time": one.time}
        if one.value is None
        else {"value": orjson.Fragment(one.value), "time": one.time}
        for one in seen
    ]


def _pretty(data: bytes) -> str:
    return orjson.dumps(orjson.loads(data), option=orjson.OPT_INDENT_2).decode()


def _json(content: Any) -> Response:
    return Response(orjson.dumps(content), media_type="application/json")
