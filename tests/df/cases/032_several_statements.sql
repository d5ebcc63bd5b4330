-- Several statements in one step: one transaction, and the result is the last one's.

SELECT df.sql('SELECT 1; SELECT 2');
--> {"node_type":"SQL","query":"SELECT 1; SELECT 2"}
'SELECT 1 AS a; SELECT 2 AS b' \run
--> completed: {"rows":[{"b":2}],"row_count":1}
'CREATE TABLE several (n int); INSERT INTO several VALUES (1), (2); SELECT count(*) FROM several;' \run
--> completed: {"rows":[{"count":2}],"row_count":1}
'INSERT INTO several VALUES (3); INSERT INTO several VALUES (4), (5)' \run
--> completed: {"rows":[],"row_count":2}
'UPDATE several SET n = n + 1 WHERE n = 5; DELETE FROM several WHERE n > 3 RETURNING n' |=> 'gone' ~> 'SELECT count(*) AS gone FROM $gone.*' \run
--> completed: {"rows":[{"gone":2}],"row_count":1}
'SELECT 7 AS n' |=> 'x' ~> 'CREATE TEMP TABLE mine AS SELECT $x.n AS n; UPDATE mine SET n = n * $x.n; TABLE mine' \run
--> completed: {"rows":[{"n":49}],"row_count":1}
'SELECT 3 AS n INTO TEMP made; SELECT n FROM made' \run
--> completed: {"rows":[{"n":3}],"row_count":1}

-- all of it or nothing
'INSERT INTO several VALUES (100); SELECT 1/0' \run
--> failed: 22012 division by zero
'INSERT INTO several VALUES (100); SELECT * FROM nosuch' \run
--> failed: 42P01 relation "nosuch" does not exist
SELECT n FROM several ORDER BY n;
--> 1
--> 2
--> 3
'SELECT 1; VACUUM several' \run
--> failed: 25001 VACUUM cannot run inside a transaction block
