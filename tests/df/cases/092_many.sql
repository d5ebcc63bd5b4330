-- only: simple. Limits of thousands, each refused with its number.

CREATE FUNCTION wide(n int) RETURNS text LANGUAGE sql AS $$
    SELECT '{"node_type":"JOIN","left_node":{"node_type":"SQL","query":"SELECT 1"},"right_node":{"node_type":"SQL","query":"SELECT 2"},"extra_nodes":['
        || string_agg('{"node_type":"SQL","query":"SELECT 3"}', ',') || ']}'
    FROM generate_series(1, n - 3)
$$;

wide(40) ~> 'SELECT 1 AS done' \run
--> completed: {"rows":[{"done":1}],"row_count":1}
SELECT df.start(wide(10001));
--! 54000: durable function exceeds the maximum node count of 10000
SELECT df.explain(wide(10001));
--> Invalid durable function graph: durable function exceeds the maximum node count of 10000

-- and 10,000 signals that nothing waits for stay in a mailbox
SELECT df.start(df.sleep(1000), 'mailbox') AS id \gset
DO $$ DECLARE i text := (SELECT id FROM df.instances WHERE label = 'mailbox'); BEGIN PERFORM df.signal(i, 'n') FROM generate_series(1, 10000); END $$;
SELECT df.signal(:'id', 'n');
--! 53400: mailbox of instance ":id" is full
SELECT df.cancel(:'id') IS NULL;
--> f
