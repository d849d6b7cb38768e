"""PostgreSQL: one table, shared by any number of computers, that psql can read and write too."""

from kv_dict.backends.postgres.backend import PostgresBackend

__all__ = ["PostgresBackend"]
