"""Failure handling with a real server and real statements: what ends, what is undone, and when."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import psycopg
import pytest

from tests.fix_http import Web
from tests.fix_serve import Serve, ServeWith, Visitor
from tests.waiting import wait_until


class Bench:
    """A role's sessions, a log that steps write, and a gate that a step can wait at."""

    def __init__(self, connect: Callable[[], psycopg.Connection]) -> None:
        self.session = connect()
        self.keeper = connect()
        self.session.execute("CREATE TABLE log (n serial, what text)")
        self.session.execute("CREATE TABLE gate (open boolean)")
        self.session.execute("INSERT INTO gate VALUES (true)")

    def close(self) -> None:
        self.session.close()
        self.keeper.close()

    def value(self, query: str, *params: object) -> Any:
        row = self.session.execute(query.encode(), params or None).fetchone()
        return None if row is None else row[0]

    def start(self, expression: str) -> str:
        return str(self.value(f"SELECT df.start({expression})"))

    def ended(self, instance: str, timeout: int = 30) -> str:
        return str(self.value("SELECT df.await_instance(%s, %s)", instance, timeout))

    def run(self, expression: str) -> tuple[str, Any, dict[str, Any]]:
        """Status, result and error."""
        instance = self.start(expression)
        status = self.ended(instance)
        row = self.session.execute(
            "SELECT result, error FROM df._own WHERE id OPERATOR(pg_catalog.=) %s", [instance]
        ).fetchone()
        assert row is not None
        return status, row[0], row[1] or {}

    def log(self) -> list[str]:
        return [what for (what,) in self.session.execute("SELECT what FROM log ORDER BY n")]

    def wait_logged(self, what: str) -> None:
        wait_until(lambda: what in self.log(), f"{what} is logged", 30)

    def shut_gate(self) -> None:
        """From now on a step that passes the gate waits."""
        self.keeper.execute("BEGIN")
        self.keeper.execute("SELECT FROM gate FOR UPDATE")

    def open_gate(self) -> None:
        self.keeper.execute("COMMIT")

    def waiting_at_gate(self) -> set[int]:
        """Backends whose step waits there."""
        rows = self.session.execute(
            "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            " AND application_name = 'durproxy step' AND usename = current_user"
        )
        return {pid for (pid,) in rows}

    def wait_at_gate(self, but: frozenset[int] | set[int] = frozenset()) -> set[int]:
        """Who waits there, at least one besides those."""
        return wait_until(lambda: self.waiting_at_gate() - but, "a step waits at the gate", 30)

    def wait_nobody_at_gate(self) -> None:
        wait_until(lambda: not self.waiting_at_gate(), "no step waits any more", 30)


def note(what: str) -> str:
    return f"'INSERT INTO log (what) VALUES (''{what}'')'"


def through_gate(what: str) -> str:
    """A step that writes its note and then needs the gate to be open."""
    return (
        f"'WITH g AS (SELECT FROM gate FOR SHARE) INSERT INTO log (what) SELECT ''{what}'' FROM g'"
    )


def undoable(what: str, undo: str | None = None) -> str:
    return f"({note(what)} <-> {undo or note(f'undo {what}')})"


@pytest.fixture
def bench(visitor: Visitor) -> Iterator[Bench]:
    def connect() -> psycopg.Connection:
        session = visitor.connect()
        session.execute('SET search_path = "$user", public, df')
        return session

    with closing(Bench(connect)) as bench:
        yield bench


def crashing_bench(serve: Serve) -> Bench:
    return Bench(serve.connect)


# --- cancel ---


def test_a_cancel_stops_the_running_step_and_ends_once_the_undos_are_done(bench: Bench) -> None:
    bench.shut_gate()
    undo = through_gate("undo a")
    forward = f"'SELECT pg_sleep(600), ''forward {id(bench)}'''"
    instance = bench.start(f"{undoable('a', undo)} ~> {forward}")
    running = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE %s AND state = 'active'"
    bench.wait_logged("a")
    bench.session.execute("SELECT df.cancel(%s, 'enough')", [instance])
    bench.wait_at_gate()  # the undo
    assert bench.value("SELECT df.status(%s)", instance) == "running"
    assert bench.value("SELECT df.cancel(%s, 'again')", instance).startswith("Instance")
    bench.open_gate()
    assert bench.ended(instance) == "cancelled"
    assert bench.log() == ["a", "undo a"]
    error = bench.value("SELECT error FROM df._own WHERE id OPERATOR(pg_catalog.=) %s", instance)
    assert (error["message"], error["sqlstate"]) == ("enough", "57014")
    assert bench.value(running, f"%forward {id(bench)}%pg_sleep%") == 0


def test_a_cancel_of_what_sleeps_far_from_memory_does_what_it_owes(bench: Bench) -> None:
    instance = bench.start(
        f"df.finally({undoable('a')} ~> df.sleep(3600) ~> {note('never')}, {note('cleanup')})"
    )
    bench.wait_logged("a")
    bench.session.execute("SELECT df.cancel(%s)", [instance])
    assert bench.ended(instance) == "cancelled"
    assert bench.log() == ["a", "cleanup", "undo a"]


def test_a_cancel_while_a_failure_is_undone_goes_on_where_that_was(bench: Bench) -> None:
    bench.shut_gate()
    steps = f"{undoable('a')} ~> {undoable('b', through_gate('undo b'))} ~> {undoable('c')}"
    instance = bench.start(f"{steps} ~> 'SELECT 1/0'")
    bench.wait_at_gate()
    bench.session.execute("SELECT df.cancel(%s)", [instance])
    bench.open_gate()
    assert bench.ended(instance) == "cancelled"
    assert bench.log() == ["a", "b", "c", "undo c", "undo b", "undo a"]


def test_a_cancel_that_is_rolled_back_changes_nothing(bench: Bench) -> None:
    instance = bench.start(f"{undoable('a')} ~> df.wait_for_signal('go') ~> {note('b')}")
    bench.wait_logged("a")
    with bench.session.transaction(force_rollback=True):
        bench.session.execute("SELECT df.cancel(%s)", [instance])
    bench.session.execute("SELECT df.signal(%s, 'go')", [instance])
    assert bench.ended(instance) == "completed"
    assert bench.log() == ["a", "b"]


def test_a_signal_after_a_cancel_does_not_keep_the_undos_from_their_pauses(bench: Bench) -> None:
    failing = "'SELECT 1/(SELECT count(*) FROM log WHERE what = ''good'')'"
    instance = bench.start(f"{undoable('a', failing)} ~> df.wait_for_signal('go')")
    bench.wait_logged("a")
    bench.session.execute("SELECT df.cancel(%s)", [instance])
    bench.session.execute("SELECT df.signal(%s, 'go')", [instance])
    bench.session.execute("INSERT INTO log (what) VALUES ('good')")
    assert bench.ended(instance) == "cancelled"
    error = bench.value("SELECT error FROM df._own WHERE id OPERATOR(pg_catalog.=) %s", instance)
    assert "detail" not in error


# --- crashes in the middle of it ---


@pytest.mark.parametrize("how", ["fails", "is cancelled", "loses", "is late"])
def test_an_engine_killed_while_it_undoes_undoes_each_once(serve_with: ServeWith, how: str) -> None:
    serve = serve_with(lease=2.0)
    with closing(crashing_bench(serve)) as bench:
        bench.shut_gate()
        steps = f"{undoable('a')} ~> {undoable('b', through_gate('undo b'))} ~> {undoable('c')}"
        wait = "df.wait_for_signal('never')"
        body = f"df.finally({steps} ~> {wait}, {note('cleanup')})"
        instance = bench.start(
            {
                "fails": f"df.finally({steps} ~> 'SELECT 1/0', {note('cleanup')})",
                "is cancelled": body,
                "loses": f"{body} | (df.wait_for_signal('win') ~> {note('won')})",
                "is late": f"df.catch(df.timeout({body}, '2 s'), {note('handled')})",
            }[how]
        )
        bench.wait_logged("c")
        if how == "is cancelled":
            bench.session.execute("SELECT df.cancel(%s)", [instance])
        elif how == "loses":
            bench.session.execute("SELECT df.signal(%s, 'win')", [instance])
        before = bench.wait_at_gate()
        serve.kill_engine()
        bench.wait_at_gate(but=before)  # the old one's statement may still wait, too
        bench.open_gate()
        ends = {"fails": "failed", "is cancelled": "cancelled"}
        assert bench.ended(instance, 60) == ends.get(how, "completed")
        undone = ["cleanup", "undo c", "undo b", "undo a"]
        won = ["won"] if how == "loses" else []
        handled = ["handled"] if how == "is late" else []
        assert bench.log() == ["a", "b", "c", *won, *undone, *handled]


def test_a_pause_between_attempts_survives_a_crash(serve_with: ServeWith) -> None:
    serve = serve_with(lease=2.0)
    with closing(crashing_bench(serve)) as bench:
        bench.session.execute("CREATE SEQUENCE tries")
        instance = bench.start(
            "df.retry('SELECT 1/(nextval(''tries'') - 1)', 2, '3 s', jitter => false,"
            " retry_on => ARRAY['22012'])"
        )
        due = wait_until(
            lambda: bench.value("SELECT due FROM df._checkpoints WHERE kind = 'RETRY'"), "it failed"
        )
        serve.kill_engine()
        assert bench.ended(instance) == "completed"
        assert bench.value("SELECT due FROM df._checkpoints WHERE kind = 'RETRY'") == due
        assert bench.value("SELECT last_value FROM tries") == 2
        assert bench.value("SELECT bool_and(at >= %s) FROM df._checkpoints WHERE status = 'd'", due)


# --- timeouts, losers, items: what runs is ended on the server, too ---


@pytest.mark.parametrize(
    "ending",
    [
        "df.timeout({0}, '300 ms')",
        "({0} | df.sleep(0))",
        "df.any({0}, df.sleep(0))",
        "df.map('VALUES (true), (false)', ('SELECT $item' ?> {0} !> 'SELECT 1/0'))",
    ],
)
def test_what_is_ended_stops_at_once_and_leaves_nothing(bench: Bench, ending: str) -> None:
    bench.shut_gate()
    caught = f"df.catch({ending.format(through_gate('late'))}, 'SELECT ''$error.sqlstate''')"
    status, _, error = bench.run(caught)
    assert status == "completed", error
    bench.wait_nobody_at_gate()
    bench.open_gate()
    assert bench.log() == []


def test_a_deadline_passes_at_the_server_and_says_how_long_it_was(bench: Bench) -> None:
    status, _, error = bench.run("df.timeout('SELECT pg_sleep(600)', '0.2 s')")
    assert (status, error["sqlstate"]) == ("failed", "57014")
    assert error["message"] == "timeout of 0.2 s expired"
    assert error["node"] == 1


def test_a_deadline_and_a_pause_of_microseconds(bench: Bench) -> None:
    status, _, error = bench.run("df.timeout('SELECT pg_sleep(600)', '50 us')")
    assert (status, error["sqlstate"]) == ("failed", "57014")
    status, _, error = bench.run("df.retry('SELECT 1/0', 2, '50 us', retry_on => '{22012}')")
    assert (status, error["sqlstate"]) == ("failed", "22012")


def test_a_deadline_that_does_not_pass_changes_nothing(bench: Bench) -> None:
    status, result, _ = bench.run(
        f"df.timeout(df.sleep(0) ~> {note('a')} ~> 'SELECT 7 AS n', '1 h')"
    )
    assert (status, result["rows"]) == ("completed", [{"n": 7}])
    assert bench.log() == ["a"]


def test_a_deadline_that_passes_while_nobody_has_the_instance_in_memory(bench: Bench) -> None:
    status, _, error = bench.run("df.timeout(df.wait_for_signal('never'), '0.5 s')")
    assert (status, error["sqlstate"]) == ("failed", "57014")


def test_a_step_that_ends_after_its_deadline_is_late_also_where_nobody_looked(
    serve_with: ServeWith,
) -> None:
    serve = serve_with(lease=60.0)
    with closing(crashing_bench(serve)) as bench:
        bench.shut_gate()
        instance = bench.start(f"df.timeout({through_gate('late')}, '400 ms')")
        bench.wait_at_gate()
        [engine] = serve.engine_pids()
        os.kill(engine, signal.SIGSTOP)  # so that it ends nothing
        past = "SELECT due < clock_timestamp() FROM df._checkpoints WHERE kind = 'TIMEOUT'"
        wait_until(lambda: bench.value(past), "the deadline has passed")
        bench.open_gate()
        bench.wait_nobody_at_gate()
        os.kill(engine, signal.SIGCONT)
        assert bench.ended(instance) == "failed"
        assert bench.log() == []


def test_an_attempt_that_times_out_is_worth_another(bench: Bench) -> None:
    bench.session.execute("CREATE SEQUENCE tries")
    slow_once = "'SELECT CASE nextval(''tries'') WHEN 1 THEN pg_sleep(600) END'"
    status, _, _ = bench.run(f"df.retry(df.timeout({slow_once}, '300 ms'), backoff => '1 ms')")
    assert status == "completed"


# --- retries ---


def test_only_failures_that_are_named_are_tried_again(bench: Bench) -> None:
    bench.session.execute("CREATE SEQUENCE tries")
    status, _, error = bench.run(
        "df.retry('SELECT 1/(nextval(''tries'') - 1)', 5, '1 ms', retry_on => ARRAY['40', '55P03'])"
    )
    assert (status, error["sqlstate"], error["attempt"]) == ("failed", "22012", 1)
    assert bench.value("SELECT last_value FROM tries") == 1


def test_the_last_attempts_error_says_which_it_was(bench: Bench) -> None:
    status, result, _ = bench.run(
        "df.catch(df.retry('SELECT 1/0', 3, '1 ms', retry_on => ARRAY['22']),"
        " 'SELECT $error.attempt AS attempt, $error.sqlstate AS sqlstate, $error.node_id AS node')"
    )
    assert status == "completed"
    assert result["rows"] == [{"attempt": "3", "sqlstate": "22012", "node": "00000003"}]


@pytest.mark.parametrize(
    ("status", "retry_on", "asked", "end"),
    [
        (503, None, 3, "completed"),
        (503, "40", 1, "failed"),
        (429, "http_429", 3, "completed"),
        (429, "http_5xx", 1, "completed"),
    ],
)
def test_http_failures_are_tried_again_by_their_classes_with_one_key(
    serve_with: ServeWith, web: Web, status: int, retry_on: str | None, asked: int, end: str
) -> None:
    serve = serve_with(http_allow_private=True)
    with closing(crashing_bench(serve)) as bench:
        classes = "NULL" if retry_on is None else f"ARRAY['{retry_on}']"
        url = f"{web.url}/busy/{status}/2"
        instance = bench.start(
            f"df.retry(df.http('{url}'), 3, '1 ms', jitter => false, retry_on => {classes})"
        )
        assert bench.ended(instance) == end
        assert len(web.asked) == asked
        assert len({call.headers["idempotency-key"] for call in web.asked}) == 1
        if asked > 1:
            pauses = bench.value("SELECT extract(epoch FROM now() - created_at) FROM df.instances")
            assert pauses > 2, "Retry-After is one second, twice"


# --- transactions ---


def test_a_transaction_is_all_or_nothing(bench: Bench) -> None:
    bench.session.execute("ALTER TABLE log ADD UNIQUE (what)")
    status, _, error = bench.run(f"df.transaction({note('a')}, {note('b')}, {note('a')})")
    assert (status, error["sqlstate"], error["node"]) == ("failed", "23505", 4)
    assert bench.log() == []
    status, _, _ = bench.run(f"df.transaction({note('a')}, {note('b')})")
    assert status == "completed"
    assert bench.log() == ["a", "b"]


def test_steps_of_a_transaction_see_what_earlier_ones_have_named(bench: Bench) -> None:
    status, result, _ = bench.run(
        "df.transaction("
        "'CREATE TABLE made AS SELECT 1.50::numeric AS n',"
        " 'SELECT n FROM made' |=> 'first',"
        " 'SELECT n * 2 AS n FROM $first.*' |=> 'twice',"
        " 'INSERT INTO log (what) VALUES (''$twice'') RETURNING what, pg_current_xact_id()::text ="
        " (SELECT xmin::text FROM made) AS same')"
    )
    assert status == "completed"
    assert result["rows"] == [{"what": "3.00", "same": True}]


def test_a_transaction_that_meets_a_deadlock_runs_again_as_a_whole(bench: Bench) -> None:
    bench.session.execute("CREATE SEQUENCE tries")
    once = "'DO $$ BEGIN IF nextval(''tries'') = 1 THEN RAISE SQLSTATE ''40P01''; END IF; END $$'"
    status, _, _ = bench.run(f"df.transaction({note('a')}, {once}, {note('b')})")
    assert status == "completed"
    assert bench.log() == ["a", "b"]


# --- fan-out ---


def test_a_map_runs_no_more_items_at_once_than_it_may(bench: Bench) -> None:
    bench.shut_gate()
    instance = bench.start(
        f"df.map('SELECT k FROM generate_series(1, 5) AS k', {through_gate('$item.k')}, 2)"
    )
    wait_until(lambda: len(bench.waiting_at_gate()) == 2, "two items wait", 30)
    bench.open_gate()
    assert bench.ended(instance) == "completed"
    assert sorted(bench.log()) == ["1", "2", "3", "4", "5"]


def test_a_map_gives_its_results_in_order_with_the_failures_that_it_tolerates(bench: Bench) -> None:
    item = "'SELECT 6 / ($item.k - 2) AS n FROM pg_sleep((4 - $item.k) * 0.05)'"
    items = "'SELECT k FROM generate_series(1, 3) AS k'"
    status, result, _ = bench.run(f"df.map({items}, {item}, tolerate => 1)")
    assert status == "completed"
    first, second, third = result
    assert (first["rows"], third["rows"]) == ([{"n": -6}], [{"n": 6}])
    assert second["error"]["sqlstate"] == "22012"
    status, _, error = bench.run(f"df.map({items}, {item})")
    assert (status, error["sqlstate"]) == ("failed", "22012")
    assert "Item 2 of 3" in error["detail"]
    assert bench.run("df.map('SELECT 1 AS k WHERE false', 'SELECT $item.k')")[1] == []


def test_a_map_whose_source_has_too_many_rows_is_refused(bench: Bench) -> None:
    status, _, error = bench.run(
        "df.map('SELECT k FROM generate_series(1, 10001) AS k', 'SELECT $item.k')"
    )
    assert (status, error["sqlstate"]) == ("failed", "54000")


def test_any_tells_all_failures_when_all_have_failed(bench: Bench) -> None:
    status, _, error = bench.run("df.any('SELECT 1/0', 'SELECT ''x''::int')")
    assert (status, error["sqlstate"]) == ("failed", "22P02")
    assert "22012" in error["detail"]
    status, result, _ = bench.run("df.any('SELECT 1/0', df.sleep(0) ~> 'SELECT 1 AS n')")
    assert (status, json.dumps(result["rows"])) == ("completed", '[{"n": 1}]')


# --- conditions ---


def test_a_condition_is_asked_until_it_is_true_and_writes_nothing(bench: Bench) -> None:
    instance = bench.start(
        f"df.wait_for_condition('SELECT count(*) > 1 FROM log', '20 ms') ~> {note('seen')}"
    )
    for what in ("one", "two"):
        bench.session.execute("INSERT INTO log (what) VALUES (%s)", [what])
    assert bench.ended(instance) == "completed"
    assert bench.log() == ["one", "two", "seen"]
    status, _, error = bench.run(
        "df.wait_for_condition('INSERT INTO log (what) VALUES (''no'') RETURNING true', '1 s')"
    )
    assert (status, error["sqlstate"]) == ("failed", "25006")
