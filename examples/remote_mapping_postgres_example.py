"""A mapping in a table of PostgreSQL, where SQL sees it too.

Run it with ``uv run examples/remote_mapping_postgres_example.py [URL]``; without a URL it uses the
server of compose.yaml. The table is made at the first run.
"""

import asyncio
import sys

import asyncpg

from kv_dict import PostgresBackend, RemoteKVMapping


async def sql(url: str, statement: str, *values: str) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetch(statement, *values)
    finally:
        await connection.close()


def main(url: str) -> None:
    backend = PostgresBackend(url, "kv_example", create_table=True)
    with RemoteKVMapping(backend, "ep1") as md:
        md.clear()
        md.update({"main": {"sup1": {"level": 1}}, "user": "Rosalind"})  # one transaction
        md["main"]["sup1"]["level"] += 1

        rows = asyncio.run(sql(url, "SELECT k, v FROM kv_example WHERE k LIKE 'ep1:%' ORDER BY k"))
        for row in rows:
            print("a row:  ", row["k"], row["v"])

        asyncio.run(sql(url, "UPDATE kv_example SET v = $1 WHERE k = 'ep1:user'", '"Dorothy"'))
        print("by SQL: ", md["user"])
        md.clear()


if __name__ == "__main__":
    main(
        sys.argv[1] if len(sys.argv) > 1 else "postgresql://kv_dict:kv_dict@localhost:5432/kv_dict"
    )
