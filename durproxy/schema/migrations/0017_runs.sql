-- Several steps in one round trip. The rules of 0004 hold for each: its own transaction, its own
-- outcome, its own look at the token and the frames.

-- Runs steps one after the other, each as df._run_1 does, in a transaction of its own: one round
-- trip, many commits. A step that fails ends the call; those before it stay. Only the last one may
-- decide something and send its result back. After p_patience, or where the role limits the time
-- of a statement, the rest is left: p_done says how many were run. What must be the same for all
-- (frames, path) is given once; the worker asks with df._done_1 how far a call came that failed.
CREATE PROCEDURE df._runs_1(
    p_instance text, p_token uuid, p_nodes integer[], p_paths text[], p_rounds bigint[],
    p_path text, p_node integer[], p_text text[], p_rows boolean[], p_values text[],
    p_types json, p_decides "char", p_winner integer, p_back boolean, p_clean boolean,
    p_patience interval, INOUT p_done integer, INOUT p_sent text)
LANGUAGE plpgsql SECURITY INVOKER AS $$
DECLARE
    v_until timestamptz := pg_catalog.clock_timestamp() OPERATOR(pg_catalog.+) p_patience;
    v_steps integer := pg_catalog.cardinality(p_node);
    v_values text[];
    v_count bigint;
    v_rows text;
    v_exact text[];
    v_result text;
    v_role text;
    v_finished text;
BEGIN
    IF p_clean THEN
        PERFORM df._clean_1();
    END IF;
    IF pg_catalog.current_setting('statement_timeout') OPERATOR(pg_catalog.<>) '0' THEN
        v_until := '-infinity';
    END IF;
    v_role := pg_catalog.current_setting('role');
    FOR k IN 1 .. v_steps LOOP
        v_finished := pg_catalog.set_config('durproxy.instance', p_instance, true);
        v_rows := NULL;
        IF p_rows[k] THEN
            IF p_values[k] IS NULL THEN
                EXECUTE p_text[k] INTO v_count, v_rows, v_exact;
            ELSE
                v_values := p_values[k]::pg_catalog.text[];
                EXECUTE p_text[k] INTO v_count, v_rows, v_exact USING v_values;
            END IF;
        ELSE
            IF p_values[k] IS NULL THEN
                EXECUTE p_text[k];
            ELSE
                v_values := p_values[k]::pg_catalog.text[];
                EXECUTE p_text[k] USING v_values;
            END IF;
            GET DIAGNOSTICS v_count = ROW_COUNT;
        END IF;
        IF pg_catalog.current_setting('role') OPERATOR(pg_catalog.<>) v_role THEN
            PERFORM pg_catalog.set_config('role', v_role, false);
        END IF;
        v_result := pg_catalog.concat('{"rows":[', v_rows, '],"row_count":', v_count, '}');
        IF k OPERATOR(pg_catalog.=) v_steps THEN
            v_finished := df._finish_1(p_instance, p_token, p_nodes, p_paths, p_rounds, p_node[k], p_path,
                v_result::pg_catalog.json, p_types, v_exact, p_decides, p_winner, pg_catalog.now());
            IF p_back THEN
                p_sent := pg_catalog.json_build_array(v_result, v_exact);
            END IF;
            p_done := k;
        ELSE
            v_finished := df._finish_1(p_instance, p_token, p_nodes, p_paths, p_rounds, p_node[k], p_path,
                v_result::pg_catalog.json, NULL, NULL, NULL, NULL, pg_catalog.now());
            COMMIT;
            p_done := k;
            EXIT WHEN pg_catalog.clock_timestamp() OPERATOR(pg_catalog.>) v_until;
        END IF;
    END LOOP;
END $$;

-- How many of these steps, in their order, have succeeded. NULL when the instance is not the
-- worker's any more: then they may be the next holder's, and the error that it asks about is not
-- that of the first one that is missing.
CREATE FUNCTION df._done_1(p_instance text, p_token uuid, p_path text, p_node integer[]) RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
    SELECT count(c.node) FROM df._instances i
    LEFT JOIN df._checkpoints c
        ON c.instance_id = i.id AND c.path = p_path AND c.node = ANY (p_node) AND c.status = 'd'
    WHERE i.id = p_instance AND i.token = p_token
    GROUP BY i.id
$$;
