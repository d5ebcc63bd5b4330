-- One statement per line: the rewriter forwards each byte for byte.

-- no df call at all, or df only as data
SELECT 1
SELECT 'df.start(x)' AS text
SELECT * FROM pdf.files WHERE a & b = 0
SELECT "df".x FROM "df" WHERE "df".tags @> '{x}'
SELECT $$ df.start('a' ~> 'b') $$
-- operators that mean something else
SELECT * FROM t WHERE tags @> '{x}' AND df.status(id) = 'completed'
SELECT df.status('a'), 5 & 4, 5 | 4, B'10' & B'01', inet '10.0.0.1' & inet '255.0.0.0'
SELECT df.status('a') FROM cubes ORDER BY c ~> 1
SELECT df.status('a'), c ~> n FROM cubes
SELECT df.status('a') WHERE flags & 4 | 2 & mask <> 0
SELECT df.version(), a @> b, '{1}'::int[] @> ARRAY[1], data @> '{"a":1}'
SELECT df.status('a') FROM words ORDER BY word <-> 'wrod'
SELECT df.result(id)::jsonb ?| array['a'], df.result(id)::jsonb ? 'a' FROM t
SELECT df.status(id) FROM t WHERE range @> 5 AND ltree_path ~ '*.a' AND tsquery_a && tsquery_b
-- inside another function, a cast or a concatenation nothing is ours
SELECT df.start('UPDATE t SET f = ' || (5 & 4)::text)
SELECT df.start(format('UPDATE t SET f = %s', 5 & 4))
SELECT df.start('SELECT ' || (a | b) || ' + 1') FROM t
SELECT df.start(CASE WHEN flags & 4 = 4 THEN 'SELECT 1' ELSE 'SELECT 2' END) FROM t
SELECT df.start(coalesce(x, 'SELECT 1'), (5 | 1)::text) FROM t
SELECT df.start('SELECT 1', label => 'l' || (5 & 1))
SELECT df.sleep(5 & 4), df.wait_for_signal('a', 5 | 3)
-- already qualified
SELECT df.start('SELECT 1' OPERATOR(df.~>) 'SELECT 2')
SELECT df.start('SELECT 1' OPERATOR(public.~>) 'SELECT 2')
-- no operator to qualify, nothing wrong
SELECT df.start('SELECT 1')
SELECT df.start(df.seq('SELECT 1', 'SELECT 2'), 'label')
SELECT df.start($1, $2)
SELECT df.start('SELECT * FROM {tbl} WHERE a ==== 1')
SELECT df.start('')|| 'x' FROM
-- bodies without df, or with df only as data
DO $$ BEGIN PERFORM c ~> 'a'; x := a & b; END $$
DO $$ BEGIN PERFORM a ~> b; /* df.start(a ~> b) */ EXECUTE 'SELECT df.start(''a'' ~> ''b'')'; END $$
CREATE FUNCTION f(c cube) RETURNS float8 LANGUAGE sql AS 'SELECT c ~> n -- df.x'
CREATE FUNCTION df.f(c cube) RETURNS float8 LANGUAGE sql AS 'SELECT c ~> n'
CREATE FUNCTION f() RETURNS text LANGUAGE sql BEGIN ATOMIC SELECT c ~> n FROM cubes; END
-- in bodies with df, what means something else
DO $$ BEGIN PERFORM df.status('a'), c ~> 1, a OPERATOR(df.~>) b, a OPERATOR(~>) b; END $$
DO $$ BEGIN PERFORM df.status('a'), 5 & 4, 5 | 4, tags @> '{x}', x.df.y; END $$
DO $$ BEGIN x := df.status(a | b); y := df.sleep(5 & 4); PERFORM df.start(x || (a & b)::text); END $$
DO $$ BEGIN PERFORM df.version(); DROP OPERATOR ~> (text, text); END $$
DO $$ BEGIN PERFORM df.version(); CREATE TABLE t (c cube, EXCLUDE USING gist (c WITH ~>)); END $$
DO $$ BEGIN PERFORM df.version(); EXECUTE 'SELECT ''a'' ~> ''b'''; EXECUTE $q$SELECT 'a' ~> 'b'$q$; END $$
-- literals and languages that are not read
DO U&'BEGIN PERFORM df.start(a ~> b); END'
DO LANGUAGE plpython3u $$ df.start(a ~> b) $$
DO E'BEGIN PERFORM df.start(a ~> \xc3\xa9); END'
CREATE FUNCTION f() RETURNS text LANGUAGE c AS 'df.start(a ~> b)', 'f'
CREATE FUNCTION f() RETURNS text AS $$ SELECT df.start(a ~> b) $$
-- definitions are stored as they are, whatever they start
CREATE FUNCTION f() RETURNS text LANGUAGE sql AS $$ SELECT df.start('SELEC') $$
CREATE FUNCTION f() RETURNS text LANGUAGE sql BEGIN ATOMIC SELECT df.start('a'); END
CREATE PROCEDURE f() LANGUAGE plpgsql AS $$ BEGIN PERFORM df.start('SELEC'); END $$
-- who catches errors has reasons
DO $$ BEGIN PERFORM df.start('SELEC'); EXCEPTION WHEN others THEN NULL; END $$
-- not ours to judge: broken SQL, other schemas
SELECT df.start('a' ~> 'b'
SELECT FROM WHERE df.start('a' ~> 'b')
SELECT "DF".start('a' & 'b'), mydf.start('SELECT 1' & 'SELECT 2')
SELECT x.df.start
CREATE EXTENSION hstore; DROP TABLE pg_durable
DROP EXTENSION hstore, pg_durable
DROP EXTENSION IF EXISTS hstore
ALTER EXTENSION pg_durable SET SCHEMA df
COMMENT ON SCHEMA pg_durable IS 'x'
