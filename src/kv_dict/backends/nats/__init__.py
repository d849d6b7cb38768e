"""Entries in a JetStream key-value bucket."""

from kv_dict.errors import ConfigurationError

try:
    import nats as _driver
except ImportError as error:
    raise ConfigurationError(
        "NatsBackend needs the package nats-py: pip install 'kv-dict[nats]'", layer="driver"
    ) from error

from kv_dict.backends.nats.backend import NatsBackend

__all__ = ["NatsBackend"]

del _driver
