-- The tables of the home schema: the only state that durproxy has.
--
-- A tour. A workflow that df.start made is ONE row of df._instances, its graph inside as JSON.
-- While it runs, rows of df._checkpoints record what happened, keyed by (instance, node, path):
--   status 'd'  the node is done,   result holds its outcome
--   status 'f'  the node failed,    error holds why
--   status 'o'  the node is an open frame: a scope or a wait in progress (RACE LOOP RETRY SLEEP ...)
-- node is the preorder number of the node in the graph (root 1; children in the order condition,
-- left, right, extra). path is '' in a straight line; what repeats or unwinds around the node adds
-- to it. What can be derived from these (THEN, IF, JOIN, CATCH, SAGA, names, a node's status, and
-- which undos and cleanups are owed) is not stored.
--
-- Who writes: a worker that holds the instance, which means that its token stands in the row.
-- Every write of a step locks the instance row FOR SHARE by its token, then each enclosing open
-- frame by its round, outermost first; no row means that the write is refused (WF001, WF002) and
-- the step's transaction rolls back. Whoever ends a claim or a frame updates that row, waits for
-- the shares in flight, and from then on nothing of the old holder can commit.
--
-- Users hold no right on these tables but INSERT on a few columns (see grants); they read through
-- security_barrier views that filter on their role.

-- The time that timers, schedules and starts go by: the server's. Everything that is due is due by
-- this function, so the owner can put another in its place, as tests do to come to next month.
CREATE FUNCTION df._clock() RETURNS timestamptz
LANGUAGE sql VOLATILE AS $$ SELECT pg_catalog.clock_timestamp() $$;

CREATE TABLE df._instances (
    seq           bigint GENERATED ALWAYS AS IDENTITY (MINVALUE 0 START 268435456 MAXVALUE 4294967295 CYCLE),
    -- eight hex characters of a sequence: unique by construction, and close in the index (ADR 0003)
    id            text COLLATE "C" GENERATED ALWAYS AS (lpad(to_hex(seq), 8, '0')) STORED PRIMARY KEY,
    graph         json NOT NULL,
    fmt           smallint NOT NULL DEFAULT 1,     -- format of graph, numbering, paths and results
    label         text CHECK (length(label) <= 1000),
    database      text NOT NULL DEFAULT current_database(),
    vars          json,                            -- the role's variables as df.start found them
    submitted_by  regrole NOT NULL DEFAULT quote_ident(current_user)::regrole,
    key           text,                            -- one instance of its role at most has it
    start_at      timestamptz,                     -- not before then; NULL: at once
    rerun_of      text COLLATE "C",                -- the instance whose results it began with
    rerun_from    text,                            -- the node that it was to run again from
    status        text NOT NULL DEFAULT 'pending'
        CHECK (status IN (
            'pending',      -- -> running, cancelled
            'running',      -- -> completed, failed, cancelled
            'completed', 'failed', 'cancelled')),
    ready_at      timestamptz DEFAULT df._clock(),  -- claimable from then on; 'infinity': only a signal
    owner         uuid,                            -- the worker that holds it
    token         uuid,                            -- random per claim: proof of holding
    -- a flood of one label or database is kept apart from the others of its role: see df._claim_1
    lane          smallint GENERATED ALWAYS AS
        ((hashtext(database || '/' || coalesce(label, '')) & 63)::smallint) STORED,
    paused        text,                            -- why: by a user, or 'set aside: ...' after too many strikes
    trouble       text,                            -- why its last holder could not go on, until one can
    takeovers     integer NOT NULL DEFAULT 0,      -- attempts without progress: see df._interrupted
    strikes       integer NOT NULL DEFAULT 0,      -- those of them that nothing else can have spoiled
    delays        integer NOT NULL DEFAULT 0,      -- times that it was put off, longer each time
    progress_at   timestamptz,                     -- its newest checkpoint when these were counted
    created_at    timestamptz NOT NULL DEFAULT now(),
    started_at    timestamptz,
    updated_at    timestamptz NOT NULL DEFAULT now(),
    completed_at  timestamptz,
    result        json,
    error         json,                            -- {"message", "sqlstate", "detail", "node", ...}
    ending        json,                            -- cancelled for that reason, but cleanups or undos are owed
    CHECK ((owner IS NULL) = (token IS NULL)),
    -- nothing can get lost: a live instance is held, or ready at a time, or paused; an ended one is
    -- none of these
    CHECK (CASE WHEN status NOT IN ('pending', 'running') THEN owner IS NULL AND ready_at IS NULL
                WHEN paused IS NOT NULL THEN ready_at IS NULL
                ELSE (owner IS NULL) = (ready_at IS NOT NULL) END)
);
CREATE INDEX _instances_ready ON df._instances (submitted_by, lane, ready_at)               -- claim
    WHERE ready_at IS NOT NULL;
CREATE INDEX _instances_suspect ON df._instances (ready_at)                                 -- claim, alone
    WHERE ready_at IS NOT NULL AND takeovers >= 2;
CREATE INDEX _instances_owner ON df._instances (owner) WHERE owner IS NOT NULL;             -- takeover, reconcile
CREATE INDEX _instances_list ON df._instances (submitted_by, created_at DESC, id DESC);     -- df.list_instances
CREATE UNIQUE INDEX _instances_key ON df._instances (submitted_by, key) WHERE key IS NOT NULL;  -- df.start

CREATE TABLE df._checkpoints (
    instance_id  text COLLATE "C" NOT NULL,
    node         integer NOT NULL,
    path         text COLLATE "C" NOT NULL DEFAULT '',  -- rounds, items, attempts, unwinding: see 0011
    status       "char" NOT NULL CHECK (status IN (
        'o',    -- -> d, f, or deleted with the scope around it; RETRY and FINALLY stay
        'd', 'f')),
    last         integer,            -- frames: the last node of the subtree
    kind         text,               -- frames: the node type
    n            bigint NOT NULL DEFAULT 0,   -- frames: the current round or attempt
    due          timestamptz,        -- frames: when the timer fires, fixed at opening
    signal       text,               -- frames: the signal that is awaited
    names        json,               -- loop frames: bindings that later nodes still read
    result       json,               -- what the user sees
    types        json,               -- [[column, "schema.type"], ...] of the result, when it is referred to
    exact        text[],             -- the rows as record text, when they are referred to
    error        json,
    attempt      integer,
    began        timestamptz NOT NULL DEFAULT now(),    -- a step is one transaction
    at           timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (instance_id, node, path)
);
CREATE INDEX _checkpoints_signal ON df._checkpoints (instance_id, signal)                   -- a signal's arrival
    WHERE status = 'o' AND signal IS NOT NULL;

-- Attempts of steps that failed, the newest 100 of each node: their checkpoints go away when a
-- retry or a loop goes on.
CREATE TABLE df._attempts (
    instance_id  text COLLATE "C" NOT NULL,
    node         integer NOT NULL,
    seq          bigint GENERATED ALWAYS AS IDENTITY,
    path         text COLLATE "C" NOT NULL,
    error        json NOT NULL,
    began        timestamptz NOT NULL,
    at           timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (instance_id, node, seq)
);

CREATE TABLE df._signals (           -- the mailbox; consumed by the transaction that ends the wait
    seq          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    instance_id  text COLLATE "C" NOT NULL,
    name         text NOT NULL,
    data         json,
    sent_at      timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX _signals_box ON df._signals (instance_id, name, seq);                          -- oldest first

CREATE TABLE df._vars (
    owner  regrole NOT NULL DEFAULT quote_ident(current_user)::regrole,
    name   text NOT NULL,
    value  text NOT NULL,
    PRIMARY KEY (owner, name)
);

CREATE TABLE df._engines (
    id             uuid PRIMARY KEY,
    pid            integer NOT NULL,               -- the life connection: alive while it is in pg_stat_activity
    backend_start  timestamptz NOT NULL,
    beat           bigint NOT NULL DEFAULT 0,      -- unchanged for a lease: dead, on the observer's own clock
    started_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    seen_at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    fmt_max        smallint NOT NULL,
    alone          boolean NOT NULL DEFAULT false  -- takes suspects, and nothing else: see df._interrupted
);

-- A user's order about an instance. Nothing is ever stored: the trigger checks who asks, acts,
-- and drops the row. who is a default that the user cannot name, so SECURITY DEFINER callers and
-- SET ROLE come out right.
CREATE TABLE df._commands (
    verb         text NOT NULL,                    -- cancel, signal, pause, ...: see df._execute_command
    instance_id  text,
    name         text,
    payload      text,
    who          regrole NOT NULL DEFAULT quote_ident(current_user)::regrole
);

CREATE TABLE df._settings (
    name   text PRIMARY KEY,
    value  text NOT NULL
);

-- 2: an engine sleeps and wants a notification at the next commit; 1: it will look again by itself.
-- A sequence, because setval is seen at once and is never rolled back.
CREATE SEQUENCE df._idle MINVALUE 1 MAXVALUE 2 START 1;
