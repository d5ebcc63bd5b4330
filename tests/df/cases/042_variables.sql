-- {name}: the role's variables as df.start found them; raw text.

SELECT df.setvar('tbl', 'items'), df.setvar('n', '41'), df.setvar('empty', '');
--> OK|OK|OK
SELECT df.getvar('tbl'), df.getvar('n'), df.getvar('empty') = '', df.getvar('nosuch') IS NULL;
--> items|41|t|t
SELECT name, value FROM df.vars ORDER BY name;
--> empty|
--> n|41
--> tbl|items
CREATE TABLE items (n int);
'INSERT INTO {tbl} VALUES ({n} + 1) RETURNING n, ''{n}'' AS text' \run
--> completed: {"rows":[{"n":42,"text":"41"}],"row_count":1}
'SELECT ''{nosuch}'' AS a, ''{ n }'' AS b, ''[{empty}]'' AS c, ''{"n":{n}}'' AS d, ''{}'' AS e' \run
--> completed: {"rows":[{"a":"{nosuch}","b":"{ n }","c":"[]","d":"{\"n\":41}","e":"{}"}],"row_count":1}
('SELECT 1 AS v' |=> 'x') ~> 'SELECT $x + {n} AS sum' \run
--> completed: {"rows":[{"sum":42}],"row_count":1}
@> df.break('{n} of {tbl}') \run
--> completed: "41 of items"
@> df.break('{"n":{n}}') \run
--> completed: {"n":41}

-- captured at the start, whatever happens afterwards
SELECT df.start(df.wait_for_signal('go') ~> 'SELECT {n} AS n') AS id \gset
SELECT df.setvar('n', '42');
--> OK
SELECT df.signal(:'id', 'go');
--> OK
SELECT df.await_instance(:'id');
--> completed
SELECT df.result(:'id');
--> {"rows":[{"n":41}],"row_count":1}
'SELECT {n} AS n' \run
--> completed: {"rows":[{"n":42}],"row_count":1}

-- always there
SELECT df.start('SELECT ''{sys_instance_id}'' AS id, ''{sys_label}'' AS label', 'my label') AS id \gset
SELECT df.await_instance(:'id');
--> completed
SELECT df.result(:'id');
--> {"rows":[{"id":":id","label":"my label"}],"row_count":1}
'SELECT ''[{sys_label}]'' AS label' \run
--> completed: {"rows":[{"label":"[]"}],"row_count":1}

-- each role has its own
\as other
SELECT df.getvar('n') IS NULL, count(*) FROM df.vars;
--> t|0
SELECT df.setvar('n', '7');
--> OK
'SELECT {n} AS n' \run
--> completed: {"rows":[{"n":7}],"row_count":1}
\as me
SELECT df.getvar('n');
--> 42

-- taken away
SELECT df.unsetvar('tbl');
--> OK
SELECT df.unsetvar('nosuch');
--> OK
SELECT name FROM df.vars ORDER BY name;
--> empty
--> n
SELECT df.clearvars();
--> OK
SELECT count(*) FROM df.vars;
--> 0
'SELECT ''{n}'' AS n' \run
--> completed: {"rows":[{"n":"{n}"}],"row_count":1}

-- refused
SELECT df.setvar('2nd', 'x');
--! 22023: variable name "2nd" is not a valid identifier
SELECT df.setvar('', 'x');
--! 22023: variable name "" is not a valid identifier
SELECT df.setvar(NULL, 'x');
--! 22023: variable name NULL is not a valid identifier
SELECT df.setvar('x', NULL);
--! 22004: value of variable "x" must not be null
SELECT df.setvar('sys_label', 'x');
--! 42939: variable name "sys_label" is reserved
'SELECT df.setvar(''a'', ''b'')' \run
--> failed: 55000 df.setvar() cannot be called inside a workflow
'SELECT df.getvar(''a'')' \run
--> failed: 55000 df.getvar() cannot be called inside a workflow
'SELECT df.unsetvar(''a'')' \run
--> failed: 55000 df.unsetvar() cannot be called inside a workflow
'SELECT df.clearvars()' \run
--> failed: 55000 df.clearvars() cannot be called inside a workflow

-- transactional, like everything else
BEGIN;
SELECT df.setvar('k', 'v');
--> OK
ROLLBACK;
SELECT df.getvar('k') IS NULL;
--> t
