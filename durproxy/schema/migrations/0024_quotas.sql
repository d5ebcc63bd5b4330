-- Quotas of roles: how much df.start may take, and how often an HTTP step may call.
--
-- * The limits come from the engines' configuration (df._set_quotas_1). A change is in force with its
--   commit and waits for no start, however long that stays open: nothing is locked that a start locks.
-- * Without quotas a start pays for two looks at a sequence, which say so, in triggers that are there
--   anyway.
-- * A start is counted twice: at once, for an error where it happens, and again at commit, under a
--   lock of its role that is held for the commit only. So two transactions cannot both take the last
--   place. Under REPEATABLE READ and above, who cannot see what another has started since gets 40001.
-- * Nobody waits for that lock longer than a second: who keeps it longer (a transaction that is
--   prepared, or slow in its commit) can make a role exceed its quota, but not stop it.
-- * What is rolled back was never there. What is remembered of a role's use is only how much it can
--   be at most, which spares the counting until that reaches a limit; it is forgotten when a limit
--   changes, which its generation tells.

-- When it was started, by the clock. created_at is when the transaction began: that tells what was
-- started in the same one, and nothing about the last minute. Without quotas NULL, and in no index.
-- First of all here: a lock that is less, taken before, could meet a worker's and end in a deadlock.
ALTER TABLE df._instances ADD COLUMN counted_at timestamptz;
CREATE INDEX _instances_counted ON df._instances (submitted_by, counted_at)                 -- df._count_starts
    WHERE counted_at IS NOT NULL;

-- Above zero: there are quotas, in that generation; below: there are none, and had been so many.
-- A sequence, since every transaction sees where it is now, and none waits for another.
CREATE SEQUENCE df._quotas_in_force MINVALUE -9223372036854775807 START -1;

CREATE TABLE df._quotas (
    role       text PRIMARY KEY,   -- '*': every role, for what its own row does not say
    instances  integer,            -- that have not ended
    queued     integer,            -- that no engine has begun
    starts     integer,            -- in a minute
    nodes      integer,            -- of a graph
    generation bigint              -- the same in all rows
);

-- To be locked, too: advisory locks could be taken by any user.
CREATE TABLE df._quota_use (
    role       oid NOT NULL,
    kind       "char" NOT NULL,    -- 's': starts, 'h': HTTP calls
    instances  bigint,             -- starts: as many at most; NULL: not known
    queued     bigint,
    starts     bigint,
    generation bigint,             -- of the quotas, when this was noted
    PRIMARY KEY (role, kind)
);

-- who is paused is in no other index, and must count
CREATE INDEX _instances_paused ON df._instances (submitted_by) WHERE paused IS NOT NULL;    -- df._count_live

CREATE TABLE df._http_calls (       -- of roles with a quota, in the last minute
    role  oid NOT NULL,
    at    timestamptz NOT NULL
);
CREATE INDEX _http_calls_recent ON df._http_calls (role, at);                               -- df._spend_call_1

-- In plpgsql, which keeps its plans, what every start asks costs a tenth of what it does in SQL.
CREATE FUNCTION df._quota_of(p_role regrole) RETURNS df._quotas
LANGUAGE plpgsql STABLE AS $$
DECLARE
    v_role  name := (SELECT r.rolname FROM pg_roles r WHERE r.oid = p_role);
    v_quota df._quotas;
    v_every df._quotas;
BEGIN
    SELECT q.* INTO v_every FROM df._quotas q WHERE q.role = '*';
    SELECT q.* INTO v_quota FROM df._quotas q WHERE q.role = v_role;
    v_quota.role := v_role;
    v_quota.instances := coalesce(v_quota.instances, v_every.instances);
    v_quota.queued := coalesce(v_quota.queued, v_every.queued);
    v_quota.starts := coalesce(v_quota.starts, v_every.starts);
    v_quota.nodes := coalesce(v_quota.nodes, v_every.nodes);
    v_quota.generation := coalesce(v_quota.generation, v_every.generation);
    RETURN v_quota;
END $$;

-- The row, locked; NULL when somebody keeps it.
CREATE FUNCTION df._lock_use(p_role oid, p_kind "char") RETURNS df._quota_use
LANGUAGE plpgsql SET lock_timeout = '1s' AS $$
DECLARE
    v_use df._quota_use;
BEGIN
    SELECT u.* INTO v_use FROM df._quota_use u WHERE u.role = p_role AND u.kind = p_kind FOR UPDATE;
    IF NOT FOUND THEN
        INSERT INTO df._quota_use (role, kind) VALUES (p_role, p_kind) ON CONFLICT DO NOTHING;
        SELECT u.* INTO v_use FROM df._quota_use u WHERE u.role = p_role AND u.kind = p_kind FOR UPDATE;
    END IF;
    RETURN v_use;
EXCEPTION WHEN lock_not_available THEN
    RETURN NULL;
END $$;

-- How many of a role have not ended, p_most at most; p_pending: of those only the ones not begun.
-- Each is ready, held or paused, and each of these has its index.
CREATE FUNCTION df._count_live(p_role regrole, p_most bigint, p_pending boolean) RETURNS bigint
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
    SELECT count(*) FROM (
        SELECT 1 FROM df._instances i
        WHERE i.submitted_by = p_role AND i.ready_at IS NOT NULL AND (i.status = 'pending' OR NOT p_pending)
        UNION ALL
        SELECT 1 FROM df._instances i
        WHERE i.owner IS NOT NULL AND i.submitted_by = p_role AND NOT p_pending
        UNION ALL
        SELECT 1 FROM df._instances i
        WHERE i.paused IS NOT NULL AND i.submitted_by = p_role AND i.owner IS NULL
          AND (i.status = 'pending' OR i.status = 'running' AND NOT p_pending)
        LIMIT p_most) live
$$;

CREATE FUNCTION df._count_starts(p_role regrole, p_most bigint) RETURNS bigint
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
    SELECT count(*) FROM (
        SELECT 1 FROM df._instances i
        WHERE i.submitted_by = p_role AND i.counted_at > clock_timestamp() - interval '1 minute'
        LIMIT p_most) started
$$;

-- How much of one limit is used at most after one start more. p_known: before it, as far as known;
-- p_uncounted: how many a count does not see, of this start.
CREATE FUNCTION df._used(p_role regrole, p_name text, p_limit integer, p_known bigint, p_uncounted integer)
RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    v_used bigint := p_known + 1;
BEGIN
    IF p_limit IS NULL OR v_used <= p_limit THEN
        RETURN v_used;
    END IF;
    v_used := p_uncounted + CASE p_name
        WHEN 'instances' THEN df._count_live(p_role, p_limit + 1::bigint, false)
        WHEN 'queued' THEN df._count_live(p_role, p_limit + 1::bigint, true)
        ELSE df._count_starts(p_role, p_limit + 1::bigint) END;
    IF v_used > p_limit THEN
        RAISE EXCEPTION 'quota "%" of role "%" is used up', p_name,
            (SELECT r.rolname FROM pg_roles r WHERE r.oid = p_role)
            USING ERRCODE = '53400',
            DETAIL = format(CASE p_name
                WHEN 'instances' THEN '%s of its instances may be running, waiting or queued at a time.'
                WHEN 'queued' THEN '%s of its instances may wait for an engine to begin them.'
                ELSE 'It may start %s in a minute.' END, p_limit),
            HINT = CASE p_name
                WHEN 'instances' THEN 'Start it again when one has ended.'
                WHEN 'queued' THEN 'Start it again when one has begun.'
                ELSE 'Start it again later.' END;
    END IF;
    RETURN v_used;
END $$;

CREATE FUNCTION df._use_quota(p_role regrole, p_quota df._quotas, p_use df._quota_use, p_uncounted integer)
RETURNS df._quota_use LANGUAGE plpgsql AS $$
BEGIN
    p_use.instances := df._used(p_role, 'instances', p_quota.instances, p_use.instances, p_uncounted);
    p_use.queued := df._used(p_role, 'queued', p_quota.queued, p_use.queued, p_uncounted);
    p_use.starts := df._used(p_role, 'starts_per_minute', p_quota.starts, p_use.starts, p_uncounted);
    RETURN p_use;
END $$;

-- Whether this transaction has made the instance with that number, for that role, outside of savepoints.
-- An order is a change of the row, too, but tells its own time.
CREATE FUNCTION df._made_here(p_seq bigint, p_role regrole) RETURNS boolean
LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN EXISTS (SELECT 1 FROM df._instances i
                   WHERE i.id = lpad(to_hex(p_seq), 8, '0') AND i.submitted_by = p_role
                     AND i.xmin = pg_current_xact_id()::xid AND i.updated_at = now());
END $$;

-- Before a start that the triggers let through.
CREATE FUNCTION df._check_quota(p_role regrole, p_seq bigint, p_key text, p_graph json) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    v_quota df._quotas := df._quota_of(p_role);
    v_use   df._quota_use;
    v_nodes bigint;
BEGIN
    IF p_key IS NOT NULL AND EXISTS (SELECT 1 FROM df._instances i WHERE i.submitted_by = p_role AND i.key = p_key) THEN
        RETURN;  -- not a start: df.start gives back the one that is there
    ELSIF v_quota.nodes IS NOT NULL THEN
        v_nodes := (SELECT count(*) FROM df._walk(p_graph));
        IF v_nodes > v_quota.nodes THEN
            RAISE EXCEPTION 'graph of % nodes is larger than the quota of role "%"', v_nodes, v_quota.role
                USING ERRCODE = '53400', DETAIL = format('It may have %s.', v_quota.nodes);
        END IF;
    END IF;
    IF NOT df._made_here(p_seq - 1, p_role) THEN
        SELECT u.* INTO v_use FROM df._quota_use u
        WHERE u.role = p_role::oid AND u.kind = 's' AND u.generation = v_quota.generation;
    ELSIF least(v_quota.instances, v_quota.queued, v_quota.starts) > 200 AND p_seq % 50 <> 0 THEN
        RETURN;  -- of many in one transaction, which nothing known includes, some are enough
    END IF;
    PERFORM df._use_quota(p_role, v_quota, v_use, 1);
END $$;

-- At commit. Of those that a transaction made in a row the last one counts for all; those that were made
-- in savepoints count each for itself.
CREATE FUNCTION df._keep_quota(p_role regrole, p_seq bigint) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    v_quota df._quotas := df._quota_of(p_role);
    v_use   df._quota_use;
BEGIN
    IF coalesce(v_quota.instances, v_quota.queued, v_quota.starts) IS NULL
        OR df._made_here(p_seq + 1, p_role) AND df._made_here(p_seq, p_role)
    THEN
        RETURN;
    END IF;
    v_use := df._lock_use(p_role::oid, 's');
    IF v_use.generation IS DISTINCT FROM v_quota.generation OR df._made_here(p_seq - 1, p_role) THEN
        v_use.instances := NULL;
        v_use.queued := NULL;
        v_use.starts := NULL;
    END IF;
    v_use := df._use_quota(p_role, v_quota, v_use, 0);
    UPDATE df._quota_use u
    SET instances = v_use.instances, queued = v_use.queued, starts = v_use.starts, generation = v_quota.generation
    WHERE u.role = v_use.role AND u.kind = v_use.kind;
END $$;

-- As before, and the quotas, last: what is refused is not counted.
CREATE OR REPLACE FUNCTION df._check_instance() RETURNS trigger
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
    NEW.id := lpad(to_hex(NEW.seq), 8, '0');
    NEW.lane := hashtext(NEW.database || '/' || coalesce(NEW.label, '')) & 63;
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
    IF pg_sequence_last_value('df._quotas_in_force'::regclass) > 0 THEN
        PERFORM df._check_quota(NEW.submitted_by, NEW.seq, NEW.key, NEW.graph);
        NEW.counted_at := clock_timestamp();
    END IF;
    RETURN NEW;
END $$;

CREATE OR REPLACE FUNCTION df._wake_engine() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF pg_sequence_last_value('df._idle'::regclass) = 2 THEN
        PERFORM pg_notify('durproxy', 'w');
    END IF;
    IF pg_sequence_last_value('df._quotas_in_force'::regclass) > 0 THEN
        IF TG_RELID <> 'df._instances'::regclass THEN  -- on another table anybody could write "submitted_by"
            RAISE EXCEPTION 'this trigger is for df._instances only' USING ERRCODE = '42501';
        END IF;
        PERFORM df._keep_quota(NEW.submitted_by, NEW.seq);
    END IF;
    RETURN NULL;
END $$;

-- The quotas of the configuration, {"role": {"instances": n, ...}, ...}. NULL: they are in force;
-- otherwise to be called again: the sessions that hold it up (0: a prepared transaction), if there are any.
CREATE FUNCTION df._set_quotas_1(p_quotas json) RETURNS integer[]
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '100ms' AS $$
DECLARE
    v_at      bigint;
    v_changed bigint;
    v_gone    bigint;
BEGIN
    LOCK TABLE df._quotas IN SHARE ROW EXCLUSIVE MODE;
    v_at := coalesce(pg_sequence_last_value('df._quotas_in_force'), -1);
    DELETE FROM df._quotas q WHERE NOT (p_quotas::jsonb ? q.role);
    GET DIAGNOSTICS v_gone = ROW_COUNT;
    INSERT INTO df._quotas AS q (role, instances, queued, starts, nodes)
    SELECT given.key, (given.value ->> 'instances')::integer, (given.value ->> 'queued')::integer,
        (given.value ->> 'starts')::integer, (given.value ->> 'nodes')::integer
    FROM json_each(p_quotas) given
    ON CONFLICT (role) DO UPDATE
    SET instances = excluded.instances, queued = excluded.queued, starts = excluded.starts, nodes = excluded.nodes
    WHERE (q.instances, q.queued, q.starts, q.nodes)
        IS DISTINCT FROM (excluded.instances, excluded.queued, excluded.starts, excluded.nodes);
    GET DIAGNOSTICS v_changed = ROW_COUNT;
    IF EXISTS (SELECT 1 FROM df._quotas) THEN
        IF v_gone + v_changed > 0 OR v_at < 0 THEN  -- where there was no limit nothing was noted
            UPDATE df._quotas SET generation = abs(v_at) + 1;
            PERFORM setval('df._quotas_in_force', abs(v_at) + 1);
        END IF;
    ELSIF v_at > 0 THEN
        IF v_gone > 0 THEN  -- this may be rolled back, and a sequence is not: when it is sure
            RETURN ARRAY[]::integer[];
        END IF;
        PERFORM setval('df._quotas_in_force', -v_at);
    END IF;
    RETURN NULL;
EXCEPTION WHEN lock_not_available THEN
    RETURN ARRAY(
        SELECT DISTINCT coalesce(l.pid, 0) FROM pg_locks l
        WHERE l.relation IN ('df._quotas'::regclass, 'df._quotas_in_force'::regclass) AND l.granted
          AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
          AND l.mode NOT IN ('AccessShareLock', 'RowShareLock') AND l.pid IS DISTINCT FROM pg_backend_pid()
        ORDER BY 1);
END $$;

-- One HTTP call of a role that may make p_limit in a minute: 0, or the seconds until it may.
CREATE FUNCTION df._spend_call_1(p_role oid, p_limit integer) RETURNS double precision
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
DECLARE
    v_now   timestamptz;
    v_first timestamptz;
BEGIN
    IF p_limit = 0 THEN
        RETURN 60;
    END IF;
    PERFORM df._lock_use(p_role, 'h');
    v_now := clock_timestamp();
    DELETE FROM df._http_calls c WHERE c.role = p_role AND c.at <= v_now - interval '1 minute';
    -- the oldest of the last p_limit calls must be gone before there is another
    SELECT c.at INTO v_first FROM df._http_calls c WHERE c.role = p_role ORDER BY c.at DESC OFFSET p_limit - 1 LIMIT 1;
    IF FOUND THEN
        RETURN extract(epoch FROM v_first + interval '1 minute' - v_now);
    END IF;
    INSERT INTO df._http_calls (role, at) VALUES (p_role, v_now);
    RETURN 0;
END $$;
