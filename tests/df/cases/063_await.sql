-- df.await_instance gives the final status, or an error where waiting makes no sense.

SELECT df.start('SELECT 1') AS id \gset
SELECT df.await_instance(:'id');
--> completed
SELECT df.await_instance(:'id', 5);
--> completed
SELECT df.await_instance(instance_id => :'id', timeout_seconds => 5);
--> completed
SELECT df.start('SELECT 1/0') AS id \gset
SELECT df.await_instance(:'id');
--> failed
SELECT df.start(df.sleep(1000)) AS id \gset
SELECT df.await_instance(:'id', 1);
--! WF010: timed out after 1 s waiting for instance ":id"
SELECT df.cancel(:'id') IS NULL;
--> f
SELECT df.await_instance(:'id', 1);
--> cancelled
SELECT df.wait_for_completion(:'id');
--# WARNING: df.wait_for_completion() is deprecated
--> cancelled

-- in a transaction that was there before it ended, in other statements
SELECT df.start('SELECT 5 AS n') AS id \gset
BEGIN;
SELECT df.await_instance(:'id');
--> completed
COMMIT;
SELECT df.await_instance(:'id') || '!', df.result(:'id');
--> completed!|{"rows":[{"n":5}],"row_count":1}

-- its own uncommitted start
BEGIN;
SELECT df.start('SELECT 1') AS id \gset
SELECT df.await_instance(:'id');
--! 55000: instance ":id" was started in this transaction: commit first
ROLLBACK;

-- a snapshot that does not move
SELECT df.start(df.sleep(1000)) AS id \gset
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT df.await_instance(:'id');
--! 55000: cannot wait for instance ":id" in a transaction with isolation level repeatable read
ROLLBACK;
SELECT df.cancel(:'id') IS NULL;
--> f

SELECT df.await_instance('00000000');
--! 42704: instance "00000000" not found or access denied
SELECT df.await_instance(NULL) IS NULL;
--> t
SELECT df.await_instance(:'id', 0);
--! 22023: Timeout must be positive, got 0
SELECT df.await_instance(:'id', -1);
--! 22023: Timeout must be positive, got -1
\as other
SELECT df.await_instance(:'id');
--! 42704: instance ":id" not found or access denied
