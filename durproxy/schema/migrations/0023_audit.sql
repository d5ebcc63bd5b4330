-- Who did what to which instance, from where.
--
-- A start is in the instance's own row, which has who and when already: two more columns, no second
-- row. An order (cancel, signal, pause, ...) and a rerun leave a row of df._audit in the same
-- transaction, so what was rolled back is not there. That row names roles by name and outlives the
-- instance and the roles. Nobody changes it: users have no right to, and a trigger refuses the owner
-- and superusers, too, until the row is older than audit_days.

ALTER TABLE df._instances
    ADD COLUMN login text,          -- who logged in, where that is another than submitted_by
    ADD COLUMN address inet,        -- the client's, as the server sees it: the proxy's, through one
    ADD COLUMN application text;    -- as the client calls itself
ALTER TABLE df._instances
    ALTER COLUMN login SET DEFAULT nullif(session_user, current_user)::text,
    ALTER COLUMN address SET DEFAULT inet_client_addr(),
    ALTER COLUMN application SET DEFAULT nullif(current_setting('application_name'), '');

CREATE TABLE df._audit (
    seq          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at           timestamptz NOT NULL DEFAULT clock_timestamp(),
    action       text NOT NULL,
    instance     text COLLATE "C",       -- not instance_id: retention leaves it alone
    owner        text NOT NULL,          -- whose instance, or schedule
    role         text NOT NULL,          -- who gave the order
    login        text NOT NULL DEFAULT session_user::text,
    address      inet DEFAULT inet_client_addr(),
    application  text DEFAULT nullif(current_setting('application_name'), ''),
    workflow     text,                   -- the instance whose step gave the order
    detail       text
);
CREATE INDEX _audit_instance ON df._audit (instance, at);                                   -- df.audit, of one
CREATE INDEX _audit_at ON df._audit (at);                                                   -- retention

CREATE FUNCTION df._audit_days() RETURNS double precision
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce((SELECT s.value::double precision FROM df._settings s WHERE s.name = 'audit_days'), 90)
$$;

CREATE FUNCTION df._keep_audit() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        IF df._audit_days() > 0 AND OLD.at < clock_timestamp() - df._audit_days() * interval '1 day' THEN
            RETURN OLD;
        END IF;
    END IF;
    RAISE EXCEPTION 'the audit is append-only' USING ERRCODE = '42501',
        DETAIL = 'A row may be deleted when it is older than audit_days, and never changed.';
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
    INSERT INTO df._audit (action, instance, owner, role, workflow, detail)
    SELECT NEW.verb, NEW.instance_id, coalesce(
            (SELECT r.rolname FROM df._instances i JOIN pg_roles r ON r.oid = i.submitted_by
             WHERE i.id = NEW.instance_id), r.rolname),
        r.rolname, nullif(current_setting('durproxy.instance', true), ''),
        -- of a message its name: what it says is nobody's but the receiver's
        left(CASE WHEN NEW.verb IN ('cancel', 'pause') THEN NEW.payload ELSE NEW.name END, 1000)
    FROM pg_roles r WHERE r.oid = NEW.who;
    RETURN NEW;
END $$;

CREATE TRIGGER audit_command BEFORE INSERT ON df._commands FOR EACH ROW
    WHEN (NEW.verb IN ('cancel', 'signal', 'pause', 'resume', 'schedule', 'unschedule'))
    EXECUTE FUNCTION df._audit_command();

CREATE FUNCTION df._audit_rerun() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_RELID <> 'df._instances'::regclass THEN  -- on another table anybody could write "submitted_by"
        RAISE EXCEPTION 'this trigger is for df._instances only' USING ERRCODE = '42501';
    END IF;
    INSERT INTO df._audit (action, instance, owner, role, workflow, detail)
    SELECT 'rerun', NEW.rerun_of, o.rolname, r.rolname,
        nullif(current_setting('durproxy.instance', true), ''), 'as ' || lpad(to_hex(NEW.seq), 8, '0')
    FROM df._instances i JOIN pg_roles o ON o.oid = i.submitted_by, pg_roles r
    WHERE i.id = NEW.rerun_of AND r.oid = NEW.submitted_by;
    RETURN NEW;
END $$;

CREATE TRIGGER audit_rerun BEFORE INSERT ON df._instances
    FOR EACH ROW WHEN (NEW.rerun_of IS NOT NULL) EXECUTE FUNCTION df._audit_rerun();

-- ---------------------------------------------------------------------------------------------
-- Reading and forgetting

-- What a role did, and what was done to what is its own.
CREATE VIEW df.audit WITH (security_barrier) AS
    SELECT a.at, a.action, a.instance AS instance_id, a.owner, a.role, a.login, a.address, a.application,
        a.workflow, a.detail
    FROM df._audit a
    WHERE a.owner = current_user::text OR a.role = current_user::text OR (SELECT df._sees_all())
    UNION ALL
    SELECT i.created_at, 'start', i.id, r.rolname::text, r.rolname::text, coalesce(i.login, r.rolname::text),
        i.address, i.application, NULL, i.label
    FROM df._instances i JOIN pg_roles r ON r.oid = i.submitted_by
    WHERE i.rerun_of IS NULL
      AND (i.submitted_by = quote_ident(current_user)::regrole OR (SELECT df._sees_all()));

-- Deletes up to p_room rows that are old enough; how many.
CREATE FUNCTION df._sweep_audit_1(p_room integer) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
    WITH old AS MATERIALIZED (
        SELECT a.seq FROM df._audit a
        WHERE df._audit_days() > 0 AND a.at < clock_timestamp() - df._audit_days() * interval '1 day'
        ORDER BY a.at LIMIT p_room FOR UPDATE SKIP LOCKED),
    gone AS (DELETE FROM df._audit a USING old o WHERE a.seq = o.seq RETURNING 1)
    SELECT count(*) FROM gone
$$;

CREATE OR REPLACE FUNCTION df._reading_rights() RETURNS text[]
LANGUAGE sql IMMUTABLE AS $$
    SELECT ARRAY[
        'USAGE ON SCHEMA df, df_held',
        'SELECT ON df._own, df._own_listed, df._own_executions, df._own_attempts, df._own_nodes, df._own_outcomes, df._described_nodes, df.instances, df.nodes, df.schedules, df._own_schedules, df.vars, df.waiting, df.audit, df._worker_epoch, df._public_settings',
        'SELECT (id, graph, status, result, created_at, start_at, rerun_of) ON df._shown']
$$;
