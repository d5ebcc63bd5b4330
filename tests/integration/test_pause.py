"""Pausing under a running engine: what is in flight finishes, nothing else takes effect."""

from __future__ import annotations

import os
import signal

import psycopg
import pytest

from tests.fix_serve import Serve, ServeWith
from tests.store.asking import rows, value
from tests.waiting import wait_until

pytestmark = pytest.mark.one_postgres

TABLES = """
CREATE TABLE done (instance text, what text, began timestamptz DEFAULT now());
CREATE TABLE gate (n int PRIMARY KEY);
INSERT INTO gate VALUES (1);
"""
FREE = "SELECT count(*) = 0 FROM df._instances WHERE owner IS NOT NULL"


@pytest.fixture
def client(serve: Serve) -> psycopg.Connection:
    connection = serve.connect()
    connection.execute(TABLES)
    return connection


def whats(client: psycopg.Connection) -> list[str]:
    return [what for (what,) in rows(client, "SELECT what FROM done ORDER BY what")]


def test_steps_in_flight_finish_and_their_successors_wait(
    serve: Serve, client: psycopg.Connection
) -> None:
    with client, serve.connect() as keeper:
        keeper.execute("BEGIN; SELECT FROM gate FOR UPDATE")
        instance = value(
            client,
            """SELECT df.start(
                ('INSERT INTO done SELECT '''', ''long'' FROM gate FOR UPDATE'
                    ~> 'INSERT INTO done VALUES ('''', ''after long'')')
              & ('INSERT INTO done VALUES ('''', ''short'')'
                    ~> (df.sleep(3) ~> 'INSERT INTO done VALUES ('''', ''after sleep'')')))""",
        )
        in_flight = "SELECT count(*) FROM pg_locks WHERE NOT granted"
        wait_until(lambda: value(client, in_flight) > 0, "the long step is in flight")
        timers = "SELECT count(*) FROM df.waiting WHERE waits_for = 'timer' AND due > now()"
        wait_until(lambda: value(client, timers) == 1, "the short branch sleeps")
        client.execute("SELECT df.pause(%s)", [instance])
        wait_until(lambda: value(client, timers) == 0, "the timer is over")
        keeper.execute("COMMIT")
        wait_until(lambda: value(client, FREE), "the engine gives the instance back")
        assert whats(client) == ["long", "short"]

        serve.kill_engine()
        assert rows(client, "SELECT waits_for FROM df.waiting ORDER BY 1") == [
            ("resume",),
            ("timer",),
        ]
        client.execute("SELECT df.resume(%s)", [instance])
        assert value(client, "SELECT df.await_instance(%s)", [instance]) == "completed"
        assert whats(client) == ["after long", "after sleep", "long", "short"]


@pytest.mark.parametrize("notify", [True, False], ids=["notified", "not notified"])
def test_nothing_that_begins_after_a_pause_takes_effect(
    serve_with: ServeWith, notify: bool
) -> None:
    serve = serve_with(engines=2, notify=notify)
    with serve.connect() as client:
        client.execute(TABLES)
        step = "INSERT INTO done VALUES (''{sys_instance_id}'', ''x'')"
        client.execute(
            f"""SELECT df.start(df.loop('{step}' ~> '{step}' ~> '{step}',
                'SELECT count(*) < 1000 FROM done')) FROM generate_series(1, 10)""".encode()
        )
        wait_until(lambda: value(client, "SELECT count(*) > 100 FROM done"), "they run")
        client.execute("SELECT df.pause(id) FROM df.instances WHERE status <> 'completed'")
        paused = value(client, "SELECT clock_timestamp()")
        wait_until(lambda: value(client, FREE), "the engines give all back")
        late = "SELECT count(*) FROM done WHERE began > %s"
        assert value(client, late, [paused]) == 0
        client.execute("SELECT df.resume(id) FROM df.instances WHERE status <> 'completed'")
        ended = "SELECT count(*) = 10 FROM df.instances WHERE status = 'completed'"
        wait_until(lambda: value(client, ended), "they go on to their end", 60)
        uneven = (
            "SELECT count(*) FROM (SELECT 1 FROM done GROUP BY instance HAVING count(*) % 3 <> 0)"
        )
        assert value(client, uneven + " u") == 0


@pytest.mark.parametrize("how", ["pause", "drain"])
def test_a_deadline_ends_a_step_in_flight_also_while_its_engine_waits_for_it(
    serve: Serve, client: psycopg.Connection, how: str
) -> None:
    with client:
        instance = value(
            client,
            "SELECT df.start(df.catch(df.timeout('SELECT pg_sleep(60)', '1 s'), 'SELECT 7'))",
        )
        sleeping = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
        wait_until(lambda: value(client, sleeping) == 1, "the step is in flight")
        if how == "pause":
            client.execute("SELECT df.pause(%s)", [instance])
        else:
            os.kill(serve.engine_pids()[0], signal.SIGTERM)
            serve.wait_log("engine.draining")
        wait_until(lambda: value(client, sleeping) == 0, "the step is ended", 10)
        if how == "pause":
            wait_until(lambda: value(client, FREE), "the engine gives the instance back")
            assert value(client, "SELECT df.status(%s)", [instance]) == "running"
            client.execute("SELECT df.resume(%s)", [instance])
        else:
            serve.wait_log("child.ended", kind="engine", exit_code=0)
        assert value(client, "SELECT df.await_instance(%s, 10)", [instance]) == "completed"
