-- Who did what to which instance, from where.
--
-- A start is in the instance's own row, which has who and when already: a few more columns, no second
-- row. Only when the instance is deleted the start gets a row of df._audit, for as long as it is still
-- to be kept. An order (cancel, signal, pause, ...), a rerun and a grant leave a row there in the same
-- transaction, so what was rolled back is not there. That row names roles by name and outlives the
-- instance and the roles; it is shown to the role that has both the name and the number, since a name
-- may be another's by now, and a number, after a restore into another cluster. Nobody changes it: users
-- have no right to, and a trigger refuses the owner and superusers, too, until keep_until, which is
-- fixed when the row is written.

ALTER TABLE df._instances
    ADD COLUMN login text,          -- who logged in, where that is another than submitted_by
    ADD COLUMN address inet,        -- the client's, as the server sees it: the proxy's, through one
    ADD COLUMN pid integer,         -- the session's; the proxy's log has the client's address beside it
    ADD COLUMN application text;    -- as the client calls itself
ALTER TABLE df._instances
    ALTER COLUMN login SET DEFAULT nullif(session_user, current_user)::text,
    ALTER COLUMN address SET DEFAULT inet_client_addr(),
    ALTER COLUMN pid SET DEFAULT pg_backend_pid(),
    ALTER COLUMN application SET DEFAULT nullif(current_setting('application_name'), '');

-- How long what is written now is kept. 0 is no limit, which is some millennia.
CREATE FUNCTION df._kept_for(p_days double precision) RETURNS interval
LANGUAGE sql IMMUTABLE AS $$
    SELECT coalesce(nullif(p_days, 0), 1000000) * interval '1 day'
$$;

CREATE FUNCTION df._audit_kept_for() RETURNS interval
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT df._kept_for((SELECT s.value::double precision FROM df._settings s WHERE s.name = 'audit_days'))
$$;

CREATE TABLE df._audit (
    seq          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at           timestamptz NOT NULL DEFAULT clock_timestamp(),
    keep_until   timestamptz NOT NULL DEFAULT clock_timestamp() + df._audit_kept_for(),
    action       text NOT NULL,
    instance     text COLLATE "C",       -- not instance_id: retention leaves it alone
    owner_id     regrole,                -- whose instance, or schedule; who got or lost a right
    owner        text NOT NULL,
    role_id      regrole NOT NULL,       -- who gave the order
    role         text NOT NULL,
    login        text NOT NULL DEFAULT session_user::text,
    address      inet DEFAULT inet_client_addr(),
    pid          integer DEFAULT pg_backend_pid(),
    application  text DEFAULT nullif(current_setting('application_name'), ''),
    workflow     text,                   -- the instance whose step gave the order
    detail       text
);
CREATE INDEX _audit_instance ON df._audit (instance, at);                                   -- df.audit, of one
CREATE INDEX _audit_owner ON df._audit (owner_id, at);                                      -- df.audit, one's own
CREATE INDEX _audit_role ON df._audit (role_id, at)                                         -- df.audit, what one did
    WHERE owner_id IS DISTINCT FROM role_id OR owner <> role;
CREATE INDEX _audit_kept ON df._audit (keep_until);                                         -- retention

CREATE FUNCTION df._keep_audit() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        IF OLD.keep_until < clock_timestamp() THEN
            RETURN OLD;
        END IF;
    END IF;
    RAISE EXCEPTION 'the audit is append-only' USING ERRCODE = '42501',
        DETAIL = 'A row is kept for what audit_days was when it was written, and never changed.';
END $$;

CREATE TRIGGER keep_audit BEFORE UPDATE OR TRUNCATE ON df._audit
    FOR EACH STATEMENT EXECUTE FUNCTION df._keep_audit();
CREATE TRIGGER keep_audit_rows BEFORE DELETE ON df._audit
    FOR EACH ROW EXECUTE FUNCTION df._keep_audit();

-- ---------------------------------------------------------------------------------------------
-- What is written down
--
-- Before the order is carried out, by triggers whose names sort before those that do it: an order
-- that is refused takes its row along.

CREATE FUNCTION df._audit_command() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_RELID <> 'df._commands'::regclass THEN  -- on another table anybody could write "who"
        RAISE EXCEPTION 'this trigger is for df._commands only' USING ERRCODE = '42501';
    END IF;
    INSERT INTO df._audit (action, instance, owner_id, owner, role_id, role, workflow, detail)
    SELECT NEW.verb, NEW.instance_id, coalesce(o.oid, r.oid)::regrole, coalesce(o.rolname, r.rolname),
        r.oid::regrole, r.rolname, nullif(current_setting('durproxy.instance', true), ''),
        -- of a message its name: what it says is nobody's but the receiver's
        left(CASE WHEN NEW.verb IN ('cancel', 'pause') THEN NEW.payload ELSE NEW.name END, 1000)
    FROM pg_roles r
    LEFT JOIN df._instances i ON i.id = NEW.instance_id
    LEFT JOIN pg_roles o ON o.oid = i.submitted_by
    WHERE r.oid = NEW.who;
    RETURN NEW;
END $$;

CREATE TRIGGER audit_command BEFORE INSERT ON df._commands FOR EACH ROW
    WHEN (NEW.verb IN ('cancel', 'signal', 'pause', 'resume', 'schedule', 'unschedule'))
    EXECUTE FUNCTION df._audit_command();

CREATE FUNCTION df._audit_grant() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_RELID <> 'df._commands'::regclass THEN
        RAISE EXCEPTION 'this trigger is for df._commands only' USING ERRCODE = '42501';
    END IF;
    INSERT INTO df._audit (action, owner_id, owner, role_id, role, workflow, detail)
    SELECT NEW.verb, o.oid::regrole, o.rolname, r.oid::regrole, r.rolname,
        nullif(current_setting('durproxy.instance', true), ''), nullif(NEW.payload, '')
    FROM pg_roles r, pg_roles o
    WHERE r.oid = NEW.who AND o.rolname = NEW.name;
    RETURN NEW;
END $$;

CREATE TRIGGER audit_grant BEFORE INSERT ON df._commands FOR EACH ROW
    WHEN (NEW.verb IN ('grant_usage', 'grant_viewer', 'grant_operator', 'grant_engine', 'revoke_usage'))
    EXECUTE FUNCTION df._audit_grant();

CREATE FUNCTION df._audit_rerun() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_RELID <> 'df._instances'::regclass THEN  -- on another table anybody could write "submitted_by"
        RAISE EXCEPTION 'this trigger is for df._instances only' USING ERRCODE = '42501';
    END IF;
    INSERT INTO df._audit (action, instance, owner_id, owner, role_id, role, workflow, detail)
    SELECT 'rerun', NEW.rerun_of, o.oid::regrole, o.rolname, r.oid::regrole, r.rolname,
        nullif(current_setting('durproxy.instance', true), ''), 'as ' || lpad(to_hex(NEW.seq), 8, '0')
    FROM df._instances i JOIN pg_roles o ON o.oid = i.submitted_by, pg_roles r
    WHERE i.id = NEW.rerun_of AND r.oid = NEW.submitted_by;
    RETURN NEW;
END $$;

CREATE TRIGGER audit_rerun BEFORE INSERT ON df._instances
    FOR EACH ROW WHEN (NEW.rerun_of IS NOT NULL) EXECUTE FUNCTION df._audit_rerun();

-- What is deleted by hand, too.
CREATE FUNCTION df._audit_gone() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_kept_for CONSTANT interval := df._audit_kept_for();
BEGIN
    IF TG_RELID <> 'df._instances'::regclass THEN
        RAISE EXCEPTION 'this trigger is for df._instances only' USING ERRCODE = '42501';
    ELSIF TG_OP = 'TRUNCATE' THEN
        DELETE FROM df._instances;
        RETURN NULL;
    END IF;
    INSERT INTO df._audit (at, keep_until, action, instance, owner_id, owner, role_id, role, login, address, pid,
        application, detail)
    SELECT g.created_at, g.created_at + v_kept_for, 'start', g.id, g.submitted_by, n.name, g.submitted_by, n.name,
        coalesce(g.login, n.name), g.address, g.pid, g.application, g.label
    FROM gone g
    LEFT JOIN pg_roles r ON r.oid = g.submitted_by
    CROSS JOIN LATERAL coalesce(r.rolname, g.submitted_by::text) n (name)  -- the number of a role that is gone
    WHERE g.rerun_of IS NULL AND g.created_at + v_kept_for > clock_timestamp();
    RETURN NULL;
END $$;

CREATE TRIGGER audit_gone AFTER DELETE ON df._instances
    REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION df._audit_gone();
CREATE TRIGGER audit_all_gone BEFORE TRUNCATE ON df._instances
    FOR EACH STATEMENT EXECUTE FUNCTION df._audit_gone();

-- ---------------------------------------------------------------------------------------------
-- Reading and forgetting

-- What was done to what is a role's own, what it did to what is another's, and, for who looks at all,
-- the rest. Not one condition with OR, so that each part is found by its index.
CREATE VIEW df.audit WITH (security_barrier) AS
    SELECT a.at, a.action, a.instance AS instance_id, a.owner, a.role, a.login, a.address, a.pid, a.application,
        a.workflow, a.detail
    FROM (
        SELECT o.* FROM df._audit o
        WHERE o.owner_id = quote_ident(current_user)::regrole AND o.owner = current_user
        UNION ALL
        SELECT d.* FROM df._audit d
        WHERE d.role_id = quote_ident(current_user)::regrole AND d.role = current_user
          AND (d.owner_id IS DISTINCT FROM d.role_id OR d.owner <> d.role)
        UNION ALL
        SELECT r.* FROM df._audit r
        WHERE (r.owner_id = quote_ident(current_user)::regrole AND r.owner = current_user) IS NOT TRUE
          AND NOT (r.role_id = quote_ident(current_user)::regrole AND r.role = current_user)
          AND (SELECT df._sees_all())) a
    UNION ALL
    SELECT i.created_at, 'start', i.id, r.rolname::text, r.rolname::text, coalesce(i.login, r.rolname::text),
        i.address, i.pid, i.application, NULL, i.label
    FROM (
        SELECT m.* FROM df._instances m
        WHERE m.submitted_by = quote_ident(current_user)::regrole
        UNION ALL
        SELECT o.* FROM df._instances o
        WHERE o.submitted_by <> quote_ident(current_user)::regrole AND (SELECT df._sees_all())) i
    JOIN pg_roles r ON r.oid = i.submitted_by
    WHERE i.rerun_of IS NULL;

-- Deletes up to p_room rows that are old enough; how many.
CREATE FUNCTION df._sweep_audit_1(p_room integer) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
    WITH old AS MATERIALIZED (
        SELECT a.seq FROM df._audit a WHERE a.keep_until < clock_timestamp()
        ORDER BY a.keep_until LIMIT p_room FOR UPDATE SKIP LOCKED),
    gone AS (DELETE FROM df._audit a USING old o WHERE a.seq = o.seq RETURNING 1)
    SELECT count(*) FROM gone
$$;

-- ---------------------------------------------------------------------------------------------
-- What the functions in the server know of the configuration

INSERT INTO df._settings (name, value) VALUES ('audit_days', '90') ON CONFLICT DO NOTHING;

-- Nobody shortens the time that the audit is kept by this, so whoever takes over a process that runs
-- all day cannot. The owner writes the table.
CREATE FUNCTION df._record_settings_1(
    p_audit_days double precision, p_superusers boolean, p_new_timeout double precision, p_set_aside_after integer)
RETURNS double precision LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF p_audit_days NOT BETWEEN 0 AND 36500 THEN
        RAISE EXCEPTION 'audit_days must be from 0 to 36500, got %', p_audit_days USING ERRCODE = '22023';
    END IF;
    INSERT INTO df._settings AS s (name, value)
    SELECT t.name, t.value
    FROM (VALUES ('audit_days', p_audit_days::text), ('enable_superuser_instances', p_superusers::text),
        ('new_transaction_start_timeout', p_new_timeout::text), ('set_aside_after', p_set_aside_after::text)
    ) t (name, value)
    WHERE t.value IS NOT NULL
    ON CONFLICT (name) DO UPDATE SET value = excluded.value
    WHERE s.value <> excluded.value
      AND CASE WHEN s.name = 'audit_days'
            THEN df._kept_for(p_audit_days) > df._kept_for(s.value::double precision)
            ELSE true END;
    RETURN (SELECT s.value::double precision FROM df._settings s WHERE s.name = 'audit_days');
END $$;

CREATE OR REPLACE FUNCTION df._reading_rights() RETURNS text[]
LANGUAGE sql IMMUTABLE AS $$
    SELECT ARRAY[
        'USAGE ON SCHEMA df, df_held',
        'SELECT ON df._own, df._own_listed, df._own_executions, df._own_attempts, df._own_nodes, df._own_outcomes, df._described_nodes, df.instances, df.nodes, df.schedules, df._own_schedules, df.vars, df.waiting, df.audit, df._worker_epoch, df._public_settings',
        'SELECT (id, graph, status, result, created_at, start_at, rerun_of) ON df._shown']
$$;
