-- Frames: the scopes and waits of an instance, and its end.
--
-- A frame is the checkpoint of a node in progress, status 'o'. What encloses a write is checked by
-- its frames; so a frame that is closed, or that counts on, ends everything inside at once:
--
--   kind                     n         closed by                          rows inside then
--   RACE, ANY                0         the deciding step, or _close       stay; open waits go
--   TIMEOUT                  0         the body's last step, or _expire   stay; open waits go
--   MAP                      0         _close                             stay; open waits go
--   LOOP                     round     _close; _next counts on            of the round: all go
--   RETRY, COMPENSATE        attempt   never; _retry counts on            of the attempt: all go
--   FINALLY                  0         never: it says that the cleanup is owed
--   SLEEP, SLEEP_UNTIL, WAIT_SCHEDULE, SIGNAL, WAIT_CONDITION   0   _fire, _take, _close
--
-- What was ended may still owe cleanups and undos, and what is owed is read from the rows: so only
-- open waits go with their scope, which would catch signals. What runs to do what is owed lies
-- below a "!" in its path and goes on: its waits stay. Rounds and attempts go with all their rows,
-- since a loop or retry never goes on while anything inside is owed.
--
-- path: ".k" round k, ":k" item k of a map, "~k" attempt k, "!" unwinding; outermost first.

-- Whether a path lies inside another one, or is it; attempt 10 does not lie inside attempt 1.
CREATE FUNCTION df._is_within(p_path text, p_outer text) RETURNS boolean
LANGUAGE sql IMMUTABLE AS $$
    SELECT p_path OPERATOR(pg_catalog.=) p_outer OR pg_catalog.starts_with(p_path, p_outer)
        AND pg_catalog.substr(p_path, pg_catalog.length(p_outer) OPERATOR(pg_catalog.+) 1, 1)
            OPERATOR(pg_catalog.=) ANY ('{.,:,~,!}'::pg_catalog.text[])
$$;

-- The waits inside a scope that has ended; not those of an unwinding.
CREATE FUNCTION df._end_waits_1(p_instance text, p_node integer, p_last integer, p_path text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
BEGIN
    DELETE FROM df._checkpoints c
    WHERE c.instance_id = p_instance AND c.node > p_node AND c.node <= p_last AND c.status = 'o'
      AND c.kind IN ('SLEEP', 'SLEEP_UNTIL', 'WAIT_SCHEDULE', 'SIGNAL', 'WAIT_CONDITION')
      AND df._is_within(c.path, p_path) AND position('!' IN substr(c.path, length(p_path) + 1)) = 0;
END $$;

-- The row of an instance was not to be had at once: it is not this worker's any more (WF001), or
-- somebody is about to change it: a step that commits, a user's open transaction with df.cancel in
-- it. Who waits for a lock can be part of a deadlock, and then Postgres may end the user's side, so
-- this one looks again and again instead, and gives way (55P03) as soon as anybody waits for it.
CREATE FUNCTION df._await_hold_1(p_instance text, p_token uuid, p_patience interval, p_change boolean)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
DECLARE
    v_until timestamptz := clock_timestamp() + p_patience;
    v_pause double precision := 0.002;
BEGIN
    LOOP
        PERFORM 1 FROM df._instances i WHERE i.id = p_instance AND i.token = p_token;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'instance "%" is not held by this worker any more', p_instance USING ERRCODE = 'WF001';
        END IF;
        IF clock_timestamp() > v_until OR EXISTS (
            SELECT 1 FROM pg_locks w WHERE NOT w.granted AND pg_backend_pid() = ANY (pg_blocking_pids(w.pid)))
        THEN
            RAISE EXCEPTION 'instance "%" is locked by another transaction', p_instance USING ERRCODE = '55P03';
        END IF;
        PERFORM pg_sleep(v_pause);
        v_pause := least(v_pause * 1.5, 0.05);
        IF p_change THEN
            PERFORM 1 FROM df._instances i
            WHERE i.id = p_instance AND i.token = p_token FOR NO KEY UPDATE SKIP LOCKED;
        ELSE
            PERFORM 1 FROM df._instances i
            WHERE i.id = p_instance AND i.token = p_token FOR SHARE SKIP LOCKED;
        END IF;
        EXIT WHEN FOUND;
    END LOOP;
END $$;

CREATE FUNCTION df._hold_1(p_instance text, p_token uuid, p_nodes integer[], p_paths text[], p_rounds bigint[])
RETURNS void LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
BEGIN
    PERFORM 1 FROM df._instances i
    WHERE i.id = p_instance AND i.token = p_token FOR SHARE SKIP LOCKED;
    IF NOT FOUND THEN
        PERFORM df._await_hold_1(p_instance, p_token, '100 ms', false);
    END IF;
    FOR k IN 1 .. coalesce(cardinality(p_nodes), 0) LOOP
        PERFORM 1 FROM df._checkpoints f
        WHERE f.instance_id = p_instance AND f.node = p_nodes[k] AND f.path = p_paths[k]
          AND (f.kind IS DISTINCT FROM 'TIMEOUT' OR f.due > df._clock())  -- late is late
          AND f.status = 'o' AND f.n = p_rounds[k] FOR SHARE;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'the scope of this step has ended' USING ERRCODE = 'WF002';
        END IF;
    END LOOP;
END $$;

-- Opens a frame and fixes its due time, after p_delay or at p_due; a frame that is there already
-- stays as it is.
CREATE FUNCTION df._open_1(
    p_instance text, p_token uuid, p_nodes integer[], p_paths text[], p_rounds bigint[],
    p_node integer, p_path text, p_last integer, p_kind text, p_delay interval, p_signal text,
    p_due timestamptz DEFAULT NULL)
RETURNS timestamptz LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
DECLARE
    v_status "char";
    v_due timestamptz := coalesce(p_due, df._clock() + p_delay);
BEGIN
    PERFORM df._hold_1(p_instance, p_token, p_nodes, p_paths, p_rounds);
    INSERT INTO df._checkpoints (instance_id, node, path, status, last, kind, due, signal)
    VALUES (p_instance, p_node, p_path, 'o', p_last, p_kind, v_due, p_signal)
    ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
        SELECT c.status, c.due INTO v_status, v_due FROM df._checkpoints c
        WHERE c.instance_id = p_instance AND c.node = p_node AND c.path = p_path;
        IF v_status <> 'o' THEN
            RAISE EXCEPTION 'node % of instance "%" has finished before', p_node, p_instance USING ERRCODE = 'WF003';
        END IF;
    END IF;
    RETURN v_due;
END $$;

-- Ends a frame with its outcome.
CREATE FUNCTION df._close_1(
    p_instance text, p_token uuid, p_nodes integer[], p_paths text[], p_rounds bigint[],
    p_result json, p_types json, p_exact text[], p_error json, p_names json)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
DECLARE
    v_frame integer := cardinality(p_nodes);
    v_path text := p_paths[v_frame];
    v_last integer;
BEGIN
    PERFORM df._hold_1(p_instance, p_token, p_nodes[: v_frame - 1], p_paths[: v_frame - 1], p_rounds[: v_frame - 1]);
    UPDATE df._checkpoints f
    SET status = CASE WHEN p_error IS NULL THEN 'd' ELSE 'f' END, result = p_result, types = p_types,
        exact = p_exact, error = p_error, names = p_names, signal = NULL, at = clock_timestamp()
    WHERE f.instance_id = p_instance AND f.node = p_nodes[v_frame] AND f.path = v_path
      AND f.status = 'o' AND f.n = p_rounds[v_frame]
    RETURNING f.last INTO v_last;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the scope of this step has ended' USING ERRCODE = 'WF002';
    END IF;
    PERFORM df._end_waits_1(p_instance, p_nodes[v_frame], v_last, v_path);
END $$;

-- The next round of a loop: its frame goes on by one, and the finished round's rows go away.
-- p_result: what that round came to, of a loop that is the whole graph; a trigger keeps it.
CREATE FUNCTION df._next_1(
    p_instance text, p_token uuid, p_nodes integer[], p_paths text[], p_rounds bigint[], p_names json,
    p_result json DEFAULT NULL)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
DECLARE
    v_frame integer := cardinality(p_nodes);
    v_round text := p_paths[v_frame] || '.' || p_rounds[v_frame];
    v_last integer;
BEGIN
    PERFORM df._hold_1(p_instance, p_token, p_nodes[: v_frame - 1], p_paths[: v_frame - 1], p_rounds[: v_frame - 1]);
    UPDATE df._checkpoints f SET n = f.n + 1, names = p_names, result = p_result, at = clock_timestamp()
    WHERE f.instance_id = p_instance AND f.node = p_nodes[v_frame] AND f.path = p_paths[v_frame]
      AND f.status = 'o' AND f.n = p_rounds[v_frame]
    RETURNING f.last INTO v_last;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the scope of this step has ended' USING ERRCODE = 'WF002';
    END IF;
    DELETE FROM df._checkpoints c
    WHERE c.instance_id = p_instance AND c.node > p_nodes[v_frame] AND c.node <= v_last
      AND df._is_within(c.path, v_round);
END $$;

-- An attempt has failed: the frame counts on and fixes when the next one begins, and the rows of
-- the failed one go away. The first time the frame is not there yet, and p_failed is 0. Jitter
-- keeps at least half of the delay.
CREATE FUNCTION df._retry_1(
    p_instance text, p_token uuid, p_nodes integer[], p_paths text[], p_rounds bigint[],
    p_node integer, p_path text, p_last integer, p_kind text, p_failed bigint, p_delay interval,
    p_jitter boolean, p_error json)
RETURNS timestamptz LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
DECLARE
    v_due timestamptz := df._clock()
        + p_delay * CASE WHEN p_jitter THEN 0.5 + random() / 2 ELSE 1 END;
BEGIN
    PERFORM df._hold_1(p_instance, p_token, p_nodes, p_paths, p_rounds);
    IF p_failed = 0 THEN
        INSERT INTO df._checkpoints (instance_id, node, path, status, last, kind, n, due, error)
        VALUES (p_instance, p_node, p_path, 'o', p_last, p_kind, 1, v_due, p_error)
        ON CONFLICT DO NOTHING;
    ELSE
        UPDATE df._checkpoints f SET n = f.n + 1, due = v_due, error = p_error, at = clock_timestamp()
        WHERE f.instance_id = p_instance AND f.node = p_node AND f.path = p_path
          AND f.status = 'o' AND f.n = p_failed;
    END IF;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'attempt % of node % has ended before', p_failed, p_node USING ERRCODE = 'WF002';
    END IF;
    DELETE FROM df._checkpoints c
    WHERE c.instance_id = p_instance AND c.node > p_node AND c.node <= p_last
      AND df._is_within(c.path, p_path || '~' || p_failed);
    RETURN v_due;
END $$;

-- A timer: closes its frame when the database's clock says that it is due; false: not yet.
CREATE FUNCTION df._fire_1(
    p_instance text, p_token uuid, p_nodes integer[], p_paths text[], p_rounds bigint[], p_result json)
RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
DECLARE
    v_frame integer := cardinality(p_nodes);
    v_due timestamptz;
BEGIN
    PERFORM df._hold_1(p_instance, p_token, p_nodes[: v_frame - 1], p_paths[: v_frame - 1], p_rounds[: v_frame - 1]);
    SELECT f.due INTO v_due FROM df._checkpoints f
    WHERE f.instance_id = p_instance AND f.node = p_nodes[v_frame] AND f.path = p_paths[v_frame]
      AND f.status = 'o' FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the scope of this step has ended' USING ERRCODE = 'WF002';
    END IF;
    IF v_due > df._clock() THEN
        RETURN false;
    END IF;
    UPDATE df._checkpoints f SET status = 'd', result = p_result, at = clock_timestamp()
    WHERE f.instance_id = p_instance AND f.node = p_nodes[v_frame] AND f.path = p_paths[v_frame];
    RETURN true;
END $$;

-- A deadline: fails its frame once the database's clock says that it is due, which ends all that
-- runs inside; false: not yet.
CREATE FUNCTION df._expire_1(
    p_instance text, p_token uuid, p_nodes integer[], p_paths text[], p_rounds bigint[], p_error json)
RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
DECLARE
    v_frame integer := cardinality(p_nodes);
    v_due timestamptz;
    v_last integer;
    v_began timestamptz;
BEGIN
    PERFORM df._hold_1(p_instance, p_token, p_nodes[: v_frame - 1], p_paths[: v_frame - 1], p_rounds[: v_frame - 1]);
    SELECT f.due, f.last, f.began INTO v_due, v_last, v_began FROM df._checkpoints f
    WHERE f.instance_id = p_instance AND f.node = p_nodes[v_frame] AND f.path = p_paths[v_frame]
      AND f.status = 'o' FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the scope of this step has ended' USING ERRCODE = 'WF002';
    END IF;
    IF v_due > df._clock() THEN
        RETURN false;
    END IF;
    UPDATE df._checkpoints f SET status = 'f', error = p_error, at = clock_timestamp()
    WHERE f.instance_id = p_instance AND f.node = p_nodes[v_frame] AND f.path = p_paths[v_frame];
    PERFORM df._attempted_1(p_instance, p_nodes[v_frame], p_paths[v_frame], p_error,
        extract(epoch FROM clock_timestamp() - v_began)::double precision);
    PERFORM df._end_waits_1(p_instance, p_nodes[v_frame], v_last, p_paths[v_frame]);
    RETURN true;
END $$;

-- A wait for a signal: the oldest message closes its frame; past the due time nothing does, which
-- is a result too. NULL: neither yet.
CREATE FUNCTION df._take_1(
    p_instance text, p_token uuid, p_nodes integer[], p_paths text[], p_rounds bigint[], p_signal text)
RETURNS json LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
DECLARE
    v_frame integer := cardinality(p_nodes);
    v_due timestamptz;
    v_data json;
    v_found boolean;
    v_result json;
BEGIN
    PERFORM df._hold_1(p_instance, p_token, p_nodes[: v_frame - 1], p_paths[: v_frame - 1], p_rounds[: v_frame - 1]);
    SELECT f.due INTO v_due FROM df._checkpoints f
    WHERE f.instance_id = p_instance AND f.node = p_nodes[v_frame] AND f.path = p_paths[v_frame]
      AND f.status = 'o' FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the scope of this step has ended' USING ERRCODE = 'WF002';
    END IF;
    DELETE FROM df._signals s WHERE s.seq = (
        SELECT o.seq FROM df._signals o WHERE o.instance_id = p_instance AND o.name = p_signal
        ORDER BY o.seq LIMIT 1 FOR UPDATE SKIP LOCKED)
    RETURNING s.data INTO v_data;
    v_found := FOUND;
    IF NOT v_found AND (v_due IS NULL OR v_due > df._clock()) THEN
        RETURN NULL;
    END IF;
    v_result := concat('{"signal_name":', to_json(p_signal), ',"timed_out":', to_json(NOT v_found),
        ',"data":', coalesce(v_data, 'null'), '}')::json;
    UPDATE df._checkpoints f SET status = 'd', signal = NULL, result = v_result, at = clock_timestamp()
    WHERE f.instance_id = p_instance AND f.node = p_nodes[v_frame] AND f.path = p_paths[v_frame];
    RETURN v_result;
END $$;

-- The end of an instance that no step carried; the result may be that of a checkpoint.
CREATE FUNCTION df._end_1(
    p_instance text, p_token uuid, p_status text, p_result json, p_node integer, p_path text, p_error json)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
BEGIN
    PERFORM 1 FROM df._instances i
    WHERE i.id = p_instance AND i.token = p_token FOR NO KEY UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        PERFORM df._await_hold_1(p_instance, p_token, '100 ms', true);
    END IF;
    UPDATE df._instances i
    SET status = p_status, owner = NULL, token = NULL, error = p_error,
        result = coalesce(p_result, (SELECT c.result FROM df._checkpoints c
            WHERE c.instance_id = p_instance AND c.node = p_node AND c.path = p_path)),
        completed_at = clock_timestamp(),
        updated_at = clock_timestamp()
    WHERE i.id = p_instance;
END $$;
