"""A bucket as the stock key-value API of nats-py sees it."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

import nats
from nats.js.errors import KeyNotFoundError
from nats.js.kv import KeyValue

from kv_dict import NatsBackend
from kv_dict.testing.raw import RawStore

__all__ = ["RawNats", "key_of", "name_of"]


_Result = TypeVar("_Result")


class RawNats(RawStore):
    """The stock key-value API of nats-py, in a loop of its own, and the spelling by its words.

    Parameters
    ----------
    url, bucket : str
        The server, and the name of the bucket that is made there.
    history : int
        The values that it keeps of each key.
    """

    def __init__(self, url: str, bucket: str, history: int = 8) -> None:
        self.url, self.bucket, self.history = url, bucket, history
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self.run(self._connect())

    def run(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _connect(self) -> None:
        self.client = await nats.connect(self.url)
        self.js = self.client.jetstream()
        self.kv = await self.make()

    async def make(self) -> KeyValue:
        kv = await self.js.create_key_value(bucket=self.bucket, history=self.history, direct=True)
        await self.edit(allow_atomic=True)
        return kv

    async def edit(self, **changes: object) -> None:
        """Change the configuration of the stream, as ``nats stream edit`` does."""
        name = f"KV_{self.bucket}"
        told = await self.client.request(f"$JS.API.STREAM.INFO.{name}", timeout=5)
        body = json.loads(told.data)["config"] | changes
        await self.client.request(
            f"$JS.API.STREAM.UPDATE.{name}", json.dumps(body).encode(), timeout=5
        )

    def close(self) -> None:
        async def end() -> None:
            await self.js.delete_key_value(self.bucket)
            await self.client.close()

        self.run(end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def open(self) -> NatsBackend:
        return NatsBackend(self.url, self.bucket)

    def open_keeping(self, history: int) -> NatsBackend:
        self.run(self.edit(max_msgs_per_subject=history))
        return NatsBackend(self.url, self.bucket, history=history)

    def get(self, key: str) -> bytes | None:
        async def get() -> bytes | None:
            try:
                return (await self.kv.get(name_of(key))).value or b""
            except KeyNotFoundError:
                return None

        return self.run(get())

    def put(self, key: str, value: bytes) -> None:
        self.run(self.kv.put(name_of(key), value))

    def delete(self, key: str) -> None:
        self.run(self.kv.delete(name_of(key)))

    def keys(self) -> set[str]:
        # Not by the client's `keys`: on a busy computer it takes messages that are on their way for
        # the end of an empty bucket.
        async def keys() -> set[str]:
            info = await self.js.stream_info(f"KV_{self.bucket}", subjects_filter=">")
            skip = len(f"$KV.{self.bucket}.")
            names = [subject[skip:] for subject in info.state.subjects or {}]
            present = await asyncio.gather(*(self._present(name) for name in names))
            return {key_of(name) for name, there in zip(names, present, strict=True) if there}

        return self.run(keys())

    async def _present(self, name: str) -> bool:
        try:
            await self.kv.get(name)
        except KeyNotFoundError:
            return False
        return True


PLAIN = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-/_")


def name_of(key: str) -> str:
    """Spell a key byte by byte: ':' is a dot, what is not plain is =XX, nothing is '='."""
    tokens = []
    for part in key.split(":"):
        token = ""
        for byte in part.encode():
            token += chr(byte) if chr(byte) in PLAIN else f"={byte:02X}"
        tokens.append(token or "=")
    name = ".".join(tokens)
    return "=5Fkv" + name[3:] if name[:3] == "_kv" else name


def key_of(name: str) -> str:
    """Return the key that is spelt so."""
    data = b"".join(
        bytes([int(piece[1:], 16)]) if len(piece) == 3 else piece.encode()
        for piece in re.findall(
            r"=[0-9A-F]{2}|.", ":".join("" if t == "=" else t for t in name.split("."))
        )
    )
    return data.decode()
