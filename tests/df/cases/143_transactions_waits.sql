-- Several steps in one transaction, intervals, times, and waiting for a condition.
CREATE TABLE log (n serial, what text);
df.transaction('INSERT INTO log (what) VALUES (''a'') RETURNING n', 'SELECT count(*) AS n FROM log') \run
--> completed: {"rows":[{"n":1}],"row_count":1}
df.transaction('INSERT INTO log (what) VALUES (''b'')', 'SELECT 1/0') \run
--> failed: 22012 division by zero
SELECT count(*) FROM log;
--> 1
df.transaction('SELECT 2 AS a' |=> 'x', 'SELECT $x * 21 AS b' |=> 'y', 'SELECT $x + $y AS sum') |=> 't' ~> 'SELECT $t.sum AS sum' \run
--> completed: {"rows":[{"sum":44}],"row_count":1}
df.transaction('CREATE TEMP TABLE scratch AS SELECT 5 AS a', 'SELECT a FROM scratch') \run
--> completed: {"rows":[{"a":5}],"row_count":1}
df.transaction('SET LOCAL statement_timeout = ''50ms''', 'SELECT pg_sleep(10)') \run
--> failed: 57014 canceling statement due to statement timeout

df.sleep(interval '10 milliseconds') \run
--> completed: {"slept":true,"seconds":0.01}
df.sleep('0.01 seconds') \run
--> completed: {"slept":true,"seconds":0.01}
df.sleep(duration => '0 days') \run
--> completed: {"slept":true,"seconds":0}
df.sleep('0') \run
--> completed: {"slept":true,"seconds":0}
df.sleep_until('2020-01-01 00:00:00+00') \run
--> completed: {"slept":true,"until":"2020-01-01T00:00:00+00:00"}
df.sleep_until(now()) ~> 'SELECT ''on'' AS v' \run
--> completed: {"rows":[{"v":"on"}],"row_count":1}

df.wait_for_condition('SELECT true') \run
--> completed: {"met":true}
df.wait_for_condition('SELECT count(*) > 0 FROM log WHERE what = ''go''', '20 milliseconds') & (df.sleep(1) ~> 'INSERT INTO log (what) VALUES (''go'')') ~> 'SELECT ''went on'' AS v' \run
--> completed: {"rows":[{"v":"went on"}],"row_count":1}
('SELECT 1 AS a' |=> 'x') ~> df.wait_for_condition('$x = 1') \run
--> completed: {"met":true}
df.wait_for_condition('SELECT 1/0') \run
--> failed: 22012 division by zero
df.timeout(df.wait_for_condition('SELECT false', '20 milliseconds'), '100 milliseconds') \run
--> failed: 57014 timeout of 0.1 s expired
