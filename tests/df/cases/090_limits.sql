-- Limits, each refused with its number.

CREATE FUNCTION chain(n int) RETURNS text LANGUAGE plpgsql AS $$
DECLARE g text := 'SELECT 0 AS n';
BEGIN
    FOR i IN 2 .. n LOOP g := df.seq(g, 'SELECT ' || i || ' AS n'); END LOOP;
    RETURN g;
END $$;
CREATE FUNCTION nested(n int) RETURNS text LANGUAGE plpgsql AS $$
DECLARE g text := 'SELECT 0 AS n';
BEGIN
    FOR i IN 2 .. n LOOP g := df.if('SELECT true', g, 'SELECT 1'); END LOOP;
    RETURN g;
END $$;
-- a chain counts as one level
chain(300) \run
--> completed: {"rows":[{"n":300}],"row_count":1}
nested(256) \run
--> completed: {"rows":[{"n":0}],"row_count":1}
nested(257) \run
--! 54000: durable function exceeds the maximum nesting depth of 256
df.seq('SELECT 1', nested(255)) \run
--> completed: {"rows":[{"n":0}],"row_count":1}
SELECT df.explain(nested(257));
--> Invalid durable function graph: durable function exceeds the maximum nesting depth of 256

-- 10,000 rows of a result can be expanded
('SELECT n FROM generate_series(1, 10000) n' |=> 'r') ~> 'SELECT count(*) FROM $r.*' \run
--> completed: {"rows":[{"count":10000}],"row_count":1}
('SELECT n FROM generate_series(1, 10001) n' |=> 'r') ~> 'SELECT $r AS first' \run
--> completed: {"rows":[{"first":1}],"row_count":1}
('SELECT n FROM generate_series(1, 10001) n' |=> 'r') ~> 'SELECT count(*) FROM $r.*' \run
--> failed: 54000 "$r.*" has 10001 rows, more than the 10000 that can be expanded

-- 10,000 elements
CREATE FUNCTION steps(n int) RETURNS text LANGUAGE sql AS $$
    SELECT repeat('{"node_type":"THEN","left_node":', n - 1) || step || repeat(',"right_node":' || step || '}', n - 1)
    FROM (SELECT '{"node_type":"SQL","query":"SELECT 1"}' AS step) s
$$;
SELECT df.start(steps(5000)) AS id \gset
SELECT df.cancel(:'id') IS NULL;
--> f
SELECT df.start(steps(5001));
--! 54000: durable function exceeds the maximum node count of 10000
SELECT df.explain(steps(5001));
--> Invalid durable function graph: durable function exceeds the maximum node count of 10000
SELECT df.start(df.seq(steps(5000), steps(1)));
--! 54000: durable function exceeds the maximum node count of 10000
