-- A statement, then on the next line what the server gets instead.

-- every operator, in a call of ours
SELECT df.start('SELECT 1' ~> 'SELECT 2')
--> SELECT df.start('SELECT 1'  OPERATOR(df.~>)  'SELECT 2')
SELECT df.start('SELECT 1'~>'SELECT 2')
--> SELECT df.start('SELECT 1' OPERATOR(df.~>) 'SELECT 2')
SELECT df.start(('SELECT 1' & 'SELECT 2') | 'SELECT 3')
--> SELECT df.start(('SELECT 1'  OPERATOR(df.&)  'SELECT 2')  OPERATOR(df.|)  'SELECT 3')
SELECT df.start('SELECT true' ?> 'SELECT 1' !> 'SELECT 2', 'label')
--> SELECT df.start('SELECT true'  OPERATOR(df.?>)  'SELECT 1'  OPERATOR(df.!>)  'SELECT 2', 'label')
SELECT df.start(@> 'SELECT 1')
--> SELECT df.start( OPERATOR(df.@>)  'SELECT 1')
SELECT df.start(@>('SELECT 1' ~> df.break()))
--> SELECT df.start( OPERATOR(df.@>) ('SELECT 1'  OPERATOR(df.~>)  df.break()))
SELECT df.start('SELECT 1 AS a' |=> 'x' ~> 'SELECT $x.a + 1 AS b', 'first')
--> SELECT df.start('SELECT 1 AS a'  OPERATOR(df.|=>)  'x'  OPERATOR(df.~>)  'SELECT $x.a + 1 AS b', 'first')
-- characters, not bytes
SELECT df.start('SELECT ''é😀''' ~> 'SELECT 2') AS é
--> SELECT df.start('SELECT ''é😀'''  OPERATOR(df.~>)  'SELECT 2') AS é
-- spelled in other ways
SELECT DF . "start" ( fut => 'SELECT 1' /* & */ & 'SELECT 2', label := 'a & b' )
--> SELECT DF . "start" ( fut => 'SELECT 1' /* & */  OPERATOR(df.&)  'SELECT 2', label := 'a & b' )
SELECT "df"."seq"($q$SELECT 1$q$ & E'SELECT \'2\'', 'SELECT 3')
--> SELECT "df"."seq"($q$SELECT 1$q$  OPERATOR(df.&)  E'SELECT \'2\'', 'SELECT 3')
SELECT df.start('SELECT 1' ~> 'SELECT 2' OPERATOR(df.~>) 'SELECT 3')
--> SELECT df.start('SELECT 1'  OPERATOR(df.~>)  'SELECT 2' OPERATOR(df.~>) 'SELECT 3')
-- through CASE and COALESCE, but not their conditions
SELECT df.start(CASE WHEN a & 4 = 4 THEN 'SELECT 1' & b ELSE coalesce(c | d, 'SELECT 2') END) FROM t
--> SELECT df.start(CASE WHEN a & 4 = 4 THEN 'SELECT 1'  OPERATOR(df.&)  b ELSE coalesce(c  OPERATOR(df.|)  d, 'SELECT 2') END) FROM t
-- parameters and columns as operands
SELECT df.start($1 ~> $2, $3)
--> SELECT df.start($1  OPERATOR(df.~>)  $2, $3)
INSERT INTO started SELECT df.start(a & b, 'x') FROM work WHERE flags & 4 = 4
--> INSERT INTO started SELECT df.start(a  OPERATOR(df.&)  b, 'x') FROM work WHERE flags & 4 = 4
-- outside a call of ours, what can only be ours
SELECT 'SELECT 1' ~> 'SELECT 2', df.version()
--> SELECT 'SELECT 1'  OPERATOR(df.~>)  'SELECT 2', df.version()
SELECT df.sql('SELECT 1') & 'SELECT 2' & 'SELECT 3'
--> SELECT df.sql('SELECT 1')  OPERATOR(df.&)  'SELECT 2'  OPERATOR(df.&)  'SELECT 3'
SELECT ('a' |=> 'x') | 'b', 5 | 4, df.version()
--> SELECT ('a'  OPERATOR(df.|=>)  'x')  OPERATOR(df.|)  'b', 5 | 4, df.version()
-- any plannable statement
CREATE TABLE s AS SELECT df.start('SELECT 1' ~> 'SELECT 2') AS id
--> CREATE TABLE s AS SELECT df.start('SELECT 1'  OPERATOR(df.~>)  'SELECT 2') AS id
WITH s AS (SELECT df.start('SELECT 1' & 'SELECT 2') AS id) UPDATE t SET i = s.id FROM s
--> WITH s AS (SELECT df.start('SELECT 1'  OPERATOR(df.&)  'SELECT 2') AS id) UPDATE t SET i = s.id FROM s
PREPARE p AS SELECT df.start('SELECT 1' ~> $1)
--> PREPARE p AS SELECT df.start('SELECT 1'  OPERATOR(df.~>)  $1)
EXPLAIN SELECT df.start('SELECT 1' ~> 'SELECT 2')
--> EXPLAIN SELECT df.start('SELECT 1'  OPERATOR(df.~>)  'SELECT 2')
CREATE VIEW v AS SELECT df.explain('SELECT 1' & 'SELECT 2') AS tree
--> CREATE VIEW v AS SELECT df.explain('SELECT 1'  OPERATOR(df.&)  'SELECT 2') AS tree
-- several statements in one text, each where it stands
BEGIN; SELECT df.start('SELECT 1' ~> 'SELECT 2'); SELECT 5 & 4; SELECT df.start('SELECT 3' & 'SELECT 4'); COMMIT
--> BEGIN; SELECT df.start('SELECT 1'  OPERATOR(df.~>)  'SELECT 2'); SELECT 5 & 4; SELECT df.start('SELECT 3'  OPERATOR(df.&)  'SELECT 4'); COMMIT
DO $$ BEGIN NULL; END $$; SELECT df.start('SELECT 1' ~> 'SELECT 2')
--> DO $$ BEGIN NULL; END $$; SELECT df.start('SELECT 1'  OPERATOR(df.~>)  'SELECT 2')
-- definitions that are expressions
CREATE RULE r AS ON INSERT TO t DO ALSO SELECT df.start('SELECT 1' & NEW.a)
--> CREATE RULE r AS ON INSERT TO t DO ALSO SELECT df.start('SELECT 1'  OPERATOR(df.&)  NEW.a)
CREATE TRIGGER r BEFORE INSERT ON t FOR EACH ROW WHEN (NEW.a = df.seq('a' & 'b', 'c')) EXECUTE FUNCTION f()
--> CREATE TRIGGER r BEFORE INSERT ON t FOR EACH ROW WHEN (NEW.a = df.seq('a'  OPERATOR(df.&)  'b', 'c')) EXECUTE FUNCTION f()
-- bodies: variables are operands, comments and literals stay
DO $$ BEGIN x := a ~> b |=> 'x' /* ~> */; PERFORM df.start(x & y, 'l ~> l'); END $$
--> DO $$ BEGIN x := a  OPERATOR(df.~>)  b  OPERATOR(df.|=>)  'x' /* ~> */; PERFORM df.start(x  OPERATOR(df.&)  y, 'l ~> l'); END $$
DO LANGUAGE plpgsql 'BEGIN PERFORM df.start(''SELECT 1''~> @> (b | ''TABLE é''), (5 & 4)::text); END'
--> DO LANGUAGE plpgsql 'BEGIN PERFORM df.start(''SELECT 1'' OPERATOR(df.~>)   OPERATOR(df.@>)  (b  OPERATOR(df.|)  ''TABLE é''), (5 & 4)::text); END'
DO E'BEGIN\n PERFORM df.start(\'SELECT 1\' ~> @> (b | $q$SELECT \'\\\\\'$q$), d ?> e !> f[1]); END'
--> DO E'BEGIN\n PERFORM df.start(\'SELECT 1\'  OPERATOR(df.~>)   OPERATOR(df.@>)  (b  OPERATOR(df.|)  $q$SELECT \'\\\\\'$q$), d  OPERATOR(df.?>)  e  OPERATOR(df.!>)  f[1]); END'
CREATE OR REPLACE PROCEDURE p(a text DEFAULT 'x' ~> 'y') LANGUAGE 'plpgsql' SET work_mem = '1MB' AS $b$ BEGIN CALL q(df.join(a, "B" & $1), $1 ~> "B"); END $b$
--> CREATE OR REPLACE PROCEDURE p(a text DEFAULT 'x'  OPERATOR(df.~>)  'y') LANGUAGE 'plpgsql' SET work_mem = '1MB' AS $b$ BEGIN CALL q(df.join(a, "B"  OPERATOR(df.&)  $1), $1  OPERATOR(df.~>)  "B"); END $b$
-- a call that cannot be read leaves the others
DO $$ BEGIN PERFORM df.start(a & ~); PERFORM df.start(df.race(a, b & c)) ~> d; END $$
--> DO $$ BEGIN PERFORM df.start(a & ~); PERFORM df.start(df.race(a, b  OPERATOR(df.&)  c))  OPERATOR(df.~>)  d; END $$
-- code in SQL is read as a whole, too
CREATE FUNCTION f(a text) RETURNS text AS 'SELECT 5 & 4; SELECT a & df.sql(''SELECT 1'') & $1' LANGUAGE sql
--> CREATE FUNCTION f(a text) RETURNS text AS 'SELECT 5 & 4; SELECT a  OPERATOR(df.&)  df.sql(''SELECT 1'')  OPERATOR(df.&)  $1' LANGUAGE sql
CREATE FUNCTION f(a text) RETURNS text RETURN a ~> df.seq(a & 'b', 'c')
--> CREATE FUNCTION f(a text) RETURNS text RETURN a  OPERATOR(df.~>)  df.seq(a  OPERATOR(df.&)  'b', 'c')
CREATE FUNCTION f(a text) RETURNS text BEGIN ATOMIC SELECT 5 & 4; SELECT df.start(a & 'SELECT 1'); END
--> CREATE FUNCTION f(a text) RETURNS text BEGIN ATOMIC SELECT 5 & 4; SELECT df.start(a  OPERATOR(df.&)  'SELECT 1'); END
-- a block that starts what cannot run is refused, and only it
SELECT 'é'; /* é */ DO $$ BEGIN PERFORM df.start(a ~> $q$SELEC $1$q$); END $$ /* é */ ; SELECT df.sql('a') & 'b'
--> SELECT 'é'; /* é */ DO LANGUAGE plpgsql $refusal$BEGIN RAISE EXCEPTION USING ERRCODE = E'42601', MESSAGE = E'syntax error at or near "SELEC" in a step', DETAIL = E'At node 3, line 1, column 58: SELEC \0441', HINT = E'A step is a SQL statement as you would run it by itself.'; END$refusal$ /* é */ ; SELECT df.sql('a')  OPERATOR(df.&)  'b'
CREATE EXTENSION pg_durable
--> CREATE EXTENSION IF NOT EXISTS plpgsql
SELECT 1; create extension if not exists "pg_durable" WITH SCHEMA public CASCADE ; SELECT df.start('SELECT 1' ~> 'SELECT 2')
--> SELECT 1; CREATE EXTENSION IF NOT EXISTS plpgsql ; SELECT df.start('SELECT 1'  OPERATOR(df.~>)  'SELECT 2')
