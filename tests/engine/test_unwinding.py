"""What is owed is done, once, whatever happens: random graphs, failures, restarts and cancels."""

from __future__ import annotations

import json
import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from durproxy.engine.core.states import InstanceStatus
from durproxy.engine.core.validate import validate
from tests.engine.graphs import (
    ANSWERS,
    DETERMINED,
    Drawn,
    Graph,
    catch,
    cleaned,
    compensated,
    drawn_graphs,
    saga,
    sql,
    then,
)
from tests.engine.model import WAITS, Rows, Run

Effects = Counter[tuple[str, str]]

_seeds = st.integers(0, 2**32)


def made_run(drawn: Drawn, seed: int, data: st.DataObject | None) -> Run:
    run = Run(drawn.graph, random.Random(seed))
    run.answers = dict(ANSWERS)
    if data is not None:
        steps = st.integers(1, max(drawn.steps, 1)).map(lambda k: f"step:{k}")
        run.failing = data.draw(st.sets(steps, max_size=3))
        run.failures = data.draw(st.dictionaries(steps, st.integers(1, 2), max_size=3))
    return run


def effects_of(run: Run) -> Effects:
    queries = {node.number: node.query for node in run.graph.nodes()}
    return Counter((queries[key.node], key.path) for key in run.rows.effects)


def check_owed(drawn: Drawn, run: Run) -> None:
    """Cleanups come once for each entry; undos at most once, and where they must."""
    effects, status = effects_of(run), run.rows.status
    assert all(count == 1 for count in Counter(run.rows.effects).values())
    for query, path in effects:
        kind, _, number = query.partition(":")
        if kind == "in":
            assert effects[f"out:{number}", f"{path}!"] == 1, "entered and not cleaned up"
        elif kind == "done":
            undone = effects[f"undo:{number}", f"{path}!~0"]
            if int(number) in drawn.loose and status is not InstanceStatus.COMPLETED:
                assert undone == 1, "completed and not undone"
            elif int(number) in drawn.kept:
                assert undone == 0, "undone though all went well"
        elif kind == "undo":
            assert effects[f"done:{number}", path.removesuffix("!~0")] == 1, "undone without need"
    assert status is InstanceStatus.CANCELLED or not [
        key
        for key, row in run.rows.checkpoints.items()
        if row.status.value == "o" and run.rows.frames[key].type in WAITS
    ]


@settings(max_examples=120, deadline=None)
@given(drawn_graphs(), _seeds, st.data())
def test_what_is_owed_is_done_once_whatever_fails_and_crashes(
    drawn: Drawn, seed: int, data: st.DataObject
) -> None:
    assert not validate(drawn.graph)
    run = made_run(drawn, seed, data)
    run.crash = 0.1
    run.to_the_end()
    check_owed(drawn, run)


@settings(max_examples=120, deadline=None)
@given(drawn_graphs(), _seeds, st.integers(0, 40), st.data())
def test_a_cancel_at_any_point_stops_what_goes_forward_and_does_what_is_owed(
    drawn: Drawn, seed: int, writes: int, data: st.DataObject
) -> None:
    run = made_run(drawn, seed, data)
    run.crash = 0.1
    run.cancel_after = writes
    run.to_the_end()
    check_owed(drawn, run)
    if run.rows.ending is not None:
        assert run.rows.status is InstanceStatus.CANCELLED
        late = run.rows.effects[run.effects_at_cancel :]
        assert all("!" in key.path for key in late), "a step went forward after the cancel"


@settings(max_examples=120, deadline=None)
@given(drawn_graphs(DETERMINED), _seeds, st.data())
def test_restarts_at_any_point_give_the_same_end(
    drawn: Drawn, seed: int, data: st.DataObject
) -> None:
    plain, crashed = made_run(drawn, seed, data), made_run(drawn, seed + 1, None)
    crashed.failing, crashed.failures = set(plain.failing), dict(plain.failures)
    crashed.crash = 0.2
    plain.to_the_end()
    crashed.to_the_end()
    assert plain.rows.status is crashed.rows.status
    assert _told(plain.rows) == _told(crashed.rows)
    assert effects_of(plain) == effects_of(crashed)


def _told(rows: Rows) -> object:
    return (rows.result, rows.error and (rows.error.message, rows.error.sqlstate))


# --- by example ---


def ran(
    graph: Graph, failing: set[str], seed: int = 0, crash: float = 0.0
) -> tuple[Rows, list[str]]:
    run = Run(graph, random.Random(seed))
    run.answers, run.failing, run.crash = dict(ANSWERS), failing, crash
    rows = run.to_the_end()
    queries = {node.number: node.query for node in run.graph.nodes()}
    return rows, [queries[key.node] for key in rows.effects]


@pytest.mark.parametrize("crash", [0.0, 0.3])
def test_undos_run_the_last_first(crash: float) -> None:
    for seed in range(10):
        rows, effects = ran(then(*steps_of(3), sql("bad")), {"bad"}, seed, crash)
        assert effects == ["do 0", "do 1", "do 2", "undo 2", "undo 1", "undo 0"]
        assert rows.status is InstanceStatus.FAILED
        assert rows.error is not None
        assert rows.error.message == "bad failed"


def steps_of(count: int) -> list[Graph]:
    return [compensated(sql(f"do {k}"), sql(f"undo {k}")) for k in range(count)]


@pytest.mark.parametrize("crash", [0.0, 0.3])
def test_an_undo_that_fails_for_good_is_tried_five_times_and_stops_no_other(crash: float) -> None:
    graph = saga(then(*steps_of(3), sql("bad")))
    run = Run(graph, random.Random(1))
    run.failing, run.crash = {"bad", "undo 1"}, crash
    rows = run.to_the_end()
    queries = {node.number: node.query for node in run.graph.nodes()}
    assert [queries[key.node] for key in rows.effects[3:]] == ["undo 2", "undo 0"]
    assert rows.error is not None
    assert rows.error.message == "bad failed"
    assert rows.error.detail is not None
    assert "undo 1 failed" in rows.error.detail
    (frame,) = [key for key in rows.checkpoints if key.path == "!"]
    assert rows.checkpoints[frame].round == 4


def test_a_saga_that_completes_drops_its_undos_and_one_around_it_stays() -> None:
    outer = compensated(saga(then(*steps_of(2))), sql("undo all"))
    _, effects = ran(then(outer, sql("bad")), {"bad"})
    assert effects == ["do 0", "do 1", "undo all"]


def test_an_undo_sees_the_names_of_its_completion_and_its_own() -> None:
    step = {**compensated(sql("do", "x"), sql("undo $x $y")), "result_name": "y"}
    run = Run(then(step, sql("again", "x"), sql("bad")), random.Random(0))
    run.failing = {"bad"}
    seen = run.environments_of("undo $x $y")
    run.to_the_end()
    ((x, y),) = [(names["x"].text, names["y"].text) for names in seen]
    assert x == y
    assert json.loads(x or "")["rows"] == [{"a": "do"}]


def test_a_handler_sees_the_error_and_what_the_body_had_bound() -> None:
    body = then(sql("first", "x"), sql("bad"))
    run = Run(catch(body, sql("handle $x $error.message")), random.Random(0))
    run.failing = {"bad"}
    seen = run.environments_of("handle $x $error.message")
    rows = run.to_the_end()
    assert rows.status is InstanceStatus.COMPLETED
    (names,) = seen
    assert json.loads(names["error"].text or "") == {
        "message": "bad failed", "sqlstate": "P0001", "node_id": "00000004", "attempt": 1,
    }  # fmt: skip
    assert "x" in names


def test_a_cleanup_that_fails_is_told_beside_the_error_of_the_body() -> None:
    rows, _ = ran(cleaned(sql("bad"), sql("worse")), {"bad", "worse"})
    assert rows.error is not None
    assert rows.error.message == "bad failed"
    assert rows.error.detail == "The cleanup failed, too: worse failed (SQLSTATE P0001)."
    rows, _ = ran(cleaned(sql("good"), sql("worse")), {"worse"})
    assert rows.error is not None
    assert rows.error.message == "worse failed"
