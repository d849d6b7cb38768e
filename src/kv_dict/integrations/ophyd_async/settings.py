"""`KVSettingsProvider`: named settings of devices, kept in a mapping."""

from __future__ import annotations

import asyncio
from typing import Any

from ophyd_async.core import ConfinedModel, SettingsProvider

from kv_dict.errors import CheckError, DecodeError
from kv_dict.keys import check_key
from kv_dict.mapping import RemoteKVMapping

__all__ = ["KVSettingsProvider"]


class KVSettingsProvider(SettingsProvider):
    """Keeps what ophyd-async's ``store_settings`` stores, and shares it between sessions.

    Each set of settings is one item: its name is the key, and the value a dict of signal names to
    values. It is written in one step, so nobody reads half of it; with a store that keeps them,
    ``md.history(name)`` has the earlier ones.

    Parameters
    ----------
    md : RemoteKVMapping
        The mapping, of an entry point of its own: what is in ``RE.md`` is in every start document.

    Notes
    -----
    Arrays keep their dtype. Tables are stored as dicts of their columns and enums as strings, as by
    ophyd-async's own provider, and signals take them so.

    Examples
    --------
    >>> import asyncio
    >>> from kv_dict.integrations.ophyd_async import KVSettingsProvider
    >>> provider = KVSettingsProvider(md)
    >>> asyncio.run(provider.store("baseline", {"stage-x.velocity": 1.5}))
    >>> asyncio.run(provider.retrieve("baseline"))
    {'stage-x.velocity': 1.5}
    """

    def __init__(self, md: RemoteKVMapping) -> None:
        if not isinstance(md, RemoteKVMapping):
            raise TypeError(f"md is a mapping, such as open_mapping(), not {type(md).__name__}")
        self._md = md

    async def store(self, name: str, data: dict[str, Any]) -> None:
        """Store settings under a name, in place of earlier ones.

        Raises
        ------
        EncodeError
            A value cannot be stored; nothing was written.
        CheckError
            The mapping is one for the metadata of runs; nothing was written.
        Unavailable
            The store cannot be reached; nothing was written.
        OutcomeUnknown
            The store did not answer; the settings may or may not have been written.
        """
        check_key(name)
        plain = {signal: _plain(value) for signal, value in data.items()}
        try:
            await asyncio.to_thread(self._md.update, {name: plain})
        except CheckError as error:
            raise CheckError(
                f"{error}. Settings are no metadata of runs: keep them in an entry point of their "
                "own, KVSettingsProvider(RemoteKVMapping(md.backend, 'settings'))"
            ) from None

    async def retrieve(self, name: str) -> dict[str, Any]:
        """Return the settings of a name.

        Raises
        ------
        KeyError
            There are none; says which there are.
        DecodeError
            The item of that name is no set of settings.
        """
        return await asyncio.to_thread(self._retrieve, check_key(name))

    def _retrieve(self, name: str) -> dict[str, Any]:
        where = f"{self._md.backend.url}, entry point {self._md.entry_point!r}"
        try:
            settings = self._md.version(name).value
        except KeyError:
            known = ", ".join(map(repr, self._md)) or "none"
            raise KeyError(f"no settings named {name!r} in {where}; there are: {known}") from None
        if not isinstance(settings, dict):
            raise DecodeError(f"{name!r} in {where} is no set of settings but {settings!r:.60}")
        return settings


def _plain(value: Any) -> Any:
    return value.model_dump() if isinstance(value, ConfinedModel) else value
