-- df.history: every attempt of every step.

-- (until the instance waits for so many things)
CREATE FUNCTION until_waits(id text, n bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    WHILE (SELECT count(*) FROM df.waiting w WHERE w.instance_id = id AND w.waits_for <> 'worker') IS DISTINCT FROM n LOOP
        PERFORM pg_sleep(0.01);
    END LOOP;
END $$;

SELECT df.start('SELECT 1' ~> df.sleep(0) ~> ('SELECT 1 / 0' & 'SELECT pg_sleep(0.1)')) AS id \gset
SELECT df.await_instance(:'id');
--> failed
SELECT node_id, node_type, path, attempt, status, sqlstate, error FROM df.history(:'id') ORDER BY 1;
--> 00000003|SQL||1|completed|NULL|NULL
--> 00000004|SLEEP||1|completed|NULL|NULL
--> 00000006|SQL||1|failed|22012|division by zero
--> 00000007|SQL||1|completed|NULL|NULL
SELECT bool_and(started_at <= finished_at AND duration = finished_at - started_at) FROM df.history(:'id');
--> t
SELECT duration BETWEEN '100 ms' AND '5 s' FROM df.history(:'id') WHERE node_id = '00000007';
--> t

-- a step that runs has no end yet
SELECT df.start(df.wait_for_signal('go')) AS id \gset
SELECT until_waits(:'id', 1);
-->
SELECT node_type, status, started_at IS NULL, finished_at, duration FROM df.history(:'id');
--> SIGNAL|running|f|NULL|NULL
SELECT df.cancel(:'id') IS NULL;
--> f

-- failed attempts stay when they are tried again
SELECT df.start(df.retry('SELECT 1 / 0', 3, '1 ms', retry_on => '{22012}')) AS id \gset
SELECT df.await_instance(:'id');
--> failed
SELECT node_type, path, attempt, status, sqlstate FROM df.history(:'id');
--> SQL|~0|1|failed|22012
--> SQL|~1|2|failed|22012
--> SQL|~2|3|failed|22012

-- nobody else's
\as other
SELECT count(*) FROM df.history(:'id');
--> 0
\as me
SELECT count(*) FROM df.history('00000000');
--> 0
SELECT count(*) FROM df.history(NULL);
--> 0
