-- All operators share Postgres's one level and associate to the left, the prefix one too.

SELECT df.explain($$ 'a' ~> 'b' |=> 'x' $$);
--> SQL: a
--> → SQL |=> 'x': b
SELECT df.explain($$ 'a' |=> 'x' & 'b' |=> 'y' $$);
--> JOIN |=> 'y'
-->     branch 1:
-->         SQL |=> 'x': a
-->     branch 2:
-->         SQL: b
--> Reads: (('a' |=> 'x') & 'b') |=> 'y'
SELECT df.explain($$ 'a' ~> 'c' ?> 't' !> 'e' ~> 'n' $$);
--> IF
-->     condition:
-->         SQL: a
-->         → SQL: c
-->     then:
-->         SQL: t
-->     else:
-->         SQL: e
--> → SQL: n
SELECT df.explain($$ @> 'a' ~> 'b' $$);
--> LOOP
-->     body:
-->         SQL: a
--> → SQL: b
SELECT df.explain($$ 'a' ~> 'b' & 'c' $$);
--> JOIN
-->     branch 1:
-->         SQL: a
-->         → SQL: b
-->     branch 2:
-->         SQL: c
--> Reads: ('a' ~> 'b') & 'c'
SELECT df.explain($$ 'a' ~> ('b' & 'c') $$);
--> SQL: a
--> → JOIN
-->     branch 1:
-->         SQL: b
-->     branch 2:
-->         SQL: c
SELECT df.explain($$ 'a' | 'b' & 'c' $$);
--> JOIN
-->     branch 1:
-->         RACE
-->             branch 1:
-->                 SQL: a
-->             branch 2:
-->                 SQL: b
-->     branch 2:
-->         SQL: c
SELECT df.explain($$ 'c' ?> 't' ~> 'u' !> 'e' $$);
--> Invalid durable function graph: the left side of !> must be a ?> expression
SELECT df.explain($$ 'c' ?> ('t' ~> 'u') !> 'e' $$);
--> IF
-->     condition:
-->         SQL: c
-->     then:
-->         SQL: t
-->         → SQL: u
-->     else:
-->         SQL: e
SELECT df.explain($$ ('a' ~> 'b' |=> 'x') ~> 'SELECT $x' $$);
--> SQL: a
--> → SQL |=> 'x': b
--> → SQL: SELECT $x

-- a name at the end of a chain names the chain, whose value is its last step's
'SELECT 1 AS a' ~> 'SELECT 2 AS b' |=> 'x' ~> 'SELECT $x AS last' \run
--> completed: {"rows":[{"last":2}],"row_count":1}
'SELECT 1 AS a' ~> ('SELECT 2 AS b' |=> 'x') ~> 'SELECT $x AS last' \run
--> completed: {"rows":[{"last":2}],"row_count":1}

-- in the whole statement arithmetic binds tighter, comparison and AND looser
SELECT ('a' ~> 'b' = df.seq('a', 'b')) AND df.sleep(1 + 2) = df.sleep(3);
--> t

-- || is on the same level: parentheses around a step that is put together
'SELECT 1' ~> ('SELECT ' || '2 AS n') \run
--> completed: {"rows":[{"n":2}],"row_count":1}

-- built-in operators of the same names stay what they are
SELECT 5 & 4, 5 | 2, ARRAY[1, 2] @> ARRAY[1], '{"a":1}'::jsonb @> '{}', B'101' & B'100', df.version() IS NOT NULL;
--> 4|7|t|t|100|t
