-- What a condition's result counts as: the first column of the first row.

CREATE FUNCTION truth(v text) RETURNS text LANGUAGE sql AS $$ SELECT df.if('SELECT ' || v, 'SELECT true AS taken', 'SELECT false AS taken') $$;

-- false
truth('1 WHERE false') \run
--> completed: {"rows":[{"taken":false}],"row_count":1}
truth('NULL') \run
--> completed: {"rows":[{"taken":false}],"row_count":1}
truth('false') \run
--> completed: {"rows":[{"taken":false}],"row_count":1}
truth('0') \run
--> completed: {"rows":[{"taken":false}],"row_count":1}
truth('0::int8') \run
--> completed: {"rows":[{"taken":false}],"row_count":1}
truth('0.00') \run
--> completed: {"rows":[{"taken":false}],"row_count":1}
truth('0.0::float8') \run
--> completed: {"rows":[{"taken":false}],"row_count":1}
truth('''''') \run
--> completed: {"rows":[{"taken":false}],"row_count":1}
truth('''f''') \run
--> completed: {"rows":[{"taken":false}],"row_count":1}
truth('''F''') \run
--> completed: {"rows":[{"taken":false}],"row_count":1}
truth('''no''') \run
--> completed: {"rows":[{"taken":false}],"row_count":1}
truth('''No''') \run
--> completed: {"rows":[{"taken":false}],"row_count":1}
truth('''0''') \run
--> completed: {"rows":[{"taken":false}],"row_count":1}
truth('''false''') \run
--> completed: {"rows":[{"taken":false}],"row_count":1}
truth('''FALSE''') \run
--> completed: {"rows":[{"taken":false}],"row_count":1}
truth('''[]''::json') \run
--> completed: {"rows":[{"taken":false}],"row_count":1}
truth('''{}''::jsonb') \run
--> completed: {"rows":[{"taken":false}],"row_count":1}
truth('ARRAY[]::int[]') \run
--> completed: {"rows":[{"taken":false}],"row_count":1}
truth('''null''::json') \run
--> completed: {"rows":[{"taken":false}],"row_count":1}
truth('NULL, true') \run
--> completed: {"rows":[{"taken":false}],"row_count":1}

-- true
truth('true') \run
--> completed: {"rows":[{"taken":true}],"row_count":1}
truth('1') \run
--> completed: {"rows":[{"taken":true}],"row_count":1}
truth('-1') \run
--> completed: {"rows":[{"taken":true}],"row_count":1}
truth('0.01') \run
--> completed: {"rows":[{"taken":true}],"row_count":1}
truth('''NaN''::float8 IS NOT NULL') \run
--> completed: {"rows":[{"taken":true}],"row_count":1}
truth('''t''') \run
--> completed: {"rows":[{"taken":true}],"row_count":1}
truth('''n''') \run
--> completed: {"rows":[{"taken":true}],"row_count":1}
truth('''off''') \run
--> completed: {"rows":[{"taken":true}],"row_count":1}
truth('''00''') \run
--> completed: {"rows":[{"taken":true}],"row_count":1}
truth('''0.0''') \run
--> completed: {"rows":[{"taken":true}],"row_count":1}
truth(''' ''') \run
--> completed: {"rows":[{"taken":true}],"row_count":1}
truth('''[]''') \run
--> completed: {"rows":[{"taken":true}],"row_count":1}
truth('''[0]''::json') \run
--> completed: {"rows":[{"taken":true}],"row_count":1}
truth('''{"a":null}''::jsonb') \run
--> completed: {"rows":[{"taken":true}],"row_count":1}
truth('ARRAY[0]') \run
--> completed: {"rows":[{"taken":true}],"row_count":1}
truth('now()') \run
--> completed: {"rows":[{"taken":true}],"row_count":1}
truth('true UNION ALL SELECT false') \run
--> completed: {"rows":[{"taken":true}],"row_count":1}
truth('1, false') \run
--> completed: {"rows":[{"taken":true}],"row_count":1}

-- a bare expression means SELECT of it
('SELECT true AS done, 4 AS n' |=> 'b') ~> ('$b.done' ?> 'SELECT 1 AS yes' !> 'SELECT 2 AS no') \run
--> completed: {"rows":[{"yes":1}],"row_count":1}
('SELECT true AS done, 4 AS n' |=> 'b') ~> ('$b.n > 5' ?> 'SELECT 1 AS yes' !> 'SELECT 2 AS no') \run
--> completed: {"rows":[{"no":2}],"row_count":1}
('SELECT true AS done, 4 AS n' |=> 'b') ~> ('NOT $b.done OR $b.n = 4' ?> 'SELECT 1 AS yes' !> 'SELECT 2 AS no') \run
--> completed: {"rows":[{"yes":1}],"row_count":1}
('SELECT NULL::bool AS done' |=> 'b') ~> ('$b.done?' ?> 'SELECT 1 AS yes' !> 'SELECT 2 AS no') \run
--> completed: {"rows":[{"no":2}],"row_count":1}
'1 = 1' ?> 'SELECT 1 AS yes' \run
--> completed: {"rows":[{"yes":1}],"row_count":1}
'(SELECT 0)' ?> 'SELECT 1 AS yes' !> 'SELECT 2 AS no' \run
--> completed: {"rows":[{"no":2}],"row_count":1}
'EXISTS (SELECT FROM pg_class)' ?> 'SELECT 1 AS yes' !> 'SELECT 2 AS no' \run
--> completed: {"rows":[{"yes":1}],"row_count":1}

-- other nodes as conditions
df.sleep(0) ?> 'SELECT 1 AS yes' !> 'SELECT 2 AS no' \run
--> completed: {"rows":[{"yes":1}],"row_count":1}
('SELECT 1' ~> 'SELECT false') ?> 'SELECT 1 AS yes' !> 'SELECT 2 AS no' \run
--> completed: {"rows":[{"no":2}],"row_count":1}
('SELECT false' & 'SELECT false') ?> 'SELECT 1 AS yes' !> 'SELECT 2 AS no' \run
--> completed: {"rows":[{"yes":1}],"row_count":1}
df.loop(df.break('0')) ?> 'SELECT 1 AS yes' !> 'SELECT 2 AS no' \run
--> completed: {"rows":[{"no":2}],"row_count":1}
df.loop(df.break('no')) ?> 'SELECT 1 AS yes' !> 'SELECT 2 AS no' \run
--> completed: {"rows":[{"no":2}],"row_count":1}
df.loop(df.break('[]')) ?> 'SELECT 1 AS yes' !> 'SELECT 2 AS no' \run
--> completed: {"rows":[{"no":2}],"row_count":1}
df.loop(df.break()) ?> 'SELECT 1 AS yes' !> 'SELECT 2 AS no' \run
--> completed: {"rows":[{"no":2}],"row_count":1}
'INSERT INTO nosuch VALUES (1)' ?> 'SELECT 1' \run
--> failed: 42P01 relation "nosuch" does not exist
