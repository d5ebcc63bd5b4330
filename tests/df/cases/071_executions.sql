-- Executions: a LOOP that is the whole graph has one for each round, every other graph has one.

SELECT df.start(@> ('SELECT coalesce($i?, 0) + 1 AS n' |=> 'i' ~> ('$i > 2' ?> df.break('done') !> 'SELECT 1')), 'rounds') AS id \gset
SELECT df.await_instance(:'id');
--> completed
SELECT execution_id, status, event_count, duration_ms >= 0 AS timed, output FROM df.instance_executions(:'id');
--> 3|completed|2|t|"done"
--> 2|completed|3|t|{"rows":[{"?column?":1}],"row_count":1}
--> 1|completed|3|t|{"rows":[{"?column?":1}],"row_count":1}
SELECT * FROM df.instance_executions(:'id', 2) WITH ORDINALITY WHERE false;
--> (no rows)
SELECT execution_id FROM df.instance_executions(:'id', limit_count => 2);
--> 3
--> 2
SELECT execution_count FROM df.list_instances(NULL, 1);
--> 3
SELECT current_execution_id FROM df.instance_info(:'id');
--> 3
SELECT DISTINCT execution_id FROM df.instance_nodes(:'id', 3);
--> 3

-- a loop inside: one execution
SELECT df.start(df.loop('SELECT coalesce($i?, 0) + 1' |=> 'i', '$i < 3') ~> 'SELECT 1 AS last', 'inside') AS inside \gset
SELECT df.await_instance(:'inside');
--> completed
SELECT execution_id, status, event_count, duration_ms >= 0 AS timed, output FROM df.instance_executions(:'inside');
--> 1|completed|4|t|{"rows":[{"last":1}],"row_count":1}

-- one that runs, one that failed in its second round
SELECT df.start(df.wait_for_signal('never')) AS waits \gset
SELECT df.start(df.loop('SELECT 1/(1 - coalesce($i?, 0)) AS v' |=> 'i')) AS fails \gset
SELECT df.await_instance(:'fails');
--> failed
SELECT execution_id, status, output FROM df.instance_executions(:'fails');
--> 2|failed|division by zero
--> 1|completed|{"rows":[{"v":1}],"row_count":1}
SELECT execution_id, status IN ('pending', 'running'), duration_ms, output FROM df.instance_executions(:'waits');
--> 1|t|NULL|NULL

SELECT count(*) FROM df.instance_executions('00000000');
--> 0
SELECT count(*) FROM df.instance_executions(NULL);
--> 0
SELECT * FROM df.instance_executions(:'id', 0);
--! 22023: limit_count must be at least 1
\as other
SELECT count(*) FROM df.instance_executions(:'id');
--> 0

-- all instances together: for who was allowed
SELECT * FROM df.metrics();
--! 42501: permission denied for function metrics
SELECT df.target_database() = current_database();
--> t
\as admin
SELECT total_instances >= 4, running_instances >= 0, completed_instances >= 2, failed_instances >= 1, total_executions >= total_instances + 3, total_events > 0 FROM df.metrics();
--> t|t|t|t|t|t
