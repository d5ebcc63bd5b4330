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
-- not ours to judge: bodies, broken SQL, other schemas
DO $$ BEGIN PERFORM df.start('a' ~> 'b'); END $$
CREATE FUNCTION f() RETURNS text LANGUAGE sql AS $$ SELECT df.start('a' ~> 'b') $$
CREATE FUNCTION f() RETURNS text LANGUAGE sql BEGIN ATOMIC SELECT df.start('a'); END
SELECT df.start('a' ~> 'b'
SELECT FROM WHERE df.start('a' ~> 'b')
SELECT "DF".start('a' & 'b'), mydf.start('SELECT 1' & 'SELECT 2')
SELECT x.df.start
