-- A signal waits in a mailbox until something waits for it.

SELECT df.start(df.wait_for_signal('go')) AS id \gset
SELECT df.signal(:'id', 'go', '{"by": "me"}');
--> OK
SELECT df.await_instance(:'id');
--> completed
SELECT df.result(:'id');
--> {"signal_name":"go","timed_out":false,"data":{"by": "me"}}

-- data is JSON where it parses, else text; {} when there is none
SELECT df.start(df.wait_for_signal('a') & df.wait_for_signal('b') & df.wait_for_signal('c')) AS id \gset
SELECT df.signal(:'id', 'a'), df.signal(:'id', 'b', 'plain'), df.signal(:'id', 'c', '[1, null]');
--> OK|OK|OK
SELECT df.await_instance(:'id');
--> completed
SELECT df.result(:'id');
--> [[{"signal_name":"a","timed_out":false,"data":{}},{"signal_name":"b","timed_out":false,"data":"plain"}],{"signal_name":"c","timed_out":false,"data":[1, null]}]

-- sent before the wait, in order for each name, other names untouched
SELECT df.start((df.wait_for_signal('start') ~> (df.wait_for_signal('n') |=> 'a')) ~> (df.wait_for_signal('n') |=> 'b') ~> 'SELECT $a.data AS a, $b.data AS b') AS id \gset
SELECT df.signal(:'id', 'n', '1'), df.signal(:'id', 'other', '9'), df.signal(:'id', 'n', '2');
--> OK|OK|OK
SELECT df.signal(:'id', 'start');
--> OK
SELECT df.await_instance(:'id');
--> completed
SELECT df.result(:'id');
--> {"rows":[{"a":"1","b":"2"}],"row_count":1}

-- one signal wakes one wait
SELECT df.start(df.wait_for_signal('n', 1) & df.wait_for_signal('n', 1)) AS id \gset
SELECT df.signal(:'id', 'n', '1');
--> OK
SELECT df.await_instance(:'id');
--> completed
SELECT (df.result(:'id')::json->0->>'timed_out')::bool <> (df.result(:'id')::json->1->>'timed_out')::bool;
--> t

-- in a race, and in a loop
(df.wait_for_signal('no', 60) | df.sleep(0)) \run
--> completed: {"slept":true,"seconds":0}
SELECT df.start(df.loop((df.wait_for_signal('n') |=> 's') ~> 'SELECT coalesce($sum?, 0) + $s.data::int' |=> 'sum', '$s.data::int <> 0') ~> 'SELECT $sum AS sum') AS id \gset
SELECT df.signal(:'id', 'n', '3'), df.signal(:'id', 'n', '4'), df.signal(:'id', 'n', '0');
--> OK|OK|OK
SELECT df.await_instance(:'id');
--> completed
SELECT df.result(:'id');
--> {"rows":[{"sum":7}],"row_count":1}

-- without one: the time out is a result
df.wait_for_signal('never', 1) \run
--> completed: {"signal_name":"never","timed_out":true,"data":null}

-- transactional: what is rolled back is not delivered
SELECT df.start(df.wait_for_signal('n')) AS id \gset
BEGIN;
SELECT df.signal(:'id', 'n', '"rolled back"');
--> OK
ROLLBACK;
BEGIN;
SELECT df.signal(:'id', 'n', '"committed"');
--> OK
COMMIT;
SELECT df.await_instance(:'id');
--> completed
SELECT df.result(:'id');
--> {"signal_name":"n","timed_out":false,"data":"committed"}

-- in the transaction that starts
BEGIN;
SELECT df.start(df.wait_for_signal('n')) AS id \gset
SELECT df.signal(:'id', 'n', '"early"');
--> OK
COMMIT;
SELECT df.await_instance(:'id');
--> completed
SELECT df.result(:'id');
--> {"signal_name":"n","timed_out":false,"data":"early"}

-- from a step to another instance
SELECT df.start(df.wait_for_signal('n')) AS id \gset
SELECT df.start('SELECT df.signal(''' || :'id' || ''', ''n'', ''"from a step"'')') AS sender \gset
SELECT df.await_instance(:'id');
--> completed
SELECT df.result(:'id');
--> {"signal_name":"n","timed_out":false,"data":"from a step"}

-- refused
SELECT df.signal(:'id', 'n');
--! 55000: instance ":id" is completed
SELECT df.signal('00000000', 'n');
--! 42704: instance "00000000" not found or access denied
SELECT df.start(df.wait_for_signal('n')) AS id \gset
SELECT df.signal(:'id', '');
--! 22023: Signal name cannot be empty
SELECT df.signal(:'id', NULL) IS NULL;
--> t
\as other
SELECT df.signal(:'id', 'n');
--! 42704: instance ":id" not found or access denied
\as me
SELECT df.cancel(:'id') IS NULL;
--> f
SELECT df.signal(:'id', 'n');
--! 55000: instance ":id" is cancelled
