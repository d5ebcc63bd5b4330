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

-- What a node does, in one line unless its SQL has more.
CREATE FUNCTION df._described(p_node df._seen, p_names text[], p_indent text) RETURNS text
LANGUAGE plpgsql STABLE AS $$
DECLARE
    v_names  text := (SELECT string_agg(format(' |=> %L', n), '') FROM unnest(p_names) n);
    v_config jsonb := CASE WHEN p_node.node_type NOT IN ('SQL', 'SLEEP') THEN p_node.query::jsonb END;
BEGIN
    RETURN CASE p_node.node_type
        WHEN 'SQL' THEN concat('SQL', v_names, ': ', replace(btrim(p_node.query, E' \t\r\n'), E'\n', E'\n' || p_indent || '     '))
        WHEN 'SLEEP' THEN concat('SLEEP ', p_node.query, 's', v_names)
        WHEN 'WAIT_SCHEDULE' THEN concat('WAIT SCHEDULE ', v_config ->> 'cron_expr', v_names)
        WHEN 'HTTP' THEN concat('HTTP ', v_config ->> 'method', ' ', v_config ->> 'url', v_names, ' (at least once)')
        WHEN 'HTTP_MULTIPART' THEN concat('HTTP MULTIPART ', v_config ->> 'method', ' ', v_config ->> 'url', v_names,
            ' (at least once)')
        WHEN 'SIGNAL' THEN concat('SIGNAL ', quote_literal(v_config ->> 'signal_name'),
            ' timeout ' || (v_config ->> 'timeout_seconds') || 's', v_names)
        WHEN 'BREAK' THEN concat('BREAK', ' ' || quote_literal(v_config ->> 'break_value'))
        WHEN 'IF' THEN concat('IF', ' ROWS $' || (v_config ->> 'result_name'), v_names)
        ELSE concat(p_node.node_type, v_names) END;
END $$;

-- How a node goes: marker, round, what it waits for; on lines of their own its error and, when it
-- is named, its result.
CREATE FUNCTION df._progress(p_node df._seen, p_names text[], p_indent text) RETURNS text
LANGUAGE plpgsql STABLE AS $$
DECLARE
    v_below  text := E'\n' || p_indent || '     ';
    v_result text := p_node.result::text;
BEGIN
    RETURN concat(' ', df._marker(p_node.shown),
        CASE WHEN p_node.node_type = 'LOOP' THEN ' round ' || p_node.round + 1 END,
        CASE WHEN p_node.shown = 'running' THEN
            ' until ' || to_char(p_node.due AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS"Z"') END,
        CASE WHEN p_node.attempt > 1 THEN ' attempt ' || p_node.attempt END,
        CASE WHEN p_node.shown = 'failed' AND p_node.node_type NOT IN ('THEN', 'JOIN', 'LOOP', 'IF') THEN
            concat(v_below || 'error: ' || (p_node.error ->> 'message'), ' (SQLSTATE ' || (p_node.error ->> 'sqlstate') || ')',
                v_below || 'detail: ' || (p_node.error ->> 'detail'),
                v_below || 'hint: ' || (p_node.error ->> 'hint')) END,
        CASE WHEN p_node.shown = 'completed' AND cardinality(p_names) > 0 THEN
            concat(v_below || '= ' || left(v_result, 1000),
                CASE WHEN length(v_result) > 1000 THEN format(' ... (%s characters in all)', length(v_result)) END) END);
END $$;

-- What stands before a child: nothing in a chain.
CREATE FUNCTION df._place(p_node df._seen, p_parent df._seen) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE
        WHEN p_parent.node_type IN ('JOIN', 'RACE') THEN
            'branch ' || CASE p_node.slot WHEN 'left' THEN '1' WHEN 'right' THEN '2' ELSE p_node.slot END || ':'
        WHEN p_parent.node_type = 'LOOP' THEN CASE p_node.slot WHEN 'condition' THEN 'while:' ELSE 'body:' END
        WHEN p_parent.node_type = 'IF' THEN
            CASE p_node.slot WHEN 'condition' THEN 'condition:' WHEN 'left' THEN 'then:' ELSE 'else:' END END
$$;

-- The tree. A chain of THEN is flat: its elements stand at one indent, each but the first behind
-- an arrow; a name of the chain stands at its last element, whose result it is.
CREATE FUNCTION df._tree(p_nodes df._seen[], p_live boolean) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_lines  text[]    := '{}';
    v_depth  integer[] := '{}';    -- indent of each node
    v_first  boolean[] := '{}';    -- begins its chain
    v_names  jsonb     := '{}';    -- names of chains, at the node that ends them
    v_node   df._seen;
    v_parent df._seen;
    v_own    text[];
    v_indent text;
    v_arrow  CONSTANT text := df._sign(E'\\xe28692', '->') || ' ';
BEGIN
    FOREACH v_node IN ARRAY p_nodes LOOP
        v_parent := p_nodes[v_node.parent];
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
                CASE WHEN p_live THEN df._progress(v_node, v_own, v_indent) END);
        ELSIF cardinality(v_own) > 0 THEN
            v_names := v_names || jsonb_build_object(v_node.right_node, to_jsonb(v_own));
        END IF;
    END LOOP;
    RETURN array_to_string(v_lines, E'\n');
END $$;

CREATE FUNCTION df._explain_instance(p_instance text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_own   df._own_listed;
    v_nodes df._seen[];
BEGIN
    SELECT l.* INTO v_own FROM df._own_listed l WHERE l.id = p_instance;
    IF NOT FOUND THEN
        RETURN format('Instance ''%s'' not found', p_instance);
    END IF;
    SELECT array_agg(n.seen ORDER BY (n.seen).node) INTO v_nodes FROM df._own_nodes n WHERE n.instance_id = p_instance;
    RETURN concat('Instance: ', v_own.id, ' (' || v_own.label || ')', E'\n',
        'Status:   ', df._marker(v_own.status), ' ', initcap(v_own.status), E'\n',
        'Database: ' || v_own.database || ' (each step ' || df._guarantee(v_own.database) || E')\n',
        CASE WHEN v_own.status = 'completed' THEN 'Output:   ' ELSE 'Error:    ' END || v_own.output || E'\n',
        E'\n', df._tree(v_nodes, true));
END $$;

CREATE FUNCTION df._explain_graph(p_graph text) RETURNS text
LANGUAGE plpgsql STABLE STRICT SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_graph json;
BEGIN
    v_graph := df._node(p_graph)::json;
    PERFORM df._check_graph(v_graph);
    RETURN df._tree(ARRAY(SELECT n FROM df._inspect('', v_graph, 'pending', '{}') n), false);
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
    END;
END $$;

CREATE FUNCTION df.explain(input text) RETURNS text
LANGUAGE plpgsql STRICT AS $$
DECLARE
    v_input pg_catalog.text := pg_catalog.btrim(input, E' \t\r\n;');
    v_graph pg_catalog.text;
BEGIN
    IF v_input OPERATOR(pg_catalog.~) '^[0-9a-f]{8}$' THEN
        RETURN df._explain_instance(v_input);
    ELSIF pg_catalog.starts_with(v_input, '{')
        OR v_input OPERATOR(pg_catalog.!~) E'~>|\\|=>|\\?>|!>|^@>|\\mdf\\s*\\.|^[(\\s]*[Ee]?\''
        OR v_input OPERATOR(pg_catalog.~*) E'^(select|insert|update|delete|merge|with|values|table|create|alter|drop|call|do|truncate|grant|revoke|explain)\\M'
    THEN
        RETURN df._explain_graph(v_input);
    END IF;
    BEGIN
        v_graph := df._evaluated(v_input);
    EXCEPTION WHEN OTHERS THEN
        RETURN 'Invalid durable function graph: ' OPERATOR(pg_catalog.||) SQLERRM;
    END;
    RETURN COALESCE(df._explain_graph(v_graph), 'Invalid durable function graph: the expression is null');
END $$;
