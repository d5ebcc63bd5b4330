-- df.explain: an instance as it goes, or an expression as it would.

SELECT df.start(('SELECT 6 * 7 AS answer' |=> 'a') ~> ('SELECT $a' & df.sleep(0)) ~> ('$a = 42' ?> 'SELECT ''yes'' AS v' !> 'SELECT ''no'' AS v'), 'sums') AS id \gset
SELECT df.explain(:'id') LIKE 'Instance: %';
--> t
SELECT df.await_instance(:'id');
--> completed
SELECT df.explain(:'id');
--> Instance: :id (sums)
--> Status:   ✓ Completed
--> Output:   {"rows":[{"v":"yes"}],"row_count":1}
-->
--> SQL |=> 'a': SELECT 6 * 7 AS answer ✓
-->      = {"rows":[{"answer":42}],"row_count":1}
--> → JOIN ✓
-->     branch 1:
-->         SQL: SELECT $a ✓
-->     branch 2:
-->         SLEEP 0s ✓
--> → IF ✓
-->     condition:
-->         SQL: $a = 42 ✓
-->     then:
-->         SQL: SELECT 'yes' AS v ✓
-->     else:
-->         SQL: SELECT 'no' AS v ⊘

-- a failure
SELECT df.start('SELECT 1' ~> 'SELECT 1/0' ~> 'SELECT 2') AS id \gset
SELECT df.await_instance(:'id');
--> failed
SELECT df.explain(:'id');
--> Instance: :id
--> Status:   ✗ Failed
--> Error:    division by zero
-->
--> SQL: SELECT 1 ✓
--> → SQL: SELECT 1/0 ✗
-->      error: division by zero (SQLSTATE 22012)
--> → SQL: SELECT 2 ⊘

-- what is waited for
SELECT df.start((df.wait_for_signal('go', 600) | df.wait_for_signal('stop')) ~> 'SELECT 1') AS id \gset
SELECT df.cancel(:'id', 'no more') IS NULL;
--> f
SELECT df.explain(:'id');
--> Instance: :id
--> Status:   ✗ Cancelled
--> Error:    no more
-->
--> RACE ⊘
-->     branch 1:
-->         SIGNAL 'go' timeout 600s ⊘
-->     branch 2:
-->         SIGNAL 'stop' ⊘
--> → SQL: SELECT 1 ⊘

-- dry: an expression, a graph, one step
SELECT df.explain($$ ('SELECT 1' |=> 'x') ~> df.if_rows('x', 'SELECT $x', 'SELECT 0') $$);
--> SQL |=> 'x': SELECT 1
--> → IF ROWS $x
-->     then:
-->         SQL: SELECT $x
-->     else:
-->         SQL: SELECT 0
SELECT df.explain($$ df.loop('a' ~> df.break('v'), 'c') ~> df.wait_for_signal('s', 5) $$);
--> LOOP
-->     while:
-->         SQL: c
-->     body:
-->         SQL: a
-->         → BREAK 'v'
--> → SIGNAL 's' timeout 5s
SELECT df.explain(df.join3('a', df.race('b', 'c'), df.sleep(1)));
--> JOIN
-->     branch 1:
-->         SQL: a
-->     branch 2:
-->         RACE
-->             branch 1:
-->                 SQL: b
-->             branch 2:
-->                 SQL: c
-->     branch 3:
-->         SLEEP 1s
SELECT df.explain('{"node_type":"SQL","query":"SELECT 1"}');
--> SQL: SELECT 1
SELECT df.explain('SELECT 1 ~> 2');
--> SQL: SELECT 1 ~> 2
SELECT df.explain('SELECT 1');
--> SQL: SELECT 1

-- what is wrong is told, not raised
SELECT df.explain('00000000');
--> Instance '00000000' not found
SELECT df.explain('df.break()');
--> Invalid durable function graph: df.break() is used outside of a loop
SELECT df.explain('{"node_type":"GOTO"}');
--> Invalid durable function graph: Unknown node_type 'GOTO'
SELECT df.explain('{"node_type":"SQL"}');
--> Invalid durable function graph: a SQL node needs a query
SELECT df.explain('{"node_type":"THEN","left_node":{"node_type":"SQL","query":"a"}}');
--> Invalid durable function graph: a THEN node needs left_node and right_node
SELECT df.explain('{"node_type":"JOIN","left_node":{"node_type":"SQL","query":"a"},"right_node":{"node_type":"SQL","query":"a"},"extra_nodes":[1]}');
--> Invalid durable function graph: extra_nodes entries must be nodes
SELECT df.explain('{"node_type":"SIGNAL","query":"go"}');
--> Invalid durable function graph: query of SIGNAL must be valid JSON config
SELECT df.explain($$ df.sleep(-1) $$);
--> Invalid durable function graph: sleep duration must be non-negative, got -1
SELECT df.explain($$ 'a' ~> $$);
--> Invalid durable function graph: syntax error at end of input
SELECT df.explain($$ df.seq(NULL, 'a') $$);
--> Invalid durable function graph: the expression is null
SELECT df.explain(NULL) IS NULL;
--> t

-- it is dry
SELECT df.explain($$ df.start('SELECT 1') $$) IS NULL, count(*) FILTER (WHERE label IS NULL AND status = 'pending') FROM df.instances;
--> f|0
\as other
SELECT df.explain(:'id');
--> Instance ':id' not found

-- of what begins later; of a rerun; of text that is no expression
SELECT df.start('SELECT 1', start_at => '2100-01-01 12:00+00') AS later \gset
SELECT df.explain(:'later');
--> Instance: :later
--> Status:   ○ Pending
--> Starts:   2100-01-01 12:00:00Z
-->
--> SQL: SELECT 1 ○
SELECT df.start('SELECT 1') AS first \gset
SELECT df.await_instance(:'first');
--> completed
SELECT df.rerun(:'first') AS again \gset
SELECT df.await_instance(:'again');
--> completed
SELECT split_part(df.explain(:'again'), E'\n', 3) = 'Rerun of: ' || :'first' AS told;
--> t
SELECT df.explain($$ 'SELECT 1' ~> $$);
--> Invalid durable function graph: syntax error at end of input
SELECT df.explain($$ 'SELECT 1 $$);
--> Invalid durable function graph: unterminated quoted string at or near "'SELECT 1"
SELECT df.explain($$ ('SELECT 1' ~> 'SELECT 2' $$);
--> Invalid durable function graph: syntax error at end of input
