-- empty statement
;
-- one row
SELECT 1 AS a, 'text' AS b, NULL AS c, 1.50::numeric AS d, true AS e
-- many rows
SELECT n, repeat('x', n % 100) FROM generate_series(1, 5000) AS n
-- no column
SELECT FROM generate_series(1, 3)
-- a wide value
SELECT repeat('0123456789', 200000)
-- many columns of many types
SELECT 1::int2, 2::int8, 3.25::float4, 'NaN'::float8, '\xdeadbeef'::bytea, '{1,2}'::int[], '{"a":1}'::jsonb, '[1,3)'::int4range, '1 day'::interval, '2024-02-29'::date, 'a'::"char", '(1,2)'::point
-- create a table
CREATE TABLE parity (id int PRIMARY KEY, name text NOT NULL, at date DEFAULT '2000-01-01')
-- create a type of our own
CREATE TYPE mood AS ENUM ('sad', 'happy')
-- a column of our own type
SELECT 'happy'::mood AS mood
-- insert
INSERT INTO parity SELECT n, 'name ' || n FROM generate_series(1, 20) AS n
-- insert returning
INSERT INTO parity VALUES (21, 'é😀') RETURNING *
-- update
UPDATE parity SET name = upper(name) WHERE id < 4 RETURNING id, name
-- delete
DELETE FROM parity WHERE id > 19
-- table columns are named in the description
SELECT p.id, p.name FROM parity AS p ORDER BY id LIMIT 3
-- copy in
COPY parity (id, name) FROM STDIN
-- copy out
COPY (SELECT id, name FROM parity ORDER BY id) TO STDOUT
-- copy out binary
COPY (SELECT 1, 'x'::text) TO STDOUT (FORMAT binary)
-- copy in of a wrong row
COPY parity (id, name, at) FROM STDIN
-- several statements
SELECT 1; SELECT 2 AS two; UPDATE parity SET name = name WHERE id = 1; SELECT 'last'
-- an error ends the several statements
SELECT 1; SELECT 1/0; SELECT 3
-- syntax error
SELECT * FORM parity
-- undefined column, with its position
SELECT id, nosuch FROM parity
-- unique violation
INSERT INTO parity VALUES (1, 'again')
-- not null violation
INSERT INTO parity VALUES (100, NULL)
-- notices of every level
DO $$ BEGIN RAISE NOTICE 'n'; RAISE WARNING 'w %', 1; RAISE INFO 'i'; RAISE LOG 'l'; END $$
-- raised error with everything
DO $$ BEGIN RAISE EXCEPTION 'm' USING ERRCODE = 'ZZ001', DETAIL = 'd', HINT = 'h', COLUMN = 'c', TABLE = 't'; END $$
-- begin
BEGIN
-- an error in a transaction
SELECT 1/0
-- ignored until the end of the transaction
SELECT 1
-- rollback
ROLLBACK
-- savepoints
BEGIN; SAVEPOINT a; INSERT INTO parity VALUES (200, 'x'); ROLLBACK TO a; COMMIT; SELECT count(*) FROM parity
-- a cursor
BEGIN; DECLARE c CURSOR FOR SELECT generate_series(1, 10); FETCH 3 FROM c; MOVE 2 IN c; FETCH ALL FROM c; COMMIT
-- a reported setting
SET application_name = 'parity'
-- another reported setting
SET TIME ZONE 'Asia/Tokyo'
-- show
SHOW TIME ZONE
-- reset
RESET ALL
-- prepare and execute in SQL
PREPARE p (int) AS SELECT $1 + 1 AS next; EXECUTE p(41); DEALLOCATE p
-- listen
LISTEN parity
-- notify oneself
NOTIFY parity, 'payload'
-- unlisten
UNLISTEN *
-- explain
EXPLAIN (COSTS off) SELECT * FROM parity WHERE id = 1
-- text that only looks like ours
SELECT 'df.start(1) ~> 2 |=> 3' AS text, 5 & 4 AS bits, ARRAY[1, 2] @> ARRAY[1] AS contains
-- a comment that looks like ours
SELECT 1 /* df.start('a' ~> 'b') */ -- df.loop
-- a quoted name like ours
SELECT 1 AS "df.start", 2 AS "DF"
-- a schema whose name ends like ours
SELECT pdf.x FROM (SELECT 1 AS x) AS pdf
-- constructors without operators
SELECT df.seq(df.sql('SELECT 1'), 'SELECT 2') AS graph
-- a function that we do not have
SELECT df.nosuch('a')
-- an unknown instance
SELECT df.status('00000000') AS status, df.result('00000000') AS result
-- unicode in every place
SELECT 'größe 😀' AS "größe 😀" -- 😀
-- drop the table
DROP TABLE parity
-- drop the type
DROP TYPE mood
