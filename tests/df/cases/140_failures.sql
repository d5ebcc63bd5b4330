-- Retries, timeouts, handlers and cleanups.
CREATE TABLE log (n serial, what text);
CREATE SEQUENCE tries;
CREATE FUNCTION flaky(times int, state text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    IF nextval('tries') <= times THEN
        RAISE EXCEPTION 'not yet' USING ERRCODE = state;
    END IF;
    RETURN 'done';
END $$;

-- a sequence is not rolled back: it counts the attempts
df.retry('SELECT flaky(2, ''55P03'')', backoff => '10 milliseconds') \run
--> completed: {"rows":[{"flaky":"done"}],"row_count":1}
SELECT last_value FROM tries;
--> 3
ALTER SEQUENCE tries RESTART;
df.retry('SELECT flaky(2, ''P0001'')', backoff => '10 milliseconds') \run
--> failed: P0001 not yet
SELECT last_value FROM tries;
--> 1
ALTER SEQUENCE tries RESTART;
df.retry('SELECT flaky(2, ''P0001'')', backoff => '10 milliseconds', retry_on => '{P0}') \run
--> completed: {"rows":[{"flaky":"done"}],"row_count":1}
ALTER SEQUENCE tries RESTART;
df.retry('SELECT flaky(9, ''P0001'')', 2, '10 milliseconds', retry_on => '{P000x,40}') \run
--> failed: P0001 not yet
SELECT last_value FROM tries;
--> 2
ALTER SEQUENCE tries RESTART;
-- all of what is retried runs again, and what has committed has happened twice
df.retry('INSERT INTO log (what) VALUES (''twice'')' ~> 'SELECT flaky(1, ''55P03'')', backoff => '10 milliseconds') \run
--> completed: {"rows":[{"flaky":"done"}],"row_count":1}
SELECT count(*) FROM log;
--> 2
-- in one transaction it has not
ALTER SEQUENCE tries RESTART;
TRUNCATE log;
df.retry(df.transaction('INSERT INTO log (what) VALUES (''once'')', 'SELECT flaky(1, ''55P03'')'), backoff => '10 milliseconds') \run
--> completed: {"rows":[{"flaky":"done"}],"row_count":1}
SELECT count(*) FROM log;
--> 1

df.timeout('SELECT 1 AS a', '1 minute') \run
--> completed: {"rows":[{"a":1}],"row_count":1}
df.timeout('SELECT pg_sleep(60)', '50 milliseconds') \run
--> failed: 57014 timeout of 0.05 s expired
df.timeout(df.sleep(60) ~> 'SELECT 1', '50 milliseconds') \run
--> failed: 57014 timeout of 0.05 s expired
df.retry(df.timeout('SELECT pg_sleep(60)', '50 milliseconds'), 2, '10 milliseconds') \run
--> failed: 57014 timeout of 0.05 s expired

df.catch('SELECT 1 AS a', 'SELECT 2 AS b') \run
--> completed: {"rows":[{"a":1}],"row_count":1}
df.catch('SELECT 1/0', 'SELECT $error.message AS m, $error.sqlstate AS s, $error.node_id AS n, $error.attempt AS a') \run
--> completed: {"rows":[{"m":"division by zero","s":"22012","n":"00000002","a":"1"}],"row_count":1}
df.catch('SELECT 1/0', 'SELECT nothing') \run
--> failed: 22012 division by zero
df.catch(df.timeout('SELECT pg_sleep(60)', '50 milliseconds'), 'SELECT $error.sqlstate AS s') \run
--> completed: {"rows":[{"s":"57014"}],"row_count":1}
df.catch(df.retry('SELECT flaky(9, ''P0001'')', 3, '10 milliseconds', retry_on => '{P0}'), 'SELECT $error.attempt AS attempt') \run
--> completed: {"rows":[{"attempt":"3"}],"row_count":1}
-- the innermost one is meant
df.catch('SELECT 1/0', df.catch('SELECT ''x''::int', 'SELECT $error.sqlstate AS s')) \run
--> completed: {"rows":[{"s":"22P02"}],"row_count":1}
-- what the body bound before it failed can be asked for
df.catch(('SELECT 7 AS a' |=> 'x') ~> 'SELECT 1/0', 'SELECT $x AS x, $error.sqlstate AS s') \run
--> completed: {"rows":[{"x":7,"s":"22012"}],"row_count":1}
@> df.catch(df.break('out'), 'SELECT 1') \run
--> completed: "out"

TRUNCATE log RESTART IDENTITY;
df.finally('SELECT 1 AS a', 'INSERT INTO log (what) VALUES (''tidy'')') \run
--> completed: {"rows":[{"a":1}],"row_count":1}
df.finally('SELECT 1/0', 'INSERT INTO log (what) VALUES (''tidy after a failure'')') \run
--> failed: 22012 division by zero
df.finally('SELECT 1 AS a', 'SELECT 1/0') \run
--> failed: 22012 division by zero
df.finally(df.sleep(60), 'INSERT INTO log (what) VALUES (''tidy after the race'')') | 'SELECT ''won'' AS v FROM pg_sleep(1)' \run
--> completed: {"rows":[{"v":"won"}],"row_count":1}
SELECT what FROM log ORDER BY n;
--> tidy
--> tidy after a failure
--> tidy after the race

SELECT df.start(df.finally(
    'INSERT INTO log (what) VALUES (''begun'')' ~> df.wait_for_signal('never'),
    'INSERT INTO log (what) VALUES (''tidy after a cancel'')')) AS id \gset
DO $$ BEGIN
    WHILE NOT EXISTS (SELECT FROM log WHERE what = 'begun') LOOP PERFORM pg_sleep(0.02); COMMIT; END LOOP;
END $$;
SELECT df.cancel(:'id', 'enough') LIKE '%cancelled: enough';
--> t
SELECT df.await_instance(:'id');
--> cancelled
SELECT what FROM log ORDER BY n DESC LIMIT 1;
--> tidy after a cancel
