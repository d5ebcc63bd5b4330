-- df.lint, what may not be meant in an expression that is right; and expressions written back from
-- their graphs, with all parentheses.

-- ---------------------------------------------------------------------------------------------
-- An expression as the language writes it

-- The arguments of a constructor that have not their defaults, each behind a comma.
CREATE FUNCTION df._written_arguments(p_type text, p_config jsonb) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT concat(
        ', max_attempts => ' || nullif(p_config ->> 'max_attempts', '3'),
        ', backoff => ' || quote_literal(nullif(df._shown_seconds(p_config -> 'backoff'), '1s')),
        ', factor => ' || nullif(trim_scale((p_config ->> 'factor')::numeric), 2),
        ', max_backoff => ' || quote_literal(nullif(df._shown_seconds(p_config -> 'max_backoff'), '300s')),
        ', jitter => ' || nullif(p_config ->> 'jitter', 'true'),
        CASE WHEN jsonb_typeof(p_config -> 'retry_on') = 'array' THEN
            ', retry_on => ' || quote_literal(ARRAY(SELECT jsonb_array_elements_text(p_config -> 'retry_on'))::text) END,
        ', ' || quote_literal(df._shown_seconds(p_config -> 'seconds')),
        ', max_concurrency => ' || nullif(p_config ->> 'max_concurrency', '10'),
        ', tolerate => ' || nullif(p_config ->> 'tolerate', '0'),
        ', check_every => ' || quote_literal(nullif(df._shown_seconds(p_config -> 'check_every'), '10s')),
        CASE WHEN p_type = 'SIGNAL' THEN ', ' || (p_config ->> 'timeout_seconds') END,
        CASE WHEN p_type LIKE 'HTTP%' THEN concat(
            ', method => ' || quote_literal(nullif(p_config ->> 'method', 'POST')),
            ', body => ' || quote_literal(p_config ->> 'body'),
            ', parts => ' || quote_literal(nullif(p_config -> 'parts', 'null')::text),
            ', headers => ' || quote_literal(nullif(p_config -> 'headers', 'null')::text),
            ', timeout_seconds => ' || nullif(p_config ->> 'timeout_seconds', '30')) END)
$$;

-- A node without children.
CREATE FUNCTION df._written_leaf(p_node df._seen, p_config jsonb) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE p_node.node_type
        -- text that begins as a node does would be taken for one
        WHEN 'SQL' THEN format(CASE WHEN p_node.query ~ '^[[:space:]]*[{]' THEN 'df.sql(%L)' ELSE '%L' END, p_node.query)
        WHEN 'SLEEP' THEN format(CASE WHEN p_node.query ~ '^[0-9]' THEN 'df.sleep(%s)' ELSE 'df.sleep(%L)' END, p_node.query)
        WHEN 'SLEEP_UNTIL' THEN format('df.sleep_until(%L)', p_node.query)
        WHEN 'BREAK' THEN concat('df.break(', quote_literal(p_config ->> 'break_value'), ')')
        WHEN 'WAIT_SCHEDULE' THEN format('df.wait_for_schedule(%L)', p_config ->> 'cron_expr')
        ELSE format('df.%s(%L%s)',
            CASE p_node.node_type WHEN 'SIGNAL' THEN 'wait_for_signal' WHEN 'WAIT_CONDITION' THEN 'wait_for_condition'
                ELSE lower(p_node.node_type) END,
            coalesce(p_config ->> 'signal_name', p_config ->> 'query', p_config ->> 'url'),
            df._written_arguments(p_node.node_type, p_config)) END
$$;

-- A node from its children's texts; p_operands are the same in parentheses where they are operators'.
CREATE FUNCTION df._written_node(p_node df._seen, p_kids df._seen[], p_texts text[], p_operands text[]) RETURNS text
LANGUAGE plpgsql STABLE AS $$
DECLARE
    v_config   jsonb := CASE WHEN p_node.node_type NOT IN ('SQL', 'SLEEP', 'SLEEP_UNTIL') THEN p_node.query::jsonb END;
    v_count    integer := cardinality(p_texts);
    v_operator text := CASE
        WHEN p_node.node_type = 'THEN' THEN '~>'
        WHEN p_node.node_type = 'COMPENSATE' THEN '<->'
        WHEN v_count = 2 AND p_node.node_type = 'JOIN' THEN '&'
        WHEN v_count = 2 AND p_node.node_type = 'RACE' THEN '|' END;
BEGIN
    RETURN CASE
        WHEN v_operator IS NOT NULL THEN concat(p_operands[1], ' ', v_operator, ' ', p_operands[2])
        WHEN p_node.node_type = 'LOOP' AND v_count = 1 THEN '@> ' || p_operands[1]
        WHEN p_node.node_type = 'LOOP' THEN format('df.loop(%s, %s)', p_texts[2], p_texts[1])
        WHEN p_node.node_type = 'IF' AND (p_kids[1]).slot <> 'condition' THEN
            format('df.if_rows(%L, %s)', v_config ->> 'result_name', array_to_string(p_texts, ', '))
        WHEN p_node.node_type = 'IF' AND v_count = 2 THEN concat(p_operands[1], ' ?> ', p_operands[2])
        WHEN p_node.node_type = 'IF' THEN format('(%s ?> %s) !> %s', p_operands[1], p_operands[2], p_operands[3])
        WHEN v_count = 0 THEN df._written_leaf(p_node, v_config)
        ELSE format('df.%s(%s%s)',
            CASE p_node.node_type WHEN 'JOIN' THEN 'parallel' ELSE lower(p_node.node_type) END,
            array_to_string(p_texts, ', '), df._written_arguments(p_node.node_type, v_config)) END;
END $$;

-- The whole. Children come before their parents, from the last node to the first. A chain of ~>
-- needs no parentheses on its left: there is but one way to read it.
CREATE FUNCTION df._written(p_nodes df._seen[]) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_texts    text[] := '{}';
    v_operator boolean[] := '{}';
    v_node     df._seen;
    v_kids     df._seen[];
    v_own      text[];
    v_operands text[];
    v_kid      integer;
BEGIN
    FOR i IN REVERSE cardinality(p_nodes) .. 1 LOOP
        v_node := p_nodes[i];
        v_kids := '{}';
        v_own := '{}';
        v_operands := '{}';
        v_kid := i + 1;
        WHILE v_kid <= v_node.last LOOP
            v_kids := v_kids || p_nodes[v_kid];
            v_own := v_own || v_texts[v_kid];
            v_operands := v_operands || CASE
                WHEN NOT v_operator[v_kid] OR v_node.node_type = 'THEN' AND (p_nodes[v_kid]).slot = 'left'
                    AND (p_nodes[v_kid]).node_type = 'THEN' AND (p_nodes[v_kid]).result_name IS NULL
                THEN v_texts[v_kid] ELSE '(' || v_texts[v_kid] || ')' END;
            v_texts[v_kid] := NULL;
            v_kid := (p_nodes[v_kid]).last + 1;
        END LOOP;
        v_texts[i] := df._written_node(v_node, v_kids, v_own, v_operands);
        v_operator[i] := CASE v_node.node_type
            WHEN 'JOIN' THEN cardinality(v_kids) = 2
            WHEN 'LOOP' THEN cardinality(v_kids) = 1
            WHEN 'IF' THEN (v_kids[1]).slot = 'condition'
            ELSE v_node.node_type IN ('THEN', 'COMPENSATE', 'RACE') END;
        IF v_node.result_name IS NOT NULL THEN
            v_texts[i] := format(CASE WHEN v_operator[i] THEN '(%s) |=> %L' ELSE '%s |=> %L' END, v_texts[i], v_node.result_name);
            v_operator[i] := true;
        END IF;
    END LOOP;
    RETURN v_texts[1];
END $$;


-- ---------------------------------------------------------------------------------------------
-- What was left to precedence

-- The literal that a text begins with, when it is in dollar quotes.
CREATE FUNCTION df._dollar_quoted(p_text text) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_quote text := substring(p_text FROM '^[$][A-Za-z0-9_]*[$]');
    v_end   integer := strpos(substr(p_text, length(v_quote) + 1), v_quote);
BEGIN
    RETURN CASE WHEN v_end = 0 THEN p_text ELSE left(p_text, v_end - 1 + 2 * length(v_quote)) END;
END $$;

-- The tokens of an expression that matter for that, each with its place; literals, names and
-- comments are passed over.
CREATE FUNCTION df._marks(p_text text) RETURNS TABLE (mark text, place integer)
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_at    integer := 1;
    v_token text;
    v_rest  text;
BEGIN
    WHILE v_at <= length(p_text) LOOP
        v_rest := substr(p_text, v_at);
        v_token := CASE
            WHEN starts_with(v_rest, '--') THEN substring(v_rest FROM E'^[^\n]*')
            WHEN starts_with(v_rest, '/*') THEN coalesce(substring(v_rest FROM '^/[*].*?[*]/'), v_rest)
            WHEN v_rest ~ '^[eE]''' THEN coalesce(substring(v_rest FROM E'^[eE]\'(?:[^\'\\\\]|\\\\.|\'\')*\''), v_rest)
            WHEN starts_with(v_rest, '''') THEN coalesce(substring(v_rest FROM '^''(?:[^'']|'''')*'''), v_rest)
            WHEN starts_with(v_rest, '"') THEN coalesce(substring(v_rest FROM '^"[^"]*"'), v_rest)
            WHEN v_rest ~ '^[$]([A-Za-z_][A-Za-z0-9_]*)?[$]' THEN df._dollar_quoted(v_rest)
            WHEN v_rest ~ '^[[:alpha:]_]' THEN substring(v_rest FROM '^[[:alnum:]_$]+')
            WHEN v_rest ~ '^[-~!@#^&|`?+*/%<>=]' THEN substring(v_rest FROM '^[-~!@#^&|`?+*/%<>=]+')
            ELSE left(v_rest, 1) END;
        IF v_token ~ '^([-~!@#^&|`?+*/%<>=]+|[][(),])$' AND NOT starts_with(v_token, '--') OR v_token ~* '^(when|then|else)$' THEN
            mark := lower(v_token);
            place := v_at;
            RETURN NEXT;
        END IF;
        v_at := v_at + length(v_token);
    END LOOP;
END $$;

-- Where an operator stands bare behind one that is elsewhere taken to bind looser: &, | and <-> behind
-- ~>, ?> or !>, and a name behind & or |, which names both branches. NULL: nowhere.
CREATE FUNCTION df._surprise(p_text text) RETURNS TABLE (mark text, place integer)
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_looser   boolean[] := ARRAY[false];    -- for each open parenthesis: ~>, ?> or !> has come
    v_branches boolean[] := ARRAY[false];    -- & or | has come
    v_open     integer := 1;
BEGIN
    FOR mark, place IN SELECT m.mark, m.place FROM df._marks(p_text) m ORDER BY m.place LOOP
        IF mark IN ('(', '[') THEN
            v_open := v_open + 1;
        ELSIF mark IN (')', ']') THEN
            v_open := greatest(v_open - 1, 1);
            CONTINUE;
        ELSIF mark IN ('&', '|', '<->') AND v_looser[v_open] OR mark = '|=>' AND v_branches[v_open] THEN
            RETURN NEXT;
            RETURN;
        END IF;
        v_looser[v_open] := mark IN ('~>', '?>', '!>') OR v_looser[v_open] AND mark NOT IN ('(', '[', ',', 'when', 'then', 'else');
        v_branches[v_open] := mark IN ('&', '|') OR v_branches[v_open] AND mark NOT IN ('(', '[', ',', 'when', 'then', 'else');
    END LOOP;
END $$;


-- ---------------------------------------------------------------------------------------------
-- Lint

CREATE TYPE df._remark AS (code text, severity text, message text, node integer, hint text);

-- How many steps below a node commit something of their own; a TRANSACTION is one.
CREATE FUNCTION df._committing(p_node df._seen, p_nodes df._seen[]) RETURNS bigint
LANGUAGE sql IMMUTABLE AS $$
    SELECT count(*) FROM unnest(p_nodes[p_node.node + 1 : p_node.last]) n
    WHERE (n.node_type IN ('TRANSACTION', 'HTTP', 'HTTP_MULTIPART')
           OR n.node_type = 'SQL' AND n.slot <> 'condition' AND n.query !~* '^[[:space:]]*(select|values|table|show)[[:>:]]')
        AND (p_nodes[n.parent]).node_type <> 'TRANSACTION'
$$;

-- The names that more than one branch of a node binds, quoted.
CREATE FUNCTION df._bound_twice(p_node df._seen, p_nodes df._seen[]) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT string_agg(format('"%s"', t.result_name), ', ' ORDER BY t.result_name)
    FROM (SELECT n.result_name
          FROM unnest(p_nodes) b JOIN unnest(p_nodes) n ON n.node BETWEEN b.node AND b.last
          WHERE b.parent = p_node.node AND n.result_name IS NOT NULL
          GROUP BY n.result_name HAVING count(DISTINCT b.node) > 1) t
$$;

-- Whether a break inside a loop leaves it, and not a loop further inside.
CREATE FUNCTION df._may_break(p_loop df._seen, p_nodes df._seen[]) RETURNS boolean
LANGUAGE sql IMMUTABLE AS $$
    SELECT EXISTS (
        SELECT 1 FROM unnest(p_nodes[p_loop.node + 1 : p_loop.last]) n
        WHERE n.node_type = 'BREAK' AND NOT EXISTS (
            SELECT 1 FROM unnest(p_nodes[p_loop.node + 1 : p_loop.last]) l
            WHERE l.node_type = 'LOOP' AND n.node > l.node AND n.node <= l.last))
$$;

CREATE FUNCTION df._may_wait(p_node df._seen, p_nodes df._seen[]) RETURNS boolean
LANGUAGE sql IMMUTABLE AS $$
    SELECT EXISTS (
        SELECT 1 FROM unnest(p_nodes[p_node.node : p_node.last]) n
        WHERE n.node_type IN ('SLEEP', 'SLEEP_UNTIL', 'SIGNAL', 'WAIT_SCHEDULE', 'WAIT_CONDITION', 'HTTP', 'HTTP_MULTIPART'))
$$;

-- Whether something stands behind a node in its sequence; a chain may be nested either way.
CREATE FUNCTION df._has_successor(p_node df._seen, p_nodes df._seen[]) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    v_node df._seen := p_node;
BEGIN
    WHILE (p_nodes[v_node.parent]).node_type = 'THEN' LOOP
        IF v_node.slot = 'left' THEN
            RETURN true;
        END IF;
        v_node := p_nodes[v_node.parent];
    END LOOP;
    RETURN false;
END $$;

-- What an endless loop does that nothing leaves.
CREATE FUNCTION df._loop_remarks(p_node df._seen, p_nodes df._seen[]) RETURNS SETOF df._remark
LANGUAGE plpgsql STABLE AS $$
BEGIN
    IF df._has_successor(p_node, p_nodes) THEN
        RETURN NEXT ROW('unreachable', 'warning', 'what follows an endless loop never runs', p_node.node,
            'Put the body in parentheses, as in @> (a ~> b), or leave the loop with df.break().')::df._remark;
    ELSIF NOT df._may_wait(p_node, p_nodes) THEN
        RETURN NEXT ROW('never-waits', 'info', 'an endless loop that waits for nothing is slowed down to one round per second',
            p_node.node, 'Let it wait for a schedule, a time or a signal.')::df._remark;
    END IF;
END $$;

-- What may not be meant at a leaf.
CREATE FUNCTION df._leaf_remarks(p_node df._seen, p_nodes df._seen[]) RETURNS SETOF df._remark
LANGUAGE plpgsql STABLE AS $$
BEGIN
    IF p_node.node_type = 'BREAK' AND df._has_successor(p_node, p_nodes) THEN
        RETURN NEXT ROW('unreachable', 'warning', 'what follows df.break() never runs', p_node.node,
            'Put the break last, or behind a condition: c ?> df.break().')::df._remark;
    ELSIF p_node.node_type = 'SQL' AND p_node.query ~* df._outside_transactions() THEN
        RETURN NEXT ROW('at-least-once', 'info', 'a statement that runs in no transaction can run more than once', p_node.node,
            'After a crash it runs again: write it so that this does no harm.')::df._remark;
    ELSIF p_node.node_type LIKE 'HTTP%' AND p_node.query::jsonb ->> 'method' IN ('POST', 'PATCH')
        AND p_node.query !~* 'idempotency-key|[{]sys_instance_id[}]'
    THEN
        RETURN NEXT ROW('at-least-once', 'info', 'an HTTP call can be made more than once', p_node.node,
            'It carries the same Idempotency-Key each time: make sure that the receiver heeds it.')::df._remark;
    END IF;
END $$;

-- What may not be meant at one node. p_nodes are those of the whole graph.
CREATE FUNCTION df._remarks_at(p_node df._seen, p_nodes df._seen[]) RETURNS SETOF df._remark
LANGUAGE plpgsql STABLE AS $$
DECLARE
    v_first df._seen := p_nodes[p_node.node + 1];
    v_steps bigint;
    v_names text;
BEGIN
    CASE
    WHEN p_node.node_type = 'RETRY' THEN
        v_steps := df._committing(p_node, p_nodes);
        IF v_steps > 1 THEN
            RETURN NEXT ROW('retry-repeats', 'warning',
                format('df.retry() around %s steps runs those again that have committed', v_steps), p_node.node,
                'Put it around single steps, or the steps into df.transaction().')::df._remark;
        END IF;
    WHEN p_node.node_type IN ('JOIN', 'RACE', 'ANY') THEN
        v_names := df._bound_twice(p_node, p_nodes);
        IF v_names IS NOT NULL THEN
            RETURN NEXT ROW('name-bound-twice', 'warning', format('two branches bind %s', v_names), p_node.node,
                'What follows sees only one of them. Give each its own name.')::df._remark;
        END IF;
    WHEN p_node.node_type = 'LOOP' AND v_first.slot <> 'condition' AND NOT df._may_break(p_node, p_nodes) THEN
        RETURN QUERY SELECT * FROM df._loop_remarks(p_node, p_nodes);
    WHEN p_node.node_type = 'MAP' AND v_first.query ~* '^[[:space:]]*(insert|update|delete|merge)[[:>:]]'
        AND v_first.query !~* '[[:<:]]returning[[:>:]]'
    THEN
        RETURN NEXT ROW('no-items', 'warning', 'the source of df.map() returns no rows', v_first.node,
            'Add RETURNING: its rows are the items.')::df._remark;
    ELSE
        RETURN QUERY SELECT * FROM df._leaf_remarks(p_node, p_nodes);
    END CASE;
END $$;

CREATE FUNCTION df._nodes_of(p_graph text) RETURNS df._seen[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT array_agg(n ORDER BY n.node) FROM df._inspect('', df._node(p_graph)::json, 'pending', '{}') n
$$;

-- Line and column of a character of a text; both from 1.
CREATE FUNCTION df._line_and_column(p_text text, p_place integer, OUT line integer, OUT col integer)
LANGUAGE sql IMMUTABLE AS $$
    SELECT 1 + length(v.before) - length(replace(v.before, E'\n', '')),
        1 + length(substring(v.before FROM E'[^\n]*$'))
    FROM (SELECT left(p_text, p_place - 1) AS before) v
$$;

-- p_written is the expression as it was written, if that is known, and p_origin where it begins;
-- p_places has the places of nodes, by number.
CREATE FUNCTION df._lint(p_graph text, p_written text, p_origin json, p_places json)
RETURNS TABLE (code text, severity text, message text, node text, line integer, col integer, hint text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_nodes  df._seen[] := df._nodes_of(p_graph);
    v_mark   text;
    v_place  integer;
BEGIN
    SELECT s.mark, s.place INTO v_mark, v_place FROM df._surprise(p_written) s;
    IF FOUND THEN
        SELECT p.line, p.col INTO line, col FROM df._line_and_column(p_written, v_place) p;
        col := col + CASE WHEN line = 1 THEN coalesce((p_origin ->> 1)::integer - 1, 0) ELSE 0 END;
        line := line + coalesce((p_origin ->> 0)::integer - 1, 0);
        code := 'precedence';
        severity := 'warning';
        message := format('%s binds no tighter than what stands before it', v_mark);
        hint := format('It reads %s: put parentheses where you mean something else.', df._written(v_nodes));
        RETURN NEXT;
    END IF;
    RETURN QUERY
        SELECT r.code, r.severity, r.message, df._node_id(r.node),
            (p_places -> r.node::text ->> 0)::integer, (p_places -> r.node::text ->> 1)::integer, r.hint
        FROM unnest(v_nodes) n CROSS JOIN LATERAL df._remarks_at(n, v_nodes) r
        ORDER BY r.node;
END $$;

CREATE FUNCTION df._check_whole(p_graph text) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM df._check_graph(df._node(p_graph)::json);
END $$;

-- The graph that some text stands for: that of an instance, one as JSON, or an expression's.
CREATE FUNCTION df._graph_of(p_input text) RETURNS text
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    v_graph pg_catalog.text;
BEGIN
    IF p_input OPERATOR(pg_catalog.~) '^[0-9a-f]{8}$' THEN
        SELECT o.graph::pg_catalog.text INTO v_graph FROM df._own o WHERE o.id OPERATOR(pg_catalog.=) p_input;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'instance "%" not found or access denied', p_input USING ERRCODE = '42704';
        END IF;
        RETURN v_graph;
    END IF;
    v_graph := CASE WHEN df._is_expression(p_input) THEN df._evaluated(p_input) ELSE p_input END;
    IF v_graph IS NULL THEN
        RAISE EXCEPTION 'the expression is null' USING ERRCODE = '22004';
    END IF;
    PERFORM df._check_whole(v_graph);
    RETURN v_graph;
END $$;

-- What may not be meant in an expression that is right, or why it is wrong. The proxy passes in
-- "reading" what only it knows: the text of the expression, and where its parts stand.
CREATE FUNCTION df.lint(expression text, reading json DEFAULT NULL)
RETURNS TABLE (code text, severity text, message text, node text, line integer, col integer, hint text)
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    v_input  pg_catalog.text := pg_catalog.btrim(expression, E' \t\r\n;');
    v_graph  pg_catalog.text;
    v_detail pg_catalog.text;
    v_fault  pg_catalog.json := reading OPERATOR(pg_catalog.->) 'fault';
BEGIN
    IF v_fault IS NOT NULL THEN
        code := 'refused';
        severity := 'error';
        message := v_fault OPERATOR(pg_catalog.->>) 'message';
        node := df._node_id((v_fault OPERATOR(pg_catalog.->>) 'node')::integer);
        line := (v_fault OPERATOR(pg_catalog.->>) 'line')::integer;
        col := (v_fault OPERATOR(pg_catalog.->>) 'col')::integer;
        hint := v_fault OPERATOR(pg_catalog.->>) 'hint';
        RETURN NEXT;
        RETURN;
    END IF;
    BEGIN
        v_graph := df._graph_of(v_input);
    EXCEPTION WHEN OTHERS THEN
        GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT, v_detail = PG_EXCEPTION_DETAIL;
        code := 'refused';
        severity := 'error';
        node := pg_catalog.substring(v_detail, '^At node ([0-9a-f]{8}),');
        hint := NULLIF(hint, '');
        RETURN NEXT;
        RETURN;
    END;
    RETURN QUERY
        SELECT l.* FROM df._lint(v_graph,
            COALESCE(reading OPERATOR(pg_catalog.->>) 'written', CASE WHEN df._is_expression(v_input) THEN expression END),
            reading OPERATOR(pg_catalog.->) 'origin', reading OPERATOR(pg_catalog.->) 'places') l;
END $$;


-- ---------------------------------------------------------------------------------------------
-- df.explain with parentheses

-- How an expression reads that was left to precedence where that may surprise; NULL for all others,
-- and for one that is wrong.
CREATE FUNCTION df._surprising(p_written text, p_graph text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT 1 FROM df._surprise(p_written)) THEN
        RETURN NULL;
    END IF;
    PERFORM df._check_whole(p_graph);
    RETURN df._written(df._nodes_of(p_graph));
EXCEPTION WHEN data_exception OR program_limit_exceeded OR feature_not_supported THEN
    RETURN NULL;
END $$;

-- As df.explain(input), and the expression with all its parentheses.
CREATE FUNCTION df.explain(input text, parenthesised boolean) RETURNS text
LANGUAGE plpgsql STRICT AS $$
DECLARE
    v_explained pg_catalog.text := df.explain(input);
BEGIN
    IF parenthesised AND pg_catalog.strpos(v_explained, E'\nReads: ') OPERATOR(pg_catalog.=) 0
        AND v_explained OPERATOR(pg_catalog.!~) '^(Invalid durable function graph: |Instance ''.*'' not found$)'
    THEN
        v_explained := pg_catalog.concat(v_explained, E'\nReads: ',
            df._written(df._nodes_of(df._graph_of(pg_catalog.btrim(input, E' \t\r\n;')))));
    END IF;
    RETURN v_explained;
END $$;
