-- Where expressions stand: in any statement that has a call of df in it.

CREATE TABLE orders (id int PRIMARY KEY, instance text);
CREATE TABLE done (n int);
INSERT INTO orders VALUES (1), (2);

SELECT df.start('INSERT INTO done VALUES (' || id || ')' ~> 'SELECT 1') IS NULL FROM orders;
--> f
--> f
SELECT df.start('INSERT INTO done VALUES (3)' ~> 'SELECT 1') IS NULL;
--> f
SELECT df.start(('INSERT INTO done VALUES (' || id || ')') ~> 'SELECT 1') IS NULL FROM orders;
--> f
--> f
UPDATE orders SET instance = df.start('SELECT ' || id || ' AS n');
INSERT INTO orders SELECT 3, df.start('SELECT 3 AS n' & 'SELECT 4 AS n');
CREATE TABLE started AS SELECT df.start('SELECT 5 AS n' | df.sleep(60)) AS id;
WITH s AS (SELECT df.start('SELECT 6 AS n' |=> 'x' ~> 'SELECT $x + 1 AS n') AS id) INSERT INTO started SELECT id FROM s RETURNING id IS NULL;
--> f
SELECT count(*) FROM (SELECT df.await_instance(instance) AS status FROM orders UNION ALL SELECT df.await_instance(id) FROM started) a WHERE status = 'completed';
--> 5
SELECT df.result(instance) FROM orders ORDER BY id;
--> {"rows":[{"n":1}],"row_count":1}
--> {"rows":[{"n":2}],"row_count":1}
--> [{"rows":[{"n":3}],"row_count":1},{"rows":[{"n":4}],"row_count":1}]
SELECT df.result(id) FROM started ORDER BY 1;
--> {"rows":[{"n":5}],"row_count":1}
--> {"rows":[{"n":7}],"row_count":1}

-- CASE and COALESCE choose between expressions
SELECT CASE WHEN true THEN 'a' ~> 'b' ELSE df.sql('c') END = df.seq('a', 'b'), coalesce(NULL, df.sql('a') & 'b') = df.join('a', 'b');
--> t|t

PREPARE go AS SELECT df.start($1 ~> 'SELECT 2 AS n', $2);
EXECUTE go('SELECT 1', 'prepared') \gset
DEALLOCATE go;
SELECT df.await_instance(instance_id), df.result(instance_id) FROM df.list_instances(NULL, 1, 'prepared');
--> completed|{"rows":[{"n":2}],"row_count":1}
