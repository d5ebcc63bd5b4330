-- Acting before commit: df.start and df.signal with transaction_mode 'new'.
--
-- A transaction cannot act outside itself, so it asks the proxy that its session goes through:
-- a signed notice is sent at once, whatever becomes of the transaction, and the proxy acts on a
-- connection of its own. Three rules make the outcome one that is known:
--
-- * Who asks is a column of the view df._new that users cannot name; the trigger behind it signs
--   that, the backend, the deadline and the order. Nobody but the owner can read the secret. A
--   notice that is forged, changed, repeated, late or from another session does nothing.
-- * The proxy acts and writes a row of df._verdicts in one transaction. It takes the row's key
--   first and looks at the deadline then. Whoever asked looks a last time after the deadline, by
--   taking the same key: so it waits for a transaction that is under way, and after it none can
--   begin. No answer of the proxy's is needed, and its death at any point changes nothing.
-- * A key that is taken is seen by every snapshot: an INSERT fails, also where a SELECT would not
--   see the row.

CREATE TABLE df._signing (secret text NOT NULL);
INSERT INTO df._signing (secret)
SELECT encode(sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())), 'hex');

CREATE SEQUENCE df._requests;

CREATE TABLE df._verdicts (
    request  bigint NOT NULL,
    refused  boolean NOT NULL,
    error    json,              -- why it was refused
    at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (request, refused)
);
CREATE INDEX _verdicts_at ON df._verdicts (at);                                             -- clearing away

-- Holds no rows: what is inserted goes to the trigger, which gives instance_id back.
CREATE VIEW df._new WITH (security_barrier) AS
    SELECT NULL::text AS verb, NULL::text AS instance_id, NULL::text AS name, NULL::text AS payload,
        NULL::text AS label, NULL::text AS database, NULL::text AS key, NULL::timestamptz AS start_at,
        NULL::regrole AS who
    WHERE false;
ALTER VIEW df._new ALTER COLUMN who SET DEFAULT quote_ident(current_user)::regrole;

-- Hashed twice, since whoever has a plain hash can append to what was hashed.
CREATE FUNCTION df._signature(p_text text) RETURNS text
LANGUAGE sql STABLE AS $$
    SELECT encode(sha256(convert_to(s.secret || encode(sha256(convert_to(s.secret || p_text, 'UTF8')), 'hex'), 'UTF8')), 'hex')
    FROM df._signing s
$$;

-- Seconds; a session may only ask for less than the setting has.
CREATE FUNCTION df._new_timeout() RETURNS numeric
LANGUAGE plpgsql STABLE AS $$
DECLARE
    v_setting numeric := coalesce((SELECT s.value::numeric FROM df._settings s
                                   WHERE s.name = 'new_transaction_start_timeout'), 5);
    v_session text := current_setting('pg_durable.new_transaction_start_timeout', true);
BEGIN
    RETURN CASE WHEN v_session ~ E'^[0-9]{1,6}(\\.[0-9]+)?s?$'
                THEN least(v_setting, rtrim(v_session, 's')::numeric) ELSE v_setting END;
END $$;

-- The id that an instance will have, after all checks of df.start: inserted, and undone. NULL: its
-- key is taken.
CREATE FUNCTION df._reserve(
    p_who regrole, p_graph text, p_label text, p_database text, p_key text, p_start_at timestamptz,
    OUT o_id text, OUT o_seq bigint)
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO df._instances (graph, label, database, key, start_at, submitted_by)
    VALUES (p_graph::json, p_label, p_database, p_key, p_start_at, p_who)
    ON CONFLICT (submitted_by, key) WHERE key IS NOT NULL DO NOTHING
    RETURNING id, seq INTO o_id, o_seq;
    RAISE EXCEPTION USING ERRCODE = 'WF021';
EXCEPTION WHEN SQLSTATE 'WF021' THEN
    NULL;
END $$;

-- The same key with another durable function is more likely a mistake than meant.
CREATE FUNCTION df._tell_of_key(p_instance text, p_key text, p_same boolean) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF NOT p_same THEN
        RAISE NOTICE 'key "%" belongs to instance "%", which runs another durable function', p_key, p_instance
            USING HINT = 'Nothing was started. The key is free again when that instance is deleted.';
    END IF;
END $$;

-- The instance that has the key after an attempt to start p_seq with it.
CREATE FUNCTION df._owner_of_key(p_who regrole, p_key text, p_graph text, p_seq bigint) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    v_found df._instances;
BEGIN
    SELECT i.* INTO v_found FROM df._instances i WHERE i.submitted_by = p_who AND i.key = p_key;
    IF v_found.created_at = now() AND pg_current_xact_id_if_assigned() IS NOT NULL THEN
        RAISE EXCEPTION 'instance "%" was started in this transaction: commit first', v_found.id
            USING ERRCODE = '55000', HINT = 'Or start it with transaction_mode "new", too.';
    ELSIF v_found.id IS NOT NULL THEN
        PERFORM df._tell_of_key(v_found.id, p_key, v_found.graph::text = p_graph);
        RETURN v_found.id;
    END IF;
    BEGIN  -- the snapshot may be older than what was started: its number tells whether it is ours
        INSERT INTO df._instances (seq, graph, submitted_by) OVERRIDING SYSTEM VALUE
        VALUES (p_seq, p_graph::json, p_who);
        RAISE EXCEPTION USING ERRCODE = 'WF021';
    EXCEPTION
        WHEN unique_violation THEN
            RETURN lpad(to_hex(p_seq), 8, '0');
        WHEN SQLSTATE 'WF021' OR not_null_violation THEN
            RAISE EXCEPTION 'could not serialize access due to concurrent start with key "%"', p_key
                USING ERRCODE = '40001', HINT = 'The transaction might succeed if retried.';
    END;
END $$;

-- Whether the request was refused, NULL without a verdict. The last look is the one that counts.
CREATE FUNCTION df._verdict(p_request bigint, p_last boolean) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    v_refused boolean;
BEGIN
    IF NOT p_last AND current_setting('transaction_isolation') IN ('read committed', 'read uncommitted') THEN
        RETURN (SELECT v.refused FROM df._verdicts v WHERE v.request = p_request);
    END IF;
    FOREACH v_refused IN ARRAY ARRAY[false, true] LOOP
        BEGIN
            INSERT INTO df._verdicts (request, refused) VALUES (p_request, v_refused);
            RAISE EXCEPTION USING ERRCODE = 'WF021';
        EXCEPTION
            WHEN unique_violation THEN RETURN v_refused;
            WHEN SQLSTATE 'WF021' THEN NULL;
        END;
    END LOOP;
    RETURN NULL;
END $$;

CREATE FUNCTION df._ask_proxy(p_who regrole, p_verb text, p_order json) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    v_request  bigint := nextval('df._requests');
    v_seconds  numeric := df._new_timeout();
    v_deadline timestamptz := clock_timestamp() + make_interval(secs => v_seconds::double precision);
    -- in bytes, since a notice is converted to the client's encoding
    v_payload  text := translate(encode(convert_to(p_order::text, getdatabaseencoding()), 'base64'), E'\n', '');
    v_signed   text;
    v_pause    double precision := 0.002;
    v_last     boolean;
    v_refused  boolean;
BEGIN
    IF length(v_payload) > 900000 THEN
        RAISE EXCEPTION 'df.%() is too long for transaction_mode "new"', p_verb USING ERRCODE = '54000',
            DETAIL = format('What it starts or sends has %s bytes, and may have 675000.', length(v_payload) / 4 * 3),
            HINT = 'Let a step read what is long from a table, or use transaction_mode "caller".';
    END IF;
    v_signed := format('%s %s %s %s %s %s', v_request, pg_backend_pid(),
        (extract(epoch FROM v_deadline) * 1000000)::bigint, p_who::oid, p_verb, v_payload);
    -- reaches the client's side at once, whatever client_min_messages is
    RAISE INFO USING ERRCODE = 'WF020', MESSAGE = 'durproxy is asked to act',
        DETAIL = json_build_object('request', v_signed, 'signature', df._signature(v_signed)),
        HINT = 'A session that goes through durproxy does not see this message.';
    LOOP
        v_last := clock_timestamp() >= v_deadline;
        v_refused := df._verdict(v_request, v_last);
        EXIT WHEN v_last OR v_refused IS NOT NULL;
        PERFORM pg_sleep(v_pause);
        v_pause := least(v_pause * 1.5, 0.05);
    END LOOP;
    IF v_refused THEN
        PERFORM df._refuse(v.error::text) FROM df._verdicts v WHERE v.request = v_request AND v.error IS NOT NULL;
        RAISE EXCEPTION 'df.%() with transaction_mode "new" was refused', p_verb USING ERRCODE = '55000',
            DETAIL = 'The transaction''s snapshot does not show why.',
            HINT = 'Try it in a READ COMMITTED transaction.';
    ELSIF v_refused IS NULL THEN
        RAISE EXCEPTION 'df.%() with transaction_mode "new" was not answered within % s', p_verb, v_seconds
            USING ERRCODE = 'WF011', DETAIL = 'Nothing was done, and nothing will be.',
            HINT = 'Does this session go through durproxy? Only the proxy of this database can act before a transaction commits.';
    END IF;
END $$;

CREATE FUNCTION df._act_before_commit() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_seq bigint;
BEGIN
    IF TG_RELID <> 'df._new'::regclass THEN  -- on another table anybody could write "who"
        RAISE EXCEPTION 'this trigger is for df._new only' USING ERRCODE = '42501';
    END IF;
    PERFORM df._refuse_inside('df.' || NEW.verb || '() with transaction_mode "new"');
    CASE NEW.verb
        WHEN 'start' THEN
            SELECT o_id, o_seq INTO NEW.instance_id, v_seq
            FROM df._reserve(NEW.who, NEW.payload, NEW.label, NEW.database, NEW.key, NEW.start_at);
            IF v_seq IS NOT NULL THEN
                PERFORM df._ask_proxy(NEW.who, 'start', json_build_object(
                    'seq', v_seq, 'graph', NEW.payload::json, 'label', NEW.label, 'database', NEW.database,
                    'key', NEW.key, 'start_at', NEW.start_at));
            END IF;
            IF NEW.key IS NOT NULL THEN
                NEW.instance_id := df._owner_of_key(NEW.who, NEW.key, NEW.payload, v_seq);
            END IF;
        WHEN 'signal' THEN
            IF EXISTS (SELECT 1 FROM df._instances i WHERE i.id = NEW.instance_id AND i.submitted_by = NEW.who
                           AND i.created_at = now() AND pg_current_xact_id_if_assigned() IS NOT NULL) THEN
                RAISE EXCEPTION 'instance "%" was started in this transaction: commit first', NEW.instance_id
                    USING ERRCODE = '55000', HINT = 'Or start it with transaction_mode "new", too.';
            END IF;
            PERFORM df._ask_proxy(NEW.who, 'signal', json_build_object(
                'instance', NEW.instance_id, 'name', NEW.name, 'data', NEW.payload));
        ELSE
            RAISE EXCEPTION 'unknown command "%"', NEW.verb USING ERRCODE = '22023';
    END CASE;
    RETURN NEW;
END $$;

CREATE TRIGGER act_before_commit INSTEAD OF INSERT ON df._new
    FOR EACH ROW EXECUTE FUNCTION df._act_before_commit();


-- ---------------------------------------------------------------------------------------------
-- What the proxy calls, as the owner

-- 'done'; 'again' when it was done before; WF022 when it is too late.
CREATE FUNCTION df._act_1(p_request bigint, p_deadline bigint, p_who oid, p_verb text, p_payload text) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
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
        PERFORM df._do_signal(p_who::regrole, v_order ->> 'instance', v_order ->> 'name', v_order ->> 'data');
    END IF;
    RETURN 'done';
END $$;

-- Only after _act_1 has failed for certain.
CREATE FUNCTION df._refuse_request_1(p_request bigint, p_error text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO df._verdicts (request, refused, error) VALUES (p_request, true, p_error::json) ON CONFLICT DO NOTHING;
END $$;


-- ---------------------------------------------------------------------------------------------
-- What users call

CREATE FUNCTION df._is_new(p_mode text) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    IF (p_mode OPERATOR(pg_catalog.=) ANY (ARRAY['caller', 'new'])) IS NOT TRUE THEN
        RAISE EXCEPTION 'invalid transaction_mode "%"', p_mode USING ERRCODE = '22023',
            HINT = 'It is "caller" or "new".';
    END IF;
    RETURN p_mode OPERATOR(pg_catalog.=) 'new';
END $$;

CREATE FUNCTION df._durable(p_node text) RETURNS json
LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN df._node(p_node)::pg_catalog.json;
EXCEPTION WHEN invalid_text_representation THEN
    RAISE EXCEPTION 'durable function is not valid JSON' USING ERRCODE = '22023',
        DETAIL = SQLERRM,
        HINT = '|| has the same precedence as the operators of df: put parentheses around a step that is put together with it.';
END $$;

-- Of one key there is one instance: whoever comes second waits for the first's transaction, and gets
-- its id, or starts when that has rolled back.
CREATE FUNCTION df.start(
    fut text, label text DEFAULT NULL, database text DEFAULT NULL, transaction_mode text DEFAULT 'caller',
    key text DEFAULT NULL, start_at timestamptz DEFAULT NULL)
RETURNS text LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_new   CONSTANT boolean := df._is_new(transaction_mode);
    v_graph pg_catalog.json := df._durable(fut);
    v_id    pg_catalog.text;
    v_same  boolean;
BEGIN
    IF v_new THEN
        INSERT INTO df._new AS n (verb, payload, label, database, key, start_at)
        VALUES ('start', v_graph::pg_catalog.text, start.label,
            COALESCE(start.database, pg_catalog.current_database()), start.key, start.start_at)
        RETURNING n.instance_id INTO v_id;
        RETURN v_id;
    END IF;
    IF start.key IS NULL THEN
        INSERT INTO df._own AS o (graph, label, database, start_at)
        VALUES (v_graph, start.label, COALESCE(start.database, pg_catalog.current_database()), start.start_at)
        RETURNING o.id INTO v_id;
    END IF;
    WHILE v_id IS NULL LOOP
        INSERT INTO df._own AS o (graph, label, database, key, start_at)
        VALUES (v_graph, start.label, COALESCE(start.database, pg_catalog.current_database()), start.key, start.start_at)
        ON CONFLICT (submitted_by, key) WHERE key IS NOT NULL DO NOTHING
        RETURNING o.id INTO v_id;
        IF v_id IS NULL THEN
            SELECT o.id, o.graph::pg_catalog.text OPERATOR(pg_catalog.=) v_graph::pg_catalog.text
            INTO v_id, v_same FROM df._own o WHERE o.key OPERATOR(pg_catalog.=) start.key;
            PERFORM df._tell_of_key(v_id, start.key, v_same);
        END IF;
    END LOOP;
    RETURN v_id;
END $$;

-- For scripts that signal and wait in one block. A step's signal is part of its step.
CREATE FUNCTION df._signal_mode() RETURNS text
LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN CASE WHEN pg_catalog.current_setting('durproxy.instance', true) OPERATOR(pg_catalog.<>) '' THEN 'caller'
        ELSE COALESCE(NULLIF(pg_catalog.current_setting('pg_durable.signal_transaction_mode', true), ''), 'caller') END;
END $$;

DROP FUNCTION df.signal(text, text, text);

CREATE FUNCTION df.signal(
    instance_id text, signal_name text, signal_data text DEFAULT '{}', transaction_mode text DEFAULT df._signal_mode())
RETURNS text LANGUAGE plpgsql STRICT AS $$
BEGIN
    IF df._is_new(transaction_mode) THEN
        INSERT INTO df._new (verb, instance_id, name, payload)
        VALUES ('signal', signal.instance_id, signal_name, signal_data);
    ELSE
        INSERT INTO df._commands (verb, instance_id, name, payload)
        VALUES ('signal', signal.instance_id, signal_name, signal_data);
    END IF;
    RETURN 'OK';
END $$;

CREATE OR REPLACE FUNCTION df._usage_rights() RETURNS text[]
LANGUAGE sql IMMUTABLE AS $$
    SELECT ARRAY[
        'USAGE ON SCHEMA df, df_held',
        'SELECT ON df._own, df._own_listed, df._own_executions, df._own_attempts, df._own_nodes, df._own_outcomes, df._described_nodes, df.instances, df.nodes, df.schedules, df._own_schedules, df.vars, df.waiting, df._worker_epoch, df._public_settings',
        'INSERT (graph, label, database, key, start_at, rerun_of, rerun_from) ON df._own',
        'INSERT (verb, instance_id, name, payload) ON df._commands',
        'INSERT (verb, instance_id, name, payload, label, database, key, start_at) ON df._new',
        'SELECT (instance_id) ON df._new']
$$;
