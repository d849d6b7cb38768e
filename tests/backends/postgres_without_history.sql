CREATE TABLE "public"."former" (
    k text COLLATE "C" PRIMARY KEY, v text NOT NULL, revision int8 NOT NULL, time timestamptz
);

CREATE INDEX ON "public"."former" (revision);
CREATE TABLE "public"."former_tombstones" (
    k text COLLATE "C" PRIMARY KEY, revision int8 NOT NULL, time timestamptz NOT NULL
);
CREATE INDEX ON "public"."former_tombstones" (revision);
CREATE TABLE "public"."former_clock" (
    one bool PRIMARY KEY DEFAULT true CHECK (one),
    revision int8 NOT NULL, store uuid NOT NULL, format int4 NOT NULL
);
INSERT INTO "public"."former_clock" VALUES (true, (extract(epoch FROM clock_timestamp()) * 1000000)::int8, gen_random_uuid(), 1);

CREATE FUNCTION "public"."former_begin"() RETURNS trigger LANGUAGE plpgsql AS $kv_dict$
BEGIN
    IF NOT EXISTS (SELECT FROM "public"."former_clock" c WHERE c.xmin = pg_current_xact_id()::xid) THEN
        UPDATE "public"."former_clock" SET revision = greatest(revision + 1, (extract(epoch FROM clock_timestamp()) * 1000000)::int8);
        PERFORM pg_notify('kv_dict.former', '');
    END IF;
    IF TG_OP = 'TRUNCATE' THEN
        INSERT INTO "public"."former_tombstones"
            SELECT e.k, c.revision, clock_timestamp() FROM "public"."former" e, "public"."former_clock" c
            ON CONFLICT (k) DO UPDATE SET revision = excluded.revision, time = excluded.time;
    END IF;
    RETURN NULL;
END $kv_dict$;
CREATE TRIGGER kv_dict_begin BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON "public"."former"
    FOR EACH STATEMENT WHEN (current_setting('kv_dict.committing', true) IS DISTINCT FROM 'public.former') EXECUTE FUNCTION "public"."former_begin"();

CREATE FUNCTION "public"."former_stamp"() RETURNS trigger LANGUAGE plpgsql AS $kv_dict$
BEGIN
    SELECT c.revision, clock_timestamp() INTO NEW.revision, NEW.time FROM "public"."former_clock" c;
    IF TG_OP = 'UPDATE' AND NEW.k <> OLD.k THEN
        INSERT INTO "public"."former_tombstones" VALUES (OLD.k, NEW.revision, NEW.time)
            ON CONFLICT (k) DO UPDATE SET revision = excluded.revision, time = excluded.time;
    END IF;
    RETURN NEW;
END $kv_dict$;
CREATE TRIGGER kv_dict_stamp BEFORE INSERT OR UPDATE ON "public"."former"
    FOR EACH ROW WHEN (current_setting('kv_dict.committing', true) IS DISTINCT FROM 'public.former') EXECUTE FUNCTION "public"."former_stamp"();

CREATE FUNCTION "public"."former_bury"() RETURNS trigger LANGUAGE plpgsql AS $kv_dict$
BEGIN
    INSERT INTO "public"."former_tombstones"
        SELECT g.k, c.revision, clock_timestamp() FROM gone g, "public"."former_clock" c
        ON CONFLICT (k) DO UPDATE SET revision = excluded.revision, time = excluded.time;
    DELETE FROM "public"."former_tombstones" WHERE revision < (SELECT c.revision FROM "public"."former_clock" c) - 3600000000;
    RETURN NULL;
END $kv_dict$;
CREATE TRIGGER kv_dict_bury AFTER DELETE ON "public"."former" REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION "public"."former_bury"();

CREATE FUNCTION "public"."former_commit"(
    patience text, guarded text[], guards int8[], starts text[], ends text[], endless text,
    deleted text[], keys text[], vals text[], OUT written int8, OUT conflicts text[]
) LANGUAGE plpgsql AS $kv_dict$
DECLARE
    was text;
BEGIN
    -- Planning takes longer than all the rest, and one plan is right for any keys; statistics of a
    -- young table would mislead it: a thousand prefixes would each read it all.
    was := set_config('plan_cache_mode', 'force_generic_plan', true);
    was := set_config('enable_seqscan', 'off', true);
    was := set_config('lock_timeout', patience, true);
    LOCK TABLE "public"."former" IN ROW EXCLUSIVE MODE;
    UPDATE "public"."former_clock" SET revision = greatest(revision + 1, (extract(epoch FROM clock_timestamp()) * 1000000)::int8) RETURNING revision INTO written;
    IF guarded IS NOT NULL THEN
        SELECT array_agg(g.k) INTO conflicts FROM unnest(guarded, guards) AS g(k, guard)
            LEFT JOIN "public"."former" e ON e.k = g.k COLLATE "C"
            WHERE g.guard <> coalesce(e.revision, -1);
        IF conflicts IS NOT NULL THEN
            RETURN;
        END IF;
    END IF;
    PERFORM pg_notify('kv_dict.former', '');
    was := set_config('kv_dict.committing', 'public.former', true);
    IF starts IS NOT NULL AND EXISTS (
        SELECT FROM unnest(starts, ends) AS r(s, e), "public"."former" t
            WHERE t.k >= r.s COLLATE "C" AND t.k < r.e COLLATE "C"
    ) THEN
        DELETE FROM "public"."former" t USING unnest(starts, ends) AS r(s, e)
            WHERE t.k >= r.s COLLATE "C" AND t.k < r.e COLLATE "C";
    END IF;
    IF endless IS NOT NULL THEN
        DELETE FROM "public"."former" t WHERE t.k >= endless COLLATE "C";
    END IF;
    IF deleted IS NOT NULL THEN
        DELETE FROM "public"."former" t WHERE t.k = ANY (deleted COLLATE "C");
    END IF;
    IF array_length(keys, 1) = 1 THEN
        -- Nearly always, and of a key that is there.
        UPDATE "public"."former" t SET v = vals[1], revision = written, time = clock_timestamp()
            WHERE t.k = keys[1] COLLATE "C";
        IF FOUND THEN
            keys := NULL;
        END IF;
    END IF;
    IF keys IS NOT NULL THEN
        INSERT INTO "public"."former" (k, v, revision, time)
            SELECT p.k, p.v, written, clock_timestamp() FROM unnest(keys, vals) AS p(k, v)
            ON CONFLICT (k) DO UPDATE
                SET v = excluded.v, revision = excluded.revision, time = excluded.time;
    END IF;
    was := set_config('kv_dict.committing', '', true);
END $kv_dict$;

