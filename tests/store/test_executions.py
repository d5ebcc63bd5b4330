"""Rounds of a loop that is a whole graph: kept, counted, and not more than a hundred of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import psycopg
import pytest

from tests.fix_postgres import Database, Role
from tests.store.arena import Arena, Frame
from tests.store.asking import rows, value


@pytest.fixture
def arena(store: Database, add_user: Callable[[], Role]) -> Iterator[Arena]:
    with Arena(store, add_user()) as arena:
        yield arena


def executions(session: psycopg.Connection, instance: str, limit: int = 1000) -> list[int]:
    query = "SELECT execution_id FROM df.instance_executions(%s, %s)"
    return [number for (number,) in rows(session, query, [instance, limit])]


def test_the_newest_hundred_rounds_stay(arena: Arena) -> None:
    worker, user = arena.claimed(), arena.session(arena.user)
    assert worker.open((), 1, kind="LOOP") is None
    for number in range(130):
        frame = Frame(1, "", number)
        assert worker.finish((frame,), 2, f".{number}") is None
        worker.call("_next_1", (frame,), None)
        if number == 99:
            assert len(executions(user, worker.instance)) == 101
    assert executions(user, worker.instance) == list(range(131, 30, -1))
    assert executions(user, worker.instance, 3) == [131, 130, 129]
    query = "SELECT current_execution_id FROM df.instance_info(%s)"
    assert value(user, query, [worker.instance]) == 131
    kept = "SELECT count(*) FROM df._rounds WHERE instance_id = %s"
    assert arena.ask(kept, worker.instance) == 100


def test_a_rounds_events_are_its_own_rows(arena: Arena) -> None:
    worker, user = arena.claimed(), arena.session(arena.user)
    assert worker.open((), 1, kind="LOOP") is None
    for number in range(12):
        frame = Frame(1, "", number)
        path = f".{number}"
        for node in range(2, 3 + number % 3):
            assert worker.finish((frame,), node, path) is None
        assert worker.open((frame,), 7, path, kind="LOOP") is None
        assert worker.finish((frame, Frame(7, path)), 8, f"{path}.1") is None
        worker.call("_next_1", (frame,), None)
    query = "SELECT event_count, status FROM df.instance_executions(%s, 50)"
    expected = [(3 + number % 3, "completed") for number in reversed(range(12))]
    assert rows(user, query, [worker.instance]) == [(0, "running"), *expected]


@pytest.mark.parametrize(("node", "path"), [(2, ""), (1, ".0")])
def test_rounds_of_other_loops_are_no_executions(arena: Arena, node: int, path: str) -> None:
    worker, user = arena.claimed(), arena.session(arena.user)
    assert worker.open((), node, path, kind="LOOP") is None
    worker.call("_next_1", (Frame(node, path),), None)
    assert executions(user, worker.instance) == [1]


def test_one_instances_executions_are_found_by_its_key(store: Database, arena: Arena) -> None:
    worker = arena.claimed()
    with store.connect() as owner:
        owner.execute("SET enable_seqscan = off")
        plan = rows(
            owner,
            "EXPLAIN SELECT * FROM df._own_executions WHERE instance_id = %s",
            [worker.instance],
        )
    assert "Seq Scan" not in "\n".join(line for (line,) in plan)


def test_metrics_need_a_grant_and_count_everybodys(
    store: Database, arena: Arena, owner: psycopg.Connection
) -> None:
    query = "SELECT total_instances, total_executions, total_events FROM df.metrics()"
    user = arena.session(arena.user)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        user.execute(query.encode())
    owner.execute("SELECT df.grant_usage(%s, with_grant => true)", [arena.user.name])
    (instances, runs, events) = rows(user, query)[0]
    worker = arena.claimed()
    assert worker.open((), 1, kind="LOOP") is None
    assert worker.finish((Frame(1),), 2, ".0") is None
    worker.call("_next_1", (Frame(1),), None)
    # the loop's frame, and the step of a round that is over
    assert rows(user, query) == [(instances + 1, runs + 2, events + 2)]
    owner.execute("SELECT df.revoke_usage(%s)", [arena.user.name])
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        user.execute(query.encode())
