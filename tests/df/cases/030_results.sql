-- A step's result: rows with their columns in order, and a count.

CREATE TABLE t (id int PRIMARY KEY, v text);

'SELECT 2 AS b, 1 AS a, 3 AS b' \run
--> completed: {"rows":[{"b":2,"a":1,"b":3}],"row_count":1}
'SELECT 1 AS a WHERE false' \run
--> completed: {"rows":[],"row_count":0}
'SELECT' \run
--> completed: {"rows":[{}],"row_count":1}
'VALUES (1, ''x''), (2, NULL)' \run
--> completed: {"rows":[{"column1":1,"column2":"x"},{"column1":2,"column2":null}],"row_count":2}
'SELECT 1 AS "Mixed Case", 2 AS "a""b"' \run
--> completed: {"rows":[{"Mixed Case":1,"a\"b":2}],"row_count":1}
'INSERT INTO t SELECT n, ''v'' || n FROM generate_series(1, 3) n' \run
--> completed: {"rows":[],"row_count":3}
'INSERT INTO t VALUES (4, ''v4''), (5, ''v5'') RETURNING id, v' \run
--> completed: {"rows":[{"id":4,"v":"v4"},{"id":5,"v":"v5"}],"row_count":2}
'UPDATE t SET v = upper(v) WHERE id < 3' \run
--> completed: {"rows":[],"row_count":2}
'UPDATE t SET v = ''x'' WHERE id = 1 RETURNING *' \run
--> completed: {"rows":[{"id":1,"v":"x"}],"row_count":1}
'DELETE FROM t WHERE id > 3' \run
--> completed: {"rows":[],"row_count":2}
'DELETE FROM t WHERE id > 30 RETURNING id' \run
--> completed: {"rows":[],"row_count":0}
'TABLE t' \run
--> completed: {"rows":[{"id":3,"v":"v3"},{"id":2,"v":"V2"},{"id":1,"v":"x"}],"row_count":3}
'SELECT id FROM t ORDER BY id DESC LIMIT 2' \run
--> completed: {"rows":[{"id":3},{"id":2}],"row_count":2}
'WITH gone AS (DELETE FROM t WHERE id = 3 RETURNING id) SELECT * FROM gone' \run
--> completed: {"rows":[{"id":3}],"row_count":1}
'CREATE TABLE made (a int)' \run
--> completed: {"rows":[],"row_count":0}
'CREATE TABLE copied AS SELECT * FROM t' \run
--> completed: {"rows":[],"row_count":2}
'SELECT id, v INTO taken FROM t' \run
--> completed: {"rows":[],"row_count":2}
'SHOW statement_timeout' \run
--> completed: {"rows":[{"statement_timeout":"0"}],"row_count":1}
'DO $x$ BEGIN INSERT INTO t VALUES (9, ''do''); END $x$' \run
--> completed: {"rows":[],"row_count":0}
'INSERT INTO t VALUES (10, ''a''); INSERT INTO t VALUES (11, ''b'')' \run
--> completed: {"rows":[],"row_count":1}
'SELECT 1;' \run
--> completed: {"rows":[{"?column?":1}],"row_count":1}
'SELECT 1 -- a comment' \run
--> completed: {"rows":[{"?column?":1}],"row_count":1}
'/* first */ SELECT 1 /* last */ ;' \run
--> completed: {"rows":[{"?column?":1}],"row_count":1}
SELECT count(*), (SELECT count(*) FROM made), (SELECT count(*) FROM copied), (SELECT count(*) FROM taken) FROM t;
--> 5|0|2|2

-- of the other nodes
df.sleep(0) \run
--> completed: {"slept":true,"seconds":0}
df.wait_for_signal('s', 1) \run
--> completed: {"signal_name":"s","timed_out":true,"data":null}
('SELECT 1 AS a' & 'SELECT 2 AS b') & 'SELECT 3 AS c' \run
--> completed: [[{"rows":[{"a":1}],"row_count":1},{"rows":[{"b":2}],"row_count":1}],{"rows":[{"c":3}],"row_count":1}]
'SELECT 1 AS a' & ('SELECT 2 AS b' & 'SELECT 3 AS c') \run
--> completed: [{"rows":[{"a":1}],"row_count":1},[{"rows":[{"b":2}],"row_count":1},{"rows":[{"c":3}],"row_count":1}]]
('SELECT false' ?> 'SELECT 1') & df.sleep(0) \run
--> completed: [null,{"slept":true,"seconds":0}]

-- an instance's result is its root's; text, and NULL until it has completed
SELECT df.start(df.wait_for_signal('go') ~> 'SELECT 1 AS a') AS id \gset
SELECT df.result(:'id') IS NULL;
--> t
SELECT df.signal(:'id', 'go');
--> OK
SELECT df.await_instance(:'id');
--> completed
SELECT df.result(:'id'), pg_typeof(df.result(:'id'));
--> {"rows":[{"a":1}],"row_count":1}|text

-- a failed one has none
SELECT df.start('SELECT 1/0') AS id \gset
SELECT df.await_instance(:'id');
--> failed
SELECT df.result(:'id') IS NULL, output FROM df.instance_info(:'id');
--> t|division by zero
