-- Schedules: a durable function that is started at each match of a cron expression.
--
-- A schedule is a workflow itself: a loop that waits for the next match and then starts what is
-- scheduled, in one step. So what holds for every workflow holds for it: one start for each match,
-- with any number of workers and whichever of them dies; it can be paused and looked at.

CREATE TABLE df._schedules (
    owner          regrole NOT NULL,
    name           text NOT NULL,
    cron           text NOT NULL,
    tz             text NOT NULL,
    overlap        text NOT NULL CHECK (overlap IN ('skip', 'queue', 'allow', 'cancel')),
    graph          json NOT NULL,                 -- what is started
    instance_id    text COLLATE "C" NOT NULL,     -- the workflow that keeps the schedule
    last_instance  text COLLATE "C",              -- what was started last
    last_at        timestamptz,
    created_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (owner, name)
);
CREATE UNIQUE INDEX _schedules_instance ON df._schedules (instance_id);                     -- its own step

CREATE VIEW df._own_schedules WITH (security_barrier) AS
    SELECT s.name, s.cron, s.tz, s.overlap, s.graph, s.instance_id, s.last_instance, s.last_at, s.created_at
    FROM df._schedules s
    WHERE s.owner = quote_ident(current_user)::regrole;

CREATE VIEW df.schedules WITH (security_barrier) AS
    SELECT s.name, s.cron, s.tz, s.overlap, s.instance_id, i.status, i.paused,
        (SELECT c.due FROM df._checkpoints c
         WHERE c.instance_id = s.instance_id AND c.kind = 'WAIT_SCHEDULE' AND c.status = 'o') AS next_at,
        s.last_instance, s.last_at, s.created_at, df._written(df._nodes_of(s.graph::text)) AS workflow
    FROM df._schedules s
    LEFT JOIN df._instances i ON i.id = s.instance_id
    WHERE s.owner = quote_ident(current_user)::regrole;

CREATE FUNCTION df._do_schedule(p_who regrole, p_instance text, p_name text, p_order json) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT 1 FROM df._instances i WHERE i.id = p_instance AND i.submitted_by = p_who) THEN
        RAISE EXCEPTION 'instance "%" not found or access denied', p_instance USING ERRCODE = '42704';
    END IF;
    PERFORM df._check_graph(p_order -> 'graph');
    PERFORM df._do_cancel(p_who, s.instance_id, 'Replaced by another schedule of the same name')
    FROM df._schedules s WHERE s.owner = p_who AND s.name = p_name;
    INSERT INTO df._schedules AS s (owner, name, cron, tz, overlap, graph, instance_id)
    VALUES (p_who, p_name, p_order ->> 'cron', p_order ->> 'tz', p_order ->> 'overlap', p_order -> 'graph', p_instance)
    ON CONFLICT (owner, name) DO UPDATE
    SET cron = excluded.cron, tz = excluded.tz, overlap = excluded.overlap, graph = excluded.graph,
        instance_id = excluded.instance_id;
END $$;

CREATE FUNCTION df._do_unschedule(p_who regrole, p_name text) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    v_instance text;
BEGIN
    DELETE FROM df._schedules s WHERE s.owner = p_who AND s.name = p_name RETURNING s.instance_id INTO v_instance;
    IF v_instance IS NULL THEN
        RAISE EXCEPTION 'schedule "%" does not exist', p_name USING ERRCODE = '42704';
    END IF;
    PERFORM df._do_cancel(p_who, v_instance, 'Unscheduled');
END $$;

CREATE FUNCTION df._do_scheduled(p_who regrole, p_instance text, p_started text) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    UPDATE df._schedules s SET last_instance = p_started, last_at = df._clock()
    WHERE s.owner = p_who AND s.instance_id = p_instance;
END $$;

-- The step of a schedule: starts what is scheduled, or not; NULL: not this time.
CREATE FUNCTION df._start_scheduled(p_instance text) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    v_it   df._own_schedules;
    v_live boolean;
    v_id   pg_catalog.text;
BEGIN
    SELECT s.* INTO v_it FROM df._own_schedules s WHERE s.instance_id OPERATOR(pg_catalog.=) p_instance;
    v_live := df._is_live(v_it.last_instance);
    IF v_it.instance_id IS NULL OR v_live AND v_it.overlap OPERATOR(pg_catalog.=) 'skip' THEN
        RETURN NULL;
    ELSIF v_live AND v_it.overlap OPERATOR(pg_catalog.=) 'cancel' THEN
        PERFORM df.cancel(v_it.last_instance, 'The next one is due');
    END IF;
    INSERT INTO df._own AS o (graph, label) VALUES (v_it.graph, v_it.name) RETURNING o.id INTO v_id;
    INSERT INTO df._commands (verb, instance_id, payload) VALUES ('scheduled', p_instance, v_id);
    RETURN v_id;
END $$;

CREATE FUNCTION df._is_live(p_instance text) RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
    RETURN COALESCE(df.status(p_instance) OPERATOR(pg_catalog.=) ANY (ARRAY['pending', 'running']), false);
END $$;

-- What a queued start waits for.
CREATE FUNCTION df._is_free(p_instance text) RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
    RETURN NOT EXISTS (SELECT 1 FROM df._own_schedules s
                       WHERE s.instance_id OPERATOR(pg_catalog.=) p_instance AND df._is_live(s.last_instance));
END $$;

CREATE FUNCTION df.schedule(name text, cron text, node text, tz text DEFAULT 'UTC', overlap text DEFAULT 'skip')
RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    v_graph pg_catalog.json := df._durable(node);
    v_loop  pg_catalog.text := df.wait_for_schedule(cron);
    v_id    pg_catalog.text;
BEGIN
    IF (pg_catalog.length(name) OPERATOR(pg_catalog.>=) 1 AND pg_catalog.length(name) OPERATOR(pg_catalog.<=) 100) IS NOT TRUE THEN
        RAISE EXCEPTION 'schedule name % is not valid', COALESCE(pg_catalog.quote_ident(name), 'NULL') USING ERRCODE = '22023',
            HINT = 'A name has 1 to 100 characters.';
    ELSIF (overlap OPERATOR(pg_catalog.=) ANY (ARRAY['skip', 'queue', 'allow', 'cancel'])) IS NOT TRUE THEN
        RAISE EXCEPTION 'invalid overlap "%"', overlap USING ERRCODE = '22023',
            HINT = 'It is "skip", "queue", "allow" or "cancel".';
    ELSIF v_graph IS NULL OR cron IS NULL THEN
        RAISE EXCEPTION 'durable function and cron expression of a schedule must not be null' USING ERRCODE = '22004';
    ELSIF NOT EXISTS (SELECT 1 FROM pg_catalog.pg_timezone_names z WHERE z.name OPERATOR(pg_catalog.=) tz) THEN
        RAISE EXCEPTION 'time zone "%" not recognized', tz USING ERRCODE = '22023',
            HINT = 'Names are like "Europe/Berlin"; see pg_timezone_names.';
    END IF;
    IF tz OPERATOR(pg_catalog.<>) 'UTC' THEN
        v_loop := df._leaf('WAIT_SCHEDULE', pg_catalog.json_build_object('cron_expr', cron, 'tz', tz)::pg_catalog.text);
    END IF;
    IF overlap OPERATOR(pg_catalog.=) 'queue' THEN
        v_loop := df.seq(v_loop, df.wait_for_condition('SELECT df._is_free(''{sys_instance_id}'')', '2 seconds'));
    END IF;
    -- a start that fails is in df.history, and does not end the schedule
    v_loop := df.loop(df.seq(v_loop, df.catch('SELECT df._start_scheduled(''{sys_instance_id}'')', 'SELECT NULL')));
    v_id := df.start(v_loop, 'schedule ' OPERATOR(pg_catalog.||) name);
    INSERT INTO df._commands (verb, instance_id, name, payload)
    VALUES ('schedule', v_id, schedule.name, pg_catalog.json_build_object(
        'cron', cron, 'tz', tz, 'overlap', overlap, 'graph', v_graph)::pg_catalog.text);
    RETURN v_id;
END $$;

CREATE FUNCTION df.unschedule(name text) RETURNS text
LANGUAGE plpgsql STRICT AS $$
BEGIN
    INSERT INTO df._commands (verb, name) VALUES ('unschedule', unschedule.name);
    RETURN 'OK';
END $$;
