-- Every constructor runs, by its function and by its operator.

df.sql('SELECT 1 AS a') \run
--> completed: {"rows":[{"a":1}],"row_count":1}
df.seq('SELECT 1 AS a', 'SELECT 2 AS b') \run
--> completed: {"rows":[{"b":2}],"row_count":1}
'SELECT 1 AS a' ~> 'SELECT 2 AS b' ~> 'SELECT 3 AS c' \run
--> completed: {"rows":[{"c":3}],"row_count":1}
df.as('SELECT 1 AS a', 'x') ~> 'SELECT $x + 1 AS b' \run
--> completed: {"rows":[{"b":2}],"row_count":1}
('SELECT 1 AS a' |=> 'x') ~> 'SELECT $x + 1 AS b' \run
--> completed: {"rows":[{"b":2}],"row_count":1}
df.join('SELECT 1 AS a', 'SELECT 2 AS b') \run
--> completed: [{"rows":[{"a":1}],"row_count":1},{"rows":[{"b":2}],"row_count":1}]
'SELECT 1 AS a' & 'SELECT 2 AS b' \run
--> completed: [{"rows":[{"a":1}],"row_count":1},{"rows":[{"b":2}],"row_count":1}]
df.join3('SELECT 1 AS a', 'SELECT 2 AS b', 'SELECT 3 AS c') \run
--> completed: [{"rows":[{"a":1}],"row_count":1},{"rows":[{"b":2}],"row_count":1},{"rows":[{"c":3}],"row_count":1}]
df.race('SELECT 1 AS a', df.wait_for_signal('never')) \run
--> completed: {"rows":[{"a":1}],"row_count":1}
df.wait_for_signal('never') | 'SELECT 2 AS b' \run
--> completed: {"rows":[{"b":2}],"row_count":1}
df.if('SELECT true', 'SELECT 1 AS yes', 'SELECT 2 AS no') \run
--> completed: {"rows":[{"yes":1}],"row_count":1}
df.if('SELECT false', 'SELECT 1 AS yes', 'SELECT 2 AS no') \run
--> completed: {"rows":[{"no":2}],"row_count":1}
'SELECT true' ?> 'SELECT 1 AS yes' !> 'SELECT 2 AS no' \run
--> completed: {"rows":[{"yes":1}],"row_count":1}
'SELECT 1 > 2' ?> 'SELECT 1 AS yes' !> 'SELECT 2 AS no' \run
--> completed: {"rows":[{"no":2}],"row_count":1}
'SELECT true' ?> 'SELECT 1 AS yes' \run
--> completed: {"rows":[{"yes":1}],"row_count":1}
'SELECT false' ?> 'SELECT 1 AS yes' \run
--> completed: null
('SELECT false' ?> 'SELECT 1 AS yes') ~> 'SELECT 2 AS after' \run
--> completed: {"rows":[{"after":2}],"row_count":1}
('SELECT 1 AS a' |=> 'r') ~> df.if_rows('r', 'SELECT 1 AS yes', 'SELECT 2 AS no') \run
--> completed: {"rows":[{"yes":1}],"row_count":1}
('SELECT 1 AS a WHERE false' |=> 'r') ~> df.if_rows('r', 'SELECT 1 AS yes', 'SELECT 2 AS no') \run
--> completed: {"rows":[{"no":2}],"row_count":1}
df.loop('SELECT coalesce($i?, 0) + 1' |=> 'i', '$i < 3') ~> 'SELECT $i AS rounds' \run
--> completed: {"rows":[{"rounds":3}],"row_count":1}
df.loop('SELECT coalesce($i?, 0) + 1 AS i' |=> 'i', 'SELECT $i < 3') \run
--> completed: {"rows":[{"i":3}],"row_count":1}
df.loop(('SELECT coalesce($i?, 0) + 1' |=> 'i') ~> ('$i = 3' ?> df.break('round $i'))) \run
--> completed: "round 3"
@> (('SELECT coalesce($i?, 0) + 1' |=> 'i') ~> ('$i = 3' ?> df.break('{"round":$i}'))) \run
--> completed: {"round":3}
@> df.break() \run
--> completed: null
@> df.break('[1, 2]') \run
--> completed: [1, 2]
df.sleep(0) \run
--> completed: {"slept":true,"seconds":0}
df.sleep(1) \run
--> completed: {"slept":true,"seconds":1}
df.wait_for_signal('never', 1) \run
--> completed: {"signal_name":"never","timed_out":true,"data":null}

-- chains of what the operators make are the same nodes
SELECT df.seq('a', 'b') = 'a' OPERATOR(df.~>) 'b', df.as('a', 'x') = 'a' OPERATOR(df.|=>) 'x',
    df.join('a', 'b') = 'a' OPERATOR(df.&) 'b', df.race('a', 'b') = 'a' OPERATOR(df.|) 'b',
    df.if('c', 'a', 'b') = 'c' OPERATOR(df.?>) 'a' OPERATOR(df.!>) 'b', df.loop('a') = OPERATOR(df.@>) 'a';
--> t|t|t|t|t|t
SELECT df.as('a', 'x') = df.as_op('a', 'x'), df.loop('a') = df.loop_prefix_op('a'),
    df.if('c', 'a', 'b') = df.if_else_op(df.if_then_op('c', 'a'), 'b');
--> t|t|t

-- named notation
SELECT df.sql(query => 'a') = df.sql('a'), df.seq(a => 'x', b => 'y') = df.seq('x', 'y'),
    df.as(fut => 'a', name => 'x') = df.as('a', 'x'), df.sleep(seconds => 3) = df.sleep(3),
    df.loop(body => 'a', condition => 'c') = df.loop('a', 'c'), df.break(value => 'v') = df.break('v'),
    df.if(condition => 'c', then_branch => 'a', else_branch => 'b') = df.if('c', 'a', 'b'),
    df.if_rows(result_name => 'r', then_branch => 'a', else_branch => 'b') = df.if_rows('r', 'a', 'b'),
    df.join(a => 'x', b => 'y') = df.join('x', 'y'), df.race(a => 'x', b => 'y') = df.race('x', 'y'),
    df.join3(a => 'x', b => 'y', c => 'z') = df.join3('x', 'y', 'z'),
    df.wait_for_signal(name => 's', timeout_seconds => 4) = df.wait_for_signal('s', 4);
--> t|t|t|t|t|t|t|t|t|t|t|t

-- a null part makes the whole null, and start says so
SELECT df.sql(NULL) IS NULL, df.seq('a', NULL) IS NULL, df.as('a', NULL) IS NULL, df.join('a', NULL) IS NULL,
    df.join3('a', NULL, 'b') IS NULL, df.race(NULL, 'a') IS NULL, df.if('c', 'a', NULL) IS NULL,
    df.if_rows('r', NULL, 'a') IS NULL, df.sleep(NULL) IS NULL;
--> t|t|t|t|t|t|t|t|t
SELECT df.loop(NULL);
--! 22004: loop body must not be null
SELECT df.wait_for_signal(NULL);
--! 22023: Signal name cannot be empty
SELECT df.start(NULL);
--! 22004: durable function must not be null
SELECT df.start(df.seq('SELECT 1', NULL));
--! 22004: durable function must not be null

-- what a constructor refuses
SELECT df.sleep(-1);
--! 22023: sleep duration must be non-negative, got -1
SELECT df.sleep(40000000000);
--! 22008: sleep duration of 40000000000 seconds is longer than 1000 years
SELECT df.wait_for_signal('');
--! 22023: Signal name cannot be empty
SELECT df.wait_for_signal('x', 0);
--! 22023: Timeout must be positive, got 0
SELECT df.as('SELECT 1', '');
--! 22023: result name cannot be empty
SELECT df.as('SELECT 1', '2nd');
--! 22023: result name "2nd" is not a valid identifier
SELECT df.as('SELECT 1', 'a b');
--! 22023: result name "a b" is not a valid identifier
SELECT df.as('SELECT 1', 'é');
--! 22023: result name "é" is not a valid identifier
SELECT df.if_rows('no name', 'a', 'b');
--! 22023: result name "no name" is not a valid identifier
