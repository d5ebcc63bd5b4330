-- Steps that cannot be in a transaction (VACUUM, CREATE INDEX CONCURRENTLY, a CALL that commits): they
-- run alone, at least once, and never two at a time. Before such a statement is sent, the backend
-- that will run it is written down; who runs the step again ends that backend first, since it may
-- outlive its worker. The functions are called on the step's own connection: only its role may see
-- and end that role's backends.

CREATE TABLE df._alone (
    instance_id    text COLLATE "C" NOT NULL,
    node           integer NOT NULL,
    path           text COLLATE "C" NOT NULL,
    pid            integer NOT NULL,
    backend_start  timestamptz NOT NULL,
    PRIMARY KEY (instance_id, node, path)
);

-- The backend that an earlier attempt was given, and may still be busy with.
CREATE FUNCTION df._alone_before_1(p_instance text, p_token uuid, p_node integer, p_path text)
RETURNS TABLE (pid integer, backend_start timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
    SELECT a.pid, a.backend_start FROM df._alone a
    JOIN df._instances i ON i.id = a.instance_id AND i.token = p_token
    WHERE a.instance_id = p_instance AND a.node = p_node AND a.path = p_path
$$;

-- Any role may call these two: it is the random token of the claim that gives the right.
CREATE FUNCTION df._alone_1(
    p_instance text, p_token uuid, p_nodes integer[], p_paths text[], p_rounds bigint[],
    p_node integer, p_path text, p_pid integer, p_start timestamptz)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
BEGIN
    PERFORM df._hold_1(p_instance, p_token, p_nodes, p_paths, p_rounds);
    INSERT INTO df._alone AS a (instance_id, node, path, pid, backend_start)
    VALUES (p_instance, p_node, p_path, p_pid, p_start)
    ON CONFLICT (instance_id, node, path) DO UPDATE
        SET pid = excluded.pid, backend_start = excluded.backend_start;
END $$;

CREATE FUNCTION df._alone_done_1(p_instance text, p_token uuid, p_node integer, p_path text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
    DELETE FROM df._alone a
    WHERE a.instance_id = p_instance AND a.node = p_node AND a.path = p_path
      AND EXISTS (SELECT 1 FROM df._instances i WHERE i.id = p_instance AND i.token = p_token)
$$;
