"""Texts that would be another role, and texts that only look so."""

from __future__ import annotations

import pytest

from durproxy.rewrite.switching import switch_in


@pytest.mark.parametrize(
    "step",
    [
        "RESET ROLE",
        "SET ROLE bob",
        "SET LOCAL ROLE NONE",
        "SELECT 1; set session\n role to 'bob'",
        "SET SESSION AUTHORIZATION bob",
        "RESET SESSION AUTHORIZATION",
        "SET role = 'bob'",
        "SET session_authorization TO DEFAULT",
        "DISCARD ALL",
        "SELECT set_config('role', 'bob', false)",
        "SELECT pg_catalog.set_config('Role', 'none', true)",
        "SELECT set_config('ro' || 'le', 'none', true)",
        "SELECT set_config($name, 'none', true)",
        "SELECT set_config('$a.name', 'none', true)",
        "SELECT set_config(is_local => true, setting_name => 'role', new_value => 'none')",
        "SELECT * FROM ts_stat('SELECT $a.expression')",
        "UPDATE pg_settings SET setting = 'none' WHERE name = 'role'",
        "WITH x AS (SELECT set_config('role', 'bob', false)) SELECT * FROM x",
        "DO $$ BEGIN SET ROLE bob; END $$",
        "DO $$ BEGIN RESET /* x */ ROLE; END $$",
        "DO 'BEGIN EXECUTE ''RES'' || ''ET ROLE''; END'",
        "CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS $$ BEGIN RESET ROLE; END $$",
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql SET role = 'bob' AS 'SELECT 1'",
        "ALTER FUNCTION f() SET role = 'bob'",
        "NOT SQL, reset role",
        "SELECT query_to_xml('SELECT set_config(''role'', ''bob'', false)', true, true, '')",
        "SELECT pg_catalog.query_to_xml_and_xmlschema(query, true, true, '') FROM texts",
        "SELECT * FROM \"ts_stat\"('SELECT to_tsvector(set_config(' || $name || '))')",
        "SELECT * FROM ts_stat($$SELECT ts_rewrite('a', 'SELECT 1')$$, 'ab')",
        "SELECT ts_rewrite('a'::tsquery, 'RESET ROLE; SELECT 1'::text)",
        "SELECT ts_rewrite('a'::tsquery, 'SELECT set_config(...)'::varchar(9))",
        "SELECT * FROM crosstab($name) AS t (a int)",
        "SELECT * FROM connectby('a', 'b', 'c', 'd', 0, '~') AS t (a int)",
        "DO $$ BEGIN PERFORM ts_stat('SELECT 1'); END $$",
        "CREATE AGGREGATE a (text, bool) (sfunc = set_config, stype = text, initcond = 'role')",
        "CREATE AGGREGATE a (text, bool) (sfunc = 'set_config', stype = text, initcond = 'role')",
        "CREATE OPERATOR @@ (leftarg = tsquery, rightarg = text, function = pg_catalog.ts_rewrite)",
        "CREATE CAST (text AS mine) WITH FUNCTION ts_stat(text)",
        # what looks like a comment may stand in a literal …
        "DO $$ DECLARE a text := '/*'; BEGIN EXECUTE b; a := '*/'; END $$",
        "DO $$ BEGIN PERFORM '--'; EXECUTE b; END $$",
        f"SELECT '/*'; RESET ROLE; SELECT '*/' {'-' * 300}",
        # … and a literal be none, where backslashes mean something in it
        "SELECT '\\''; RESET ROLE; --'",
        "SELECT E'\x83\\'; RESET ROLE; --'",
        "DO $$ BEGIN SET /* /* x */ */ ROLE bob; END $$",
        "DO $$ BEGIN RESET -- x\n ROLE; END $$",
        'DO $$ BEGIN SET "role" = bob; END $$',
        'DO $$ BEGIN SET SESSION "session_authorization" = bob; END $$',
        "DO $$ BEGIN PERFORM U&\"set!005fconfig\" UESCAPE '!' (a, b, c); END $$",
        # a body within a body, whose words do not stand there as they are
        r"DO $$ BEGIN DO E'BEGIN SET \x52OLE bob; END'; END $$",
        r"DO $$ BEGIN DO U&'BEGIN SET \0052OLE bob; END'; END $$",
        "DO $$ BEGIN DO U&'BEGIN SET !0052OLE bob; END' UESCAPE '!'; END $$",
        "DO $$ BEGIN DO 'BEGIN SET R'\n  -- x\n 'OLE bob; END'; END $$",
        r"DO $$ BEGIN CREATE PROCEDURE f() AS E'BEGIN SET R\157LE bob; END' LANGUAGE sql; END $$",
        rf"DO E'BEGIN SET \x52OLE bob; END' {'-' * 300}",
        f"DO 'BEGIN SET R'\n'OLE bob; END' {'-' * 300}",
        r"DO E'BEGIN SET \x52OLE bob; END'",
        "DO LANGUAGE plperl $$ spi_exec_query('RE' . 'SET ROLE') $$",
        "CREATE FUNCTION f() RETURNS int LANGUAGE 'plpython3u' AS $$ return 1 $$",
        f"DO LANGUAGE /**/ 'plperl' $$ x $$ {'-' * 300}",
    ],
)
def test_what_changes_the_role_is_found(step: str) -> None:
    assert switch_in(step) is not None


@pytest.mark.parametrize(
    "step",
    [
        "SELECT role FROM users WHERE id = $id",
        "INSERT INTO notes VALUES ('SET ROLE bob')",
        "UPDATE users SET role = 'admin' WHERE name = $who.name",
        "SET LOCAL statement_timeout = '5s'",
        "RESET ALL",
        "SELECT set_config('search_path', 'a', true)",
        "CREATE ROLE bob",
        "GRANT bob TO ann",
        "DISCARD TEMP",
        "DO $$ BEGIN UPDATE users SET name = 'x'; END $$",
        "SELECT current_setting('role'), $rows.n FROM $all.* AS t",
        "SELECT * FROM ts_stat('SELECT words FROM documents', weights => 'ab')",
        "SELECT * FROM crosstab('SELECT name, role, 1 FROM users ORDER BY 1')",
        "SELECT ts_rewrite('a & b'::tsquery, 'SELECT word, other FROM aliases')",
        "SELECT ts_rewrite(a, b, c), table_to_xml('users', true, true, '') FROM queries",
        "SELECT regexp_replace(name, '\\s+', ' ') FROM users WHERE role = 'x'",
        "CREATE FUNCTION f() RETURNS int LANGUAGE SQL AS 'SELECT 1'",
        "DO $$ BEGIN INSERT INTO a VALUES ('b',\n 'c') ON CONFLICT DO NOTHING; END $$",
        "DO LANGUAGE plpgsql $$ BEGIN UPDATE users SET /* the */ name = 'x'; END $$",
        f"SELECT 1 {'-' * 300}",
    ],
)
def test_what_only_looks_so_is_not(step: str) -> None:
    assert switch_in(step) is None
