"""The mapping: dict semantics over a backend."""

from kv_dict.mapping.feed import Change
from kv_dict.mapping.layers import LayeredMapping
from kv_dict.mapping.remote import RemoteKVMapping
from kv_dict.mapping.scope import Version

__all__ = ["Change", "LayeredMapping", "RemoteKVMapping", "Version"]
