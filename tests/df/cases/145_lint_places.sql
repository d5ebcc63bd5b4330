-- only: simple, extended. The proxy knows where an expression's parts stand.
SELECT code, node, line, col, message FROM df.lint('SELECT 1' ~> 'SELECT 2'
    & 'SELECT 3');
--> precedence|NULL|2|5|& binds no tighter than what stands before it
SELECT code, node, line, col FROM df.lint(
    df.retry('INSERT INTO t VALUES (1)' ~> 'DELETE FROM t'));
--> retry-repeats|00000001|2|5
SELECT code, node, line, col FROM df.lint($$
    df.retry('INSERT INTO t VALUES (1)' ~> 'DELETE FROM t') $$);
--> retry-repeats|00000001|2|5
SELECT code, node, line, col, message, hint FROM df.lint($$ @> 'DELETE FROM t' ~> df.break() $$);
--> refused|00000004|1|24|df.break() cannot be used outside of a loop|Put it inside the body of df.loop() or @>.
SELECT code, node, line, col, message FROM df.lint('SELECT 1' ~> 'SELECT a b c');
--> refused|00000003|1|78|syntax error at or near "c" in a step
SELECT code, node, line, col, message, hint FROM df.lint($$ 'SELECT 1' ?> 'SELECT 2' ~> 'SELECT 3' !> 'SELECT 4' $$);
--> refused|NULL|1|41|the left side of !> must be a ?> expression|It reads (('SELECT 1' ?> 'SELECT 2') ~> 'SELECT 3') !> 'SELECT 4': put a branch of several steps in parentheses, as in c ?> (a ~> b) !> e.
-- one step by itself: what df.start would refuse
SELECT code, node, line, col, message FROM df.lint('SELEC 1');
--> refused|00000001|1|53|syntax error at or near "SELEC" in a step
SELECT code, node, line, col, message FROM df.lint('commit');
--> refused|00000001|1|52|COMMIT cannot be a step: a step runs in a transaction of its own
SELECT code, node, line, col, message FROM df.lint('SELECT $x');
--> refused|00000001|1|60|"$x" does not name an earlier result
SELECT code, node, line, col, message FROM df.lint('');
--> refused|00000001|1|52|a step cannot be empty
SELECT code, node, line, col, message FROM df.lint('SELECT 1');
--> (no rows)
-- an expression that cannot be built is an error where it stands, before df.lint has seen it
SELECT * FROM df.lint('SELECT 1' !> 'SELECT 2');
--! 22023: the left side of !> must be a ?> expression
