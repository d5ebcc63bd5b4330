"""The core: order, decisions, names, recovery; by example and against a reference interpreter."""

from __future__ import annotations

import json
import random
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from durproxy.engine.core.actions import (
    CloseFrame,
    ClosesRace,
    EndsInstance,
    FrameOpened,
    OpenFrame,
    RunStep,
)
from durproxy.engine.core.advance import Execution
from durproxy.engine.core.graph import parse_graph
from durproxy.engine.core.states import InstanceStatus, Key
from tests.engine.model import WAITS, Run, result_of

Graph = dict[str, Any]


def sql(query: str, name: str | None = None) -> Graph:
    node: Graph = {"node_type": "SQL", "query": query}
    return node if name is None else {**node, "result_name": name}


def then(*nodes: Graph) -> Graph:
    graph, *rest = nodes
    for node in rest:
        graph = {"node_type": "THEN", "left_node": graph, "right_node": node}
    return graph


def join(left: Graph, right: Graph, *extra: Graph) -> Graph:
    node = {"node_type": "JOIN", "left_node": left, "right_node": right}
    return {**node, "extra_nodes": list(extra)} if extra else node


def race(left: Graph, right: Graph) -> Graph:
    return {"node_type": "RACE", "left_node": left, "right_node": right}


def when(condition: Graph, yes: Graph, no: Graph | None = None) -> Graph:
    node = {"node_type": "IF", "condition_node": condition, "left_node": yes}
    return node if no is None else {**node, "right_node": no}


def loop(body: Graph, condition: Graph | None = None) -> Graph:
    node: Graph = {"node_type": "LOOP"}
    if condition is not None:
        node["condition_node"] = condition
    return {**node, "left_node": body}


def brk(value: str | None = None) -> Graph:
    return {"node_type": "BREAK", "query": json.dumps({"break_value": value})}


def sleep(seconds: int) -> Graph:
    return {"node_type": "SLEEP", "query": str(seconds)}


def rows(*values: object) -> str:
    return json.dumps({"rows": [{"v": value} for value in values], "row_count": len(values)})


def started(graph: Graph) -> list[Any]:
    return Execution(parse_graph(json.dumps(graph)), {}).start()


def run(graph: Graph, *, seed: int = 0) -> Run:
    return Run(graph, random.Random(seed))


def test_a_sequence_runs_in_order_and_ends_with_its_last_step() -> None:
    made = run(then(sql("a"), sql("b"), sql("c")))
    stored = made.to_the_end()
    assert [key.node for key in stored.effects] == [3, 4, 5]  # 1 and 2 are the THENs
    assert stored.result == result_of("c")
    assert made.performed["FinishInstance"] == 0  # the last step carried the end in its own commit


@pytest.fixture
def deep_json() -> Iterator[None]:
    """Nested JSON as deep as a worker accepts it."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(40_000)
    yield
    sys.setrecursionlimit(before)


@pytest.mark.usefixtures("deep_json")
def test_a_chain_of_thousands_of_steps_needs_no_recursion() -> None:
    made = run(then(*(sql(f"s{k}") for k in range(3000))))
    sys.setrecursionlimit(1000)
    stored = made.to_the_end()
    assert len(stored.effects) == 3000
    assert stored.status is InstanceStatus.COMPLETED


def test_a_break_in_a_loops_condition_leaves_that_loop() -> None:
    inner = loop(sql("a"), condition=brk("1"))
    stored = run(loop(then(inner, sql("b"), brk("2")))).to_the_end()
    assert (stored.status, stored.result) == (InstanceStatus.COMPLETED, "2")
    assert len(stored.effects) == 2


def test_a_break_value_takes_the_instances_variables() -> None:
    graph = parse_graph(json.dumps(loop(brk("{n} of {all}, {nosuch}"))))
    execution = Execution(graph, {}, {"n": "1", "all": "2"})
    (opening,) = execution.start()
    assert isinstance(opening, OpenFrame)
    (closing,) = execution.advance(FrameOpened(opening.key, None))
    assert isinstance(closing, CloseFrame)
    assert closing.result is not None
    assert closing.result.text == '"1 of 2, {nosuch}"'


def test_a_schedule_waits_for_a_time_that_is_fixed_when_it_is_reached() -> None:
    waiting = {"node_type": "WAIT_SCHEDULE", "query": '{"cron_expr":"0 5 * * *"}'}
    (opening,) = started(waiting)
    assert (opening.schedule, opening.delay) == ("0 5 * * *", None)
    crashing = run(then(sql("a"), waiting))
    crashing.crash = 0.3
    assert crashing.to_the_end().result == '{"scheduled":true}'


def test_an_http_step_decides_as_any_other_step() -> None:
    call = {"node_type": "HTTP", "query": '{"url":"https://a.example/"}'}
    (action,) = started(call)
    assert isinstance(action, RunStep)
    assert isinstance(action.decides, EndsInstance)
    run(race(call, sql("a"))).to_the_end()


def test_only_the_last_step_of_the_root_decides_the_end() -> None:
    (first,) = started(then(sql("a"), sql("b")))
    assert isinstance(first, RunStep)
    assert first.decides is None
    (only,) = started(sql("a"))
    assert only.decides == EndsInstance()


def test_a_step_at_the_end_of_a_race_branch_decides_the_race() -> None:
    graph = then(race(sql("a"), then(sql("b"), sql("c"))), sql("d"))
    made = Execution(parse_graph(json.dumps(graph)), {})
    (opening,) = made.start()
    assert isinstance(opening, OpenFrame)


@pytest.mark.parametrize("seed", range(20))
def test_a_race_has_one_winner_whose_branch_alone_goes_on(seed: int) -> None:
    stored = run(
        then(race(then(sql("a"), sql("b")), then(sql("c"), sql("d"))), sql("e")), seed=seed
    ).to_the_end()
    queries = Counter(key.node for key in stored.effects)
    left_end, right_end = queries[Key(5, "").node], queries[Key(8, "").node]
    assert left_end + right_end == 1
    assert stored.result == result_of("e")


def test_a_steps_win_closes_the_race_in_its_own_commit() -> None:
    made = run(race(sql("a"), sql("b")))
    made.to_the_end()
    assert made.performed["CloseFrame"] == 0
    assert ClosesRace(0) != ClosesRace(1)


def test_a_race_fails_when_the_first_branch_to_finish_fails() -> None:
    made = run(race(sql("a"), then(sleep(5), sql("b"))))
    made.failing = {"a"}
    made.rng = random.Random(4)
    stored = made.to_the_end()
    assert stored.status in (InstanceStatus.FAILED, InstanceStatus.COMPLETED)
    if stored.status is InstanceStatus.FAILED:
        assert stored.error is not None
        assert stored.error.message == "a failed"


def test_a_join_waits_for_all_branches_and_then_fails_with_the_lowest() -> None:
    made = run(join(sql("a"), then(sql("b"), sql("c")), sql("d")))
    made.failing = {"a", "d"}
    stored = made.to_the_end()
    assert stored.status is InstanceStatus.FAILED
    assert stored.error is not None
    assert stored.error.message == "a failed"
    assert len(stored.effects) == 2  # b and c ran all the same


def test_a_joins_result_is_the_array_of_its_branches_results() -> None:
    stored = run(join(sql("a"), join(sql("b"), sql("c")))).to_the_end()
    assert json.loads(stored.result or "") == [
        json.loads(result_of("a")),
        [json.loads(result_of("b")), json.loads(result_of("c"))],
    ]


@pytest.mark.parametrize(("value", "taken"), [(True, "yes"), (0, "no"), ("no", "no"), (None, "no")])
def test_an_if_takes_the_branch_that_its_conditions_truth_says(value: object, taken: str) -> None:
    made = run(when(sql("SELECT x"), sql("yes"), sql("no")))
    made.answers["SELECT x"] = [rows(value)]
    assert made.to_the_end().result == result_of(taken)


def test_an_if_without_else_gives_null() -> None:
    made = run(when(sql("SELECT x"), sql("yes")))
    made.answers["SELECT x"] = [rows()]
    assert made.to_the_end().result == "null"


def test_a_loop_repeats_while_its_condition_is_true_and_keeps_one_rounds_rows() -> None:
    made = run(loop(sql("body"), sql("SELECT more")))
    made.answers["SELECT more"] = [rows(True), rows(True), rows(False)]
    stored = made.to_the_end()
    assert [key.path for key in stored.effects if key.node == 3] == [".0", ".1", ".2"]
    assert {key.path for key in stored.checkpoints} == {"", ".2"}
    assert stored.result == result_of("body")


def test_a_break_leaves_the_innermost_loop_with_its_value() -> None:
    inner = loop(then(sql("i"), brk('{"k": 1}')))
    stored = run(then(loop(then(inner, brk("text"))), sql("after"))).to_the_end()
    assert stored.result == result_of("after")
    assert Counter(key.path for key in stored.effects) == {".0.0": 1, "": 1}
    assert json.loads(run(loop(brk('{"k": 1}'))).to_the_end().result or "") == {"k": 1}
    assert run(loop(brk("text"))).to_the_end().result == '"text"'
    assert run(loop(brk())).to_the_end().result == "null"


def test_an_endless_loop_that_waits_for_nothing_is_paced_and_one_that_sleeps_is_not() -> None:
    for body, paced in ((sql("a"), True), (then(sql("a"), sleep(1)), False)):
        execution = Execution(parse_graph(json.dumps(loop(body))), {})
        made = run(loop(body))
        todo = execution.start()
        for _ in range(6):
            if type(todo[0]).__name__ == "NextRound":
                break
            event = made._commit(todo[0])
            assert event is not None
            todo = execution.advance(event)
        assert todo[0].paced is paced  # type: ignore[union-attr]


def test_names_bound_in_a_round_are_seen_in_the_next_one_after_a_crash() -> None:
    body = then(sql("SELECT $x?"), sql("SELECT n", "x"))
    made = run(loop(body, sql("SELECT more")))
    made.answers["SELECT more"] = [rows(True), rows(False)]
    made.crash = 0.3
    stored = made.to_the_end()
    frame = stored.checkpoints[Key(1, "")]
    assert frame.names is not None
    assert frame.names["x"].exact == ("(x)",)


def test_a_value_that_a_break_cannot_have_fails_it_durably() -> None:
    stored = run(loop(then(sql("a"), brk("$nothing")))).to_the_end()
    assert stored.status is InstanceStatus.FAILED
    assert stored.error is not None
    assert stored.error.sqlstate == "42704"


def test_nothing_reads_a_result_that_is_not_referred_to() -> None:
    graph = parse_graph(json.dumps(then(sql("a"), sql("b", "x"), sql("SELECT $x.v"))))
    uses = {node.query: bool(node.use) for node in graph.nodes() if node.query}
    assert uses == {"a": False, "b": True, "SELECT $x.v": False}


# --- random graphs against a reference ---------------------------------------------------------

queries = st.integers(0, 99).map(lambda k: sql(f"q{k}"))
leaves = st.one_of(queries, queries, st.just(sleep(1)))


def _compose(children: st.SearchStrategy[Graph]) -> st.SearchStrategy[Graph]:
    return st.one_of(
        st.lists(children, min_size=2, max_size=4).map(lambda nodes: then(*nodes)),
        st.lists(children, min_size=2, max_size=3).map(lambda nodes: join(*nodes)),
        st.tuples(children, children).map(lambda pair: race(*pair)),
        st.tuples(st.sampled_from(["true", "false"]), children, children).map(
            lambda t: when(sql(f"SELECT {t[0]}"), t[1], t[2])
        ),
        children.map(lambda body: loop(then(body, brk("1")))),
        children.map(lambda body: loop(body, sql("SELECT false"))),
    )


graphs = st.recursive(leaves, _compose, max_leaves=12)


@settings(max_examples=300, deadline=None)
@given(graphs, st.integers(0, 2**32))
def test_whatever_the_order_and_the_crashes_effects_come_once_and_in_order(
    graph: Graph, seed: int
) -> None:
    made = run(graph, seed=seed)
    made.answers = {"SELECT true": [rows(True)], "SELECT false": [rows(False)]}
    made.crash = 0.15
    stored = made.to_the_end()
    assert stored.status is InstanceStatus.COMPLETED
    twice = [key for key, count in Counter(stored.effects).items() if count > 1]
    assert not twice
    assert _extent(graph, 1, "", set(stored.effects))[0] in ("whole", "silent")
    assert not [
        key
        for key, row in stored.checkpoints.items()
        if row.status.value == "o" and stored.frames[key].type in WAITS
    ]


@settings(max_examples=200, deadline=None)
@given(graphs, st.integers(0, 2**32), st.data())
def test_a_run_with_crashes_gives_what_a_run_without_gives(
    graph: Graph, seed: int, data: st.DataObject
) -> None:
    if '"RACE"' in json.dumps(graph):
        return  # who wins depends on the order
    plain, crashed = run(graph, seed=seed), run(graph, seed=seed + 1)
    failing = data.draw(st.sets(st.integers(0, 99).map(lambda k: f"q{k}"), max_size=3))
    for made in (plain, crashed):
        made.answers = {"SELECT true": [rows(True)], "SELECT false": [rows(False)]}
        made.failing = set(failing)
    crashed.crash = 0.2
    first, second = plain.to_the_end(), crashed.to_the_end()
    assert first.status is second.status
    assert first.result == second.result
    assert Counter(first.effects) == Counter(second.effects)


def _extent(graph: Graph, number: int, path: str, effects: set[Key]) -> tuple[str, int]:
    """How much of a subtree's effects are there: (whole | part | none | silent, last node).

    Raises AssertionError where the effects contradict the construct.
    """
    kind = graph["node_type"]
    if kind == "SQL":
        return ("whole" if Key(number, path) in effects else "none"), number
    if kind in ("SLEEP", "BREAK"):
        return "silent", number
    inner = f"{path}.0" if kind == "LOOP" else path
    extents, last = [], number
    for key in ("condition_node", "left_node", "right_node"):
        if key in graph:
            extent, last = _extent(graph[key], last + 1, inner, effects)
            extents.append(extent)
    for extra in graph.get("extra_nodes", ()):
        extent, last = _extent(extra, last + 1, inner, effects)
        extents.append(extent)
    return _combined(graph, extents), last


def _combined(graph: Graph, extents: list[str]) -> str:
    kind = graph["node_type"]
    if kind == "RACE":
        if _ends_with_a_step(graph["left_node"]) and _ends_with_a_step(graph["right_node"]):
            assert extents.count("whole") <= 1, "both branches of a race are whole"
        if "silent" in extents and "whole" not in extents:
            return "silent"  # a branch without effects may have won
        return "whole" if "whole" in extents else _mixed(extents)
    if kind == "IF":
        truth = graph["condition_node"]["query"] == "SELECT true"
        taken, skipped = (extents[1], extents[2]) if truth else (extents[2], extents[1])
        assert skipped in ("none", "silent"), "the other branch ran"
        return _mixed([extents[0], taken])
    if kind == "LOOP" and "condition_node" in graph:
        extents = [extents[1], extents[0]]  # the condition comes after the body
    if kind in ("THEN", "LOOP"):
        loud = [extent for extent in extents if extent != "silent"]
        for before, after in pairwise(loud):
            assert before == "whole" or after == "none", "a later step ran before an earlier one"
    return _mixed(extents)


def _ends_with_a_step(graph: Graph) -> bool:
    """The branch's last step decides the race in its own commit; others take one more commit."""
    if graph["node_type"] == "THEN":
        return _ends_with_a_step(graph["right_node"])
    if graph["node_type"] == "IF":
        return _ends_with_a_step(graph["left_node"]) and _ends_with_a_step(graph["right_node"])
    return bool(graph["node_type"] == "SQL")


def _mixed(extents: list[str]) -> str:
    loud = {extent for extent in extents if extent != "silent"}
    if not loud:
        return "silent"
    return loud.pop() if len(loud) == 1 else "part"
