-- df.waiting: what each instance waits for, and since when.

-- (until the instance waits for so many things)
CREATE FUNCTION until_waits(id text, n bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    WHILE (SELECT count(*) FROM df.waiting w WHERE w.instance_id = id AND w.waits_for <> 'worker') IS DISTINCT FROM n LOOP
        PERFORM pg_sleep(0.01);
    END LOOP;
END $$;

SELECT df.start(df.sleep(1000) & (df.wait_for_signal('approval', 500) & df.wait_for_signal('never')), 'three') AS id \gset
SELECT until_waits(:'id', 3);
-->
SELECT node_id, waits_for, detail, since <= now(), due > now() FROM df.waiting WHERE instance_id = :'id' ORDER BY node_id;
--> 00000002|timer|NULL|t|t
--> 00000004|signal|approval|t|t
--> 00000005|signal|never|t|NULL
SELECT df.signal(:'id', 'approval');
--> OK
SELECT until_waits(:'id', 2);
-->
SELECT node_id, waits_for, detail FROM df.waiting WHERE label = 'three' ORDER BY node_id;
--> 00000002|timer|NULL
--> 00000005|signal|never
SELECT df.cancel(:'id') IS NULL;
--> f
SELECT count(*) FROM df.waiting;
--> 0

SELECT df.start(df.wait_for_schedule('0 0 29 2 *'), 'leap day') AS id \gset
SELECT until_waits(:'id', 1);
-->
SELECT label, node_id, waits_for, to_char(due AT TIME ZONE 'UTC', 'MM-DD HH24:MI') FROM df.waiting;
--> leap day|00000001|schedule|02-29 00:00

SELECT df.start(df.retry('SELECT 1 / 0', 3, '1 hour', retry_on => '{22012}'), 'again') AS id \gset
SELECT until_waits(:'id', 1);
-->
SELECT node_id, waits_for, due > now() FROM df.waiting WHERE instance_id = :'id';
--> 00000001|retry|t

-- nobody else's
\as other
SELECT count(*) FROM df.waiting;
--> 0
