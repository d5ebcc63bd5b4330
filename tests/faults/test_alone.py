"""Statements that cannot be in a transaction: run alone, at least once, never two at a time."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import psycopg
import pytest

from durproxy.schema.install import install
from tests.engine.steps import Ended, ended, start
from tests.faults import rig as faults
from tests.faults.rig import Rig
from tests.fix_postgres import BINDIRS, Clusters, Database
from tests.fix_serve import Serve, ServeWith, Visitor
from tests.waiting import wait_until

_ALONE = (
    "VACUUM",
    "VACUUM (ANALYZE) small",
    "CREATE INDEX CONCURRENTLY small_k ON small (k)",
    "REINDEX INDEX CONCURRENTLY small_pkey",
    "CREATE DATABASE {fresh}",
    "CALL commits()",
    "DO 'BEGIN COMMIT; END'",
)


@pytest.fixture(scope="module")
def rig(clusters: Clusters) -> Iterator[Rig]:
    rig = Rig(clusters.get(list(BINDIRS.values())[-1]), poll_interval=0.3, engines=2, lease=1.0)
    with rig.serve.connect() as owner:
        owner.execute("CREATE TABLE effects (k int)")
        owner.execute(
            "CREATE PROCEDURE slowly() LANGUAGE plpgsql AS $$ BEGIN"
            " INSERT INTO effects VALUES (1); COMMIT; PERFORM pg_sleep(60); COMMIT; END $$"
        )
        owner.execute(
            "CREATE PROCEDURE quickly() LANGUAGE plpgsql AS $$ BEGIN"
            " INSERT INTO effects VALUES (2); COMMIT; END $$"
        )
    yield rig
    rig.close()


@pytest.mark.parametrize("statement", _ALONE)
def test_what_cannot_be_in_a_transaction_runs_alone(visitor: Visitor, statement: str) -> None:
    if "{fresh}" in statement:
        visitor.database.psql(f"ALTER ROLE {visitor.role.name} CREATEDB", "postgres")
    with visitor.connect() as session:
        session.execute("CREATE TABLE small (k int PRIMARY KEY)")
        session.execute("CREATE PROCEDURE commits() LANGUAGE plpgsql AS $$ BEGIN COMMIT; END $$")
        fresh = f"made_by_{visitor.role.name}"
        done = ended(session, start(session, statement.format(fresh=fresh), "SELECT 7"))
        assert done.value == 7
        if "{fresh}" in statement:
            visitor.database.psql(f"DROP DATABASE {fresh}", "postgres")
        row = session.execute("SELECT df.explain(%s)", [done.id]).fetchone()
        assert row is not None
        if not statement.startswith(("CALL", "DO")):  # whether these commit is in their bodies
            assert "(at least once)" in row[0]


_BUSILY = """
    CREATE TABLE attempts (pid int, at timestamptz DEFAULT clock_timestamp());
    -- it ignores that its client is gone for as long as it computes
    CREATE PROCEDURE busily() LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO attempts VALUES (pg_backend_pid()); COMMIT;
        PERFORM set_config('client_connection_check_interval', '0', false);
        IF (SELECT count(*) FROM attempts) = 1 THEN PERFORM pg_sleep(60); END IF;
        COMMIT; END $$"""


@pytest.mark.parametrize("there", [False, True], ids=["at home", "elsewhere"])
def test_the_next_attempt_ends_the_statement_that_a_killed_worker_left_behind(
    serve_with: ServeWith, elsewhere: Database, there: bool
) -> None:
    serve = serve_with(lease=30.0)
    where = elsewhere if there else serve.home
    with serve.connect() as session, where.connect() as look:
        look.execute(_BUSILY)
        row = session.execute(
            "SELECT df.start(df.seq('CALL busily()', 'SELECT 7'), database => %s)", [where.name]
        ).fetchone()
        assert row is not None
        first = wait_until(lambda: _first(look), "the first attempt runs")
        serve.kill_engine()
        done = ended(session, row[0], 30)
        assert done.value == 7
        assert look.execute("SELECT count(*) FROM attempts").fetchone() == (2,)
        gone = look.execute("SELECT 1 FROM pg_stat_activity WHERE pid = %s", [first]).fetchone()
        assert gone is None
        assert session.execute("SELECT count(*) FROM df._alone").fetchone() == (0,)


def _first(session: psycopg.Connection) -> int | None:
    row = session.execute("SELECT pid FROM attempts ORDER BY at LIMIT 1").fetchone()
    return None if row is None else int(row[0])


@pytest.mark.parametrize("receipts", [False, True])
def test_elsewhere_too_what_has_committed_and_failed_is_not_repeated(
    serve: Serve, elsewhere: Database, receipts: bool
) -> None:
    if receipts:
        install(elsewhere.dsn)
    elsewhere.psql(
        "CREATE TABLE effects (k int);"
        "CREATE PROCEDURE fails() LANGUAGE plpgsql AS $$ BEGIN"
        " INSERT INTO effects VALUES (1); COMMIT;"
        " RAISE EXCEPTION 'it has' USING ERRCODE = '40001'; END $$"
    )
    with serve.connect() as session:
        row = session.execute(
            "SELECT df.start('CALL fails()', database => %s)", [elsewhere.name]
        ).fetchone()
        assert row is not None
        assert ended(session, row[0]).sqlstate == "40001"
    assert elsewhere.psql("SELECT count(*) FROM effects") == "1"


def test_a_worker_that_has_lost_the_instance_does_not_take_one_step_for_another(rig: Rig) -> None:
    """VACUUM and INSERT went together; that VACUUM was refused must not be told of the INSERT."""
    with rig.serve.connect() as session:
        session.execute("TRUNCATE effects")
        graph = (
            "SELECT df.start('SELECT 1' ~> 'VACUUM effects' ~> 'INSERT INTO effects VALUES (3)')"
        )
        stopped: list[int] = []

        def stop(rig: Rig, pid: int) -> bytes:
            stopped.append(pid)
            return faults.stop(rig, pid)

        times, instance = 0, ""
        while not stopped:  # until the engine knows what the statements return
            times += 1
            assert times < 4, "they did not go together"
            rig.plan("done.before", 1, stop)
            row = session.execute(graph).fetchone()
            assert row is not None
            instance = row[0]
            assert ended(session, instance, 30).status == "completed"
        rig.never()
        os.kill(stopped[0], signal.SIGCONT)
        # it is heard of again, so it has done what it still wanted to do
        rig.serve.wait_log("instance.lost", instance=instance)
        assert session.execute("SELECT count(*) FROM effects").fetchone() == (times,)


@pytest.mark.parametrize(("moment", "times"), [("before", 1), ("after", 2), ("sent", None)])
def test_a_worker_killed_around_such_a_statement(rig: Rig, moment: str, times: int | None) -> None:
    with rig.serve.connect() as session:
        session.execute("TRUNCATE effects")
        rig.plan(f"alone.{moment}", 1, faults.kill)
        done: Ended = ended(session, start(session, "CALL quickly()", "SELECT 7"), 30)
        assert done.value == 7
        assert rig.hits == 1
        row = session.execute("SELECT count(*) FROM effects").fetchone()
        assert row is not None
        assert row[0] in ([times] if times else [1, 2])
