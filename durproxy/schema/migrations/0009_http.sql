-- HTTP steps: the constructors, their check, and the right to use them.

-- What is wrong with the configuration of an HTTP node; NULL: nothing. Where it may go is decided
-- by the engine, once the URL's references have values.
CREATE FUNCTION df._http_problem(p_type text, p_config jsonb) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_url     text := p_config ->> 'url';
    v_timeout text := p_config ->> 'timeout_seconds';
    v_methods text[] := CASE p_type WHEN 'HTTP' THEN '{GET,POST,PUT,DELETE,PATCH}' ELSE '{POST,PUT,PATCH}' END;
BEGIN
    IF (jsonb_typeof(p_config -> 'url') = 'string' AND v_url <> '') IS NOT TRUE THEN
        RETURN 'URL cannot be empty';
    ELSIF v_url !~* '^(https?:|[${])' THEN
        RETURN format('unsupported URL scheme in "%s": it must be http or https', left(v_url, 100));
    ELSIF v_url ~ '[[:space:][:cntrl:]]' OR v_url ~* '^https?:' AND v_url !~* '^https?://[^/?#]' THEN
        RETURN format('invalid URL "%s"', left(v_url, 100));
    ELSIF (p_config ->> 'method' = ANY (v_methods)) IS NOT TRUE THEN
        RETURN format('unsupported HTTP method "%s": it must be %s', p_config ->> 'method',
            array_to_string(v_methods, ', '));
    ELSIF (v_timeout ~ '^0*[1-9][0-9]{0,8}$') IS NOT TRUE THEN
        RETURN format('Timeout must be positive, got %s', coalesce(v_timeout, 'null'));
    ELSIF p_type = 'HTTP' AND jsonb_typeof(p_config -> 'body') NOT IN ('string', 'null') THEN
        RETURN 'the body must be text';
    END IF;
    RETURN coalesce(
        df._http_headers_problem(p_type, p_config -> 'headers'),
        CASE p_type WHEN 'HTTP_MULTIPART' THEN df._http_parts_problem(p_config -> 'parts') END);
END $$;

CREATE FUNCTION df._http_headers_problem(p_type text, p_headers jsonb) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_name  text;
    v_value jsonb;
BEGIN
    IF jsonb_typeof(p_headers) NOT IN ('object', 'null') THEN
        RETURN 'headers must be a JSON object';
    ELSIF jsonb_typeof(p_headers) = 'object' THEN
        FOR v_name, v_value IN SELECT * FROM jsonb_each(p_headers) LOOP
            IF v_name !~ '^[A-Za-z0-9!#$%&''*+.^_`|~-]+$' THEN
                RETURN format('invalid header name "%s"', v_name);
            ELSIF v_name ~* '^(connection|content-length|expect|host|keep-alive|te|trailer|transfer-encoding|upgrade)$'
                OR p_type = 'HTTP_MULTIPART' AND v_name ~* '^content-type$'
            THEN
                RETURN format('header "%s" cannot be set', v_name);
            ELSIF jsonb_typeof(v_value) NOT IN ('string', 'number', 'boolean') OR v_value #>> '{}' ~ E'[\\x01-\\x08\\x0a-\\x1f\\x7f]' THEN
                RETURN format('invalid value of header "%s"', v_name);
            END IF;
        END LOOP;
    END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION df._http_parts_problem(p_parts jsonb) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_number bigint;
    v_part   jsonb;
    v_data   text;
BEGIN
    IF (jsonb_typeof(p_parts) = 'array' AND p_parts <> '[]') IS NOT TRUE THEN
        RETURN 'parts must be a JSON array with at least one part';
    END IF;
    FOR v_part, v_number IN SELECT * FROM jsonb_array_elements(p_parts) WITH ORDINALITY LOOP
        v_data := v_part ->> 'data_b64';
        IF jsonb_typeof(v_part) <> 'object' THEN
            RETURN format('part %s must be a JSON object', v_number);
        ELSIF jsonb_path_exists(v_part, 'strict $.keyvalue() ? (@.key != "name" && @.key != "data_b64" && @.key != "filename" && @.key != "content_type")') THEN
            RETURN format('part %s takes only name, data_b64, filename and content_type', v_number);
        ELSIF jsonb_path_exists(v_part, 'strict $.* ? (@.type() != "string" && @.type() != "null")') THEN
            RETURN format('name, data_b64, filename and content_type of part %s must be text', v_number);
        ELSIF coalesce(v_part ->> 'name', '') = '' OR v_data IS NULL THEN
            RETURN format('part %s needs a name and data_b64', v_number);
        ELSIF v_data ~ '[${]' AND v_data !~ E'^(\\$[[:alpha:]_]\\w*(\\.[[:alpha:]_]\\w*)?\\??|\\{[A-Za-z_][A-Za-z0-9_]*\\})$' THEN
            RETURN format('data_b64 of part %s must be base64, or a whole-value reference such as $name.column', v_number);
        ELSIF v_data !~ '[${]' AND NOT df._is_base64(v_data) THEN
            RETURN format('data_b64 of part %s is not base64', v_number);
        END IF;
    END LOOP;
    RETURN NULL;
END $$;

CREATE FUNCTION df._is_base64(p_text text) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE STRICT SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN decode(p_text, 'base64') IS NOT NULL;
EXCEPTION WHEN invalid_parameter_value THEN
    RETURN false;
END $$;

-- JSON without spaces, keys as jsonb orders them.
CREATE FUNCTION df._compact(p_json jsonb) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN CASE jsonb_typeof(p_json)
        WHEN 'object' THEN '{' || coalesce((SELECT string_agg(to_json(e.key) || ':' || df._compact(e.value), ',')
                                            FROM jsonb_each(p_json) e), '') || '}'
        WHEN 'array' THEN '[' || coalesce((SELECT string_agg(df._compact(e), ',')
                                           FROM jsonb_array_elements(p_json) e), '') || ']'
        ELSE coalesce(p_json::text, 'null') END;
END $$;

CREATE FUNCTION df._http_node(p_type text, p_config text) RETURNS text
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    v_problem pg_catalog.text := df._http_problem(p_type, p_config::pg_catalog.jsonb);
BEGIN
    IF v_problem IS NOT NULL THEN
        RAISE EXCEPTION '%', v_problem USING ERRCODE = '22023';
    END IF;
    RETURN df._leaf(p_type, p_config);
END $$;

CREATE FUNCTION df.http(
    url text, method text DEFAULT 'POST', body text DEFAULT NULL, headers jsonb DEFAULT NULL,
    timeout_seconds integer DEFAULT 30)
RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    RETURN df._http_node('HTTP', pg_catalog.concat(
        '{"url":', COALESCE(pg_catalog.to_json(url)::pg_catalog.text, 'null'),
        ',"method":', COALESCE(pg_catalog.to_json(pg_catalog.upper(method COLLATE pg_catalog."C"))::pg_catalog.text, 'null'),
        ',"body":', COALESCE(pg_catalog.to_json(body)::pg_catalog.text, 'null'),
        ',"headers":', df._compact(headers),
        ',"timeout_seconds":', COALESCE(timeout_seconds::pg_catalog.text, 'null'), '}'));
END $$;

CREATE FUNCTION df.http_multipart(
    url text, method text DEFAULT 'POST', parts jsonb DEFAULT NULL, headers jsonb DEFAULT NULL,
    timeout_seconds integer DEFAULT 30)
RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    RETURN df._http_node('HTTP_MULTIPART', pg_catalog.concat(
        '{"url":', COALESCE(pg_catalog.to_json(url)::pg_catalog.text, 'null'),
        ',"method":', COALESCE(pg_catalog.to_json(pg_catalog.upper(method COLLATE pg_catalog."C"))::pg_catalog.text, 'null'),
        ',"parts":', df._compact(parts),
        ',"headers":', df._compact(headers),
        ',"timeout_seconds":', COALESCE(timeout_seconds::pg_catalog.text, 'null'), '}'));
END $$;

-- A request leaves with the engine's address, so who may make one is said by df.grant_usage.
CREATE FUNCTION df._http_functions() RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT 'df.http(text, text, text, jsonb, integer), df.http_multipart(text, text, jsonb, jsonb, integer)'
$$;
REVOKE EXECUTE ON FUNCTION df.http(text, text, text, jsonb, integer),
    df.http_multipart(text, text, jsonb, jsonb, integer) FROM PUBLIC;

-- The engine asks again when the step's turn has come: the graph may not come from the constructor,
-- and the right may have been revoked.
CREATE FUNCTION df._may_call_1(p_instance text, p_function text) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT bool_or(has_function_privilege(i.submitted_by, p.oid, 'EXECUTE'))
    FROM df._instances i, pg_proc p
    WHERE i.id = p_instance AND p.pronamespace = 'df'::regnamespace AND p.proname = p_function
$$;

-- The outcome of a step that ran outside the database, and what it decides. It comes on one of the
-- few connections of the store, so it waits but a moment for a user with an open df.cancel: the
-- caller tries again.
CREATE FUNCTION df._finish_call_1(
    p_instance text, p_token uuid, p_nodes integer[], p_paths text[], p_rounds bigint[],
    p_node integer, p_path text, p_result json, p_decides "char", p_winner integer)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
BEGIN
    IF p_decides = 'e' THEN
        PERFORM 1 FROM df._instances i
        WHERE i.id = p_instance AND i.token = p_token FOR NO KEY UPDATE SKIP LOCKED;
    ELSE
        PERFORM 1 FROM df._instances i
        WHERE i.id = p_instance AND i.token = p_token FOR SHARE SKIP LOCKED;
    END IF;
    IF NOT FOUND THEN
        PERFORM df._await_hold_1(p_instance, p_token, '100 ms', coalesce(p_decides = 'e', false));
    END IF;
    PERFORM df._finish_1(p_instance, p_token, p_nodes, p_paths, p_rounds, p_node, p_path, p_result,
        NULL, NULL, p_decides, p_winner);
END $$;
