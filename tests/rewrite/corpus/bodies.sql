-- Scripts with bodies. Each is run twice: as it is with df on the search_path, and rewritten
-- without; both leave the same rows in "made" and start the same graphs. What follows "later" is
-- never rewritten: it runs in another session that does not know of the proxy.

-- script: a block with variables as operands
DO $$
DECLARE
    first  text := 'SELECT 1';
    second text;
    graph  text;
BEGIN
    second := 'SELECT 2' ~> first;          -- a ~> b in a comment
    graph := df.seq(first & second, first | 'SELECT 3');
    INSERT INTO made(graph) VALUES (graph), (first |=> 'x' ~> second), (df.join(@> first, second));
    PERFORM df.start(graph ~> 'SELECT ''~>''', 'a ~> b');
    graph := df.start(('SELECT true' ?> first !> second) ~> second);
    INSERT INTO made(graph) VALUES ('5 & 4 = ' || (5 & 4)::text);
END $$;

-- script: a block in plain quotes, with a loop over rows
CREATE TABLE work (id int, task text, flags int);
INSERT INTO work VALUES (1, 'SELECT 10', 7), (2, 'SELECT ''twenty''', 6), (3, 'SELECT 30', 8);
DO LANGUAGE plpgsql '
<<outer_block>>
DECLARE
    r record;
    chain text;
BEGIN
    FOR r IN SELECT * FROM work WHERE flags & 2 = 2 ORDER BY id LOOP
        chain := CASE WHEN chain IS NULL THEN r.task ELSE chain ~> r.task END;
        PERFORM df.start(r.task |=> ''r'' ~> (r.task & ''SELECT $r''), ''task '' || r.id);
    END LOOP;
    INSERT INTO made(graph) SELECT df.race(task | chain, chain) FROM work WHERE id | 1 = 3 ORDER BY id;
    IF df.join(chain & ''TABLE é😀'', chain) LIKE ''%😀%'' THEN
        INSERT INTO made(graph) VALUES (chain);
    END IF;
END outer_block';

-- script: a block in an escape string
DO E'DECLARE\n\tx text := \'SELECT \'\'a\\\\nb\'\'\';\nBEGIN\n\tPERFORM df.start(x ~> \'SELECT 1\' & x);\nEND';

-- script: SQL in a block
DO $do$
DECLARE id text; n int;
BEGIN
    WITH started AS (SELECT df.start(a ~> b & c) AS id FROM (VALUES ('SELECT 1', 'SELECT 2', 'SELECT 3')) AS v(a, b, c))
    SELECT started.id INTO id FROM started;
    INSERT INTO made(graph) SELECT df.loop(@> q ~> df.break()) FROM unnest(ARRAY['SELECT 1', 'SELECT 2']) AS q;
    UPDATE made SET graph = graph ~> 'SELECT 9' WHERE graph LIKE '%LOOP%';
    CREATE TEMP TABLE t ON COMMIT DROP AS SELECT df.if('SELECT true', q & q, q | q) AS graph FROM unnest(ARRAY['SELECT 5']) AS q;
    INSERT INTO made(graph) SELECT graph FROM t;
    EXECUTE $x$ INSERT INTO made(graph) VALUES ('df.start(''a'' ~> ''b'')') $x$;
    EXECUTE 'SELECT $1 || ''' || '~>''' INTO id USING 'data';
    INSERT INTO made(graph) VALUES (id);
END
$do$;

-- script: errors that a block catches
DO $$
BEGIN
    PERFORM df.start('SELECT 1' |=> 'no name' ~> 'SELECT 2');
    RAISE EXCEPTION 'not reached';
EXCEPTION WHEN invalid_parameter_value THEN
    INSERT INTO made(graph) VALUES (SQLERRM);
END $$;

-- script: functions and procedures
CREATE FUNCTION in_plpgsql(a text, b text DEFAULT 'SELECT 8' ~> 'SELECT 9') RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    RETURN a ~> df.seq(@> (b | a), $1 & $2) |=> 'last';
END $$;
CREATE FUNCTION in_sql(a text) RETURNS text LANGUAGE sql AS 'SELECT 5 & 4; SELECT df.sql(a) & ''SELECT ''''q'''''' & $1';
CREATE OR REPLACE PROCEDURE starts(n int) LANGUAGE plpgsql AS $proc$
DECLARE task text := 'SELECT ' || n;
BEGIN
    PERFORM df.start(task ~> task & task, label => 'n & ' || (n & 3));
END $proc$;
CREATE PROCEDURE starts_in_sql(task text) LANGUAGE sql AS $proc$
    INSERT INTO made(graph) VALUES (df.explain(task ~> task));
    SELECT df.start(task |=> 'x' ~> ('SELECT $x' & task));
$proc$;
CALL starts(1);
-- later
INSERT INTO made(graph) VALUES (in_plpgsql('SELECT 1')), (in_plpgsql('SELECT 1', 'SELECT 2')), (in_sql('SELECT 3'));
CALL starts(2);
CALL starts_in_sql('SELECT 4');

-- script: bodies that the server parses when it defines the function
CREATE FUNCTION returns(a text) RETURNS text RETURN a ~> df.race(a | 'SELECT 1', a);
CREATE FUNCTION atomic(a text) RETURNS text BEGIN ATOMIC
    SELECT 5 | 4;
    SELECT df.start(a & 'SELECT 2' ~> 'SELECT ''~>''') ;
    SELECT df.seq(a, a) ~> @> a;
END;
-- later
INSERT INTO made(graph) VALUES (returns('SELECT 1')), (atomic('SELECT 3'));

-- script: triggers and their conditions
CREATE TABLE watched (a text, b text);
CREATE FUNCTION on_insert() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM df.start(NEW.a ~> NEW.b & NEW.a, TG_NAME);
    NEW.b := NEW.b ~> NEW.a;
    RETURN NEW;
END $$;
CREATE TRIGGER watch BEFORE INSERT ON watched FOR EACH ROW
    WHEN (df.seq(NEW.a & NEW.b, 'SELECT 1') <> 'SELECT 0' ~> 'SELECT 1') EXECUTE FUNCTION on_insert();
-- later
INSERT INTO watched VALUES ('SELECT 1', 'SELECT 2');
INSERT INTO made(graph) SELECT b FROM watched;

-- script: views, rules and defaults
CREATE TABLE tasks (task text, graph text DEFAULT df.join('SELECT 1' | 'SELECT 2', 'SELECT 3'));
CREATE VIEW as_graph AS SELECT df.seq(task & task, 'SELECT 1') AS graph, 5 & 4 AS four FROM tasks;
CREATE MATERIALIZED VIEW kept AS SELECT 'SELECT 1' ~> 'SELECT 2' |=> 'x' & df.sql('SELECT 3') AS graph;
CREATE RULE note AS ON INSERT TO tasks DO ALSO INSERT INTO made(graph) VALUES (df.race(NEW.task | NEW.task, 'SELECT 7'));
-- later
INSERT INTO tasks VALUES ('SELECT 4');
INSERT INTO made(graph) SELECT graph FROM as_graph UNION ALL SELECT graph FROM kept UNION ALL SELECT graph FROM tasks;
