"""Signals, devices and settings of ophyd-async whose values are items of a mapping."""

from kv_dict.integrations.ophyd_async.backend import KVSignalBackend
from kv_dict.integrations.ophyd_async.device import KVDevice, KVDeviceConnector, KVKey
from kv_dict.integrations.ophyd_async.settings import KVSettingsProvider
from kv_dict.integrations.ophyd_async.signals import kv_signal_r, kv_signal_rw

__all__ = [
    "KVDevice",
    "KVDeviceConnector",
    "KVKey",
    "KVSettingsProvider",
    "KVSignalBackend",
    "kv_signal_r",
    "kv_signal_rw",
]
