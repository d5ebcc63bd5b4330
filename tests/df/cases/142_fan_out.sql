-- Any number of branches, the first success, and a body for each row.
df.parallel('SELECT 1 AS a') \run
--> completed: [{"rows":[{"a":1}],"row_count":1}]
df.parallel('SELECT 1 AS a', 'SELECT 2 AS b', 'SELECT 3 AS c', df.sleep(0)) \run
--> completed: [{"rows":[{"a":1}],"row_count":1},{"rows":[{"b":2}],"row_count":1},{"rows":[{"c":3}],"row_count":1},{"slept":true,"seconds":0}]
df.parallel('SELECT 1 AS a', 'SELECT 1/0', 'SELECT ''x''::int') \run
--> failed: 22012 division by zero
df.parallel(VARIADIC ARRAY(SELECT 'SELECT ' || n FROM generate_series(1, 3) n)) \run
--> completed: [{"rows":[{"?column?":1}],"row_count":1},{"rows":[{"?column?":2}],"row_count":1},{"rows":[{"?column?":3}],"row_count":1}]

df.any('SELECT 1 AS a') \run
--> completed: {"rows":[{"a":1}],"row_count":1}
df.any('SELECT 1/0', 'SELECT 2 AS b') \run
--> completed: {"rows":[{"b":2}],"row_count":1}
df.any(df.wait_for_signal('never'), 'SELECT 1/0', df.sleep(1) ~> 'SELECT 3 AS c') \run
--> completed: {"rows":[{"c":3}],"row_count":1}
df.any('SELECT 1/0', 'SELECT 1/0') \run
--> failed: 22012 division by zero

df.map('SELECT n, n * 10 AS m FROM generate_series(1, 3) n', 'SELECT $item.m + $item AS v') \run
--> completed: [{"rows":[{"v":11}],"row_count":1},{"rows":[{"v":22}],"row_count":1},{"rows":[{"v":33}],"row_count":1}]
df.map('SELECT 1 WHERE false', 'SELECT 1/0') \run
--> completed: []
('SELECT 5 AS a' |=> 'x') ~> df.map('SELECT generate_series(1, 3) AS n', ('SELECT $item.n + $x AS s' |=> 'y') ~> 'SELECT $y * 2 AS v', 2) \run
--> completed: [{"rows":[{"v":12}],"row_count":1},{"rows":[{"v":14}],"row_count":1},{"rows":[{"v":16}],"row_count":1}]
df.map('SELECT generate_series(1, 3) AS n', 'SELECT 6 / ($item.n - 2) AS v') \run
--> failed: 22012 division by zero
df.map('SELECT generate_series(1, 3) AS n', 'SELECT 6 / ($item.n - 2) AS v', tolerate => 1) \run
--> completed: [{"rows":[{"v":-6}],"row_count":1},{"error": {"message": "division by zero", "sqlstate": "22012", "node_id": "00000003", "attempt": 1}},{"rows":[{"v":6}],"row_count":1}]
df.map('SELECT generate_series(1, 2) AS a', df.map('SELECT $item.a * 10 + generate_series(1, 2) AS b', 'SELECT $item.b AS v')) \run
--> completed: [[{"rows":[{"v":11}],"row_count":1},{"rows":[{"v":12}],"row_count":1}],[{"rows":[{"v":21}],"row_count":1},{"rows":[{"v":22}],"row_count":1}]]
df.map('SELECT generate_series(1, 2) AS a', df.sleep(0)) |=> 'm' ~> 'SELECT jsonb_array_length($m) AS items' \run
--> completed: {"rows":[{"items":2}],"row_count":1}
df.map('SELECT generate_series(1, 2) AS a', df.catch('SELECT 1/($item.a - 1) AS v', 'SELECT $item.a AS failed')) \run
--> completed: [{"rows":[{"failed":1}],"row_count":1},{"rows":[{"v":1}],"row_count":1}]
