"""An instance that ends its worker or its session is set aside; who was only there never is."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from tests.engine.steps import ended, start
from tests.faults import rig as faults
from tests.faults.rig import Rig
from tests.fix_postgres import BINDIRS, Clusters
from tests.waiting import wait_until


@pytest.fixture
def rig(clusters: Clusters) -> Iterator[Rig]:
    rig = Rig(clusters.get(list(BINDIRS.values())[-1]), poll_interval=0.2, set_aside_after=3)
    yield rig
    rig.close()


def _paused(session: psycopg.Connection, instance: str) -> str | None:
    row = session.execute("SELECT paused FROM df._instances WHERE id = %s", [instance]).fetchone()
    return None if row is None else row[0]


def _waits_for(session: psycopg.Connection, instance: str) -> tuple[object, ...] | None:
    return session.execute(
        "SELECT waits_for, detail FROM df.waiting WHERE instance_id = %s", [instance]
    ).fetchone()


def test_a_step_that_always_ends_its_own_session_is_set_aside_and_can_be_resumed(rig: Rig) -> None:
    with rig.serve.connect() as session:
        session.execute("CREATE TABLE deadly (is_so boolean)")
        session.execute("INSERT INTO deadly VALUES (true)")
        suicidal = start(
            session,
            "SELECT CASE WHEN is_so THEN pg_terminate_backend(pg_backend_pid()) END FROM deadly",
            "SELECT 7",
        )
        reason = wait_until(lambda: _paused(session, suicidal), "it is set aside", 30)
        assert reason is not None
        assert reason.startswith("set aside: the session of its step was lost")
        waits = _waits_for(session, suicidal)
        assert waits is not None
        assert "set aside" in " ".join(map(str, waits))
        # nothing else has been disturbed
        assert ended(session, start(session, "SELECT 1")).value == 1
        session.execute("UPDATE deadly SET is_so = false")
        session.execute("SELECT df.resume(%s)", [suicidal])
        assert ended(session, suicidal).value == 7


def test_what_the_database_will_never_take_is_set_aside_and_not_sent_for_ever(rig: Rig) -> None:
    with rig.serve.connect() as session:
        session.execute(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            " RAISE EXCEPTION 'never this' USING ERRCODE = '22000'; END $$;"
            "CREATE TRIGGER refuse BEFORE UPDATE ON df._checkpoints FOR EACH ROW"
            " WHEN (NEW.kind = 'LOOP') EXECUTE FUNCTION refuse()"
        )
        row = session.execute("SELECT df.start(df.loop('SELECT 1', 'SELECT false'))").fetchone()
        assert row is not None
        reason = wait_until(lambda: _paused(session, row[0]), "it is set aside", 30)
        assert reason is not None
        assert reason.startswith("set aside: never this")
        session.execute("DROP TRIGGER refuse ON df._checkpoints")
        session.execute("SELECT df.resume(%s)", [row[0]])
        assert ended(session, row[0]).status == "completed"


def test_what_kills_its_worker_is_set_aside_and_what_was_held_with_it_is_not(rig: Rig) -> None:
    rig.always("fail.before", faults.kill)
    with rig.serve.connect() as session:
        innocent = [start(session, "SELECT pg_sleep(0.4)", "SELECT 7") for _ in range(4)]
        poison = start(session, "SELECT 1/0")
        reason = wait_until(lambda: _paused(session, poison), "it is set aside", 60)
        assert reason is not None
        assert reason.startswith("set aside: its worker died")
        assert [ended(session, instance, 60).value for instance in innocent] == [7] * 4
        rows = session.execute(
            "SELECT paused, strikes FROM df._instances WHERE id = ANY (%s)", [innocent]
        ).fetchall()
        assert rows == [(None, 0)] * 4
        # the worker for suspects goes when there are none
        rig.never()
        session.execute("SELECT df.resume(%s)", [poison])
        assert ended(session, poison, 30).sqlstate == "22012"
        wait_until(lambda: not rig.serve.child_pids("engine-alone"), "no suspects, no worker", 30)


def test_a_worker_that_is_killed_again_and_again_sets_nothing_aside_that_makes_progress(
    rig: Rig,
) -> None:
    with rig.serve.connect() as session:
        session.execute("CREATE TABLE effects (step int)")
        rig.always("step.after", faults.kill)
        steps = [f"INSERT INTO effects VALUES ({k}) RETURNING step" for k in range(12)]
        chain = " ~> ".join(f"'{step}' |=> 's{k}'" for k, step in enumerate(steps))
        row = session.execute(f"SELECT df.start({chain} ~> 'SELECT $s11.step')".encode()).fetchone()
        assert row is not None
        wait_until(lambda: _count(session) >= 11, "it goes on step by step", 60)
        rig.never()
        assert ended(session, row[0], 30).status == "completed"
        assert _count(session) == 12


def _count(session: psycopg.Connection) -> int:
    row = session.execute("SELECT count(*) FROM effects").fetchone()
    assert row is not None
    return int(row[0])


def test_a_role_that_cannot_log_in_is_no_reason_to_set_anything_aside(rig: Rig) -> None:
    role = rig.home.add_role()
    with rig.serve.connect() as owner, rig.serve.connect(role) as session:
        owner.execute("SELECT df.grant_usage(%s)", [role.name])
        instance = start(session, "SELECT pg_sleep(0.3)", "SELECT 7")
        with rig.home.connect("postgres") as admin:
            admin.execute(f"ALTER ROLE {role.name} NOLOGIN".encode())
            rig.relay.cut("durproxy step")
            trouble = wait_until(lambda: _trouble(owner, instance), "it says why it waits")
            assert trouble is not None
            assert role.name in trouble
            admin.execute(f"ALTER ROLE {role.name} LOGIN".encode())
        assert ended(session, instance, 40).value == 7


def _trouble(session: psycopg.Connection, instance: str) -> str | None:
    row = session.execute(
        "SELECT trouble FROM df._instances WHERE id = %s AND trouble LIKE '%%log in%%'", [instance]
    ).fetchone()
    return None if row is None else row[0]
