-- What engine workers call. Each name ends in its protocol version: a function that an older
-- worker may still call is never edited in place, it gets a successor.
--
-- The rules that make a step exactly once:
-- * A write of an instance holds, in this order and FOR SHARE: the instance row by its token, then
--   each enclosing open frame by its round, outermost first. FOR KEY SHARE would let a cancel
--   return before the step commits; checking only the nearest frame would let a losing step in.
-- * An outcome is the one INSERT of its key. A second one is refused (WF003) and rolls back.
-- * Who ends something (claim, cancel, race, round) UPDATEs the row that the others share.
-- * Nobody here waits in line for an instance's row: the one who has it may be a user with an open
--   df.cancel. It is skipped, or looked at again for a while (_await_hold_1).
--
-- p_nodes, p_paths, p_rounds name the enclosing frames; where a function ends or advances a frame,
-- that frame stands last. Functions are one flat body, since nested calls cost a tenth of a step.
-- enable_seqscan is off in them: a plan cached while the tables are empty must not stay.

CREATE FUNCTION df._load_1(p_instances text[])
RETURNS TABLE (instance_id text, node integer, path text, status "char", n bigint, due timestamptz,
    names json, result json, types json, exact text[], error json, at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
    SELECT c.instance_id, c.node, c.path, c.status, c.n, c.due, c.names, c.result, c.types, c.exact, c.error, c.at
    FROM df._checkpoints c WHERE c.instance_id = ANY (p_instances)
$$;

-- ---------------------------------------------------------------------------------------------
-- Steps

-- What another instance's step may have left in the session: settings, temp tables, locks.
CREATE FUNCTION df._clean_1() RETURNS void LANGUAGE plpgsql VOLATILE SECURITY INVOKER AS $$
BEGIN
    RESET SESSION AUTHORIZATION;
    RESET ALL;
    UNLISTEN *;
    PERFORM pg_catalog.pg_advisory_unlock_all();
    DISCARD TEMP;
    DISCARD SEQUENCES;
END $$;

-- Runs one step and records its outcome, in the caller's rights and settings: one round trip, one
-- commit. p_text is the step's SQL, with values in $1; with p_rows it is that SQL inside an
-- aggregate that gives (count, rows as JSON, rows as record text). No SET clause and not STRICT:
-- the step must run under its role's own settings, and everything here is qualified since the
-- search_path is the user's.
CREATE FUNCTION df._run_1(
    p_instance text, p_token uuid, p_nodes integer[], p_paths text[], p_rounds bigint[],
    p_node integer, p_path text, p_text text, p_rows boolean, p_values text[],
    p_types json, p_decides "char", p_winner integer, p_back boolean, p_clean boolean)
RETURNS text LANGUAGE plpgsql VOLATILE SECURITY INVOKER AS $$
DECLARE
    v_count bigint;
    v_rows text;
    v_exact text[];
    v_result text;
    v_role text;
    v_done text;
BEGIN
    IF p_clean THEN
        PERFORM df._clean_1();
    END IF;
    v_role := pg_catalog.current_setting('role');
    -- assigned, not performed: an expression costs less than a query
    v_done := pg_catalog.set_config('durproxy.instance', p_instance, true);
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
        -- SET ROLE in a step: the role it chose may not be allowed to use df, and is not the next step's
        PERFORM pg_catalog.set_config('role', v_role, false);
    END IF;
    v_result := pg_catalog.concat('{"rows":[', v_rows, '],"row_count":', v_count, '}');
    v_done := df._finish_1(p_instance, p_token, p_nodes, p_paths, p_rounds, p_node, p_path,
        v_result::pg_catalog.json, p_types, v_exact, p_decides, p_winner, pg_catalog.now());
    IF p_back THEN
        RETURN pg_catalog.json_build_array(v_result, v_exact);
    END IF;
    RETURN NULL;
END $$;

-- The rows of a statement that cannot stand in FROM (DML with RETURNING, SHOW, EXPLAIN ...).
CREATE FUNCTION df._rows_1(p_text text, p_values text[]) RETURNS SETOF record
LANGUAGE plpgsql VOLATILE SECURITY INVOKER AS $$
BEGIN
    IF p_values IS NULL THEN
        RETURN QUERY EXECUTE p_text;
    ELSE
        RETURN QUERY EXECUTE p_text USING p_values;
    END IF;
END $$;

-- A value whose type is not the one that the worker was told: nothing is kept, it asks again.
CREATE FUNCTION df._stale_1(p_value anyelement) RETURNS anyelement
LANGUAGE plpgsql VOLATILE SECURITY INVOKER AS $$
BEGIN
    RAISE EXCEPTION 'a result column has type % now', pg_catalog.pg_typeof(p_value) USING ERRCODE = 'WF004';
END $$;

-- The rows of a result, unless they are too many: it goes through the memory of the server, of the
-- worker and of who asks for it.
CREATE FUNCTION df._fits_1(p_rows text, p_most integer) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT SECURITY INVOKER AS $$
BEGIN
    IF pg_catalog.octet_length(p_rows) OPERATOR(pg_catalog.>) p_most THEN
        RAISE EXCEPTION 'result of % bytes is larger than max_result_bytes, which is %',
            pg_catalog.octet_length(p_rows), p_most
            USING ERRCODE = '54000', HINT = 'Keep it in a table, and let the step return less.';
    END IF;
    RETURN p_rows;
END $$;

-- A row as record text that gives every value back exactly, whatever the role's settings.
CREATE FUNCTION df._record_1(p_row record) RETURNS text
LANGUAGE plpgsql STABLE SECURITY INVOKER
SET extra_float_digits = 1 SET datestyle = 'ISO' SET intervalstyle = 'postgres' SET bytea_output = 'hex' AS $$
BEGIN
    RETURN p_row::pg_catalog.text;
END $$;

-- Any role may call this one: it is the random token of the claim that gives the right.
-- p_decides: NULL, 'e' the step ends its instance, 'r' it wins the innermost race, p_winner.
-- What comes after the deadline of a timeout around it is late, whether that was noticed or not.
-- p_began: when the step began, where that can still be undone: one that began after its instance
-- was paused is refused (WF005).
-- lock_timeout: of frames that another branch is about to close while that branch waits for us.
CREATE FUNCTION df._finish_1(
    p_instance text, p_token uuid, p_nodes integer[], p_paths text[], p_rounds bigint[],
    p_node integer, p_path text, p_result json, p_types json, p_exact text[],
    p_decides "char", p_winner integer, p_began timestamptz DEFAULT NULL)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET lock_timeout = '500ms' AS $$
DECLARE
    v_frames integer := coalesce(cardinality(p_nodes), 0);
    v_last integer;
    v_paused timestamptz;
BEGIN
    IF v_frames = 0 AND p_decides IS NULL THEN
        -- most steps: what stands below, in one statement; what went wrong is told below
        INSERT INTO df._checkpoints (instance_id, node, path, status, result, types, exact)
        SELECT p_instance, p_node, p_path, 'd', p_result, p_types, p_exact
        FROM (SELECT FROM df._instances i
              WHERE i.id = p_instance AND i.token = p_token AND i.paused IS NULL FOR SHARE SKIP LOCKED) AS held
        ON CONFLICT DO NOTHING;
        IF FOUND THEN
            RETURN;
        END IF;
    END IF;
    IF p_decides = 'e' THEN
        SELECT CASE WHEN i.paused IS NOT NULL THEN i.updated_at END INTO v_paused FROM df._instances i
        WHERE i.id = p_instance AND i.token = p_token FOR NO KEY UPDATE SKIP LOCKED;
    ELSE
        SELECT CASE WHEN i.paused IS NOT NULL THEN i.updated_at END INTO v_paused FROM df._instances i
        WHERE i.id = p_instance AND i.token = p_token FOR SHARE SKIP LOCKED;
    END IF;
    IF NOT FOUND THEN  -- as patient as the step has taken: all of its work hangs on this
        PERFORM df._await_hold_1(p_instance, p_token,
            greatest('1 s', clock_timestamp() - statement_timestamp()), coalesce(p_decides = 'e', false));
        v_paused := (SELECT i.updated_at FROM df._instances i WHERE i.id = p_instance AND i.paused IS NOT NULL);
    END IF;
    IF v_paused < p_began THEN
        RAISE EXCEPTION 'instance "%" is paused', p_instance USING ERRCODE = 'WF005';
    END IF;
    IF p_decides = 'e' THEN
        UPDATE df._instances i
        SET status = 'completed', result = p_result, owner = NULL, token = NULL,
            completed_at = clock_timestamp(), updated_at = clock_timestamp()
        WHERE i.id = p_instance;
    ELSIF p_decides = 'r' THEN
        v_frames := v_frames - 1;
    END IF;
    FOR k IN 1 .. v_frames LOOP
        PERFORM 1 FROM df._checkpoints f
        WHERE f.instance_id = p_instance AND f.node = p_nodes[k] AND f.path = p_paths[k]
          AND (f.kind IS DISTINCT FROM 'TIMEOUT' OR f.due > df._clock())
          AND f.status = 'o' AND f.n = p_rounds[k] FOR SHARE;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'the scope of this step has ended' USING ERRCODE = 'WF002';
        END IF;
    END LOOP;
    IF p_decides = 'r' THEN
        v_frames := v_frames + 1;
        UPDATE df._checkpoints f
        SET status = 'd', result = json_build_object('winner', p_winner), at = clock_timestamp()
        WHERE f.instance_id = p_instance AND f.node = p_nodes[v_frames] AND f.path = p_paths[v_frames]
          AND (f.kind IS DISTINCT FROM 'TIMEOUT' OR f.due > df._clock())
          AND f.status = 'o' AND f.n = p_rounds[v_frames]
        RETURNING f.last INTO v_last;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'the scope of this step has ended' USING ERRCODE = 'WF002';
        END IF;
        PERFORM df._end_waits_1(p_instance, p_nodes[v_frames], v_last, p_paths[v_frames]);
    END IF;
    INSERT INTO df._checkpoints (instance_id, node, path, status, result, types, exact)
    VALUES (p_instance, p_node, p_path, 'd', p_result, p_types, p_exact)
    ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'node % of instance "%" has finished before', p_node, p_instance USING ERRCODE = 'WF003';
    END IF;
END $$;

-- p_seconds: how long the attempt has taken.
CREATE FUNCTION df._fail_1(
    p_instance text, p_token uuid, p_nodes integer[], p_paths text[], p_rounds bigint[],
    p_node integer, p_path text, p_error json, p_seconds double precision DEFAULT NULL)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
BEGIN
    PERFORM df._hold_1(p_instance, p_token, p_nodes, p_paths, p_rounds);
    PERFORM df._attempted_1(p_instance, p_node, p_path, p_error, p_seconds);
    INSERT INTO df._checkpoints (instance_id, node, path, status, error)
    VALUES (p_instance, p_node, p_path, 'f', p_error)
    ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'node % of instance "%" has finished before', p_node, p_instance USING ERRCODE = 'WF003';
    END IF;
END $$;

-- ---------------------------------------------------------------------------------------------
-- Looking around

-- Going to sleep: the next commit of a df.start shall notify; awake: it need not.
CREATE FUNCTION df._doze_1(p_idle boolean) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT setval('df._idle', CASE WHEN p_idle THEN 2 ELSE 1 END)
$$;
