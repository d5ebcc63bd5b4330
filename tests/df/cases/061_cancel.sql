-- df.cancel: after it has returned and committed, nothing of the instance commits any more.

CREATE TABLE done (what text);
SELECT df.start(df.wait_for_signal('go') ~> 'INSERT INTO done VALUES (''late'')') AS id \gset
SELECT df.cancel(:'id');
--> Instance :id cancelled: Cancelled by user
SELECT df.status(:'id'), df.await_instance(:'id'), df.result(:'id') IS NULL;
--> cancelled|cancelled|t
SELECT output FROM df.instance_info(:'id');
--> Cancelled by user
SELECT df.start(df.sleep(1000), 'for a reason') AS id \gset
SELECT df.cancel(:'id', 'changed my mind');
--> Instance :id cancelled: changed my mind
SELECT df.explain(:'id');
--> Instance: :id (for a reason)
--> Status:   ✗ Cancelled
--> Error:    changed my mind
-->
--> SLEEP 1000s ⊘
SELECT completed_at IS NULL FROM df.instances WHERE id = :'id';
--> t

-- of one that has ended: a no-op
SELECT df.cancel(:'id', 'again');
--> Instance :id cancelled: again
SELECT output FROM df.instance_info(:'id');
--> changed my mind
SELECT df.start('SELECT 1') AS id \gset
SELECT df.await_instance(:'id');
--> completed
SELECT df.cancel(:'id');
--> Instance :id cancelled: Cancelled by user
SELECT df.status(:'id');
--> completed

-- transactional
SELECT df.start(df.wait_for_signal('go') ~> 'SELECT 7 AS n') AS id \gset
BEGIN;
SELECT df.cancel(:'id');
--> Instance :id cancelled: Cancelled by user
ROLLBACK;
SELECT df.signal(:'id', 'go');
--> OK
SELECT df.await_instance(:'id');
--> completed

-- in the transaction that started it
BEGIN;
SELECT df.start('INSERT INTO done VALUES (''never'')') AS id \gset
SELECT df.cancel(:'id');
--> Instance :id cancelled: Cancelled by user
COMMIT;
SELECT df.status(:'id');
--> cancelled

-- refused
SELECT df.cancel('00000000');
--! 42704: instance "00000000" not found or access denied
SELECT df.cancel(NULL) IS NULL;
--> t
\as other
SELECT df.cancel(:'id');
--! 42704: instance ":id" not found or access denied
\as me
'SELECT df.cancel(''{sys_instance_id}'')' \run
--> failed: 55000 df.cancel() of its own instance cannot be called inside a workflow
SELECT df.start(df.sleep(1000)) AS victim \gset
SELECT df.cancel(:'victim') IS NULL;
--> f
TABLE done;
--> (no rows)
