"""Real servers for tests: started on free ports, killed, frozen and started again."""

from kv_dict.testing.servers.process import ServerError, ServerProcess

__all__ = ["ServerError", "ServerProcess"]
