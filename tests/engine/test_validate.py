"""What a graph is refused for before it runs."""

from __future__ import annotations

import json
from typing import Any

import pytest

from durproxy.engine.core.numbering import numbered
from durproxy.engine.core.validate import validate

Node = dict[str, Any]


def sql(query: str = "SELECT 1", name: str | None = None) -> Node:
    return named({"node_type": "SQL", "query": query}, name)


def named(node: Node, name: str | None) -> Node:
    return node if name is None else node | {"result_name": name}


def pair(kind: str, left: Node, right: Node, name: str | None = None) -> Node:
    return named({"node_type": kind, "left_node": left, "right_node": right}, name)


def then(*nodes: Node) -> Node:
    chain = nodes[0]
    for node in nodes[1:]:
        chain = pair("THEN", chain, node)
    return chain


def loop(body: Node, condition: Node | None = None) -> Node:
    head = {} if condition is None else {"condition_node": condition}
    return {"node_type": "LOOP", **head, "left_node": body}


def choice(condition: Node, left: Node, right: Node | None = None) -> Node:
    tail = {} if right is None else {"right_node": right}
    return {"node_type": "IF", "condition_node": condition, "left_node": left, **tail}


def leave(value: str | None = None) -> Node:
    return {"node_type": "BREAK", "query": json.dumps({"break_value": value})}


OPAQUE = {"node_type": "OPAQUE"}
USES_X = sql("SELECT $x")


@pytest.mark.parametrize(
    "graph",
    [
        then(sql(name="x"), USES_X),
        then(pair("THEN", sql(), sql(), "x"), USES_X),
        then(pair("JOIN", sql(name="x"), sql()), USES_X),
        then(pair("RACE", sql(), sql(name="x")), USES_X),
        then(sql(name="x"), pair("JOIN", USES_X, USES_X)),
        then(choice(sql(), sql(name="x")), USES_X),
        choice(sql(name="x"), USES_X, USES_X),
        loop(then(USES_X, sql(name="x"))),
        loop(sql(name="x"), sql("$x > 3")),
        loop(pair("JOIN", USES_X, sql(name="x"))),
        then(loop(then(sql(name="x"), leave("$x"))), USES_X),
        then(OPAQUE, USES_X),
        then(pair("JOIN", sql(), OPAQUE), USES_X),
        loop(then(USES_X, OPAQUE)),
        loop(pair("RACE", leave(), sql())),
        then(sql(name="x"), sql("SELECT $$ $y $$, '$5', $x?, $x.a FROM $x.*")),
    ],
)
def test_names_that_some_way_binds_are_right(graph: Node) -> None:
    assert validate(graph) == []


@pytest.mark.parametrize(
    ("graph", "node"),
    [
        (USES_X, 1),
        (then(USES_X, sql(name="x")), 2),
        (sql("SELECT $x", "x"), 1),
        (pair("JOIN", sql(name="x"), USES_X), 3),
        (pair("RACE", USES_X, sql(name="x")), 2),
        (choice(sql(), sql(name="x"), USES_X), 4),
        (pair("THEN", USES_X, sql(), "x"), 2),
        (then(loop(USES_X), sql(name="x")), 3),
        (then(USES_X, OPAQUE), 2),
        (pair("JOIN", OPAQUE, USES_X), 3),
        (loop(leave("$x")), 2),
    ],
)
def test_names_that_nothing_binds_are_refused(graph: Node, node: int) -> None:
    (problem,) = validate(graph)
    assert problem.node == node
    assert problem.sqlstate == "42P02"


HTTP = {"url": "https://a.example/$x?q=1", "headers": {"A": "$x.v"}, "body": "{} $x $$y"}


def http(config: dict[str, Any]) -> Node:
    return {"node_type": "HTTP", "query": json.dumps(config)}


def test_names_in_http_steps_are_bound_before() -> None:
    assert validate(then(sql(name="x"), http(HTTP))) == []
    problems = validate(http(HTTP))
    assert {problem.sqlstate for problem in problems} == {"42P02"}
    (rows,) = validate(then(sql(name="x"), http({"body": "$x.*"})))
    assert "stands for rows" in rows.message
    parts = [{"name": "a", "data_b64": "$y"}]
    (part,) = validate({"node_type": "HTTP_MULTIPART", "query": json.dumps({"parts": parts})})
    assert part.message.startswith('"$y"')


def test_break_belongs_in_a_loop() -> None:
    (problem,) = validate(then(loop(leave()), choice(sql(), leave())))
    assert problem.message == "df.break() cannot be used outside of a loop"
    assert problem.node == 6


def test_result_names_are_identifiers() -> None:
    graph = then(sql(name=""), sql(name="1a"), sql(name="é"), sql(name="_ok1"))
    fragments = ["result name cannot be empty", "not a valid identifier", "not a valid identifier"]
    for problem, fragment in zip(validate(graph), fragments, strict=True):
        assert fragment in problem.message


def test_a_chain_counts_as_one_level_however_it_is_nested() -> None:
    left = then(*(sql() for _ in range(4_000)))
    right = sql()
    for _ in range(4_000):
        right = pair("THEN", sql(), right)
    assert validate(left) == []
    assert validate(right) == []


def test_limits_are_named() -> None:
    graph = sql()
    for _ in range(255):
        graph = loop(graph)
    assert validate(graph) == []
    (problem,) = validate(loop(graph))
    assert "maximum nesting depth of 256" in problem.message
    (problem,) = validate(then(*(sql() for _ in range(5_001))))
    assert "maximum node count of 10000" in problem.message
    assert validate(then(*(sql() for _ in range(5_000)))) == []


def test_nodes_are_numbered_in_preorder() -> None:
    graph = choice(
        sql("1"), pair("JOIN", sql("2"), sql("3")) | {"extra_nodes": [sql("4")]}, sql("5")
    )
    queries = {number: node.get("query") for number, node in numbered(graph)}
    assert queries == {1: None, 2: "1", 3: None, 4: "2", 5: "3", 6: "4", 7: "5"}
