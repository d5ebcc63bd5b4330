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
