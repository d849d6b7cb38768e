"""Working in the event loop of a client that somebody else connected."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

from nats.aio.client import Client

from kv_dict.errors import ConfigurationError, OutcomeUnknown, Unavailable

__all__ = ["Home"]

GRACE: Final = 0.5
"""Seconds beyond an operation's timeout before the loop that should end it is taken for stuck."""

_Result = TypeVar("_Result")


class Home:
    """The loop of a client.

    Parameters
    ----------
    client : nats.aio.client.Client
        Connected.
    where : str
        For messages.
    """

    def __init__(self, client: Client, where: str) -> None:
        if not client.is_connected or client._reading_task is None:
            raise ConfigurationError("client= takes a connected client: await nats.connect(...)")
        self.loop = client._reading_task.get_loop()
        self._where = where

    @property
    def here(self) -> bool:
        """Whether this is that loop."""
        return asyncio.get_running_loop() is self.loop

    async def run(
        self,
        work: Callable[[], Coroutine[Any, Any, _Result]],
        timeout: float | None,
        *,
        writes: bool = False,
    ) -> _Result:
        """Do `work` there, from another loop.

        Raises
        ------
        ConfigurationError
            That loop does not run.
        Unavailable, OutcomeUnknown
            It is stuck, perhaps because its thread waits for this very call.
        """
        started = expired = False

        async def begin() -> _Result:
            nonlocal started
            started = True  # before the look at `expired`, which is set before a look at this
            if expired:
                raise asyncio.CancelledError
            return await work()

        if not self.loop.is_running():
            raise ConfigurationError(
                f"{self._where}: the event loop in which `client` was connected does not run"
            )
        future = asyncio.run_coroutine_threadsafe(begin(), self.loop)
        try:
            async with asyncio.timeout(None if timeout is None else timeout + GRACE):
                return await asyncio.wrap_future(future)
        except TimeoutError:
            expired = True
            why = (
                f"{self._where}: the event loop of `client` is stuck; a blocking call in its own "
                "thread waits for itself: make it in another thread (asyncio.to_thread)"
            )
            if writes and started:
                raise OutcomeUnknown(f"{why}. The write may or may not have been made") from None
            raise Unavailable(why) from None
