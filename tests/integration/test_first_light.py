"""A session of an ordinary role through the proxy, and what a user gets wrong in it."""

from __future__ import annotations

from contextlib import closing

import psycopg
import pytest

from tests.fix_serve import Visitor

FIRST = "SELECT df.start('SELECT 1 AS a' |=> 'x' ~> 'SELECT $x.a + 1 AS b', 'first')"


def test_psql_session(visitor: Visitor) -> None:
    session = (
        f"{FIRST} AS id \\gset\n"
        "SELECT df.await_instance(:'id');\nSELECT df.result(:'id');\nSELECT df.status(:'id');\n"
    )
    assert visitor.psql(session).splitlines() == [
        "completed",
        '{"rows":[{"b":2}],"row_count":1}',
        "completed",
    ]


def test_start_in_a_rolled_back_transaction_leaves_nothing(visitor: Visitor) -> None:
    visitor.psql("CREATE TABLE t (n int)")
    session = (
        "BEGIN;\nSELECT df.start('INSERT INTO t VALUES (1)') AS id \\gset\n"
        "ROLLBACK;\nSELECT df.status(:'id') IS NULL;\nSELECT count(*) FROM df.list_instances();\n"
    )
    assert visitor.psql(session).splitlines()[-2:] == ["t", "0"]


def test_result_of_a_failed_step_is_an_error_with_its_sqlstate(visitor: Visitor) -> None:
    instance = visitor.psql("SELECT df.start('SELECT 1/0 AS x', 'division')")
    assert visitor.psql(f"SELECT df.await_instance('{instance}', 20)") == "failed"
    assert visitor.psql(f"SELECT df.result('{instance}') IS NULL") == "t"
    explained = visitor.psql(f"SELECT df.explain('{instance}')")
    assert "✗ Failed" in explained
    assert "division by zero" in explained


WRONG = {
    "syntax error inside a step": (
        "SELECT df.start('SELECT 1' ~> 'SELEC 2')",
        "42601",
        "SELEC",
    ),
    "unknown name": (
        "SELECT df.start('SELECT 1 AS a' |=> 'x' ~> 'SELECT $y.a')",
        "42P02",
        "$y",
    ),
    "name used before it is bound": (
        "SELECT df.start('SELECT $x' ~> ('SELECT 1' |=> 'x'))",
        "42P02",
        "$x",
    ),
    "break outside of a loop": (
        "SELECT df.start('SELECT 1' ~> df.break())",
        "22023",
        "outside of a loop",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_workflow_is_refused_with_sqlstate_and_hint(visitor: Visitor, case: str) -> None:
    statement, sqlstate, fragment = WRONG[case]
    with closing(visitor.connect()) as bystander, closing(visitor.connect()) as client:
        bystander.execute("BEGIN")
        with pytest.raises(psycopg.Error) as caught:
            client.execute(statement)
        assert caught.value.sqlstate == sqlstate
        assert fragment in str(caught.value)
        assert caught.value.diag.message_hint
        # the same with parameters in the statement, which is the extended protocol
        with pytest.raises(psycopg.Error) as caught:
            client.execute(statement.replace("df.start(", "%s, df.start("), ["bound"])
        assert caught.value.sqlstate == sqlstate
        assert client.execute("SELECT count(*) FROM df.list_instances()").fetchone() == (0,)
        assert bystander.execute("SELECT 1").fetchone() == (1,)
    psql = visitor.run_psql(f"\\set VERBOSITY verbose\n{statement};")
    assert psql.returncode == 3
    assert f"ERROR:  {sqlstate}: " in psql.stderr
    assert "HINT:  " in psql.stderr
    started = [event["kind"] for event in visitor.serve.events("child.started")]
    assert sorted(started) == ["engine", "proxy"], "nothing had to be restarted"


def test_error_position_points_into_the_users_text(visitor: Visitor) -> None:
    statement = "SELECT df.start('SELECT 1' ~> 'SELECT 2' ~> 'SELECT 3'), nosuch"
    with (
        closing(visitor.connect()) as client,
        pytest.raises(psycopg.errors.UndefinedColumn) as caught,
    ):
        client.execute(statement)
    assert caught.value.diag.statement_position == str(statement.index("nosuch") + 1)


def test_step_that_only_the_server_can_refuse_fails_at_its_turn(visitor: Visitor) -> None:
    visitor.psql("CREATE TABLE t (n int)")
    steps = "'INSERT INTO t VALUES (1)' ~> 'SELECT nosuch FROM t'"
    instance = visitor.psql(f"SELECT df.start({steps})")
    assert visitor.psql(f"SELECT df.await_instance('{instance}', 20)") == "failed"
    assert visitor.psql("SELECT count(*) FROM t") == "1"
    assert "nosuch" in visitor.psql(f"SELECT df.explain('{instance}')")
