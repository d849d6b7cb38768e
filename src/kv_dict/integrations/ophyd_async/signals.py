"""Signals on items of a mapping: `kv_signal_rw` and `kv_signal_r`."""

from __future__ import annotations

from event_model import Limits
from ophyd_async.core import DEFAULT_TIMEOUT, SignalDatatypeT, SignalR, SignalRW

from kv_dict.integrations.ophyd_async.backend import KVSignalBackend
from kv_dict.integrations.ophyd_async.item import Key
from kv_dict.mapping import LayeredMapping, RemoteKVMapping

__all__ = ["kv_signal_r", "kv_signal_rw"]


def kv_signal_rw(
    datatype: type[SignalDatatypeT],
    md: RemoteKVMapping | LayeredMapping,
    key: Key,
    *,
    initial: SignalDatatypeT | None = None,
    units: str | None = None,
    precision: int | None = None,
    limits: tuple[float | None, float | None] | Limits | None = None,
    name: str = "",
    timeout: float = DEFAULT_TIMEOUT,
) -> SignalRW[SignalDatatypeT]:
    """Return a signal that reads, sets and monitors an item of a mapping.

    Parameters
    ----------
    datatype : type
        bool, int, float, str, a StrictEnum, SubsetEnum or SupersetEnum, Array1D[...], np.ndarray,
        Sequence[str], a Sequence of an enum, or a Table.
    md : RemoteKVMapping or LayeredMapping
        The mapping, to be kept open. Open it with ``reads="replica"``: readings then cost
        microseconds, and go on during an outage, marked as such.
    key : str or sequence of str
        ``"exposure"``, or ``"detector/exposure"`` for a part of the dict ``md["detector"]``; a
        tuple of the steps where one of them holds a ``/``.
    initial : object, optional
        What to store when the signal is connected, if there is nothing.
    units, precision, limits
        For the documents. A number outside ``limits=(low, high)`` is refused.
    name : str
        Of the signal.
    timeout : float
        Seconds for each reading and setting. The mapping's own `timeout` should be shorter: it ends
        with an error that says whether something was written.

    Examples
    --------
    >>> from bluesky import RunEngine
    >>> from bluesky.plan_stubs import mv, rd
    >>> from ophyd_async.core import init_devices
    >>> from kv_dict.integrations.ophyd_async import kv_signal_rw
    >>> RE = RunEngine(md)
    >>> with init_devices():
    ...     energy = kv_signal_rw(float, md, "beam/energy", units="keV", initial=7.1)
    >>> _ = RE(mv(energy, 7.2))
    >>> md["beam"]
    {'energy': 7.2}
    """
    backend = KVSignalBackend(
        datatype, md, key, initial=initial, units=units, precision=precision, limits=limits
    )
    return SignalRW(backend, timeout=timeout, name=name)


def kv_signal_r(
    datatype: type[SignalDatatypeT],
    md: RemoteKVMapping | LayeredMapping,
    key: Key,
    *,
    initial: SignalDatatypeT | None = None,
    units: str | None = None,
    precision: int | None = None,
    limits: tuple[float | None, float | None] | Limits | None = None,
    name: str = "",
    timeout: float = DEFAULT_TIMEOUT,
) -> SignalR[SignalDatatypeT]:
    """Return a signal that reads and monitors an item of a mapping, and never writes.

    Parameters are those of `kv_signal_rw`; `initial` is what is read where nothing is stored.
    """
    backend = KVSignalBackend(
        datatype,
        md,
        key,
        initial=initial,
        units=units,
        precision=precision,
        limits=limits,
        writable=False,
    )
    return SignalR(backend, timeout=timeout, name=name)
