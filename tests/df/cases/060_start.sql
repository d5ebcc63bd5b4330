-- df.start joins the caller's transaction and returns at once.

-- (the settings of a role are those of its next connections)
ALTER ROLE :"me" SET work_mem = '3MB';
CREATE TABLE done (what text);
BEGIN;
SELECT df.start('INSERT INTO done VALUES (''rolled back'')') AS id \gset
SELECT df.status(:'id');
--> pending
ROLLBACK;
SELECT df.status(:'id') IS NULL;
--> t

-- also to a savepoint
BEGIN;
SELECT df.start('INSERT INTO done VALUES (''kept'')') AS kept \gset
SAVEPOINT s;
SELECT df.start('INSERT INTO done VALUES (''to the savepoint'')') AS lost \gset
ROLLBACK TO SAVEPOINT s;
COMMIT;
SELECT df.await_instance(:'kept');
--> completed
SELECT df.status(:'lost') IS NULL;
--> t
TABLE done;
--> kept

-- it sees what the transaction has made
BEGIN;
CREATE TABLE fresh (n int);
SELECT df.start('INSERT INTO fresh VALUES (1) RETURNING n') AS id \gset
COMMIT;
SELECT df.await_instance(:'id');
--> completed
SELECT df.result(:'id');
--> {"rows":[{"n":1}],"row_count":1}

-- label, database, mode
SELECT df.start('SELECT 1', 'labelled') AS id \gset
SELECT label, status IN ('pending', 'running', 'completed') FROM df.instances WHERE id = :'id';
--> labelled|t
SELECT df.start(fut => 'SELECT 1', label => 'named', database => NULL, transaction_mode => 'caller') AS id \gset
SELECT df.await_instance(:'id');
--> completed
SELECT label, database = current_database(), submitted_by = current_user::regrole FROM df.instances WHERE id = :'id';
--> named|t|t
SELECT df.start('SELECT 1', database => current_database()) IS NULL;
--> f
SELECT df.start('SELECT 1', transaction_mode => 'later');
--! 22023: invalid transaction_mode "later"
SELECT df.start('SELECT 1', transaction_mode => NULL);
--! 22023: invalid transaction_mode "<NULL>"
SELECT df.start('SELECT 1', database => 'no such database');
--! 3D000: database "no such database" does not exist
SELECT df.start('SELECT 1', repeat('x', 1001));
--! 22001: label of 1001 characters is too long
SELECT length(label) FROM df.instances WHERE id = df.start('SELECT 1', repeat('x', 1000));
--> (no rows)

-- a label is accepted nowhere an id is meant
SELECT df.status('labelled') IS NULL, df.result('labelled') IS NULL, count(*) FROM df.instance_info('labelled');
--> t|t|0
SELECT df.await_instance('labelled');
--! 42704: instance "labelled" not found or access denied
SELECT df.cancel('labelled');
--! 42704: instance "labelled" not found or access denied
SELECT df.signal('labelled', 'go');
--! 42704: instance "labelled" not found or access denied
SELECT df.explain('labelled');
--> SQL: labelled

-- many at once
SELECT count(df.start('INSERT INTO done VALUES (''n' || n || ''')', 'many')) FROM generate_series(1, 20) n;
--> 20
SELECT count(*) FROM (SELECT df.await_instance(id) AS s FROM df.instances WHERE label = 'many') a WHERE s = 'completed';
--> 20
SELECT count(DISTINCT what) FROM done WHERE what LIKE 'n%';
--> 20

-- a step that fails: nothing of it stays, and the instance says why
'INSERT INTO done VALUES (''before'')' ~> 'INSERT INTO done SELECT ''half'' || 1/n FROM generate_series(-1, 0) n' ~> 'SELECT 1' \run
--> failed: 22012 division by zero
SELECT what FROM done WHERE what LIKE 'half%' OR what = 'before';
--> before
'SELECT nosuch' \run
--> failed: 42703 column "nosuch" does not exist
'DO $x$ BEGIN RAISE EXCEPTION ''mine'' USING ERRCODE = ''P7777''; END $x$' \run
--> failed: P7777 mine

-- a step runs with the rights, the settings and the search_path of the role that started it
'SELECT current_user = session_user AS same, current_setting(''search_path'') AS path, current_setting(''work_mem'') AS mem' \run
--> completed: {"rows":[{"same":true,"path":"\"$user\", public","mem":"3MB"}],"row_count":1}
