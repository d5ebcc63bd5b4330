-- Expressions inside DO blocks, functions, procedures and triggers.

CREATE TABLE done (n serial, what text);
CREATE TABLE started (n serial, id text);
CREATE TABLE orders (id int PRIMARY KEY);

DO $$
BEGIN
    INSERT INTO started (id) VALUES (df.start('INSERT INTO done (what) VALUES (''do'')' ~> 'SELECT 1' |=> 'x'));
END $$;

CREATE FUNCTION start_one(what text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    graph text := df.sql(format('INSERT INTO done (what) VALUES (%L)', what)) ~> 'SELECT 1 AS n';
BEGIN
    graph := graph |=> 'r' ~> ('$r > 0' ?> 'SELECT 2' !> 'SELECT 3');
    RETURN df.start(graph, what);
END $$;
CREATE FUNCTION start_sql(what text) RETURNS text LANGUAGE sql AS $$
    SELECT df.start(df.sleep(0) & df.sql(format('INSERT INTO done (what) VALUES (%L)', what)))
$$;
CREATE PROCEDURE start_two() LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO started (id) VALUES (start_one('procedure'));
    COMMIT;
    INSERT INTO started (id) VALUES (df.start('INSERT INTO done (what) VALUES (''after commit'')' | df.sleep(1000)));
END $$;
CREATE FUNCTION on_order() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO started (id) VALUES (df.start(
        format('SELECT %s AS id', NEW.id) |=> 'o' ~> 'INSERT INTO done (what) VALUES (''order $o.id'')'));
    RETURN NEW;
END $$;
CREATE TRIGGER on_order AFTER INSERT ON orders FOR EACH ROW EXECUTE FUNCTION on_order();

INSERT INTO started (id) SELECT start_one('function');
INSERT INTO started (id) SELECT start_sql('sql function');
CALL start_two();
INSERT INTO orders VALUES (1), (2);
BEGIN;
INSERT INTO orders VALUES (3);
ROLLBACK;
SELECT count(*) FROM started WHERE df.await_instance(id) = 'completed';
--> 7
SELECT what FROM done ORDER BY what;
--> after commit
--> do
--> function
--> order 1
--> order 2
--> procedure
--> sql function

-- other operators of the same names in a body stay what they are
CREATE FUNCTION bits(a int, b int) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    RETURN format('%s %s %s', a & b, a | b, ARRAY[a] @> ARRAY[b]) || coalesce(df.status('00000000'), ' none');
END $$;
SELECT bits(6, 3);
--> 2 7 f none
