-- only: simple, extended. What is to happen before the caller's transaction commits, or without it.
CREATE TABLE done (what text);
BEGIN;
SELECT df.start('INSERT INTO done VALUES (''kept'')', transaction_mode => 'new') AS id \gset
SELECT df.await_instance(:'id');
--> completed
ROLLBACK;
TABLE done;
--> kept
SELECT df.status(:'id');
--> completed
DO $$
DECLARE v_id text;
BEGIN
    v_id := df.start('INSERT INTO done VALUES (''in a block'')', transaction_mode => 'new');
    RAISE NOTICE '%', df.await_instance(v_id);
    RAISE EXCEPTION 'and then it fails';
END $$;
--# NOTICE: completed
--! P0001: and then it fails
TABLE done;
--> kept
--> in a block
SELECT df.start(df.wait_for_signal('go'), transaction_mode => 'new') AS id \gset
BEGIN;
SELECT df.signal(:'id', 'go', '{"n": 1}', 'new');
--> OK
SELECT df.await_instance(:'id');
--> completed
ROLLBACK;
SELECT df.result(:'id');
--> {"signal_name":"go","timed_out":false,"data":{"n": 1}}
SET pg_durable.signal_transaction_mode = 'new';
SELECT df.start(df.wait_for_signal('go'), transaction_mode => 'new') AS id \gset
BEGIN;
SELECT df.signal(:'id', 'go');
--> OK
SELECT df.await_instance(:'id');
--> completed
ROLLBACK;
SELECT df.start('SELEC 1', transaction_mode => 'new');
--! 42601: syntax error at or near "SELEC" in a step
SELECT df.version() ~ '^[0-9]+[.][0-9]+[.][0-9]+';
--> t
