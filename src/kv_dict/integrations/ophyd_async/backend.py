"""`KVSignalBackend`: a signal whose value is an item of a mapping."""

from __future__ import annotations

import asyncio

from bluesky.protocols import Reading
from event_model import DataKey, Limits
from ophyd_async.core import (
    Callback,
    NotConnectedError,
    SignalBackend,
    SignalDatatypeT,
    SignalMetadata,
    get_enum_cls,
    make_datakey,
)

from kv_dict.errors import ConfigurationError, KVDictError
from kv_dict.integrations.ophyd_async.datatypes import datatype_of
from kv_dict.integrations.ophyd_async.item import Item, Key, Present, steps_of
from kv_dict.integrations.ophyd_async.metadata import check_within, metadata_of
from kv_dict.integrations.ophyd_async.monitor import Monitor
from kv_dict.integrations.ophyd_async.readings import Readings
from kv_dict.mapping import LayeredMapping, RemoteKVMapping
from kv_dict.portal import face_of

__all__ = ["KVSignalBackend"]


class KVSignalBackend(SignalBackend[SignalDatatypeT]):
    """Reads, sets and monitors one value of a mapping.

    Parameters
    ----------
    datatype : type
        One of ophyd-async's datatypes.
    md : RemoteKVMapping or LayeredMapping
        Where the value is. It has to stay open as long as the signal is used. Of layers, the signal
        is set in the one that its key belongs to, and shows what is read.
    key : str or sequence of str
        Its key; ``"detector/exposure"`` or ``("detector", "exposure")`` for a part of a dict.
    initial : object, optional
        What is stored when the signal is connected and nothing is there, if `writable`; what is
        read where there is nothing; what ``put(None)`` stores. Without it a missing value is an
        error when it is read, and ``put(None)`` stores the datatype's empty value: 0, "", the first
        choice.
    units : str, optional
        Of the value, for the documents.
    precision : int, optional
        Digits behind the point that displays show.
    limits : (low, high) or event_model.Limits, optional
        The control limits, either of which may be None; or all kinds of limits. A number outside
        the control limits is refused.
    writable : bool
        Whether the signal may store its initial value.

    Raises
    ------
    TypeError
        A parameter of a wrong type; ophyd-async has no such datatype.
    ConfigurationError
        A key or limits that cannot be.
    EncodeError
        The initial value is not of the datatype.

    Notes
    -----
    Never blocks the event loop: what asks the store does so in a worker thread. A monitor is called
    in the loop that the signal was connected in.

    Examples
    --------
    >>> import asyncio
    >>> from ophyd_async.core import SignalRW
    >>> from kv_dict.integrations.ophyd_async import KVSignalBackend
    >>> async def expose():
    ...     exposure = SignalRW(KVSignalBackend(float, md, "detector/exposure", units="s"))
    ...     await exposure.connect()
    ...     await exposure.set(0.5)
    ...     return await exposure.get_value(), exposure.source
    >>> asyncio.run(expose())
    (0.5, 'kv+memory://#docs:detector/exposure')
    >>> md["detector"]
    {'exposure': 0.5}
    """

    def __init__(
        self,
        datatype: type[SignalDatatypeT],
        md: RemoteKVMapping | LayeredMapping,
        key: Key,
        *,
        initial: SignalDatatypeT | None = None,
        units: str | None = None,
        precision: int | None = None,
        limits: tuple[float | None, float | None] | Limits | None = None,
        writable: bool = True,
    ) -> None:
        super().__init__(datatype)
        if not isinstance(md, RemoteKVMapping | LayeredMapping):
            raise TypeError(f"md is a mapping, such as open_mapping(), not {type(md).__name__}")
        self._type: type[SignalDatatypeT] = datatype
        self._md = md
        self._loop: asyncio.AbstractEventLoop | None = None
        self._monitor: Monitor | None = None
        self.place(
            key,
            initial=initial,
            units=units,
            precision=precision,
            limits=limits,
            writable=writable,
        )

    def place(
        self,
        key: Key,
        *,
        initial: SignalDatatypeT | None = None,
        units: str | None = None,
        precision: int | None = None,
        limits: tuple[float | None, float | None] | Limits | None = None,
        writable: bool = True,
    ) -> None:
        """Say again where the value is and what it is, before the signal is connected."""
        steps = steps_of(key)
        if not steps:
            raise ConfigurationError("key is empty: name the item that holds the signal's value")
        self._item = Item(self._md, steps, datatype_of(self._type), initial)
        self._metadata: SignalMetadata = metadata_of(self._item.where, units, precision, limits)
        if choices := get_enum_cls(self._type):
            self._metadata["choices"] = [choice.value for choice in choices]
        self._writable = writable
        self._readings = Readings(self._item)

    def source(self, name: str, read: bool) -> str:
        """Return the URI of the value: the store's, ``#``, the stored key and steps into it."""
        return self._item.uri

    # -- connecting ------------------------------------------------------------------------------

    async def connect(self, timeout: float) -> None:
        """Return when the store answers, its changes are followed, and the value is one.

        Raises
        ------
        NotConnectedError
            The store did not answer within `timeout` seconds, or refuses, or holds something that
            is not of the datatype.
        """
        self._loop = None
        try:
            async with asyncio.timeout(timeout):
                await asyncio.to_thread(self._ask, timeout)
                await self._live()
                await asyncio.to_thread(self._prepare)
        except TimeoutError:
            raise NotConnectedError(f"{self._item.uri}: no answer within {timeout:g} s") from None
        except KVDictError as error:
            raise NotConnectedError(f"{self._item.uri}: {error}") from error
        self._loop = asyncio.get_running_loop()

    def _ask(self, timeout: float) -> None:
        for layer in self._item.layers:
            face_of(layer.backend).ping(timeout=min(timeout, layer.timeout))
        self._item.md.feed(_nothing, key=self._item.key, initial=False).close()  # followed from now

    async def _live(self) -> None:
        """Return when the mapping is live again, if it was stale."""
        md, stirred = self._item.md, asyncio.Event()
        loop = asyncio.get_running_loop()
        feed = md.feed(
            lambda: loop.call_soon_threadsafe(stirred.set), key=self._item.key, initial=False
        )
        try:
            while md.stale_since is not None:
                stirred.clear()
                await stirred.wait()
        finally:
            feed.close()

    def _prepare(self) -> None:
        if self._writable:
            self._item.ensure()
        try:
            self._item.read()
        except KeyError:
            return  # a value that nobody has set yet is no reason to refuse to set it

    def _check_connected(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            raise NotConnectedError(
                f"{self._item.uri} is not connected: await device.connect(), or make it in "
                "init_devices()"
            )
        return self._loop

    # -- writing ---------------------------------------------------------------------------------

    async def put(self, value: SignalDatatypeT | None) -> None:
        """Store a value; the initial or empty one for None.

        Raises
        ------
        EncodeError
            It is not of the datatype; nothing was written.
        ValueError
            It is outside the control limits; nothing was written.
        Unavailable
            The store cannot be reached; nothing was written.
        OutcomeUnknown
            The store did not answer; it may or may not have been written.
        """
        self._check_connected()
        if value is None:
            initial = self._item.initial
            new = self._item.datatype.empty() if initial is None else initial
        else:
            new = self._item.checked(value)
        check_within(self._metadata, new, self._item.where)
        await asyncio.to_thread(self._item.write, new)

    # -- reading ---------------------------------------------------------------------------------

    async def get_datakey(self, source: str) -> DataKey:
        """Return the description for an event descriptor: dtype, shape, units, limits, ..."""
        value = (await self._read()).value
        return make_datakey(self._type, value, source, self._metadata)

    async def get_reading(self) -> Reading[SignalDatatypeT]:
        """Return value, time and severity.

        The severity is 0, and -1 for a value that is read from a replica while the store is away.

        Raises
        ------
        KeyError
            There is no value, and no initial one.
        DecodeError
            What is stored is not of the datatype.
        Unavailable
            The store cannot be reached, and the mapping has no replica to read from.
        """
        return self._readings.of(await self._read(), local=self._is_local())

    async def get_value(self) -> SignalDatatypeT:
        """Return the value; errors as of `get_reading`."""
        value: SignalDatatypeT = (await self._read()).value
        return value

    async def get_setpoint(self) -> SignalDatatypeT:
        """Return the value: what is stored is what was last set, by anybody."""
        return await self.get_value()

    async def _read(self) -> Present:
        self._check_connected()
        if self._is_local():
            return self._item.read()
        return await asyncio.to_thread(self._item.read)

    def _is_local(self) -> bool:
        return all(layer.reads == "replica" for layer in self._item.layers)

    # -- monitoring ------------------------------------------------------------------------------

    def set_callback(self, callback: Callback[Reading[SignalDatatypeT]] | None) -> None:
        """Have `callback` called with the present reading now, and with each that differs from it.

        Whatever happens to the value it goes on: while the store is away the last reading is told
        with severity -1, and when the value is deleted, or replaced by what is not of the datatype,
        with severity 3 and a ``message``.

        Raises
        ------
        RuntimeError
            There is a callback already.
        KeyError, DecodeError
            There is no value to begin with; see `get_reading`.
        """
        if callback is None:
            if self._monitor is not None:
                self._monitor.close()
                self._monitor = None
            return
        if self._monitor is not None:
            raise RuntimeError(f"{self._item.uri}: a callback is set already; remove it first")
        loop = self._check_connected()
        self._monitor = Monitor(self._item, self._readings, loop, callback)


def _nothing() -> None:
    """Wake nobody."""
