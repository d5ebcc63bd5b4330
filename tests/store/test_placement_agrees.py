"""What may stand where is said twice, for the server and for the proxy: both say the same."""

from __future__ import annotations

import json
from typing import Any

import psycopg
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from durproxy.engine.core.placement import placement_problems
from durproxy.engine.core.problem import Problem

SQL = {"node_type": "SQL", "query": "SELECT 1"}
CONFIGS = {
    "RETRY": '{"max_attempts":3,"backoff":1.0,"factor":2.0,"max_backoff":300.0,"jitter":true,'
    '"retry_on":null}',
    "TIMEOUT": '{"seconds":5.0}',
    "MAP": '{"max_concurrency":10,"tolerate":0}',
}
LEAVES = st.sampled_from([SQL, SQL, {"node_type": "BREAK"}, {"node_type": "SLEEP", "query": "1"}])
ONE = ("LOOP", "RETRY", "TIMEOUT", "SAGA", "MAP", "TRANSACTION", "ANY", "LOOP", "SAGA")
TWO = ("THEN", "JOIN", "RACE", "CATCH", "FINALLY", "COMPENSATE", "COMPENSATE", "ANY", "TRANSACTION")


def one(kind: str, child: Any) -> dict[str, Any]:
    head = {"query": CONFIGS[kind]} if kind in CONFIGS else {}
    source = {"condition_node": SQL} if kind == "MAP" else {}
    return {"node_type": kind, **head, **source, "left_node": child}


def two(kind: str, left: Any, right: Any, extra: Any) -> dict[str, Any]:
    more = {"extra_nodes": extra} if kind in ("ANY", "TRANSACTION") and extra else {}
    return {"node_type": kind, "left_node": left, "right_node": right, **more}


def around(children: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(
        st.builds(one, st.sampled_from(ONE), children),
        st.builds(two, st.sampled_from(TWO), children, children, st.lists(children, max_size=1)),
    )


def said_by_the_server(owner: psycopg.Connection, graph: Any) -> tuple[str, int] | None:
    try:
        owner.execute("SELECT df._check_graph(%s::text::json)", [json.dumps(graph)])
    except psycopg.Error as error:
        detail = error.diag.message_detail or ""
        return error.sqlstate or "", int(detail.split(", number ")[1].split(" ")[0])
    return None


@settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(graph=st.recursive(LEAVES, around, max_leaves=12))
def test_the_proxy_refuses_what_the_server_refuses(owner: psycopg.Connection, graph: Any) -> None:
    owner.execute("SET search_path = pg_catalog")
    first: Problem | None = next(placement_problems(graph), None)
    told = None if first is None else (first.sqlstate, first.node)
    assert said_by_the_server(owner, graph) == told
