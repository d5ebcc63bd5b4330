-- USAGE on the schema is the gate to what users call; what runs with the owner's rights is closed
-- to all but the owner, except where it checks by itself who calls: trigger functions too, which
-- would otherwise act on rows of anybody's own table. The installer runs this with every migration,
-- so that a later one cannot forget it.
CREATE FUNCTION df._seal() RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    v_open CONSTANT text[] := ARRAY[
        -- they prove their right by the token of the claim
        '_finish_1', '_alone_before_1', '_alone_1', '_alone_done_1',
        '_greet_1', '_receipt_1', '_receive_1',   -- only for what the role that is logged in has here
        '_guarantee'];   -- tells of a database what the role's own instances show
    v_function regprocedure;
BEGIN
    FOR v_function IN
        SELECT p.oid FROM pg_catalog.pg_proc p
        WHERE p.pronamespace = 'df'::pg_catalog.regnamespace AND p.prosecdef AND p.proname <> ALL (v_open)
    LOOP
        EXECUTE pg_catalog.format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', v_function);
    END LOOP;
END $$;
