-- only: simple, extended. What the proxy refuses of failure handling, with line and column.
\verbose
SELECT df.start(@> ('SELECT 1' <-> 'SELECT 2'));
--! 0A000: df.compensate() cannot be in a loop, where it would run again and again
--! detail: At node 2, line 1, column 32.
--! hint: Put df.saga() around it, inside what is repeated.
SELECT df.start('SELECT 1'
    ~> df.retry('SELECT 1' <-> 'SELECT 2'));
--! 0A000: df.compensate() cannot be in df.retry(), where it would run again and again
--! detail: At node 4, line 2, column 28.
--! hint: Put df.saga() around it, inside what is repeated.
SELECT df.start(df.map('SELECT 1', 'SELECT 1' <-> 'SELECT 2'));
--! 0A000: df.compensate() cannot be in df.map(), where it would run again and again
--! detail: At node 3, line 1, column 47.
--! hint: Put df.saga() around it, inside what is repeated.
SELECT df.start('SELECT 1' <-> ('SELECT 2' <-> 'SELECT 3'));
--! 0A000: df.compensate() cannot be in an undo, where it would run again and again
--! detail: At node 3, line 1, column 44.
--! hint: Put df.saga() around it, inside what is repeated.
SELECT df.start(@> df.map('SELECT 1', df.break()));
--! 0A000: df.break() cannot leave df.map()
--! detail: At node 4, line 1, column 39.
--! hint: Its loop must be inside, too.
SELECT df.start(@> df.any('SELECT 1', df.break()));
--! 0A000: df.break() cannot leave df.any()
--! detail: At node 4, line 1, column 39.
--! hint: Its loop must be inside, too.
SELECT df.start(@> df.finally('SELECT 1', df.break()));
--! 0A000: df.break() cannot leave the cleanup of df.finally()
--! detail: At node 4, line 1, column 43.
--! hint: Its loop must be inside, too.
SELECT df.start(df.transaction('SELECT 1', df.sleep(1)));
--! 0A000: only SQL steps can be in df.transaction(), not SLEEP
--! detail: At line 1, column 44.
--! hint: Everything in it is one transaction of one session. Put waits, calls and choices around it.
SELECT df.start(df.map('SELECT 1' ~> 'SELECT 2', 'SELECT 3'));
--! 0A000: the source of df.map() must be a SQL query, not THEN
--! detail: At line 1, column 35.
--! hint: Its rows are the items: the body runs once for each.
SELECT df.start(df.catch('SELECT 1', 'SELECT 2') ~> 'SELECT $error.message');
--! 42P02: "$error.message" does not name an earlier result
--! detail: At node 5, line 1, column 61: SELECT $error.message
--! hint: The handler of df.catch() has it.
SELECT df.start('SELECT $item.a');
--! 42P02: "$item.a" does not name an earlier result
--! detail: At node 1, line 1, column 25: SELECT $item.a
--! hint: The body of df.map() has it.
SELECT df.start(df.wait_for_condition('DELETE FROM t'));
--! 0A000: df.wait_for_condition() takes one query that changes nothing
--! detail: At node 1, line 1, column 17.
--! hint: It is asked again and again until it is true.
SELECT df.start(df.wait_for_condition('SELECT a b c'));
--! 42601: syntax error at or near "c" in a step
--! detail: At node 1, line 1, column 17.
--! hint: A step is a SQL statement as you would run it by itself.
