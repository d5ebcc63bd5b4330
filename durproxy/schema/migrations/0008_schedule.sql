-- Waiting for a time of day or week: the constructor, its check, and the engine's way to the clock.

-- What is wrong with an expression; NULL: nothing. The server has no cron library, so this says in
-- SQL what the engine's library accepts of names, lists, ranges and steps; a property test compares
-- the two. A range may wrap around (fri-mon); 7 is a Sunday as well.
CREATE FUNCTION df._cron_problem(p_cron text) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_lower   text[] := regexp_split_to_array(btrim(
        translate(p_cron, 'ABCDEFGHIJKLMNOPQRSTUVWXYZ', 'abcdefghijklmnopqrstuvwxyz'),
        E' \t\r\n\f\v'), E'[ \t\r\n\f\v]+');
    v_names   CONSTANT text[] := '{minute,hour,day of month,month,day of week}';
    v_first   CONSTANT integer[] := '{0,0,1,1,0}';
    v_last    CONSTANT integer[] := '{59,23,31,12,7}';
    v_element text;
    v_parts   text[];
    v_low     integer;
    v_high    integer;
BEGIN
    IF length(p_cron) > 1000 OR cardinality(v_lower) <> 5 THEN
        RETURN 'it must have five fields';
    END IF;
    FOR i IN 1 .. 5 LOOP
        FOREACH v_element IN ARRAY string_to_array(v_lower[i], ',') LOOP
            v_parts := regexp_match(v_element, E'^(?:(\\*)|([0-9]+|[a-z]{3})(?:-([0-9]+|[a-z]{3}))?)(?:/([0-9]+))?$');
            v_low := df._cron_value(i, v_parts[2]);
            v_high := df._cron_value(i, v_parts[3]);
            IF v_parts IS NULL
                OR ltrim(v_parts[4], '0') = ''                                 -- a step of nothing
                OR v_parts[1] IS NULL AND v_low NOT BETWEEN 0 AND v_last[i]
                OR v_high NOT BETWEEN 0 AND v_last[i]
                OR v_low < v_first[i] AND (v_high IS NULL OR v_low < v_high)   -- there is no day 0
            THEN
                RETURN format('its %s "%s" is not valid', v_names[i], v_element);
            END IF;
        END LOOP;
    END LOOP;
    RETURN NULL;
END $$;

-- A number, or the name of a month or a day of the week; -1 for anything else.
CREATE FUNCTION df._cron_value(p_field integer, p_text text) RETURNS integer
LANGUAGE sql IMMUTABLE STRICT SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE
        WHEN p_text ~ '^0*[0-9]{1,2}$' THEN right(p_text, 2)::integer
        WHEN p_field = 4 THEN coalesce(array_position(
            '{jan,feb,mar,apr,may,jun,jul,aug,sep,oct,nov,dec}', p_text), -1)
        WHEN p_field = 5 THEN coalesce(array_position('{sun,mon,tue,wed,thu,fri,sat}', p_text), 0) - 1
        ELSE -1 END
$$;

CREATE FUNCTION df.wait_for_schedule(cron_expr text) RETURNS text
LANGUAGE plpgsql STRICT AS $$
DECLARE
    v_problem pg_catalog.text := df._cron_problem(cron_expr);
BEGIN
    IF v_problem IS NOT NULL THEN
        RAISE EXCEPTION 'Invalid cron expression "%": %', cron_expr, v_problem
            USING ERRCODE = '22023',
                  HINT = 'The fields are minute, hour, day of month, month and day of week, as in "0 5 * * mon-fri".';
    END IF;
    RETURN df._leaf('WAIT_SCHEDULE', '{"cron_expr":'
        OPERATOR(pg_catalog.||) pg_catalog.to_json(cron_expr)::pg_catalog.text OPERATOR(pg_catalog.||) '}');
END $$;

-- The time that schedules are reckoned from: the database's.
CREATE FUNCTION df._now_1() RETURNS timestamptz
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    SELECT df._clock()
$$;
