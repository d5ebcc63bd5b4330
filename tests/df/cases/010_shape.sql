-- A durable function is text; constructors touch no table; df.start makes it durable.

SELECT df.sql('SELECT 1');
--> {"node_type":"SQL","query":"SELECT 1"}
SELECT 'SELECT 1' ~> 'SELECT 2' FROM df.instances;
--> (no rows)
SELECT df.seq('SELECT 1', df.sleep(2));
--> {"node_type":"THEN","left_node":{"node_type":"SQL","query":"SELECT 1"},"right_node":{"node_type":"SLEEP","query":"2"}}
SELECT df.as('SELECT 1', 'x');
--> {"node_type":"SQL","query":"SELECT 1","result_name":"x"}

-- the same expression is the same text, and a stored graph can be started again and again
SELECT df.seq('SELECT 1', 'SELECT 2') = df.sql('SELECT 1') OPERATOR(df.~>) 'SELECT 2';
--> t
CREATE TABLE graphs AS SELECT df.sql('SELECT 3 AS n') AS graph;
SELECT df.start(graph) AS first, df.start(graph) AS second FROM graphs \gset
SELECT df.await_instance(:'first');
--> completed
SELECT df.await_instance(:'second');
--> completed
SELECT df.result(:'first') = df.result(:'second'), df.result(:'first');
--> t|{"rows":[{"n":3}],"row_count":1}

-- text that is not a node is a SQL step, also when it looks a little like one
'SELECT 1 AS n' \run
--> completed: {"rows":[{"n":1}],"row_count":1}
'{"node_type":"SQL","query":"SELECT 2 AS n"}' \run
--> completed: {"rows":[{"n":2}],"row_count":1}
E' \n{ "node_type" : "SQL", "query" : "SELECT 3 AS n" }' \run
--> completed: {"rows":[{"n":3}],"row_count":1}
df.sql('{"node_type":"SQL","query":"SELECT 4 AS n"}') \run
--> failed: 42601 syntax error at or near "{"
df.seq('{"node_type":"GOTO"}', 'SELECT 1') \run
--! 22023: Unknown node_type 'GOTO'
'{"node_type":"SLEEP","query":"0"}' ~> 'SELECT 5 AS n' \run
--> completed: {"rows":[{"n":5}],"row_count":1}

-- an instance id is 8 lower-case hex characters, and so is a node id
SELECT df.start('SELECT 1' ~> ('SELECT 2' & 'SELECT 3')) AS id \gset
SELECT :'id' ~ '^[0-9a-f]{8}$';
--> t
SELECT node_id, node_type, left_node, right_node FROM df.instance_nodes(:'id');
--> 00000001|THEN|00000002|00000003
--> 00000002|SQL|NULL|NULL
--> 00000003|JOIN|00000004|00000005
--> 00000004|SQL|NULL|NULL
--> 00000005|SQL|NULL|NULL
SELECT df.await_instance(:'id');
--> completed
