-- Copies, and traces.
--
-- A copy of this database holds the same workflows, and would send the same HTTP calls once more. So
-- the home remembers where it is at work, and a worker that finds itself elsewhere claims nothing
-- until somebody says that this is meant to go on (df._acknowledge_1). What tells a copy:
--
--   the table's oid       another one after every dump and restore, wherever to
--   the database's oid    another one after CREATE DATABASE with TEMPLATE, and most restores
--   the system identifier another one in another cluster; but pg_upgrade makes a new one, too: where
--                         the major version is newer and the address known, that is no copy
--   a recovery target     set, on another timeline than before: a restore to a point in time. A standby
--                         that is promoted has a new timeline as well, and no recovery target
--   server and address    a server that was started since, at an address that no worker has used, where
--                         no worker has been for five minutes: a physical copy. A standby that takes
--                         over is at a known address (a name, or one of several hosts), or soon
--
-- Not told apart from the original: a physical copy at the same address without a recovery target, or
-- on this machine, whose addresses are all one; and any copy that is younger than five minutes.

CREATE TABLE df._identity (
    one        boolean PRIMARY KEY DEFAULT true CHECK (one),
    relation   oid NOT NULL,
    database   oid NOT NULL,
    system     text,                 -- NULL where the server does not tell
    timeline   text,                 -- likewise
    major      integer NOT NULL,
    started    timestamptz NOT NULL,
    addresses  text[] NOT NULL,      -- of the server, as workers are told to reach it; the newest last
    seen_at    timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- What this server is. Managed ones may refuse a function in their own way.
CREATE FUNCTION df._signs(
    OUT relation oid, OUT database oid, OUT system text, OUT timeline text, OUT major integer,
    OUT started timestamptz, OUT target text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    relation := 'df._identity'::regclass;
    database := (SELECT d.oid FROM pg_database d WHERE d.datname = current_database());
    major := current_setting('server_version_num')::integer / 10000;
    started := pg_postmaster_start_time();
    BEGIN
        system := (SELECT c.system_identifier FROM pg_control_system() c);
    EXCEPTION WHEN OTHERS THEN
        system := NULL;
    END;
    BEGIN
        timeline := left(pg_walfile_name(pg_current_wal_lsn()), 8);
    EXCEPTION WHEN OTHERS THEN
        timeline := NULL;
    END;
    target := (SELECT min(name) FROM unnest(ARRAY['recovery_target', 'recovery_target_lsn',
        'recovery_target_name', 'recovery_target_time', 'recovery_target_xid']) AS name
        WHERE current_setting(name, true) <> '');
END $$;

-- Why this is to be taken for a copy; NULL: it is not.
CREATE FUNCTION df._restored_1(p_addresses text[]) RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_known df._identity;
    v_now record;
    v_since text;
BEGIN
    SELECT i.* INTO v_known FROM df._identity i;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    SELECT s.* INTO v_now FROM df._signs() s;
    v_since := format('no engine has been at work in it since %s',
        to_char(v_known.seen_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI "UTC"'));
    IF v_known.relation <> v_now.relation THEN
        RETURN 'it was restored from a dump; ' || v_since;
    ELSIF v_known.database <> v_now.database THEN
        RETURN 'it is a copy of a database; ' || v_since;
    ELSIF v_known.system <> v_now.system
        AND NOT (v_known.major < v_now.major AND v_known.addresses && p_addresses) THEN
        RETURN 'it is in another cluster than before; ' || v_since;
    ELSIF v_known.timeline <> v_now.timeline AND v_now.target IS NOT NULL THEN
        RETURN format('it was restored to a point in time (%s is set); %s', v_now.target, v_since);
    ELSIF v_known.started <> v_now.started AND NOT v_known.addresses && p_addresses
        AND v_known.seen_at < clock_timestamp() - interval '5 minutes' THEN
        RETURN format('the server is at another address (%s) than before (%s); %s',
            array_to_string(p_addresses, ', '), array_to_string(v_known.addresses, ', '), v_since);
    END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION df._remember(p_addresses text[], p_anew boolean) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO df._identity AS i (relation, database, system, timeline, major, started, addresses)
    SELECT s.relation, s.database, s.system, s.timeline, s.major, s.started, p_addresses FROM df._signs() s
    ON CONFLICT (one) DO UPDATE
    SET relation = excluded.relation, database = excluded.database,
        system = coalesce(excluded.system, CASE WHEN NOT p_anew THEN i.system END),
        timeline = coalesce(excluded.timeline, CASE WHEN NOT p_anew THEN i.timeline END),
        major = excluded.major, started = excluded.started, seen_at = clock_timestamp(),
        addresses = CASE WHEN p_anew THEN p_addresses
            ELSE (SELECT array_agg(a ORDER BY n) FROM (
                SELECT a, max(n) AS n FROM unnest(i.addresses || p_addresses) WITH ORDINALITY AS u (a, n)
                GROUP BY a ORDER BY 2 DESC LIMIT 50) AS newest) END
$$;

-- A worker begins: it remembers the place, unless this is a copy, and says why it is one.
CREATE FUNCTION df._recognise_1(p_addresses text[]) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_reason text := df._restored_1(p_addresses);
BEGIN
    IF v_reason IS NULL THEN
        PERFORM df._remember(p_addresses, false);
    END IF;
    RETURN v_reason;
END $$;

-- This copy is to go on with its workflows; what it was taken for.
CREATE FUNCTION df._acknowledge_1(p_addresses text[]) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_reason text := df._restored_1(p_addresses);
BEGIN
    PERFORM df._remember(p_addresses, true);
    RETURN v_reason;
END $$;

-- Workers are at work here. It goes with their sign of life, so it waits for nobody.
CREATE FUNCTION df._seen_1() RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    UPDATE df._identity i SET seen_at = clock_timestamp()
    WHERE i.ctid = (SELECT k.ctid FROM df._identity k
                    WHERE k.seen_at < clock_timestamp() - interval '1 minute' FOR UPDATE SKIP LOCKED)
$$;

-- ---------------------------------------------------------------------------------------------
-- Seeing

-- How many instances are in which state, and since when the oldest of them is ready.
CREATE FUNCTION df._queue_1() RETURNS TABLE (state text, instances bigint, seconds double precision)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN i.status NOT IN ('pending', 'running') THEN i.status
                WHEN i.owner IS NOT NULL THEN 'held'
                WHEN i.paused IS NOT NULL THEN 'paused'
                WHEN i.ready_at <= df._clock() THEN 'queued'
                ELSE 'waiting' END,
        count(*), extract(epoch FROM df._clock() - min(i.ready_at))::double precision
    FROM df._instances i GROUP BY 1
$$;

-- The trace that a workflow belongs to: a comment /*traceparent='00-...'*/ of the statement that starts
-- it. A default that is set after the column is there is for new rows only, and no table is rewritten.
ALTER TABLE df._instances ADD COLUMN trace text;
ALTER TABLE df._instances ALTER COLUMN trace SET DEFAULT
    CASE WHEN strpos(current_query(), 'traceparent=') > 0
         THEN substring(current_query() FROM 'traceparent=''([0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2})''') END;

-- What the spans of these instances need to know.
CREATE FUNCTION df._traces_1(p_instances text[])
RETURNS TABLE (id text, trace text, label text, status text, created_at timestamptz,
    completed_at timestamptz, error text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
    SELECT i.id, i.trace, i.label, i.status, i.created_at, i.completed_at, i.error ->> 'message'
    FROM df._instances i WHERE i.id = ANY (p_instances)
$$;
