"""The mapping: dict semantics over a backend."""

from kv_dict.mapping.remote import RemoteKVMapping
from kv_dict.mapping.scope import Version
from kv_dict.mapping.subscriptions import Change

__all__ = ["Change", "RemoteKVMapping", "Version"]
