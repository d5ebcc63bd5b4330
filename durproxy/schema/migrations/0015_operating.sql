-- Operating instances: pausing, running again, what was tried, what is waited for.

-- ---------------------------------------------------------------------------------------------
-- Pausing
--
-- A paused instance has no time at which it may be claimed. What a worker has in flight finishes,
-- and nothing new begins: the worker is notified, and gives the instance back. Timers and the
-- mailbox go on; what they bring acts when the instance is resumed.

CREATE FUNCTION df._refuse_ended(p_who regrole, p_instance text, p_what text) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    v_status text := (SELECT i.status FROM df._instances i WHERE i.id = p_instance AND i.submitted_by = p_who);
BEGIN
    IF v_status IS NULL THEN
        RAISE EXCEPTION 'instance "%" not found or access denied', p_instance USING ERRCODE = '42704';
    END IF;
    RAISE EXCEPTION 'instance "%" is %', p_instance, v_status USING ERRCODE = '55000',
        DETAIL = format('Only what has not ended can be %s.', p_what);
END $$;

CREATE FUNCTION df._do_pause(p_who regrole, p_instance text, p_reason text) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    UPDATE df._instances i
    SET paused = CASE WHEN starts_with(i.paused, 'set aside:') THEN i.paused ELSE p_reason END, ready_at = NULL,
        updated_at = CASE WHEN i.paused IS NULL THEN clock_timestamp() ELSE i.updated_at END
    WHERE i.id = p_instance AND i.submitted_by = p_who AND i.status IN ('pending', 'running');
    IF NOT FOUND THEN
        PERFORM df._refuse_ended(p_who, p_instance, 'paused');
    END IF;
    PERFORM df._notify('p:' || p_instance);
END $$;

-- One that was set aside begins with a clean record. One that a worker still gives back is ready as
-- soon as that is done.
CREATE FUNCTION df._do_resume(p_who regrole, p_instance text) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    UPDATE df._instances i
    SET paused = NULL, takeovers = 0, strikes = 0, delays = 0, progress_at = NULL, trouble = NULL,
        ready_at = CASE WHEN i.owner IS NULL THEN greatest(i.start_at, df._clock()) END,
        updated_at = clock_timestamp()
    WHERE i.id = p_instance AND i.submitted_by = p_who AND i.paused IS NOT NULL
      AND i.status IN ('pending', 'running');
    IF NOT FOUND AND NOT EXISTS (
        SELECT 1 FROM df._instances i
        WHERE i.id = p_instance AND i.submitted_by = p_who AND i.status IN ('pending', 'running'))
    THEN
        PERFORM df._refuse_ended(p_who, p_instance, 'resumed');
    END IF;
    PERFORM df._notify('s:' || p_instance);  -- as if a message had come: whoever hears it claims it
END $$;

CREATE FUNCTION df.pause(instance_id text, reason text DEFAULT 'Paused by user') RETURNS text
LANGUAGE plpgsql STRICT AS $$
BEGIN
    INSERT INTO df._commands (verb, instance_id, payload) VALUES ('pause', pause.instance_id, reason);
    -- the reason that is kept: why it was set aside stays
    RETURN pg_catalog.format('Instance %s paused: %s', instance_id, (
        SELECT w.detail FROM df.waiting w
        WHERE w.instance_id OPERATOR(pg_catalog.=) pause.instance_id AND w.waits_for OPERATOR(pg_catalog.=) 'resume'));
END $$;

CREATE FUNCTION df.resume(instance_id text) RETURNS text
LANGUAGE plpgsql STRICT AS $$
BEGIN
    INSERT INTO df._commands (verb, instance_id) VALUES ('resume', resume.instance_id);
    RETURN pg_catalog.format('Instance %s resumed', instance_id);
END $$;


-- ---------------------------------------------------------------------------------------------
-- Running again
--
-- A rerun is an instance of its own that begins with rows of another one, which has ended: those of
-- every node that completed before the node to run again from. Recovery does the rest, since what
-- has a row is not asked for again. Each node is one of
--   w  kept whole: it has completed, and nothing before it in its sequence runs again
--   d  entered: some of what is in it is kept
--   n  runs again
-- A node whose undo has run counts as one that has not completed.

CREATE FUNCTION df._refuse_from(p_node df._seen, p_parent df._seen) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    v_inside CONSTANT text := CASE p_parent.node_type
        WHEN 'LOOP' THEN 'a round' WHEN 'MAP' THEN 'an item' WHEN 'RETRY' THEN 'an attempt'
        WHEN 'TRANSACTION' THEN 'a transaction' ELSE 'a cleanup' END;
BEGIN
    RAISE EXCEPTION 'cannot run again from inside %', v_inside USING ERRCODE = '0A000',
        DETAIL = format('Node "%s" is inside the %s "%s".', df._node_id(p_node.node),
            p_parent.node_type, df._node_id(p_parent.node)),
        HINT = format('Run again from node "%s".', df._node_id(p_parent.node));
END $$;

-- COMPENSATE nodes whose undo has run, and the completed nodes around each, which are not complete
-- any more. An undo inside of something that completed afterwards belongs to that.
CREATE FUNCTION df._undone(p_nodes df._seen[], p_undone integer[]) RETURNS integer[]
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    v_found integer[] := p_undone;
    v_node  integer;
BEGIN
    FOREACH v_node IN ARRAY p_undone LOOP
        v_node := (p_nodes[v_node]).parent;
        WHILE (p_nodes[v_node]).status = 'completed' LOOP
            v_found := v_found || v_node;
            v_node := (p_nodes[v_node]).parent;
        END LOOP;
    END LOOP;
    RETURN v_found;
END $$;

-- w, d or n for each node. p_from: the node to run again from, NULL for where it has stopped; p_open:
-- loops that are in a round; p_undone: COMPENSATE nodes whose undo has run.
CREATE FUNCTION df._kept(p_nodes df._seen[], p_from integer, p_open integer[], p_undone integer[])
RETURNS text[] LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    v_undone CONSTANT integer[] := df._undone(p_nodes, p_undone);
    v_kept   text[] := '{}';
    v_node   df._seen;
    v_parent df._seen;
    v_before df._seen;     -- the child that must have completed before this one begins
    v_inside boolean;      -- p_from is this node or in it
    v_gone   boolean;      -- something that this node builds on is not kept
BEGIN
    FOREACH v_node IN ARRAY p_nodes LOOP
        v_parent := p_nodes[v_node.parent];
        v_before := p_nodes[CASE
            WHEN v_parent.node_type IN ('THEN', 'CATCH') AND v_node.slot = 'right'
                OR v_parent.node_type = 'IF' AND v_node.slot <> 'condition' AND (p_nodes[v_parent.node + 1]).slot = 'condition'
            THEN v_parent.node + 1 END];
        v_inside := coalesce(p_from BETWEEN v_node.node AND v_node.last, false);
        v_gone := coalesce(v_kept[v_before.node] <> 'w', false)
            OR v_parent.node = ANY (p_undone) AND v_node.node IS DISTINCT FROM p_from;
        IF v_inside AND (v_parent.node_type IN ('LOOP', 'MAP', 'RETRY', 'TRANSACTION')
                         OR v_parent.node_type IN ('FINALLY', 'COMPENSATE') AND v_node.slot = 'right') THEN
            PERFORM df._refuse_from(p_nodes[p_from], v_parent);
        ELSIF v_inside AND v_gone THEN
            PERFORM df._refuse_unbuilt(p_nodes[p_from], (
                SELECT min(u) FROM unnest(p_undone) u
                WHERE u BETWEEN coalesce(v_before.node, v_parent.node) AND coalesce(v_before.last, v_parent.node)));
        END IF;
        v_kept[v_node.node] := CASE
            WHEN v_kept[v_parent.node] <> 'd' THEN v_kept[v_parent.node]
            WHEN v_gone OR v_node.node = p_from THEN 'n'
            WHEN v_inside THEN 'd'
            WHEN v_parent.node_type IN ('RACE', 'ANY') THEN 'n'
            WHEN v_parent.node_type IN ('FINALLY', 'COMPENSATE') AND v_node.slot = 'right' THEN 'n'
            WHEN v_node.status = 'completed' AND v_node.node <> ALL (v_undone) THEN 'w'
            -- the failure that the handler was called for
            WHEN v_parent.node_type = 'CATCH' AND v_node.slot = 'left' AND (p_nodes[v_node.last + 1]).reached THEN 'w'
            WHEN v_node.node_type IN ('THEN', 'IF', 'JOIN', 'SAGA', 'CATCH', 'TIMEOUT', 'FINALLY', 'COMPENSATE') THEN 'd'
            WHEN v_node.node = ANY (p_open) THEN 'd'
            ELSE 'n' END;
    END LOOP;
    RETURN v_kept;
END $$;

-- What a node builds on is not there, or not there any more: p_undone is the first of it.
CREATE FUNCTION df._refuse_unbuilt(p_node df._seen, p_undone integer) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF p_undone IS NOT NULL THEN
        RAISE EXCEPTION 'what node "%" builds on has been undone', df._node_id(p_node.node) USING ERRCODE = '55000',
            HINT = format('Run again from node "%s" or one before it.', df._node_id(p_undone));
    END IF;
    RAISE EXCEPTION 'node "%" has not been reached', df._node_id(p_node.node) USING ERRCODE = '55000',
        HINT = 'Without from_node it runs again from where it has stopped.';
END $$;

CREATE FUNCTION df._node_number(p_instance text, p_graph json, p_node text) RETURNS integer
LANGUAGE plpgsql STABLE STRICT AS $$
DECLARE
    v_node integer := (SELECT w.node FROM df._walk(p_graph) w WHERE df._node_id(w.node) = p_node);
BEGIN
    IF v_node IS NULL THEN
        RAISE EXCEPTION 'instance "%" has no node "%"', p_instance, p_node USING ERRCODE = '22023',
            HINT = 'df.instance_nodes() lists its nodes.';
    END IF;
    RETURN v_node;
END $$;

-- Everything is the original's; who may start what is checked as for any other start.
CREATE FUNCTION df._begin_rerun() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_original df._instances;
BEGIN
    IF TG_RELID <> 'df._instances'::regclass THEN  -- on another table anybody could write "submitted_by"
        RAISE EXCEPTION 'this trigger is for df._instances only' USING ERRCODE = '42501';
    END IF;
    SELECT i.* INTO v_original FROM df._instances i
    WHERE i.id = NEW.rerun_of AND i.submitted_by = NEW.submitted_by FOR SHARE;  -- its rows must not be deleted now
    IF NOT FOUND THEN
        RAISE EXCEPTION 'instance "%" not found or access denied', NEW.rerun_of USING ERRCODE = '42704';
    ELSIF v_original.status IN ('pending', 'running') THEN
        RAISE EXCEPTION 'instance "%" is %', v_original.id, v_original.status USING ERRCODE = '55000',
            DETAIL = 'Only what has ended can be run again.', HINT = 'Wait for its end, or cancel it.';
    END IF;
    PERFORM df._node_number(v_original.id, v_original.graph, NEW.rerun_from);
    NEW.graph := v_original.graph;
    NEW.fmt := v_original.fmt;
    NEW.label := v_original.label;
    NEW.database := v_original.database;
    NEW.vars := v_original.vars;
    RETURN NEW;
END $$;

CREATE TRIGGER begin_rerun BEFORE INSERT ON df._instances
    FOR EACH ROW WHEN (NEW.rerun_of IS NOT NULL) EXECUTE FUNCTION df._begin_rerun();

CREATE FUNCTION df._copy_results() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_status text := (SELECT i.status FROM df._instances i WHERE i.id = NEW.rerun_of);
    v_rows   df._checkpoints[] := ARRAY(SELECT c FROM df._checkpoints c WHERE c.instance_id = NEW.rerun_of ORDER BY c.at);
    v_row    df._checkpoints;
    v_nodes  df._seen[];
    v_kept   text[];
BEGIN
    IF TG_RELID <> 'df._instances'::regclass THEN
        RAISE EXCEPTION 'this trigger is for df._instances only' USING ERRCODE = '42501';
    END IF;
    IF v_status = 'completed' AND NEW.rerun_from IS NULL THEN
        RETURN NULL;
    END IF;
    v_nodes := ARRAY(
        SELECT n FROM df._inspect(NEW.rerun_of, NEW.graph, v_status, ARRAY(
            SELECT ROW(c.node, c.status, c.n, c.due, c.result, c.types, c.error, c.attempt, c.at, c.path)::df._outcome
            FROM unnest(v_rows) c)) n
        ORDER BY n.node);
    v_kept := df._kept(v_nodes, df._node_number(NEW.rerun_of, NEW.graph, NEW.rerun_from),
        ARRAY(SELECT c.node FROM unnest(v_rows) c WHERE c.kind = 'LOOP' AND c.status = 'o'),
        ARRAY(SELECT DISTINCT n.node FROM unnest(v_nodes) n JOIN unnest(v_rows) c
              ON n.node_type = 'COMPENSATE' AND c.node BETWEEN n.right_node AND n.last AND position('!' IN c.path) > 0));
    FOREACH v_row IN ARRAY v_rows LOOP
        IF v_kept[v_row.node] = 'w' OR v_kept[v_row.node] = 'd' AND v_row.kind = 'LOOP' AND v_row.status = 'o' THEN
            v_row.instance_id := NEW.id;
            INSERT INTO df._checkpoints VALUES (v_row.*);
            v_status := 'running';
        END IF;
    END LOOP;
    IF v_status = 'running' THEN  -- it has results: a worker must load them
        UPDATE df._instances i SET status = 'running' WHERE i.id = NEW.id;
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER copy_results AFTER INSERT ON df._instances
    FOR EACH ROW WHEN (NEW.rerun_of IS NOT NULL) EXECUTE FUNCTION df._copy_results();

CREATE FUNCTION df.rerun(instance_id text, from_node text DEFAULT NULL) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    v_id pg_catalog.text;
BEGIN
    IF instance_id IS NOT NULL THEN
        INSERT INTO df._own AS o (rerun_of, rerun_from) VALUES (instance_id, from_node) RETURNING o.id INTO v_id;
    END IF;
    RETURN v_id;
END $$;


-- ---------------------------------------------------------------------------------------------
-- What was tried

-- Part of every transaction that records the failure of a step. p_seconds: how long it took.
CREATE FUNCTION df._attempted_1(p_instance text, p_node integer, p_path text, p_error json, p_seconds double precision)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
BEGIN
    INSERT INTO df._attempts (instance_id, node, path, error, began)
    VALUES (p_instance, p_node, p_path, p_error, clock_timestamp() - make_interval(secs => coalesce(p_seconds, 0)));
    DELETE FROM df._attempts a
    WHERE a.instance_id = p_instance AND a.node = p_node AND a.seq <= (
        SELECT o.seq FROM df._attempts o WHERE o.instance_id = p_instance AND o.node = p_node
        ORDER BY o.seq DESC OFFSET 100 LIMIT 1);
END $$;

-- What failed is in df._attempts, with what a retry or a loop has passed; the rest has its checkpoint.
CREATE VIEW df._own_attempts WITH (security_barrier) AS
    SELECT i.id AS instance_id, w.node, w.node_type, a.path, a.status, a.error,
        a.began - CASE WHEN starts_with(w.node_type, 'HTTP') AND a.status = 'completed'
                       THEN make_interval(secs => (a.result ->> 'duration_ms')::double precision / 1000)
                       ELSE interval '0' END AS began,
        a.ended
    FROM df._instances i
    CROSS JOIN LATERAL df._walk(i.graph) w
    CROSS JOIN LATERAL (
        SELECT c.path, CASE c.status WHEN 'd' THEN 'completed' ELSE 'running' END AS status, NULL::json AS error,
            c.began, CASE c.status WHEN 'd' THEN c.at END AS ended, c.result
        FROM df._checkpoints c
        WHERE c.instance_id = i.id AND c.node = w.node AND c.status <> 'f'
          AND (w.last = w.node OR w.node_type = 'TRANSACTION')
        UNION ALL
        SELECT t.path, 'failed', t.error, t.began, t.at, NULL FROM df._attempts t
        WHERE t.instance_id = i.id AND t.node = w.node) a
    WHERE i.submitted_by = quote_ident(current_user)::regrole;

CREATE FUNCTION df.history(instance_id text)
RETURNS TABLE (node_id text, node_type text, path text, attempt integer, status text, sqlstate text, error text,
    started_at timestamptz, finished_at timestamptz, duration interval)
LANGUAGE sql STABLE STRICT SET search_path = pg_catalog, pg_temp AS $$
    SELECT df._node_id(a.node), a.node_type, a.path,
        coalesce((regexp_match(a.path, '~([0-9]+)[^~]*$'))[1]::integer, 0) + 1,
        a.status, a.error ->> 'sqlstate', a.error ->> 'message', a.began, a.ended, a.ended - a.began
    FROM df._own_attempts a WHERE a.instance_id = $1
    ORDER BY a.began, a.node, a.path
$$;


-- ---------------------------------------------------------------------------------------------
-- What is waited for

-- Nothing of this is stored: each row follows from the state of an instance, from a wait that is
-- open, or from who has locked its row. An instance whose steps run has no row.
CREATE VIEW df._own_live WITH (security_barrier) AS
    SELECT i.id, i.label, i.status, i.owner, i.ready_at, i.start_at, i.created_at, i.updated_at, i.paused,
        i.trouble, i.xmax AS locked_by
    FROM df._instances i
    WHERE i.submitted_by = quote_ident(current_user)::regrole AND i.status IN ('pending', 'running');

CREATE VIEW df.waiting WITH (security_barrier) AS
    SELECT i.id AS instance_id, i.label, NULL::text AS node_id, 'resume'::text AS waits_for, i.paused AS detail,
        i.updated_at AS since, NULL::timestamptz AS due
    FROM df._own_live i WHERE i.paused IS NOT NULL
    UNION ALL
    SELECT i.id, i.label, NULL, 'start', NULL, i.created_at, i.start_at
    FROM df._own_live i
    WHERE i.status = 'pending' AND i.ready_at = i.start_at AND i.start_at > df._clock()
    UNION ALL  -- tried in vain, and tried again: its role cannot log in, or its worker died
    SELECT i.id, i.label, NULL, 'another try', i.trouble, i.updated_at, i.ready_at
    FROM df._own_live i WHERE i.trouble IS NOT NULL AND i.ready_at IS NOT NULL
    UNION ALL
    SELECT i.id, i.label, NULL, 'worker', CASE WHEN NOT EXISTS (
            SELECT 1 FROM df._engines e JOIN pg_stat_activity a ON a.pid = e.pid)
        THEN 'no worker is running' END, i.ready_at, NULL
    FROM df._own_live i WHERE i.ready_at <= df._clock() AND i.trouble IS NULL
    UNION ALL
    SELECT i.id, i.label, NULL, 'lock', format('process %s has locked its row', l.pid), NULL, NULL
    FROM df._own_live i
    JOIN pg_locks l ON l.locktype = 'transactionid' AND l.transactionid = i.locked_by AND l.granted
    JOIN pg_stat_activity a ON a.pid = l.pid
    WHERE i.owner IS NOT NULL AND NOT starts_with(a.application_name, 'durproxy ')
    UNION ALL
    SELECT i.id, i.label, df._node_id(c.node), CASE c.kind
            WHEN 'SIGNAL' THEN 'signal' WHEN 'WAIT_SCHEDULE' THEN 'schedule' WHEN 'WAIT_CONDITION' THEN 'condition'
            WHEN 'RETRY' THEN 'retry' WHEN 'COMPENSATE' THEN 'retry' ELSE 'timer' END,
        c.signal, CASE WHEN c.kind IN ('RETRY', 'COMPENSATE') THEN c.at ELSE c.began END,
        CASE c.kind WHEN 'WAIT_CONDITION' THEN nullif(i.ready_at, 'infinity') ELSE c.due END
    FROM df._own_live i JOIN df._checkpoints c ON c.instance_id = i.id
    WHERE c.status = 'o' AND (
        c.kind IN ('SLEEP', 'SLEEP_UNTIL', 'WAIT_SCHEDULE', 'SIGNAL', 'WAIT_CONDITION')
        OR c.kind IN ('RETRY', 'COMPENSATE') AND c.due > df._clock());
