-- What may not be meant, and how an expression reads.
SELECT code, severity, message, hint FROM df.lint($$ 'SELECT 1' ~> 'SELECT 2' & 'SELECT 3' $$);
--> precedence|warning|& binds no tighter than what stands before it|It reads ('SELECT 1' ~> 'SELECT 2') & 'SELECT 3': put parentheses where you mean something else.
SELECT code, node FROM df.lint($$ 'SELECT 1' ~> ('SELECT 2' & 'SELECT 3') $$);
--> (no rows)
SELECT code, line, col FROM df.lint($$
    ('SELECT 1' |=> 'x') & 'SELECT 2' |=> 'y' $$);
--> precedence|2|39
SELECT code, node, message, hint FROM df.lint($$ @> df.sleep(1) ~> 'DELETE FROM t' $$);
--> unreachable|00000002|what follows an endless loop never runs|Put the body in parentheses, as in @> (a ~> b), or leave the loop with df.break().
SELECT code, node, hint FROM df.lint($$ df.retry('INSERT INTO t VALUES (1)' ~> 'DELETE FROM t') $$);
--> retry-repeats|00000001|Put it around single steps, or the steps into df.transaction().
SELECT code, severity, message, node, hint FROM df.lint($$ @> ('SELECT 1' <-> 'SELECT 2') $$);
--> refused|error|df.compensate() cannot be in a loop, where it would run again and again|00000002|Put df.saga() around it, inside what is repeated.
SELECT code, node FROM df.lint(df.sql('VACUUM t'));
--> at-least-once|00000001
SELECT df.start((df.wait_for_signal('x') |=> 'x') & (df.wait_for_signal('y') |=> 'x')) AS id \gset
SELECT code, node, message FROM df.lint(:'id');
--> name-bound-twice|00000001|two branches bind "x"
DO $$ BEGIN
    WHILE (SELECT count(*) FROM df.waiting WHERE waits_for = 'signal') < 2 LOOP
        PERFORM pg_sleep(0.01);
    END LOOP;
END $$;
SELECT df.explain(:'id', true);
--> Instance: :id
--> Status:   ⏳ Running
-->
--> JOIN ⏳
-->     branch 1:
-->         SIGNAL 'x' |=> 'x' ⏳
-->     branch 2:
-->         SIGNAL 'y' |=> 'x' ⏳
--> Reads: (df.wait_for_signal('x') |=> 'x') & (df.wait_for_signal('y') |=> 'x')
SELECT df.cancel(:'id') LIKE 'Instance%';
--> t
SELECT df.explain($$ 'a' ~> 'b' | df.sleep(5) $$);
--> RACE
-->     branch 1:
-->         SQL: a
-->         → SQL: b
-->     branch 2:
-->         SLEEP 5s
--> Reads: ('a' ~> 'b') | df.sleep(5)
SELECT df.explain(df.retry('a' ~> 'b', 5, retry_on => '{40}') |=> 'x', true);
--> RETRY up to 5 attempts, after 1s x 2 up to 300s, on 40 |=> 'x'
-->     body:
-->         SQL: a
-->         → SQL: b
--> Reads: df.retry('a' ~> 'b', max_attempts => 5, retry_on => '{40}') |=> 'x'
SELECT df.explain('SELECT 1', false);
--> SQL: SELECT 1
-- what is wrong is told, not raised
SELECT df.explain($$ df.loop('a') ~> 'b' & df.break() $$, true) LIKE 'Invalid durable function graph: %';
--> t
SELECT df.explain('ffffffff', true);
--> Instance 'ffffffff' not found
