-- What every write of an instance cost, and need not.
--
-- The server reads the text of each CHECK constraint and of each generated column's expression anew
-- for every statement that writes the table, which was a fourth of the cost of such a statement. Only
-- functions of ours write these tables, so their invariants are constraints in the tests' databases
-- (tests/invariants.sql), where a statement that broke one would show, and the two columns are
-- computed by the trigger that checks a new instance anyway.

ALTER TABLE df._checkpoints DROP CONSTRAINT _checkpoints_status_check;
ALTER TABLE df._instances
    DROP CONSTRAINT _instances_label_check,  -- the trigger checks it, in better words
    DROP CONSTRAINT _instances_status_check,
    DROP CONSTRAINT _instances_check,
    DROP CONSTRAINT _instances_check1,
    ALTER COLUMN id DROP EXPRESSION,
    ALTER COLUMN lane DROP EXPRESSION;

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
    RETURN NEW;
END $$;

-- ---------------------------------------------------------------------------------------------
-- Steps that are flushed together

-- As df._runs_1; without p_flush only the commit with which the call ends waits until it is on disk,
-- and with it is all that came before. A call that fails leaves steps that are committed but may
-- not be on disk yet; what the worker then does about it is a commit of its own, after these.
CREATE PROCEDURE df._runs_2(
    p_instance text, p_token uuid, p_nodes integer[], p_paths text[], p_rounds bigint[],
    p_path text, p_node integer[], p_text text[], p_rows boolean[], p_values text[],
    p_types json, p_decides "char", p_winner integer, p_back boolean, p_clean boolean,
    p_patience interval, p_flush boolean, INOUT p_done integer, INOUT p_sent text)
LANGUAGE plpgsql SECURITY INVOKER AS $$
DECLARE
    v_until timestamptz := pg_catalog.clock_timestamp() OPERATOR(pg_catalog.+) p_patience;
    v_steps integer := pg_catalog.cardinality(p_node);
    v_values text[];
    v_count bigint;
    v_rows text;
    v_exact text[];
    v_result text;
    v_role text;
    v_finished text;
    v_late boolean;
BEGIN
    IF p_clean THEN
        PERFORM df._clean_1();
    END IF;
    IF pg_catalog.current_setting('statement_timeout') OPERATOR(pg_catalog.<>) '0' THEN
        v_until := '-infinity';
    END IF;
    v_role := pg_catalog.current_setting('role');
    FOR k IN 1 .. v_steps LOOP
        v_finished := pg_catalog.set_config('durproxy.instance', p_instance, true);
        v_rows := NULL;
        IF p_rows[k] THEN
            IF p_values[k] IS NULL THEN
                EXECUTE p_text[k] INTO v_count, v_rows, v_exact;
            ELSE
                v_values := p_values[k]::pg_catalog.text[];
                EXECUTE p_text[k] INTO v_count, v_rows, v_exact USING v_values;
            END IF;
        ELSE
            IF p_values[k] IS NULL THEN
                EXECUTE p_text[k];
            ELSE
                v_values := p_values[k]::pg_catalog.text[];
                EXECUTE p_text[k] USING v_values;
            END IF;
            GET DIAGNOSTICS v_count = ROW_COUNT;
        END IF;
        IF pg_catalog.current_setting('role') OPERATOR(pg_catalog.<>) v_role THEN
            PERFORM pg_catalog.set_config('role', v_role, false);
        END IF;
        v_result := pg_catalog.concat('{"rows":[', v_rows, '],"row_count":', v_count, '}');
        IF k OPERATOR(pg_catalog.=) v_steps THEN
            v_finished := df._finish_1(p_instance, p_token, p_nodes, p_paths, p_rounds, p_node[k], p_path,
                v_result::pg_catalog.json, p_types, v_exact, p_decides, p_winner, pg_catalog.now());
            IF p_back THEN
                p_sent := pg_catalog.json_build_array(v_result, v_exact);
            END IF;
            p_done := k;
        ELSE
            v_finished := df._finish_1(p_instance, p_token, p_nodes, p_paths, p_rounds, p_node[k], p_path,
                v_result::pg_catalog.json, NULL, NULL, NULL, NULL, pg_catalog.now());
            v_late := pg_catalog.clock_timestamp() OPERATOR(pg_catalog.>) v_until;
            IF NOT p_flush AND NOT v_late THEN
                v_finished := pg_catalog.set_config('synchronous_commit', 'off', true);
            END IF;
            COMMIT;
            p_done := k;
            EXIT WHEN v_late;
        END IF;
    END LOOP;
END $$;
