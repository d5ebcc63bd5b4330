-- Retention counts for each role by itself: who starts very many workflows shortens how long its own
-- results, and the keys of its starts, are kept, and nobody else's.

DROP INDEX df._instances_ended;  -- first: it takes the stronger lock, which must not wait while we hold one
CREATE INDEX _instances_ended_of ON df._instances (submitted_by, completed_at)              -- retention
    WHERE completed_at IS NOT NULL;

-- The roles that have instances that have ended, those too that are gone: a look into the index for each.
CREATE FUNCTION df._ended_roles_1() RETURNS SETOF oid
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
    WITH RECURSIVE found (role) AS (
        (SELECT i.submitted_by FROM df._instances i WHERE i.completed_at IS NOT NULL
         ORDER BY i.submitted_by LIMIT 1)
        UNION ALL
        SELECT (SELECT i.submitted_by FROM df._instances i
                WHERE i.completed_at IS NOT NULL AND i.submitted_by > f.role
                ORDER BY i.submitted_by LIMIT 1)
        FROM found f WHERE f.role IS NOT NULL)
    SELECT f.role::oid FROM found f WHERE f.role IS NOT NULL
$$;

-- Deletes up to p_room instances of these roles that ended more than p_days ago, or before the newest
-- p_instances of their role that have ended, the oldest of each first; how many. NULL: no such limit.
CREATE FUNCTION df._sweep_2(p_roles oid[], p_days double precision, p_instances integer, p_room integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off AS $$  -- the index has the order
DECLARE
    v_role   regrole;
    v_before timestamptz;
    v_ids    text[] := '{}';
    v_table  regclass;
BEGIN
    FOREACH v_role IN ARRAY p_roles LOOP
        EXIT WHEN cardinality(v_ids) >= p_room;
        v_before := greatest(
            clock_timestamp() - p_days * interval '1 day',
            (SELECT k.completed_at FROM df._instances k
             WHERE k.submitted_by = v_role AND k.completed_at IS NOT NULL AND p_instances IS NOT NULL
             ORDER BY k.completed_at DESC OFFSET p_instances - 1 LIMIT 1));
        v_ids := v_ids || ARRAY(
            SELECT i.id FROM df._instances i
            WHERE i.submitted_by = v_role AND i.completed_at < v_before
              AND i.status IN ('completed', 'failed', 'cancelled')
            ORDER BY i.completed_at LIMIT p_room - cardinality(v_ids) FOR UPDATE SKIP LOCKED);
    END LOOP;
    IF v_ids = '{}' THEN
        RETURN 0;
    END IF;
    FOR v_table IN SELECT t FROM df._tables_of_instances() t LOOP
        EXECUTE format('DELETE FROM %s t WHERE t.instance_id = ANY ($1)', v_table) USING v_ids;
    END LOOP;
    DELETE FROM df._instances i WHERE i.id = ANY (v_ids);
    RETURN cardinality(v_ids);
END $$;

-- Workers of 0.1.0 ask for all roles at once.
CREATE OR REPLACE FUNCTION df._sweep_1(p_days double precision, p_instances integer, p_room integer) RETURNS integer
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT df._sweep_2(ARRAY(SELECT df._ended_roles_1()), p_days, p_instances, p_room)
$$;
