-- Every Sunday at three, UTC: asks for an approval, for two hours at most, and cleans up if there
-- is one. The loop has no end of its own; "last" in the approval is one.

CREATE TABLE sessions (id serial PRIMARY KEY, expired boolean);
CREATE TABLE maintenance (n serial PRIMARY KEY, approved_by text, removed bigint);
INSERT INTO sessions (expired) SELECT n % 2 = 0 FROM generate_series(1, 10) n;

SELECT df.start(
    @> (   df.wait_for_schedule('0 3 * * sun')
        ~> (df.wait_for_signal('approve', 7200) |=> 'approval')
        ~> ('NOT $approval.timed_out' ?> (
                ('DELETE FROM sessions WHERE expired RETURNING id' |=> 'removed')
             ~> 'INSERT INTO maintenance (approved_by, removed)
                 SELECT $approval.data->>''by'', count(*) FROM $removed.*'))
        ~> ('($approval.data?->>''last'')::bool' ?> df.break('"over"'))),
    'maintenance') AS id \gset

-- approvals may be given ahead: they wait in the mailbox, in order
SELECT df.signal(:'id', 'approve', '{"by": "ann"}'), df.signal(:'id', 'approve', '{"by": "bob", "last": true}');
--> OK|OK
SELECT df.await_instance(:'id');
--> completed
SELECT df.result(:'id');
--> "over"
SELECT approved_by, removed FROM maintenance ORDER BY n;
--> ann|5
--> bob|0
SELECT execution_count FROM df.list_instances(NULL, 1, 'maintenance');
--> 2
