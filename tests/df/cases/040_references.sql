-- Every form of a reference, with rows, without, and with NULL.

('SELECT 7 AS a, ''x'' AS b UNION ALL SELECT 8, ''y''' |=> 'r') ~> 'SELECT $r AS first' \run
--> completed: {"rows":[{"first":7}],"row_count":1}
('SELECT 7 AS a, ''x'' AS b UNION ALL SELECT 8, ''y''' |=> 'r') ~> 'SELECT $r.b AS b, $r.a + 1 AS a' \run
--> completed: {"rows":[{"b":"x","a":8}],"row_count":1}
('SELECT 7 AS a' |=> 'r') ~> 'SELECT $r? AS a, $r.a? AS b' \run
--> completed: {"rows":[{"a":7,"b":7}],"row_count":1}
('SELECT 7 AS a WHERE false' |=> 'r') ~> 'SELECT $r AS a' \run
--> failed: 02000 "$r" has no rows
('SELECT 7 AS a WHERE false' |=> 'r') ~> 'SELECT $r.a AS a' \run
--> failed: 02000 "$r.a" has no rows
('SELECT 7 AS a WHERE false' |=> 'r') ~> 'SELECT $r? AS a, $r.a? IS NULL AS b' \run
--> completed: {"rows":[{"a":null,"b":true}],"row_count":1}
('SELECT NULL::int AS a' |=> 'r') ~> 'SELECT $r AS a' \run
--> failed: 22004 "$r" is NULL
('SELECT NULL::int AS a' |=> 'r') ~> 'SELECT $r.a AS a' \run
--> failed: 22004 "$r.a" is NULL
('SELECT NULL::int AS a' |=> 'r') ~> 'SELECT $r? AS a, pg_typeof($r.a?) AS b' \run
--> completed: {"rows":[{"a":null,"b":"unknown"}],"row_count":1}
('SELECT 7 AS a' |=> 'r') ~> 'SELECT $r.nosuch AS a' \run
--> failed: 42703 column "nosuch" of result "r" does not exist
('SELECT 7 AS a' |=> 'r') ~> 'SELECT $r.nosuch? AS a' \run
--> failed: 42703 column "nosuch" of result "r" does not exist
('SELECT 7 AS "Mixed", 8 AS lower' |=> 'r') ~> 'SELECT $r.Mixed AS a, $r.LOWER AS b' \run
--> completed: {"rows":[{"a":7,"b":8}],"row_count":1}
('INSERT INTO pg_temp.nothing VALUES (1)' |=> 'r') ~> 'SELECT $r' \run
--> failed: 42P01 relation "pg_temp.nothing" does not exist

-- all rows, as a relation
('SELECT n, n * n AS square FROM generate_series(1, 3) n' |=> 'r') ~> 'SELECT sum(square) AS s, count(*) AS c FROM $r.*' \run
--> completed: {"rows":[{"s":14,"c":3}],"row_count":1}
('SELECT n, n * n AS square FROM generate_series(1, 3) n' |=> 'r') ~> 'SELECT a.n FROM $r.* AS a JOIN $r.* AS b ON a.n = b.square' \run
--> completed: {"rows":[{"n":1}],"row_count":1}
('SELECT n, n * n AS square FROM generate_series(1, 3) n' |=> 'r') ~> 'SELECT x, y FROM $r.* AS pairs(x, y) WHERE y > 1' \run
--> completed: {"rows":[{"x":2,"y":4},{"x":3,"y":9}],"row_count":2}
('SELECT n, n * n AS square FROM generate_series(1, 3) n' |=> 'r') ~> 'SELECT r.n FROM $r.* WHERE r.square = 4' \run
--> completed: {"rows":[{"n":2}],"row_count":1}
('SELECT n FROM generate_series(1, 3) n WHERE n > 9' |=> 'r') ~> 'SELECT count(*) AS c, max(n) AS m FROM $r.*' \run
--> completed: {"rows":[{"c":0,"m":null}],"row_count":1}
('SELECT n FROM generate_series(1, 3) n' |=> 'r') ~> 'SELECT EXISTS (SELECT FROM $r.*) AS e, 2 IN (SELECT * FROM $r.*) AS i' \run
--> completed: {"rows":[{"e":true,"i":true}],"row_count":1}
('SELECT n FROM generate_series(1, 10000) n' |=> 'r') ~> 'SELECT count(*) AS c FROM $r.*' \run
--> completed: {"rows":[{"c":10000}],"row_count":1}
('SELECT n FROM generate_series(1, 10001) n' |=> 'r') ~> 'SELECT count(*) AS c FROM $r.*' \run
--> failed: 54000 "$r.*" has 10001 rows, more than the 10000 that can be expanded

-- the longest name wins; $1, dollar quotes, comments and quoted identifiers are left alone
('SELECT 1 AS a' |=> 'ab') ~> ('SELECT 2 AS a' |=> 'abc') ~> 'SELECT $ab AS x, $abc AS y' \run
--> completed: {"rows":[{"x":1,"y":2}],"row_count":1}
('SELECT 1 AS a' |=> 'x') ~> 'SELECT $$ $x $$ AS a, $q$ $x.a $q$ AS b, 1 AS "$x" /* $x */ -- $x' \run
--> completed: {"rows":[{"a":" $x ","b":" $x.a ","$x":1}],"row_count":1}
('SELECT 1 AS a' |=> 'x') ~> 'SELECT $1' \run
--> failed: 42P02 there is no parameter $1
('SELECT 1 AS a' |=> 'x') ~> 'SELECT $x.a.b' \run
--> failed: 42809 column notation .b applied to type integer, which is not a composite type

-- inside literals: the value's text at that place, whatever it holds
CREATE TABLE notes (n serial, note text);
('SELECT ''O''''Brien; DROP TABLE notes; --'' AS who' |=> 'x') ~> 'INSERT INTO notes (note) VALUES (''Hello $x!'') RETURNING note' \run
--> completed: {"rows":[{"note":"Hello O'Brien; DROP TABLE notes; --!"}],"row_count":1}
('SELECT ''back\slash'''' || current_user'' AS who' |=> 'x') ~> 'SELECT E''a\t$x.who\n'' AS note' \run
--> completed: {"rows":[{"note":"a\tback\\slash' || current_user\n"}],"row_count":1}
('SELECT ''$'' || ''y'' AS a' |=> 'x') ~> ('SELECT ''not me'' AS a' |=> 'y') ~> 'SELECT ''$x'' AS a, $x AS b' \run
--> completed: {"rows":[{"a":"$y","b":"$y"}],"row_count":1}
('SELECT 1.50 AS a, true AS b, NULL AS c' |=> 'x') ~> 'SELECT ''$x and $x.b'' AS a, ''[$x.c?]'' AS b' \run
--> completed: {"rows":[{"a":"1.50 and t","b":"[]"}],"row_count":1}
('SELECT NULL AS a' |=> 'x') ~> 'SELECT ''[$x]'' AS a' \run
--> failed: 22004 "$x" is NULL
('SELECT 5 AS a' |=> 'x') ~> 'SELECT interval ''$x days'' AS a, ''{$x,6}''::int[] AS b, ''{"v":$x}''::json AS c' \run
--> completed: {"rows":[{"a":"5 days","b":[5,6],"c":{"v":5}}],"row_count":1}
('SELECT 5 AS a' |=> 'x') ~> 'SELECT ''costs $ $x'' AS a, ''$5 and $ and x$'' AS b' \run
--> completed: {"rows":[{"a":"costs $ 5","b":"$5 and $ and x$"}],"row_count":1}
SELECT note FROM notes;
--> Hello O'Brien; DROP TABLE notes; --!

-- results that are not rows: the whole is JSON, a field is a value
(df.sleep(0) |=> 's') ~> 'SELECT $s AS whole, $s.slept AS slept, $s.seconds + 1 AS n, $s.nosuch? AS none' \run
--> completed: {"rows":[{"whole":{"slept": true, "seconds": 0},"slept":true,"n":"1","none":null}],"row_count":1}
(df.wait_for_signal('never', 1) |=> 's') ~> 'SELECT $s.timed_out AS t, $s.data? AS d, $s.signal_name AS n' \run
--> completed: {"rows":[{"t":true,"d":null,"n":"never"}],"row_count":1}
(df.wait_for_signal('never', 1) |=> 's') ~> 'SELECT $s.data AS d' \run
--> failed: 22004 "$s.data" is NULL
(df.sleep(0) |=> 's') ~> 'SELECT $s.nosuch AS none' \run
--> failed: 42703 "$s.nosuch" has no field "nosuch"
(('SELECT 1 AS a' & 'SELECT 2 AS b') |=> 'j') ~> 'SELECT $j->0->''rows''->0->>''a'' AS a, jsonb_array_length($j) AS n' \run
--> completed: {"rows":[{"a":"1","n":2}],"row_count":1}
(('SELECT 1 AS a' & 'SELECT 2 AS b') |=> 'j') ~> 'SELECT value->''row_count'' AS n FROM $j.*' \run
--> completed: {"rows":[{"n":1},{"n":1}],"row_count":2}
(df.loop(df.break('{"k":[1,2]}')) |=> 'l') ~> 'SELECT $l.k AS k, pg_typeof($l.k) AS t' \run
--> completed: {"rows":[{"k":[1, 2],"t":"jsonb"}],"row_count":1}
(df.loop(df.break('text')) |=> 'l') ~> 'SELECT $l AS v, pg_typeof($l) AS t' \run
--> completed: {"rows":[{"v":"text","t":"text"}],"row_count":1}
(('SELECT false' ?> 'SELECT 1') |=> 'i') ~> 'SELECT $i? AS v' \run
--> completed: {"rows":[{"v":null}],"row_count":1}
