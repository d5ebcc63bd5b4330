-- What is kept of instances that have ended, and for how long. An engine calls these now and then;
-- many engines may do so at once, each takes what the others have not locked.
--
-- Whatever table has a column instance_id belongs to an instance and goes with it, so that a table
-- of a later migration cannot be forgotten. Only an instance that has ended is ever deleted: its
-- token is void, so nothing of it can be written any more.

CREATE INDEX _instances_ended ON df._instances (completed_at) WHERE completed_at IS NOT NULL;  -- retention

CREATE FUNCTION df._tables_of_instances() RETURNS SETOF regclass
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT c.oid::regclass
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
    WHERE c.relnamespace = 'df'::regnamespace AND c.relkind = 'r'
      AND a.attname = 'instance_id' AND NOT a.attisdropped
      -- never holds a row; and what is kept for instances of other databases
      AND c.relname NOT IN ('_commands', '_guests', '_receipts')
$$;

-- Deletes up to p_room instances that ended more than p_days ago, or before the newest
-- p_instances of those that have ended, the oldest first; how many. NULL: no such limit.
CREATE FUNCTION df._sweep_1(p_days double precision, p_instances integer, p_room integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
DECLARE
    v_before timestamptz := greatest(
        clock_timestamp() - p_days * interval '1 day',
        (SELECT k.completed_at FROM df._instances k WHERE k.completed_at IS NOT NULL AND p_instances IS NOT NULL
         ORDER BY k.completed_at DESC OFFSET p_instances - 1 LIMIT 1));
    v_ids    text[];
    v_table  regclass;
BEGIN
    SELECT array_agg(o.id) INTO v_ids FROM (
        SELECT i.id FROM df._instances i
        WHERE i.completed_at < v_before AND i.status IN ('completed', 'failed', 'cancelled')
        ORDER BY i.completed_at LIMIT p_room FOR UPDATE SKIP LOCKED) o;
    IF v_ids IS NULL THEN
        RETURN 0;
    END IF;
    FOR v_table IN SELECT t FROM df._tables_of_instances() t LOOP
        EXECUTE format('DELETE FROM %s t WHERE t.instance_id = ANY ($1)', v_table) USING v_ids;
    END LOOP;
    DELETE FROM df._instances i WHERE i.id = ANY (v_ids);
    RETURN cardinality(v_ids);
END $$;

-- Messages that nobody can take any more, since their instance has ended; how many.
CREATE FUNCTION df._sweep_signals_1(p_room integer) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
    WITH unread AS MATERIALIZED (
        SELECT s.seq FROM df._signals s
        WHERE NOT EXISTS (SELECT 1 FROM df._instances i
                          WHERE i.id = s.instance_id AND i.status IN ('pending', 'running'))
        LIMIT p_room FOR UPDATE SKIP LOCKED),
    gone AS (DELETE FROM df._signals s USING unread u WHERE s.seq = u.seq RETURNING 1)
    SELECT count(*) FROM gone
$$;

-- Deletes rows of one of these tables whose instance is not there: there are none, unless somebody
-- deleted instances by hand or restored half of them. Looks at p_room ids after p_after; the last
-- one that it looked at, NULL at the end.
CREATE FUNCTION df._reconcile_1(p_table regclass, p_after text, p_room integer, OUT o_last text, OUT o_gone bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
DECLARE
    v_ids text[];
BEGIN
    EXECUTE format('
        WITH RECURSIVE walk(id, n) AS (
            (SELECT t.instance_id, 1 FROM %1$s t WHERE t.instance_id > $1 ORDER BY t.instance_id LIMIT 1)
            UNION ALL
            SELECT (SELECT t.instance_id FROM %1$s t WHERE t.instance_id > w.id ORDER BY t.instance_id LIMIT 1), w.n + 1
            FROM walk w WHERE w.id IS NOT NULL AND w.n < $2)
        SELECT array_agg(w.id ORDER BY w.id) FROM walk w WHERE w.id IS NOT NULL', p_table)
    INTO v_ids USING p_after, p_room;
    IF cardinality(v_ids) = p_room THEN
        o_last := v_ids[p_room];
    END IF;
    -- one statement: it sees an instance and its rows together, or neither
    EXECUTE format('
        DELETE FROM %s t WHERE t.instance_id = ANY ($1)
            AND NOT EXISTS (SELECT 1 FROM df._instances i WHERE i.id = t.instance_id)', p_table)
    USING v_ids;
    GET DIAGNOSTICS o_gone = ROW_COUNT;
END $$;
