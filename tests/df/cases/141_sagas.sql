-- Undos: in reverse order, when the saga or the instance fails, or is cancelled.
CREATE TABLE log (n serial, what text);
CREATE FUNCTION note(text) RETURNS text LANGUAGE sql AS $$ INSERT INTO log (what) VALUES ($1) RETURNING what $$;

('SELECT note(''a'')' <-> 'SELECT note(''undo a'')') ~> ('SELECT note(''b'')' <-> 'SELECT note(''undo b'')') \run
--> completed: {"rows":[{"note":"b"}],"row_count":1}
SELECT string_agg(what, ', ' ORDER BY n) FROM log;
--> a, b
TRUNCATE log;
('SELECT note(''a'')' <-> 'SELECT note(''undo a'')') ~> ('SELECT note(''b'')' <-> 'SELECT note(''undo b'')') ~> 'SELECT 1/0' \run
--> failed: 22012 division by zero
SELECT string_agg(what, ', ' ORDER BY n) FROM log;
--> a, b, undo b, undo a
TRUNCATE log;
-- what failed itself is not undone
('SELECT note(''a'')' <-> 'SELECT note(''undo a'')') ~> ('SELECT 1/0' <-> 'SELECT note(''undo b'')') \run
--> failed: 22012 division by zero
SELECT string_agg(what, ', ' ORDER BY n) FROM log;
--> a, undo a
TRUNCATE log;
-- a saga that completes has nothing to undo any more
df.saga('SELECT note(''a'')' <-> 'SELECT note(''undo a'')') ~> 'SELECT 1/0' \run
--> failed: 22012 division by zero
SELECT string_agg(what, ', ' ORDER BY n) FROM log;
--> a
TRUNCATE log;
-- unless it has an undo itself
(df.saga('SELECT note(''a'')' <-> 'SELECT note(''undo a'')') <-> 'SELECT note(''undo all'')') ~> 'SELECT 1/0' \run
--> failed: 22012 division by zero
SELECT string_agg(what, ', ' ORDER BY n) FROM log;
--> a, undo all
TRUNCATE log;
-- a saga that fails is undone before its handler runs
df.catch(
    df.saga(('SELECT note(''a'')' |=> 'a') <-> 'SELECT note(''undo '' || $a)' ~> 'SELECT 1/0'),
    'SELECT note(''handled '' || $error.sqlstate)') \run
--> completed: {"rows":[{"note":"handled 22012"}],"row_count":1}
SELECT string_agg(what, ', ' ORDER BY n) FROM log;
--> a, undo a, handled 22012
TRUNCATE log;
-- the undo of a loser runs before the race is over
(('SELECT note(''a'')' <-> 'SELECT note(''undo a'')') ~> df.wait_for_signal('never')) | (df.wait_for_condition('SELECT count(*) > 0 FROM log', '20 milliseconds') ~> 'SELECT note(''won'')') \run
--> completed: {"rows":[{"note":"won"}],"row_count":1}
SELECT string_agg(what, ', ' ORDER BY n) FROM log;
--> a, won, undo a
TRUNCATE log;
-- in a loop each round is a saga of its own
@> (df.saga('SELECT note(''round'')' <-> 'SELECT note(''undo'')') ~> ('SELECT count(*) > 1 FROM log' ?> df.break('done'))) \run
--> completed: "done"
SELECT string_agg(what, ', ' ORDER BY n) FROM log;
--> round, round
TRUNCATE log;

SELECT df.start(('SELECT note(''a'')' <-> 'SELECT note(''undo a'')') ~> df.wait_for_signal('never')) AS id \gset
DO $$ BEGIN
    WHILE NOT EXISTS (SELECT FROM log) LOOP PERFORM pg_sleep(0.02); COMMIT; END LOOP;
END $$;
SELECT df.cancel(:'id') LIKE 'Instance%';
--> t
SELECT df.await_instance(:'id');
--> cancelled
SELECT string_agg(what, ', ' ORDER BY n) FROM log;
--> a, undo a
SELECT df.cancel(:'id') LIKE 'Instance%';
--> t
