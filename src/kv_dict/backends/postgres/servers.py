"""Connecting to one of several servers: the one that worked last is asked first."""

from __future__ import annotations

import asyncio
from typing import Final

import asyncpg
from asyncpg import exceptions

from kv_dict.backends.postgres.address import Address
from kv_dict.backends.postgres.connections import Connection
from kv_dict.backends.postgres.explain import DRIVER_ERRORS, reason
from kv_dict.errors import ConfigurationError, KVDictError, Unavailable

__all__ = ["Servers"]

_PATIENCE: Final = 1.0
"""Seconds that one of several servers may take; a single one may take all the time there is."""

_AGAIN: Final = 0.02
_ELSEWHERE: Final = (
    OSError,
    asyncpg.CannotConnectNowError,
    asyncpg.PostgresConnectionError,
    asyncpg.TooManyConnectionsError,
    exceptions.InternalClientError,  # of another role than asked for; or no PostgreSQL at all
)

_KNOWN: Final = (*DRIVER_ERRORS, OSError, KVDictError)


class Servers:
    """The servers of an address. Thread-safe.

    The driver alone would begin with the first one each time: if that one is cut off by a network,
    an operation whose timeout is short would never get to the second.
    """

    def __init__(self, address: Address, shown: str, cache: int) -> None:
        self._address = address
        self._shown = shown
        self._cache = cache
        self._order = tuple(dict.fromkeys(address.hosts))

    async def connect(self) -> Connection:
        """Return a new connection; one that is starting up is waited for."""
        while True:
            errors: dict[str, Exception] = {}
            for host in self._order:
                try:
                    return await self._connect(host)
                except _ELSEWHERE as error:
                    errors[host] = error
                    self._put_last(host)
                except asyncio.CancelledError:  # the time is over: next time another one is first
                    self._put_last(host)
                    raise
            if not any(isinstance(e, asyncpg.CannotConnectNowError) for e in errors.values()):
                break
            await asyncio.sleep(_AGAIN)
        if len(errors) == 1:
            raise next(iter(errors.values()))
        reasons = "; ".join(f"{host}: {reason(error)}" for host, error in errors.items())
        raise Unavailable(f"{self._shown}: no server can be used ({reasons})")

    async def _connect(self, host: str) -> Connection:
        arguments = self._address.arguments(host)
        if len(self._order) > 1:
            arguments["timeout"] = _PATIENCE
        try:
            return await asyncpg.connect(**arguments, statement_cache_size=self._cache)
        except BaseException as error:  # noqa: BLE001 - it is raised again
            # Frames of the driver hold the password: neither they nor their context are kept.
            error.__cause__ = error.__context__ = None
            if isinstance(error, ValueError) and not isinstance(error, _KNOWN):
                # Whatever it says may repeat a part of the URL.
                raise ConfigurationError(
                    f"{self._shown}: an option of the URL has a value that cannot be used"
                ) from None
            raise error.with_traceback(None) from None

    def _put_last(self, host: str) -> None:
        self._order = (*(other for other in self._order if other != host), host)
