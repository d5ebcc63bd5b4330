-- df.rerun: a new instance that begins with the results of one that has ended.

-- (until the instance waits for so many things)
CREATE FUNCTION until_waits(id text, n bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    WHILE (SELECT count(*) FROM df.waiting w WHERE w.instance_id = id AND w.waits_for <> 'worker') IS DISTINCT FROM n LOOP
        PERFORM pg_sleep(0.01);
    END LOOP;
END $$;

CREATE TABLE done (n serial, what text);
CREATE TABLE broken (x int);
INSERT INTO broken VALUES (0);

-- from where it failed: what completed is kept, and its names stay bound
SELECT df.start(('INSERT INTO done (what) VALUES (''first'') RETURNING n' |=> 'a')
    ~> ('SELECT 10 / x AS ten FROM broken' |=> 'b')
    ~> 'SELECT $a AS a, $b AS b', 'division') AS id \gset
SELECT df.await_instance(:'id');
--> failed
SELECT df.rerun(:'id') AS again \gset
SELECT df.await_instance(:'again');
--> failed
UPDATE broken SET x = 5;
SELECT df.rerun(:'id') AS again \gset
SELECT df.await_instance(:'again'), df.result(:'again');
--> completed|{"rows":[{"a":1,"b":2}],"row_count":1}
SELECT what FROM done;
--> first
SELECT label, rerun_of, rerun_from IS NULL FROM df._own WHERE id = :'again';
--> division|:id|t
SELECT df.status(:'id');
--> failed

-- from a node; the public id is that of df.nodes
SELECT df.explain(:'again');
--> Instance: :again (division)
--> Status:   ✓ Completed
--> Rerun of: :id
--> Output:   {"rows":[{"a":1,"b":2}],"row_count":1}
-->
--> SQL |=> 'a': INSERT INTO done (what) VALUES ('first') RETURNING n ✓
-->      = {"rows":[{"n":1}],"row_count":1}
--> → SQL |=> 'b': SELECT 10 / x AS ten FROM broken ✓
-->      = {"rows":[{"ten":2}],"row_count":1}
--> → SQL: SELECT $a AS a, $b AS b ✓
SELECT id FROM df.nodes WHERE instance_id = :'again' AND query LIKE 'SELECT 10%' \gset
UPDATE broken SET x = 2;
SELECT df.rerun(:'again', '00000004') AS third \gset
SELECT df.await_instance(:'third'), df.result(:'third');
--> completed|{"rows":[{"a":1,"b":5}],"row_count":1}

-- everything from the start
SELECT df.rerun(:'third') AS fourth \gset
SELECT df.await_instance(:'fourth'), df.result(:'fourth');
--> completed|{"rows":[{"a":2,"b":5}],"row_count":1}
SELECT df.rerun(:'third', '00000001') AS fifth \gset
SELECT df.await_instance(:'fifth'), df.result(:'fifth');
--> completed|{"rows":[{"a":3,"b":5}],"row_count":1}
SELECT what FROM done;
--> first
--> first
--> first

-- parallel branches: those that completed are kept
SELECT df.start('INSERT INTO done (what) VALUES (''left'') RETURNING what' & 'SELECT 1 / (x - 2) AS x FROM broken') AS id \gset
SELECT df.await_instance(:'id');
--> failed
UPDATE broken SET x = 3;
SELECT df.rerun(:'id') AS again \gset
SELECT df.await_instance(:'again'), df.result(:'again');
--> completed|[{"rows":[{"what":"left"}],"row_count":1},{"rows":[{"x":1}],"row_count":1}]
SELECT count(*) FROM done WHERE what = 'left';
--> 1

-- a condition is not asked again; the branch is
SELECT df.start(('INSERT INTO done (what) VALUES (''asked'') RETURNING true AS yes' ?> 'SELECT 1 / (x - 3) AS x FROM broken' !> 'SELECT 0')) AS id \gset
SELECT df.await_instance(:'id');
--> failed
UPDATE broken SET x = 4;
SELECT df.rerun(:'id') AS again \gset
SELECT df.await_instance(:'again'), df.result(:'again');
--> completed|{"rows":[{"x":1}],"row_count":1}
SELECT df.rerun(:'id', '00000004') AS again \gset
SELECT count(*) FROM done WHERE what = 'asked';
--> 1

-- a loop goes on in the round that failed
SELECT df.start(df.loop(
    ('INSERT INTO done (what) VALUES (''round'') RETURNING n' |=> 'n') ~> 'SELECT 1 / (x - 4) AS x FROM broken', 'SELECT false')) AS id \gset
SELECT df.await_instance(:'id');
--> failed
UPDATE broken SET x = 5;
SELECT df.rerun(:'id') AS again \gset
SELECT df.await_instance(:'again'), df.result(:'again');
--> completed|{"rows":[{"x":1}],"row_count":1}
SELECT count(*) FROM done WHERE what = 'round';
--> 1

-- one that was cancelled goes on from where it was
SELECT df.start('INSERT INTO done (what) VALUES (''before'') RETURNING what' ~> df.wait_for_signal('go') ~> 'SELECT 7 AS seven') AS id \gset
SELECT until_waits(:'id', 1);
-->
SELECT df.cancel(:'id') IS NULL;
--> f
SELECT df.rerun(:'id') AS again \gset
SELECT df.signal(:'again', 'go');
--> OK
SELECT df.await_instance(:'again'), df.result(:'again');
--> completed|{"rows":[{"seven":7}],"row_count":1}
SELECT count(*) FROM done WHERE what = 'before';
--> 1

-- variables are those of the original
SELECT df.setvar('greeting', 'hello');
--> OK
SELECT df.start('SELECT ''{greeting}'' AS said, 1 / (x - 5) AS x FROM broken') AS id \gset
SELECT df.await_instance(:'id');
--> failed
SELECT df.setvar('greeting', 'goodbye');
--> OK
UPDATE broken SET x = 6;
SELECT df.rerun(:'id') AS again \gset
SELECT df.await_instance(:'again'), df.result(:'again');
--> completed|{"rows":[{"said":"hello","x":1}],"row_count":1}

-- it joins the transaction
BEGIN;
SELECT df.rerun(:'id') AS lost \gset
ROLLBACK;
SELECT df.status(:'lost') IS NULL;
--> t

-- refused
\verbose
SELECT df.start('SELECT 1', start_at => now() + interval '1 day') AS live \gset
SELECT df.rerun(:'live') IS NULL;
--! 55000: instance ":live" is pending
--! detail: Only what has ended can be run again.
--! hint: Wait for its end, or cancel it.
SELECT df.rerun('00000000');
--! 42704: instance "00000000" not found or access denied
SELECT df.rerun(NULL) IS NULL;
--> t
SELECT df.rerun(:'again', '000000ff');
--! 22023: instance ":again" has no node "000000ff"
--! hint: df.instance_nodes() lists its nodes.
SELECT df.rerun(:'again', 'division');
--! 22023: instance ":again" has no node "division"
--! hint: df.instance_nodes() lists its nodes.
SELECT df.cancel(:'live') IS NULL;
--> f
\as other
SELECT df.rerun(:'again');
--! 42704: instance ":again" not found or access denied
\as me
SELECT df.start('SELECT 1' ~> df.loop('SELECT 1' ~> 'SELECT 2', 'SELECT false')) AS looped \gset
SELECT df.await_instance(:'looped');
--> completed
SELECT df.rerun(:'looped', '00000006');
--! 0A000: cannot run again from inside a round
--! detail: Node "00000006" is inside the LOOP "00000003".
--! hint: Run again from node "00000003".
SELECT df.rerun(:'looped', '00000003') AS again \gset
SELECT df.await_instance(:'again');
--> completed
SELECT df.start('SELECT 1 / 0' ~> ('SELECT 2' ~> 'SELECT 3')) AS early \gset
SELECT df.await_instance(:'early');
--> failed
SELECT df.rerun(:'early', '00000004');
--! 55000: node "00000004" has not been reached
--! hint: Without from_node it runs again from where it has stopped.
INSERT INTO df._own (graph, rerun_of) VALUES ('{"node_type":"SQL","query":"SELECT 666"}', :'looped') RETURNING graph->>'node_type';
--> THEN
