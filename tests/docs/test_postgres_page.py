"""The SQL on the page about PostgreSQL works, and the roles in it may do what it says: no more."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kv_dict import ConfigurationError, PostgresBackend, RemoteKVMapping
from kv_dict.testing.raw.postgres import Elsewhere
from kv_dict.testing.servers.postgres import PostgresServer

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "postgres.md"


def test_the_roles_of_the_page(tmp_path: Path) -> None:
    blocks = re.findall(r"^```sql\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    roles, keep, psql = blocks
    with PostgresServer(tmp_path / "server", {"fsync": "off"}) as server:
        operator = Elsewhere(server.url)
        operator.execute(f"BEGIN; {PostgresBackend().creation_sql} COMMIT")
        operator.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
        operator.execute(roles)
        operator.execute(keep)
        xas = PostgresBackend(server.url.replace("postgres@", "xas@"))
        wall = PostgresBackend(server.url.replace("postgres@", "wall@"))
        with RemoteKVMapping(xas, "md", timeout=5) as md:
            md.update({str(n): n for n in range(10)})
            md["d"] = {"a": 1}
            md["d"]["b"] = 2
            md.increment("0")
            del md["1"]
            with RemoteKVMapping(wall, "md", timeout=5) as display:
                assert dict(display) == dict(md)
                assert [value for value, _, _ in display.history("0")] == [0, 1]
                with pytest.raises(ConfigurationError, match="GRANT"):
                    display["0"] = 5
            by_hand = Elsewhere(server.url.replace("postgres@", "xas@"))
            by_hand.execute(psql)
            assert [value for value, _, _ in md.history("sample")] == [{"name": "Fe2O3"}]
            by_hand.execute("DELETE FROM kv_store")
            by_hand.close()
            assert dict(md) == {}
        operator.close()
