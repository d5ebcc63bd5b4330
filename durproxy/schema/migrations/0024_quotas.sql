-- Quotas of roles: how much df.start may take, and how often an HTTP step may call.
--
-- * The limits come from the engines' configuration (df._set_quotas_1). The triggers that check them
--   are switched off while there are none, and the index that they need is not there, so that
--   df.start pays nothing then.
-- * A start is counted twice: at once, for an error where it happens, and again at commit, under a
--   lock of its role that is held for the commit only. So two transactions cannot both take the last
--   place. Under REPEATABLE READ and above, who cannot see what another has started since gets 40001.
-- * Nobody waits for that lock longer than a second: who keeps it longer (a transaction that is
--   prepared, or slow in its commit) can make a role exceed its quota, but not stop it.
-- * What is rolled back was never there. What is remembered of a role's use is only how much it can
--   be at most, which spares the counting until that reaches a limit.

CREATE TABLE df._quotas (
    role       text PRIMARY KEY,   -- '*': every role, for what its own row does not say
    instances  integer,            -- that have not ended
    queued     integer,            -- that no engine has begun
    starts     integer,            -- in a minute
    nodes      integer             -- of a graph
);

-- To be locked, too: advisory locks could be taken by any user.
CREATE TABLE df._quota_use (
    role       oid NOT NULL,
    kind       "char" NOT NULL,    -- 's': starts, 'h': HTTP calls
    instances  bigint,             -- starts: as many at most; NULL: not known
    queued     bigint,
    starts     bigint,
    PRIMARY KEY (role, kind)
);

CREATE TABLE df._http_calls (       -- of roles with a quota, in the last minute
    role  oid NOT NULL,
    at    timestamptz NOT NULL
);
CREATE INDEX _http_calls_recent ON df._http_calls (role, at);                               -- df._spend_call_1

CREATE FUNCTION df._quota_of(p_role regrole) RETURNS df._quotas
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT r.rolname::text, coalesce(own.instances, every.instances), coalesce(own.queued, every.queued),
        coalesce(own.starts, every.starts), coalesce(own.nodes, every.nodes)
    FROM pg_roles r
    LEFT JOIN df._quotas own ON own.role = r.rolname
    LEFT JOIN df._quotas every ON every.role = '*'
    WHERE r.oid = p_role
$$;

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
        WHERE i.submitted_by = p_role AND i.created_at > clock_timestamp() - interval '1 minute'
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

-- Whether this transaction has made the instance with that number, for that role.
CREATE FUNCTION df._made_here(p_seq bigint, p_role regrole) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT EXISTS (SELECT 1 FROM df._instances i
                   WHERE i.id = lpad(to_hex(p_seq), 8, '0') AND i.submitted_by = p_role
                     AND i.xmin = pg_current_xact_id()::xid)
$$;

CREATE FUNCTION df._check_quota() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_quota df._quotas := df._quota_of(NEW.submitted_by);
    v_use   df._quota_use;
    v_nodes bigint;
BEGIN
    IF TG_RELID <> 'df._instances'::regclass THEN  -- on another table anybody could write "submitted_by"
        RAISE EXCEPTION 'this trigger is for df._instances only' USING ERRCODE = '42501';
    ELSIF NEW.key IS NOT NULL AND EXISTS (
        SELECT 1 FROM df._instances i WHERE i.submitted_by = NEW.submitted_by AND i.key = NEW.key)
    THEN
        RETURN NEW;  -- not a start: df.start gives back the one that is there
    ELSIF v_quota.nodes IS NOT NULL THEN
        v_nodes := (SELECT count(*) FROM df._walk(NEW.graph));
        IF v_nodes > v_quota.nodes THEN
            RAISE EXCEPTION 'graph of % nodes is larger than the quota of role "%"', v_nodes, v_quota.role
                USING ERRCODE = '53400', DETAIL = format('It may have %s.', v_quota.nodes);
        END IF;
    END IF;
    NEW.created_at := clock_timestamp();  -- when the transaction began says nothing about the last minute
    IF NOT df._made_here(NEW.seq - 1, NEW.submitted_by) THEN
        SELECT u.* INTO v_use FROM df._quota_use u WHERE u.role = NEW.submitted_by::oid AND u.kind = 's';
    ELSIF least(v_quota.instances, v_quota.queued, v_quota.starts) > 200 AND NEW.seq % 50 <> 0 THEN
        RETURN NEW;  -- of many in one transaction, which nothing known includes, some are enough
    END IF;
    PERFORM df._use_quota(NEW.submitted_by, v_quota, v_use, 1);
    RETURN NEW;
END $$;

-- Of those that a transaction made in a row the last one counts for all.
CREATE FUNCTION df._keep_quota() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_quota df._quotas := df._quota_of(NEW.submitted_by);
    v_use   df._quota_use;
BEGIN
    IF TG_RELID <> 'df._instances'::regclass THEN
        RAISE EXCEPTION 'this trigger is for df._instances only' USING ERRCODE = '42501';
    ELSIF coalesce(v_quota.instances, v_quota.queued, v_quota.starts) IS NULL
        OR df._made_here(NEW.seq + 1, NEW.submitted_by)
    THEN
        RETURN NULL;
    END IF;
    v_use := df._lock_use(NEW.submitted_by::oid, 's');
    IF df._made_here(NEW.seq - 1, NEW.submitted_by) THEN
        v_use.instances := NULL;
        v_use.queued := NULL;
        v_use.starts := NULL;
    END IF;
    v_use := df._use_quota(NEW.submitted_by, v_quota, v_use, 0);
    UPDATE df._quota_use u SET instances = v_use.instances, queued = v_use.queued, starts = v_use.starts
    WHERE u.role = v_use.role AND u.kind = v_use.kind;
    RETURN NULL;
END $$;

-- after begin_rerun and check_instance, by its name: what they refuse is not counted
CREATE TRIGGER check_quota BEFORE INSERT ON df._instances
    FOR EACH ROW EXECUTE FUNCTION df._check_quota();
CREATE CONSTRAINT TRIGGER keep_quota AFTER INSERT ON df._instances
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION df._keep_quota();
ALTER TABLE df._instances DISABLE TRIGGER check_quota;
ALTER TABLE df._instances DISABLE TRIGGER keep_quota;

-- The quotas of the configuration, {"role": {"instances": n, ...}, ...}. False when they are not in
-- force yet: to switch the triggers needs a moment without open starts, and nobody waits for it.
CREATE FUNCTION df._set_quotas_1(p_quotas json) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '100ms' AS $$
DECLARE
    v_on boolean;
    v_changed bigint;
    v_gone bigint;
BEGIN
    LOCK TABLE df._quotas IN SHARE ROW EXCLUSIVE MODE;
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
    IF v_gone + v_changed > 0 THEN
        DELETE FROM df._quota_use u WHERE u.kind = 's';  -- where there was no limit nothing was noted
    END IF;
    v_on := EXISTS (SELECT 1 FROM df._quotas);
    IF EXISTS (SELECT 1 FROM pg_trigger t
               WHERE t.tgrelid = 'df._instances'::regclass AND t.tgname IN ('check_quota', 'keep_quota')
                 AND (t.tgenabled = 'O') <> v_on)
    THEN
        IF v_on THEN
            -- who is paused is in no other index, and must count
            CREATE INDEX IF NOT EXISTS _instances_paused ON df._instances (submitted_by) WHERE paused IS NOT NULL;
            ALTER TABLE df._instances ENABLE TRIGGER check_quota, ENABLE TRIGGER keep_quota;
        ELSE
            ALTER TABLE df._instances DISABLE TRIGGER check_quota, DISABLE TRIGGER keep_quota;
            DROP INDEX IF EXISTS df._instances_paused;
        END IF;
    END IF;
    RETURN true;
EXCEPTION WHEN lock_not_available THEN
    RETURN false;
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
