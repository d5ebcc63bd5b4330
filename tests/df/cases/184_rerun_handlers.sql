-- df.rerun of workflows that handle failures: what was handled stays handled, what was undone runs again.

CREATE TABLE done (n serial, what text);
CREATE TABLE broken (x int);
INSERT INTO broken VALUES (0);

-- a failure that was caught before, and one in a handler
SELECT df.start(df.catch('SELECT 1 / 0', 'INSERT INTO done (what) VALUES (''handled'') RETURNING what')
    ~> 'SELECT 1 / x AS x FROM broken') AS id \gset
SELECT df.await_instance(:'id');
--> failed
UPDATE broken SET x = 1;
SELECT df.rerun(:'id') AS again \gset
SELECT df.await_instance(:'again'), df.result(:'again');
--> completed|{"rows":[{"x":1}],"row_count":1}
SELECT count(*) FROM done WHERE what = 'handled';
--> 1
SELECT df.start(df.catch(('INSERT INTO done (what) VALUES (''body'') RETURNING n' |=> 'n') ~> 'SELECT 1 / 0',
    'SELECT ''$error.sqlstate'' AS code, 1 / (x - 1) AS x FROM broken')) AS id \gset
SELECT df.await_instance(:'id');
--> failed
UPDATE broken SET x = 2;
SELECT df.rerun(:'id') AS again \gset
SELECT df.await_instance(:'again'), df.result(:'again');
--> completed|{"rows":[{"code":"22012","x":1}],"row_count":1}
SELECT count(*) FROM done WHERE what = 'body';
--> 1

-- the body again, by name
SELECT df.start(df.catch('SELECT 5 / (x - 2) AS x FROM broken', 'INSERT INTO done (what) VALUES (''handler'') RETURNING what')) AS id \gset
SELECT df.await_instance(:'id'), df.result(:'id');
--> completed|{"rows":[{"what":"handler"}],"row_count":1}
UPDATE broken SET x = 3;
SELECT df.rerun(:'id', '00000002') AS again \gset
SELECT df.await_instance(:'again'), df.result(:'again');
--> completed|{"rows":[{"x":5}],"row_count":1}

-- retries begin anew, with all their attempts; results before them stay
SELECT df.start(('INSERT INTO done (what) VALUES (''before'') RETURNING n' |=> 'n')
    ~> df.retry('SELECT 1 / (x - 3) AS x FROM broken', 2, '1 ms', retry_on => '{22012}')) AS id \gset
SELECT df.await_instance(:'id');
--> failed
SELECT df.rerun(:'id') AS again \gset
SELECT df.await_instance(:'again');
--> failed
SELECT count(*) FROM df.history(:'again') WHERE status = 'failed';
--> 2
UPDATE broken SET x = 4;
SELECT df.rerun(:'again') AS third \gset
SELECT df.await_instance(:'third'), df.result(:'third');
--> completed|{"rows":[{"x":1}],"row_count":1}
SELECT count(*) FROM done WHERE what = 'before';
--> 1

-- what has been undone runs again, and so does what follows it; what ran before it does not
SELECT df.start('INSERT INTO done (what) VALUES (''kept'')'
    ~> df.compensate('INSERT INTO done (what) VALUES (''booked'')', 'INSERT INTO done (what) VALUES (''unbooked'')')
    ~> 'INSERT INTO done (what) VALUES (''between'')'
    ~> 'SELECT 1 / (x - 4) AS x FROM broken') AS id \gset
SELECT df.await_instance(:'id');
--> failed
UPDATE broken SET x = 5;
SELECT df.rerun(:'id') AS again \gset
SELECT df.await_instance(:'again'), df.result(:'again');
--> completed|{"rows":[{"x":1}],"row_count":1}
SELECT what, count(*) FROM done WHERE what IN ('kept', 'booked', 'unbooked', 'between') GROUP BY what ORDER BY what;
--> between|2
--> booked|2
--> kept|1
--> unbooked|1
\verbose
SELECT id AS last FROM df.nodes WHERE instance_id = :'id' AND query LIKE 'SELECT 1 / (x%' \gset
SELECT df.rerun(:'id', :'last');
--! 55000: what node ":last" builds on has been undone
--! hint: Run again from node "00000005" or one before it.
SELECT df.rerun(:'id', '00000007');
--! 0A000: cannot run again from inside a cleanup
--! detail: Node "00000007" is inside the COMPENSATE "00000005".
--! hint: Run again from node "00000005".

-- a saga that was undone and caught belongs to the past
SELECT df.start(df.catch(df.saga(df.compensate('INSERT INTO done (what) VALUES (''in saga'')', 'INSERT INTO done (what) VALUES (''undone'')') ~> 'SELECT 1 / 0'), 'SELECT ''sorry'' AS said')
    ~> 'SELECT 1 / (x - 5) AS x FROM broken') AS id \gset
SELECT df.await_instance(:'id');
--> failed
UPDATE broken SET x = 6;
SELECT df.rerun(:'id') AS again \gset
SELECT df.await_instance(:'again'), df.result(:'again');
--> completed|{"rows":[{"x":1}],"row_count":1}
SELECT what, count(*) FROM done WHERE what IN ('in saga', 'undone') GROUP BY what ORDER BY what;
--> in saga|1
--> undone|1

-- cleanups run again at the end; in parallel, of a map and in a race
SELECT df.start(df.finally('INSERT INTO done (what) VALUES (''work'') RETURNING n' ~> 'SELECT 1 / (x - 6) AS x FROM broken', 'INSERT INTO done (what) VALUES (''tidied'')')) AS id \gset
SELECT df.await_instance(:'id');
--> failed
UPDATE broken SET x = 7;
SELECT df.rerun(:'id') AS again \gset
SELECT df.await_instance(:'again'), df.result(:'again');
--> completed|{"rows":[{"x":1}],"row_count":1}
SELECT what, count(*) FROM done WHERE what IN ('work', 'tidied') GROUP BY what ORDER BY what;
--> tidied|2
--> work|1
SELECT df.start(df.map('SELECT generate_series(1, 3) AS k', 'INSERT INTO done (what) SELECT ''item '' || $item.k ') ~> 'SELECT 1 / (x - 7) AS x FROM broken') AS id \gset
SELECT df.await_instance(:'id');
--> failed
UPDATE broken SET x = 8;
SELECT df.rerun(:'id') AS again \gset
SELECT df.await_instance(:'again'), df.result(:'again');
--> completed|{"rows":[{"x":1}],"row_count":1}
SELECT what, count(*) FROM done WHERE what LIKE 'item%' GROUP BY what ORDER BY what;
--> item 1|1
--> item 2|1
--> item 3|1
SELECT df.rerun(:'id', '00000004');
--! 0A000: cannot run again from inside an item
--! detail: Node "00000004" is inside the MAP "00000002".
--! hint: Run again from node "00000002".
SELECT df.start(df.transaction('INSERT INTO done (what) VALUES (''together'')', 'SELECT 1 / (x - 8) AS x FROM broken')) AS id \gset
SELECT df.await_instance(:'id');
--> failed
UPDATE broken SET x = 9;
SELECT df.rerun(:'id', '00000003');
--! 0A000: cannot run again from inside a transaction
--! detail: Node "00000003" is inside the TRANSACTION "00000001".
--! hint: Run again from node "00000001".
SELECT df.rerun(:'id') AS again \gset
SELECT df.await_instance(:'again'), df.result(:'again');
--> completed|{"rows":[{"x":1}],"row_count":1}
SELECT count(*) FROM done WHERE what = 'together';
--> 1
SELECT df.start(df.race('SELECT 1 / (x - 9) AS x FROM broken', df.sleep(1000))) AS id \gset
SELECT df.await_instance(:'id');
--> failed
UPDATE broken SET x = 10;
SELECT df.rerun(:'id') AS again \gset
SELECT df.await_instance(:'again'), df.result(:'again');
--> completed|{"rows":[{"x":1}],"row_count":1}
