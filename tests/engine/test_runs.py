"""Steps that go to the server together: each is still a transaction of its own, in order, once."""

from __future__ import annotations

import json

import pytest

from durproxy.engine.core.actions import EndsInstance, RunStep, StepCompleted
from durproxy.engine.core.advance import Execution
from durproxy.engine.core.graph import parse_graph
from durproxy.engine.core.states import StepResult
from tests.engine.steps import ended, run
from tests.engine.test_advance import Graph, join, sleep, sql, then
from tests.fix_serve import Visitor


def _started(graph: Graph) -> tuple[Execution, list[RunStep]]:
    execution = Execution(parse_graph(json.dumps(graph)), {})
    return execution, [step for step in execution.start() if isinstance(step, RunStep)]


def _ahead(*steps: Graph) -> list[str]:
    """The texts that the first step of a sequence takes with it."""
    execution, [first] = _started(then(*steps))
    return [step.node.query for step in execution.following(first, 50)]


def test_what_goes_with_a_step_ends_at_the_first_result_that_something_reads() -> None:
    assert _ahead(sql("a"), sql("b"), sql("c")) == ["b", "c"]
    assert _ahead(sql("a"), sql("b"), sleep(1), sql("c")) == ["b"]
    assert _ahead(sql("a"), sql("b", "x"), sql("SELECT $x"), sql("c")) == ["b"]
    assert _ahead(sql("a", "x"), sql("SELECT $x"), sql("c")) == []
    assert _ahead(sql("a", "unread"), sql("b")) == ["b"]


def test_each_step_is_asked_for_in_its_turn_as_it_was_told_ahead() -> None:
    execution, [first] = _started(then(sql("a"), sql("b"), sql("c")))
    told = execution.following(first, 50)
    assert execution.advance(StepCompleted(first.key, StepResult())) == told[:1]
    assert execution.advance(StepCompleted(told[0].key, StepResult())) == told[1:]
    assert told[1].decides == EndsInstance()


def test_a_branch_takes_only_its_own_steps_along() -> None:
    graph = join(then(sql("a"), sql("b")), then(sql("c"), sql("d")))
    execution, [left, right] = _started(graph)
    assert [step.node.query for step in execution.following(left, 50)] == ["b"]
    assert execution.following(right, 0) == []


_NOTES = """
    CREATE TABLE notes (
        step int, xact bigint DEFAULT txid_current(), at timestamptz DEFAULT now())"""


def _note(step: int) -> str:
    return f"INSERT INTO notes VALUES ({step})"


@pytest.fixture
def notes(visitor: Visitor) -> Visitor:
    visitor.psql(_NOTES)
    return visitor


def _start(visitor: Visitor, *steps: str) -> str:
    chain = " ~> ".join("'{}'".format(step.replace("'", "''")) for step in steps)
    return visitor.psql(f"SELECT df.start({chain})")


def _end(visitor: Visitor, *steps: str) -> tuple[str, list[int]]:
    """A sequence of steps to its end: the status, or the error's SQLSTATE; the notes."""
    instance = _start(visitor, *steps)
    with visitor.connect() as session:
        session.execute("SET statement_timeout = 0")
        outcome = ended(session, instance)
        noted = session.execute("SELECT step FROM notes ORDER BY step").fetchall()
    status = outcome.status if outcome.status != "failed" else outcome.sqlstate
    return status, [step for (step,) in noted]


def test_each_step_has_a_transaction_and_a_time_of_its_own(notes: Visitor) -> None:
    assert _end(notes, *map(_note, range(5))) == ("completed", [0, 1, 2, 3, 4])
    assert notes.psql("SELECT count(DISTINCT xact), count(DISTINCT at) FROM notes") == "5|5"


@pytest.mark.parametrize("failing", [0, 1, 3])
def test_a_step_that_fails_keeps_what_was_before_it_and_stops_what_comes_after(
    notes: Visitor, failing: int
) -> None:
    steps = [_note(k) for k in range(4)]
    steps[failing] = "INSERT INTO notes VALUES (1 / 0)"
    assert _end(notes, *steps) == ("22012", list(range(failing)))


def test_a_step_that_fails_is_tried_once(notes: Visitor) -> None:
    notes.psql("CREATE SEQUENCE tries")
    tried = "INSERT INTO notes SELECT 1 / 0 WHERE nextval('tries') > 0"
    assert _end(notes, _note(0), tried, _note(2)) == ("22012", [0])
    assert notes.psql("SELECT last_value FROM tries") == "1"


def test_a_constraint_that_is_checked_at_commit_fails_its_own_step(notes: Visitor) -> None:
    notes.psql("ALTER TABLE notes ADD UNIQUE (step) DEFERRABLE INITIALLY DEFERRED")
    assert _end(notes, _note(0), _note(0), _note(2)) == ("23505", [0])


def test_a_statement_that_refuses_a_transaction_runs_alone_among_others(notes: Visitor) -> None:
    assert _end(notes, _note(0), "VACUUM notes", _note(2)) == ("completed", [0, 2])


def test_the_roles_statement_timeout_is_the_limit_of_one_step(notes: Visitor) -> None:
    slow = "INSERT INTO notes SELECT 1 FROM pg_sleep(0.3)"
    notes.psql("ALTER ROLE CURRENT_USER SET statement_timeout = '600ms'")
    assert _end(notes, *[slow] * 4) == ("completed", [1] * 4)
    assert _end(notes, _note(2), slow.replace("0.3", "5"), _note(3)) == ("57014", [1] * 4 + [2])


def test_slow_steps_do_not_hold_up_a_cancel(notes: Visitor) -> None:
    slow = "INSERT INTO notes SELECT 1 FROM pg_sleep(0.1)"
    instance = _start(notes, *[slow] * 100)
    with notes.connect() as session:
        while session.execute("SELECT count(*) FROM notes").fetchone() == (0,):
            pass
        session.execute("SELECT df.cancel(%s)", [instance])
        counted = session.execute("SELECT count(*) FROM notes").fetchone()
        run(session, "SELECT pg_sleep(0.3)")
        assert session.execute("SELECT count(*) FROM notes").fetchone() == counted


def test_references_to_earlier_results_go_along_as_values(notes: Visitor) -> None:
    instance = notes.psql(
        "SELECT df.start('SELECT 7 AS n' |=> 'x' ~> 'INSERT INTO notes VALUES ($x.n)'"
        " ~> 'INSERT INTO notes VALUES ($x.n + 1)' ~> 'SELECT $x.n + 2 AS n' |=> 'y'"
        " ~> 'INSERT INTO notes VALUES ($y)' ~> 'SELECT $y + 1 AS n')"
    )
    with notes.connect() as session:
        assert ended(session, instance).value == 10
        noted = session.execute("SELECT step FROM notes ORDER BY step").fetchall()
    assert noted == [(7,), (8,), (9,)]


def test_a_setting_that_a_step_leaves_is_no_longer_there_for_another_instance(
    notes: Visitor,
) -> None:
    hidden = ["SET search_path = nowhere", "SELECT 1"]
    for _ in range(3):
        assert _end(notes, *hidden)[0] == "completed"
    assert _end(notes, _note(1), _note(2)) == ("completed", [1, 2])
