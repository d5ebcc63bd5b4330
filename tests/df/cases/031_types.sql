-- Values of every type: as to_json shows them, numeric as a string with its scale; a reference
-- gives back the exact value.

-- times show in the zone of the role that the steps run as
ALTER ROLE :"me" SET timezone = 'UTC';
CREATE TYPE mood AS ENUM ('sad', 'it''s ok');
CREATE TYPE pair AS (a int, b text);
CREATE DOMAIN price AS numeric(10, 2) CHECK (VALUE > 0);
CREATE TYPE span AS RANGE (subtype = float8);

'SELECT true AS a, false AS b, NULL::bool AS c' \run
--> completed: {"rows":[{"a":true,"b":false,"c":null}],"row_count":1}
'SELECT 1::int2 AS a, ''-2147483648''::int4 AS b, 9223372036854775807::int8 AS c' \run
--> completed: {"rows":[{"a":1,"b":-2147483648,"c":9223372036854775807}],"row_count":1}
'SELECT 1.50::numeric AS a, 1e30::numeric AS b, ''NaN''::numeric AS c, 123456789012345678901234567890.123456789 AS d, 0.00 AS e' \run
--> completed: {"rows":[{"a":"1.50","b":"1000000000000000000000000000000","c":null,"d":"123456789012345678901234567890.123456789","e":"0.00"}],"row_count":1}
'SELECT 1.5::float8 AS a, 1e300::float8 AS b, ''NaN''::float8 AS c, ''-Infinity''::float4 AS d, 0.1::float4 AS e' \run
--> completed: {"rows":[{"a":1.5,"b":1e+300,"c":null,"d":null,"e":0.1}],"row_count":1}
'SELECT ''plain''::text AS a, ''q"u\o''''te''::varchar(20) AS b, ''x''::char(3) AS c, E''tab\tline\n'' AS d, ''ümlaut 😀'' AS e, ''n''::name AS f, ''x''::"char" AS g' \run
--> completed: {"rows":[{"a":"plain","b":"q\"u\\o'te","c":"x  ","d":"tab\tline\n","e":"ümlaut 😀","f":"n","g":"x"}],"row_count":1}
'SELECT ''6ba7b810-9dad-11d1-80b4-00c04fd430c8''::uuid AS a' \run
--> completed: {"rows":[{"a":"6ba7b810-9dad-11d1-80b4-00c04fd430c8"}],"row_count":1}
'SELECT date ''2024-02-29'' AS a, time ''12:34:56.789'' AS b, timestamp ''2024-02-29 12:34:56.5'' AS c, interval ''1 year 2 days 03:04:05'' AS d' \run
--> completed: {"rows":[{"a":"2024-02-29","b":"12:34:56.789","c":"2024-02-29T12:34:56.5","d":"1 year 2 days 03:04:05"}],"row_count":1}
'SELECT timestamptz ''2024-02-29 12:34:56.5+02'' AS a, timetz ''12:34:56+02'' AS b, timestamptz ''infinity'' AS c' \run
--> completed: {"rows":[{"a":"2024-02-29T10:34:56.5+00:00","b":"12:34:56+02","c":"infinity"}],"row_count":1}
'SELECT json ''{"b": [1, 2],  "a": null}'' AS a, jsonb ''{"b": [1, 2],  "a": null}'' AS b, jsonb ''null'' AS c' \run
--> completed: {"rows":[{"a":{"b": [1, 2],  "a": null},"b":{"a": null, "b": [1, 2]},"c":null}],"row_count":1}
'SELECT ARRAY[1, NULL, 3] AS a, ARRAY[[1, 2], [3, 4]] AS b, ''{}''::text[] AS c, ARRAY[''a,b'', ''c"d''] AS d' \run
--> completed: {"rows":[{"a":[1,null,3],"b":[[1,2],[3,4]],"c":[],"d":["a,b","c\"d"]}],"row_count":1}
'SELECT ''\xdeadbeef''::bytea AS a, inet ''10.0.0.1/8'' AS b, macaddr ''08:00:2b:01:02:03'' AS c, B''101'' AS d, point(1, 2) AS e, money ''1.5'' IS NOT NULL AS f' \run
--> completed: {"rows":[{"a":"\\xdeadbeef","b":"10.0.0.1/8","c":"08:00:2b:01:02:03","d":"101","e":"(1,2)","f":true}],"row_count":1}
'SELECT ''it''''s ok''::mood AS a, ROW(1, ''x'')::pair AS b, ARRAY[ROW(1, ''x''), ROW(2, NULL)]::pair[] AS c, 9.5::price AS d' \run
--> completed: {"rows":[{"a":"it's ok","b":{"a":1,"b":"x"},"c":[{"a":1,"b":"x"},{"a":2,"b":null}],"d":"9.50"}],"row_count":1}
'SELECT int4range(1, 5) AS a, ''empty''::int4range AS b, span(1.5, NULL) AS c, int4multirange(int4range(1, 2), int4range(5, 7)) AS d, tstzrange(NULL, NULL) AS e' \run
--> completed: {"rows":[{"a":"[1,5)","b":"empty","c":"[1.5,)","d":"{[1,2),[5,7)}","e":"(,)"}],"row_count":1}
'SELECT ''a fat cat''::tsvector AS a, ''fat & cat''::tsquery AS b, ''pg_class''::regclass AS c' \run
--> completed: {"rows":[{"a":"'a' 'cat' 'fat'","b":"'fat' & 'cat'","c":"pg_class"}],"row_count":1}

-- each comes back exactly: the value, its type, its scale
('SELECT 1.50::numeric AS a' |=> 'x') ~> 'SELECT $x::text AS a, pg_typeof($x) AS t' \run
--> completed: {"rows":[{"a":"1.50","t":"numeric"}],"row_count":1}
('SELECT ''NaN''::numeric AS a' |=> 'x') ~> 'SELECT $x::text AS a, pg_typeof($x) AS t' \run
--> completed: {"rows":[{"a":"NaN","t":"numeric"}],"row_count":1}
('SELECT ''-Infinity''::float8 AS a' |=> 'x') ~> 'SELECT $x = float8 ''-Infinity'' AS same' \run
--> completed: {"rows":[{"same":true}],"row_count":1}
('SELECT 0.1::float8 + 0.2::float8 AS a' |=> 'x') ~> 'SELECT $x = 0.1::float8 + 0.2::float8 AS same' \run
--> completed: {"rows":[{"same":true}],"row_count":1}
('SELECT ''x''::char(3) AS a, ''x''::"char" AS b, ''long''::varchar(4) AS c' |=> 'x') ~> 'SELECT pg_typeof($x.a) AS a, pg_typeof($x.b) AS b, pg_typeof($x.c) AS c, octet_length($x.a) AS n' \run
--> completed: {"rows":[{"a":"character","b":"\"char\"","c":"character varying","n":3}],"row_count":1}
('SELECT timestamptz ''2024-02-29 12:34:56.123456+02'' AS a' |=> 'x') ~> 'SELECT $x = timestamptz ''2024-02-29 12:34:56.123456+02'' AS same, pg_typeof($x) AS t' \run
--> completed: {"rows":[{"same":true,"t":"timestamp with time zone"}],"row_count":1}
('SELECT interval ''1 year 2 days 03:04:05'' AS a' |=> 'x') ~> 'SELECT $x = interval ''1 year 2 days 03:04:05'' AS same, pg_typeof($x) AS t' \run
--> completed: {"rows":[{"same":true,"t":"interval"}],"row_count":1}
('SELECT json ''{"b": [1, 2],  "a": null, "a": 1}'' AS a' |=> 'x') ~> 'SELECT $x AS a, pg_typeof($x) AS t' \run
--> completed: {"rows":[{"a":{"b": [1, 2],  "a": null, "a": 1},"t":"json"}],"row_count":1}
('SELECT ''[0:1]={7,8}''::int[] AS a' |=> 'x') ~> 'SELECT $x AS a, array_lower($x, 1) AS l, pg_typeof($x) AS t' \run
--> completed: {"rows":[{"a":[7,8],"l":0,"t":"integer[]"}],"row_count":1}
('SELECT ARRAY[''a,b'', NULL, ''c"d\''] AS a' |=> 'x') ~> 'SELECT $x = ARRAY[''a,b'', NULL, ''c"d\''] AS same' \run
--> completed: {"rows":[{"same":true}],"row_count":1}
('SELECT ''\x00ff27''::bytea AS a' |=> 'x') ~> 'SELECT $x = ''\x00ff27''::bytea AS same' \run
--> completed: {"rows":[{"same":true}],"row_count":1}
('SELECT ''it''''s ok''::mood AS a' |=> 'x') ~> 'SELECT $x AS a, pg_typeof($x) = ''mood''::regtype AS t' \run
--> completed: {"rows":[{"a":"it's ok","t":true}],"row_count":1}
('SELECT ROW(1, ''x,"y'')::pair AS a' |=> 'x') ~> 'SELECT ($x).b AS b, $x = ROW(1, ''x,"y'')::pair AS same' \run
--> completed: {"rows":[{"b":"x,\"y","same":true}],"row_count":1}
('SELECT 9.5::price AS a' |=> 'x') ~> 'SELECT $x AS a, pg_typeof($x::price)::text AS t' \run
--> completed: {"rows":[{"a":"9.50","t":"price"}],"row_count":1}
('SELECT span(1.5, NULL) AS a, int4multirange(int4range(1, 2)) AS b' |=> 'x') ~> 'SELECT $x.a AS a, $x.b AS b' \run
--> completed: {"rows":[{"a":"[1.5,)","b":"{[1,2)}"}],"row_count":1}
('SELECT ''pg_class''::regclass AS a, B''0101'' AS b, point(1, 2) AS c' |=> 'x') ~> 'SELECT $x.a AS a, $x.b AS b, $x.c AS c, pg_typeof($x.b) AS t' \run
--> completed: {"rows":[{"a":"pg_class","b":"0101","c":"(1,2)","t":"bit"}],"row_count":1}
('SELECT true AS a, date ''2024-02-29'' AS b, 7::int2 AS c' |=> 'x') ~> 'SELECT NOT $x.a AS a, $x.b + 1 AS b, pg_typeof($x.c) AS c' \run
--> completed: {"rows":[{"a":false,"b":"2024-03-01","c":"smallint"}],"row_count":1}

-- a column that has no type of its own can be shown, not carried
('SELECT ROW(1, 2) AS a' |=> 'x') ~> 'SELECT 1 AS fine' \run
--> completed: {"rows":[{"fine":1}],"row_count":1}
('SELECT ROW(1, 2) AS a' |=> 'x') ~> 'SELECT $x AS a' \run
--> failed: 42846 "$x" is a column without a type of its own
