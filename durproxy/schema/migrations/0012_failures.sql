-- Failure handling, fan-out and further waits: the constructors, and the check of their nodes.
-- The rules of 0002 hold here too; what a node's configuration may be is said once, for nodes that
-- were written by hand as well.

-- An interval as text that reads the same under every IntervalStyle: P1M, PT5M.
CREATE FUNCTION df._duration(p_interval interval) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT SET search_path = pg_catalog, pg_temp SET intervalstyle = 'iso_8601' AS $$
BEGIN
    RETURN p_interval::text;
END $$;

-- A JSON number that always has a point, so that identical intervals give identical text.
CREATE FUNCTION df._decimal(p_number text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT AS $$
    SELECT CASE WHEN p_number OPERATOR(pg_catalog.~) '[^0-9-]' THEN p_number ELSE p_number OPERATOR(pg_catalog.||) '.0' END
$$;

-- The seconds of an interval; null stays null, which the check names.
CREATE FUNCTION df._seconds(p_interval interval) RETURNS text
LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    IF p_interval IS NULL THEN
        RETURN 'null';
    ELSIF NOT pg_catalog.isfinite(p_interval) THEN
        RAISE EXCEPTION 'interval must be finite, got "%"', p_interval USING ERRCODE = '22008';
    ELSIF p_interval OPERATOR(pg_catalog.>) interval '1000 years' THEN
        RAISE EXCEPTION 'interval "%" is longer than 1000 years', df._duration(p_interval) USING ERRCODE = '22008';
    END IF;
    RETURN df._decimal(pg_catalog.trim_scale(EXTRACT(epoch FROM p_interval)::numeric)::pg_catalog.text);
END $$;


-- ---------------------------------------------------------------------------------------------
-- What a node's configuration may be

-- What is wrong with a positive number of seconds; NULL: nothing.
CREATE FUNCTION df._seconds_problem(p_name text, p_value jsonb) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE
        WHEN jsonb_typeof(p_value) IS DISTINCT FROM 'number' THEN p_name || ' must be an interval, not null'
        WHEN (p_value #>> '{}')::numeric <= 0 THEN format('%s must be positive, got %s s', p_name, p_value)
        WHEN (p_value #>> '{}')::numeric > 31557600000 THEN p_name || ' is longer than 1000 years' END
$$;

CREATE FUNCTION df._count_problem(p_name text, p_value jsonb, p_least integer) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE
        WHEN jsonb_typeof(p_value) IS DISTINCT FROM 'number' THEN p_name || ' must be a number, not null'
        WHEN p_value::text !~ '^-?[0-9]{1,10}$' THEN format('%s must be an integer, got %s', p_name, p_value)
        WHEN p_value::bigint < p_least THEN format('%s must be at least %s, got %s', p_name, p_least, p_value) END
$$;

-- SQLSTATEs, their classes and prefixes, and the names of failures outside the database.
CREATE FUNCTION df._retry_on_problem(p_value jsonb) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_entry jsonb;
BEGIN
    IF jsonb_typeof(p_value) IS DISTINCT FROM 'array' THEN
        RETURN CASE WHEN p_value <> 'null' THEN 'retry_on must be an array' END;
    ELSIF p_value = '[]' THEN
        RETURN 'retry_on cannot be empty: without it the transient failures are retried';
    END IF;
    FOR v_entry IN SELECT jsonb_array_elements(p_value) LOOP
        IF (jsonb_typeof(v_entry) = 'string' AND v_entry #>> '{}' ~
            '^([0-9A-Z]{5}|[0-9A-Z]{2}|[0-9A-Z]{4}x|[0-9A-Z]{3}xx|[0-9A-Z]{2}xxx|http_5xx|http_429|timeout|network)$') IS NOT TRUE
        THEN
            RETURN format('retry_on takes SQLSTATEs such as 40001, classes such as 40, prefixes such as 57P0x, '
                'and http_5xx, http_429, timeout, network; got %s', v_entry);
        END IF;
    END LOOP;
    RETURN NULL;
END $$;

-- What is wrong with the query of a node of this file; NULL: nothing.
CREATE FUNCTION df._failures_problem(p_type text, p_query text, p_config jsonb) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN CASE p_type
    WHEN 'RETRY' THEN coalesce(
        df._count_problem('max_attempts', p_config -> 'max_attempts', 1),
        df._seconds_problem('backoff', p_config -> 'backoff'),
        CASE WHEN jsonb_typeof(p_config -> 'factor') IS DISTINCT FROM 'number' THEN 'factor must be a number, not null'
             WHEN (p_config ->> 'factor')::numeric NOT BETWEEN 1 AND 1000000 THEN
                 format('factor must be at least 1 and at most 1000000, got %s', p_config -> 'factor') END,
        df._seconds_problem('max_backoff', p_config -> 'max_backoff'),
        CASE WHEN jsonb_typeof(p_config -> 'jitter') IS DISTINCT FROM 'boolean' THEN 'jitter must be true or false' END,
        df._retry_on_problem(p_config -> 'retry_on'))
    WHEN 'TIMEOUT' THEN df._seconds_problem('timeout', p_config -> 'seconds')
    WHEN 'MAP' THEN coalesce(
        df._count_problem('max_concurrency', p_config -> 'max_concurrency', 1),
        df._count_problem('tolerate', p_config -> 'tolerate', 0))
    WHEN 'WAIT_CONDITION' THEN coalesce(
        CASE WHEN (jsonb_typeof(p_config -> 'query') = 'string' AND p_config ->> 'query' ~ '[^[:space:];]') IS NOT TRUE THEN
            'query of df.wait_for_condition() cannot be empty' END,
        df._seconds_problem('check_every', p_config -> 'check_every'))
    WHEN 'SLEEP_UNTIL' THEN
        CASE WHEN (p_query ~ '^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+[+-][0-9:]+$' AND df._is_time(p_query)) IS NOT TRUE THEN
            format('sleep_until needs a time, got %s', coalesce(quote_literal(p_query), 'null')) END
    END;
END $$;

CREATE FUNCTION df._is_time(p_text text) RETURNS boolean
LANGUAGE plpgsql STABLE STRICT SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN p_text::timestamptz IS NOT NULL;
EXCEPTION WHEN data_exception THEN
    RETURN false;
END $$;

-- What is wrong with the duration of a SLEEP that counts no seconds; NULL: nothing.
CREATE FUNCTION df._duration_problem(p_query text) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF (p_query ~ '^P[-0-9.YMWDTHS]+$') IS NOT TRUE THEN
        RETURN format('sleep duration must be non-negative and at most 1000 years, got %s',
            coalesce(quote_literal(p_query), 'none'));
    ELSIF p_query::interval < interval '0' THEN
        RETURN format('sleep duration must be non-negative, got %s', p_query);
    ELSIF p_query::interval > interval '1000 years' THEN
        RETURN format('sleep duration of %s is longer than 1000 years', p_query);
    END IF;
    RETURN NULL;
EXCEPTION WHEN data_exception THEN
    RETURN format('invalid sleep duration %L', p_query);
END $$;

-- A node around another one, with its configuration checked.
CREATE FUNCTION df._around(p_type text, p_config text, p_children text) RETURNS text
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    v_problem pg_catalog.text := df._failures_problem(p_type, NULL, p_config::pg_catalog.jsonb);
BEGIN
    IF v_problem IS NOT NULL THEN
        RAISE EXCEPTION '%', v_problem
            USING ERRCODE = CASE WHEN pg_catalog.strpos(v_problem, 'null') OPERATOR(pg_catalog.>) 0 THEN '22004' ELSE '22023' END;
    END IF;
    RETURN '{"node_type":"' OPERATOR(pg_catalog.||) p_type OPERATOR(pg_catalog.||) '","query":'
        OPERATOR(pg_catalog.||) pg_catalog.to_json(p_config)::pg_catalog.text
        OPERATOR(pg_catalog.||) (p_children OPERATOR(pg_catalog.||) '}');
END $$;


-- ---------------------------------------------------------------------------------------------
-- Failures

CREATE FUNCTION df._required(p_node text, p_what text) RETURNS text
LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    IF p_node IS NULL THEN
        RAISE EXCEPTION '% must not be null', p_what USING ERRCODE = '22004';
    END IF;
    RETURN df._node(p_node);
END $$;

CREATE FUNCTION df.retry(
    node text, max_attempts integer DEFAULT 3, backoff interval DEFAULT '1 second',
    factor double precision DEFAULT 2.0, max_backoff interval DEFAULT '5 minutes',
    jitter boolean DEFAULT true, retry_on text[] DEFAULT NULL)
RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    IF factor::pg_catalog.text OPERATOR(pg_catalog.~) '^(NaN|-?Infinity)$' THEN
        RAISE EXCEPTION 'factor must be at least 1 and at most 1000000, got %', factor USING ERRCODE = '22023';
    END IF;
    RETURN df._around('RETRY', pg_catalog.concat(
            '{"max_attempts":', COALESCE(max_attempts::pg_catalog.text, 'null'),
            ',"backoff":', df._seconds(backoff),
            ',"factor":', COALESCE(df._decimal(factor::pg_catalog.text), 'null'),
            ',"max_backoff":', df._seconds(max_backoff),
            ',"jitter":', COALESCE(jitter::pg_catalog.text, 'null'),
            ',"retry_on":', COALESCE(pg_catalog.to_json(retry_on)::pg_catalog.text, 'null'), '}'),
        ',"left_node":' OPERATOR(pg_catalog.||) df._required(node, 'node of df.retry()'));
END $$;

CREATE FUNCTION df.timeout(node text, after interval) RETURNS text
LANGUAGE plpgsql AS $$
BEGIN
    RETURN df._around('TIMEOUT', pg_catalog.concat('{"seconds":', df._seconds(after), '}'),
        ',"left_node":' OPERATOR(pg_catalog.||) df._required(node, 'node of df.timeout()'));
END $$;

CREATE FUNCTION df.catch(node text, handler text) RETURNS text
LANGUAGE plpgsql STRICT AS $$
BEGIN
    RETURN '{"node_type":"CATCH","left_node":' OPERATOR(pg_catalog.||) df._node(node)
        OPERATOR(pg_catalog.||) (',"right_node":' OPERATOR(pg_catalog.||) df._node(handler) OPERATOR(pg_catalog.||) '}');
END $$;

CREATE FUNCTION df.finally(node text, cleanup text) RETURNS text
LANGUAGE plpgsql STRICT AS $$
BEGIN
    RETURN '{"node_type":"FINALLY","left_node":' OPERATOR(pg_catalog.||) df._node(node)
        OPERATOR(pg_catalog.||) (',"right_node":' OPERATOR(pg_catalog.||) df._node(cleanup) OPERATOR(pg_catalog.||) '}');
END $$;

CREATE FUNCTION df.compensate(node text, undo text) RETURNS text
LANGUAGE plpgsql STRICT AS $$
BEGIN
    RETURN '{"node_type":"COMPENSATE","left_node":' OPERATOR(pg_catalog.||) df._node(node)
        OPERATOR(pg_catalog.||) (',"right_node":' OPERATOR(pg_catalog.||) df._node(undo) OPERATOR(pg_catalog.||) '}');
END $$;

CREATE FUNCTION df.saga(node text) RETURNS text
LANGUAGE plpgsql STRICT AS $$
BEGIN
    RETURN '{"node_type":"SAGA","left_node":' OPERATOR(pg_catalog.||) (df._node(node) OPERATOR(pg_catalog.||) '}');
END $$;

CREATE OPERATOR df.<-> (FUNCTION = df.compensate, LEFTARG = text, RIGHTARG = text);


-- ---------------------------------------------------------------------------------------------
-- Fan-out

-- A node whose children are any number of nodes, at least one.
CREATE FUNCTION df._branching(p_function text, p_type text, p_nodes text[]) RETURNS text
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    -- in one dimension, from 1
    v_nodes pg_catalog.text[] := ARRAY(SELECT df._node(u.node) FROM pg_catalog.unnest(p_nodes) WITH ORDINALITY u (node, n) ORDER BY u.n);
    v_null  integer := pg_catalog.array_position(v_nodes, NULL);
BEGIN
    IF p_nodes IS NULL THEN
        RAISE EXCEPTION 'nodes of %() must not be null', p_function USING ERRCODE = '22004';
    ELSIF v_null IS NOT NULL THEN
        RAISE EXCEPTION 'node % of %() must not be null', v_null, p_function USING ERRCODE = '22004';
    ELSIF pg_catalog.cardinality(v_nodes) OPERATOR(pg_catalog.=) 0 THEN
        RAISE EXCEPTION '%() needs at least one node', p_function USING ERRCODE = '22023';
    END IF;
    RETURN pg_catalog.concat('{"node_type":"', p_type, '","left_node":', v_nodes[1],
        ',"right_node":' OPERATOR(pg_catalog.||) v_nodes[2],
        CASE WHEN pg_catalog.cardinality(v_nodes) OPERATOR(pg_catalog.>) 2 THEN
            pg_catalog.concat(',"extra_nodes":[', pg_catalog.array_to_string(v_nodes[3:], ','), ']') END,
        '}');
END $$;

-- The node, if it is a SQL step.
CREATE FUNCTION df._only_sql(p_node text, p_what text, p_hint text) RETURNS text
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    v_node pg_catalog.text := df._node(p_node);
    v_type pg_catalog.text := v_node::pg_catalog.json OPERATOR(pg_catalog.->>) 'node_type';
BEGIN
    IF v_type OPERATOR(pg_catalog.<>) 'SQL' THEN
        RAISE EXCEPTION '%, not %', p_what, v_type USING ERRCODE = '0A000', HINT = p_hint;
    END IF;
    RETURN v_node;
END $$;

-- The default lets the call without any node through to our own error.
CREATE FUNCTION df.parallel(VARIADIC nodes text[] DEFAULT '{}') RETURNS text
LANGUAGE plpgsql AS $$
BEGIN
    RETURN df._branching('df.parallel', 'JOIN', nodes);
END $$;

CREATE FUNCTION df.any(VARIADIC nodes text[] DEFAULT '{}') RETURNS text
LANGUAGE plpgsql AS $$
BEGIN
    RETURN df._branching('df.any', 'ANY', nodes);
END $$;

CREATE FUNCTION df.transaction(VARIADIC nodes text[] DEFAULT '{}') RETURNS text
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM df._only_sql(u.node, 'only SQL steps can be in df.transaction()',
        'Everything in it is one transaction of one session. Put waits, calls and choices around it.')
    FROM pg_catalog.unnest(nodes) u (node);
    RETURN df._branching('df.transaction', 'TRANSACTION', nodes);
END $$;

CREATE FUNCTION df.map(
    source_query text, body text, max_concurrency integer DEFAULT 10, tolerate integer DEFAULT 0)
RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM df._required(source_query, 'source query of df.map()');
    RETURN df._around('MAP', pg_catalog.concat(
            '{"max_concurrency":', COALESCE(max_concurrency::pg_catalog.text, 'null'),
            ',"tolerate":', COALESCE(tolerate::pg_catalog.text, 'null'), '}'),
        pg_catalog.concat(
            ',"condition_node":', df._only_sql(source_query, 'the source of df.map() must be a SQL query',
                'Its rows are the items: the body runs once for each.'),
            ',"left_node":', df._required(body, 'body of df.map()')));
END $$;


-- ---------------------------------------------------------------------------------------------
-- Waits

CREATE FUNCTION df.sleep(duration interval) RETURNS text
LANGUAGE plpgsql STRICT AS $$
DECLARE
    v_query   pg_catalog.text := df._duration(duration);
    v_problem pg_catalog.text := df._duration_problem(v_query);
BEGIN
    IF v_problem IS NOT NULL THEN
        RAISE EXCEPTION '%', v_problem
            USING ERRCODE = CASE WHEN duration OPERATOR(pg_catalog.<) interval '0' THEN '22023' ELSE '22008' END;
    END IF;
    RETURN df._leaf('SLEEP', v_query);
END $$;

-- A literal without a type: with bigint and interval alone it would be ambiguous. What reads as a
-- number of seconds is one.
CREATE FUNCTION df.sleep(value text) RETURNS text
LANGUAGE plpgsql STRICT AS $$
BEGIN
    IF value OPERATOR(pg_catalog.~) E'^\\s*[-+]?[0-9]+\\s*$' THEN
        RETURN df.sleep(value::bigint);
    END IF;
    RETURN df.sleep(value::interval);
END $$;

CREATE FUNCTION df.sleep_until(at timestamptz) RETURNS text
LANGUAGE plpgsql STRICT AS $$
BEGIN
    IF NOT pg_catalog.isfinite(at) OR at OPERATOR(pg_catalog.<) timestamptz '0001-01-01 00:00:00+00'
        OR at OPERATOR(pg_catalog.>=) timestamptz '9999-01-01 00:00:00+00'
    THEN
        RAISE EXCEPTION 'sleep_until needs a time between the years 1 and 9999, got %', at USING ERRCODE = '22008';
    END IF;
    RETURN df._leaf('SLEEP_UNTIL',
        (pg_catalog.to_json(pg_catalog.timezone('UTC', at)) OPERATOR(pg_catalog.#>>) '{}') OPERATOR(pg_catalog.||) '+00:00');
END $$;

CREATE FUNCTION df.wait_for_condition(query text, check_every interval DEFAULT '10 seconds') RETURNS text
LANGUAGE plpgsql AS $$
BEGIN
    IF query IS NULL THEN
        RAISE EXCEPTION 'query of df.wait_for_condition() must not be null' USING ERRCODE = '22004';
    ELSIF pg_catalog.starts_with(query, '{"node_type":"') THEN
        RAISE EXCEPTION 'df.wait_for_condition() takes the text of a query, not a node' USING ERRCODE = '22023',
            HINT = 'It is asked again and again, so it must be one query that changes nothing.';
    END IF;
    RETURN df._around('WAIT_CONDITION', pg_catalog.concat(
            '{"query":', pg_catalog.to_json(query)::pg_catalog.text,
            ',"check_every":', df._seconds(check_every), '}'),
        '');
END $$;
