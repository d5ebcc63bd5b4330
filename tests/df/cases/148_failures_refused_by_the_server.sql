-- only: direct. What the server refuses of failure handling, without a proxy.
\verbose
SELECT df.start(@> ('SELECT 1' <-> 'SELECT 2'));
--! 0A000: df.compensate() cannot be in a loop, where it would run again and again
--! detail: At node 00000002, number 2 of the graph in preorder.
--! hint: Put df.saga() around it, inside what is repeated.
SELECT df.start(df.map('SELECT 1', 'SELECT 1' <-> 'SELECT 2'));
--! 0A000: df.compensate() cannot be in df.map(), where it would run again and again
--! detail: At node 00000003, number 3 of the graph in preorder.
--! hint: Put df.saga() around it, inside what is repeated.
SELECT df.start('SELECT 1' <-> ('SELECT 2' <-> 'SELECT 3'));
--! 0A000: df.compensate() cannot be in an undo, where it would run again and again
--! detail: At node 00000003, number 3 of the graph in preorder.
--! hint: Put df.saga() around it, inside what is repeated.
SELECT df.start(@> df.any('SELECT 1', df.break()));
--! 0A000: df.break() cannot leave df.any()
--! detail: At node 00000004, number 4 of the graph in preorder.
--! hint: Its loop must be inside, too.
SELECT df.start(df.transaction('SELECT 1', df.sleep(1)));
--! 0A000: only SQL steps can be in df.transaction(), not SLEEP
--! hint: Everything in it is one transaction of one session. Put waits, calls and choices around it.
SELECT df.start(df.map('SELECT 1' ~> 'SELECT 2', 'SELECT 3'));
--! 0A000: the source of df.map() must be a SQL query, not THEN
--! hint: Its rows are the items: the body runs once for each.
SELECT df.start('{"node_type":"RETRY","query":"{}","left_node":{"node_type":"SQL","query":"SELECT 1"}}');
--! 22023: max_attempts must be a number, not null
--! detail: At node 00000001, number 1 of the graph in preorder.
-- names are looked at when the workflow begins
df.catch('SELECT 1', 'SELECT 2') ~> 'SELECT $error.message' \run
--> failed: "$error.message" does not name an earlier result
