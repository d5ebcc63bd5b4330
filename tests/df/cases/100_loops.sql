-- Loops: the condition is asked after each round; names go from round to round.

CREATE TABLE log (n serial, what text);
CREATE TABLE queue (id int PRIMARY KEY);
INSERT INTO queue SELECT generate_series(1, 5);

-- until nothing is left, two at a time
df.loop('DELETE FROM queue WHERE id IN (SELECT id FROM queue ORDER BY id LIMIT 2) RETURNING id' |=> 'batch', 'SELECT count(*) > 0 FROM queue') \run
--> completed: {"rows":[{"id":5}],"row_count":1}
SELECT count(*) FROM queue;
--> 0

-- without a condition: until a break, from however deep
df.loop('INSERT INTO log (what) VALUES (''round'')' ~> ('(SELECT count(*) FROM log) >= 3' ?> df.break('enough') !> 'SELECT ''more''')) \run
--> completed: "enough"
df.loop(('SELECT coalesce($i?, 0) + 1' |=> 'i') ~> ('SELECT 1' & ('$i = 2' ?> df.break('{"i":$i}')))) \run
--> completed: {"i":2}
df.loop(('SELECT coalesce($i?, 0) + 1' |=> 'i') ~> (df.wait_for_signal('never') | ('$i = 2' ?> df.break('won')))) \run
--> completed: "won"

-- break leaves the innermost loop only
df.loop(('SELECT coalesce($o?, 0) + 1' |=> 'o') ~> df.loop(df.break('inner')) ~> ('$o = 3' ?> df.break('outer $o'))) \run
--> completed: "outer 3"

-- loops in loops, in joins, behind each other
df.loop(('SELECT coalesce($o?, 0) + 1' |=> 'o') ~> df.loop(('SELECT coalesce($i?, 0) + 1' |=> 'i'), '$i % 3 <> 0'), '$o < 3') ~> 'SELECT $o AS o, $i AS i' \run
--> completed: {"rows":[{"o":3,"i":9}],"row_count":1}
df.loop('SELECT coalesce($a?, 0) + 1' |=> 'a', '$a < 3') & df.loop('SELECT coalesce($b?, 0) + 1' |=> 'b', '$b < 4') \run
--> completed: [{"rows":[{"?column?":3}],"row_count":1},{"rows":[{"?column?":4}],"row_count":1}]
df.loop('SELECT coalesce($a?, 0) + 1' |=> 'a', '$a < 3') ~> df.loop('SELECT coalesce($a?, 0) + 1' |=> 'a', '$a < 5') \run
--> completed: {"rows":[{"?column?":5}],"row_count":1}

-- a failure in a round is the loop's; the rounds before stay
TRUNCATE log;
df.loop('INSERT INTO log (what) VALUES (''kept'')' ~> 'SELECT 1 / (2 - (SELECT count(*) FROM log))') \run
--> failed: 22012 division by zero
SELECT count(*) FROM log;
--> 2

-- a condition that fails, a body that is a loop's last value
df.loop('SELECT 1', 'SELECT 1/0') \run
--> failed: 22012 division by zero
df.loop('SELECT 7 AS n', 'false') \run
--> completed: {"rows":[{"n":7}],"row_count":1}
df.loop(df.sleep(0), 'SELECT NULL') \run
--> completed: {"slept":true,"seconds":0}
df.loop('SELECT 7 AS n WHERE false', 'SELECT false') \run
--> completed: {"rows":[],"row_count":0}

-- an empty round may end, too
df.loop('SELECT false' ?> 'SELECT 1', 'false') \run
--> completed: null
