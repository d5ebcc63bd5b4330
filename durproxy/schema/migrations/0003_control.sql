-- What users call to start, watch and steer their instances, and what stands behind it.
--
-- Rules of this file
-- * Users hold no right on a table. They read, and start, through security_barrier views that
--   keep the rows of current_user: right under SET ROLE, inside SECURITY DEFINER functions (the
--   definer's rows), and whatever row_security says.
-- * Whatever must hold for an instance is checked by the trigger on df._instances: an INSERT by
--   hand reaches the table without df.start.
-- * Orders (cancel, signal, variables) are rows for df._commands. Its trigger runs as the owner,
--   finds in "who" the role that gave the order, acts, and drops the row.
-- * Functions that users call run as them, under any search_path, so they write every name and
--   operator with its schema. SECURITY DEFINER functions fix the search_path instead, and the
--   helpers of their triggers inherit both; called by a user, those helpers may do nothing.

-- ---------------------------------------------------------------------------------------------
-- What a role sees

-- The one door to df._instances: own rows, and INSERT on a few columns. It gives df.start its
-- RETURNING id, which a right on the table alone would not.
CREATE VIEW df._own WITH (security_barrier) AS
    SELECT i.id, i.graph, i.label, i.database, i.vars, i.submitted_by, i.status, i.result, i.error,
        i.created_at, i.started_at, i.updated_at, i.completed_at, i.key, i.start_at, i.rerun_of, i.rerun_from
    FROM df._instances i
    WHERE i.submitted_by = quote_ident(current_user)::regrole;

CREATE VIEW df.instances WITH (security_barrier) AS
    SELECT i.id, i.label, '00000001'::text AS root_node, i.status, i.submitted_by, i.database,
        i.created_at, i.updated_at,
        CASE WHEN i.status = 'completed' THEN i.completed_at END AS completed_at
    FROM df._instances i
    WHERE i.submitted_by = quote_ident(current_user)::regrole;

CREATE VIEW df.vars WITH (security_barrier) AS
    SELECT v.name, v.value, v.owner
    FROM df._vars v
    WHERE v.owner = quote_ident(current_user)::regrole;

CREATE VIEW df._worker_epoch WITH (security_barrier) AS
    SELECT e.id AS epoch_id, e.started_at, e.seen_at AS last_seen_at FROM df._engines e;

-- The settings that functions of ours need in users' hands; others (secrets among them) are not.
CREATE VIEW df._public_settings WITH (security_barrier) AS
    SELECT s.name, s.value FROM df._settings s
    WHERE s.name IN ('version', 'list_instances_max_limit');


-- ---------------------------------------------------------------------------------------------
-- Starting

-- The setting counts for all; a session may only tighten it, a superuser's session replace it.
-- The session's user is asked, not the current one: a definer function must not lend this right.
CREATE FUNCTION df._superuser_may_start() RETURNS boolean
LANGUAGE plpgsql STABLE AS $$
DECLARE
    v_session text := nullif(current_setting('pg_durable.enable_superuser_instances', true), '');
    v_super   boolean := (SELECT r.rolsuper FROM pg_roles r WHERE r.rolname = session_user);
    v_setting boolean := coalesce((SELECT s.value::boolean FROM df._settings s
                                   WHERE s.name = 'enable_superuser_instances'), false);
BEGIN
    RETURN CASE WHEN v_session IS NULL THEN v_setting
                WHEN v_super THEN v_session::boolean
                ELSE v_setting AND v_session::boolean END;
END $$;

CREATE FUNCTION df._check_instance() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_login boolean;
    v_super boolean;
BEGIN
    IF TG_RELID <> 'df._instances'::regclass THEN  -- on another table anybody could write "submitted_by"
        RAISE EXCEPTION 'this trigger is for df._instances only' USING ERRCODE = '42501';
    ELSIF NEW.graph IS NULL THEN
        RAISE EXCEPTION 'durable function must not be null' USING ERRCODE = '22004',
            HINT = 'One of the parts that it was built from was null.';
    ELSIF length(NEW.label) > 1000 THEN
        RAISE EXCEPTION 'label of % characters is too long', length(NEW.label) USING ERRCODE = '22001',
            HINT = 'A label has at most 1000 characters.';
    ELSIF length(NEW.key) NOT BETWEEN 1 AND 500 THEN
        RAISE EXCEPTION 'key of % characters is not valid', length(NEW.key) USING ERRCODE = '22023',
            HINT = 'A key has 1 to 500 characters.';
    ELSIF NOT isfinite(NEW.start_at) THEN
        RAISE EXCEPTION 'start_at must be finite, got "%"', NEW.start_at USING ERRCODE = '22023';
    ELSIF NEW.start_at >= '9999-01-01' THEN
        RAISE EXCEPTION 'start_at must be before the year 9999, got "%"', NEW.start_at USING ERRCODE = '22008';
    END IF;
    NEW.ready_at := greatest(NEW.start_at, df._clock());
    IF NOT df._is_plain_graph(NEW.graph) THEN
        PERFORM df._check_graph(NEW.graph);
    END IF;
    IF NEW.database <> current_database() THEN
        IF NOT EXISTS (SELECT 1 FROM pg_database d WHERE d.datname = NEW.database AND d.datallowconn) THEN
            RAISE EXCEPTION 'database "%" does not exist', NEW.database USING ERRCODE = '3D000';
        END IF;
        IF NOT has_database_privilege(NEW.submitted_by, NEW.database, 'CONNECT') THEN
            RAISE EXCEPTION 'permission denied for database "%"', NEW.database USING ERRCODE = '42501',
                DETAIL = format('Its steps run as role %s, which does not have the CONNECT privilege there.', NEW.submitted_by);
        END IF;
    END IF;
    SELECT r.rolcanlogin, r.rolsuper,
        CASE WHEN NEW.rerun_of IS NULL THEN (SELECT json_object_agg(v.name, v.value ORDER BY v.name)
                FROM df._vars v WHERE v.owner = NEW.submitted_by)
            ELSE NEW.vars END
    INTO v_login, v_super, NEW.vars
    FROM pg_roles r WHERE r.oid = NEW.submitted_by;
    IF NOT v_login THEN
        RAISE EXCEPTION 'role % cannot run durable functions', NEW.submitted_by USING ERRCODE = '28000',
            DETAIL = 'Steps run on connections of the role that starts them, and this role does not have the LOGIN attribute.',
            HINT = 'Grant it LOGIN, or start the instance as another role.';
    ELSIF v_super AND NOT df._superuser_may_start() THEN
        RAISE EXCEPTION 'superuser % may not start durable functions', NEW.submitted_by USING ERRCODE = '42501',
            HINT = 'Start them as an ordinary role, or turn enable_superuser_instances on.';
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER check_instance BEFORE INSERT ON df._instances
    FOR EACH ROW EXECUTE FUNCTION df._check_instance();

-- At commit, not in df.start: an engine that falls idle in between would otherwise never hear of
-- the row. NOTIFY serialises commits, so only when an engine has said that it waits for one.
CREATE FUNCTION df._wake_engine() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF (SELECT s.last_value FROM df._idle s) = 2 THEN
        PERFORM pg_notify('durproxy', 'w');
    END IF;
    RETURN NULL;
END $$;

CREATE CONSTRAINT TRIGGER wake_engine AFTER INSERT ON df._instances
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION df._wake_engine();


-- ---------------------------------------------------------------------------------------------
-- Orders

-- The engine sets durproxy.instance in the transactions of steps.
CREATE FUNCTION df._refuse_inside(p_function text) RETURNS void
LANGUAGE plpgsql STABLE AS $$
BEGIN
    IF pg_catalog.current_setting('durproxy.instance', true) OPERATOR(pg_catalog.<>) '' THEN
        RAISE EXCEPTION '% cannot be called inside a workflow', p_function USING ERRCODE = '55000';
    END IF;
END $$;

CREATE FUNCTION df._notify(p_payload text) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    -- "off" is for clients of two-phase commit, where a transaction that notifies cannot be prepared
    IF NOT EXISTS (SELECT 1 FROM df._settings s WHERE s.name = 'notify' AND s.value = 'off') THEN
        PERFORM pg_notify('durproxy', p_payload);
    END IF;
END $$;

CREATE FUNCTION df._text_json(p_text text) RETURNS json
LANGUAGE plpgsql IMMUTABLE STRICT AS $$
BEGIN
    RETURN p_text::json;
EXCEPTION WHEN invalid_text_representation THEN
    RETURN to_json(p_text);
END $$;

-- Whether something in a graph may be owed when it ends early.
CREATE FUNCTION df._unwinds(p_graph json) RETURNS boolean
LANGUAGE sql IMMUTABLE AS $$
    SELECT jsonb_path_exists(p_graph::jsonb, '$.** ? (@.node_type == "FINALLY" || @.node_type == "COMPENSATE")')
$$;

CREATE FUNCTION df._do_cancel(p_who regrole, p_instance text, p_reason text) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    v_reason json := json_build_object('message', p_reason, 'sqlstate', '57014');
BEGIN
    IF current_setting('durproxy.instance', true) = p_instance THEN
        RAISE EXCEPTION 'df.cancel() of its own instance cannot be called inside a workflow' USING ERRCODE = '55000',
            HINT = 'Let the step fail instead, or leave a loop with df.break().';
    END IF;
    -- waits for the steps that are committing; none can commit after it
    UPDATE df._instances i
    SET status = 'cancelled', owner = NULL, token = NULL, ready_at = NULL,
        completed_at = clock_timestamp(), updated_at = clock_timestamp(), error = v_reason
    WHERE i.id = p_instance AND i.submitted_by = p_who AND i.ending IS NULL
      AND (i.status = 'pending' OR i.status = 'running' AND NOT df._unwinds(i.graph));
    IF FOUND THEN
        PERFORM df._notify('c:' || p_instance);
        RETURN;
    END IF;
    -- the same, but whoever claims it next does what is owed before it ends
    UPDATE df._instances i
    SET ending = v_reason, owner = NULL, token = NULL, ready_at = df._clock(), paused = NULL,
        updated_at = clock_timestamp()
    WHERE i.id = p_instance AND i.submitted_by = p_who AND i.ending IS NULL AND i.status = 'running';
    IF FOUND THEN
        PERFORM df._end_waits_1(p_instance, 0, 2147483647, '');  -- or they would still catch signals
        PERFORM df._notify('c:' || p_instance);
        PERFORM df._notify('w');
    ELSIF NOT EXISTS (SELECT 1 FROM df._instances i WHERE i.id = p_instance AND i.submitted_by = p_who) THEN
        RAISE EXCEPTION 'instance "%" not found or access denied', p_instance USING ERRCODE = '42704';
    END IF;
END $$;

CREATE FUNCTION df._do_signal(p_who regrole, p_instance text, p_name text, p_data text) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    v_status text;
BEGIN
    IF coalesce(p_name, '') = '' THEN
        RAISE EXCEPTION 'Signal name cannot be empty' USING ERRCODE = '22023';
    END IF;
    SELECT i.status INTO v_status FROM df._instances i WHERE i.id = p_instance AND i.submitted_by = p_who;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'instance "%" not found or access denied', p_instance USING ERRCODE = '42704';
    ELSIF v_status NOT IN ('pending', 'running') THEN
        RAISE EXCEPTION 'instance "%" is %', p_instance, v_status USING ERRCODE = '55000',
            DETAIL = 'Nothing in it can receive the signal "' || p_name || '" any more.';
    ELSIF EXISTS (SELECT 1 FROM df._signals s WHERE s.instance_id = p_instance OFFSET 9999) THEN
        RAISE EXCEPTION 'mailbox of instance "%" is full', p_instance USING ERRCODE = '53400',
            DETAIL = 'It holds 10000 signals that nothing has waited for.';
    END IF;
    INSERT INTO df._signals (instance_id, name, data) VALUES (p_instance, p_name, df._text_json(p_data));
    PERFORM df._notify('s:' || p_instance);
END $$;

CREATE FUNCTION df._do_variable(p_who regrole, p_verb text, p_name text, p_value text) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM df._refuse_inside('df.' || p_verb || '()');
    IF p_verb = 'clearvars' THEN
        DELETE FROM df._vars v WHERE v.owner = p_who;
        RETURN;
    ELSIF p_name !~ '^[A-Za-z_][A-Za-z0-9_]*$' IS NOT FALSE THEN
        RAISE EXCEPTION 'variable name % is not a valid identifier', coalesce('"' || p_name || '"', 'NULL')
            USING ERRCODE = '22023';
    ELSIF p_verb = 'unsetvar' THEN
        DELETE FROM df._vars v WHERE v.owner = p_who AND v.name = p_name;
        RETURN;
    ELSIF p_value IS NULL THEN
        RAISE EXCEPTION 'value of variable "%" must not be null', p_name USING ERRCODE = '22004',
            HINT = 'df.unsetvar() removes a variable.';
    ELSIF starts_with(p_name, 'sys_') THEN
        RAISE EXCEPTION 'variable name "%" is reserved', p_name USING ERRCODE = '42939';
    END IF;
    INSERT INTO df._vars AS v (owner, name, value) VALUES (p_who, p_name, p_value)
    ON CONFLICT (owner, name) DO UPDATE SET value = excluded.value;
END $$;

CREATE FUNCTION df._execute_command() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_RELID <> 'df._commands'::regclass THEN  -- on another table anybody could write "who"
        RAISE EXCEPTION 'this trigger is for df._commands only' USING ERRCODE = '42501';
    END IF;
    CASE NEW.verb
        WHEN 'cancel' THEN
            PERFORM df._do_cancel(NEW.who, NEW.instance_id, coalesce(NEW.payload, 'Cancelled by user'));
        WHEN 'signal' THEN
            PERFORM df._do_signal(NEW.who, NEW.instance_id, NEW.name, NEW.payload);
        WHEN 'pause' THEN
            PERFORM df._do_pause(NEW.who, NEW.instance_id, NEW.payload);
        WHEN 'resume' THEN
            PERFORM df._do_resume(NEW.who, NEW.instance_id);
        WHEN 'schedule' THEN
            PERFORM df._do_schedule(NEW.who, NEW.instance_id, NEW.name, NEW.payload::json);
        WHEN 'scheduled' THEN
            PERFORM df._do_scheduled(NEW.who, NEW.instance_id, NEW.payload);
        WHEN 'unschedule' THEN
            PERFORM df._do_unschedule(NEW.who, NEW.name);
        WHEN 'setvar', 'unsetvar', 'clearvars' THEN
            PERFORM df._do_variable(NEW.who, NEW.verb, NEW.name, NEW.payload);
        ELSE
            RAISE EXCEPTION 'unknown command "%"', NEW.verb USING ERRCODE = '22023';
    END CASE;
    RETURN NULL;
END $$;

CREATE TRIGGER execute_command BEFORE INSERT ON df._commands
    FOR EACH ROW EXECUTE FUNCTION df._execute_command();

CREATE FUNCTION df.cancel(instance_id text, reason text DEFAULT 'Cancelled by user') RETURNS text
LANGUAGE plpgsql STRICT AS $$
BEGIN
    INSERT INTO df._commands (verb, instance_id, payload) VALUES ('cancel', cancel.instance_id, reason);
    RETURN pg_catalog.format('Instance %s cancelled: %s', instance_id, reason);
END $$;

CREATE FUNCTION df.signal(instance_id text, signal_name text, signal_data text DEFAULT '{}') RETURNS text
LANGUAGE plpgsql STRICT AS $$
BEGIN
    INSERT INTO df._commands (verb, instance_id, name, payload)
    VALUES ('signal', signal.instance_id, signal_name, signal_data);
    RETURN 'OK';
END $$;

CREATE FUNCTION df.setvar(name text, value text) RETURNS text
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO df._commands (verb, name, payload) VALUES ('setvar', setvar.name, setvar.value);
    RETURN 'OK';
END $$;

CREATE FUNCTION df.getvar(name text) RETURNS text
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM df._refuse_inside('df.getvar()');
    RETURN (SELECT v.value FROM df.vars v WHERE v.name OPERATOR(pg_catalog.=) getvar.name);
END $$;

CREATE FUNCTION df.unsetvar(name text) RETURNS text
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO df._commands (verb, name) VALUES ('unsetvar', unsetvar.name);
    RETURN 'OK';
END $$;

CREATE FUNCTION df.clearvars() RETURNS text
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO df._commands (verb) VALUES ('clearvars');
    RETURN 'OK';
END $$;


-- ---------------------------------------------------------------------------------------------
-- Watching one instance

CREATE FUNCTION df.status(instance_id text) RETURNS text
LANGUAGE plpgsql STRICT AS $$
BEGIN
    RETURN (SELECT o.status FROM df._own o WHERE o.id OPERATOR(pg_catalog.=) status.instance_id);
END $$;

CREATE FUNCTION df.result(instance_id text) RETURNS text
LANGUAGE plpgsql STRICT AS $$
BEGIN
    RETURN (SELECT o.result::pg_catalog.text FROM df._own o
            WHERE o.id OPERATOR(pg_catalog.=) result.instance_id
                AND o.status OPERATOR(pg_catalog.=) 'completed');
END $$;

CREATE FUNCTION df._timed_out(p_instance text, p_seconds integer, p_status text) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    v_held_up pg_catalog.text := (
        SELECT pg_catalog.string_agg(pg_catalog.concat(CASE w.waits_for WHEN 'resume' THEN 'paused: ' END, w.detail), '; ')
        FROM df.waiting w
        WHERE w.instance_id OPERATOR(pg_catalog.=) p_instance
          AND w.waits_for OPERATOR(pg_catalog.=) ANY (ARRAY['resume', 'another try', 'worker', 'lock']));
BEGIN
    RAISE EXCEPTION 'timed out after % s waiting for instance "%"', p_seconds, p_instance USING ERRCODE = 'WF010',
        DETAIL = pg_catalog.concat('It is ', p_status, '.', ' It is held up: ' OPERATOR(pg_catalog.||) NULLIF(v_held_up, '') OPERATOR(pg_catalog.||) '.'),
        HINT = 'It goes on: wait again, or look at df.explain() for what it waits for.';
END $$;

-- The status if it is final, NULL if waiting makes sense; an error where it can make none.
CREATE FUNCTION df._final_status(p_instance text, p_seconds integer) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    v_status  pg_catalog.text;
    v_created pg_catalog.timestamptz;
BEGIN
    IF (p_seconds OPERATOR(pg_catalog.>) 0) IS NOT TRUE THEN
        RAISE EXCEPTION 'Timeout must be positive, got %', p_seconds USING ERRCODE = '22023';
    END IF;
    SELECT o.status, o.created_at INTO v_status, v_created FROM df._own o
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

-- VOLATILE: each look takes a new snapshot and so sees what others commit.
CREATE FUNCTION df.await_instance(instance_id text, timeout_seconds integer DEFAULT 30) RETURNS text
LANGUAGE plpgsql VOLATILE STRICT AS $$
DECLARE
    v_status pg_catalog.text := df._final_status(instance_id, timeout_seconds);
    v_end    pg_catalog.timestamptz := pg_catalog.clock_timestamp()
        OPERATOR(pg_catalog.+) pg_catalog.make_interval(secs => timeout_seconds);
    v_pause  double precision := 0.01;
BEGIN
    WHILE v_status IS NULL LOOP
        IF pg_catalog.clock_timestamp() OPERATOR(pg_catalog.>=) v_end THEN
            RETURN df._timed_out(instance_id, timeout_seconds, df.status(instance_id));
        END IF;
        PERFORM pg_catalog.pg_sleep(v_pause);
        v_pause := LEAST(v_pause OPERATOR(pg_catalog.*) 1.5, 0.25);
        v_status := df._final_status(instance_id, timeout_seconds);
    END LOOP;
    RETURN v_status;
END $$;

CREATE FUNCTION df.wait_for_completion(instance_id text, timeout_seconds integer DEFAULT 30) RETURNS text
LANGUAGE plpgsql VOLATILE STRICT AS $$
BEGIN
    RAISE WARNING 'df.wait_for_completion() is deprecated' USING ERRCODE = '01P01', HINT = 'Use df.await_instance().';
    RETURN df.await_instance(instance_id, timeout_seconds);
END $$;

-- The proxy holds a call of the functions above itself and, when the wait is over, forwards it to
-- these of the same names: same column, same errors, no second wait.
CREATE SCHEMA df_held;

CREATE FUNCTION df_held.await_instance(instance_id text, timeout_seconds integer DEFAULT 30) RETURNS text
LANGUAGE plpgsql VOLATILE STRICT AS $$
BEGIN
    RETURN COALESCE(
        df._final_status(instance_id, timeout_seconds),
        df._timed_out(instance_id, timeout_seconds, df.status(instance_id)));
END $$;

CREATE FUNCTION df_held.wait_for_completion(instance_id text, timeout_seconds integer DEFAULT 30) RETURNS text
LANGUAGE plpgsql VOLATILE STRICT AS $$
BEGIN
    RAISE WARNING 'df.wait_for_completion() is deprecated' USING ERRCODE = '01P01', HINT = 'Use df.await_instance().';
    RETURN df_held.await_instance(instance_id, timeout_seconds);
END $$;

CREATE FUNCTION df.version() RETURNS text
LANGUAGE plpgsql STABLE STRICT AS $$
BEGIN
    RETURN (SELECT s.value FROM df._public_settings s WHERE s.name OPERATOR(pg_catalog.=) 'version');
END $$;


-- ---------------------------------------------------------------------------------------------
-- Giving and taking the right to use df

-- Two GRANTs on one object at once fail with "tuple concurrently updated", so they queue at a
-- table that users cannot lock.
CREATE FUNCTION df.grant_usage(p_role text, include_http boolean DEFAULT false, with_grant boolean DEFAULT false)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_option text := CASE WHEN with_grant THEN ' WITH GRANT OPTION' ELSE '' END;
    v_right  text;
BEGIN
    IF NOT EXISTS (SELECT 1 FROM pg_roles r WHERE r.rolname = p_role) THEN
        RAISE EXCEPTION 'role "%" does not exist', p_role USING ERRCODE = '42704';
    END IF;
    LOCK TABLE df._migrations IN SHARE ROW EXCLUSIVE MODE;
    FOREACH v_right IN ARRAY df._usage_rights() LOOP
        EXECUTE format('GRANT %s TO %I', v_right, p_role) || v_option;
    END LOOP;
    IF include_http THEN
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %I', df._http_functions(), p_role) || v_option;
    END IF;
    IF with_grant THEN
        EXECUTE format('GRANT EXECUTE ON FUNCTION df.grant_usage(text, boolean, boolean), df.revoke_usage(text), df.metrics() TO %I WITH GRANT OPTION', p_role);
    END IF;
END $$;

CREATE FUNCTION df.revoke_usage(p_role text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_right text;
BEGIN
    IF NOT EXISTS (SELECT 1 FROM pg_roles r WHERE r.rolname = p_role) THEN
        RAISE EXCEPTION 'role "%" does not exist', p_role USING ERRCODE = '42704';
    END IF;
    LOCK TABLE df._migrations IN SHARE ROW EXCLUSIVE MODE;
    FOREACH v_right IN ARRAY df._usage_rights() LOOP
        EXECUTE format('REVOKE %s FROM %I CASCADE', v_right, p_role);
    END LOOP;
    EXECUTE format('REVOKE EXECUTE ON FUNCTION df.grant_usage(text, boolean, boolean), df.revoke_usage(text), df.metrics(), %s FROM %I CASCADE',
        df._http_functions(), p_role);
END $$;

-- All that using df takes. No right on a table but INSERT of an order.
CREATE FUNCTION df._usage_rights() RETURNS text[]
LANGUAGE sql IMMUTABLE AS $$
    SELECT ARRAY[
        'USAGE ON SCHEMA df, df_held',
        'SELECT ON df._own, df._own_listed, df._own_executions, df._own_nodes, df._own_outcomes, df._described_nodes, df.instances, df.nodes, df.vars, df._worker_epoch, df._public_settings',
        'INSERT (graph, label, database, key, start_at, rerun_of, rerun_from) ON df._own',
        'INSERT (verb, instance_id, name, payload) ON df._commands']
$$;
