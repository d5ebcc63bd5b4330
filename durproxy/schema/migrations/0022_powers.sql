-- Powers beyond one's own instances: to look at all, to act on all, and to run the engine without
-- owning the schema.
--
-- * A power is a privilege: EXECUTE on a function that does nothing. So it may be given to any role,
--   a group too, is inherited as Postgres inherits, goes along in a dump, and is gone with its role.
--   The owner and superusers do not have it by themselves: only a grant, or membership in a role
--   that has one, counts.
-- * Who looks at all sees what each owner sees, but not the owner's variables. Who acts on all gives
--   orders as if the owner had: a rerun runs as the owner of the original.
-- * A role that runs the engine owns nothing. The functions of the protocol are SECURITY DEFINER,
--   and end in their version; it may call these, and no other role may. The schema's owner must be
--   a member of it, since only so may those functions see its sessions, which tell who is alive.

-- ---------------------------------------------------------------------------------------------
-- Who has which power

CREATE FUNCTION df._view_all() RETURNS void LANGUAGE sql IMMUTABLE AS '';
CREATE FUNCTION df._operate_all() RETURNS void LANGUAGE sql IMMUTABLE AS '';
REVOKE EXECUTE ON FUNCTION df._view_all(), df._operate_all() FROM PUBLIC;

-- The catalog's rows are as old as the transaction's snapshot, has_function_privilege is of when this
-- session last locked something new, as with every right in Postgres: who has lost a power gives no
-- order any more in a transaction that was open.
CREATE FUNCTION df._has_power(p_role oid, p_powers oid[]) RETURNS boolean
LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN EXISTS (
        SELECT FROM pg_catalog.pg_proc p CROSS JOIN LATERAL pg_catalog.aclexplode(p.proacl) a
        WHERE p.oid OPERATOR(pg_catalog.=) ANY (p_powers) AND a.grantee OPERATOR(pg_catalog.<>) p.proowner
            AND a.grantee OPERATOR(pg_catalog.<>) 0::pg_catalog.oid
            AND pg_catalog.pg_has_role(p_role, a.grantee, 'USAGE')
            AND pg_catalog.has_function_privilege(p_role, p.oid, 'EXECUTE'));
END $$;

-- Asked with each look at an instance: in plpgsql, which keeps its plan, and without a SET, it costs
-- a tenth of what it does as a function in SQL.
CREATE FUNCTION df._sees_all() RETURNS boolean
LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN df._has_power(pg_catalog.quote_ident(current_user)::pg_catalog.regrole,
        ARRAY['df._view_all()'::pg_catalog.regprocedure, 'df._operate_all()'::pg_catalog.regprocedure]::pg_catalog.oid[]);
END $$;

-- As whom a role gives an order about an instance: as itself, or, with the power, as its owner.
CREATE FUNCTION df._acts_for(p_who regrole, p_instance text) RETURNS regrole
LANGUAGE plpgsql STABLE AS $$
DECLARE
    v_owner regrole := (SELECT i.submitted_by FROM df._instances i WHERE i.id = p_instance);
BEGIN
    RETURN CASE WHEN v_owner <> p_who AND df._has_power(p_who, ARRAY['df._operate_all()'::regprocedure]::oid[])
        THEN v_owner ELSE p_who END;
END $$;

-- ---------------------------------------------------------------------------------------------
-- Looking
--
-- df._own stays what it was: df.start looks there for the instance of a key, which is the role's
-- own. Two views and not one condition with OR, so that own rows are still found by their index.

CREATE VIEW df._mine WITH (security_barrier) AS
    SELECT i.*, i.xmax AS locked_by FROM df._instances i
    WHERE i.submitted_by = quote_ident(current_user)::regrole;

CREATE VIEW df._others WITH (security_barrier) AS
    SELECT i.*, i.xmax AS locked_by FROM df._instances i
    WHERE i.submitted_by <> quote_ident(current_user)::regrole AND (SELECT df._sees_all());

CREATE VIEW df._shown WITH (security_barrier) AS
    SELECT m.* FROM df._mine m UNION ALL SELECT o.* FROM df._others o;

CREATE OR REPLACE VIEW df.instances WITH (security_barrier) AS
    SELECT i.id, i.label, '00000001'::text AS root_node, i.status, i.submitted_by, i.database,
        i.created_at, i.updated_at,
        CASE WHEN i.status = 'completed' THEN i.completed_at END AS completed_at
    FROM df._shown i;

CREATE OR REPLACE VIEW df._own_outcomes WITH (security_barrier) AS
    SELECT c.instance_id,
        ROW(c.node, c.status, c.n, c.due, c.result, c.types, c.error, c.attempt, c.at, c.path)::df._outcome AS outcome
    FROM df._checkpoints c JOIN df._shown i ON i.id = c.instance_id;

CREATE OR REPLACE VIEW df._own_nodes WITH (security_barrier) AS
    SELECT i.id AS instance_id, i.submitted_by, i.database, i.created_at, n AS seen
    FROM df._shown i
    CROSS JOIN LATERAL df._inspect(i.id, i.graph, i.status, ARRAY(
        SELECT ROW(c.node, c.status, c.n, c.due, c.result, c.types, c.error, c.attempt, c.at, c.path)::df._outcome
        FROM df._checkpoints c WHERE c.instance_id = i.id)) n;

-- Each half in its order, so that a page is read from the index of own rows.
CREATE VIEW df._my_list WITH (security_barrier) AS
    SELECT i.id, i.label, i.status, i.created_at, i.completed_at, i.fmt, i.database,
        'execute_function_graph'::text AS function_name,
        1 + coalesce((SELECT c.n FROM df._checkpoints c
                      WHERE c.instance_id = i.id AND c.node = 1 AND c.path = '' AND c.kind = 'LOOP'), 0) AS executions,
        CASE WHEN i.status = 'completed' THEN i.result::text ELSE i.error ->> 'message' END AS output,
        CASE WHEN i.status IN ('pending', 'running') THEN coalesce('paused: ' || i.paused, i.trouble) END AS held_up,
        CASE WHEN i.status = 'running' THEN i.ending ->> 'message' END AS ending,
        i.submitted_by
    FROM df._instances i
    WHERE i.submitted_by = quote_ident(current_user)::regrole
    ORDER BY i.created_at DESC, i.id DESC;

CREATE VIEW df._others_list WITH (security_barrier) AS
    SELECT i.id, i.label, i.status, i.created_at, i.completed_at, i.fmt, i.database,
        'execute_function_graph'::text AS function_name,
        1 + coalesce((SELECT c.n FROM df._checkpoints c
                      WHERE c.instance_id = i.id AND c.node = 1 AND c.path = '' AND c.kind = 'LOOP'), 0) AS executions,
        CASE WHEN i.status = 'completed' THEN i.result::text ELSE i.error ->> 'message' END AS output,
        CASE WHEN i.status IN ('pending', 'running') THEN coalesce('paused: ' || i.paused, i.trouble) END AS held_up,
        CASE WHEN i.status = 'running' THEN i.ending ->> 'message' END AS ending,
        i.submitted_by
    FROM df._instances i
    WHERE i.submitted_by <> quote_ident(current_user)::regrole AND (SELECT df._sees_all())
    ORDER BY i.created_at DESC, i.id DESC;

CREATE OR REPLACE VIEW df._own_listed WITH (security_barrier) AS
    SELECT m.* FROM df._my_list m UNION ALL SELECT o.* FROM df._others_list o;

CREATE OR REPLACE VIEW df._own_executions WITH (security_barrier) AS
    SELECT i.id AS instance_id, e.*
    FROM df._shown i
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
            CASE WHEN i.status = 'completed' THEN i.result::text ELSE i.error ->> 'message' END) e;

CREATE OR REPLACE VIEW df._own_attempts WITH (security_barrier) AS
    SELECT i.id AS instance_id, w.node, w.node_type, a.path, a.status, a.error,
        a.began - CASE WHEN starts_with(w.node_type, 'HTTP') AND a.status = 'completed'
                       THEN make_interval(secs => (a.result ->> 'duration_ms')::double precision / 1000)
                       ELSE interval '0' END AS began,
        a.ended
    FROM df._shown i
    CROSS JOIN LATERAL df._walk(i.graph) w
    CROSS JOIN LATERAL (
        SELECT c.path, CASE c.status WHEN 'd' THEN 'completed' ELSE 'running' END AS status, NULL::json AS error,
            c.began, CASE c.status WHEN 'd' THEN c.at END AS ended, c.result
        FROM df._checkpoints c
        WHERE c.instance_id = i.id AND c.node = w.node AND c.status <> 'f'
          AND (w.last = w.node OR w.node_type = 'TRANSACTION')
        UNION ALL
        SELECT t.path, 'failed', t.error, t.began, t.at, NULL FROM df._attempts t
        WHERE t.instance_id = i.id AND t.node = w.node) a;

CREATE OR REPLACE VIEW df._own_live WITH (security_barrier) AS
    SELECT i.id, i.label, i.status, i.owner, i.ready_at, i.start_at, i.created_at, i.updated_at, i.paused,
        i.trouble, i.locked_by
    FROM df._shown i
    WHERE i.status IN ('pending', 'running');

CREATE OR REPLACE VIEW df.schedules WITH (security_barrier) AS
    SELECT s.name, s.cron, s.tz, s.overlap, s.instance_id, i.status, i.paused,
        (SELECT c.due FROM df._checkpoints c
         WHERE c.instance_id = s.instance_id AND c.kind = 'WAIT_SCHEDULE' AND c.status = 'o') AS next_at,
        s.last_instance, s.last_at, s.created_at, df._written(df._nodes_of(s.graph::text)) AS workflow,
        s.owner
    FROM df._schedules s
    LEFT JOIN df._instances i ON i.id = s.instance_id
    WHERE s.owner = quote_ident(current_user)::regrole OR (SELECT df._sees_all());

CREATE OR REPLACE FUNCTION df.status(instance_id text) RETURNS text
LANGUAGE plpgsql STRICT AS $$
BEGIN
    RETURN COALESCE(  -- what is one's own is most of what is asked for, and found at less cost
        (SELECT o.status FROM df._own o WHERE o.id OPERATOR(pg_catalog.=) status.instance_id),
        (SELECT o.status FROM df._shown o WHERE o.id OPERATOR(pg_catalog.=) status.instance_id));
END $$;

CREATE OR REPLACE FUNCTION df.result(instance_id text) RETURNS text
LANGUAGE plpgsql STRICT AS $$
BEGIN
    RETURN (SELECT o.result::pg_catalog.text FROM df._shown o
            WHERE o.id OPERATOR(pg_catalog.=) result.instance_id
                AND o.status OPERATOR(pg_catalog.=) 'completed');
END $$;

CREATE OR REPLACE FUNCTION df._final_status(p_instance text, p_seconds integer) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    v_status  pg_catalog.text;
    v_created pg_catalog.timestamptz;
BEGIN
    IF (p_seconds OPERATOR(pg_catalog.>) 0) IS NOT TRUE THEN
        RAISE EXCEPTION 'Timeout must be positive, got %', p_seconds USING ERRCODE = '22023';
    END IF;
    SELECT o.status, o.created_at INTO v_status, v_created FROM df._shown o
    WHERE o.id OPERATOR(pg_catalog.=) p_instance;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'instance "%" not found or access denied', p_instance USING ERRCODE = '42704';
    ELSIF v_status OPERATOR(pg_catalog.<>) ALL (ARRAY['pending', 'running']) THEN
        RETURN v_status;
    ELSIF v_created OPERATOR(pg_catalog.=) pg_catalog.now() AND pg_catalog.pg_current_xact_id_if_assigned() IS NOT NULL THEN
        RAISE EXCEPTION 'instance "%" was started in this transaction: commit first', p_instance USING ERRCODE = '55000',
            DETAIL = 'It starts to run when the transaction that started it commits.';
    ELSIF pg_catalog.current_setting('transaction_isolation') OPERATOR(pg_catalog.<>) ALL (ARRAY['read committed', 'read uncommitted']) THEN
        RAISE EXCEPTION 'cannot wait for instance "%" in a transaction with isolation level %',
            p_instance, pg_catalog.current_setting('transaction_isolation') USING ERRCODE = '55000',
            DETAIL = 'The transaction''s snapshot does not show what happens after it began.',
            HINT = 'Wait in a READ COMMITTED transaction.';
    END IF;
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION df._ended_items(p_instance text, p_path text, p_body df._seen, p_rows df._outcome[], p_begun text[])
RETURNS bigint LANGUAGE sql STABLE AS $$
    SELECT count(*)
    FROM df._shown o CROSS JOIN unnest(p_begun) i (item)
    CROSS JOIN LATERAL df._inspect(p_instance, o.graph, 'running', ARRAY(
        SELECT r FROM unnest(p_rows) r
        WHERE r.node NOT BETWEEN p_body.node AND p_body.last
            OR starts_with(r.path, p_path || ':' || i.item)
                AND substr(r.path, length(p_path || ':' || i.item) + 1, 1) !~ '[0-9]')) n
    WHERE o.id = p_instance AND n.node = p_body.node AND n.status IN ('completed', 'failed')
$$;

CREATE OR REPLACE FUNCTION df._explain_instance(p_instance text) RETURNS text
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
    INTO v_start, v_rerun FROM df._shown o WHERE o.id = p_instance;
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

CREATE OR REPLACE FUNCTION df._graph_of(p_input text) RETURNS text
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    v_graph pg_catalog.text;
BEGIN
    IF p_input OPERATOR(pg_catalog.~) '^[0-9a-f]{8}$' THEN
        SELECT o.graph::pg_catalog.text INTO v_graph FROM df._shown o WHERE o.id OPERATOR(pg_catalog.=) p_input;
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

-- ---------------------------------------------------------------------------------------------
-- Acting

CREATE OR REPLACE FUNCTION df._execute_command() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_whose regrole;
BEGIN
    IF TG_RELID <> 'df._commands'::regclass THEN  -- on another table anybody could write "who"
        RAISE EXCEPTION 'this trigger is for df._commands only' USING ERRCODE = '42501';
    END IF;
    IF NEW.verb IN ('cancel', 'signal', 'pause', 'resume') THEN
        v_whose := df._acts_for(NEW.who, NEW.instance_id);
    END IF;
    CASE NEW.verb
        WHEN 'cancel' THEN
            PERFORM df._do_cancel(v_whose, NEW.instance_id, coalesce(NEW.payload, 'Cancelled by user'));
        WHEN 'signal' THEN
            PERFORM df._do_signal(v_whose, NEW.instance_id, NEW.name, NEW.payload);
        WHEN 'pause' THEN
            PERFORM df._do_pause(v_whose, NEW.instance_id, NEW.payload);
        WHEN 'resume' THEN
            PERFORM df._do_resume(v_whose, NEW.instance_id);
        WHEN 'schedule' THEN
            PERFORM df._do_schedule(NEW.who, NEW.instance_id, NEW.name, NEW.payload::json);
        WHEN 'scheduled' THEN
            PERFORM df._do_scheduled(NEW.who, NEW.instance_id, NEW.payload);
        WHEN 'unschedule' THEN
            PERFORM df._do_unschedule(NEW.who, NEW.name);
        WHEN 'setvar', 'unsetvar', 'clearvars' THEN
            PERFORM df._do_variable(NEW.who, NEW.verb, NEW.name, NEW.payload);
        WHEN 'grant_usage', 'grant_viewer', 'grant_operator', 'grant_engine', 'revoke_usage' THEN
            PERFORM df._do_grant(NEW.who, NEW.verb, NEW.name, coalesce(string_to_array(NEW.payload, ', '), '{}'));
        ELSE
            RAISE EXCEPTION 'unknown command "%"', NEW.verb USING ERRCODE = '22023';
    END CASE;
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION df._act_1(p_request bigint, p_deadline bigint, p_who oid, p_verb text, p_payload text) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_order json;
BEGIN
    DELETE FROM df._verdicts v WHERE v.ctid = ANY (ARRAY(
        SELECT o.ctid FROM df._verdicts o WHERE o.at < clock_timestamp() - interval '1 hour'
        ORDER BY o.at LIMIT 10 FOR UPDATE SKIP LOCKED));
    INSERT INTO df._verdicts (request, refused) VALUES (p_request, false) ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
        RETURN 'again';
    ELSIF extract(epoch FROM clock_timestamp()) * 1000000 >= p_deadline THEN
        RAISE EXCEPTION 'request % is too late', p_request USING ERRCODE = 'WF022';
    END IF;
    v_order := convert_from(decode(p_payload, 'base64'), getdatabaseencoding())::json;
    IF p_verb = 'start' THEN
        -- another start with the key may be under way; who asked gives up at the deadline
        PERFORM set_config('lock_timeout', greatest(1, least(60000,
            (p_deadline - extract(epoch FROM clock_timestamp()) * 1000000)::bigint / 1000))::text, true);
        INSERT INTO df._instances (seq, graph, label, database, key, start_at, submitted_by) OVERRIDING SYSTEM VALUE
        VALUES ((v_order ->> 'seq')::bigint, v_order -> 'graph', v_order ->> 'label', v_order ->> 'database',
            v_order ->> 'key', (v_order ->> 'start_at')::timestamptz, p_who::regrole)
        ON CONFLICT (submitted_by, key) WHERE key IS NOT NULL DO NOTHING;
    ELSE
        INSERT INTO df._commands (verb, instance_id, name, payload, who)
        VALUES ('signal', v_order ->> 'instance', v_order ->> 'name', v_order ->> 'data', p_who::regrole);
    END IF;
    RETURN 'done';
END $$;

ALTER FUNCTION df._refuse_request_1(bigint, text) SECURITY DEFINER;

-- Everything is the original's, its owner too; who may start what is checked as for any other start.
CREATE OR REPLACE FUNCTION df._begin_rerun() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_original df._instances;
BEGIN
    IF TG_RELID <> 'df._instances'::regclass THEN  -- on another table anybody could write "submitted_by"
        RAISE EXCEPTION 'this trigger is for df._instances only' USING ERRCODE = '42501';
    END IF;
    NEW.submitted_by := df._acts_for(NEW.submitted_by, NEW.rerun_of);
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

-- ---------------------------------------------------------------------------------------------
-- Giving and taking
--
-- The rights are the owner's, and so is every GRANT; but what somebody may give or take depends on
-- who asks, which a SECURITY DEFINER function is not told. So these are orders, too: "who" of
-- df._commands is the role that asks, under SET ROLE and in functions of others as well.
--
-- * A function may be called by whoever has EXECUTE on it, as any other.
-- * Who is not the owner gives df.http, or the right to pass something on, only as far as its own
--   right has the grant option.
-- * Who is not the owner takes from roles that have nothing but the use of df, and only what it could
--   have given.
--
-- What is asked of the catalog is asked as of now (has_..._privilege): an old snapshot of the
-- transaction must not bring back what a role had. And it is asked under a lock: two GRANTs on one
-- object at once would fail with "tuple concurrently updated", so they queue at a table that users
-- cannot lock.

-- All that looking takes. What a later migration adds here, those who have the rest get by it.
CREATE FUNCTION df._reading_rights() RETURNS text[]
LANGUAGE sql IMMUTABLE AS $$
    SELECT ARRAY[
        'USAGE ON SCHEMA df, df_held',
        'SELECT ON df._own, df._own_listed, df._own_executions, df._own_attempts, df._own_nodes, df._own_outcomes, df._described_nodes, df.instances, df.nodes, df.schedules, df._own_schedules, df.vars, df.waiting, df._worker_epoch, df._public_settings',
        'SELECT (id, graph, status, result, created_at, start_at, rerun_of) ON df._shown']
$$;

-- All that using df takes. No right on a table but INSERT of an order.
CREATE OR REPLACE FUNCTION df._usage_rights() RETURNS text[]
LANGUAGE sql IMMUTABLE AS $$
    SELECT df._reading_rights() || ARRAY[
        'INSERT (graph, label, database, key, start_at, rerun_of, rerun_from) ON df._own',
        'INSERT (verb, instance_id, name, payload) ON df._commands',
        'INSERT (verb, instance_id, name, payload, label, database, key, start_at) ON df._new',
        'SELECT (instance_id) ON df._new']
$$;

-- What passing it on takes.
CREATE FUNCTION df._passing_rights() RETURNS text[]
LANGUAGE sql IMMUTABLE AS $$
    SELECT ARRAY['EXECUTE ON FUNCTION df.grant_usage(text, boolean, boolean), df.revoke_usage(text), df.metrics()']
$$;

-- All that a worker and a proxy do: the functions of the protocol, whose names end in its version.
-- Those that any role may call are not among them.
CREATE FUNCTION df._engine_rights() RETURNS text[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT ARRAY['USAGE ON SCHEMA df, df_held', 'SELECT ON ALL TABLES IN SCHEMA df',
        'EXECUTE ON ROUTINE ' || string_agg(p.oid::regprocedure::text, ', ' ORDER BY p.oid)]
    FROM pg_proc p
    WHERE p.pronamespace = 'df'::regnamespace AND p.prosecdef AND p.proname ~ '_[0-9]+$'
$$;

CREATE FUNCTION df._grant(p_role text, p_rights text[], p_option text DEFAULT '') RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    v_right text;
BEGIN
    FOREACH v_right IN ARRAY p_rights LOOP
        EXECUTE format('GRANT %s TO %I', v_right, p_role) || p_option;
    END LOOP;
END $$;

CREATE FUNCTION df._may_give_http(p_who regrole) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT bool_and(has_function_privilege(p_who::oid, http::oid, 'EXECUTE WITH GRANT OPTION'))
    FROM unnest(ARRAY['df.http(text, text, text, jsonb, integer)',
        'df.http_multipart(text, text, jsonb, jsonb, integer)']::regprocedure[]) http
$$;

-- Whether a role has more than the use of df: it owns the schema, sees or steers the workflows of all,
-- runs the engine, or passes the use on.
CREATE FUNCTION df._is_powerful(p_role regrole) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT bool_or(has_function_privilege(p_role::oid, power::oid, 'EXECUTE'))
    FROM unnest(ARRAY['df._view_all()', 'df._operate_all()',
        'df.grant_usage(text, boolean, boolean)', 'df.revoke_usage(text)',
        'df._claim_1(uuid, integer, smallint, oid, integer, oid[], integer[], integer, boolean)']::regprocedure[]) power
$$;

CREATE FUNCTION df._do_grant_usage(p_who regrole, p_role text, p_http boolean, p_pass boolean) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    v_hint CONSTANT text := 'The owner of the schema df may give it.';
    v_rights text[] := df._usage_rights();
BEGIN
    IF p_http AND NOT df._may_give_http(p_who) THEN
        RAISE EXCEPTION 'permission denied to give the use of function http' USING ERRCODE = '42501',
            DETAIL = format('Role "%s" has no right to it that it may pass on.', pg_get_userbyid(p_who)),
            HINT = v_hint;
    ELSIF p_pass AND NOT has_function_privilege(
        p_who::oid, 'df.grant_usage(text, boolean, boolean)', 'EXECUTE WITH GRANT OPTION')
    THEN
        RAISE EXCEPTION 'permission denied to let others pass on the use of df' USING ERRCODE = '42501',
            DETAIL = format('Role "%s" may give it, but not the right to give it.', pg_get_userbyid(p_who)),
            HINT = v_hint;
    END IF;
    IF p_http THEN
        v_rights := v_rights || ('EXECUTE ON FUNCTION ' || df._http_functions());
    END IF;
    IF p_pass THEN
        v_rights := v_rights || df._passing_rights();
    END IF;
    PERFORM df._grant(p_role, v_rights, CASE WHEN p_pass THEN ' WITH GRANT OPTION' ELSE '' END);
END $$;

CREATE FUNCTION df._do_grant_engine(p_role text) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM df._grant(p_role, df._engine_rights());
    IF NOT pg_has_role(current_user, p_role, 'USAGE') THEN
        RAISE EXCEPTION 'role "%", who owns the schema df, is not a member of role "%"', current_user, p_role
            USING ERRCODE = '55000', DETAIL = 'Only a member sees which of that role''s engines are alive.',
            HINT = format('GRANT %I TO %I', p_role, current_user);
    END IF;
END $$;

CREATE FUNCTION df._do_revoke_usage(p_who regrole, p_role text) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    v_role   CONSTANT regrole := to_regrole(quote_ident(p_role));
    v_owns   CONSTANT boolean := pg_has_role(p_who::oid, current_user, 'USAGE');
    v_rights text[] := df._usage_rights();
    v_right  text;
BEGIN
    IF NOT v_owns AND df._is_powerful(v_role) THEN
        RAISE EXCEPTION 'permission denied to take the use of df from role "%"', p_role USING ERRCODE = '42501',
            DETAIL = 'It sees or steers the workflows of all, runs the engine, may pass the use of df on, or owns it.',
            HINT = 'The owner of the schema df may take it.';
    ELSIF p_role = current_user THEN
        RAISE EXCEPTION 'role "%" owns the schema df', p_role USING ERRCODE = '55000';
    ELSIF v_owns THEN
        v_rights := df._engine_rights() || v_rights || df._passing_rights()
            || ARRAY['EXECUTE ON FUNCTION df._view_all(), df._operate_all()'];
    END IF;
    IF df._may_give_http(p_who) THEN
        v_rights := v_rights || ('EXECUTE ON FUNCTION ' || df._http_functions());
    END IF;
    FOREACH v_right IN ARRAY v_rights LOOP
        EXECUTE format('REVOKE %s FROM %I CASCADE', v_right, p_role);
    END LOOP;
    IF has_schema_privilege(v_role::oid, 'df', 'USAGE') THEN
        RAISE WARNING 'role "%" may still use df', p_role USING
            DETAIL = 'It is a superuser, or has the right from another role, or as a member of one.';
    END IF;
END $$;

-- Of an order by hand, too.
CREATE FUNCTION df._check_may_call(p_who regrole, p_function text) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF NOT has_function_privilege(p_who::oid, format('df.%I(%s)', p_function,
        CASE p_function WHEN 'grant_usage' THEN 'text, boolean, boolean' ELSE 'text' END), 'EXECUTE')
    THEN
        RAISE EXCEPTION 'permission denied for function %', p_function USING ERRCODE = '42501';
    END IF;
END $$;

CREATE FUNCTION df._do_grant(p_who regrole, p_verb text, p_role text, p_options text[]) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM df._check_may_call(p_who, p_verb);  -- who may not does not queue
    LOCK TABLE df._migrations IN SHARE ROW EXCLUSIVE MODE;
    PERFORM df._check_may_call(p_who, p_verb);  -- and who may no more is late
    IF NOT EXISTS (SELECT 1 FROM pg_roles r WHERE r.rolname = p_role) THEN
        RAISE EXCEPTION 'role "%" does not exist', p_role USING ERRCODE = '42704';
    ELSIF NOT p_options <@ ARRAY['include_http', 'with_grant'] THEN
        RAISE EXCEPTION 'unknown options "%"', array_to_string(p_options, ', ') USING ERRCODE = '22023';
    END IF;
    CASE p_verb
        WHEN 'grant_usage' THEN
            PERFORM df._do_grant_usage(p_who, p_role, 'include_http' = ANY (p_options), 'with_grant' = ANY (p_options));
        WHEN 'grant_viewer' THEN
            PERFORM df._grant(p_role, df._reading_rights()
                || ARRAY['EXECUTE ON FUNCTION df._view_all(), df.metrics()']);
        WHEN 'grant_operator' THEN
            PERFORM df._grant(p_role, df._usage_rights()
                || ARRAY['EXECUTE ON FUNCTION df._view_all(), df._operate_all(), df.metrics()']);
        WHEN 'grant_engine' THEN
            PERFORM df._do_grant_engine(p_role);
        WHEN 'revoke_usage' THEN
            PERFORM df._do_revoke_usage(p_who, p_role);
    END CASE;
END $$;

CREATE OR REPLACE FUNCTION df.grant_usage(
    p_role text, include_http boolean DEFAULT false, with_grant boolean DEFAULT false)
RETURNS void LANGUAGE plpgsql SECURITY INVOKER AS $$
BEGIN
    INSERT INTO df._commands (verb, name, payload) VALUES ('grant_usage', p_role, pg_catalog.concat_ws(', ',
        CASE WHEN include_http THEN 'include_http' END, CASE WHEN with_grant THEN 'with_grant' END));
END $$;

CREATE OR REPLACE FUNCTION df.revoke_usage(p_role text) RETURNS void
LANGUAGE plpgsql SECURITY INVOKER AS $$
BEGIN
    INSERT INTO df._commands (verb, name) VALUES ('revoke_usage', p_role);
END $$;

CREATE FUNCTION df.grant_viewer(p_role text) RETURNS void
LANGUAGE plpgsql STRICT AS $$
BEGIN
    INSERT INTO df._commands (verb, name) VALUES ('grant_viewer', p_role);
END $$;

CREATE FUNCTION df.grant_operator(p_role text) RETURNS void
LANGUAGE plpgsql STRICT AS $$
BEGIN
    INSERT INTO df._commands (verb, name) VALUES ('grant_operator', p_role);
END $$;

CREATE FUNCTION df.grant_engine(p_role text) RETURNS void
LANGUAGE plpgsql STRICT AS $$
BEGIN
    INSERT INTO df._commands (verb, name) VALUES ('grant_engine', p_role);
END $$;

-- they run as who calls them, so that they are not among those that are closed to all by themselves
REVOKE EXECUTE ON FUNCTION df.grant_usage(text, boolean, boolean), df.revoke_usage(text),
    df.grant_viewer(text), df.grant_operator(text), df.grant_engine(text) FROM PUBLIC;

-- What has come with a migration is given to whoever has what was there before. A right that shows
-- it stands for each kind: to give orders, to look at all, to claim.
CREATE FUNCTION df._renew_rights() RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    v_has record;
BEGIN
    FOR v_has IN
        SELECT r.rolname, df._usage_rights() AS rights, bool_or(x.is_grantable) AS grantable
        FROM pg_catalog.pg_attribute a CROSS JOIN LATERAL pg_catalog.aclexplode(a.attacl) x
        JOIN pg_catalog.pg_roles r ON r.oid = x.grantee
        WHERE a.attrelid = 'df._commands'::pg_catalog.regclass AND a.attname = 'verb'
        GROUP BY r.rolname
        UNION ALL
        SELECT r.rolname, CASE p.proname WHEN '_claim_1' THEN df._engine_rights() ELSE df._reading_rights() END, false
        FROM pg_catalog.pg_proc p CROSS JOIN LATERAL pg_catalog.aclexplode(p.proacl) x
        JOIN pg_catalog.pg_roles r ON r.oid = x.grantee
        WHERE p.pronamespace = 'df'::pg_catalog.regnamespace AND p.proname IN ('_view_all', '_claim_1')
          AND x.grantee <> p.proowner
    LOOP
        PERFORM df._grant(v_has.rolname, v_has.rights, CASE WHEN v_has.grantable THEN ' WITH GRANT OPTION' ELSE '' END);
    END LOOP;
END $$;

CREATE OR REPLACE FUNCTION df._seal() RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    v_open CONSTANT text[] := ARRAY[
        -- they prove their right by the token of the claim
        '_finish_1', '_alone_before_1', '_alone_1', '_alone_done_1',
        '_greet_1', '_receipt_1', '_receive_1',   -- only for what the role that is logged in has here
        '_guarantee'];   -- tells of a database what the role's own instances show
    v_function regprocedure;
BEGIN
    FOR v_function IN
        SELECT p.oid FROM pg_catalog.pg_proc p
        WHERE p.pronamespace = 'df'::pg_catalog.regnamespace AND p.prosecdef AND p.proname <> ALL (v_open)
    LOOP
        EXECUTE pg_catalog.format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', v_function);
    END LOOP;
    PERFORM df._renew_rights();
END $$;
