-- df.start with a key: the same key gives the same instance. start_at: not before then.

CREATE TABLE done (what text);
SELECT df.start('INSERT INTO done VALUES (''once'')', key => 'order 7') AS id \gset
SELECT df.start('INSERT INTO done VALUES (''once'')', key => 'order 7') = :'id' AS same;
--> t
SELECT df.await_instance(:'id');
--> completed
SELECT df.start('INSERT INTO done VALUES (''once'')', 'another label', key => 'order 7') = :'id' AS same;
--> t
TABLE done;
--> once

-- in one transaction, in one statement
BEGIN;
SELECT df.start('SELECT 1', key => 'twice') AS first \gset
SELECT df.start('SELECT 1', key => 'twice') = :'first' AS same;
--> t
COMMIT;
SELECT count(DISTINCT df.start('SELECT 1', key => 'per row')) FROM generate_series(1, 5);
--> 1
SELECT count(DISTINCT df.start('SELECT 1', key => 'row ' || n)) FROM generate_series(1, 5) n;
--> 5

-- a key that was rolled back is free
BEGIN;
SELECT df.start('SELECT 1', key => 'undone') AS lost \gset
ROLLBACK;
SELECT df.start('SELECT 1', key => 'undone') = :'lost' AS same;
--> f

-- another durable function under the same key
\verbose
SELECT df.start('SELECT 2', key => 'twice') = :'first' AS same;
--# NOTICE: key "twice" belongs to instance ":first", which runs another durable function
--> t
SELECT df.start('SELECT 1', key => '');
--! 22023: key of 0 characters is not valid
--! hint: A key has 1 to 500 characters.
SELECT df.start('SELECT 1', key => repeat('x', 501));
--! 22023: key of 501 characters is not valid
--! hint: A key has 1 to 500 characters.
SELECT df.start('SELECT 1', key => repeat('x', 500)) IS NULL;
--> f

-- every role has its own keys
\as other
SELECT df.start('SELECT 1', key => 'order 7') = :'id' AS same;
--> f
\as me
SELECT df.start('SELECT 1') = df.start('SELECT 1', key => NULL) AS same;
--> f

-- not before its time; a time that has passed is now
SELECT df.start('INSERT INTO done VALUES (''later'')', start_at => now() + interval '1 day') AS later \gset
SELECT df.start('SELECT 1', start_at => '2000-01-01') AS soon \gset
SELECT df.await_instance(:'soon'), df.status(:'later');
--> completed|pending
SELECT df.signal(:'later', 'wake up');
--> OK
SELECT df.start(fut => 'SELECT 1', label => 'soon', key => 'all', start_at => now() + interval '300 ms') AS id \gset
SELECT df.await_instance(:'id');
--> completed
SELECT started_at - start_at BETWEEN '0' AND '10 s' AS in_time FROM df._own WHERE id = :'id';
--> t
SELECT df.status(:'later'), df.cancel(:'later') IS NULL;
--> pending|f
TABLE done;
--> once
SELECT df.start('SELECT 1', start_at => 'infinity');
--! 22023: start_at must be finite, got "infinity"
