-- Looking at instances and nodes. Nothing here is stored: nodes are derived from the graph and the
-- checkpoints each time somebody looks.
--
-- The engine's advance() decides what happens; df._inspect only retells it, from the same rules:
-- a node that has a row is what its row says; THEN, IF, JOIN, CATCH, SAGA, COMPENSATE and BREAK have
-- none, RETRY and FINALLY one that never closes, so they follow from their children; a node that has
-- not run and whose ancestor has ended never will: skipped. An undo stays pending until its saga, or
-- the instance, has ended.

-- The nodes of a graph in preorder; parent and slot (condition, left, right, extra ...) say where
-- each hangs, last is the end of its subtree. One flat walk with its own stack.
CREATE FUNCTION df._walk(p_graph json)
RETURNS TABLE (node integer, node_type text, query text, result_name text,
    parent integer, slot text, last integer, left_node integer, right_node integer)
LANGUAGE plpgsql IMMUTABLE ROWS 20 SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_stack   jsonb[]   := ARRAY[p_graph::jsonb];
    v_parents integer[] := ARRAY[0];
    v_slots   text[]    := ARRAY['root'];
    v_top     integer   := 1;
    v_count   integer   := 0;
    v_nodes   jsonb[]   := '{}';
    v_above   integer[] := '{}';
    v_places  text[]    := '{}';
    v_lasts   integer[] := '{}';
    v_lefts   integer[] := '{}';
    v_rights  integer[] := '{}';
    v_node    jsonb;
    v_key     text;
BEGIN
    WHILE v_top > 0 LOOP
        v_node := v_stack[v_top];
        v_count := v_count + 1;
        v_above[v_count] := v_parents[v_top];
        v_places[v_count] := v_slots[v_top];
        v_lasts[v_count] := v_count;
        CASE v_slots[v_top]
            WHEN 'left' THEN v_lefts[v_parents[v_top]] := v_count;
            WHEN 'right' THEN v_rights[v_parents[v_top]] := v_count;
            ELSE NULL;
        END CASE;
        v_nodes[v_count] := v_node - '{condition_node,left_node,right_node,extra_nodes}'::text[];
        v_top := v_top - 1;
        FOR i IN REVERSE coalesce(jsonb_array_length(v_node -> 'extra_nodes'), 0) - 1 .. 0 LOOP
            v_top := v_top + 1;
            v_stack[v_top] := v_node -> 'extra_nodes' -> i;
            v_parents[v_top] := v_count;
            v_slots[v_top] := (i + 3)::text;
        END LOOP;
        FOREACH v_key IN ARRAY '{right,left,condition}'::text[] LOOP
            IF v_node ? (v_key || '_node') THEN
                v_top := v_top + 1;
                v_stack[v_top] := v_node -> (v_key || '_node');
                v_parents[v_top] := v_count;
                v_slots[v_top] := v_key;
            END IF;
        END LOOP;
    END LOOP;
    FOR i IN REVERSE v_count .. 2 LOOP
        v_lasts[v_above[i]] := greatest(v_lasts[v_above[i]], v_lasts[i]);
    END LOOP;
    FOR i IN 1 .. v_count LOOP
        node := i;
        node_type := v_nodes[i] ->> 'node_type';
        query := v_nodes[i] ->> 'query';
        result_name := v_nodes[i] ->> 'result_name';
        parent := nullif(v_above[i], 0);
        slot := v_places[i];
        last := v_lasts[i];
        left_node := v_lefts[i];
        right_node := v_rights[i];
        RETURN NEXT;
    END LOOP;
END $$;

CREATE FUNCTION df._node_id(p_node integer) RETURNS text
LANGUAGE sql IMMUTABLE STRICT AS $$
    SELECT pg_catalog.lpad(pg_catalog.to_hex(p_node), 8, '0')
$$;

-- Truth of a condition's result: the first column of the first row.
CREATE FUNCTION df._truth(p_result json, p_types json) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_value json := p_result;
BEGIN
    IF json_typeof(p_result) = 'object' AND p_result -> 'rows' IS NOT NULL THEN
        v_value := (SELECT e.value FROM json_each(p_result -> 'rows' -> 0) WITH ORDINALITY AS e(key, value, n)
                    ORDER BY e.n LIMIT 1);
    END IF;
    IF json_typeof(v_value) = 'string' AND p_types -> 0 ->> 1 = 'pg_catalog.numeric' THEN
        RETURN (v_value #>> '{}')::numeric <> 0;
    END IF;
    RETURN CASE json_typeof(v_value)
        WHEN 'string' THEN lower(v_value #>> '{}') NOT IN ('', 'f', 'no', '0', 'false')
        WHEN 'number' THEN (v_value #>> '{}')::numeric <> 0
        WHEN 'boolean' THEN (v_value #>> '{}')::boolean
        WHEN 'array' THEN json_array_length(v_value) > 0
        WHEN 'object' THEN v_value::jsonb <> '{}'
        ELSE false END;
END $$;

-- What a checkpoint says about its node; without the exact values, which may be large.
CREATE TYPE df._outcome AS (
    node integer, status "char", n bigint, due timestamptz, result json, types json, error json,
    attempt integer, at timestamptz, path text);

-- A node as it looks now. status is what happened to it; shown may also be "skipped", and decided_by
-- names the ancestor whose end settled that (0: the end of the instance).
CREATE TYPE df._seen AS (
    node         integer,
    node_type    text,
    query        text,
    result_name  text,
    parent       integer,
    slot         text,
    last         integer,
    left_node    integer,
    right_node   integer,
    status       text,      -- pending, running, completed, failed; while deriving also broke
    shown        text,
    decided_by   integer,
    result       json,
    types        json,
    error        json,
    round        bigint,
    due          timestamptz,
    attempt      integer,
    at           timestamptz,
    stamp        text,      -- scopes and rounds around it, as status_details shows them
    reached      boolean,   -- its turn has come
    rows_so_far  bigint,    -- nodes up to this one that have a checkpoint
    done         bigint,    -- in the body of a MAP: items of which it is done, failed, under way
    failed       bigint,
    under_way    bigint
);

-- Whether a node's turn has come, given its parent and the nodes before it.
CREATE FUNCTION df._is_reached(p_node df._seen, p_parent df._seen, p_all df._seen[]) RETURNS boolean
LANGUAGE plpgsql STABLE AS $$
DECLARE
    v_first df._seen := p_all[p_parent.node + 1];    -- the parent's first child
    v_rows  bigint := p_all[p_node.last].rows_so_far - p_all[p_node.node - 1].rows_so_far;
BEGIN
    IF v_rows > 0 OR NOT p_parent.reached THEN
        RETURN v_rows > 0;
    ELSIF p_parent.node_type IN ('RACE', 'LOOP', 'ANY', 'TIMEOUT', 'FINALLY', 'MAP') AND p_parent.status IS NULL THEN
        RETURN false;    -- its frame is not open yet
    ELSIF p_parent.node_type = 'THEN' AND p_node.slot = 'right' THEN
        RETURN v_first.status = 'completed';
    ELSIF p_parent.node_type = 'MAP' AND p_node.slot = 'left' THEN
        RETURN v_first.status = 'completed' AND p_parent.status <> 'completed';
    ELSIF p_node.slot = 'right' AND p_parent.node_type IN ('CATCH', 'FINALLY', 'COMPENSATE') THEN
        RETURN CASE p_parent.node_type
            WHEN 'CATCH' THEN v_first.status = 'failed'
            WHEN 'FINALLY' THEN v_first.status IN ('completed', 'failed', 'broke')
            ELSE false END;    -- an undo is owed, until it begins
    ELSIF p_parent.node_type = 'RETRY' AND p_parent.due > df._clock() THEN
        RETURN false;    -- between two attempts
    ELSIF p_parent.node_type = 'LOOP' AND p_node.slot = 'condition' THEN
        RETURN false;    -- comes after the body, which is not looked at yet
    ELSIF p_parent.node_type = 'IF' AND p_node.slot <> 'condition' THEN
        RETURN v_first.slot = 'condition' AND v_first.status = 'completed'
            AND df._truth(v_first.result, v_first.types) = (p_node.slot = 'left');
    END IF;
    RETURN true;
END $$;

-- The state of a node without a row, and the result of one that composes results, from its children.
CREATE FUNCTION df._derived(p_node df._seen, p_kids df._seen[], p_live boolean) RETURNS df._seen
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    v_node  df._seen := p_node;
    v_first df._seen := p_kids[1];
    v_kid   df._seen;
    v_under CONSTANT text := CASE WHEN p_live AND p_node.reached THEN 'running' ELSE 'pending' END;
BEGIN
    IF v_node.status IS NOT NULL
        AND v_node.node_type NOT IN ('RACE', 'LOOP', 'ANY', 'TIMEOUT', 'RETRY', 'FINALLY', 'COMPENSATE')
    THEN
        RETURN v_node;
    END IF;
    CASE v_node.node_type
    WHEN 'THEN' THEN
        v_kid := CASE WHEN v_first.status = 'completed' THEN p_kids[2] ELSE v_first END;
        v_node.status := CASE v_kid.status WHEN 'pending' THEN v_under ELSE v_kid.status END;
        v_node.result := (p_kids[2]).result;
        v_node.error := v_kid.error;
    WHEN 'IF' THEN
        SELECT k.* INTO v_kid FROM unnest(p_kids) k WHERE k.reached ORDER BY k.node DESC LIMIT 1;
        IF v_kid.slot = 'condition' AND v_kid.status = 'completed' THEN  -- false, and there is no else
            v_node.status := CASE WHEN v_node.last = v_kid.last OR cardinality(p_kids) = 2 THEN 'completed' ELSE v_under END;
            v_node.result := 'null';
        ELSE
            v_node.status := CASE coalesce(v_kid.status, 'pending') WHEN 'pending' THEN v_under ELSE v_kid.status END;
            v_node.result := v_kid.result;
            v_node.error := v_kid.error;
        END IF;
    WHEN 'JOIN' THEN
        IF EXISTS (SELECT 1 FROM unnest(p_kids) k WHERE k.status IN ('pending', 'running')) THEN
            v_node.status := v_under;
        ELSE
            v_node.status := coalesce((SELECT k.status FROM unnest(p_kids) k WHERE k.status <> 'completed'
                                       ORDER BY k.node LIMIT 1), 'completed');
            v_node.result := (SELECT '[' || string_agg(coalesce(k.result::text, 'null'), ',' ORDER BY k.node) || ']' FROM unnest(p_kids) k);
            v_node.error := (SELECT k.error FROM unnest(p_kids) k WHERE k.status = 'failed' ORDER BY k.node LIMIT 1);
        END IF;
    WHEN 'RACE', 'ANY' THEN
        v_kid := p_kids[(v_node.result ->> 'winner')::integer + 1];
        v_node.result := v_kid.result;
        v_node.status := coalesce(v_node.status, v_under);
    WHEN 'LOOP' THEN
        IF v_node.status = 'running' AND EXISTS (SELECT 1 FROM unnest(p_kids) k WHERE k.status = 'failed') THEN
            v_node.status := 'failed';
            v_node.error := (SELECT k.error FROM unnest(p_kids) k WHERE k.status = 'failed' LIMIT 1);
        END IF;
        v_node.status := coalesce(v_node.status, v_under);
    WHEN 'RETRY', 'SAGA', 'COMPENSATE', 'TIMEOUT', 'CATCH' THEN
        v_kid := CASE WHEN v_node.node_type = 'CATCH' AND v_first.status = 'failed' THEN p_kids[2] ELSE v_first END;
        IF coalesce(v_node.status, 'running') = 'running' THEN    -- a timeout that has fired has failed
            v_node.status := CASE v_kid.status WHEN 'pending' THEN v_under ELSE v_kid.status END;
            v_node.error := coalesce(v_kid.error, v_node.error);
        END IF;
        v_node.result := v_kid.result;
    WHEN 'FINALLY' THEN    -- as its body ended, once the cleanup is through
        v_kid := CASE WHEN (p_kids[2]).status = 'completed' OR NOT (p_kids[2]).reached THEN v_first ELSE p_kids[2] END;
        v_node.status := CASE WHEN v_kid.status = 'pending' THEN v_under
                              WHEN v_kid.node = v_first.node AND (p_kids[2]).status <> 'completed' THEN v_under
                              ELSE v_kid.status END;
        v_node.result := v_first.result;
        v_node.error := coalesce(v_kid.error, v_first.error);
    WHEN 'BREAK' THEN
        v_node.status := CASE WHEN v_node.reached THEN 'broke' ELSE 'pending' END;
    ELSE
        v_node.status := coalesce(v_node.status, v_under);
    END CASE;
    RETURN v_node;
END $$;

-- What has ended so that an undo will not run any more: the nearest saga, or the instance (0).
CREATE FUNCTION df._undo_dropped_by(p_compensate df._seen, p_all df._seen[], p_live boolean) RETURNS integer
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    v_around df._seen := p_all[p_compensate.parent];
BEGIN
    WHILE v_around.node_type <> 'SAGA' LOOP
        v_around := p_all[v_around.parent];
    END LOOP;
    IF v_around.node IS NULL THEN
        RETURN CASE WHEN NOT p_live THEN 0 END;
    END IF;
    RETURN CASE WHEN v_around.status IN ('completed', 'failed') THEN v_around.node ELSE v_around.decided_by END;
END $$;

-- All nodes of an instance with their states. Nodes are entered in preorder and left when their
-- subtree ends, so that what comes after knows how what came before went.
CREATE FUNCTION df._inspect(p_instance text, p_graph json, p_status text, p_rows df._outcome[])
RETURNS SETOF df._seen
LANGUAGE plpgsql STABLE ROWS 20 SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_live   CONSTANT boolean := p_status IN ('pending', 'running');
    v_all    df._seen[];
    v_open   integer[] := '{}';
    v_depth  integer := 0;
    v_node   df._seen;
    v_parent df._seen;
    v_kids   df._seen[];
    v_kid    integer;
BEGIN
    SELECT array_agg(ROW(w.node, w.node_type, w.query, w.result_name, w.parent, w.slot, w.last,
            w.left_node, w.right_node,
            CASE c.status WHEN 'd' THEN 'completed' WHEN 'f' THEN 'failed' WHEN 'o' THEN 'running' END,
            NULL, NULL, c.result, c.types, c.error, c.n, c.due, c.attempt, c.at, NULL, NULL, w.rows_so_far,
            w.done, w.failed, w.under_way
        )::df._seen ORDER BY w.node)
    INTO v_all
    FROM (SELECT g.*, count(l.node) OVER (ORDER BY g.node) AS rows_so_far, l.latest, l.done, l.failed, l.under_way
          FROM df._walk(p_graph) g
          LEFT JOIN (SELECT r.node, max(r.at) AS latest,
                         count(*) FILTER (WHERE r.status = 'd' AND r.path ~ ':') AS done,
                         count(*) FILTER (WHERE r.status = 'f' AND r.path ~ ':') AS failed,
                         count(*) FILTER (WHERE r.status = 'o' AND r.path ~ ':') AS under_way
                     FROM unnest(p_rows) r GROUP BY r.node) l ON l.node = g.node) w
    LEFT JOIN LATERAL (SELECT r.* FROM unnest(p_rows) r WHERE r.node = w.node AND r.at = w.latest LIMIT 1) c ON true;

    FOR i IN 1 .. cardinality(v_all) + 1 LOOP
        WHILE v_depth > 0 AND (i > cardinality(v_all) OR (v_all[v_open[v_depth]]).last < i) LOOP
            v_node := v_all[v_open[v_depth]];
            v_kids := '{}';
            v_kid := v_node.node + 1;
            WHILE v_kid <= v_node.last LOOP
                v_kids := v_kids || v_all[v_kid];
                v_kid := (v_all[v_kid]).last + 1;
            END LOOP;
            v_all[v_node.node] := df._derived(v_node, v_kids, v_live);
            IF v_node.status = 'running' AND (v_kids[1]).slot = 'condition' AND (v_kids[1]).status = 'pending'
                AND (v_kids[2]).status = 'completed'
            THEN  -- a loop between its body and its next round: only now is the condition's turn
                v_kids[1].status := 'running';
                v_all[v_node.node + 1] := v_kids[1];
            END IF;
            v_depth := v_depth - 1;
        END LOOP;
        EXIT WHEN i > cardinality(v_all);
        v_node := v_all[i];
        v_parent := v_all[v_node.parent];
        v_node.reached := CASE WHEN i = 1 THEN p_status <> 'pending' ELSE df._is_reached(v_node, v_parent, v_all) END;
        IF v_parent.node_type = 'TRANSACTION' AND v_parent.status = 'completed' THEN
            v_node.status := 'completed';    -- it has one row for all that is in it
        END IF;
        v_node.stamp := CASE
            WHEN i = 1 THEN p_instance || '::' || coalesce(v_node.round, 0) + 1
            WHEN v_parent.node_type IN ('JOIN', 'RACE') OR v_node.node_type = 'LOOP'
                THEN v_parent.stamp || '::' || df._node_id(i) || '::' || coalesce(v_node.round, 0) + 1
            ELSE v_parent.stamp END;
        v_all[i] := v_node;
        v_depth := v_depth + 1;
        v_open[v_depth] := i;
    END LOOP;

    FOR i IN 1 .. cardinality(v_all) LOOP
        v_node := v_all[i];
        v_parent := v_all[v_node.parent];
        v_node.decided_by := CASE
            WHEN i = 1 THEN CASE WHEN NOT v_live THEN 0 END
            WHEN v_parent.node_type = 'COMPENSATE' AND v_node.slot = 'right' AND v_parent.status = 'completed'
                THEN df._undo_dropped_by(v_parent, v_all, v_live)
            WHEN v_parent.status IN ('completed', 'failed') THEN v_parent.node
            ELSE v_parent.decided_by END;
        v_node.status := CASE v_node.status WHEN 'broke' THEN 'completed' ELSE v_node.status END;
        v_node.shown := v_node.status;
        IF v_node.status IN ('pending', 'running') AND v_node.decided_by IS NOT NULL THEN
            IF v_node.node_type = 'LOOP' AND v_node.reached AND (v_all[v_node.decided_by]).node_type = 'RACE' THEN
                v_node.status := 'failed';    -- a loop that lost its race
                v_node.shown := 'failed';
            ELSE
                v_node.shown := 'skipped';
            END IF;
        ELSE
            v_node.decided_by := NULL;
        END IF;
        v_all[i] := v_node;
        RETURN NEXT v_node;
    END LOOP;
END $$;

CREATE VIEW df._own_outcomes WITH (security_barrier) AS
    SELECT c.instance_id,
        ROW(c.node, c.status, c.n, c.due, c.result, c.types, c.error, c.attempt, c.at, c.path)::df._outcome AS outcome
    FROM df._checkpoints c JOIN df._instances i ON i.id = c.instance_id
    WHERE i.submitted_by = quote_ident(current_user)::regrole;

-- seen is one column: who needs it whole gets it whole.
CREATE VIEW df._own_nodes WITH (security_barrier) AS
    SELECT i.id AS instance_id, i.submitted_by, i.database, i.created_at, n AS seen
    FROM df._instances i
    CROSS JOIN LATERAL df._inspect(i.id, i.graph, i.status, ARRAY(
        SELECT ROW(c.node, c.status, c.n, c.due, c.result, c.types, c.error, c.attempt, c.at, c.path)::df._outcome
        FROM df._checkpoints c WHERE c.instance_id = i.id)) n
    WHERE i.submitted_by = quote_ident(current_user)::regrole;

-- jsonb of any stored json; what jsonb cannot hold (a NUL, a number out of range) becomes a string.
CREATE FUNCTION df._jsonb(p_json json) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE STRICT AS $$
BEGIN
    RETURN p_json::pg_catalog.jsonb;
EXCEPTION WHEN data_exception THEN
    RETURN pg_catalog.to_jsonb(p_json::pg_catalog.text);
END $$;

CREATE VIEW df._described_nodes WITH (security_barrier) AS
    SELECT df._node_id((o.seen).node) AS id, o.instance_id, n.node_type, n.query, n.result_name,
        df._node_id(n.left_node) AS left_node, df._node_id(n.right_node) AS right_node,
        n.status,
        CASE n.status WHEN 'completed' THEN df._jsonb(n.result)
                      WHEN 'failed' THEN to_jsonb(n.error ->> 'message') END AS result,
        n.error ->> 'message' AS error, o.submitted_by, o.database, o.created_at,
        coalesce(n.at, o.created_at) AS updated_at,
        CASE WHEN n.reached THEN jsonb_build_object('execution_id', n.stamp) END AS status_details,
        n.shown, n.decided_by
    FROM df._own_nodes o
    CROSS JOIN LATERAL (SELECT (o.seen).*) n;

CREATE VIEW df.nodes WITH (security_barrier) AS
    SELECT d.id, d.instance_id, d.node_type, d.query, d.result_name, d.left_node, d.right_node,
        d.status, d.result, d.error, d.submitted_by, d.database, d.created_at, d.updated_at, d.status_details
    FROM df._described_nodes d;

CREATE FUNCTION df.instance_nodes(instance_id_param text)
RETURNS TABLE (node_id text, node_type text, query text, result_name text, left_node text, right_node text,
    status text, result text, status_details text, inferred_status text,
    inferred_status_from_ancestor_id text, updated_at timestamptz)
LANGUAGE sql STRICT SET search_path = pg_catalog, pg_temp AS $$
    SELECT d.id, d.node_type, d.query, d.result_name, d.left_node, d.right_node,
        d.status, d.result::text, d.status_details::text, d.shown,
        CASE WHEN d.decided_by IS NOT NULL THEN df._node_id(greatest(d.decided_by, 1)) END, d.updated_at
    FROM df._described_nodes d
    WHERE d.instance_id = instance_id_param
    ORDER BY d.id
$$;


-- ---------------------------------------------------------------------------------------------
-- Instances

-- executions counts the rounds of a LOOP that is the whole graph; every other graph has one.
-- Ordered inside, as the lists read it: an order asked for outside a security_barrier view does not
-- reach the index, and a page would sort all instances of its role.
CREATE VIEW df._own_listed WITH (security_barrier) AS
    SELECT i.id, i.label, i.status, i.created_at, i.completed_at, i.fmt, i.database,
        'execute_function_graph'::text AS function_name,
        1 + coalesce((SELECT c.n FROM df._checkpoints c
                      WHERE c.instance_id = i.id AND c.node = 1 AND c.path = '' AND c.kind = 'LOOP'), 0) AS executions,
        CASE WHEN i.status = 'completed' THEN i.result::text ELSE i.error ->> 'message' END AS output,
        CASE WHEN i.status IN ('pending', 'running') THEN coalesce('paused: ' || i.paused, i.trouble) END AS held_up,
        CASE WHEN i.status = 'running' THEN i.ending ->> 'message' END AS ending
    FROM df._instances i
    WHERE i.submitted_by = quote_ident(current_user)::regrole
    ORDER BY i.created_at DESC, i.id DESC;

CREATE FUNCTION df._list_limit(p_limit integer) RETURNS integer
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_setting integer := coalesce((SELECT s.value::integer FROM df._public_settings s
                                   WHERE s.name = 'list_instances_max_limit'), 1000);
    v_session text := current_setting('pg_durable.list_instances_max_limit', true);
    v_max     integer := CASE WHEN v_session ~ '^[0-9]{1,9}$' THEN least(v_setting, v_session::integer) ELSE v_setting END;
BEGIN
    IF (p_limit >= 1) IS NOT TRUE THEN
        RAISE EXCEPTION 'limit_count must be at least 1' USING ERRCODE = '22023';
    ELSIF p_limit > v_max THEN
        RAISE EXCEPTION 'limit_count % is over list_instances_max_limit (%)', p_limit, v_max USING ERRCODE = '22023',
            HINT = 'Page through the list with the next_cursor of the form that takes after_cursor.';
    END IF;
    RETURN p_limit;
END $$;

-- A cursor is the place after a row, with a check sum: what was not handed out is refused.
CREATE FUNCTION df._cursor(p_created timestamptz, p_id text) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_place text := (extract(epoch FROM p_created) * 1000000)::bigint || ':' || p_id;
BEGIN
    RETURN encode(convert_to(left(md5('v1:' || v_place), 8) || ':' || v_place, 'UTF8'), 'hex');
END $$;

CREATE FUNCTION df._cursor_place(p_cursor text, OUT created timestamptz, OUT id text)
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_parts text[];
BEGIN
    IF p_cursor ~ '^([0-9a-f]{2}){20,60}$' THEN
        v_parts := regexp_match(encode(decode(p_cursor, 'hex'), 'escape'), '^[0-9a-f]{8}:([0-9]{1,17}):([0-9a-f]{8})$');
        created := timestamptz '1970-01-01 00:00:00+00' + v_parts[1]::bigint * interval '1 microsecond';
        id := v_parts[2];
    END IF;
    IF (p_cursor = df._cursor(created, id)) IS NOT TRUE THEN
        RAISE EXCEPTION 'invalid after_cursor' USING ERRCODE = '22023',
            HINT = 'Pass the next_cursor of an earlier page unchanged.';
    END IF;
END $$;

CREATE FUNCTION df.list_instances(status_filter text DEFAULT NULL, limit_count integer DEFAULT 100)
RETURNS TABLE (instance_id text, label text, function_name text, status text, execution_count bigint, output text)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN QUERY
        SELECT l.id, l.label, l.function_name, l.status, l.executions, l.output
        FROM df._own_listed l
        WHERE status_filter IS NULL OR l.status = status_filter
        ORDER BY l.created_at DESC, l.id DESC LIMIT df._list_limit(limit_count);
END $$;

CREATE FUNCTION df.list_instances(status_filter text, limit_count integer, label_filter text, after_cursor text DEFAULT NULL)
RETURNS TABLE (instance_id text, label text, function_name text, status text, execution_count bigint, output text,
    created_at timestamptz, completed_at timestamptz, next_cursor text)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_created timestamptz := 'infinity';
    v_id      text := '';
BEGIN
    PERFORM df._list_limit(limit_count);
    IF after_cursor IS NOT NULL THEN
        SELECT p.created, p.id INTO v_created, v_id FROM df._cursor_place(after_cursor) p;
    END IF;
    RETURN QUERY
        WITH page AS (  -- one more than asked for tells whether another page follows
            SELECT l.*, row_number() OVER (ORDER BY l.created_at DESC, l.id DESC) AS n
            FROM (SELECT o.* FROM df._own_listed o
                  WHERE (status_filter IS NULL OR o.status = status_filter)
                      AND (label_filter IS NULL OR o.label = label_filter)
                      AND (o.created_at, o.id) < (v_created, v_id COLLATE "C")
                  ORDER BY o.created_at DESC, o.id DESC LIMIT limit_count + 1) l)
        SELECT p.id, p.label, p.function_name, p.status, p.executions, p.output, p.created_at,
            CASE WHEN p.status = 'completed' THEN p.completed_at END,
            (SELECT df._cursor(q.created_at, q.id) FROM page q
             WHERE q.n = limit_count AND EXISTS (SELECT 1 FROM page r WHERE r.n > limit_count))
        FROM page p WHERE p.n <= limit_count ORDER BY p.n;
END $$;

CREATE FUNCTION df.instance_info(instance_id text)
RETURNS TABLE (instance_id text, label text, function_name text, function_version text,
    current_execution_id bigint, status text, output text)
LANGUAGE sql STRICT SET search_path = pg_catalog, pg_temp AS $$
    SELECT l.id, l.label, l.function_name, l.fmt::text, l.executions, l.status, l.output
    FROM df._own_listed l WHERE l.id = $1
$$;

-- An older form, of the execution that runs or was the last: of earlier ones only the output stays.
CREATE FUNCTION df.instance_nodes(instance_id_param text, _last_n_executions integer)
RETURNS TABLE (execution_id bigint, node_id text, node_type text, query text, result_name text,
    left_node text, right_node text, status text, result text, updated_at timestamptz)
LANGUAGE sql STRICT SET search_path = pg_catalog, pg_temp AS $$
    SELECT l.executions, d.id, d.node_type, d.query, d.result_name, d.left_node, d.right_node,
        d.status, d.result::text, d.updated_at
    FROM df._described_nodes d JOIN df._own_listed l ON l.id = d.instance_id
    WHERE d.instance_id = instance_id_param ORDER BY d.id
$$;


-- ---------------------------------------------------------------------------------------------
-- Executions: the rounds of a LOOP that is a whole graph; every other graph has one

-- Finished rounds, the newest 100: what a loop that runs for a year leaves is constant.
CREATE TABLE df._rounds (
    instance_id  text COLLATE "C" NOT NULL,
    n            bigint NOT NULL,          -- from 0, as in the loop's frame
    started_at   timestamptz NOT NULL,
    ended_at     timestamptz NOT NULL,
    events       bigint NOT NULL,          -- rows that the round had, which are gone
    output       json,
    PRIMARY KEY (instance_id, n)
);

-- Whoever moves a frame on leaves the finished round's rows for later, so they are still there.
CREATE FUNCTION df._keep_round() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
DECLARE
    v_path CONSTANT text := '.' || OLD.n;
BEGIN
    IF TG_RELID <> 'df._checkpoints'::regclass THEN
        RAISE EXCEPTION 'this trigger is for df._checkpoints only' USING ERRCODE = '42501';
    END IF;
    INSERT INTO df._rounds (instance_id, n, started_at, ended_at, events, output)
    SELECT OLD.instance_id, OLD.n, OLD.at, NEW.at, count(*), NEW.result
    FROM df._checkpoints c
    WHERE c.instance_id = OLD.instance_id AND c.node > 1
      AND (c.path = v_path OR substr(c.path, 1, length(v_path) + 1) ~ '[.:~!]$' AND starts_with(c.path, v_path));
    DELETE FROM df._rounds r WHERE r.instance_id = OLD.instance_id AND r.n <= OLD.n - 100;
    RETURN NULL;
END $$;

CREATE TRIGGER keep_round AFTER UPDATE OF n ON df._checkpoints FOR EACH ROW
    WHEN (NEW.node = 1 AND NEW.path = '' AND NEW.kind = 'LOOP' AND NEW.n > OLD.n)
    EXECUTE FUNCTION df._keep_round();

-- The finished rounds, and the execution that runs or ended the instance.
CREATE VIEW df._own_executions WITH (security_barrier) AS
    SELECT i.id AS instance_id, e.*
    FROM df._instances i
    CROSS JOIN LATERAL (
        SELECT (SELECT c.n FROM df._checkpoints c
                WHERE c.instance_id = i.id AND c.node = 1 AND c.path = '' AND c.kind = 'LOOP') AS round) l
    CROSS JOIN LATERAL (
        SELECT r.n + 1 AS execution_id, 'completed'::text AS status, r.events AS event_count,
            (extract(epoch FROM r.ended_at - r.started_at) * 1000)::bigint AS duration_ms, r.output::text AS output
        FROM df._rounds r WHERE r.instance_id = i.id
        UNION ALL
        SELECT coalesce(l.round, 0) + 1, i.status,
            (SELECT count(*) FROM df._checkpoints c WHERE c.instance_id = i.id AND (l.round IS NULL OR c.node > 1)),
            (extract(epoch FROM i.completed_at - coalesce(
                (SELECT r.ended_at FROM df._rounds r WHERE r.instance_id = i.id AND r.n = l.round - 1),
                i.started_at)) * 1000)::bigint,
            CASE WHEN i.status = 'completed' THEN i.result::text ELSE i.error ->> 'message' END) e
    WHERE i.submitted_by = quote_ident(current_user)::regrole;

CREATE FUNCTION df.instance_executions(instance_id text, limit_count integer DEFAULT 5)
RETURNS TABLE (execution_id bigint, status text, event_count bigint, duration_ms bigint, output text)
LANGUAGE plpgsql STRICT SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN QUERY
        SELECT e.execution_id, e.status, e.event_count, e.duration_ms, e.output
        FROM df._own_executions e WHERE e.instance_id = $1
        ORDER BY e.execution_id DESC LIMIT df._list_limit(limit_count);
END $$;


-- ---------------------------------------------------------------------------------------------
-- All instances together

-- Over everybody's instances, so it needs a grant of its own.
CREATE FUNCTION df.metrics()
RETURNS TABLE (total_instances bigint, running_instances bigint, completed_instances bigint,
    failed_instances bigint, total_executions bigint, total_events bigint)
LANGUAGE sql STABLE STRICT SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT i.*,
        i.instances + coalesce((SELECT sum(c.n) FROM df._checkpoints c
                                WHERE c.node = 1 AND c.path = '' AND c.kind = 'LOOP'), 0)::bigint,
        (SELECT count(*) FROM df._checkpoints) + coalesce((SELECT sum(r.events) FROM df._rounds r), 0)::bigint
    FROM (SELECT count(*) AS instances, count(*) FILTER (WHERE s.status = 'running'),
              count(*) FILTER (WHERE s.status = 'completed'), count(*) FILTER (WHERE s.status = 'failed')
          FROM df._instances s) i
$$;

-- Where the home schema is: workflows run there unless df.start names another database.
CREATE FUNCTION df.target_database() RETURNS text
LANGUAGE sql STABLE AS $$
    SELECT pg_catalog.current_database()::pg_catalog.text
$$;
