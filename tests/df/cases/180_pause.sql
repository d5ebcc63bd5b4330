-- df.pause and df.resume: nothing new begins, and nothing is lost.

CREATE TABLE done (what text);
SELECT df.start(df.wait_for_signal('go') ~> 'INSERT INTO done VALUES (''went'') RETURNING what') AS id \gset
SELECT df.pause(:'id');
--> Instance :id paused: Paused by user
SELECT df.signal(:'id', 'go');
--> OK
SELECT df.status(:'id') IN ('pending', 'running'), waits_for, detail FROM df.waiting WHERE instance_id = :'id' AND waits_for = 'resume';
--> t|resume|Paused by user
SELECT df.await_instance(:'id', 1);
--! WF010: timed out after 1 s waiting for instance ":id"
TABLE done;
--> (no rows)
SELECT df.resume(:'id');
--> Instance :id resumed
SELECT df.await_instance(:'id');
--> completed
TABLE done;
--> went

-- of one that has ended; one that is not there; another role's
SELECT df.pause(:'id');
--! 55000: instance ":id" is completed
SELECT df.resume(:'id');
--! 55000: instance ":id" is completed
SELECT df.pause('00000000');
--! 42704: instance "00000000" not found or access denied
SELECT df.resume('00000000');
--! 42704: instance "00000000" not found or access denied
SELECT df.pause(NULL) IS NULL, df.resume(NULL) IS NULL;
--> t|t
SELECT df.start(df.sleep(1000)) AS mine \gset
\as other
SELECT df.pause(:'mine');
--! 42704: instance ":mine" not found or access denied
SELECT df.resume(:'mine');
--! 42704: instance ":mine" not found or access denied
SELECT count(*) FROM df.waiting;
--> 0
\as me

-- a reason; the last one stays; resuming what is not paused does nothing
SELECT df.pause(:'mine', 'until Monday');
--> Instance :mine paused: until Monday
SELECT df.pause(:'mine', 'again');
--> Instance :mine paused: again
SELECT detail FROM df.waiting WHERE instance_id = :'mine' AND waits_for = 'resume';
--> again
SELECT df.resume(:'mine');
--> Instance :mine resumed
SELECT df.resume(:'mine');
--> Instance :mine resumed
SELECT count(*) FROM df.waiting WHERE instance_id = :'mine' AND waits_for = 'resume';
--> 0

-- a timer that has passed meanwhile fires when it is resumed
SELECT df.start(df.sleep(1) ~> 'SELECT 1 AS n') AS id \gset
SELECT df.pause(:'id');
--> Instance :id paused: Paused by user
SELECT df.await_instance(:'id', 2);
--! WF010: timed out after 2 s waiting for instance ":id"
SELECT df.resume(:'id');
--> Instance :id resumed
SELECT df.await_instance(:'id');
--> completed

-- transactional; and it can be cancelled
SELECT df.start(df.wait_for_signal('go')) AS id \gset
BEGIN;
SELECT df.pause(:'id');
--> Instance :id paused: Paused by user
ROLLBACK;
SELECT df.signal(:'id', 'go');
--> OK
SELECT df.await_instance(:'id');
--> completed
SELECT df.pause(:'mine');
--> Instance :mine paused: Paused by user
SELECT df.cancel(:'mine');
--> Instance :mine cancelled: Cancelled by user
SELECT df.status(:'mine');
--> cancelled
SELECT count(*) FROM df.waiting WHERE instance_id = :'mine';
--> 0

-- in the transaction that starts it; one that is to start later keeps its time
BEGIN;
SELECT df.start('INSERT INTO done VALUES (''later'')', start_at => now() + interval '1 day') AS later \gset
SELECT df.pause(:'later') IS NULL;
--> f
COMMIT;
SELECT df.resume(:'later');
--> Instance :later resumed
SELECT waits_for, due > now() + interval '23 hours' FROM df.waiting WHERE instance_id = :'later';
--> start|t
SELECT df.cancel(:'later') IS NULL;
--> f

-- a step may pause its own workflow
SELECT df.start('SELECT df.pause(''{sys_instance_id}'', ''look at this first'')' ~> 'INSERT INTO done VALUES (''after'') RETURNING what') AS id \gset
SELECT df.await_instance(:'id', 1);
--! WF010: timed out after 1 s waiting for instance ":id"
SELECT detail FROM df.waiting WHERE instance_id = :'id';
--> look at this first
SELECT df.resume(:'id');
--> Instance :id resumed
SELECT df.await_instance(:'id');
--> completed
TABLE done;
--> went
--> after
