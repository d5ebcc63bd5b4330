-- How failure handling is shown.
CREATE TABLE log (n serial, what text);
SELECT df.start(
    df.catch(
        df.saga(('INSERT INTO log (what) VALUES (''a'')' <-> 'INSERT INTO log (what) VALUES (''undo a'')')
             ~> df.retry('SELECT 1/0', 2, '10 milliseconds', retry_on => '{22}')),
        df.map('SELECT what FROM log ORDER BY n', 'SELECT $item.what AS v') |=> 'done')
 ~> df.finally(df.transaction('SELECT 1', 'SELECT 2'), df.timeout('SELECT 3', '1 minute'))) AS id \gset
SELECT df.await_instance(:'id');
--> completed
SELECT df.explain(:'id');
--> Instance: :id
--> Status:   ✓ Completed
--> Output:   {"rows":[{"?column?":2}],"row_count":1}
-->
--> CATCH ✓
-->     body:
-->         SAGA ✗
-->             body:
-->                 COMPENSATE ✓
-->                     body:
-->                         SQL: INSERT INTO log (what) VALUES ('a') ✓
-->                     undo:
-->                         SQL: INSERT INTO log (what) VALUES ('undo a') ✓
-->                 → RETRY up to 2 attempts, after 0.01s x 2 up to 300s, on 22 ✗ attempt 2 of 2
-->                     body:
-->                         SQL: SELECT 1/0 ✗
-->                              error: division by zero (SQLSTATE 22012)
-->     handler:
-->         MAP 10 at a time |=> 'done' ✓ 2 of 2 items
-->              = [{"rows":[{"v":"a"}],"row_count":1},{"rows":[{"v":"undo a"}],"row_count":1}]
-->             source:
-->                 SQL: SELECT what FROM log ORDER BY n ✓
-->             for each:
-->                 SQL: SELECT $item.what AS v ✓ 2
--> → FINALLY ✓
-->     body:
-->         TRANSACTION ✓
-->             step 1:
-->                 SQL: SELECT 1 ✓
-->             step 2:
-->                 SQL: SELECT 2 ✓
-->     cleanup:
-->         TIMEOUT 60s ✓
-->             body:
-->                 SQL: SELECT 3 ✓
SELECT node_id, node_type, status, inferred_status FROM df.instance_nodes(:'id');
--> 00000001|THEN|completed|completed
--> 00000002|CATCH|completed|completed
--> 00000003|SAGA|failed|failed
--> 00000004|THEN|failed|failed
--> 00000005|COMPENSATE|completed|completed
--> 00000006|SQL|completed|completed
--> 00000007|SQL|completed|completed
--> 00000008|RETRY|failed|failed
--> 00000009|SQL|failed|failed
--> 0000000a|MAP|completed|completed
--> 0000000b|SQL|completed|completed
--> 0000000c|SQL|completed|completed
--> 0000000d|FINALLY|completed|completed
--> 0000000e|TRANSACTION|completed|completed
--> 0000000f|SQL|completed|completed
--> 00000010|SQL|completed|completed
--> 00000011|TIMEOUT|completed|completed
--> 00000012|SQL|completed|completed
