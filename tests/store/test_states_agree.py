"""df._inspect retells what the engine's core decides: both walk the same random runs.

After every commit of a run in memory, the leaves that the core is working on must be exactly those
that the home schema shows as running, given the same rows.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

import psycopg
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from durproxy.engine.core.actions import Abandon, Action, CloseFrame, FinishInstance
from durproxy.engine.core.states import InstanceStatus
from tests.engine.model import Rows, Run
from tests.store.asking import rows, value

LEAVES = ("SQL", "SLEEP", "SIGNAL")
INSPECT = """
    SELECT n.node, n.node_type, n.last, n.shown
    FROM df._inspect('00000000', %s::text::json, %s, ARRAY(
        SELECT ROW(r.node, r.status, r.n, NULL, r.result, NULL,
            r.error, NULL, now(), r.path)::df._outcome
        FROM jsonb_to_recordset(%s::jsonb)
            AS r(node int, path text, status text, n bigint, result json, error json))) n"""
FINAL = {InstanceStatus.COMPLETED: "completed", InstanceStatus.FAILED: "failed"}


def sql(query: str) -> dict[str, Any]:
    return {"node_type": "SQL", "query": query}


def pairs(children: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    kinds = st.sampled_from(["THEN", "THEN", "JOIN", "RACE"])
    return st.builds(
        lambda kind, left, right: {"node_type": kind, "left_node": left, "right_node": right},
        kinds,
        children,
        children,
    )


def branches(children: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.builds(
        lambda truth, then, other: {
            "node_type": "IF",
            "condition_node": sql(truth),
            "left_node": then,
            **({"right_node": other} if other else {}),
        },
        st.sampled_from(["yes", "no"]),
        children,
        st.none() | children,
    )


def loops(children: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """A body that leaves at its end, or perhaps in its midst, or never."""
    leave = {"node_type": "BREAK", "query": '{"break_value":"x"}'}
    perhaps = st.sampled_from(["yes", "no"]).map(
        lambda truth: {"node_type": "IF", "condition_node": sql(truth), "left_node": leave}
    )

    def then(left: Any, right: Any) -> dict[str, Any]:
        return {"node_type": "THEN", "left_node": left, "right_node": right}

    bodies = (
        children
        | st.builds(then, children, st.just(leave))
        | st.builds(then, perhaps, children)
        | st.builds(then, st.just(leave), children)
        | children.map(
            lambda other: {  # the break waits for the other branch
                "node_type": "JOIN",
                "left_node": then(leave, sql("a")),
                "right_node": other,
            }
        )
    )
    return bodies.map(
        lambda body: {"node_type": "LOOP", "left_node": body, "condition_node": sql("twice")}
    )


STEPS = st.sampled_from(["a", "b", "c", "failing"]).map(sql)
WAITS = st.sampled_from(
    [
        {"node_type": "SLEEP", "query": "5"},
        {"node_type": "SIGNAL", "query": '{"signal_name":"go","timeout_seconds":null}'},
    ]
)
GRAPHS = st.recursive(STEPS | WAITS, lambda c: pairs(c) | branches(c) | loops(c), max_leaves=8)


def commits(run: Run) -> Iterator[list[Action]]:
    """What is being worked on after each commit."""
    execution, todo = run._load()
    for _ in range(200):
        yield todo
        if run.rows.status is not InstanceStatus.RUNNING:
            return
        event = run._commit(todo.pop(run.rng.randrange(len(todo))))
        if event is not None:
            run._take(execution.advance(event), todo)


def stored(made: Rows) -> str:
    return json.dumps(
        [
            {
                "node": key.node,
                "status": row.status.value,
                "n": row.round,
                "result": json.loads(row.result.text) if row.result.text else None,
                "error": {"message": row.error.message} if row.error else None,
            }
            for key, row in made.checkpoints.items()
        ]
    )


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(graph=GRAPHS, seed=st.integers(0, 2**32))
def test_running_leaves_are_those_that_the_core_works_on(
    owner: psycopg.Connection, graph: dict[str, Any], seed: int
) -> None:
    text = json.dumps(graph)
    run = Run(graph, random.Random(seed))
    run.failing = {"failing"}
    answer = '{"rows":[{"a":%s}],"row_count":1}'
    run.answers = {
        "SELECT yes": [answer % "true"],
        "SELECT no": [answer % "false"],
        "SELECT twice": [answer % "true", answer % "false"],
    }
    value(owner, "SELECT df._check_graph(%s::text::json)", [text])
    for todo in commits(run):
        seen = rows(owner, INSPECT, [text, run.rows.status.value, stored(run.rows)])
        deciding = [a.key.node for a in todo if isinstance(a, CloseFrame)]
        decided = {
            number
            for node, _, last, _ in seen
            if node in deciding
            for number in range(node, last + 1)
        }
        running = {n for n, kind, _, shown in seen if shown == "running" and kind in LEAVES}
        leaves = {n for n, kind, _, _ in seen if kind in LEAVES}
        working = {a.key.node for a in todo if not isinstance(a, FinishInstance | Abandon)} & leaves
        assert running - decided == working - decided
    assert {shown for _, _, _, shown in seen} <= {"completed", "failed", "skipped"}
    assert seen[0][3] == FINAL[run.rows.status]
