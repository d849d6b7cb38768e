"""The earlier values of each key: their table, and the triggers that keep it.

How many are kept stands in the clock's one row, for whoever writes: nothing is done for a store
that keeps none. The commit function enters what it writes by itself; what anybody else writes is
entered by a trigger.

A store made before there was a history has neither the table nor the column of the clock. It works
as it is, until somebody asks for a history; `upgrade_sql` adds them, and programs that know nothing
of it go on: what they write is kept like all the rest.
"""

from __future__ import annotations

from typing import Final

__all__ = ["COLUMN", "ENTER", "GRANTS", "HISTORY"]

COLUMN: Final = "history int4 NOT NULL DEFAULT 0 CHECK (history BETWEEN 0 AND 1000000)"
"""Of the clock: how many values of each key are kept."""

# What is too old is found key by key through the index, and removed by its place: a plan that is as
# good for a long table as for the young one that it was made for.
ENTER: Final = """
    IF kept > 0 THEN
        INSERT INTO {history} (k, revision, v, time)
            SELECT e.k, e.revision, e.v, e.time FROM {table} e WHERE e.revision = written;
        DELETE FROM {history} h WHERE h.ctid = ANY (ARRAY(
            SELECT o.place FROM {table} e CROSS JOIN LATERAL (
                SELECT i.ctid AS place FROM {history} i WHERE i.k = e.k
                ORDER BY i.revision DESC OFFSET kept
            ) o WHERE e.revision = written
        ));
    END IF;
"""
"""Within the commit function, after its puts, which alone have its revision."""

HISTORY: Final = """
CREATE TABLE {history} (
    k text COLLATE "C" NOT NULL, revision int8 NOT NULL, v text NOT NULL, time timestamptz,
    PRIMARY KEY (k, revision)
);

CREATE OR REPLACE FUNCTION {remember}() RETURNS trigger LANGUAGE plpgsql
    SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $kv_dict$
DECLARE
    kept int4;
BEGIN
    SELECT c.history INTO kept FROM {clock} c;
    IF kept > 0 THEN
        -- Of what one transaction writes in turn, nobody else ever sees more than the last.
        INSERT INTO {history} VALUES (NEW.k, NEW.revision, NEW.v, NEW.time)
            ON CONFLICT (k, revision) DO UPDATE SET v = excluded.v, time = excluded.time;
        DELETE FROM {history} h WHERE h.ctid = ANY (ARRAY(
            SELECT i.ctid FROM {history} i WHERE i.k = NEW.k ORDER BY i.revision DESC OFFSET kept
        ));
    END IF;
    RETURN NULL;
END $kv_dict$;
CREATE TRIGGER kv_dict_remember AFTER INSERT OR UPDATE ON {table}
    FOR EACH ROW WHEN ({keeping} AND {foreign}) EXECUTE FUNCTION {remember}();

CREATE OR REPLACE FUNCTION {forget}() RETURNS trigger LANGUAGE plpgsql AS $kv_dict$
BEGIN
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
