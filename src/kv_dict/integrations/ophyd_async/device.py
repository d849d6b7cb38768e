"""Declarative devices: a class whose annotated signals are the parts of a dict in a mapping."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn, cast

from event_model import Limits
from ophyd_async.core import (
    CommandBackend,
    Device,
    DeviceConnector,
    DeviceFiller,
    DeviceMap,
    DeviceVector,
    Signal,
    SignalDatatype,
    SignalW,
)

from kv_dict.integrations.ophyd_async.backend import KVSignalBackend
from kv_dict.integrations.ophyd_async.item import Key, steps_of
from kv_dict.mapping import LayeredMapping, RemoteKVMapping

__all__ = ["KVDevice", "KVDeviceConnector", "KVKey"]


@dataclass(frozen=True)
class KVKey:
    """Annotation of a signal or sub-device of a `KVDevice`: where it is, and what it is.

    Parameters
    ----------
    key : str or sequence of str, optional
        Relative to the device's; the attribute's own name unless given.
    initial, units, precision, limits
        As of `kv_signal_rw`; not for sub-devices.
    """

    key: Key | None = None
    initial: Any = None
    units: str | None = None
    precision: int | None = None
    limits: tuple[float | None, float | None] | Limits | None = None


class KVDeviceConnector(DeviceConnector):
    """Makes the annotated children of a device, on the parts of one dict of a mapping.

    Parameters
    ----------
    md : RemoteKVMapping or LayeredMapping
        The mapping.
    key : str or sequence of str
        Of the dict; empty for the whole mapping.
    """

    def __init__(self, md: RemoteKVMapping | LayeredMapping, key: Key = ()) -> None:
        if not isinstance(md, RemoteKVMapping | LayeredMapping):
            raise TypeError(f"md is a mapping, such as open_mapping(), not {type(md).__name__}")
        self._md = md
        self._steps: tuple[str, ...] | None = steps_of(key)
        self._children: list[_Child] | None = None

    def create_children_from_annotations(self, device: Device) -> None:
        """Make the children, the first time that it is called."""
        if self._children is not None:
            return
        if isinstance(device, DeviceVector | DeviceMap):
            raise TypeError(
                f"what is in a {type(device).__name__} cannot be known from its annotation: fill "
                "it in __init__, as in DeviceVector({1: kv_signal_rw(...)})"
            )
        self._children = list(self._make(device))
        if self._steps is not None:
            self.place(self._steps)

    def place(self, steps: tuple[str, ...]) -> None:
        """Say where the dict is, to all that is in it."""
        self._steps = steps
        for child in self._children or ():
            key = child.annotation.key
            of_child = (*steps, *((child.name,) if key is None else steps_of(key)))
            if isinstance(child.made, KVDeviceConnector):
                child.made.place(of_child)
            else:
                annotation = child.annotation
                child.made.place(
                    of_child,
                    initial=annotation.initial,
                    units=annotation.units,
                    precision=annotation.precision,
                    limits=annotation.limits,
                    writable=child.writable,
                )

    def _make(self, device: Device) -> Iterator[_Child]:
        filler: DeviceFiller[KVSignalBackend[Any], KVDeviceConnector, CommandBackend[..., Any]]
        filler = DeviceFiller(device, self._signal_backend, self._below, _no_command)
        # The filler tells names only of what it has made, and annotations only before that.
        there = [child for _, child in device.children()]
        annotations: dict[object, KVKey] = {}
        for backend, extras in filler.create_signals_from_annotations(filled=False):
            annotations[backend] = _taken_from(extras)
        for connector, extras in filler.create_devices_from_annotations(filled=False):
            annotations[connector] = _taken_from(extras)
        list(filler.create_commands_from_annotations(filled=False))
        for attribute, child in device.children():
            if any(child is other for other in there):
                continue
            name = attribute.rstrip("_")
            made: KVSignalBackend[Any] | KVDeviceConnector
            if isinstance(child, Signal):
                made = filler.fill_child_signal(name, type(child))
            else:
                made = filler.fill_child_device(name, type(child))
            yield _Child(name, annotations[made], made, isinstance(child, SignalW))

    def _signal_backend(self, datatype: type[SignalDatatype] | None) -> KVSignalBackend[Any]:
        return KVSignalBackend(cast("Any", datatype), self._md, "not placed yet")

    def _below(self) -> KVDeviceConnector:
        """Return the connector of a sub-device, which `place` tells where it is."""
        connector = KVDeviceConnector(self._md)
        connector._steps = None
        return connector


class _Child(NamedTuple):
    name: str
    annotation: KVKey
    made: KVSignalBackend[Any] | KVDeviceConnector
    writable: bool


def _taken_from(extras: list[Any]) -> KVKey:
    """Return the `KVKey` among annotations, and leave the others."""
    keys = [extra for extra in extras if isinstance(extra, KVKey)]
    if len(keys) > 1:
        raise TypeError(f"more than one KVKey on one child: {keys}")
    extras[:] = [extra for extra in extras if not isinstance(extra, KVKey)]
    return keys[0] if keys else KVKey()


def _no_command(signature: inspect.Signature | None) -> NoReturn:
    raise TypeError("a mapping holds values, not commands: a KVDevice cannot have a Command")


class KVDevice(Device):
    """Base of devices whose annotated signals and sub-devices are the parts of a dict.

    Parameters
    ----------
    md : RemoteKVMapping or LayeredMapping
        The mapping.
    key : str or sequence of str
        Of the dict: ``"detector"``, ``"hutch/detector"``; empty for the whole mapping.
    name : str
        Of the device.
    connector : DeviceConnector, optional
        Given to a sub-device by the device around it, in place of `md` and `key`.

    Notes
    -----
    A child without a `KVKey` is the part of its own name. Setting one changes that part and leaves
    what others write beside it. The how-to guide :doc:`/how-to/ophyd-async` has an example.
    """

    def __init__(
        self,
        md: RemoteKVMapping | LayeredMapping | None = None,
        key: Key = (),
        name: str = "",
        connector: DeviceConnector | None = None,
    ) -> None:
        if (md is None) == (connector is None):
            raise TypeError(f"{type(self).__name__} takes either md and key, or connector")
        if md is not None:
            connector = KVDeviceConnector(md, key)
        super().__init__(name=name, connector=connector)
