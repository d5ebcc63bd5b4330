-- Which names a step sees. THEN, IF, LOOP, JOIN and RACE carry names, too.

('SELECT 1 AS a' |=> 'x') ~> ('SELECT $x + 1 AS a' |=> 'x') ~> 'SELECT $x AS a' \run
--> completed: {"rows":[{"a":2}],"row_count":1}
(('SELECT 1 AS a' |=> 'x') & ('SELECT 2 AS b' |=> 'y')) ~> 'SELECT $x + $y AS sum' \run
--> completed: {"rows":[{"sum":3}],"row_count":1}
((('SELECT 1 AS a' ~> 'SELECT 2 AS b') |=> 'x') & 'SELECT 3') ~> 'SELECT $x AS b' \run
--> completed: {"rows":[{"b":2}],"row_count":1}
('SELECT true' ?> ('SELECT 1 AS a' |=> 'x') !> ('SELECT 2 AS a' |=> 'y')) ~> 'SELECT $x AS x, $y? AS y' \run
--> completed: {"rows":[{"x":1,"y":null}],"row_count":1}
('SELECT true' ?> ('SELECT 1 AS a' |=> 'x') !> ('SELECT 2 AS a' |=> 'y')) ~> 'SELECT $y AS y' \run
--> failed: 42704 result name "y" is not bound
('SELECT true' ?> 'SELECT 1 AS a' !> 'SELECT 2 AS a' |=> 'x') ~> 'SELECT $x AS x' \run
--> completed: {"rows":[{"x":1}],"row_count":1}
(('SELECT 4 AS n' |=> 'c') ?> 'SELECT $c AS n' !> 'SELECT 0') ~> 'SELECT $c AS n' \run
--> completed: {"rows":[{"n":4}],"row_count":1}
((('SELECT 1 AS a' |=> 'x') | (df.wait_for_signal('never') ~> ('SELECT 2 AS a' |=> 'y')))) ~> 'SELECT $x AS x, $y? AS y' \run
--> completed: {"rows":[{"x":1,"y":null}],"row_count":1}
(('SELECT 1 AS a' | df.wait_for_signal('never')) |=> 'won') ~> 'SELECT $won AS a' \run
--> completed: {"rows":[{"a":1}],"row_count":1}
(df.loop(('SELECT coalesce($i?, 0) + 1' |=> 'i') ~> ('SELECT $i * 10 AS ten' |=> 't'), '$i < 3') |=> 'l') ~> 'SELECT $i AS i, $t AS t, $l AS l' \run
--> completed: {"rows":[{"i":3,"t":30,"l":30}],"row_count":1}

-- if_rows looks at rows or a row count, and runs no SQL
CREATE TABLE t (n int);
('INSERT INTO t VALUES (1), (2)' |=> 'r') ~> df.if_rows('r', 'SELECT ''some'' AS v', 'SELECT ''none'' AS v') \run
--> completed: {"rows":[{"v":"some"}],"row_count":1}
('DELETE FROM t WHERE n > 5' |=> 'r') ~> df.if_rows('r', 'SELECT ''some'' AS v', 'SELECT ''none'' AS v') \run
--> completed: {"rows":[{"v":"none"}],"row_count":1}
('SELECT NULL AS a' |=> 'r') ~> df.if_rows('r', 'SELECT ''some'' AS v', 'SELECT ''none'' AS v') \run
--> completed: {"rows":[{"v":"some"}],"row_count":1}
