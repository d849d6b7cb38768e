"""The earlier values of each key: their table, and how it is kept.

How many are kept stands in the clock's one row, for whoever writes. The commit function and the
trigger that stamps what others write read that row anyway: where none are kept, nothing is added to
a write.

A store made before there was a history has neither the table nor the column of the clock. It works
as it is, until somebody asks for a history; `upgrade_sql` adds them, and programs that know nothing
of it go on: what they write is kept like all the rest.
"""

from __future__ import annotations

from typing import Final

__all__ = ["COLUMN", "GRANTS", "HISTORY", "REMEMBER", "REMEMBER_ALL"]

COLUMN: Final = "history int4 NOT NULL DEFAULT 0"
"""Of the clock: how many values of each key are kept. (Each write would prepare a CHECK anew.)"""

_TRIM: Final = """
    DELETE FROM {history} h WHERE h.k = %(of)s.k AND h.revision <= (
        SELECT o.revision FROM {history} o WHERE o.k = %(of)s.k
        ORDER BY o.revision DESC OFFSET kept LIMIT 1);
"""

REMEMBER_ALL: Final = f"""
    IF kept > 0 THEN
        FOR entry IN SELECT e.k, e.v, e.time FROM {{table}} e WHERE e.revision = written LOOP
            INSERT INTO {{history}} VALUES (entry.k, written, entry.v, entry.time);
            {_TRIM.strip() % {"of": "entry"}}
        END LOOP;
    END IF;
"""
"""Within the commit function, after its puts, which alone have its revision."""

REMEMBER: Final = f"""
    IF kept > 0 THEN
        -- An INSERT of a key that is there ends in an UPDATE, in nothing or in an error.
        IF TG_OP = 'UPDATE' OR NOT EXISTS (SELECT FROM {{table}} e WHERE e.k = NEW.k) THEN
            -- Of what one transaction writes in turn, nobody else ever sees more than the last.
            INSERT INTO {{history}} VALUES (NEW.k, NEW.revision, NEW.v, NEW.time)
                ON CONFLICT (k, revision) DO UPDATE SET v = excluded.v, time = excluded.time;
            {_TRIM.strip() % {"of": "NEW"}}
        END IF;
    END IF;
"""
"""Within the trigger that stamps a row before it is written."""

HISTORY: Final = """
CREATE TABLE {history} (
    k text COLLATE "C" NOT NULL, revision int8 NOT NULL, v text NOT NULL, time timestamptz,
    PRIMARY KEY (k, revision)
);

CREATE OR REPLACE FUNCTION {forget}() RETURNS trigger LANGUAGE plpgsql AS $kv_dict$
BEGIN
    IF NEW.history NOT BETWEEN 0 AND {most} THEN
        RAISE check_violation USING MESSAGE = 'history is from 0 to {most} values of each key';
    END IF;
    -- Writing the clock's row is how a transaction takes its revision.
    NEW.revision := greatest(OLD.revision + 1, {now});
    IF NEW.history < OLD.history THEN
        DELETE FROM {history} h USING (
            SELECT o.k, o.revision,
                row_number() OVER (PARTITION BY o.k ORDER BY o.revision DESC) AS place
            FROM {history} o
        ) r WHERE h.k = r.k AND h.revision = r.revision AND r.place > NEW.history;
    END IF;
    RETURN NEW;
END $kv_dict$;
CREATE TRIGGER kv_dict_forget BEFORE UPDATE OF history ON {clock}
    FOR EACH ROW EXECUTE FUNCTION {forget}();
"""

GRANTS: Final = """
DO $kv_dict$
DECLARE
    given record;
BEGIN
    -- Who may use the tombstones may use the history: the programs of today go on writing.
    FOR given IN SELECT a.privilege_type AS what,
            CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END
                AS who
        FROM pg_class c, aclexplode(c.relacl) a
        WHERE c.oid = {tombstones_name}::regclass AND a.grantee <> c.relowner
    LOOP
        EXECUTE format('GRANT %s ON %s TO %s', given.what, {history_name}, given.who);
    END LOOP;
END $kv_dict$;
"""
