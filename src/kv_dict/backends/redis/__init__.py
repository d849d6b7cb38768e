"""Redis, Valkey and what speaks their protocol: one plain string a key, as other programs write."""

from kv_dict.backends.redis.backend import RedisBackend

__all__ = ["RedisBackend"]
