"""Entries in a JetStream key-value bucket."""

from kv_dict.backends.nats.backend import NatsBackend

__all__ = ["NatsBackend"]
