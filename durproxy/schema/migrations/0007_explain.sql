-- df.explain: an instance as it goes, or a graph as it would.

-- A sign by its UTF-8 bytes, or plain text in a database whose encoding has no such sign: this file
-- must load in any.
CREATE FUNCTION df._sign(p_utf8 bytea, p_plain text) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN getdatabaseencoding() IN ('UTF8', 'SQL_ASCII')
        THEN convert_from(p_utf8, getdatabaseencoding()) ELSE p_plain END
$$;

CREATE FUNCTION df._marker(p_status text) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE p_status
        WHEN 'completed' THEN df._sign(E'\\xe29c93', 'v')    -- check mark
        WHEN 'failed' THEN df._sign(E'\\xe29c97', 'x')       -- ballot x
        WHEN 'cancelled' THEN df._sign(E'\\xe29c97', 'x')
        WHEN 'running' THEN df._sign(E'\\xe28fb3', '>')      -- hourglass
        WHEN 'skipped' THEN df._sign(E'\\xe28a98', '/')      -- circled slash
        ELSE df._sign(E'\\xe2978b', 'o') END                 -- circle
$$;

-- How statements begin that Postgres runs in no transaction.
CREATE FUNCTION df._outside_transactions() RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT '^[[:space:]]*(vacuum|(create|drop)[[:space:]]+database|alter[[:space:]]+system|(create|drop)[[:space:]]+tablespace'
        '|(create[[:space:]]+(unique[[:space:]]+)?index|drop[[:space:]]+index|reindex[^;]*)[[:space:]]+concurrently'
        '|reindex[[:space:]]+(database|system)|cluster[[:space:]]*;?[[:space:]]*$)'
$$;

CREATE FUNCTION df._shown_seconds(p_seconds jsonb) RETURNS text
LANGUAGE sql IMMUTABLE AS $$ SELECT trim_scale((p_seconds #>> '{}')::numeric) || 's' $$;

CREATE FUNCTION df._shown_time(p_time timestamptz) RETURNS text
LANGUAGE sql IMMUTABLE AS $$ SELECT to_char(p_time AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS"Z"') $$;

-- What a node does, in one line unless its SQL has more.
CREATE FUNCTION df._described(p_node df._seen, p_names text[], p_indent text) RETURNS text
LANGUAGE plpgsql STABLE AS $$
DECLARE
    v_names  text := (SELECT string_agg(format(' |=> %L', n), '') FROM unnest(p_names) n);
    v_config jsonb := CASE WHEN p_node.node_type NOT IN ('SQL', 'SLEEP', 'SLEEP_UNTIL') THEN p_node.query::jsonb END;
BEGIN
    RETURN CASE p_node.node_type
        WHEN 'SQL' THEN concat('SQL', v_names, ': ', replace(btrim(p_node.query, E' \t\r\n'), E'\n', E'\n' || p_indent || '     '),
            CASE WHEN p_node.query ~* df._outside_transactions() THEN ' (at least once)' END)
        WHEN 'SLEEP' THEN concat('SLEEP ', p_node.query, CASE WHEN p_node.query ~ '^[0-9]' THEN 's' END, v_names)
        WHEN 'SLEEP_UNTIL' THEN concat('SLEEP UNTIL ', p_node.query, v_names)
        WHEN 'WAIT_CONDITION' THEN concat('WAIT CONDITION every ', df._shown_seconds(v_config -> 'check_every'), v_names, ': ',
            replace(btrim(v_config ->> 'query', E' \t\r\n'), E'\n', E'\n' || p_indent || '     '))
        WHEN 'RETRY' THEN concat('RETRY up to ', v_config ->> 'max_attempts', ' attempts, after ',
            df._shown_seconds(v_config -> 'backoff'), ' x ', trim_scale((v_config ->> 'factor')::numeric), ' up to ',
            df._shown_seconds(v_config -> 'max_backoff'), CASE WHEN v_config -> 'jitter' = 'false' THEN ' without jitter' END,
            ', on ' || (SELECT string_agg(e, ', ') FROM jsonb_array_elements_text(nullif(v_config -> 'retry_on', 'null')) e), v_names)
        WHEN 'TIMEOUT' THEN concat('TIMEOUT ', df._shown_seconds(v_config -> 'seconds'), v_names)
        WHEN 'MAP' THEN concat('MAP ', v_config ->> 'max_concurrency', ' at a time',
            CASE WHEN v_config -> 'tolerate' <> '0' THEN ', tolerating ' || (v_config ->> 'tolerate') || ' failures' END, v_names)
        WHEN 'WAIT_SCHEDULE' THEN concat('WAIT SCHEDULE ', v_config ->> 'cron_expr', ' ' || (v_config ->> 'tz'), v_names)
        WHEN 'HTTP' THEN concat('HTTP ', v_config ->> 'method', ' ', v_config ->> 'url', v_names, ' (at least once)')
        WHEN 'HTTP_MULTIPART' THEN concat('HTTP MULTIPART ', v_config ->> 'method', ' ', v_config ->> 'url', v_names,
            ' (at least once)')
        WHEN 'SIGNAL' THEN concat('SIGNAL ', quote_literal(v_config ->> 'signal_name'),
            ' timeout ' || (v_config ->> 'timeout_seconds') || 's', v_names)
        WHEN 'BREAK' THEN concat('BREAK', ' ' || quote_literal(v_config ->> 'break_value'))
        WHEN 'IF' THEN concat('IF', ' ROWS $' || (v_config ->> 'result_name'), v_names)
        ELSE concat(p_node.node_type, v_names) END;
END $$;

-- How far what repeats has come: rounds, attempts, items; and when what waits will go on.
CREATE FUNCTION df._counted(p_node df._seen, p_items text) RETURNS text
LANGUAGE sql STABLE AS $$
    SELECT concat(
        CASE WHEN p_node.node_type = 'LOOP' THEN ' round ' || p_node.round + 1
             WHEN p_node.node_type = 'MAP' THEN ' ' || p_items
             WHEN p_node.node_type = 'RETRY' AND p_node.round > 0 THEN
                 format(' attempt %s of %s', p_node.round + 1, p_node.query::jsonb ->> 'max_attempts')
             WHEN p_node.node_type = 'COMPENSATE' AND p_node.round > 0 THEN ' undo, attempt ' || p_node.round + 1
             WHEN p_node.attempt > 1 THEN ' attempt ' || p_node.attempt END,
        CASE WHEN p_node.shown = 'running' OR p_node.node_type = 'COMPENSATE' THEN
            CASE p_node.node_type WHEN 'RETRY' THEN ' at ' WHEN 'COMPENSATE' THEN ' at ' WHEN 'WAIT_CONDITION' THEN ' next look '
                ELSE ' until ' END || df._shown_time(p_node.due) END)
$$;

-- An error, on lines of its own.
CREATE FUNCTION df._shown_error(p_what text, p_error json, p_below text) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT concat(p_below || p_what || ': ' || (p_error ->> 'message'), ' (SQLSTATE ' || (p_error ->> 'sqlstate') || ')',
        p_below || 'detail: ' || (p_error ->> 'detail'),
        p_below || 'hint: ' || (p_error ->> 'hint'))
$$;

-- Whether a failure is to be told here: not where it only passes through.
CREATE FUNCTION df._fails_here(p_node df._seen) RETURNS boolean
LANGUAGE sql IMMUTABLE AS $$
    SELECT p_node.shown = 'failed' AND CASE
        WHEN p_node.node_type IN ('THEN', 'JOIN', 'LOOP', 'IF', 'RETRY', 'CATCH', 'FINALLY', 'SAGA', 'COMPENSATE') THEN false
        WHEN p_node.node_type = 'TIMEOUT' THEN coalesce((p_node.error ->> 'node')::integer = p_node.node, true)
        ELSE true END
$$;

-- How a node goes: marker, how far it has come, what it waits for; on lines of their own its error
-- and, when it is named, its result. In the body of a MAP, how many items have come how far.
CREATE FUNCTION df._progress(p_node df._seen, p_names text[], p_items text, p_in_map boolean, p_indent text) RETURNS text
LANGUAGE plpgsql STABLE AS $$
DECLARE
    v_below  text := E'\n' || p_indent || '     ';
    v_result text := p_node.result::text;
BEGIN
    IF p_in_map THEN
        RETURN concat(
            ' ' || df._marker('completed') || ' ' || nullif(p_node.done, 0),
            ' ' || df._marker('failed') || ' ' || nullif(p_node.failed, 0),
            ' ' || df._marker('running') || ' ' || nullif(p_node.under_way, 0));
    END IF;
    RETURN concat(' ', df._marker(p_node.shown),
        df._counted(p_node, p_items),
        CASE WHEN p_node.shown = 'running' AND p_node.node_type = 'RETRY' THEN
            df._shown_error('last error', p_node.error, v_below) END,
        CASE WHEN df._fails_here(p_node) THEN df._shown_error('error', p_node.error, v_below) END,
        CASE WHEN p_node.shown = 'completed' AND cardinality(p_names) > 0 THEN
            concat(v_below || '= ' || left(v_result, 1000),
                CASE WHEN length(v_result) > 1000 THEN format(' ... (%s characters in all)', length(v_result)) END) END);
END $$;

-- What stands before a child: nothing in a chain.
CREATE FUNCTION df._place(p_node df._seen, p_parent df._seen) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE
        WHEN p_parent.node_type IN ('JOIN', 'RACE', 'ANY', 'TRANSACTION') THEN
            CASE p_parent.node_type WHEN 'TRANSACTION' THEN 'step ' ELSE 'branch ' END || CASE p_node.slot WHEN 'left' THEN '1' WHEN 'right' THEN '2' ELSE p_node.slot END || ':'
        WHEN p_parent.node_type = 'LOOP' THEN CASE p_node.slot WHEN 'condition' THEN 'while:' ELSE 'body:' END
        WHEN p_parent.node_type = 'MAP' THEN CASE p_node.slot WHEN 'condition' THEN 'source:' ELSE 'for each:' END
        WHEN p_parent.node_type IN ('RETRY', 'TIMEOUT', 'CATCH', 'FINALLY', 'COMPENSATE', 'SAGA') THEN
            CASE WHEN p_node.slot = 'left' THEN 'body:' WHEN p_parent.node_type = 'CATCH' THEN 'handler:'
                 WHEN p_parent.node_type = 'FINALLY' THEN 'cleanup:' ELSE 'undo:' END
        WHEN p_parent.node_type = 'IF' THEN
            CASE p_node.slot WHEN 'condition' THEN 'condition:' WHEN 'left' THEN 'then:' ELSE 'else:' END END
$$;

-- The tree. A chain of THEN is flat: its elements stand at one indent, each but the first behind
-- an arrow; a name of the chain stands at its last element, whose result it is.
-- p_items says for each MAP that is under way how many of its items have ended.
CREATE FUNCTION df._tree(p_nodes df._seen[], p_live boolean, p_items jsonb) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_lines  text[]    := '{}';
    v_depth  integer[] := '{}';    -- indent of each node
    v_first  boolean[] := '{}';    -- begins its chain
    v_names  jsonb     := '{}';    -- names of chains, at the node that ends them
    v_map    integer   := 0;       -- up to this node it is the body of a MAP
    v_node   df._seen;
    v_parent df._seen;
    v_own    text[];
    v_indent text;
    v_arrow  CONSTANT text := df._sign(E'\\xe28692', '->') || ' ';
BEGIN
    FOREACH v_node IN ARRAY p_nodes LOOP
        v_parent := p_nodes[v_node.parent];
        IF v_parent.node_type = 'MAP' AND v_node.slot = 'left' THEN
            v_map := greatest(v_map, v_node.last);
        END IF;
        v_depth[v_node.node] := coalesce(v_depth[v_parent.node], 0);
        v_first[v_node.node] := true;
        IF v_parent.node_type = 'THEN' THEN
            v_first[v_node.node] := v_first[v_parent.node] AND v_node.slot = 'left';
        ELSIF v_node.parent IS NOT NULL THEN
            v_depth[v_node.node] := v_depth[v_parent.node] + 2;
            v_lines := v_lines || (repeat('    ', v_depth[v_parent.node] + 1) || df._place(v_node, v_parent));
        END IF;
        v_own := array_remove(ARRAY[v_node.result_name], NULL);
        IF v_names ? v_node.node::text THEN
            v_own := v_own || ARRAY(SELECT jsonb_array_elements_text(v_names -> v_node.node::text));
        END IF;
        IF v_node.node_type <> 'THEN' THEN
            v_indent := repeat('    ', v_depth[v_node.node]);
            v_lines := v_lines || concat(v_indent, CASE WHEN NOT v_first[v_node.node] THEN v_arrow END,
                df._described(v_node, v_own, v_indent),
                CASE WHEN p_live THEN df._progress(
                    v_node, v_own, p_items ->> v_node.node::text, v_node.node <= v_map, v_indent) END);
        ELSIF cardinality(v_own) > 0 THEN
            v_names := v_names || jsonb_build_object(v_node.right_node, to_jsonb(v_own));
        END IF;
    END LOOP;
    RETURN array_to_string(v_lines, E'\n');
END $$;

-- How many of the items that have begun have ended. Each is looked at as if it were alone.
CREATE FUNCTION df._ended_items(p_instance text, p_path text, p_body df._seen, p_rows df._outcome[], p_begun text[])
RETURNS bigint LANGUAGE sql STABLE AS $$
    SELECT count(*)
    FROM df._own o CROSS JOIN unnest(p_begun) i (item)
    CROSS JOIN LATERAL df._inspect(p_instance, o.graph, 'running', ARRAY(
        SELECT r FROM unnest(p_rows) r
        WHERE r.node NOT BETWEEN p_body.node AND p_body.last
            OR starts_with(r.path, p_path || ':' || i.item)
                AND substr(r.path, length(p_path || ':' || i.item) + 1, 1) !~ '[0-9]')) n
    WHERE o.id = p_instance AND n.node = p_body.node AND n.status IN ('completed', 'failed')
$$;

-- Of each MAP outside of other ones, how many of its items have ended, in words; above two hundred
-- that is too much to look at, and it is told how many have begun.
CREATE FUNCTION df._items(p_instance text, p_nodes df._seen[]) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_items  jsonb := '{}';
    v_node   df._seen;
    v_body   df._seen;
    v_inside integer := 0;
    v_all    text;
    v_rows   df._outcome[];
    v_path   text;
    v_begun  text[];
    v_told   text;
BEGIN
    FOREACH v_node IN ARRAY p_nodes LOOP
        CONTINUE WHEN v_node.node_type <> 'MAP' OR v_node.node <= v_inside;
        v_all := (p_nodes[v_node.node + 1]).result ->> 'row_count';
        CONTINUE WHEN v_all IS NULL;    -- the source has not been read
        v_inside := v_node.last;
        v_body := p_nodes[v_node.left_node];
        v_rows := coalesce(v_rows, ARRAY(SELECT o.outcome FROM df._own_outcomes o WHERE o.instance_id = p_instance));
        v_path := (SELECT r.path FROM unnest(v_rows) r WHERE r.node = v_node.node ORDER BY r.at DESC LIMIT 1);
        v_begun := ARRAY(SELECT DISTINCT substring(substr(r.path, length(v_path) + 2) FROM '^[0-9]+') FROM unnest(v_rows) r
                         WHERE r.node BETWEEN v_body.node AND v_body.last AND starts_with(r.path, v_path || ':'));
        v_told := CASE WHEN v_node.status = 'completed' THEN v_all
                       WHEN cardinality(v_begun) > 200 THEN cardinality(v_begun) || ' begun'
                       ELSE df._ended_items(p_instance, v_path, v_body, v_rows, v_begun)::text END;
        v_items := v_items || jsonb_build_object(v_node.node, format('%s of %s items', v_told, v_all));
    END LOOP;
    RETURN v_items;
END $$;

CREATE FUNCTION df._explain_instance(p_instance text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_own   df._own_listed;
    v_nodes df._seen[];
    v_start timestamptz;
    v_rerun text;
BEGIN
    SELECT l.* INTO v_own FROM df._own_listed l WHERE l.id = p_instance;
    IF NOT FOUND THEN
        RETURN format('Instance ''%s'' not found', p_instance);
    END IF;
    SELECT array_agg(n.seen ORDER BY (n.seen).node) INTO v_nodes FROM df._own_nodes n WHERE n.instance_id = p_instance;
    SELECT CASE WHEN o.status = 'pending' AND o.start_at > df._clock() THEN o.start_at END, o.rerun_of
    INTO v_start, v_rerun FROM df._own o WHERE o.id = p_instance;
    RETURN concat('Instance: ', v_own.id, ' (' || v_own.label || ')', E'\n',
        'Status:   ', df._marker(v_own.status), ' ', initcap(v_own.status), E'\n',
        'Starts:   ' || df._shown_time(v_start) || E'\n',
        'Rerun of: ' || v_rerun || E'\n',
        'Ending:   cancelled (' || v_own.ending || E'), once its cleanups and undos are done\n',
        'Held up:  ' || v_own.held_up || E'\n',
        'Database: ' || v_own.database || ' (each step ' || df._guarantee(v_own.database) || E')\n',
        CASE WHEN v_own.status = 'completed' THEN 'Output:   ' ELSE 'Error:    ' END || v_own.output || E'\n',
        E'\n', df._tree(v_nodes, true, df._items(p_instance, v_nodes)));
END $$;

CREATE FUNCTION df._explain_graph(p_graph text) RETURNS text
LANGUAGE plpgsql STABLE STRICT SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_graph json;
BEGIN
    v_graph := df._node(p_graph)::json;
    PERFORM df._check_graph(v_graph);
    RETURN df._tree(ARRAY(SELECT n FROM df._inspect('', v_graph, 'pending', '{}') n), false, NULL);
EXCEPTION WHEN data_exception OR program_limit_exceeded OR feature_not_supported THEN
    RETURN 'Invalid durable function graph: ' || SQLERRM;
END $$;

-- Text that uses the language is evaluated, as its caller and with df on the path, and whatever it
-- may have done is rolled back: this is a dry run.
CREATE FUNCTION df._evaluated(p_expression text) RETURNS text
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    v_text pg_catalog.text;
BEGIN
    BEGIN
        PERFORM pg_catalog.set_config('search_path', pg_catalog.concat_ws(', ', 'df',
            pg_catalog.replace(pg_catalog.current_setting('search_path'), '""', 'df')), true);
        EXECUTE 'SELECT (' OPERATOR(pg_catalog.||) p_expression OPERATOR(pg_catalog.||) E'\n)::pg_catalog.text' INTO v_text;
        RAISE EXCEPTION 'dry run' USING ERRCODE = 'WF011';
    EXCEPTION WHEN SQLSTATE 'WF011' THEN
        RETURN v_text;
    WHEN syntax_error THEN
        -- said without what stands around it here
        EXECUTE 'SELECT ' OPERATOR(pg_catalog.||) p_expression;
        RAISE;
    END;
END $$;

-- Whether text is an expression of the language, not a graph or a step.
CREATE FUNCTION df._is_expression(p_input text) RETURNS boolean
LANGUAGE sql IMMUTABLE AS $$
    SELECT NOT pg_catalog.starts_with(p_input, '{')
        AND p_input OPERATOR(pg_catalog.~) E'~>|\\|=>|\\?>|!>|^@>|\\mdf\\s*\\.|^[(\\s]*[Ee]?\''
        AND p_input OPERATOR(pg_catalog.!~*) E'^(select|insert|update|delete|merge|with|values|table|create|alter|drop|call|do|truncate|grant|revoke|explain)\\M'
$$;

CREATE FUNCTION df.explain(input text) RETURNS text
LANGUAGE plpgsql STRICT AS $$
DECLARE
    v_input pg_catalog.text := pg_catalog.btrim(input, E' \t\r\n;');
    v_graph pg_catalog.text;
BEGIN
    IF v_input OPERATOR(pg_catalog.~) '^[0-9a-f]{8}$' THEN
        RETURN df._explain_instance(v_input);
    ELSIF NOT df._is_expression(v_input) THEN
        RETURN df._explain_graph(v_input);
    END IF;
    BEGIN
        v_graph := df._evaluated(v_input);
    EXCEPTION WHEN OTHERS THEN
        RETURN 'Invalid durable function graph: ' OPERATOR(pg_catalog.||) SQLERRM;
    END;
    RETURN pg_catalog.concat(
        COALESCE(df._explain_graph(v_graph), 'Invalid durable function graph: the expression is null'),
        E'\nReads: ' OPERATOR(pg_catalog.||) df._surprising(v_input, v_graph));
END $$;
