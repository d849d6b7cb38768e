"""The driver's client, held to one connection and to what was said of TLS."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from nats.aio.client import Client
from nats.errors import Error as NatsError

from kv_dict.backends.nats.options import Options
from kv_dict.errors import ConfigurationError

__all__ = ["OneConnection"]

PATIENCE: Final = 1.0
"""Seconds for a server to take the last words; then it is hung up."""


class OneConnection(Client):
    """Connects to one server once, or fails at once; `lost` is set when it is over.

    The driver's own reconnecting is not used. It would send later what was left unsent, leave the
    sockets of attempts that failed open, and wait for a dead server to take what is left before it
    tells anybody that the connection is lost.
    """

    def __init__(self, *, secure: bool) -> None:
        super().__init__()
        self._secure = secure
        self.lost = asyncio.Event()

    async def begin(
        self, server: str, options: Options, on_error: Callable[[Exception], Awaitable[None]]
    ) -> None:
        """Connect to `server`, or raise what went wrong."""
        connected = False

        async def on_trouble(error: Exception) -> None:
            if not connected:
                raise error  # or the driver would try for ever
            await on_error(error)

        await self.connect([server], error_cb=on_trouble, **options.arguments())
        connected = True

    @property
    def broken(self) -> bool:
        """Whether the socket is known to be closed, which the driver notices a moment later."""
        transport: Any = self._transport
        return bool(transport.at_eof() or transport._io_writer.transport.is_closing())

    async def hang_up(self) -> None:
        """Close, in whatever state a failure or a cancellation left it."""
        transport: Any = self._transport
        if self.lost.is_set():
            self._pending, self._pending_data_size = [], 0
        try:
            if self._reading_task is not None:
                async with asyncio.timeout(PATIENCE):
                    await self.close()
        except (TimeoutError, OSError, NatsError):
            pass  # it is cut off now
        finally:
            for name in ("_io_writer", "_bare_io_writer"):  # of TLS, and of the socket below
                writer = getattr(transport, name, None)
                if writer is not None:
                    writer.transport.abort()
            await asyncio.sleep(0)  # the sockets are closed in here

    # -- overridden ------------------------------------------------------------------------------

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        """Look at a server's first words, before anything is sent to it.

        The driver would speak in clear to a server of ``tls://`` that does not insist on TLS.
        """
        if initial_connection:
            netloc = self._current_server.uri.netloc if self._current_server else ""
            if self._secure and not (info.get("tls_required") or info.get("tls_available")):
                raise ConfigurationError(
                    f"{netloc} offers no TLS, and nothing was sent to it: configure tls on the "
                    "server, or use nats:// without ca_file and cert_file"
                )
            if not self._secure and info.get("tls_required"):
                raise ConfigurationError(f"{netloc} requires TLS: use tls://{netloc}")
            info["tls_required"] = self._secure
        await super()._process_info(info, initial_connection)

    async def _process_op_err(self, e: Exception) -> None:
        self._err = e
        self._process_disconnect()
        self.lost.set()

    async def _process_err(self, err_msg: str) -> None:
        error = NatsError(f"nats: {err_msg}")
        await self._error_cb(error)
        if "permissions violation" not in err_msg:
            await self._process_op_err(error)

    @staticmethod
    def _parse_header_lines(raw: bytes) -> dict[str, str]:
        """Return the headers of a message, of which there is one for each entry that is read.

        The driver looks at every character of every name for white space, one by one, which takes
        longer than all else that reading many entries does.
        """
        headers = {}
        for line in raw.split(b"\r\n"):
            name, colon, value = line.partition(b":")
            if colon and name.isascii():
                key = name.strip().decode()
                if key.split() == [key]:
                    headers[key] = value.strip().decode("utf-8", "replace")
        return headers
