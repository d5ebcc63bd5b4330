"""Which statements are a plain wait, and what is sent when it is over."""

from __future__ import annotations

import pytest

from durproxy.rewrite.plan import Hold, Parameter, plan_text


@pytest.mark.parametrize(
    ("statement", "instance_id", "timeout"),
    [
        ("SELECT df.await_instance('00c0ffee')", "00c0ffee", 30),
        ("select df . AWAIT_INSTANCE ( 'a' , 5 ) AS s ;", "a", 5),
        ("SELECT df.await_instance($1)", Parameter(0), 30),
        ("SELECT df.await_instance($2::text, $1::int)", Parameter(1), Parameter(0)),
        ("SELECT df.await_instance(timeout_seconds => 9, instance_id => $1)", Parameter(0), 9),
    ],
)
def test_a_plain_wait_is_held(
    statement: str, instance_id: str | Parameter, timeout: int | Parameter
) -> None:
    plan = plan_text(statement, "utf-8")
    released = statement.replace("df", "df_held").encode()
    assert plan.hold == Hold(instance_id, timeout, released)
    assert plan.text is None


@pytest.mark.parametrize(
    ("statement", "released"),
    [
        ('SELECT "df".await_instance($1)', "SELECT df_held.await_instance($1)"),
        (
            "SELECT df.wait_for_completion($1)",
            "SELECT df_held.wait_for_completion($1)",
        ),
        (
            'SELECT df."wait_for_completion"(($1)) x -- é',
            'SELECT df_held."wait_for_completion"(($1)) x -- é',
        ),
    ],
)
def test_the_released_form_has_the_same_column(statement: str, released: str) -> None:
    hold = plan_text(statement, "utf-8").hold
    assert hold is not None
    assert hold.released.decode() == released


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT df.await_instance('a'), 1",
        "SELECT df.await_instance('a') FROM t",
        "SELECT df.await_instance('a') WHERE true",
        "SELECT DISTINCT df.await_instance('a')",
        "SELECT df.await_instance('a') LIMIT 1",
        "SELECT df.await_instance('a') FOR UPDATE",
        "SELECT df.await_instance('a') UNION SELECT 'x'",
        "WITH x AS (SELECT 1) SELECT df.await_instance('a')",
        "SELECT df.await_instance('a')::text",
        "SELECT df.await_instance(lower('A'))",
        "SELECT df.await_instance(NULL)",
        "SELECT df.await_instance(id) FROM t",
        "SELECT df.await_instance('a', 2 + 3)",
        "SELECT df.await_instance('a', NULL)",
        "SELECT df.await_instance('a', '5')",
        "SELECT df.await_instance($1::varchar(3))",
        "SELECT df.await_instance()",
        "SELECT df.await_instance('a', 1, 2)",
        "SELECT df.await_instance('a') OVER ()",
        "SELECT df.await_instance('a') INTO t",
        "VALUES (df.await_instance('a'))",
        "BEGIN; SELECT df.await_instance('a')",
        "EXPLAIN SELECT df.await_instance('a')",
        "SELECT df.start('SELECT 1')",
    ],
)
def test_everything_else_waits_in_the_server(statement: str) -> None:
    assert plan_text(statement, "utf-8").hold is None
