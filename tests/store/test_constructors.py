"""The language as SQL functions: what each constructor and operator writes, and what it refuses."""

from __future__ import annotations

import psycopg
import pytest

from tests.store.asking import refusal, value


def sql(query: str) -> str:
    return f'{{"node_type":"SQL","query":"{query}"}}'


def pair(kind: str, left: str, right: str) -> str:
    return f'{{"node_type":"{kind}","left_node":{left},"right_node":{right}}}'


def loop(body: str) -> str:
    return f'{{"node_type":"LOOP","left_node":{body}}}'


def branch(condition: str, then: str, otherwise: str) -> str:
    return (
        f'{{"node_type":"IF","condition_node":{condition},"left_node":{then},'
        f'"right_node":{otherwise}}}'
    )


def named(node: str, name: str) -> str:
    return f'{node[:-1]},"result_name":"{name}"}}'


A, B, C = sql("a"), sql("b"), sql("c")
ROWS = r'"{\"condition_type\":\"result_has_rows\",\"result_name\":\"n\"}"'

CONSTRUCTORS = {
    "df.sql('a')": A,
    r"""df.sql(E'say "hi"\n\\')""": sql(r"say \"hi\"\n\\"),
    "df.seq('a', 'b')": pair("THEN", A, B),
    "df.as('a', 'x')": named(A, "x"),
    "df.as(fut => df.as('a', 'x'), name => 'y')": named(A, "y"),
    "df.as(df.seq('a', 'b'), '_1')": named(pair("THEN", A, B), "_1"),
    "df.as(df.as(df.seq('a', 'b'), 'first'), 'second')": named(pair("THEN", A, B), "second"),
    "df.as('é', 'x')": named(sql("é"), "x"),
    "df.join('a', 'b')": pair("JOIN", A, B),
    "df.join3('a', 'b', 'c')": f'{pair("JOIN", A, B)[:-1]},"extra_nodes":[{C}]}}',
    "df.as(df.join3('a', 'b', 'c'), 'j')": named(
        f'{pair("JOIN", A, B)[:-1]},"extra_nodes":[{C}]}}', "j"
    ),
    "df.race('a', 'b')": pair("RACE", A, B),
    "df.if('c', 'a', 'b')": branch(C, A, B),
    "df.if(condition => 'c', then_branch => 'a', else_branch => 'b')": branch(C, A, B),
    "df.if_rows('n', 'a', 'b')": (
        f'{{"node_type":"IF","query":{ROWS},"left_node":{A},"right_node":{B}}}'
    ),
    "df.loop('a')": loop(A),
    "df.loop('a', 'c')": f'{{"node_type":"LOOP","condition_node":{C},"left_node":{A}}}',
    "df.break()": r'{"node_type":"BREAK","query":"{\"break_value\":null}"}',
    "df.break('x')": r'{"node_type":"BREAK","query":"{\"break_value\":\"x\"}"}',
    "df.sleep(30)": '{"node_type":"SLEEP","query":"30"}',
    "df.sleep(seconds => 0)": '{"node_type":"SLEEP","query":"0"}',
    "df.wait_for_signal('go')": (
        r'{"node_type":"SIGNAL","query":"{\"signal_name\":\"go\",\"timeout_seconds\":null}"}'
    ),
    "df.wait_for_signal('go', timeout_seconds => 5)": (
        r'{"node_type":"SIGNAL","query":"{\"signal_name\":\"go\",\"timeout_seconds\":5}"}'
    ),
    # a node that was written by hand keeps its text, a JSON object that is none is SQL
    """df.seq('{"node_type":"SQL","query":"a"}', 'b')""": pair("THEN", A, B),
    """df.seq(E' {"node_type": "SQL", "query": "a"}\\n', 'b')""": pair(
        "THEN", '{"node_type": "SQL", "query": "a"}', B
    ),
    """df.sql('{"a":1}')""": sql(r"{\"a\":1}"),
    """df.seq('{"a":1}', 'b')""": pair("THEN", sql(r"{\"a\":1}"), B),
    # any null gives null, so that df.start can say so
    "df.seq('a', NULL)": None,
    "df.as(NULL, 'x')": None,
}

# Postgres's own precedence: one level for all these operators, associating to the left.
PRECEDENCE = {
    "'a' ~> 'b' |=> 'x'": "('a' ~> 'b') |=> 'x'",
    "'a' |=> 'x' & 'b' |=> 'y'": "(('a' |=> 'x') & 'b') |=> 'y'",
    "'a' ~> 'c' ?> 't' !> 'e' ~> 'n'": "((('a' ~> 'c') ?> 't') !> 'e') ~> 'n'",
    "@> 'a' ~> 'b'": "(@> 'a') ~> 'b'",
    "'a' ~> 'b' & 'c'": "('a' ~> 'b') & 'c'",
    "'a' | 'b' & 'c'": "('a' | 'b') & 'c'",
    "'a' ~> 'x' || 'y'": "('a' ~> 'x') || 'y'",
    "'a' OPERATOR(df.~>) 'b' OPERATOR(df.&) 'c'": "'a' ~> 'b' & 'c'",
}

OPERATORS = {
    "'a' ~> 'b'": "df.seq('a', 'b')",
    "'a' & 'b'": "df.join('a', 'b')",
    "'a' | 'b'": "df.race('a', 'b')",
    "'a' |=> 'x'": "df.as('a', 'x')",
    "'c' ?> 'a' !> 'b'": "df.if('c', 'a', 'b')",
    "('c' ?> 'a' |=> 'x') !> 'b'": "df.as(df.if('c', 'a', 'b'), 'x')",
    "@> 'a'": "df.loop('a')",
    "df.as_op(fut => 'a', name => 'x')": "df.as('a', 'x')",
    "df.if_else_op(partial_if => df.if_then_op('c', 'a'), else_branch => 'b')": (
        "df.if('c', 'a', 'b')"
    ),
    "df.loop_prefix_op(body => 'a')": "df.loop('a')",
}

REFUSALS = {
    "'a' |=> '1x'": "not a valid identifier",
    "'a' |=> 'x y'": "not a valid identifier",
    "df.as('a', E'x\\n')": "not a valid identifier",
    "'a' |=> ''": "result name cannot be empty",
    "df.if_rows('1', 'a', 'b')": "not a valid identifier",
    "df.sleep(-1)": "must be non-negative",
    "df.wait_for_signal('')": "Signal name cannot be empty",
    "df.wait_for_signal(NULL)": "Signal name cannot be empty",
    "df.wait_for_signal('x', 0)": "Timeout must be positive",
    "df.wait_for_signal('x', -5)": "Timeout must be positive",
    """'{"node_type":"BOGUS"}' ~> 'b'""": "Unknown node_type 'BOGUS'",
    """'{ "node_type" : "BOGUS"}' ~> 'b'""": "Unknown node_type 'BOGUS'",
    "'c' ?> 't' ~> 'u' !> 'e'": "left side of !> must be a ?> expression",
    "'a' !> 'e'": "left side of !> must be a ?> expression",
    "'c' ?> 'a' !> 'b' !> 'e'": "left side of !> must be a ?> expression",
    "df.loop(NULL)": "loop body must not be null",
}


@pytest.mark.parametrize(("call", "expected"), CONSTRUCTORS.items())
def test_constructor_writes_exactly_this_text(
    session: psycopg.Connection, call: str, expected: str | None
) -> None:
    assert value(session, f"SELECT {call}") == expected


@pytest.mark.parametrize(("written", "meant"), (PRECEDENCE | OPERATORS).items())
def test_operators_write_the_same_text(
    session: psycopg.Connection, written: str, meant: str
) -> None:
    assert value(session, f"SELECT ({written}) = ({meant})") is True


@pytest.mark.parametrize(("call", "fragment"), REFUSALS.items())
def test_constructor_refuses(session: psycopg.Connection, call: str, fragment: str) -> None:
    error = refusal(session, f"SELECT {call}")
    assert fragment in (error.message_primary or "")
    assert error.sqlstate in ("22023", "22004")


def test_a_dangling_then_is_marked_and_is_an_if_without_else(session: psycopg.Connection) -> None:
    partial = value(session, "SELECT 'c' ?> 'a'")
    assert partial == (
        f'{{"node_type":"IF","_partial_if":true,"condition_node":{C},"left_node":{A}}}'
    )
    assert value(session, "SELECT df.status(df.start('c' ?> 'a' ~> 'b'))") == "pending"


def test_refusal_carries_what_the_json_says(session: psycopg.Connection) -> None:
    call = """df._refuse('{"sqlstate":"42601","message":"m","detail":"d.","hint":"h."}') || 'x'"""
    error = refusal(session, f"SELECT df.start({call}) WHERE false")  # planned, never run
    assert (error.sqlstate, error.message_primary) == ("42601", "m")
    assert (error.message_detail, error.message_hint) == ("d.", "h.")
    bare = refusal(session, """SELECT df._refuse('{"message":"m"}')""")
    assert (bare.message_detail, bare.message_hint) == (None, None)


def test_operators_of_others_keep_working_with_df_on_the_path(session: psycopg.Connection) -> None:
    assert value(session, "SELECT 5 & 4") == 4
    assert value(session, "SELECT ARRAY[1, 2] @> ARRAY[1]") is True
    assert value(session, """SELECT '{"a":1}'::jsonb @> '{"a":1}'""") is True
    assert value(session, "SELECT B'101' | B'010'") == "111"


HOSTILE = """
    DROP SCHEMA IF EXISTS hostile CASCADE;
    CREATE SCHEMA hostile;
    GRANT USAGE ON SCHEMA hostile TO PUBLIC;
    SET search_path = hostile;
    CREATE FUNCTION captured(text, text) RETURNS text LANGUAGE plpgsql AS
        'BEGIN RAISE EXCEPTION ''captured''; END';
    CREATE FUNCTION captured_test(text, text) RETURNS boolean LANGUAGE plpgsql AS
        'BEGIN RAISE EXCEPTION ''captured''; END';
    CREATE FUNCTION to_json(text) RETURNS json LANGUAGE plpgsql AS
        'BEGIN RAISE EXCEPTION ''captured''; END';
    CREATE FUNCTION starts_with(text, text) RETURNS boolean LANGUAGE plpgsql AS
        'BEGIN RAISE EXCEPTION ''captured''; END';
    CREATE OPERATOR || (FUNCTION = captured, LEFTARG = text, RIGHTARG = text);
    CREATE OPERATOR = (FUNCTION = captured_test, LEFTARG = text, RIGHTARG = text);
    CREATE OPERATOR ~ (FUNCTION = captured_test, LEFTARG = text, RIGHTARG = text);
    CREATE OPERATOR !~ (FUNCTION = captured_test, LEFTARG = text, RIGHTARG = text);
    CREATE OPERATOR <> (FUNCTION = captured_test, LEFTARG = text, RIGHTARG = text);
    CREATE DOMAIN text AS pg_catalog.int4;
    CREATE DOMAIN json AS pg_catalog.int4;
    RESET search_path;
"""


def test_hostile_search_path_captures_nothing(
    owner: psycopg.Connection, session: psycopg.Connection
) -> None:
    """Functions, operators and types of the same names, found before pg_catalog's."""
    owner.execute(HOSTILE)
    session.execute("SET search_path = hostile, pg_catalog, df")
    graph = """
        df.as(df.seq('a', df.join3(df.sql('b'), df.sleep(1), df.wait_for_signal('s', 5))), 'x')
        ~> df.if('c', df.loop('a', 'c'), @> df.break('v')) ~> df.if_rows('x', 'a', 'b') | 'z'
        ~> ('c' ?> 'a' !> 'b')"""
    instance = value(session, f"SELECT df.start({graph}, 'label')")
    assert value(session, "SELECT df.status(%s)", [instance]) == "pending"
    assert value(session, "SELECT df.signal(%s, 's', 'text')", [instance]) == "OK"
    assert value(session, "SELECT df.setvar('v', '1')") == "OK"
    assert value(session, "SELECT df.getvar('v')") == "1"
    assert "Pending" in value(session, "SELECT df.explain(%s)", [instance])
    assert "SQL: a" in value(session, f"SELECT df.explain({graph})")
    for query in (
        "SELECT count(*) FROM df.list_instances()",
        "SELECT count(*) FROM df.list_instances(NULL, 5, NULL)",
        "SELECT count(*) FROM df.instance_info('x')",
        "SELECT count(*) FROM df.nodes",
    ):
        session.execute(query.encode())
    assert value(session, "SELECT df.cancel(%s)", [instance]).startswith("Instance")
    assert value(session, "SELECT df.await_instance(%s)", [instance]) == "cancelled"
    assert value(session, "SELECT df.result(%s)", [instance]) is None
