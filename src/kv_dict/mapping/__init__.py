"""The mapping: dict semantics over a backend."""

from kv_dict.mapping.remote import RemoteKVMapping

__all__ = ["RemoteKVMapping"]
