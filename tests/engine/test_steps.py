"""What a step may be and do, on real servers: results to the letter, exact values, failures."""

from __future__ import annotations

import pytest

from tests.engine.steps import Ended, ended, run, start
from tests.fix_serve import Visitor
from tests.waiting import wait_until

# --- values ---

_TYPES = """
    CREATE TYPE mood AS ENUM ('sad', 'happy');
    CREATE DOMAIN posint AS int CHECK (VALUE > 0);
    CREATE DOMAIN price AS numeric(10,2) CHECK (VALUE > 0 AND VALUE < 1000);
    CREATE DOMAIN discount AS price;
    CREATE TYPE "odd pair" AS (a int, "b c" text, c numeric)"""

# an expression, and the JSON that it shows as
_SHOWN = {
    "1::smallint": "1",
    "9223372036854775807": "9223372036854775807",
    "1.50": '"1.50"',
    "1.500::numeric(10,3)": '"1.500"',
    "'NaN'::numeric": "null",
    "'Infinity'::numeric": "null",
    "0.1::float8 + 0.2::float8": "0.30000000000000004",
    "'NaN'::float8": "null",
    "'-Infinity'::float4": "null",
    "true": "true",
    "'it''s \"q\" \\ back'::text": '"it\'s \\"q\\" \\\\ back"',
    "'abc'::char(5)": '"abc  "',
    "'a'::\"char\"": '"a"',
    "E'\\\\xdeadbeef'::bytea": '"\\\\xdeadbeef"',
    "'101'::bit(3)": '"101"',
    "'2024-03-04'::date": '"2024-03-04"',
    "'infinity'::timestamp": '"infinity"',
    "'2024-03-04 05:06:07.123456'::timestamp": '"2024-03-04T05:06:07.123456"',
    "'0044-03-15 BC'::date": '"0044-03-15 BC"',
    "'05:06:07+03'::timetz": '"05:06:07+03"',
    "'1 year 2 mons -3 days 04:05:06.789'::interval": '"1 year 2 mons -3 days +04:05:06.789"',
    "'{1,NULL,3}'::int[]": "[1,null,3]",
    "'[0:1]={5,6}'::int[]": "[5,6]",
    "'{{1,2},{3,4}}'::int[]": "[[1,2],[3,4]]",
    "ARRAY['a,b','\"','\\',NULL,'NULL','{}',' ']": '["a,b","\\"","\\\\",null,"NULL","{}"," "]',
    "'[1,5)'::int4range": '"[1,5)"',
    "'[2024-03-04,2024-05-06)'::daterange": '"[2024-03-04,2024-05-06)"',
    "'{[1,2),[5,6)}'::int4multirange": '"{[1,2),[5,6)}"',
    "'[2024-03-04 01:02:03,)'::tsrange": '"[\\"2024-03-04 01:02:03\\",)"',
    "'happy'::mood": '"happy"',
    "ARRAY['happy','sad']::mood[]": '["happy","sad"]',
    "3::posint": "3",
    "2.50::price": '"2.50"',
    "2.50::discount": '"2.50"',
    'ROW(1, \'a "b"\', NULL)::"odd pair"': '{"a":1,"b c":"a \\"b\\"","c":null}',
    "ARRAY[ROW(1, 'x', 2.50)::\"odd pair\"]": '[{"a":1,"b c":"x","c":2.50}]',
    '\'{"b":1,"a":2,"b":3}\'::json': '{"b":1,"a":2,"b":3}',
    "'{\"a\": [1, 2.50, null]}'::jsonb": '{"a": [1, 2.50, null]}',
    "'10.1.2.3/24'::inet": '"10.1.2.3/24"',
    "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid": '"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"',
    "'((1,2),(3,4))'::box": '"(3,4),(1,2)"',
    "'fat & rat'::tsquery": "\"'fat' & 'rat'\"",
    "'$.a[*]'::jsonpath": '"$.\\"a\\"[*]"',
    "'pg_class'::regclass": '"pg_class"',
    "'(0,1)'::tid": '"(0,1)"',
    "'10:20:10,14,15'::pg_snapshot": '"10:20:10,14,15"',
    "NULL::int": "null",
}
_DOMAINS = ("posint", "price", "discount")
# what a role may have that changes how values look
_ODD_SETTINGS = (
    "extra_float_digits = -10",
    "datestyle = 'SQL, DMY'",
    "intervalstyle = iso_8601",
    "bytea_output = escape",
    "array_nulls = off",
    "quote_all_identifiers = on",
    "client_encoding = latin1",
    "default_transaction_isolation = serializable",
    "default_transaction_read_only = on",
    "timezone = 'Asia/Kathmandu'",
    "transform_null_equals = on",
    "standard_conforming_strings = on",
)


def test_a_result_is_what_to_json_shows_but_numeric_keeps_its_scale(visitor: Visitor) -> None:
    columns = ", ".join(f"{expression} AS c{k}" for k, expression in enumerate(_SHOWN))
    with visitor.connect() as session:
        session.execute(_TYPES)
        shown = run(session, f"SELECT {columns}")
    row = ",".join(f'"c{k}":{text}' for k, text in enumerate(_SHOWN.values()))
    assert shown.text == f'{{"rows":[{{{row}}}],"row_count":1}}'


@pytest.mark.parametrize("settings", [(), _ODD_SETTINGS], ids=["default", "odd"])
def test_every_value_comes_back_exactly_by_a_reference(
    visitor: Visitor, settings: tuple[str, ...]
) -> None:
    columns = ", ".join(f"{expression} AS c{k}" for k, expression in enumerate(_SHOWN))

    def compared(reference: str) -> str:
        return ", ".join(
            f"({reference.format(k)})::text IS NOT DISTINCT FROM ({expression})::text AS v{k},"
            f" pg_typeof({reference.format(k)}) = pg_typeof({expression}) AS t{k}"
            for k, expression in enumerate(_SHOWN)
        )

    with visitor.connect() as session:
        session.execute(_TYPES)
        for setting in settings:
            session.execute(f"ALTER ROLE {visitor.role.name} SET {setting}".encode())
    with visitor.connect() as session:
        session.execute("SET default_transaction_read_only = off")  # for df.start itself
        one = run(session, f"SELECT {columns}", f"SELECT {compared('$s1.c{}?')}")
        rows = run(session, f"SELECT {columns}", f"SELECT {compared('r.c{}')} FROM $s1.* AS r")
    expressions = list(_SHOWN)
    for came_back, is_reference in ((one, True), (rows, False)):
        different = {
            f"{name[0]} {expressions[int(name[1:])]}"
            for name, same in came_back.rows[0].items()
            if not same
        }
        # a domain's value comes back as its base type; a NULL without a value has none
        expected = {f"t {e}" for e in _SHOWN if e.endswith(_DOMAINS)}
        assert different == expected | ({"t NULL::int"} if is_reference else set())


def test_what_values_hold_never_becomes_sql(visitor: Visitor) -> None:
    nasty = [
        "'; DROP TABLE victims; --",
        "\\'; DROP TABLE victims; --",
        '{},"a\\"',
        "$1 $name $s1.* ($1)[1]",
        "$df$ $q$ $$",
        "é 😀 \x01 \n\t",
        "NULL",
        "",
    ]
    with visitor.connect() as session:
        session.execute("CREATE TABLE victims (n int, kept text)")
        for n, text in enumerate(nasty):
            session.execute("INSERT INTO victims VALUES (%s, %s)", [n, text])
            done = run(
                session,
                f"SELECT kept FROM victims WHERE n = {n}",
                "SELECT $s1 AS plain, '$s1' AS literal, E'a\\n$s1' AS escaped, r.kept"
                " FROM $s1.* AS r",
            )
            assert done.rows == [
                {"plain": text, "literal": text, "escaped": f"a\n{text}", "kept": text}
            ]
            copied = run(
                session,
                f"SELECT kept FROM victims WHERE n = {n}",
                f'UPDATE victims SET kept = $s1 WHERE n = {n} RETURNING kept AS "a $df$ b"',
                "SELECT $s2 || ''",
            )
            assert copied.value == text


@pytest.mark.parametrize(
    ("data", "shown", "kind"),
    [
        ("0.1234567890123456789012345", '"0.1234567890123456789012345"', "numeric"),
        ("1" + "0" * 5000, '"1' + "0" * 5000 + '"', "numeric"),
        ('{"a":1,"a":2.50}', '{"a": 2.50}', "jsonb"),
        ("[" * 3000 + "]" * 3000, "[" * 3000 + "]" * 3000, "jsonb"),
        ("true", "true", "boolean"),
        ('"it\'s"', '"it\'s"', "text"),
        ("no json", '"no json"', "text"),
    ],
    ids=["scale", "digits", "object", "deep", "boolean", "text", "plain"],
)
def test_the_data_of_a_signal_comes_back_exactly(
    visitor: Visitor, data: str, shown: str, kind: str
) -> None:
    done = _signalled(visitor, data)
    assert done.text == f'{{"rows":[{{"d":{shown},"t":"{kind}"}}],"row_count":1}}'


@pytest.mark.parametrize("data", ['"\\ud800"', '"\\u0000"'])
def test_a_character_that_no_text_can_hold_fails_the_step_that_reads_it(
    visitor: Visitor, data: str
) -> None:
    assert _signalled(visitor, data).sqlstate == "22P05"


def _signalled(visitor: Visitor, data: str) -> Ended:
    waits = (
        "SELECT df.start(df.seq(df.as(df.wait_for_signal('go'), 'sent'),"
        " 'SELECT $sent.data AS d, pg_typeof($sent.data) AS t'))"
    )
    with visitor.connect() as session:
        row = session.execute(waits.encode()).fetchone()
        assert row is not None
        session.execute("SELECT df.signal(%s, 'go', %s)", [row[0], data])
        return ended(session, row[0])


@pytest.mark.parametrize(
    ("condition", "truth"),
    [
        ("SELECT 0.00", False),
        ("SELECT 0.001", True),
        ("SELECT ('1' || repeat('0', 5000))::jsonb", True),
        ("SELECT (repeat('[', 5000) || repeat(']', 5000))::json", True),
        ("SELECT '\"\\ud800\"'::json", True),
        ("SELECT 1e-400::numeric", True),
        ("SELECT 'NaN'::numeric", False),
        ("SELECT '-0'::float8", False),
        ("SELECT true WHERE false", False),
        ("SELECT FROM generate_series(1, 2)", False),
    ],
)
def test_conditions_of_any_value(visitor: Visitor, condition: str, truth: bool) -> None:
    with visitor.connect() as session:
        row = session.execute(
            "SELECT df.start(df.if(%s::text, 'SELECT true', 'SELECT false'))", [condition]
        ).fetchone()
        assert row is not None
        assert ended(session, row[0]).value is truth


# --- rows ---


@pytest.mark.parametrize(
    ("step", "text"),
    [
        ("SELECT FROM generate_series(1, 3)", '{"rows":[{},{},{}],"row_count":3}'),
        ("SELECT 1 AS a WHERE false", '{"rows":[],"row_count":0}'),
        ("SELECT 1 AS a, 2 AS a", '{"rows":[{"a":1,"a":2}],"row_count":1}'),
        ("SELECT 1 AS q, 2 AS z, 3 AS c0", '{"rows":[{"q":1,"z":2,"c0":3}],"row_count":1}'),
        ('SELECT 1 AS "a""$x b"', '{"rows":[{"a\\"$x b":1}],"row_count":1}'),
        ("SELECT 1 -- c", '{"rows":[{"?column?":1}],"row_count":1}'),
        ("/* a */ SELECT 1; -- c\n ; /* x */", '{"rows":[{"?column?":1}],"row_count":1}'),
        ("WITH q AS (SELECT 1 AS q) SELECT q FROM q", '{"rows":[{"q":1}],"row_count":1}'),
        (
            "VALUES (1, 'a'), (2, 'b') LIMIT 1",
            '{"rows":[{"column1":1,"column2":"a"}],"row_count":1}',
        ),
        ("EXPLAIN (COSTS OFF) SELECT 1", '{"rows":[{"QUERY PLAN":"Result"}],"row_count":1}'),
        ("SHOW bytea_output", '{"rows":[{"bytea_output":"hex"}],"row_count":1}'),
        ("DO $$ BEGIN PERFORM 1; END $$", '{"rows":[],"row_count":0}'),
        ("CREATE TABLE made (a int)", '{"rows":[],"row_count":0}'),
        ("SELECT 1; SELECT 2.50 AS é", '{"rows":[{"é":"2.50"}],"row_count":1}'),
        (
            "CREATE TABLE made (a int); INSERT INTO made VALUES (1), (2)",
            '{"rows":[],"row_count":2}',
        ),
    ],
)
def test_results_to_the_letter(visitor: Visitor, step: str, text: str) -> None:
    assert run(visitor, step).text == text


def test_ten_thousand_rows_can_be_referred_to_and_no_more(visitor: Visitor) -> None:
    series = "SELECT g AS a FROM generate_series(1, {}) g"
    assert run(visitor, series.format(10_000), "SELECT sum(a)::int FROM $s1.*").value == 50_005_000
    assert run(visitor, series.format(0), "SELECT count(*) FROM $s1.*").value == 0
    refused = run(visitor, series.format(10_001), "SELECT sum(a) FROM $s1.*")
    assert refused.sqlstate == "54000"
    assert "10000" in refused.error["message"]


@pytest.mark.parametrize(
    ("steps", "value"),
    [
        (["CREATE TABLE t (a int, b text)", "INSERT INTO t VALUES (1, 'x'), (2, NULL) RETURNING *",
          "UPDATE t SET b = 'y' WHERE a = $s2 RETURNING b", "SELECT $s3"], "y"),
        (["CREATE TABLE t (a int)",
          "MERGE INTO t USING (SELECT 1 AS a) s ON false WHEN NOT MATCHED THEN INSERT VALUES (s.a)",
          "TABLE t"], 1),
        (["CREATE TABLE t (a int)",
          "WITH x AS (INSERT INTO t VALUES (1) RETURNING a) SELECT a + 1 FROM x",
          "SELECT $s2"], 2),
        ([("CREATE TABLE t (a int); CREATE TABLE log (a int);"
          " CREATE RULE r AS ON INSERT TO t DO ALSO INSERT INTO log VALUES (new.a)"),
          "INSERT INTO t VALUES (7) RETURNING a", "SELECT a FROM log"], 7),
        ([("CREATE TABLE t (a int); CREATE TABLE log (a int);"
          " CREATE RULE r AS ON INSERT TO t DO INSTEAD INSERT INTO log VALUES (new.a)"),
          "INSERT INTO t VALUES (7)", "SELECT a FROM log"], 7),
        ([("CREATE TABLE t (a int); CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS"
          " $$ BEGIN new.a := new.a + 1; RETURN new; END $$;"
          " CREATE TRIGGER r BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f()"),
          "INSERT INTO t VALUES (1) RETURNING a"], 2),
        (["SELECT 1 AS a INTO t", "SELECT a FROM t"], 1),
        (["SELECT 7", "CREATE TABLE t (a int); INSERT INTO t VALUES ($s1)", "TABLE t"], 7),
        (["CREATE TABLE t (a int); INSERT INTO t VALUES (1), (2); SELECT sum(a)::int FROM t;"], 3),
        (["CREATE TEMP TABLE t AS SELECT 'é' AS a, 5 AS b; SELECT b FROM t", "SELECT $s1"], 5),
        (["SELECT 7 AS x", ("CREATE TABLE t (a int); INSERT INTO t VALUES ($s1.x);"
          " UPDATE t SET a = a + $s1.x RETURNING *"), "SELECT $s2.a + 1"], 15),
        (["CREATE TABLE t (a int); SELECT 3 AS a INTO u; SHOW server_encoding"], "UTF8"),
        (["CREATE PROCEDURE p(INOUT a int) LANGUAGE plpgsql AS $$ BEGIN a := a + 1; END $$",
          "CALL p(1)", "SELECT $s2"], 2),
        (["CREATE DOMAIN small AS int CHECK (VALUE < 9); CREATE TABLE t (a small, b text)",
          "INSERT INTO t VALUES (1, 'x') RETURNING *",
          "INSERT INTO t VALUES ($s2.a, '$s2.b') RETURNING a",
          "SELECT a + $s3 FROM t LIMIT 1"], 2),
        (["CREATE DOMAIN small AS int CHECK (VALUE < 9); CREATE TABLE t (a small, b text)",
          ("WITH q AS (INSERT INTO t VALUES (1, 'x'), (2, 'y') RETURNING *),"
           " r(n) AS (SELECT max(a) FROM q) SELECT a, b FROM q, r WHERE a = n OR a < 2 ORDER BY a"),
          "SELECT sum(a)::int + $s2 FROM $s2.*"], 4),
        (["CREATE TABLE t (a int)", "CREATE INDEX CONCURRENTLY ON t (a)", "VACUUM t",
          "SELECT count(*)::int FROM pg_index WHERE indrelid = 't'::regclass AND indisvalid"], 1),
        ([("CREATE TABLE t (a int); CREATE PROCEDURE p() LANGUAGE plpgsql AS"
          " $$ BEGIN INSERT INTO t VALUES (1); COMMIT; INSERT INTO t VALUES (2); END $$"),
          "CALL p()", "SELECT sum(a)::int FROM t"], 3),
        ([("CREATE TABLE t (a int); CREATE PROCEDURE p(a int, INOUT b numeric, OUT c text[])"
          " LANGUAGE plpgsql AS $$ BEGIN INSERT INTO t VALUES (a); COMMIT; b := b + 1.50;"
          " c := ARRAY['x', NULL]; END $$"),
          "CALL p(1, 2, NULL)", "SELECT concat($s2.b, ($s2.c)[1], count(*)) FROM t"], "3.50x1"),
        (["CREATE TABLE t (a int)", "DO $$ BEGIN INSERT INTO t VALUES (1); COMMIT; END $$",
          "SELECT count(*)::int FROM t"], 1),
        (["SELECT ARRAY[1, NULL] AS a", "SELECT ($s1)[2] IS NULL"], True),
    ],
    ids=["returning", "merge", "with", "also", "instead", "trigger", "into", "several",
         "several rows", "several temp", "several references", "several show", "call", "domain",
         "domain in with", "concurrently", "call commit", "call commit out", "do commit", "null"],
)  # fmt: skip
def test_statements_of_every_kind(visitor: Visitor, steps: list[str], value: object) -> None:
    assert run(visitor, *steps).value == value


def test_columns_whose_types_change_under_a_remembered_statement(visitor: Visitor) -> None:
    with visitor.connect() as session:
        session.execute("CREATE TABLE t (a int)")
        session.execute("INSERT INTO t VALUES (1)")
        assert run(session, "SELECT a FROM t", "SELECT pg_typeof($s1)").value == "integer"
        session.execute("ALTER TABLE t ALTER a TYPE numeric(5,2)")
        done = run(session, "SELECT a FROM t", "SELECT concat(pg_typeof($s1), ' ', $s1)")
        assert done.value == "numeric 1.00"
        session.execute("ALTER TABLE t ALTER a TYPE text")
        assert run(session, "SELECT a FROM t", "SELECT pg_typeof($s1)").value == "text"


def test_several_statements_are_one_transaction(visitor: Visitor) -> None:
    step = "INSERT INTO t VALUES (2); SELECT 1/(a - 1) FROM t ORDER BY a"
    with visitor.connect() as session:
        session.execute("CREATE TABLE t (a int); INSERT INTO t VALUES (1)")
        failed = run(session, step)
        assert (failed.sqlstate, failed.error["node"]) == ("22012", 1)
        assert session.execute("SELECT a FROM t").fetchall() == [(1,)]


# --- failures ---


@pytest.mark.parametrize(
    ("steps", "sqlstate"),
    [
        (["SELECT 1/0"], "22012"),
        (["SELEC 1"], "42601"),
        ([";"], "0A000"),
        (["SELECT $1"], "42P02"),
        (["COMMIT"], "0A000"),
        (["COPY (SELECT 1) TO STDOUT"], "0A000"),
        (["DO $$ BEGIN EXECUTE 'COPY (SELECT 1) TO STDOUT'; END $$"], "0A000"),
        (["SELECT ROW(1, 2)", "SELECT $s1"], "42846"),
        (["SELECT set_config('statement_timeout', '50ms', false)", "SELECT pg_sleep(60)"], "57014"),
        (["SELECT df.cancel('{sys_instance_id}')"], "55000"),
        (["SELECT df.setvar('a', 'b')"], "55000"),
        (["DROP SCHEMA df CASCADE"], "42501"),
        ([("SELECT df._finish_1('{sys_instance_id}', gen_random_uuid(), '{}', '{}', '{}', 1, '',"
          " '{}', NULL, NULL, 'e', NULL)")], "WF001"),
        ([("CREATE TABLE p (id int PRIMARY KEY);"
          " CREATE TABLE c (id int REFERENCES p DEFERRABLE INITIALLY DEFERRED)"),
          "INSERT INTO c VALUES (1)"], "23503"),
        ([("CREATE TABLE t (id int); CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS"
          " $$ BEGIN RAISE EXCEPTION 'late' USING ERRCODE = 'WF002'; END $$;"
          " CREATE CONSTRAINT TRIGGER r AFTER INSERT ON t DEFERRABLE INITIALLY DEFERRED"
          " FOR EACH ROW EXECUTE FUNCTION f()"),
          "INSERT INTO t VALUES (1)"], "WF002"),
    ],
)  # fmt: skip
def test_a_failing_step_fails_its_instance_and_keeps_nothing(
    visitor: Visitor, steps: list[str], sqlstate: str
) -> None:
    with visitor.connect() as session:
        session.execute("CREATE TABLE kept (n int)")
        failed = run(session, *steps, "INSERT INTO kept VALUES (1)")
        assert failed.sqlstate == sqlstate
        assert session.execute("SELECT * FROM kept").fetchall() == []


@pytest.mark.parametrize("code", ["WF001", "WF002", "WF003", "WF004", "42804", "42P10", "55P03"])
@pytest.mark.parametrize(
    "form", ["DO $$ BEGIN {} END $$", "SELECT forge()", "SELECT * FROM forge()"]
)
def test_a_step_cannot_forge_what_the_engine_says_to_itself(
    visitor: Visitor, code: str, form: str
) -> None:
    raises = f"RAISE EXCEPTION 'forged' USING ERRCODE = '{code}';"
    with visitor.connect() as session:
        session.execute(
            "CREATE FUNCTION forge() RETURNS int LANGUAGE plpgsql"
            f" AS $$ BEGIN {raises} END $$".encode()
        )
        for _ in range(2):  # the second time from memory
            failed = run(session, form.format(raises))
            assert (failed.sqlstate, failed.error["message"]) == (code, "forged")


def test_a_result_column_that_is_a_domain_in_a_changing_with(visitor: Visitor) -> None:
    ended = run(
        visitor,
        "CREATE DOMAIN small AS int; CREATE TABLE t (a small)",
        "WITH x AS (INSERT INTO t VALUES (1) RETURNING a) SELECT a FROM x",
    )
    assert ended.text == '{"rows":[{"a":1}],"row_count":1}'


@pytest.mark.parametrize(
    "setting",
    [
        "SET default_transaction_read_only = on",
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
        "SET statement_timeout = 1",
        "SET array_nulls = off",
    ],
)
def test_a_setting_that_works_before_a_statement_does_is_not_found_by_another_instance(
    visitor: Visitor, setting: str
) -> None:
    run(visitor, "CREATE TABLE t (a int)", "SELECT 1")
    for _ in range(3):
        assert run(visitor, setting).status == "completed"
        ended = run(visitor, "INSERT INTO t VALUES (1) RETURNING pg_sleep(0.01)::text")
        assert ended.status == "completed", ended
        ended = run(visitor, "INSERT INTO t VALUES (2)", "INSERT INTO t VALUES (3)")
        assert ended.status == "completed", ended


def test_a_procedure_that_commits_and_then_fails_runs_once(visitor: Visitor) -> None:
    failed = run(
        visitor,
        "CREATE TABLE bills (n int); CREATE PROCEDURE bill() LANGUAGE plpgsql AS $$ BEGIN"
        " INSERT INTO bills VALUES (1); COMMIT;"
        " RAISE EXCEPTION 'deadlock' USING ERRCODE = '40P01'; END $$",
        "CALL bill()",
    )
    assert failed.sqlstate == "40P01"
    assert run(visitor, "SELECT count(*) FROM bills").value == 1


# --- conflicts ---


@pytest.mark.parametrize("level", ["read committed", "serializable"])
def test_workflows_that_conflict_are_run_again_until_each_has_done_its_work(
    visitor: Visitor, level: str
) -> None:
    move = (
        "DO $$ BEGIN UPDATE accounts SET n = n - 1 WHERE id = {};"
        " PERFORM pg_sleep(0.02); UPDATE accounts SET n = n + 1 WHERE id = {}; END $$"
    )
    with visitor.connect() as session:
        session.execute("CREATE TABLE accounts (id int PRIMARY KEY, n int)")
        session.execute("INSERT INTO accounts VALUES (1, 100), (2, 100)")
        session.execute(
            f"ALTER ROLE {visitor.role.name} SET default_transaction_isolation = '{level}'".encode()
        )
        instances = [start(session, *[move.format(*pair)] * 2) for pair in ((1, 2), (2, 1), (1, 2))]
        assert [ended(session, i, 60).status for i in instances] == ["completed"] * 3
        row = session.execute("SELECT n FROM accounts ORDER BY id").fetchall()
        assert row == [(98,), (102,)]


# --- sessions ---


def test_a_step_finds_nothing_that_another_instance_left_in_a_session(visitor: Visitor) -> None:
    leaves = (
        ("CREATE TEMP TABLE leftover (a int); SET search_path = pg_temp; SET work_mem = '3MB'"),
        "SELECT pg_advisory_lock_shared(815), set_config('my.own', 'left', false)",
    )
    finds = (
        "SELECT (to_regclass('pg_temp.leftover') IS NOT NULL)::text AS temp,"
        " current_setting('search_path') AS path, current_setting('work_mem') AS mem,"
        " coalesce(current_setting('my.own', true), '') AS own,"
        " (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
        " AND pid = pg_backend_pid()) AS locks"
    )
    with visitor.connect() as session:
        clean = run(session, finds).rows
        assert run(session, *leaves).status == "completed"
        assert run(session, finds).rows == clean


def test_a_lock_that_a_step_leaves_behind_is_let_go_when_its_session_idles(
    visitor: Visitor,
) -> None:
    with visitor.connect() as session:
        key = session.info.backend_pid
        assert run(session, f"SELECT pg_advisory_lock({key})").status == "completed"
        session.execute("SET lock_timeout = '10s'")
        session.execute(f"SELECT pg_advisory_lock({key})".encode())


def test_a_step_that_changes_its_role_changes_it_for_itself_only(visitor: Visitor) -> None:
    group, admin = f"{visitor.role.name}_group", visitor.database.connect("postgres")
    with admin:
        admin.execute(f"CREATE ROLE {group}".encode())
        admin.execute(f"GRANT {group} TO {visitor.role.name}".encode())
    set_role = f"SET ROLE {group}"
    done = run(visitor, set_role, "SELECT current_user::text AS a", "SELECT $s2")
    assert done.value == visitor.role.name
    several = run(visitor, f"{set_role}; SELECT 1", "SELECT current_user::text")
    assert several.value == visitor.role.name
    both = run(visitor, f"SELECT set_config('role', '{group}', true), current_user::text AS u")
    assert both.status == "completed"


def test_a_step_may_take_the_engines_prepared_statements_away(visitor: Visitor) -> None:
    with visitor.connect() as session:
        session.execute(
            "CREATE FUNCTION drop_all() RETURNS int LANGUAGE plpgsql"
            " AS $$ BEGIN EXECUTE 'DEALLOCATE ALL'; RETURN 1; END $$"
        )
        assert run(session, "SELECT drop_all()", "SELECT 2", "SELECT 3").value == 3
        encoding = "SELECT set_config('client_encoding', 'latin1', false), 'é'"
        assert run(session, encoding, "SELECT 'é'").value == "é"


def test_what_hostile_names_shadow_is_not_used(visitor: Visitor) -> None:
    forged = (
        "to_json(anyelement)", "row_to_json(record)", "count(anyelement)", "concat(text)",
        "json_build_array(text)", "quote_ident(text)", "set_config(text, text, boolean)",
        "pg_typeof(anyelement)", "current_setting(text)",
    )  # fmt: skip
    with visitor.connect() as session:
        schema = visitor.role.name
        for signature in forged:
            session.execute(
                f"CREATE FUNCTION {schema}.{signature} RETURNS text LANGUAGE plpgsql"
                " AS $$ BEGIN RETURN 'forged'; END $$".encode()
            )
        for kind in ("oid", "text", "int4", '"char"'):
            session.execute(
                f"CREATE FUNCTION {schema}.wrong({kind}, {kind}) RETURNS boolean LANGUAGE sql"
                " AS $$ SELECT false $$".encode()
            )
            session.execute(
                f"CREATE OPERATOR {schema}.= (leftarg = {kind}, rightarg = {kind},"
                f" function = {schema}.wrong)".encode()
            )
        session.execute(f"CREATE DOMAIN {schema}.text AS pg_catalog.text".encode())
        session.execute(
            f"ALTER ROLE {visitor.role.name} SET search_path = {schema}, pg_catalog".encode()
        )
    with visitor.connect() as session:
        done = run(
            session,
            "SELECT 1.50::numeric AS a, 'x'::pg_catalog.text AS b",
            "SELECT $s1.a AS a, '$s1.b' AS b, pg_catalog.pg_typeof($s1.a)::pg_catalog.text AS t",
        )
        assert done.text == '{"rows":[{"a":"1.50","b":"x","t":"numeric"}],"row_count":1}'


# --- df inside a step ---


def test_a_step_may_start_and_signal_and_what_it_does_is_part_of_it(visitor: Visitor) -> None:
    with visitor.connect() as session:
        done = run(session, "SELECT df.start('SELECT 5')", "SELECT $s1")
        assert ended(session, done.value).value == 5
        failed = run(
            session, "DO $$ BEGIN PERFORM df.start('SELECT 6', 'never'); PERFORM 1/0; END $$"
        )
        assert failed.sqlstate == "22012"
        assert session.execute("SELECT * FROM df.instances WHERE label = 'never'").fetchall() == []
        waits = session.execute("SELECT df.start(df.wait_for_signal('go'))").fetchone()
        assert waits is not None
        assert run(session, f"SELECT df.signal('{waits[0]}', 'go', '1')").status == "completed"
        assert ended(session, waits[0]).result["data"] == 1
        itself = session.execute(
            "SELECT df.start(df.seq('SELECT df.signal(''{sys_instance_id}'', ''me'')',"
            " df.wait_for_signal('me')))"
        ).fetchone()
        assert itself is not None
        assert ended(session, itself[0]).result["timed_out"] is False


def test_a_step_may_cancel_another_instance_and_wait_for_it(visitor: Visitor) -> None:
    with visitor.connect() as session:
        other = start(session, "SELECT pg_sleep(60)")
        assert run(session, f"SELECT df.cancel('{other}')").status == "completed"
        assert ended(session, other).status == "cancelled"


def test_an_open_cancel_that_is_rolled_back_costs_no_step(visitor: Visitor) -> None:
    with visitor.connect() as session, visitor.connect(autocommit=False) as canceller:
        session.execute("CREATE TABLE effects (n int)")
        session.execute("CREATE SEQUENCE tries")
        key = session.info.backend_pid
        session.execute(f"SELECT pg_advisory_lock({key})".encode())
        instance = start(
            session,
            f"INSERT INTO effects SELECT nextval('tries') FROM pg_advisory_xact_lock({key})",
        )
        wait_until(lambda: _waits(visitor, "advisory"), "the step has begun")
        canceller.execute("SELECT df.cancel(%s)", [instance])
        session.execute(f"SELECT pg_advisory_unlock({key})".encode())
        wait_until(lambda: _polls(visitor), "the step waits to commit")
        canceller.rollback()
        assert ended(session, instance).status == "completed"
        assert session.execute("SELECT n FROM effects").fetchall() == [(1,)]


def _waits(visitor: Visitor, event: str) -> bool:
    return _active(visitor, "wait_event", event)


def _polls(visitor: Visitor) -> bool:
    return _active(visitor, "wait_event", "PgSleep")


def _active(visitor: Visitor, column: str, value: str) -> bool:
    with visitor.database.connect("postgres") as admin:
        return bool(
            admin.execute(
                f"SELECT FROM pg_stat_activity WHERE usename = %s AND {column} = %s".encode(),
                [visitor.role.name, value],
            ).fetchall()
        )
