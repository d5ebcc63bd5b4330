-- Steps in another database: df.start(..., database => 'x').
--
-- A step cannot commit together with its checkpoint when the two are in different databases. So
-- * Where the other database has a home schema, too, and the step's role may use it, the step
--   commits there together with a receipt, and the home's checkpoint is a copy of that. A step
--   whose receipt is there is not run again: exactly once.
-- * Where it has none, the step runs at least once: a crash between its commit and its checkpoint
--   repeats it.
-- In both cases a cancel, or the end of a race, stops a step only as long as it has not committed.
--
-- Who may write receipts: the worker whose token stands in df._guests, which each claim renews. The
-- order of claims is the home's sequence, so a worker that slept cannot take a newer one's place.
-- Everything there is kept by role, the one that is logged in: what a role writes by hand harms
-- its own instances only.

-- ---------------------------------------------------------------------------------------------
-- In the database whose instances run elsewhere

-- Which home this is: databases can be renamed, and one of the same name can come after this one.
INSERT INTO df._settings (name, value) VALUES ('home_id', gen_random_uuid()::text);

CREATE SEQUENCE df._visits;

-- What is known of other databases: whether steps leave receipts there.
CREATE TABLE df._databases (
    name      text PRIMARY KEY,
    receipts  boolean NOT NULL,
    seen_at   timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- The home's name for itself, the number of this visit, and who owns the home; nothing when the
-- claim is over.
CREATE FUNCTION df._visit_1(p_instance text, p_token uuid) RETURNS TABLE (home text, visit bigint, owner name)
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT s.value, nextval('df._visits'), current_user FROM df._settings s, df._instances i
    WHERE s.name = 'home_id' AND i.id = p_instance AND i.token = p_token
$$;

CREATE FUNCTION df._found_1(p_database text, p_receipts boolean) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO df._databases AS d (name, receipts) VALUES (p_database, p_receipts)
    ON CONFLICT (name) DO UPDATE SET receipts = excluded.receipts, seen_at = excluded.seen_at
    WHERE d.receipts <> excluded.receipts
$$;

-- Why a role cannot get into a database, as (SQLSTATE, message); no row: that is not the reason.
CREATE FUNCTION df._closed_1(p_database text, p_role text) RETURNS TABLE (code text, message text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT '3D000', format('database "%s" does not exist', p_database)
    WHERE NOT EXISTS (SELECT 1 FROM pg_database d WHERE d.datname = p_database AND d.datallowconn)
    UNION ALL
    SELECT '42501', format('permission denied for database "%s"', p_database)
    FROM pg_database d, pg_roles r
    WHERE d.datname = p_database AND r.rolname = p_role AND NOT has_database_privilege(r.oid, d.oid, 'CONNECT')
$$;

-- How often steps take effect there, for df.explain; NULL: at home.
CREATE FUNCTION df._guarantee(p_database text) RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE
        WHEN p_database = current_database() THEN NULL
        WHEN EXISTS (SELECT 1 FROM df._databases d WHERE d.name = p_database AND d.receipts) THEN 'exactly once'
        ELSE 'at least once' END
$$;

-- The functions that a step needs where there is no home schema, as temporary ones of its session.
CREATE FUNCTION df._luggage_1() RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT string_agg(replace(pg_get_functiondef(p.oid), 'df._', 'pg_temp._'), E';\n' ORDER BY p.proname)
    FROM pg_proc p
    WHERE p.pronamespace = 'df'::regnamespace AND p.proname IN ('_record_1', '_rows_1', '_stale_1', '_fits_1', '_run_there_1')
$$;

-- ---------------------------------------------------------------------------------------------
-- In the database where they run

CREATE TABLE df._guests (
    role         name NOT NULL,
    home         uuid NOT NULL,
    instance_id  text COLLATE "C" NOT NULL,
    visit        bigint NOT NULL,
    token        uuid NOT NULL,
    at           timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (role, home, instance_id)
);
CREATE INDEX _guests_at ON df._guests (at);                                                 -- clearing away

CREATE TABLE df._receipts (
    role         name NOT NULL,
    home         uuid NOT NULL,
    instance_id  text COLLATE "C" NOT NULL,
    node         integer NOT NULL,
    path         text COLLATE "C" NOT NULL,
    outcome      json NOT NULL,      -- [result, exact rows], as df._run_there_1 gives them
    types        json,
    PRIMARY KEY (role, home, instance_id, node, path)
);

-- A worker's first call for an instance that it has claimed: from then on no earlier one can commit
-- anything here. What has not been heard of for a month is forgotten, a little at a time.
CREATE FUNCTION df._greet_1(p_home uuid, p_instance text, p_token uuid, p_visit bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET lock_timeout = '5s' AS $$
BEGIN
    INSERT INTO df._guests AS g (role, home, instance_id, visit, token)
    VALUES (session_user, p_home, p_instance, p_visit, p_token)
    ON CONFLICT (role, home, instance_id) DO UPDATE
    SET visit = excluded.visit, token = excluded.token, at = excluded.at
    WHERE g.visit < excluded.visit;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'instance "%" is not held by this worker any more', p_instance USING ERRCODE = 'WF001';
    END IF;
    WITH old AS MATERIALIZED (
        SELECT g.role, g.home, g.instance_id FROM df._guests g
        WHERE g.at < clock_timestamp() - interval '30 days' ORDER BY g.at LIMIT 10 FOR UPDATE SKIP LOCKED),
    receipts AS (
        DELETE FROM df._receipts r USING old o
        WHERE (r.role, r.home, r.instance_id) = (o.role, o.home, o.instance_id))
    DELETE FROM df._guests g USING old o WHERE (g.role, g.home, g.instance_id) = (o.role, o.home, o.instance_id);
END $$;

-- The receipt of a step that has been here before. p_copied: keys "node path" of receipts that the
-- home has, so that they can go.
CREATE FUNCTION df._receipt_1(p_home uuid, p_instance text, p_node integer, p_path text, p_copied text[]) RETURNS json
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
BEGIN
    DELETE FROM df._receipts r USING unnest(p_copied) k
    WHERE r.role = session_user AND r.home = p_home AND r.instance_id = p_instance
      AND r.node = split_part(k, ' ', 1)::integer AND r.path = split_part(k, ' ', 2);
    RETURN (SELECT json_build_array(r.outcome, r.types) FROM df._receipts r
            WHERE r.role = session_user AND r.home = p_home AND r.instance_id = p_instance
              AND r.node = p_node AND r.path = p_path);
END $$;

CREATE FUNCTION df._receive_1(
    p_home uuid, p_instance text, p_token uuid, p_node integer, p_path text, p_outcome json, p_types json)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET lock_timeout = '500ms' AS $$
BEGIN
    PERFORM 1 FROM df._guests g
    WHERE g.role = session_user AND g.home = p_home AND g.instance_id = p_instance AND g.token = p_token FOR SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'instance "%" is not held by this worker any more', p_instance USING ERRCODE = 'WF001';
    END IF;
    INSERT INTO df._receipts (role, home, instance_id, node, path, outcome, types)
    VALUES (session_user, p_home, p_instance, p_node, p_path, p_outcome, p_types);
END $$;

-- One step, as its role and under its settings; [result, exact rows].
CREATE FUNCTION df._run_there_1(p_instance text, p_text text, p_rows boolean, p_values text[]) RETURNS json
LANGUAGE plpgsql VOLATILE SECURITY INVOKER AS $$
DECLARE
    v_count bigint;
    v_rows text;
    v_exact text[];
    v_role text := pg_catalog.current_setting('role');
BEGIN
    PERFORM pg_catalog.set_config('durproxy.instance', p_instance, true);
    IF p_rows THEN
        IF p_values IS NULL THEN
            EXECUTE p_text INTO v_count, v_rows, v_exact;
        ELSE
            EXECUTE p_text INTO v_count, v_rows, v_exact USING p_values;
        END IF;
    ELSE
        IF p_values IS NULL THEN
            EXECUTE p_text;
        ELSE
            EXECUTE p_text USING p_values;
        END IF;
        GET DIAGNOSTICS v_count = ROW_COUNT;
    END IF;
    IF pg_catalog.current_setting('role') OPERATOR(pg_catalog.<>) v_role THEN
        PERFORM pg_catalog.set_config('role', v_role, false);
    END IF;
    RETURN pg_catalog.json_build_array(
        pg_catalog.concat('{"rows":[', v_rows, '],"row_count":', v_count, '}'), v_exact);
END $$;

-- The same with its receipt; [[result, exact rows], types], the types as they were when it ran.
CREATE FUNCTION df._run_received_1(
    p_home uuid, p_instance text, p_token uuid, p_node integer, p_path text, p_text text, p_rows boolean,
    p_values text[], p_types json, p_copied text[])
RETURNS json LANGUAGE plpgsql VOLATILE SECURITY INVOKER AS $$
DECLARE
    v_outcome json := df._receipt_1(p_home, p_instance, p_node, p_path, p_copied);
BEGIN
    IF v_outcome IS NULL THEN
        v_outcome := df._run_there_1(p_instance, p_text, p_rows, p_values);
        PERFORM df._receive_1(p_home, p_instance, p_token, p_node, p_path, v_outcome, p_types);
        v_outcome := pg_catalog.json_build_array(v_outcome, p_types);
    END IF;
    RETURN v_outcome;
END $$;
