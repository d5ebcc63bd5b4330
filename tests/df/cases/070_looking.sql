-- Lists, information and relations: the columns that scripts read, own rows only.

SELECT df.start('SELECT 1 AS a', 'first') AS first \gset
SELECT df.await_instance(:'first');
--> completed
SELECT df.start('SELECT 1/0', 'second') AS second \gset
SELECT df.await_instance(:'second');
--> failed
SELECT df.start(df.wait_for_signal('go'), 'third') AS third \gset
SELECT df.cancel(:'third', 'enough') IS NULL;
--> f
SELECT df.start(df.loop('SELECT coalesce($i?, 0) + 1' |=> 'i', '$i < 4'), 'rounds') AS rounds \gset
SELECT df.await_instance(:'rounds');
--> completed

SELECT * FROM df.list_instances();
--> :rounds|rounds|execute_function_graph|completed|4|{"rows":[{"?column?":4}],"row_count":1}
--> :third|third|execute_function_graph|cancelled|1|enough
--> :second|second|execute_function_graph|failed|1|division by zero
--> :first|first|execute_function_graph|completed|1|{"rows":[{"a":1}],"row_count":1}
SELECT * FROM df.list_instances('failed');
--> :second|second|execute_function_graph|failed|1|division by zero
SELECT * FROM df.list_instances('completed', 1) WITH ORDINALITY;
--> :rounds|rounds|execute_function_graph|completed|4|{"rows":[{"?column?":4}],"row_count":1}|1
SELECT * FROM df.list_instances(status_filter => 'nosuch', limit_count => 5);
--> (no rows)
SELECT instance_id, label, function_name, status, execution_count, output, created_at IS NOT NULL, completed_at IS NOT NULL, next_cursor IS NULL FROM df.list_instances(NULL, 10, NULL);
--> :rounds|rounds|execute_function_graph|completed|4|{"rows":[{"?column?":4}],"row_count":1}|t|t|t
--> :third|third|execute_function_graph|cancelled|1|enough|t|f|t
--> :second|second|execute_function_graph|failed|1|division by zero|t|f|t
--> :first|first|execute_function_graph|completed|1|{"rows":[{"a":1}],"row_count":1}|t|t|t
SELECT label FROM df.list_instances(NULL, 10, 'second');
--> second

-- pages
SELECT label, next_cursor AS cursor FROM df.list_instances(NULL, 3, NULL) LIMIT 1 \gset
SELECT label, next_cursor IS NULL FROM df.list_instances(NULL, 3, NULL, :'cursor');
--> first|t
SELECT * FROM df.list_instances(NULL, 3, NULL, 'tampered');
--! 22023: invalid after_cursor
SELECT * FROM df.list_instances(NULL, 3, NULL, reverse(:'cursor'));
--! 22023: invalid after_cursor
SELECT * FROM df.list_instances(NULL, 0);
--! 22023: limit_count must be at least 1
SELECT * FROM df.list_instances(NULL, 1001);
--! 22023: limit_count 1001 is over list_instances_max_limit (1000)
SELECT * FROM df.list_instances(NULL, 1001, NULL);
--! 22023: limit_count 1001 is over list_instances_max_limit (1000)
SELECT count(*) FROM df.list_instances(NULL, 1000);
--> 4
SET pg_durable.list_instances_max_limit = 2;
SELECT * FROM df.list_instances(NULL, 3);
--! 22023: limit_count 3 is over list_instances_max_limit (2)
RESET pg_durable.list_instances_max_limit;

SELECT * FROM df.instance_info(:'first');
--> :first|first|execute_function_graph|1|1|completed|{"rows":[{"a":1}],"row_count":1}
SELECT status, output, current_execution_id FROM df.instance_info(:'rounds');
--> completed|{"rows":[{"?column?":4}],"row_count":1}|4
SELECT count(*) FROM df.instance_info('00000000');
--> 0

SELECT node_id, node_type, query, result_name, status, result, inferred_status, inferred_status_from_ancestor_id FROM df.instance_nodes(:'first');
--> 00000001|SQL|SELECT 1 AS a|NULL|completed|{"rows": [{"a": 1}], "row_count": 1}|completed|NULL
SELECT node_id, status, result, inferred_status FROM df.instance_nodes(:'second');
--> 00000001|failed|"division by zero"|failed
SELECT node_id, node_type, query, result_name, status, status_details FROM df.instance_nodes(:'rounds');
--> 00000001|LOOP|NULL|NULL|completed|{"execution_id": ":rounds::4"}
--> 00000002|SQL|$i < 4|NULL|completed|{"execution_id": ":rounds::4"}
--> 00000003|SQL|SELECT coalesce($i?, 0) + 1|i|completed|{"execution_id": ":rounds::4"}
SELECT execution_id, node_id, status FROM df.instance_nodes(:'first', 3);
--> 1|00000001|completed

-- a race: who lost never was
SELECT df.start('SELECT 1 AS a' | (df.wait_for_signal('never') ~> 'SELECT 2' ~> ('SELECT 3' & 'SELECT 4'))) AS race \gset
SELECT df.await_instance(:'race');
--> completed
SELECT node_id, node_type, status, inferred_status, inferred_status_from_ancestor_id, status_details::json->>'execution_id' IS NOT NULL FROM df.instance_nodes(:'race');
--> 00000001|RACE|completed|completed|NULL|t
--> 00000002|SQL|completed|completed|NULL|t
--> 00000003|THEN|pending|skipped|00000001|t
--> 00000004|THEN|pending|skipped|00000001|t
--> 00000005|SIGNAL|pending|skipped|00000001|t
--> 00000006|SQL|pending|skipped|00000001|f
--> 00000007|JOIN|pending|skipped|00000001|f
--> 00000008|SQL|pending|skipped|00000001|f
--> 00000009|SQL|pending|skipped|00000001|f

-- relations
SELECT id, label, root_node, status, submitted_by, database = current_database(), created_at <= updated_at, completed_at IS NOT NULL FROM df.instances ORDER BY created_at;
--> :first|first|00000001|completed|:me|t|t|t
--> :second|second|00000001|failed|:me|t|t|f
--> :third|third|00000001|cancelled|:me|t|t|f
--> :rounds|rounds|00000001|completed|:me|t|t|t
--> :race|NULL|00000001|completed|:me|t|t|t
SELECT id, node_type, query, result_name, left_node, right_node, status, result, error, submitted_by, status_details FROM df.nodes WHERE instance_id IN (:'first', :'second') ORDER BY instance_id, id;
--> 00000001|SQL|SELECT 1 AS a|NULL|NULL|NULL|completed|{"rows": [{"a": 1}], "row_count": 1}|NULL|:me|{"execution_id": ":first::1"}
--> 00000001|SQL|SELECT 1/0|NULL|NULL|NULL|failed|"division by zero"|division by zero|:me|{"execution_id": ":second::1"}
SELECT count(*) > 0, bool_and(last_seen_at >= started_at) FROM df._worker_epoch;
--> t|t
SELECT count(*) FROM df.vars;
--> 0
SELECT df.version() ~ '^\d+\.\d+\.\d+';
--> t

-- a stranger sees nothing of it
\as other
SELECT count(*) FROM df.instances;
--> 0
SELECT count(*) FROM df.nodes;
--> 0
SELECT count(*) FROM df.list_instances();
--> 0
SELECT df.status(:'first') IS NULL, df.result(:'first') IS NULL;
--> t|t
SELECT count(*) FROM df.instance_info(:'first');
--> 0
SELECT count(*) FROM df.instance_nodes(:'first');
--> 0
SELECT df.explain(:'first');
--> Instance ':first' not found
