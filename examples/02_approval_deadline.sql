-- A request waits for somebody's decision, but not for ever.

CREATE TABLE requests (id int PRIMARY KEY, what text, state text DEFAULT 'open', decided_by text);
INSERT INTO requests VALUES (1, 'a laptop'), (2, 'a boat');

CREATE FUNCTION approval(request int, seconds int) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    RETURN df.start(
        (   (df.wait_for_signal('decision') |=> 'd')
         ~> format('UPDATE requests SET state = $d.data->>''verdict'', decided_by = $d.data->>''by''
                    WHERE id = %s', request))
      | (   df.sleep(seconds)
         ~> format('UPDATE requests SET state = ''expired'' WHERE id = %s', request)),
        'approval of ' || request);
END $$;

SELECT approval(1, 3600) AS first, approval(2, 1) AS second \gset

-- for the first one there is a decision, for the second the time runs out
SELECT df.signal(:'first', 'decision', '{"verdict": "granted", "by": "ann"}');
--> OK
SELECT df.await_instance(:'first');
--> completed
SELECT df.await_instance(:'second');
--> completed
SELECT * FROM requests ORDER BY id;
--> 1|a laptop|granted|ann
--> 2|a boat|expired|NULL

-- a decision that comes too late is told so
SELECT df.signal(:'second', 'decision', '{"verdict": "granted", "by": "bob"}');
--! 55000: instance ":second" is completed
