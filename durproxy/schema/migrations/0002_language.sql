-- The language: constructors and operators that build a graph as JSON text, and its check.
--
-- Rules of this file
-- * Text in, text out. Constructors touch no table; what they return is text that df.start takes,
--   or that the next constructor puts inside its own. They never parse what they are given when it
--   begins as they themselves write nodes, so a chain of n steps costs n copies and no parsing.
-- * Whoever sees the text last checks it: df._check_graph, called by the trigger on df._instances.
-- * Keys stand in this order: node_type, query, condition_node, left_node, right_node,
--   extra_nodes, result_name; no spaces. Identical expressions give identical text.
-- * These functions run as their caller, under any search_path: every function, operator and type
--   is written with its schema. A SET clause would cost more than the function itself.
-- * One expression per function where it can be: PL/pgSQL prepares each anew in every transaction,
--   which costs more than running it.

-- What the proxy puts in front of a call that cannot run: the server raises our error where the
-- call stood, with the same parameters and result type. IMMUTABLE: raised when planned, before any
-- row is read.
CREATE FUNCTION df._refuse(p_error text) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT AS $$
DECLARE
    v_error   pg_catalog.json := p_error::pg_catalog.json;
    v_state   pg_catalog.text := COALESCE(v_error OPERATOR(pg_catalog.->>) 'sqlstate', '22023');
    v_message pg_catalog.text := COALESCE(v_error OPERATOR(pg_catalog.->>) 'message', 'refused');
    v_detail  pg_catalog.text := v_error OPERATOR(pg_catalog.->>) 'detail';
    v_hint    pg_catalog.text := v_error OPERATOR(pg_catalog.->>) 'hint';
BEGIN
    -- RAISE takes no NULL, and would send an empty field for ''
    IF v_detail IS NULL AND v_hint IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = v_state, MESSAGE = v_message;
    ELSIF v_hint IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = v_state, MESSAGE = v_message, DETAIL = v_detail;
    ELSIF v_detail IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = v_state, MESSAGE = v_message, HINT = v_hint;
    END IF;
    RAISE EXCEPTION USING ERRCODE = v_state, MESSAGE = v_message, DETAIL = v_detail, HINT = v_hint;
END $$;

CREATE FUNCTION df._is_node_type(p_type text) RETURNS boolean
LANGUAGE sql IMMUTABLE AS $$
    SELECT p_type OPERATOR(pg_catalog.=) ANY (pg_catalog.string_to_array(
        'SQL,THEN,IF,JOIN,RACE,LOOP,BREAK,SLEEP,WAIT_SCHEDULE,SIGNAL,HTTP,HTTP_MULTIPART,'
        'RETRY,TIMEOUT,CATCH,FINALLY,COMPENSATE,SAGA,ANY,MAP,TRANSACTION,SLEEP_UNTIL,WAIT_CONDITION', ','))
$$;

-- Text that begins with a brace but not as our constructors write it: a node that somebody wrote
-- or reformatted by hand, or no node at all. The rare path, so it may parse.
CREATE FUNCTION df._foreign_node(p_text text) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT AS $$
DECLARE
    v_type pg_catalog.text;
BEGIN
    BEGIN
        v_type := p_text::pg_catalog.json OPERATOR(pg_catalog.->>) 'node_type';
    EXCEPTION WHEN invalid_text_representation THEN
        v_type := NULL;
    END;
    IF v_type IS NULL THEN
        RETURN '{"node_type":"SQL","query":'
            OPERATOR(pg_catalog.||) pg_catalog.to_json(p_text)::pg_catalog.text OPERATOR(pg_catalog.||) '}';
    ELSIF NOT df._is_node_type(v_type) THEN
        RAISE EXCEPTION 'Unknown node_type ''%''', v_type
            USING ERRCODE = '22023', HINT = 'Text that is a JSON object with "node_type" is taken as a node.';
    END IF;
    RETURN pg_catalog.btrim(p_text, E' \t\r\n');
END $$;

-- Auto-wrap: text that is a node stays, all other text is a SQL step.
CREATE FUNCTION df._node(p_text text) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT AS $$
BEGIN
    RETURN CASE
        WHEN pg_catalog.starts_with(p_text, '{"node_type":"')
            AND df._is_node_type(pg_catalog.split_part(pg_catalog.left(p_text, 80), '"', 4))
        THEN p_text
        WHEN pg_catalog.starts_with(pg_catalog.ltrim(pg_catalog.left(p_text, 200), E' \t\r\n'), '{')
        THEN df._foreign_node(p_text)
        ELSE '{"node_type":"SQL","query":'
            OPERATOR(pg_catalog.||) pg_catalog.to_json(p_text)::pg_catalog.text OPERATOR(pg_catalog.||) '}'
        END;
END $$;

CREATE FUNCTION df._leaf(p_type text, p_query text) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT AS $$
BEGIN
    RETURN '{"node_type":"' OPERATOR(pg_catalog.||) p_type OPERATOR(pg_catalog.||) '","query":'
        OPERATOR(pg_catalog.||) pg_catalog.to_json(p_query)::pg_catalog.text OPERATOR(pg_catalog.||) '}';
END $$;

-- The name, when it is one.
CREATE FUNCTION df._checked_name(p_name text) RETURNS text
LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    IF p_name OPERATOR(pg_catalog.~) '^[A-Za-z_][A-Za-z0-9_]*$' THEN
        RETURN p_name;
    ELSIF p_name OPERATOR(pg_catalog.<>) '' THEN
        RAISE EXCEPTION 'result name "%" is not a valid identifier', p_name
            USING ERRCODE = '22023',
                  HINT = 'A name begins with a letter or an underscore and goes on with letters, digits and underscores.';
    END IF;
    RAISE EXCEPTION 'result name cannot be empty' USING ERRCODE = '22023';
END $$;


-- Leaves

CREATE FUNCTION df.sql(query text) RETURNS text
LANGUAGE plpgsql STRICT AS $$
BEGIN
    RETURN df._leaf('SQL', query);
END $$;

CREATE FUNCTION df.sleep(seconds bigint) RETURNS text
LANGUAGE plpgsql STRICT AS $$
BEGIN
    IF seconds OPERATOR(pg_catalog.<) 0 THEN
        RAISE EXCEPTION 'sleep duration must be non-negative, got %', seconds USING ERRCODE = '22023';
    ELSIF seconds OPERATOR(pg_catalog.>) 31557600000 THEN  -- keeps the due time inside timestamptz
        RAISE EXCEPTION 'sleep duration of % seconds is longer than 1000 years', seconds USING ERRCODE = '22008';
    END IF;
    RETURN df._leaf('SLEEP', seconds::pg_catalog.text);
END $$;

CREATE FUNCTION df.wait_for_signal(name text, timeout_seconds integer DEFAULT NULL) RETURNS text
LANGUAGE plpgsql AS $$
BEGIN
    IF name IS NULL OR name OPERATOR(pg_catalog.=) '' THEN
        RAISE EXCEPTION 'Signal name cannot be empty' USING ERRCODE = '22023';
    ELSIF timeout_seconds OPERATOR(pg_catalog.<=) 0 THEN
        RAISE EXCEPTION 'Timeout must be positive, got %', timeout_seconds USING ERRCODE = '22023';
    END IF;
    RETURN df._leaf('SIGNAL', '{"signal_name":'
        OPERATOR(pg_catalog.||) pg_catalog.to_json(name)::pg_catalog.text
        OPERATOR(pg_catalog.||) ',"timeout_seconds":'
        OPERATOR(pg_catalog.||) COALESCE(timeout_seconds::pg_catalog.text, 'null')
        OPERATOR(pg_catalog.||) '}');
END $$;

CREATE FUNCTION df.break(value text DEFAULT NULL) RETURNS text
LANGUAGE plpgsql AS $$
BEGIN
    RETURN df._leaf('BREAK', '{"break_value":'
        OPERATOR(pg_catalog.||) COALESCE(pg_catalog.to_json(value)::pg_catalog.text, 'null')
        OPERATOR(pg_catalog.||) '}');
END $$;


-- Composites. The brackets in the concatenations keep the long left side from being copied twice.

CREATE FUNCTION df.seq(a text, b text) RETURNS text
LANGUAGE plpgsql STRICT AS $$
BEGIN
    RETURN '{"node_type":"THEN","left_node":' OPERATOR(pg_catalog.||) df._node(a)
        OPERATOR(pg_catalog.||) (',"right_node":' OPERATOR(pg_catalog.||) df._node(b) OPERATOR(pg_catalog.||) '}');
END $$;

CREATE FUNCTION df.join(a text, b text) RETURNS text
LANGUAGE plpgsql STRICT AS $$
BEGIN
    RETURN '{"node_type":"JOIN","left_node":' OPERATOR(pg_catalog.||) df._node(a)
        OPERATOR(pg_catalog.||) (',"right_node":' OPERATOR(pg_catalog.||) df._node(b) OPERATOR(pg_catalog.||) '}');
END $$;

CREATE FUNCTION df.join3(a text, b text, c text) RETURNS text
LANGUAGE plpgsql STRICT AS $$
BEGIN
    RETURN '{"node_type":"JOIN","left_node":' OPERATOR(pg_catalog.||) df._node(a)
        OPERATOR(pg_catalog.||) ',"right_node":' OPERATOR(pg_catalog.||) df._node(b)
        OPERATOR(pg_catalog.||) ',"extra_nodes":[' OPERATOR(pg_catalog.||) df._node(c)
        OPERATOR(pg_catalog.||) ']}';
END $$;

CREATE FUNCTION df.race(a text, b text) RETURNS text
LANGUAGE plpgsql STRICT AS $$
BEGIN
    RETURN '{"node_type":"RACE","left_node":' OPERATOR(pg_catalog.||) df._node(a)
        OPERATOR(pg_catalog.||) (',"right_node":' OPERATOR(pg_catalog.||) df._node(b) OPERATOR(pg_catalog.||) '}');
END $$;

CREATE FUNCTION df.if(condition text, then_branch text, else_branch text) RETURNS text
LANGUAGE plpgsql STRICT AS $$
BEGIN
    RETURN '{"node_type":"IF","condition_node":' OPERATOR(pg_catalog.||) df._node(condition)
        OPERATOR(pg_catalog.||) ',"left_node":' OPERATOR(pg_catalog.||) df._node(then_branch)
        OPERATOR(pg_catalog.||) ',"right_node":' OPERATOR(pg_catalog.||) df._node(else_branch)
        OPERATOR(pg_catalog.||) '}';
END $$;

CREATE FUNCTION df.if_rows(result_name text, then_branch text, else_branch text) RETURNS text
LANGUAGE plpgsql STRICT AS $$
BEGIN
    RETURN '{"node_type":"IF","query":'
        OPERATOR(pg_catalog.||) pg_catalog.to_json(
            '{"condition_type":"result_has_rows","result_name":"'
            OPERATOR(pg_catalog.||) df._checked_name(result_name) OPERATOR(pg_catalog.||) '"}')::pg_catalog.text
        OPERATOR(pg_catalog.||) ',"left_node":' OPERATOR(pg_catalog.||) df._node(then_branch)
        OPERATOR(pg_catalog.||) ',"right_node":' OPERATOR(pg_catalog.||) df._node(else_branch)
        OPERATOR(pg_catalog.||) '}';
END $$;

CREATE FUNCTION df.loop(body text, condition text DEFAULT NULL) RETURNS text
LANGUAGE plpgsql AS $$
BEGIN
    IF body IS NULL THEN
        RAISE EXCEPTION 'loop body must not be null' USING ERRCODE = '22004';
    END IF;
    RETURN '{"node_type":"LOOP",'
        OPERATOR(pg_catalog.||) COALESCE(
            '"condition_node":' OPERATOR(pg_catalog.||) df._node(condition) OPERATOR(pg_catalog.||) ',', '')
        OPERATOR(pg_catalog.||) '"left_node":' OPERATOR(pg_catalog.||) df._node(body)
        OPERATOR(pg_catalog.||) '}';
END $$;

-- Names a node: result_name is its last key, so that naming again replaces it. Works on bytes:
-- counting the characters of a long graph takes twenty times as long as copying it.
CREATE FUNCTION df._named(p_node text, p_name text) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT AS $$
DECLARE
    v_encoding pg_catalog.name := pg_catalog.getdatabaseencoding();
    v_bytes    pg_catalog.bytea := pg_catalog.convert_to(p_node, v_encoding);
    v_length   integer := pg_catalog.octet_length(v_bytes);
BEGIN
    RETURN pg_catalog.convert_from(
            pg_catalog.substr(v_bytes, 1, v_length OPERATOR(pg_catalog.-) COALESCE(
                pg_catalog.length(pg_catalog.substring(
                    pg_catalog.encode(pg_catalog.substr(v_bytes, GREATEST(v_length OPERATOR(pg_catalog.-) 400, 1)), 'escape'),
                    E',"result_name":"[A-Za-z0-9_]+"\\}$')),
                1)),
            v_encoding)
        OPERATOR(pg_catalog.||) (',"result_name":"' OPERATOR(pg_catalog.||) df._checked_name(p_name) OPERATOR(pg_catalog.||) '"}');
END $$;

CREATE FUNCTION df.as(fut text, name text) RETURNS text
LANGUAGE plpgsql STRICT AS $$
BEGIN
    RETURN df._named(df._node(fut), name);
END $$;


-- Operators. All share Postgres's one level for "any other operator" and associate to the left.

CREATE FUNCTION df.as_op(fut text, name text) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT AS $$
BEGIN
    RETURN df._named(df._node(fut), name);
END $$;

CREATE FUNCTION df.loop_prefix_op(body text) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT AS $$
BEGIN
    RETURN '{"node_type":"LOOP","left_node":' OPERATOR(pg_catalog.||) df._node(body) OPERATOR(pg_catalog.||) '}';
END $$;

-- c ?> t, which an !> may complete; used as it is, it is an IF without else.
CREATE FUNCTION df.if_then_op(condition text, then_branch text) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT AS $$
BEGIN
    RETURN '{"node_type":"IF","_partial_if":true,"condition_node":'
        OPERATOR(pg_catalog.||) df._node(condition)
        OPERATOR(pg_catalog.||) ',"left_node":' OPERATOR(pg_catalog.||) df._node(then_branch)
        OPERATOR(pg_catalog.||) '}';
END $$;

CREATE FUNCTION df.if_else_op(partial_if text, else_branch text) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT AS $$
DECLARE
    v_node pg_catalog.jsonb;
    v_if   pg_catalog.json;
    v_name pg_catalog.text;
BEGIN
    BEGIN
        v_if := partial_if::pg_catalog.json;
        v_node := partial_if::pg_catalog.jsonb;
    EXCEPTION WHEN data_exception THEN
        NULL;  -- plain SQL, or broken: answered below
    END;
    IF (v_node OPERATOR(pg_catalog.@>) '{"node_type":"IF","_partial_if":true}') IS NOT TRUE THEN
        RAISE EXCEPTION 'the left side of !> must be a ?> expression'
            USING ERRCODE = '22023',
                  DETAIL = 'The operators of df share one precedence and associate to the left.',
                  HINT = 'Write c ?> (a ~> b) !> e with parentheses around a branch of several steps.';
    END IF;
    v_name := v_node OPERATOR(pg_catalog.->>) 'result_name';
    RETURN '{"node_type":"IF","condition_node":'
        OPERATOR(pg_catalog.||) (v_if OPERATOR(pg_catalog.->) 'condition_node')::pg_catalog.text
        OPERATOR(pg_catalog.||) ',"left_node":'
        OPERATOR(pg_catalog.||) (v_if OPERATOR(pg_catalog.->) 'left_node')::pg_catalog.text
        OPERATOR(pg_catalog.||) ',"right_node":' OPERATOR(pg_catalog.||) df._node(else_branch)
        OPERATOR(pg_catalog.||) COALESCE(
            ',"result_name":' OPERATOR(pg_catalog.||) pg_catalog.to_json(v_name)::pg_catalog.text, '')
        OPERATOR(pg_catalog.||) '}';
END $$;

CREATE OPERATOR df.~>  (FUNCTION = df.seq,            LEFTARG = text, RIGHTARG = text);
CREATE OPERATOR df.&   (FUNCTION = df.join,           LEFTARG = text, RIGHTARG = text);
CREATE OPERATOR df.|   (FUNCTION = df.race,           LEFTARG = text, RIGHTARG = text);
CREATE OPERATOR df.|=> (FUNCTION = df.as_op,          LEFTARG = text, RIGHTARG = text);
CREATE OPERATOR df.?>  (FUNCTION = df.if_then_op,     LEFTARG = text, RIGHTARG = text);
CREATE OPERATOR df.!>  (FUNCTION = df.if_else_op,     LEFTARG = text, RIGHTARG = text);
CREATE OPERATOR df.@>  (FUNCTION = df.loop_prefix_op, RIGHTARG = text);


-- The check of a whole graph, whoever wrote it: a direct INSERT does not pass our constructors.
-- One flat walk with its own stack, since a recursive one meets max_stack_depth; nodes are counted
-- in preorder, so the number in an error is the node's number everywhere.
-- Callers fix the search_path: the trigger on df._instances and df.explain.

CREATE FUNCTION df._bad_node(p_node integer, p_message text, p_state text DEFAULT '22023', p_hint text DEFAULT NULL)
RETURNS void LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    PERFORM df._refuse(json_strip_nulls(json_build_object('sqlstate', p_state, 'message', p_message, 'hint', p_hint,
        'detail', 'At node ' || lpad(to_hex(p_node), 8, '0') || ', number ' || p_node || ' of the graph in preorder.'))::text);
END $$;

-- The query of these node types is itself JSON.
CREATE FUNCTION df._node_config(p_node integer, p_type text, p_query text) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    IF p_query IS NOT NULL AND jsonb_typeof(p_query::jsonb) = 'object' THEN
        RETURN p_query::jsonb;
    END IF;
    PERFORM df._bad_node(p_node, 'query of ' || p_type || ' must be valid JSON config');
EXCEPTION WHEN invalid_text_representation OR untranslatable_character THEN
    PERFORM df._bad_node(p_node, 'query of ' || p_type || ' must be valid JSON config');
END $$;

-- What a node must have by itself; its children are looked at when the walk reaches them.
CREATE FUNCTION df._check_node(p_number integer, p_type text, p_node jsonb) RETURNS void
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    v_query  text := p_node ->> 'query';
    v_config jsonb;
BEGIN
    IF p_node ? 'query' AND jsonb_typeof(p_node -> 'query') NOT IN ('string', 'null') THEN
        PERFORM df._bad_node(p_number, 'query of ' || p_type || ' must be a string');
    ELSIF p_node ? 'condition_node' AND p_type NOT IN ('IF', 'LOOP', 'MAP') THEN
        PERFORM df._bad_node(p_number, 'a ' || p_type || ' node takes no condition_node');
    ELSIF p_node ? 'extra_nodes' AND (p_type NOT IN ('JOIN', 'RACE', 'ANY', 'TRANSACTION') OR NOT p_node ? 'right_node') THEN
        PERFORM df._bad_node(p_number, 'a ' || p_type || ' node takes no extra_nodes'
            || CASE WHEN p_type IN ('JOIN', 'RACE', 'ANY', 'TRANSACTION') THEN ' without right_node' ELSE '' END);
    ELSIF p_type IN ('THEN', 'RACE', 'CATCH', 'FINALLY', 'COMPENSATE') AND NOT p_node ?& '{left_node,right_node}' THEN
        PERFORM df._bad_node(p_number, 'a ' || p_type || ' node needs left_node and right_node');
    ELSIF p_type IN ('IF', 'LOOP', 'JOIN', 'ANY', 'TRANSACTION', 'RETRY', 'TIMEOUT', 'SAGA', 'MAP') AND NOT p_node ? 'left_node' THEN
        PERFORM df._bad_node(p_number, 'a ' || p_type || ' node needs left_node');
    ELSIF p_type IN ('RETRY', 'TIMEOUT', 'SAGA', 'MAP') AND p_node ? 'right_node' THEN
        PERFORM df._bad_node(p_number, 'a ' || p_type || ' node takes no right_node');
    ELSIF p_type = 'MAP' AND (p_node -> 'condition_node' ->> 'node_type' = 'SQL') IS NOT TRUE THEN
        PERFORM df._bad_node(p_number, 'the source of df.map() must be a SQL query', '0A000',
            'Its rows are the items: the body runs once for each.');
    END IF;
    IF p_type = 'SQL' AND v_query IS NULL THEN
        PERFORM df._bad_node(p_number, 'a SQL node needs a query');
    ELSIF p_type = 'SLEEP' AND starts_with(v_query, 'P') THEN
        IF df._duration_problem(v_query) IS NOT NULL THEN
            PERFORM df._bad_node(p_number, df._duration_problem(v_query));
        END IF;
    ELSIF p_type = 'SLEEP' AND (v_query !~ '^[0-9]{1,11}$' OR v_query::bigint > 31557600000) IS NOT FALSE THEN
        PERFORM df._bad_node(p_number, format('sleep duration must be non-negative and at most 1000 years, got %s',
                                              coalesce(quote_literal(v_query), 'none')));
    ELSIF p_type NOT IN ('SQL', 'SLEEP', 'SLEEP_UNTIL') AND (v_query IS NOT NULL OR p_type IN (
        'SIGNAL', 'WAIT_SCHEDULE', 'HTTP', 'HTTP_MULTIPART', 'RETRY', 'TIMEOUT', 'MAP', 'WAIT_CONDITION'))
    THEN
        v_config := df._node_config(p_number, p_type, v_query);
    END IF;
    IF p_type = 'IF' AND NOT p_node ? 'condition_node' THEN
        IF (v_config @> '{"condition_type":"result_has_rows"}') IS NOT TRUE THEN
            PERFORM df._bad_node(p_number, 'an IF node needs a condition_node, or a condition_type with a result_name');
        END IF;
        PERFORM df._checked_name(v_config ->> 'result_name');
    ELSIF p_type = 'SIGNAL' THEN
        IF (jsonb_typeof(v_config -> 'signal_name') = 'string' AND v_config ->> 'signal_name' <> '') IS NOT TRUE THEN
            PERFORM df._bad_node(p_number, 'Signal name cannot be empty');
        ELSIF v_config ->> 'timeout_seconds' !~ '^0*[1-9][0-9]{0,9}$' THEN
            PERFORM df._bad_node(p_number, format('Timeout must be positive, got %s', v_config ->> 'timeout_seconds'));
        END IF;
    ELSIF p_type = 'WAIT_SCHEDULE' AND df._cron_problem(coalesce(v_config ->> 'cron_expr', '')) IS NOT NULL THEN
        PERFORM df._bad_node(p_number, format('Invalid cron expression "%s": %s', v_config ->> 'cron_expr',
            df._cron_problem(coalesce(v_config ->> 'cron_expr', ''))));
    ELSIF p_type IN ('HTTP', 'HTTP_MULTIPART') AND df._http_problem(p_type, v_config) IS NOT NULL THEN
        PERFORM df._bad_node(p_number, df._http_problem(p_type, v_config));
    ELSIF df._failures_problem(p_type, v_query, v_config) IS NOT NULL THEN
        PERFORM df._bad_node(p_number, df._failures_problem(p_type, v_query, v_config));
    END IF;
END $$;

-- What of the nodes around a node matters to it.
CREATE TYPE df._around_node AS (
    level    integer,   -- a chain of THEN counts as one
    leaves   text,      -- what a BREAK here leaves: loop, or what it cannot leave; NULL: nothing is around it
    repeats  text,      -- what runs a COMPENSATE here again and again, without a SAGA between
    sql_only boolean    -- a TRANSACTION is right above
);

CREATE FUNCTION df._around_child(p_around df._around_node, p_type text, p_slot text, p_child text) RETURNS df._around_node
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    v_inside df._around_node := p_around;
    v_wall   text := CASE
        WHEN p_type = 'MAP' THEN 'df.map()'
        WHEN p_type = 'ANY' THEN 'df.any()'
        WHEN p_type = 'FINALLY' AND p_slot = 'right_node' THEN 'the cleanup of df.finally()'
        WHEN p_type = 'COMPENSATE' AND p_slot = 'right_node' THEN 'the undo of df.compensate()' END;
BEGIN
    v_inside.level := p_around.level + CASE WHEN p_type = 'THEN' AND p_child = 'THEN' THEN 0 ELSE 1 END;
    v_inside.sql_only := p_type = 'TRANSACTION';
    IF p_type = 'LOOP' THEN
        v_inside.leaves := 'loop';
    ELSIF p_around.leaves IS NOT NULL THEN
        v_inside.leaves := coalesce(v_wall, p_around.leaves);
    END IF;
    IF p_type = 'SAGA' THEN
        v_inside.repeats := NULL;
    ELSIF p_type IN ('LOOP', 'RETRY', 'MAP') OR p_type = 'COMPENSATE' AND p_slot = 'right_node' THEN
        v_inside.repeats := p_type;
    END IF;
    RETURN v_inside;
END $$;

CREATE FUNCTION df._check_place(p_number integer, p_type text, p_around df._around_node) RETURNS void
LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    IF p_around.level > 256 THEN
        PERFORM df._bad_node(p_number, 'durable function exceeds the maximum nesting depth of 256', '54000');
    ELSIF p_number > 10000 THEN
        PERFORM df._bad_node(p_number, 'durable function exceeds the maximum node count of 10000', '54000');
    ELSIF p_type = 'BREAK' AND p_around.leaves IS NULL THEN
        PERFORM df._bad_node(p_number, 'df.break() is used outside of a loop');
    ELSIF p_type = 'BREAK' AND p_around.leaves <> 'loop' THEN
        PERFORM df._bad_node(p_number, format('df.break() cannot leave %s', p_around.leaves), '0A000',
            'Its loop must be inside, too.');
    ELSIF p_type = 'COMPENSATE' AND p_around.repeats IS NOT NULL THEN
        PERFORM df._bad_node(p_number, format('df.compensate() cannot be in %s, where it would run again and again',
            CASE p_around.repeats WHEN 'LOOP' THEN 'a loop' WHEN 'RETRY' THEN 'df.retry()' WHEN 'MAP' THEN 'df.map()'
                ELSE 'an undo' END), '0A000',
            'Put df.saga() around it, inside what is repeated.');
    ELSIF p_around.sql_only AND p_type <> 'SQL' THEN
        PERFORM df._bad_node(p_number, format('only SQL steps can be in df.transaction(), not %s', p_type), '0A000',
            'Everything in it is one transaction of one session. Put waits, calls and choices around it.');
    END IF;
END $$;

CREATE FUNCTION df._check_graph(p_graph json) RETURNS void
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    v_stack  jsonb[]   := ARRAY[p_graph::jsonb];
    v_around df._around_node[] := ARRAY[ROW(1, NULL, NULL, false)::df._around_node];
    v_top    integer   := 1;
    v_number integer   := 0;
    v_node   jsonb;
    v_child  jsonb;
    v_type   text;
    v_here   df._around_node;
    v_key    text;
BEGIN
    WHILE v_top > 0 LOOP
        v_node := v_stack[v_top];
        v_here := v_around[v_top];
        v_top := v_top - 1;
        v_number := v_number + 1;
        IF jsonb_typeof(v_node) <> 'object' THEN
            PERFORM df._bad_node(v_number, 'a node must be a JSON object, not ' || jsonb_typeof(v_node));
        END IF;
        v_type := v_node ->> 'node_type';
        IF NOT df._is_node_type(v_type) THEN
            PERFORM df._bad_node(v_number, format('Unknown node_type ''%s''', v_type));
        ELSIF v_type IS NULL THEN
            PERFORM df._bad_node(v_number, 'a node needs a node_type');
        END IF;
        IF v_number > 10000 OR v_here.level > 256 OR v_here.sql_only OR v_type IN ('BREAK', 'COMPENSATE') THEN
            PERFORM df._check_place(v_number, v_type, v_here);
        END IF;
        -- the common leaf first
        IF v_type <> 'SQL' OR jsonb_typeof(v_node -> 'query') IS DISTINCT FROM 'string'
            OR v_node ?| '{left_node,right_node,condition_node,extra_nodes}'
        THEN
            PERFORM df._check_node(v_number, v_type, v_node);
        END IF;
        IF v_node ? 'result_name' THEN
            PERFORM df._checked_name(v_node ->> 'result_name');
        END IF;
        IF v_node ? 'extra_nodes' THEN
            v_child := v_node -> 'extra_nodes';
            IF jsonb_typeof(v_child) <> 'array' OR jsonb_path_exists(v_child, 'strict $[*] ? (@.type() != "object")') THEN
                PERFORM df._bad_node(v_number, 'extra_nodes entries must be nodes');
            END IF;
            FOR i IN REVERSE jsonb_array_length(v_child) - 1 .. 0 LOOP
                v_top := v_top + 1;
                v_stack[v_top] := v_child -> i;
                v_around[v_top] := df._around_child(v_here, v_type, 'extra_nodes', NULL);
            END LOOP;
        END IF;
        -- pushed last to first, so that they come off in preorder
        FOREACH v_key IN ARRAY CASE WHEN v_type = 'SQL' THEN '{}'::text[]
                                    ELSE '{right_node,left_node,condition_node}'::text[] END
        LOOP
            IF v_node ? v_key THEN
                v_child := v_node -> v_key;
                v_top := v_top + 1;
                v_stack[v_top] := v_child;
                v_around[v_top] := df._around_child(v_here, v_type, v_key, v_child ->> 'node_type');
            END IF;
        END LOOP;
    END LOOP;
END $$;

-- The common small graph that needs no walk: true only for what df._check_graph accepts. Its size
-- bounds its levels and nodes, the rest is one jsonpath; a property test compares the two.
CREATE FUNCTION df._is_plain_graph(p_graph json) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    RETURN octet_length(p_graph::text) < 8000 AND json_typeof(p_graph) = 'object'
        AND NOT jsonb_path_exists(p_graph::jsonb, $path$ $.** ? (@.type() == "object" && !(
            (
                (@.node_type == "SQL" && @.query.type() == "string"
                    || @.node_type == "SLEEP" && @.query.type() == "string" && @.query like_regex "^[0-9]{1,10}$")
                && !(exists(@.left_node) || exists(@.right_node) || exists(@.condition_node))
             || (@.node_type == "THEN" || @.node_type == "JOIN" || @.node_type == "RACE")
                && @.left_node.type() == "object" && @.right_node.type() == "object"
                && !(exists(@.condition_node) || exists(@.query))
             || @.node_type == "IF" && @.condition_node.type() == "object" && @.left_node.type() == "object"
                && (!exists(@.right_node) || @.right_node.type() == "object") && !exists(@.query)
             || @.node_type == "LOOP" && @.left_node.type() == "object"
                && (!exists(@.condition_node) || @.condition_node.type() == "object")
                && !(exists(@.right_node) || exists(@.query))
            )
            && @.node_type.type() == "string" && !exists(@.extra_nodes)
            && (!exists(@.result_name) || @.result_name.type() == "string" && @.result_name like_regex "^[A-Za-z_][A-Za-z0-9_]*$"))) $path$);
END $$;
