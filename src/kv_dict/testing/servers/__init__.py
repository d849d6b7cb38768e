"""Real servers for tests: started on free ports, killed, frozen and started again."""

from kv_dict.testing.servers.nats import NatsServer
from kv_dict.testing.servers.postgres import PostgresServer
from kv_dict.testing.servers.process import ServerError, ServerProcess, free_port
from kv_dict.testing.servers.redis import RedisServer

__all__ = [
    "NatsServer",
    "PostgresServer",
    "RedisServer",
    "ServerError",
    "ServerProcess",
    "free_port",
]
