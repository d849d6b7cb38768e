"""``/api/events``: server-sent events, one stream a browser."""

from __future__ import annotations

import asyncio
from typing import Final

from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from kv_dict.dashboard.fanout import Fanout

__all__ = ["Events"]

STALLED: Final = 30.0
"""Seconds after which a reader that takes nothing is let go; it comes back when it can."""

RETRY_MS: Final = 1000
MOST_VIEWERS: Final = 2000

_HEADERS: Final = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # a proxy shall pass each event on at once
]


class Events:
    """ASGI endpoint: a snapshot, or what a reader has missed, and then every change.

    Parameters
    ----------
    fanout : Fanout
        What is told.
    """

    def __init__(self, fanout: Fanout) -> None:
        self._fanout = fanout

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one reader, until it goes."""
        fanout = self._fanout
        if scope["method"] != "GET":
            status = 200 if scope["method"] == "HEAD" else 405
            await send({"type": "http.response.start", "status": status, "headers": _HEADERS})
            await send({"type": "http.response.body", "body": b""})
            return
        if fanout.viewers >= MOST_VIEWERS or fanout.closed:
            await send({"type": "http.response.start", "status": 503, "headers": []})
            await send({"type": "http.response.body", "body": b""})
            return
        request = Request(scope)
        seen = request.headers.get("last-event-id") or request.query_params.get("since")
        telling = asyncio.current_task()
        gone = asyncio.create_task(_gone(receive), name="kv_dict dashboard reader")
        gone.add_done_callback(lambda _: telling.cancel() if telling else None)
        fanout.viewers += 1
        try:
            await self._tell(fanout.position(seen), send)
        except asyncio.CancelledError:
            if not gone.done():
                raise
        except TimeoutError:
            fanout.counts.stalled += 1
        finally:
            fanout.viewers -= 1
            gone.cancel()

    async def _tell(self, position: int | None, send: Send) -> None:
        fanout = self._fanout
        counts = fanout.counts
        await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        frame = b"retry: %d\n\n" % RETRY_MS
        if position is None:
            position, whole = fanout.snapshot()
            frame += b"id: %s-%d\nevent: snapshot\ndata: %s\n\n" % (
                fanout.epoch.encode(),
                position,
                whole,
            )
            counts.snapshots += 1
        else:
            counts.resumed += 1
        beats = fanout.beats
        while not fanout.closed:
            if fanout.told > position:
                frame += fanout.since(position)
                position = fanout.told
            if fanout.beats != beats:
                frame += fanout.beat_frame
                beats = fanout.beats
            if frame:
                counts.frames += 1
                counts.bytes += len(frame)
                async with asyncio.timeout(STALLED):
                    await send({"type": "http.response.body", "body": frame, "more_body": True})
                frame = b""
            if fanout.told <= position and fanout.beats == beats:
                await fanout.turn()
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
