"""The check of whole graphs: what a direct INSERT may not bring in, and how much it takes."""

from __future__ import annotations

import json
import time
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.store.asking import refusal, value

INSERT = "INSERT INTO df._own (graph) VALUES (%s::text::json) RETURNING id"
SQL = {"node_type": "SQL", "query": "SELECT 1"}


def chain(steps: int, *, left: bool = True) -> str:
    step = '{"node_type":"SQL","query":"SELECT 1"}'
    if left:
        opening = '{"node_type":"THEN","left_node":' * (steps - 1)
        return opening + step + f',"right_node":{step}}}' * (steps - 1)
    return (
        f'{{"node_type":"THEN","left_node":{step},"right_node":' * (steps - 1)
        + step
        + "}" * (steps - 1)
    )


def nested(levels: int) -> str:
    opening = '{"node_type":"LOOP","left_node":' * (levels - 1)
    return opening + '{"node_type":"BREAK"}' + "}" * (levels - 1)


def balanced(leaves: int) -> str:
    if leaves == 1:
        return '{"node_type":"SQL","query":"SELECT 1"}'
    half = leaves // 2
    return (
        f'{{"node_type":"JOIN","left_node":{balanced(half)},'
        f'"right_node":{balanced(leaves - half)}}}'
    )


BAD_GRAPHS = {
    '"text"': "a node must be a JSON object",
    "[]": "a node must be a JSON object",
    "{}": "a node needs a node_type",
    '{"node_type":"BOGUS"}': "Unknown node_type 'BOGUS'",
    '{"node_type":["SQL"],"query":"x"}': "Unknown node_type",
    '{"node_type":"SQL"}': "a SQL node needs a query",
    '{"node_type":"SQL","query":5}': "must be a string",
    '{"node_type":"SQL","query":"x","condition_node":{}}': "takes no condition_node",
    '{"node_type":"SQL","query":"x","result_name":""}': "result name cannot be empty",
    '{"node_type":"SQL","query":"x","result_name":null}': "result name cannot be empty",
    '{"node_type":"SQL","query":"x","result_name":"a b"}': "not a valid identifier",
    '{"node_type":"THEN","left_node":{"node_type":"SQL","query":"x"}}': "left_node and right_node",
    '{"node_type":"LOOP"}': "needs left_node",
    '{"node_type":"IF","left_node":{"node_type":"SQL","query":"x"}}': "needs a condition_node",
    '{"node_type":"IF","query":"{}","left_node":{"node_type":"SQL","query":"x"}}': "condition_node",
    '{"node_type":"SLEEP","query":"-1"}': "must be non-negative",
    '{"node_type":"SLEEP","query":"99999999999"}': "at most 1000 years",
    '{"node_type":"SLEEP"}': "must be non-negative",
    '{"node_type":"SIGNAL","query":"go"}': "must be valid JSON config",
    '{"node_type":"SIGNAL","query":"{}"}': "Signal name cannot be empty",
    r'{"node_type":"SIGNAL","query":"{\"signal_name\":\"x\",\"timeout_seconds\":0}"}': (
        "Timeout must be positive"
    ),
    '{"node_type":"BREAK"}': "outside of a loop",
    json.dumps({"node_type": "JOIN", "left_node": SQL, "right_node": SQL, "extra_nodes": {}}): (
        "extra_nodes entries must be"
    ),
    json.dumps({"node_type": "JOIN", "left_node": SQL, "right_node": SQL, "extra_nodes": ["x"]}): (
        "extra_nodes entries must be"
    ),
    json.dumps({"node_type": "THEN", "left_node": SQL, "right_node": None}): (
        "a node must be a JSON object"
    ),
    r'{"node_type":"IF","query":"x","condition_node":{"node_type":"SQL","query":"x"},'
    '"left_node":{"node_type":"SQL","query":"x"}}': "must be valid JSON config",
    nested(257): "maximum nesting depth of 256",
    balanced(5001): "maximum node count of 10000",
    chain(5001): "maximum node count of 10000",
}


@pytest.mark.parametrize(("graph", "fragment"), BAD_GRAPHS.items(), ids=lambda text: text[:60])
def test_direct_insert_of_a_bad_graph_is_refused(
    session: psycopg.Connection, graph: str, fragment: str
) -> None:
    assert fragment in (refusal(session, INSERT, [graph]).message_primary or "")


def test_error_names_the_node(session: psycopg.Connection) -> None:
    graph = json.dumps({"node_type": "JOIN", "left_node": SQL, "right_node": {"node_type": "X"}})
    detail = refusal(session, INSERT, [graph]).message_detail
    assert detail == "At node 00000003, number 3 of the graph in preorder."


@pytest.mark.parametrize(
    "graph",
    [nested(256), balanced(5000), chain(5000), chain(5000, left=False)],
    ids=["256 levels", "9999 nodes", "5000 steps", "5000 steps to the right"],
)
def test_limits_can_be_reached_quickly(session: psycopg.Connection, graph: str) -> None:
    session.execute("SET statement_timeout = '20 s'")  # quickly: not with the square of the steps
    value(session, INSERT, [graph])


def test_two_thousand_steps_written_with_the_operator(session: psycopg.Connection) -> None:
    steps = " ~> ".join(f"'INSERT INTO t VALUES ({n})' |=> 'n{n}'" for n in range(2000))
    before = time.monotonic()
    value(session, f"SELECT df.start({steps})")
    assert time.monotonic() - before < 10


KINDS = ("SQL", "THEN", "IF", "JOIN", "RACE", "LOOP", "BREAK", "SLEEP", "SIGNAL", "X")
KEYS = ("left_node", "right_node", "condition_node", "query", "result_name", "extra_nodes")
LEAVES = st.sampled_from(
    ["x", "5", "-1", "", "1a", 5, None, [], ["SQL"], {"node_type": "SQL", "query": "y"}]
)


@st.composite
def graphs(draw: st.DrawFn, depth: int = 3) -> Any:
    """Mostly well-formed nodes, with something wrong here and there."""
    if depth == 0 or draw(st.integers(0, 20)) == 0:
        return draw(LEAVES | st.just(SQL))
    kind = draw(st.sampled_from(KINDS))
    node: dict[str, Any] = {"node_type": kind}
    children = {"THEN": 2, "JOIN": 2, "RACE": 2, "IF": 1, "LOOP": 1}.get(kind, 0)
    for key in KEYS[:children]:
        node[key] = draw(graphs(depth=depth - 1))
    if kind == "IF":
        node["condition_node"] = draw(graphs(depth=0))
    if kind in ("SQL", "SLEEP"):
        node["query"] = draw(st.sampled_from(["SELECT 1", "7"]))
    if draw(st.integers(0, 6)) == 0:
        node[draw(st.sampled_from(KEYS))] = draw(LEAVES | graphs(depth=depth - 1))
    return node


@settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(graph=graphs())
def test_the_short_check_accepts_nothing_that_the_walk_refuses(
    owner: psycopg.Connection, graph: Any
) -> None:
    text = json.dumps(graph)
    owner.execute("SET search_path = pg_catalog")
    if value(owner, "SELECT df._is_plain_graph(%s::text::json)", [text]):
        value(owner, "SELECT df._check_graph(%s::text::json)", [text])


def test_the_short_check_knows_the_common_graphs(owner: psycopg.Connection) -> None:
    for graph in (
        "df.seq(df.as('a', 'x'), df.sleep(3))",
        "df.if('c', df.join('a', 'b'), df.race('a', 'b'))",
        "df.loop('a', 'c')",
    ):
        assert value(owner, f"SELECT df._is_plain_graph(({graph})::json)") is True
