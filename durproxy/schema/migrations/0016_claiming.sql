-- Who holds an instance: claiming, giving back, taking over, setting aside. Functions that workers
-- call end in their protocol version, as in 0004.
--
-- What frees an instance, and what that says about it:
--   its worker gives it back    in order: it waits, or the worker drains
--   its role cannot log in      trouble: it is tried again, later each time
--   its step's session is lost  an attempt: perhaps the step ends it, perhaps somebody else did
--   its worker dies             an attempt: perhaps the instance kills workers, perhaps it was only there
-- `takeovers` counts attempts since the instance last made progress (its newest checkpoint says so).
-- From the second one on it is a suspect: ordinary workers leave it alone, and a worker that runs
-- nothing but suspects takes it, at first one at a time. Only an attempt that fails while such a
-- worker holds nothing else is a strike, so whoever merely shares a worker with a poisoned instance
-- is never blamed for it. After `set_aside_after` strikes it is paused and says why.

-- An attempt or some other trouble has ended: count, and free the instance, whose row the caller
-- has locked. p_attempt: the instance itself may be the reason; p_alone: nothing else can be.
CREATE FUNCTION df._interrupted(
    p_instance text, p_attempt boolean, p_alone boolean, p_later boolean, p_trouble text)
RETURNS timestamptz LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
DECLARE
    v_limit integer := coalesce((SELECT s.value::integer FROM df._settings s WHERE s.name = 'set_aside_after'), 5);
    v_progress timestamptz := (SELECT max(c.at) FROM df._checkpoints c WHERE c.instance_id = p_instance);
    v_it df._instances;
BEGIN
    SELECT i.* INTO v_it FROM df._instances i WHERE i.id = p_instance;
    IF v_progress IS DISTINCT FROM v_it.progress_at THEN
        v_it.takeovers := 0;
        v_it.strikes := 0;
        v_it.delays := 0;
    END IF;
    v_it.takeovers := v_it.takeovers + p_attempt::integer;
    v_it.strikes := v_it.strikes + (p_attempt AND p_alone)::integer;
    v_it.ready_at := df._clock();
    IF p_later THEN
        v_it.ready_at := v_it.ready_at + least(interval '30 s', interval '50 ms' * 2 ^ least(v_it.delays, 10));
        v_it.delays := v_it.delays + 1;
    END IF;
    IF v_it.paused IS NULL AND v_it.strikes >= v_limit THEN
        v_it.paused := format('set aside: %s (%s attempts without progress)', p_trouble, v_it.takeovers);
    END IF;
    IF v_it.paused IS NOT NULL THEN
        v_it.ready_at := NULL;
    END IF;
    UPDATE df._instances i
    SET owner = NULL, token = NULL, ready_at = v_it.ready_at, paused = v_it.paused, trouble = p_trouble,
        takeovers = v_it.takeovers, strikes = v_it.strikes, delays = v_it.delays,
        progress_at = v_progress, updated_at = clock_timestamp()
    WHERE i.id = p_instance;
    RETURN v_it.ready_at;
END $$;

-- p_alone: this worker takes suspects, and nothing else.
CREATE FUNCTION df._register_1(p_engine uuid, p_fmt smallint, p_alone boolean DEFAULT false) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO df._engines (id, pid, backend_start, fmt_max, alone)
    SELECT p_engine, pid, backend_start, p_fmt, p_alone FROM pg_stat_activity WHERE pid = pg_backend_pid()
$$;

-- Claims for p_room instances at most, fairly: a walk over the pairs of role and lane (a hash of
-- database and label) that goes on where this worker's last one ended. It takes ten of a pair, more
-- where few pairs have work, so a flood in one delays the others by no more than their number. Of
-- p_roles, which the worker holds something of, there is room for p_rooms, of any other role for
-- p_role_room. With p_alone it takes suspects instead. The last row has no id: it says where the walk has ended, the next time that it saw,
-- and, as "fresh", whether some role had no room left.
CREATE FUNCTION df._claim_1(
    p_engine uuid, p_room integer, p_fmt smallint, p_role oid, p_lane integer,
    p_roles oid[], p_rooms integer[], p_role_room integer, p_alone boolean)
RETURNS TABLE (id text, token uuid, graph json, vars json, label text, role name, fresh boolean,
    role_id oid, lane integer, next_ready timestamptz, database text, ending json)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz := df._clock();
    v_role regrole := p_role;
    v_lane integer := p_lane;
    v_ready timestamptz;
    v_next timestamptz;
    v_is_full boolean := false;
    v_seen integer := 0;
    v_wrapped boolean := false;
    v_due_roles oid[] := '{}';       -- the pairs that have work
    v_due_lanes integer[] := '{}';
    v_roles oid[] := p_roles;
    v_rooms integer[] := p_rooms;
    v_k integer;
    v_found text[];
    v_found_fresh boolean[];
    v_ids text[] := '{}';
    v_fresh boolean[] := '{}';
BEGIN
    IF p_alone THEN
        SELECT coalesce(array_agg(d.id), '{}'), coalesce(array_agg(d.fresh), '{}') INTO v_ids, v_fresh FROM (
            SELECT i.id, i.status = 'pending' AS fresh FROM df._instances i
            WHERE i.takeovers >= 2 AND i.ready_at <= v_now AND i.fmt <= p_fmt
            ORDER BY i.ready_at LIMIT p_room FOR NO KEY UPDATE SKIP LOCKED) d;
    END IF;
    WHILE NOT p_alone AND v_seen < 200 AND cardinality(v_due_roles) < greatest(1, p_room / 10) LOOP
        v_seen := v_seen + 1;
        SELECT i.submitted_by, i.lane, i.ready_at INTO v_role, v_lane, v_ready FROM df._instances i
        WHERE i.ready_at IS NOT NULL AND (i.submitted_by, i.lane) > (v_role, v_lane)
        ORDER BY i.submitted_by, i.lane, i.ready_at LIMIT 1;
        IF NOT FOUND THEN
            EXIT WHEN v_wrapped;
            v_wrapped := true;
            v_role := 0;
            v_lane := -1;
            CONTINUE;
        END IF;
        EXIT WHEN v_wrapped AND (v_role::oid, v_lane) > (p_role, p_lane);
        v_k := array_position(v_roles, v_role::oid);
        IF v_k IS NULL THEN
            v_roles := v_roles || v_role::oid;
            v_rooms := v_rooms || p_role_room;
        ELSIF v_rooms[v_k] <= 0 THEN  -- it has its share of this worker
            v_is_full := true;
            v_lane := 32767;
            CONTINUE;
        END IF;
        IF v_ready > v_now THEN
            v_next := least(v_next, v_ready);
        ELSE
            v_due_roles := v_due_roles || v_role::oid;
            v_due_lanes := v_due_lanes || v_lane;
        END IF;
    END LOOP;
    FOR n IN 1 .. cardinality(v_due_roles) LOOP
        v_role := v_due_roles[n];
        v_lane := v_due_lanes[n];
        v_k := array_position(v_roles, v_role::oid);
        SELECT array_agg(d.id), array_agg(d.fresh) INTO v_found, v_found_fresh FROM (
            SELECT i.id, i.status = 'pending' AS fresh FROM df._instances i
            WHERE i.submitted_by = v_role AND i.lane = v_lane AND i.ready_at <= v_now
              AND i.fmt <= p_fmt AND i.takeovers < 2
            ORDER BY i.ready_at
            LIMIT least(v_rooms[v_k], (p_room + cardinality(v_due_roles) - 1) / cardinality(v_due_roles),
                        p_room - cardinality(v_ids))
            -- NO KEY: a row that a user's open transaction refers to must still be claimable
            FOR NO KEY UPDATE SKIP LOCKED) d;
        v_ids := v_ids || v_found;
        v_fresh := v_fresh || v_found_fresh;
        v_rooms[v_k] := v_rooms[v_k] - coalesce(cardinality(v_found), 0);
        v_is_full := v_is_full OR v_rooms[v_k] = 0;
    END LOOP;
    IF v_ids <> '{}' THEN
        RETURN QUERY
        UPDATE df._instances i
        SET owner = p_engine, token = gen_random_uuid(), ready_at = NULL, status = 'running',
            started_at = coalesce(i.started_at, clock_timestamp()), updated_at = clock_timestamp()
        FROM unnest(v_ids, v_fresh) AS due (id, fresh) WHERE i.id = due.id
        RETURNING i.id, i.token, i.graph, i.vars, i.label,
            (SELECT r.rolname FROM pg_roles r WHERE r.oid = i.submitted_by), due.fresh,
            i.submitted_by::oid, i.lane::integer, NULL::timestamptz,
            nullif(i.database, current_database()), i.ending;
    END IF;
    RETURN QUERY SELECT NULL::text, NULL::uuid, NULL::json, NULL::json, NULL::text, NULL::name, v_is_full,
        v_role::oid, v_lane, v_next, NULL::text, NULL::json;
END $$;

-- The same for one instance, whatever its time: a signal has come for it.
CREATE FUNCTION df._claim_one_1(p_engine uuid, p_instance text, p_fmt smallint)
RETURNS TABLE (id text, token uuid, graph json, vars json, label text, role name, fresh boolean,
    role_id oid, lane integer, next_ready timestamptz, database text, ending json)
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
    WITH it AS MATERIALIZED (
        SELECT i.id, i.status = 'pending' AS fresh FROM df._instances i
        WHERE i.id = p_instance AND i.ready_at IS NOT NULL AND i.fmt <= p_fmt AND i.takeovers < 2
          AND (i.status = 'running' OR i.ready_at <= df._clock())
        FOR NO KEY UPDATE SKIP LOCKED)
    UPDATE df._instances i
    SET owner = p_engine, token = gen_random_uuid(), ready_at = NULL, status = 'running',
        started_at = coalesce(i.started_at, clock_timestamp()), updated_at = clock_timestamp()
    FROM it WHERE i.id = it.id
    RETURNING i.id, i.token, i.graph, i.vars, i.label,
        (SELECT r.rolname FROM pg_roles r WHERE r.oid = i.submitted_by), it.fresh,
        i.submitted_by::oid, i.lane::integer, NULL::timestamptz, nullif(i.database, current_database()),
        i.ending
$$;

-- Of these instances the ones that are still held by these tokens, and whether they are paused.
CREATE FUNCTION df._still_1(p_instances text[], p_tokens uuid[]) RETURNS TABLE (id text, paused boolean)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
    SELECT i.id, i.paused IS NOT NULL FROM unnest(p_instances, p_tokens) AS h (id, token)
    JOIN df._instances i ON i.id = h.id AND i.token = h.token
$$;

-- What a dead worker held becomes claimable; its tokens are void from then on.
CREATE FUNCTION df._takeover_1(p_dead uuid, p_room integer) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
DECLARE
    v_alone boolean := coalesce((SELECT e.alone FROM df._engines e WHERE e.id = p_dead), false)
        AND (SELECT count(*) FROM df._instances i WHERE i.owner = p_dead) = 1;
    v_id text;
    v_taken bigint := 0;
BEGIN
    FOR v_id IN
        SELECT i.id FROM df._instances i WHERE i.owner = p_dead LIMIT p_room FOR NO KEY UPDATE SKIP LOCKED
    LOOP
        PERFORM df._interrupted(v_id, true, v_alone, false, 'its worker died');
        v_taken := v_taken + 1;
    END LOOP;
    RETURN v_taken;
END $$;

-- Give an instance back. p_how: 'w' it waits until p_ready ('infinity': only a signal), 'b' it can go
-- on at once, 'l' later since there is trouble, 'a' its attempt has failed. Returns when it can be
-- claimed: at once, if a message for one of its waits has come meanwhile; NULL while it is paused.
CREATE FUNCTION df._release_1(
    p_instance text, p_token uuid, p_ready timestamptz, p_how "char", p_trouble text DEFAULT NULL)
RETURNS timestamptz
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
DECLARE
    v_owner uuid;
    v_ready timestamptz;
BEGIN
    PERFORM 1 FROM df._instances i
    WHERE i.id = p_instance AND i.token = p_token FOR NO KEY UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        PERFORM df._await_hold_1(p_instance, p_token, '100 ms', true);
    END IF;
    IF p_how IN ('l', 'a') THEN
        SELECT i.owner INTO v_owner FROM df._instances i WHERE i.id = p_instance;
        RETURN df._interrupted(p_instance, p_how = 'a',
            coalesce((SELECT e.alone FROM df._engines e WHERE e.id = v_owner), false)
                AND (SELECT count(*) FROM df._instances i WHERE i.owner = v_owner) = 1,
            true, p_trouble);
    END IF;
    v_ready := greatest(p_ready, df._clock());
    IF p_how = 'w' AND EXISTS (
        SELECT 1 FROM df._checkpoints f
        JOIN df._signals s ON s.instance_id = f.instance_id AND s.name = f.signal
        WHERE f.instance_id = p_instance AND f.status = 'o' AND f.signal IS NOT NULL)
    THEN
        v_ready := df._clock();
    END IF;
    UPDATE df._instances i
    SET owner = NULL, token = NULL, updated_at = clock_timestamp(), trouble = NULL,
        ready_at = CASE WHEN i.paused IS NULL THEN v_ready END,
        takeovers = CASE WHEN p_how = 'w' THEN 0 ELSE i.takeovers END,
        strikes = CASE WHEN p_how = 'w' THEN 0 ELSE i.strikes END,
        delays = CASE WHEN p_how = 'w' THEN 0 ELSE i.delays END
    WHERE i.id = p_instance
    RETURNING i.ready_at INTO v_ready;
    RETURN v_ready;
END $$;

-- What is this worker's by the table but not in its memory: the reply to a claim was lost.
CREATE FUNCTION df._reclaim_1(p_engine uuid, p_instances text[]) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
    WITH mine AS MATERIALIZED (
        SELECT i.id FROM df._instances i WHERE i.owner = p_engine AND i.id = ANY (p_instances)
        FOR NO KEY UPDATE SKIP LOCKED),
    freed AS (
        UPDATE df._instances i
        SET owner = NULL, token = NULL, updated_at = clock_timestamp(),
            ready_at = CASE WHEN i.paused IS NULL THEN df._clock() END
        FROM mine WHERE i.id = mine.id RETURNING 1)
    SELECT count(*) FROM freed
$$;

-- A worker that drains gives all back in one statement. While something stays behind it stays
-- known, so that another worker finds it dead and takes over.
CREATE FUNCTION df._release_all_1(p_engine uuid) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
    WITH mine AS MATERIALIZED (
        SELECT i.id FROM df._instances i WHERE i.owner = p_engine FOR NO KEY UPDATE SKIP LOCKED),
    freed AS (
        UPDATE df._instances i
        SET owner = NULL, token = NULL, updated_at = clock_timestamp(),
            ready_at = CASE WHEN i.paused IS NULL THEN df._clock() END
        FROM mine WHERE i.id = mine.id RETURNING 1),
    gone AS (
        DELETE FROM df._engines e
        WHERE e.id = p_engine
          AND (SELECT count(*) FROM mine) = (SELECT count(*) FROM df._instances i WHERE i.owner = p_engine))
    SELECT count(*) FROM freed
$$;

-- One statement per tick: the heartbeat, who else owns work and whether it lives, messages for
-- instances that nobody holds, instances that are this worker's by the table but not in its memory,
-- those of its that are paused, and whether suspects wait for a worker of their own.
CREATE FUNCTION df._tick_1(p_engine uuid, p_held text[])
RETURNS TABLE (now timestamptz, next_ready timestamptz, others json, signalled text[], orphans text[],
    paused text[], suspects boolean)
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
    WITH RECURSIVE beat AS (
        UPDATE df._engines e SET beat = e.beat + 1, seen_at = clock_timestamp() WHERE e.id = p_engine),
    -- the earliest of each pair of role and lane, by one index probe each
    earliest (submitted_by, lane, ready_at, pairs) AS (
        (SELECT i.submitted_by, i.lane, i.ready_at, 1 FROM df._instances i
         WHERE i.ready_at IS NOT NULL ORDER BY i.submitted_by, i.lane, i.ready_at LIMIT 1)
        UNION ALL
        SELECT n.submitted_by, n.lane, n.ready_at, e.pairs + 1 FROM earliest e
        CROSS JOIN LATERAL (
            SELECT i.submitted_by, i.lane, i.ready_at FROM df._instances i
            WHERE i.ready_at IS NOT NULL AND (i.submitted_by, i.lane) > (e.submitted_by, e.lane)
            ORDER BY i.submitted_by, i.lane, i.ready_at LIMIT 1) n
        WHERE e.pairs < 2000)
    SELECT df._clock(),
        (SELECT min(e.ready_at) FROM earliest e),
        (SELECT json_agg(o) FROM (
            SELECT e.id, e.beat, a.pid IS NULL AS gone,
                EXISTS (SELECT 1 FROM df._instances i WHERE i.owner = e.id) AS owns
            FROM df._engines e
            LEFT JOIN pg_stat_activity a ON a.pid = e.pid AND a.backend_start = e.backend_start
            WHERE e.id <> p_engine
            UNION ALL
            -- a claim of its was under way when it was seen dead, and forgotten since it had nothing
            SELECT DISTINCT i.owner, 0, true, true FROM df._instances i
            WHERE i.owner IS NOT NULL AND i.owner <> p_engine
              AND NOT EXISTS (SELECT 1 FROM df._engines e WHERE e.id = i.owner)) o),
        (SELECT array_agg(DISTINCT f.instance_id) FROM df._signals s
         JOIN df._checkpoints f ON f.instance_id = s.instance_id AND f.signal = s.name AND f.status = 'o'
         JOIN df._instances i ON i.id = f.instance_id AND i.ready_at IS NOT NULL AND i.takeovers < 2),
        (SELECT array_agg(i.id) FROM df._instances i WHERE i.owner = p_engine AND i.id <> ALL (p_held)),
        (SELECT array_agg(i.id) FROM df._instances i WHERE i.owner = p_engine AND i.paused IS NOT NULL),
        EXISTS (SELECT 1 FROM df._instances i
                WHERE i.takeovers >= 2 AND i.ready_at IS NOT NULL AND i.ready_at <= df._clock())
$$;

CREATE FUNCTION df._forget_1(p_dead uuid) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    DELETE FROM df._engines e
    WHERE e.id = p_dead AND NOT EXISTS (SELECT 1 FROM df._instances i WHERE i.owner = e.id)
$$;
