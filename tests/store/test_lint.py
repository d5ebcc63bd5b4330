"""df.lint, and expressions written back from their graphs."""

from __future__ import annotations

import json

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings

from tests.rewrite.test_reading import expressions
from tests.store.asking import rows, value

GET = "SELECT code, node, line, col FROM df.lint(%s) ORDER BY node NULLS FIRST"


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("'a' ~> ('b' & 'c')", []),
        ("'a' ~> 'b' & 'c'", [("precedence", None, 1, 12)]),
        ("('a' & 'b')\n  ~> 'c' | 'd'", [("precedence", None, 2, 10)]),
        ("'a' |=> 'x' & 'b' |=> 'y'", [("precedence", None, 1, 19)]),
        ("'a' <-> 'b' ~> 'c' <-> 'd'", [("precedence", None, 1, 20)]),
        ("df.join('a' ~> 'b', 'c' & 'd')", []),
        ("'a ~> b' & $q$c ~> d$q$ & E'\\' ~> ' & 'd' -- ~>\n & 'e'", []),
        ("'a' ~> /* & */ 'b'", []),
        ("df.retry('INSERT INTO t SELECT 1' ~> 'DELETE FROM t')", [("retry-repeats", "00000001")]),
        ("df.retry('SELECT 1' ~> 'DELETE FROM t')", []),
        ("df.retry(df.transaction('DELETE FROM s', 'DELETE FROM t'))", []),
        ("('a' |=> 'x') & ('b' |=> 'x')", [("name-bound-twice", "00000001")]),
        ("df.join3('a', 'b' |=> 'x', 'c' ~> ('d' |=> 'x'))", [("name-bound-twice", "00000001")]),
        ("('a' |=> 'x') ~> ('b' |=> 'x')", []),
        ("@> df.sleep(5) ~> 'b'", [("unreachable", "00000002")]),
        ("@> 'a'", [("never-waits", "00000001")]),
        ("@> ('a' ~> ('c' ?> df.break())) ~> 'b'", []),
        ("@> (@> df.break() ~> df.sleep(5)) ~> 'b'", [("unreachable", "00000002")]),
        ("@> ('a' ~> df.break() ~> 'b')", [("unreachable", "00000005")]),
        ("'VACUUM t'", [("at-least-once", "00000001")]),
        ("df.map('UPDATE t SET a = 1', 'b')", [("no-items", "00000002")]),
        ("df.map('UPDATE t SET a = 1 RETURNING a', 'b')", []),
        ("@> ('a' <-> 'b')", [("refused", "00000002")]),
        ("'a' ~> 'b' !> 'c'", [("refused", None)]),
        ("df.retry('a', 0)", [("refused", None)]),
    ],
)
def test_what_may_not_be_meant(
    session: psycopg.Connection, expression: str, expected: list[tuple[str, ...]]
) -> None:
    found = rows(session, GET, [expression])
    assert found == [(*row, None, None)[:4] for row in expected]


def test_a_call_that_may_come_twice_is_told(owner: psycopg.Connection) -> None:
    remarks = (
        "SELECT code, node, line, col FROM df.lint(df.sql('a') OPERATOR(df.~>) df.http(%s, %s))"
    )
    assert rows(owner, remarks, ["https://a.example/", "POST"]) == [
        ("at-least-once", "00000003", None, None)
    ]
    assert rows(owner, remarks, ["https://a.example/", "GET"]) == []
    assert rows(owner, remarks, ["https://a.example/{sys_instance_id}", "POST"]) == []


def test_a_remark_says_what_is_meant_and_what_to_do(session: psycopg.Connection) -> None:
    (remark,) = rows(session, "SELECT * FROM df.lint($$ 'a' ~> 'b' & 'c' |=> 'x' $$)")
    assert remark == (
        "precedence",
        "warning",
        "& binds no tighter than what stands before it",
        None,
        1,
        13,
        "It reads (('a' ~> 'b') & 'c') |=> 'x': put parentheses where you mean something else.",
    )
    (remark,) = rows(session, "SELECT severity, message, hint FROM df.lint(@> ('a' <-> 'b'))")
    assert remark == (
        "error",
        "df.compensate() cannot be in a loop, where it would run again and again",
        "Put df.saga() around it, inside what is repeated.",
    )


def test_an_instance_can_be_looked_at(session: psycopg.Connection) -> None:
    started = value(session, "SELECT df.start(('a' |=> 'x') & ('b' |=> 'x'))")
    assert rows(session, GET, [started]) == [("name-bound-twice", "00000001", None, None)]
    (missing,) = rows(session, "SELECT code, message FROM df.lint('ffffffff')")
    assert missing == ("refused", 'instance "ffffffff" not found or access denied')


def test_the_proxy_adds_the_text_and_the_places(session: psycopg.Connection) -> None:
    reading = """{"written": "'a' ~> 'b' & 'c'", "origin": [3, 5], "places": {"1": [3, 16]}}"""
    found = rows(session, "SELECT code, line, col FROM df.lint('a' ~> 'b' & 'c', %s)", [reading])
    assert found == [("precedence", 3, 16)]
    reading = """{"written": "df.retry('a' ~> 'b')", "places": {"1": [2, 7]}}"""
    found = rows(
        session,
        "SELECT line, col FROM df.lint(df.retry('CALL a()' ~> 'CALL b()'), %s)",
        [reading],
    )
    assert found == [(2, 7)]


def test_a_fault_that_the_proxy_found_is_told(session: psycopg.Connection) -> None:
    reading = """{"fault": {"message": "m", "hint": null, "node": 3, "line": 2, "col": 5}}"""
    (found,) = rows(session, "SELECT * FROM df.lint('a' ~> 'b' & 'c', %s)", [reading])
    assert found == ("refused", "error", "m", "00000003", 2, 5, None)


def test_explain_shows_what_may_surprise(session: psycopg.Connection) -> None:
    explained = value(session, "SELECT df.explain($$ 'a' ~> 'b' & 'c' $$)")
    assert explained.split("\n")[-1] == "Reads: ('a' ~> 'b') & 'c'"
    assert "Reads" not in value(session, "SELECT df.explain($$ ('a' ~> 'b') & 'c' $$)")
    whole = value(session, "SELECT df.explain('a' ~> 'b' ~> 'c', true)")
    assert whole == "SQL: a\n→ SQL: b\n→ SQL: c\nReads: 'a' ~> 'b' ~> 'c'"
    started = value(session, "SELECT df.start(@> ('a' | df.sleep(5)) )")
    assert value(session, "SELECT df.explain(%s, true)", [started]).endswith(
        "\nReads: @> ('a' | df.sleep(5))"
    )


WRITTEN = "SELECT df._written(df._nodes_of(%s))"
REFUSED = (psycopg.DataError, psycopg.NotSupportedError, psycopg.OperationalError)


def test_an_expression_written_back_builds_the_same_graph(owner: psycopg.Connection) -> None:
    owner.execute('SET search_path = "$user", public, df')

    @settings(
        max_examples=200,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )
    @given(expressions())
    def check(expression: str) -> None:
        try:
            graph = value(owner, f"SELECT df.loop({expression})")
            value(owner, "SELECT df._check_whole(%s)", [graph])
        except REFUSED:
            return
        if graph is None:
            return
        written = value(owner, WRITTEN, [graph])
        again = value(owner, f"SELECT {written}")
        assert without_marks(again) == without_marks(graph), written

    check()


def without_marks(graph: str) -> object:
    """The graph without what only says how it was written; with a condition's missing else."""
    return json.loads(graph, object_hook=lambda node: {k: v for k, v in node.items() if k != MARK})


MARK = "_partial_if"


def test_a_long_chain_is_written_quickly(session: psycopg.Connection) -> None:
    steps = " ~> ".join(["'SELECT 1'"] * 1000)
    assert value(session, f"SELECT df._written(df._nodes_of({steps}))") == steps
