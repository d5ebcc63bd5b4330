-- only: simple, extended. What the proxy refuses before anything is started, with node, line and column.
\verbose

SELECT df.start('SELECT 1' ~> 'SELEC 2');
--! 42601: syntax error at or near "SELEC" in a step
--! detail: At node 3, line 1, column 32: SELEC 2
--! hint: A step is a SQL statement as you would run it by itself.
SELECT df.start(
    'SELECT 1'
    ~> 'SELECT a b c');
--! 42601: syntax error at or near "c" in a step
--! detail: At node 3, line 3, column 20: SELECT a b c
--! hint: A step is a SQL statement as you would run it by itself.
SELECT df.start('SELECT 1 AS a' |=> 'order' ~> 'SELECT $ordr.a');
--! 42P02: "$ordr.a" does not name an earlier result
--! detail: At node 3, line 1, column 56: SELECT $ordr.a
--! hint: Did you mean "order"?
SELECT df.start('SELECT $x' ~> ('SELECT 1' |=> 'x'));
--! 42P02: "$x" is used where nothing can have bound it
--! detail: At node 2, line 1, column 25: SELECT $x
--! hint: Node 3 has that name, but it runs later, or in a parallel branch.
SELECT df.start(('SELECT 1' |=> 'x') & 'SELECT $x');
--! 42P02: "$x" is used where nothing can have bound it
--! detail: At node 3, line 1, column 48: SELECT $x
--! hint: Node 2 has that name, but it runs later, or in a parallel branch.
SELECT df.start(df.if_rows('x', 'SELECT 1', 'SELECT 2'));
--! 42P02: result name "x" does not name an earlier result
--! detail: At node 1, line 1, column 17.
--! hint: Name an earlier step: |=> 'x'.
SELECT df.start('SELECT 1' ~> df.break());
--! 22023: df.break() cannot be used outside of a loop
--! detail: At node 3, line 1, column 31.
--! hint: Put it inside the body of df.loop() or @>.
SELECT df.start('');
--! 42601: a step cannot be empty
--! detail: At node 1, line 1, column 17.
SELECT df.start('SELECT 1' ~> '  -- nothing');
--! 42601: a step cannot be empty
--! detail: At node 3, line 1, column 31: -- nothing
SELECT df.start('BEGIN');
--! 0A000: BEGIN cannot be a step: a step runs in a transaction of its own
--! detail: At node 1, line 1, column 17: BEGIN
SELECT df.start('SELECT 1' ~> 'COMMIT');
--! 0A000: COMMIT cannot be a step: a step runs in a transaction of its own
--! detail: At node 3, line 1, column 31: COMMIT
SELECT df.start('COPY t FROM STDIN');
--! 0A000: COPY FROM STDIN cannot be a step: no client is connected to it
--! detail: At node 1, line 1, column 17: COPY t FROM STDIN
SELECT df.start('DECLARE c CURSOR FOR SELECT 1');
--! 0A000: a cursor cannot be used in a step: it ends with the step's transaction
--! detail: At node 1, line 1, column 17: DECLARE c CURSOR FOR SELECT 1
SELECT df.start('PREPARE p AS SELECT 1');
--! 0A000: prepared statements cannot be used in a step: each step may have another session
--! detail: At node 1, line 1, column 17: PREPARE p AS SELECT 1
SELECT df.start('DISCARD ALL');
--! 0A000: DISCARD ALL cannot be a step: it cannot run inside a transaction
--! detail: At node 1, line 1, column 17: DISCARD ALL
SELECT df.start(('SELECT 1' |=> 'x') ~> 'CREATE TABLE t AS SELECT $x AS n' ~> 'ALTER TABLE t OWNER TO $x');
--! 42601: the reference "$x" cannot be used here
--! detail: At node 5, line 1, column 103: ALTER TABLE t OWNER TO $x
--! hint: A reference stands for a value; for a name use a variable, {name}.
SELECT df.start(('SELECT 1' |=> 'x') ~> 'SELECT * FROM $x');
--! 42601: the reference "$x" cannot be used here
--! detail: At node 3, line 1, column 56: SELECT * FROM $x
--! hint: A reference stands for a value; for a name use a variable, {name}.
SELECT df.start(('SELECT 1' |=> 'x') ~> 'DO $$ BEGIN PERFORM $x; END $$' ~> 'DO ''BEGIN PERFORM $x; END''');
--! 22023: the reference "$x" cannot be used in DO or CREATE FUNCTION
--! detail: At node 5, line 1, column 97: DO 'BEGIN PERFORM $x; END'
--! hint: Pass the value as an argument, or use dollar quotes if no reference is meant.
SELECT df.start(('SELECT 1' |=> 'x') ~> 'SELECT U&''$x''');
--! 22023: the reference "$x" cannot be used in this kind of string literal
--! detail: At node 3, line 1, column 53: SELECT U&'$x'
--! hint: Write the literal in plain quotes, or in dollar quotes if no reference is meant.
SELECT df.start(('SELECT 1' |=> 'x') ~> 'SELECT B''$x''');
--! 22023: the reference "$x" cannot be used in this kind of string literal
--! detail: At node 3, line 1, column 52: SELECT B'$x'
--! hint: Write the literal in plain quotes, or in dollar quotes if no reference is meant.
SELECT df.start(('SELECT 1' |=> 'x') ~> 'SELECT ''{$x.*}''');
--! 22023: "$x.*" stands for rows and cannot be used inside a string literal
--! detail: At node 3, line 1, column 52: SELECT '{$x.*}'
SELECT df.start('SELECT 1' |=> 'no name');
--! 22023: result name "no name" is not a valid identifier
--! detail: At node 1, line 1, column 17: SELECT 1
--! hint: A name begins with a letter or an underscore and goes on with letters, digits and underscores.
SELECT df.start('c' ?> 't' ~> 'u' !> 'e');
--! 22023: the left side of !> must be a ?> expression
--! detail: At line 1, column 35.
--! hint: It reads (('c' ?> 't') ~> 'u') !> 'e': put a branch of several steps in parentheses, as in c ?> (a ~> b) !> e.
SELECT df.start('SELECT 1' ~> 'SELECT ' || '2');
--! 22023: || would append text to a whole durable function
--! detail: At line 1, column 41.
--! hint: It reads ('SELECT 1' ~> 'SELECT ') || ...: put the concatenation in parentheses.
SELECT count(*) FROM df.instances;
--> 0

-- what may be right is started: variables, what only the server knows
SELECT df.start('SELECT * FROM {tbl}') IS NULL, df.start('SELECT nosuch FROM nosuch') IS NULL;
--> f|f
