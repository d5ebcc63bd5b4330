"""The constructors of failure handling, fan-out and waits: their texts, and what they refuse."""

from __future__ import annotations

import json

import psycopg
import pytest

from tests.store.asking import refusal, value

A, B, C = (f'{{"node_type":"SQL","query":"{name}"}}' for name in "abc")
RETRY = (
    '{"max_attempts":3,"backoff":1.0,"factor":2.0,"max_backoff":300.0,'
    '"jitter":true,"retry_on":null}'
)


def node(kind: str, *children: str, query: str | None = None) -> str:
    parts = [f'"node_type":"{kind}"']
    if query is not None:
        parts.append(f'"query":{json.dumps(query)}')
    return "{" + ",".join((*parts, *children)) + "}"


def left(child: str) -> str:
    return f'"left_node":{child}'


def right(child: str) -> str:
    return f'"right_node":{child}'


def source(child: str) -> str:
    return f'"condition_node":{child}'


CONSTRUCTORS = {
    "df.retry('a')": node("RETRY", left(A), query=RETRY),
    """df.retry('a', 5, '250 milliseconds', 1.5, max_backoff => '1 hour', jitter => false,
        retry_on => '{40,40001,57P0x,http_5xx,timeout}')""": node(
        "RETRY",
        left(A),
        query='{"max_attempts":5,"backoff":0.25,"factor":1.5,"max_backoff":3600.0,"jitter":false,'
        '"retry_on":["40","40001","57P0x","http_5xx","timeout"]}',
    ),
    "df.timeout('a', '5 seconds')": node("TIMEOUT", left(A), query='{"seconds":5.0}'),
    "df.timeout('a', '1 day')": node("TIMEOUT", left(A), query='{"seconds":86400.0}'),
    "df.catch('a', 'b')": node("CATCH", left(A), right(B)),
    "df.finally('a', cleanup => 'b')": node("FINALLY", left(A), right(B)),
    "df.compensate('a', 'b')": node("COMPENSATE", left(A), right(B)),
    "'a' <-> 'b'": node("COMPENSATE", left(A), right(B)),
    "df.saga('a' <-> 'b')": node("SAGA", left(node("COMPENSATE", left(A), right(B)))),
    "df.parallel('a')": node("JOIN", left(A)),
    "df.parallel('a', 'b')": node("JOIN", left(A), right(B)),
    "df.parallel('a', 'b', 'c')": node("JOIN", left(A), right(B), f'"extra_nodes":[{C}]'),
    "df.parallel(VARIADIC '[5:6]={a,b}')": node("JOIN", left(A), right(B)),
    "df.any('a')": node("ANY", left(A)),
    "df.any('a', 'b', 'c', 'a')": node("ANY", left(A), right(B), f'"extra_nodes":[{C},{A}]'),
    "df.transaction('a', 'b' |=> 'x')": node(
        "TRANSACTION", left(A), right(B[:-1] + ',"result_name":"x"}')
    ),
    "df.map('a', 'b')": node(
        "MAP", source(A), left(B), query='{"max_concurrency":10,"tolerate":0}'
    ),
    "df.map(df.sql('a'), 'b', 3, tolerate => 2) |=> 'm'": node(
        "MAP",
        source(A),
        left(B),
        '"result_name":"m"',
        query='{"max_concurrency":3,"tolerate":2}',
    ),
    "df.sleep(interval '5 minutes')": node("SLEEP", query="PT5M"),
    "df.sleep('1 month 2 days')": node("SLEEP", query="P1M2D"),
    "df.sleep(duration => '0.25 seconds')": node("SLEEP", query="PT0.25S"),
    "df.sleep_until('2026-03-01 12:00:00.5+02')": node(
        "SLEEP_UNTIL", query="2026-03-01T10:00:00.5+00:00"
    ),
    "df.wait_for_condition('SELECT done FROM t')": node(
        "WAIT_CONDITION", query='{"query":"SELECT done FROM t","check_every":10.0}'
    ),
    "df.wait_for_condition('$x > 3', check_every => '1 minute')": node(
        "WAIT_CONDITION", query='{"query":"$x > 3","check_every":60.0}'
    ),
    # any null gives null, so that df.start can say so
    "df.catch('a', NULL)": None,
    "df.saga(NULL)": None,
    "NULL <-> 'a'": None,
    "df.sleep(NULL)": None,
}

REFUSALS = {
    "df.retry('a', 0)": "22023: max_attempts must be at least 1, got 0",
    "df.retry('a', max_attempts => NULL)": "22004: max_attempts must be a number, not null",
    "df.retry('a', backoff => '0')": "22023: backoff must be positive, got 0.0 s",
    "df.retry('a', backoff => '-1 second')": "22023: backoff must be positive, got -1.0 s",
    "df.retry('a', factor => 0.5)": "22023: factor must be at least 1 and at most 1000000, got 0.5",
    "df.retry('a', factor => 'NaN')": "22023: factor must be at least 1",
    "df.retry('a', factor => NULL)": "22004: factor must be a number, not null",
    "df.retry('a', jitter => NULL)": "22023: jitter must be true or false",
    "df.retry('a', retry_on => '{}')": "22023: retry_on cannot be empty",
    "df.retry('a', retry_on => '{40P0}')": "22023: retry_on takes SQLSTATEs",
    "df.retry('a', retry_on => '{40p01}')": "22023: retry_on takes SQLSTATEs",
    "df.retry('a', retry_on => '{http_404}')": "22023: retry_on takes SQLSTATEs",
    "df.retry('a', retry_on => ARRAY[NULL])": "22004: retry_on takes SQLSTATEs",
    "df.retry(NULL)": "22004: node of df.retry() must not be null",
    "df.timeout('a', NULL)": "22004: timeout must be an interval, not null",
    "df.timeout('a', '0')": "22023: timeout must be positive, got 0.0 s",
    "df.timeout('a', '2000 years')": '22008: interval "P2000Y" is longer than 1000 years',
    "df.timeout(NULL, '1 s')": "22004: node of df.timeout() must not be null",
    "df.parallel()": "22023: df.parallel() needs at least one node",
    "df.any(VARIADIC '{}')": "22023: df.any() needs at least one node",
    "df.any(VARIADIC NULL::text[])": "22004: nodes of df.any() must not be null",
    "df.parallel('a', NULL)": "22004: node 2 of df.parallel() must not be null",
    "df.transaction()": "22023: df.transaction() needs at least one node",
    "df.transaction('a', NULL)": "22004: node 2 of df.transaction() must not be null",
    "df.transaction('a', df.sleep(1))": (
        "0A000: only SQL steps can be in df.transaction(), not SLEEP"
    ),
    "df.transaction('a' ~> 'b')": "0A000: only SQL steps can be in df.transaction(), not THEN",
    "df.map('a' ~> 'b', 'c')": "0A000: the source of df.map() must be a SQL query, not THEN",
    "df.map(NULL, 'c')": "22004: source query of df.map() must not be null",
    "df.map('a', NULL)": "22004: body of df.map() must not be null",
    "df.map('a', 'b', 0)": "22023: max_concurrency must be at least 1, got 0",
    "df.map('a', 'b', tolerate => -1)": "22023: tolerate must be at least 0, got -1",
    "df.map('a', 'b', tolerate => NULL)": "22004: tolerate must be a number, not null",
    "df.sleep(interval '-1 second')": "22023: sleep duration must be non-negative",
    "df.sleep(interval '1001 years')": "22008: sleep duration of P1001Y is longer than 1000 years",
    "df.sleep('soon')": '22007: invalid input syntax for type interval: "soon"',
    "df.sleep('-1')": "22023: sleep duration must be non-negative, got -1",
    "df.sleep_until('infinity')": "22008: sleep_until needs a time between the years 1 and 9999",
    "df.wait_for_condition('')": "22023: query of df.wait_for_condition() cannot be empty",
    "df.wait_for_condition(NULL)": "22004: query of df.wait_for_condition() must not be null",
    "df.wait_for_condition(df.sql('a'))": "22023: df.wait_for_condition() takes the text",
    "df.wait_for_condition('a', '0')": "22023: check_every must be positive, got 0.0 s",
}

# One text meant seconds before there were intervals, and still does.
SECONDS = ("5", "'5'", "' 5 '", "5::smallint", "'5'::text", "seconds => '5'", "seconds => 5")

# What a direct INSERT may not bring in, and where: in the order of the graph.
MISPLACED = {
    "@> ('a' <-> 'b')": "0A000: df.compensate() cannot be in a loop",
    "df.retry('a' ~> ('b' <-> 'c'))": "0A000: df.compensate() cannot be in df.retry()",
    "df.map('a', 'b' <-> 'c')": "0A000: df.compensate() cannot be in df.map()",
    "df.saga(@> ('a' <-> 'b'))": "0A000: df.compensate() cannot be in a loop",
    "@> df.map('a', df.break())": "0A000: df.break() cannot leave df.map()",
    "@> df.any('a', df.break())": "0A000: df.break() cannot leave df.any()",
    "@> df.finally('a', df.break())": "0A000: df.break() cannot leave the cleanup of df.finally()",
    "@> df.saga('a' <-> df.break())": "0A000: df.break() cannot leave the undo of df.compensate()",
    "df.map('a', df.break())": "22023: df.break() is used outside of a loop",
}
PLACED = (
    "@> df.saga('a' <-> 'b')",
    "df.retry(df.saga('a' <-> 'b') ~> 'c')",
    "df.saga('a' <-> 'b') <-> 'c'",
    "df.map('a', @> df.break())",
    "@> (df.finally(df.break(), 'a'))",
    "@> df.catch(df.retry(df.break()), df.timeout(df.break(), '1 s'))",
)


@pytest.mark.parametrize(("call", "expected"), CONSTRUCTORS.items())
def test_constructor_writes_exactly_this_text(
    session: psycopg.Connection, call: str, expected: str | None
) -> None:
    assert value(session, f"SELECT {call}") == expected


@pytest.mark.parametrize(("call", "expected"), REFUSALS.items())
def test_constructor_refuses(session: psycopg.Connection, call: str, expected: str) -> None:
    error = refusal(session, f"SELECT {call}")
    assert f"{error.sqlstate}: {error.message_primary}".startswith(expected)


@pytest.mark.parametrize("argument", SECONDS)
def test_a_number_without_a_type_is_seconds(session: psycopg.Connection, argument: str) -> None:
    assert value(session, f"SELECT df.sleep({argument})") == node("SLEEP", query="5")


@pytest.mark.parametrize("style", ["postgres", "sql_standard", "iso_8601", "postgres_verbose"])
def test_times_read_the_same_whatever_the_session_has_set(
    session: psycopg.Connection, style: str
) -> None:
    session.execute(
        f"SET intervalstyle = {style}; SET datestyle = 'SQL, DMY'; SET timezone = 'Asia/Kolkata'"
    )
    assert value(session, "SELECT df.sleep(interval '1 month -2 hours')") == node(
        "SLEEP", query="P1MT-2H"
    )
    assert value(session, "SELECT df.sleep_until('2026-03-01 00:00+00')") == node(
        "SLEEP_UNTIL", query="2026-03-01T00:00:00+00:00"
    )


@pytest.mark.parametrize(("expression", "expected"), MISPLACED.items())
def test_what_stands_in_the_wrong_place_is_refused(
    session: psycopg.Connection, expression: str, expected: str
) -> None:
    error = refusal(session, f"SELECT df.start({expression})")
    assert f"{error.sqlstate}: {error.message_primary}".startswith(expected)


@pytest.mark.parametrize("expression", PLACED)
def test_what_stands_in_the_right_place_is_started(
    session: psycopg.Connection, expression: str
) -> None:
    assert value(session, f"SELECT df.status(df.start({expression}))") == "pending"


HANDWRITTEN = {
    node("RETRY", left(A)): "must be valid JSON config",
    node("RETRY", left(A), query="{}"): "max_attempts must be a number",
    node("RETRY", left(A), right(B), query=RETRY): "a RETRY node takes no right_node",
    node("TIMEOUT", left(A), query='{"seconds":0}'): "timeout must be positive",
    node("CATCH", left(A)): "a CATCH node needs left_node and right_node",
    node("SAGA"): "a SAGA node needs left_node",
    node("ANY", left(A), f'"extra_nodes":[{B}]'): "takes no extra_nodes without right_node",
    node("MAP", left(A), query='{"max_concurrency":1,"tolerate":0}'): "source of df.map()",
    node("MAP", source(A), left(B), query='{"max_concurrency":1.5,"tolerate":0}'): "an integer",
    node("TRANSACTION", left(node("SLEEP", query="1"))): "only SQL steps",
    node("SLEEP", query="P--1D"): "invalid sleep duration",
    node("SLEEP", query="P-1D"): "must be non-negative",
    node("SLEEP_UNTIL", query="tomorrow"): "sleep_until needs a time",
    node("SLEEP_UNTIL", query="2026-02-30T00:00:00+00:00"): "sleep_until needs a time",
    node("WAIT_CONDITION", query='{"query":"x"}'): "check_every must be an interval",
}


@pytest.mark.parametrize(("graph", "fragment"), HANDWRITTEN.items())
def test_a_node_written_by_hand_is_checked_like_the_others(
    session: psycopg.Connection, graph: str, fragment: str
) -> None:
    insert = "INSERT INTO df._own (graph) VALUES (%s::text::json) RETURNING id"
    assert fragment in (refusal(session, insert, [graph]).message_primary or "")


def test_what_the_constructors_write_is_accepted(session: psycopg.Connection) -> None:
    for call, expected in CONSTRUCTORS.items():
        if expected is not None:
            assert value(session, f"SELECT df.status(df.start({call}))") == "pending"


def test_a_misplaced_node_is_named_with_a_hint(session: psycopg.Connection) -> None:
    error = refusal(session, "SELECT df.start(@> ('a' ~> ('b' <-> 'c')))")
    assert error.message_detail == "At node 00000004, number 4 of the graph in preorder."
    assert error.message_hint == "Put df.saga() around it, inside what is repeated."
