-- JOIN waits for all; RACE takes the first and cancels the others for good.

CREATE TABLE done (what text);

-- a join fails after all have ended, with the first branch that failed
('INSERT INTO done VALUES (''left'')' ~> 'SELECT 1/0') & (df.sleep(1) ~> 'INSERT INTO done VALUES (''right, later'')') \run
--> failed: 22012 division by zero
TABLE done;
--> left
--> right, later
'SELECT 1/0' & 'SELECT sqrt(-1)' \run
--> failed: 22012 division by zero
df.join3('SELECT 1', 'SELECT sqrt(-1)', 'SELECT 1/0') \run
--> failed: 2201F cannot take square root of a negative number
TRUNCATE done;

-- the losers: a wait, a timer, a statement that is running on the server
'SELECT 1 AS won' | df.wait_for_signal('never') \run
--> completed: {"rows":[{"won":1}],"row_count":1}
df.sleep(1000) | 'SELECT 1 AS won' \run
--> completed: {"rows":[{"won":1}],"row_count":1}
'SELECT 1 AS won' | 'INSERT INTO done SELECT ''late'' FROM pg_sleep(1000)' \run
--> completed: {"rows":[{"won":1}],"row_count":1}
'SELECT 1 AS won' | ('INSERT INTO done SELECT ''late'' FROM pg_sleep(1000)' ~> 'INSERT INTO done VALUES (''later'')') \run
--> completed: {"rows":[{"won":1}],"row_count":1}
('SELECT 1 AS won' | df.loop(df.sleep(1000))) ~> 'SELECT count(*) AS late FROM done' \run
--> completed: {"rows":[{"late":0}],"row_count":1}
(df.sleep(1) |=> 'deadline') | 'SELECT pg_sleep(1000)' \run
--> completed: {"slept":true,"seconds":1}

-- a branch that fails first wins, and the race fails
'SELECT 1/0' | df.wait_for_signal('never') \run
--> failed: 22012 division by zero
df.race(df.race('SELECT 1 AS inner', df.sleep(1000)), df.sleep(1000)) \run
--> completed: {"rows":[{"inner":1}],"row_count":1}
('SELECT 1 AS a' | df.sleep(1000)) & ('SELECT 2 AS b' | df.sleep(1000)) \run
--> completed: [{"rows":[{"a":1}],"row_count":1},{"rows":[{"b":2}],"row_count":1}]
('SELECT 1 AS a' & 'SELECT 2 AS b') | df.sleep(1000) \run
--> completed: [{"rows":[{"a":1}],"row_count":1},{"rows":[{"b":2}],"row_count":1}]
TABLE done;
--> (no rows)
