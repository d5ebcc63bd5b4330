-- Graphs that the proxy cannot read are checked by the server or by the engine.

CREATE FUNCTION same(g text) RETURNS text LANGUAGE sql AS $$ SELECT g $$;
same(df.break()) \run
--! 22023: df.break() is used outside of a loop
same('{"node_type":"BOGUS"}') \run
--! 22023: Unknown node_type 'BOGUS'
same(df.if_rows('x', 'SELECT 1', 'SELECT 2')) \run
--> failed: result name "x" does not name an earlier result
same('SELECT $x') \run
--> failed: "$x" does not name an earlier result
same('SELEC 1') \run
--> failed: 42601 syntax error at or near "SELEC"
same('COMMIT') \run
--> failed: 0A000 COMMIT cannot be a step: a step runs in a transaction of its own
same('') \run
--> failed: 0A000 a step cannot be empty
same(('SELECT 1' |=> 'x') ~> 'SELECT U&''$x''') \run
--> failed: the reference "$x" cannot be used in this kind of string literal
same(('SELECT 1' |=> 'x') ~> 'DO ''BEGIN PERFORM $x; END''') \run
--> failed: the reference "$x" cannot be used in DO or CREATE FUNCTION
