"""What a server says of itself: version, encryption, and whether it keeps what it acknowledged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from kv_dict.backend import Finding

__all__ = ["QUESTION", "findings"]

QUESTION: Final = """
SELECT current_setting('server_version') AS version,
    current_setting('fsync') AS fsync,
    current_setting('full_page_writes') AS pages,
    current_setting('synchronous_commit') AS commits,
    current_setting('synchronous_standby_names') AS standbys,
    current_user::text AS me,
    (SELECT s.version FROM pg_stat_ssl s WHERE s.pid = pg_backend_pid() AND s.ssl) AS tls
"""


def findings(told: Mapping[str, Any]) -> tuple[Finding, ...]:
    """Return what the answer to `QUESTION` means."""
    return (
        Finding("version", f"PostgreSQL {told['version']}"),
        Finding("encryption", told["tls"] or "none: what is sent can be read on the way"),
        Finding("user", told["me"]),
        _durability(told),
    )


def _durability(told: Mapping[str, Any]) -> Finding:
    name = "durability"
    for setting, value in (("fsync", told["fsync"]), ("full_page_writes", told["pages"])):
        if value != "on":
            return Finding(
                name,
                f"{setting} {value}: a power failure may lose or damage the whole database",
                f"{setting} = on in postgresql.conf, and reload",
            )
    commits = told["commits"]
    if commits == "off":
        return Finding(
            name,
            "synchronous_commit off: a crash loses the last acknowledged writes",
            "ALTER ROLE ... SET synchronous_commit = on, or in postgresql.conf",
        )
    where = "on the disk"
    if told["standbys"] and commits != "local":
        where += f" and at the standbys {told['standbys']}"
    return Finding(name, f"fsync on, synchronous_commit {commits}: acknowledged writes are {where}")
