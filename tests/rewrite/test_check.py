"""What is refused at df.start: message, hint, place, and that the server says it."""

from __future__ import annotations

from functools import partial

import psycopg
import pytest

from durproxy.rewrite.check import Fault, check, line_and_column
from durproxy.rewrite.parse import parse
from durproxy.rewrite.plan import plan_text
from tests.fix_postgres import Database


def fault(expression: str) -> Fault | None:
    text = f"SELECT df.start({expression})"
    call = parse(text)[0].stmt.targetList[0].val
    return check(text, call.location, call.args[0], partial(line_and_column, text))


def refused(expression: str) -> Fault:
    found = fault(expression)
    assert found is not None
    return found


@pytest.mark.parametrize(
    "expression",
    [
        "'SELECT 1 AS a' |=> 'x' ~> 'SELECT $x.a'",
        "'SELECT 1' |=> 'x' & 'SELECT 2' |=> 'y' ~> 'SELECT $x, $y'",
        "@> ('SELECT $n?' |=> 'n' ~> df.break('$n'))",
        "df.loop('SELECT 1' |=> 'n', '$n > 3')",
        "('SELECT true' |=> 'c') ?> 'SELECT $c' !> 'SELECT 2'",
        "'SELECT 1' |=> 'x' ~> df.if_rows('x', 'SELECT * FROM $x.*', 'SELECT 1')",
        "$1 ~> 'SELECT $anything'",
        "a.graph ~> df.seq('SELECT $x', b.graph)",
        "'SELECT * FROM {tbl} WHERE ==='",
        "'VALUES (1)' ~> 'TABLE t' ~> 'INSERT INTO t VALUES (1) RETURNING a' ~> 'CALL p()'",
        "'DO $$ BEGIN RAISE NOTICE ''$x''; END $$'",
        "'SELECT 1' |=> 'x' ~> 'CREATE TABLE t AS SELECT $x AS a'",
        "NULL",
        "''::varchar(3) ~> 'SELECT 1'",
        "df.catch('SELECT 1' |=> 'x', 'SELECT $error.message, $error.attempt, $x?')",
        "df.map('SELECT 1 AS a', 'SELECT $item.a' |=> 'y' ~> 'SELECT $y')",
        "'SELECT 1' |=> 'error' ~> 'SELECT $error'",
        "df.retry('SELECT 1' |=> 'x', 5) ~> df.timeout('SELECT $x' |=> 'y', '1 s') ~> 'SELECT $y'",
        "('SELECT 1' |=> 'x') <-> 'SELECT $x' ~> 'SELECT $x'",
        "df.compensate('SELECT 1', 'SELECT $x') |=> 'x'",
        "df.finally('SELECT 1' |=> 'x', 'SELECT $x?') ~> 'SELECT $x'",
        "df.transaction('SELECT 1' |=> 'x', 'SELECT $x') |=> 'y' ~> 'SELECT $y'",
        "@> df.saga('SELECT 1' <-> 'SELECT 2')",
        "'SELECT 1' |=> 'n' ~> df.wait_for_condition('$n > (SELECT count(*) FROM t)')",
        "df.retry('SELECT 1', $1) ~> df.any('SELECT 1' |=> 'x', 'SELECT 2') ~> 'SELECT $x?'",
    ],
)
def test_right_expressions_pass(expression: str) -> None:
    assert fault(expression) is None


MISPLACED = [
    ("@> ('SELECT 1' <-> 'SELECT 2')", "0A000", "cannot be in a loop", "node 2, line 1, column 32"),
    (
        "df.retry('SELECT 1', $1) ~> df.retry(\n'SELECT 1' <-> 'SELECT 2')",
        "0A000",
        "cannot be in df.retry()",
        "line 2, column 12",
    ),
    (
        "df.map('SELECT 1', df.compensate('SELECT 1', 'SELECT 2'))",
        "0A000",
        "cannot be in df.map()",
        "node 3, line 1, column 36",
    ),
    (
        "'SELECT 1' <-> df.compensate('SELECT 1', 'SELECT 1')",
        "0A000",
        "cannot be in an undo",
        "node 3, line 1, column 32",
    ),
    ("@> df.any('SELECT 1', df.break())", "0A000", "df.break() cannot leave df.any()", "column 39"),
    (
        "@> df.finally('SELECT 1', df.break())",
        "0A000",
        "leave the cleanup of df.finally()",
        "column 43",
    ),
    ("df.transaction('SELECT 1', df.sleep(1))", "0A000", "not SLEEP", "line 1, column 44"),
    (
        "df.map('SELECT 1' ~> 'SELECT 2', 'SELECT 1')",
        "0A000",
        "must be a SQL query, not THEN",
        "column 35",
    ),
    (
        "df.catch('SELECT $error', 'SELECT 1')",
        "42P02",
        '"$error" does not name',
        "node 2, line 1, column 34",
    ),
    (
        "df.catch('SELECT 1', 'SELECT 1') ~> 'SELECT $error.message'",
        "42P02",
        '"$error.message" does not',
        "node 5",
    ),
    ("df.map('SELECT $item.a', 'SELECT 1')", "42P02", '"$item.a" does not name', "node 2"),
    (
        "df.map('SELECT 1', 'SELECT 1' |=> 'x') ~> 'SELECT $x'",
        "42P02",
        "nothing can have bound it",
        "node 5",
    ),
    (
        "df.transaction('SELECT 1' |=> 'x') ~> 'SELECT $x'",
        "42P02",
        "nothing can have bound it",
        "node 4",
    ),
    (
        "df.finally('SELECT 1', 'SELECT 1' |=> 'x') ~> 'SELECT $x'",
        "42P02",
        "nothing can have bound it",
        "node 5",
    ),
    ("df.map('SELEC 1', 'SELECT 1')", "42601", '"1" in a step', "node 2, line 1, column 31"),
    (
        "df.wait_for_condition('SELECT b c d')",
        "42601",
        '"d" in a step',
        "node 1, line 1, column 17",
    ),
    ("df.wait_for_condition('DELETE FROM t')", "0A000", "one query that changes nothing", "node 1"),
    ("df.wait_for_condition('$nothing > 3')", "42P02", '"$nothing" does not name', "node 1"),
]


@pytest.mark.parametrize(
    ("expression", "sqlstate", "message", "detail"),
    [
        *MISPLACED,
        ("'SELECT * FRM t'", "42601", 'syntax error at or near "FRM"', "node 1, line 1, column 27"),
        ("'SELECT 1' ~>\n  'SELECT ''a'' b c'", "42601", '"c"', "node 3, line 2, column 19"),
        ("E'SELECT \\'é\\' b c'", "42601", '"c" in a step', "node 1, line 1, column 34"),
        ("$q$SELECT 1 b c$q$", "42601", '"c" in a step', "node 1, line 1, column 31"),
        ("'SEL' || 'ECT 1 b c'", "42601", '"c" in a step', "node 1, line 1, column 17"),
        ("'SELECT 1' ~> 'SELECT 1' ~> 'SELEC'", "42601", '"SELEC"', "node 5, line 1, column 46"),
        ("'  '", "42601", "a step cannot be empty", "node 1"),
        ("'-- nothing'", "42601", "a step cannot be empty", "node 1"),
        ("'SELECT $y'", "42P02", '"$y" does not name an earlier result', "line 1, column 25"),
        ("'SELECT $x' |=> 'x'", "42P02", "used where nothing can have bound it", "node 1"),
        ("'SELECT 1' |=> 'x' & 'SELECT $x'", "42P02", "nothing can have bound it", "node 3"),
        ("df.break()", "22023", "cannot be used outside of a loop", "node 1, line 1, column 17"),
        ("@> 'SELECT 1' ~> df.break()", "22023", "outside of a loop", "node 4"),
        ("'SELECT 1' |=> 'a b'", "22023", '"a b" is not a valid identifier', "node 1"),
        ("'SELECT 1' |=> ''", "22023", "result name cannot be empty", "node 1"),
        ("'COMMIT'", "0A000", "COMMIT cannot be a step", "node 1"),
        ("'COPY t FROM STDIN'", "0A000", "COPY FROM STDIN cannot be a step", "node 1"),
        ("'SELECT 1' |=> 'x' ~> 'SET a = $x'", "0A000", "this kind of statement", "node 3"),
        ("'VALUES (1)' |=> 'x' ~> 'CREATE VIEW v AS SELECT $x'", "0A000", "kind of", "node 3"),
        ("'SELECT 1' |=> 'x' ~> 'TABLE $x'", "42601", '"$x" cannot be used here', "node 3"),
        ("'SELECT 1' |=> 'x' ~> 'SELECT U&''$x'''", "22023", "this kind of string", "node 3"),
        ("'c' ?> 't' ~> 'u' !> 'e'", "22023", "left side of !> must be a ?>", "column 35"),
        ("'SELECT 1' ~> 'SELECT ' || a", "22023", "|| would append text", "line 1, column 41"),
        ("df.loop('SELECT 1', '$n >')", "42601", "syntax error at end of input", "node 2"),
        ("df.if_rows('x', 'SELECT 1', 'SELECT 1')", "42P02", 'result name "x" does not', "node 1"),
        ("'@> ' ~> df.loop(df.break('$x'))", "42601", '"@>"', "node 2"),
        ("df.loop(df.break('$x'))", "42P02", '"$x" does not name', "node 2"),
    ],
)  # fmt: skip
def test_wrong_expressions_are_refused(
    expression: str, sqlstate: str, message: str, detail: str
) -> None:
    found = refused(expression)
    assert found.sqlstate == sqlstate
    assert message in found.message
    assert found.detail is not None
    assert detail in found.detail


def test_hints_say_what_to_do() -> None:
    assert refused("'SELECT 1' |=> 'total' ~> 'SELECT $totl'").hint == 'Did you mean "total"?'
    assert refused("'SELECT $x'").hint == "Name an earlier step: |=> 'x'."
    misplaced = refused("'c' ?> 't' ~> ('u' & 'v') !> 'e'").hint
    assert misplaced is not None
    assert "(('c' ?> 't') ~> ('u' & 'v')) !> 'e'" in misplaced


def test_a_hint_shows_a_reading_that_may_surprise() -> None:
    hint = refused("'SELECT 1' |=> 'x' ~> 'SELECT 2' & 'SELECT $x'").hint
    assert hint is not None
    assert "It reads (('SELECT 1' |=> 'x') ~> 'SELECT 2') & 'SELECT $x': " in hint
    hint = refused("'SELECT 1' ~> ('SELECT 2' & 'SELECT $x')").hint
    assert hint is not None
    assert "It reads" not in hint
    hint = refused("'SELECT 1' ~> 'SELECT 2' & 'SELEC'").hint
    assert hint is not None
    assert "It reads" not in hint


def test_hints_say_where_error_and_item_are() -> None:
    assert refused("'SELECT $error.message'").hint == "The handler of df.catch() has it."
    assert refused("'SELECT $item.a'").hint == "The body of df.map() has it."


def test_limits_are_named() -> None:
    nested = "@> (" * 200 + "'SELECT 1'" + ")" * 200
    assert fault(nested) is None
    deep = "'SELECT true'" + " ?> 'SELECT 1' !> 'SELECT 2'" * 256
    assert "maximum nesting depth of 256" in refused(deep).message
    assert fault("'SELECT 1'" + " ~> 'SELECT 1'" * 2_000) is None


def test_the_server_raises_the_refusal(home: Database) -> None:
    with home.connect() as connection:
        plan = plan_text("SELECT df.start('SELECT 1' & 'SELECT * FRM \"t''\"', $1), $2", "utf-8")
        assert plan.text is not None
        with pytest.raises(psycopg.errors.SyntaxError) as raised:
            execute(connection, plan.text, "label", "3")
        diagnostic = raised.value.diag
        assert diagnostic.message_primary == 'syntax error at or near "FRM" in a step'
        assert diagnostic.message_detail == ('At node 3, line 1, column 40: SELECT * FRM "t\'"')
        connection.execute("CREATE TABLE empty (a text)")
        for statement in (
            "INSERT INTO empty SELECT df.start('SELEC' ~> a) FROM empty",
            "CREATE TABLE made AS SELECT df.start('SELEC' ~> a) FROM empty",
            "SELECT df.start(label => 'x', fut => @> 'SELEC')",
        ):
            text = plan_text(statement, "utf-8").text
            assert text is not None
            with pytest.raises(psycopg.errors.SyntaxError, match="SELEC"):
                connection.execute(text)


def execute(connection: psycopg.Connection, text: bytes, *values: str) -> None:
    """Run a text with $n parameters as a driver does that sends it unchanged."""
    result = connection.pgconn.exec_params(text, [value.encode() for value in values])
    if result.status != psycopg.pq.ExecStatus.TUPLES_OK:
        raise psycopg.errors.error_from_result(result)
