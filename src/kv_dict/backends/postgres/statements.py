"""The statements on one table, as it was found."""

from __future__ import annotations

from typing import Any

from kv_dict.backend import prefix_end
from kv_dict.backends.postgres.layout import Layout, Shape
from kv_dict.backends.postgres.spelling import read_key, read_value, spell_key
from kv_dict.model import Deletion, Entry

__all__ = ["Statements", "entry_of", "event_of", "key_range"]


def key_range(prefix: str) -> tuple[str, str | None]:
    """Return the bounds, as stored, of every key that starts with `prefix`; the second excluded."""
    start = spell_key(prefix)
    return start, prefix_end(start)


def entry_of(row: Any) -> Entry:
    """Return the entry of a row that begins with `k, v, revision, time`."""
    key, value, revision, written = row[0], row[1], row[2], row[3]
    # Two columns only: the value is its own revision, as in any store that counts nothing.
    return Entry(
        read_key(key), read_value(value), str(value) if revision is None else revision, written
    )


def event_of(row: Any) -> Entry | Deletion:
    """Return the event of a row of `k, v, revision, time, gone`."""
    return Deletion(read_key(row[0]), row[2], row[3]) if row[4] else entry_of(row)


class Statements:
    """SQL on one table. A statement on a range exists with an upper bound and without."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.table = layout.table
        self.counted = layout.shape is Shape.STORE
        name, clock, graves = (self.table.sql(s) for s in ("", "_clock", "_tombstones"))
        if self.counted:
            key = "e.k"
            columns = "e.k, e.v, e.revision, date_part('epoch', e.time)"
        else:
            key = 'e.k::text COLLATE "C"'
            value = "convert_from(e.v, 'UTF8')" if layout.value_type == "bytea" else "e.v::text"
            columns = f"{key}, {value}, NULL::int8, NULL::float8"
        below, above = f"{key} >= ${{}}", f"{key} >= ${{}} AND {key} < ${{}}"
        self.read = f"SELECT {columns} FROM {name} e WHERE {key} = $1"
        self._tree = [
            f"{self.read} UNION ALL SELECT {columns} FROM {name} e WHERE {where}"
            for where in (below.format(2), above.format(2, 3))
        ]
        if self.counted:
            point = "c.revision AS r, c.store::text AS s, to_regclass($1)::oid AS o"
            self._snapshot = [
                f"SELECT {columns}, {point} FROM {clock} c LEFT JOIN {name} e ON {where} "
                "ORDER BY e.k"
                for where in (below.format(2), above.format(2, 3))
            ]
            self._since = [
                f"SELECT n.*, {point} FROM {clock} c LEFT JOIN ("
                f"SELECT {columns}, false AS gone FROM {name} e WHERE e.revision > $4 AND {where} "
                "UNION ALL SELECT e.k, NULL, e.revision, date_part('epoch', e.time), true "
                f"FROM {graves} e WHERE e.revision > $4 AND {where}) n ON true "
                "ORDER BY n.revision, n.gone DESC"
                for where in (
                    below.format(2) + " AND $3::text IS NULL",
                    above.format(2, 3),
                )
            ]
        else:
            self._snapshot = [
                f"SELECT {columns} FROM {name} e WHERE {where} AND $1::text <> '' ORDER BY {key}"
                for where in (below.format(2), above.format(2, 3))
            ]
            self._since = []
        self.commit = (
            f"SELECT written, conflicts FROM {self.table.sql('_commit')}"
            "($1, $2, $3, $4, $5, $6, $7, $8, $9)"
        )
        self.ping = f"SELECT 1 FROM {name} LIMIT 1"
        self._history = (
            "SELECT h.k, h.v, h.revision, date_part('epoch', h.time) "
            f"FROM {clock} c LEFT JOIN {self.table.sql('_history')} h ON h.k = $1 "
            "WHERE c.history > 0 ORDER BY h.revision"
        )

    def history(self, key: str) -> tuple[str, tuple[str, ...]] | None:
        """Return the statement for the values that a key had, and its values.

        It gives no row if no history is kept, and one that is all NULL if the key has none. None
        where the store cannot keep any.
        """
        return None if self.layout.history is None else (self._history, (spell_key(key),))

    def tree(self, key: str, separator: str) -> tuple[str, tuple[str, ...]]:
        """Return the statement and its values that select a key and all below it."""
        start, end = key_range(key + separator)
        bounds = (start,) if end is None else (start, end)
        return self._tree[end is not None], (spell_key(key), *bounds)

    def snapshot(self, prefix: str) -> tuple[str, tuple[str, ...]]:
        """Return the statement for all under a prefix, and its values.

        A row has more columns after those of an entry where revisions are counted: the clock's
        revision, the store's identity and the table's. One row is all NULL if there is no entry.
        """
        start, end = key_range(prefix)
        bounds = (start,) if end is None else (start, end)
        return self._snapshot[end is not None], (self.table.sql(), *bounds)

    def since(self, prefix: str, revision: int) -> tuple[str, tuple[str | int | None, ...]]:
        """Return the statement for what happened under a prefix after a revision.

        Rows as of `snapshot`, with the column `gone` after those of an entry.
        """
        start, end = key_range(prefix)
        return self._since[end is not None], (self.table.sql(), start, end, revision)
