"""Connections cut, servers restarted, engines stopped and late: counts afterwards are exact."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import psycopg
import pytest

from durproxy.schema.install import install
from tests.engine.steps import ended, start
from tests.faults.load import Load
from tests.fix_postgres import BINDIRS, Database, Postgres
from tests.fix_serve import Serve, ServeWith, Visitor
from tests.waiting import wait_until


def cut(database: Database, application: str) -> int:
    """Terminate every session of that name in the database; how many there were."""
    with database.connect("postgres") as admin:
        return len(
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = %s AND application_name = %s",
                [database.name, application],
            ).fetchall()
        )


def sessions(database: Database, application: str) -> int:
    """How many sessions of that name there are."""
    with database.connect("postgres") as admin:
        row = admin.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND application_name = %s",
            [database.name, application],
        ).fetchone()
        assert row is not None
        return int(row[0])


def sleeping_steps(visitor: Visitor) -> int:
    """How many of the visitor's steps sleep on the server."""
    with visitor.database.connect("postgres") as admin:
        row = admin.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE usename = %s AND wait_event = 'PgSleep'",
            [visitor.role.name],
        ).fetchone()
        assert row is not None
        return int(row[0])


# --- cut connections ---


@pytest.mark.parametrize("application", ["durproxy step", "durproxy store", "durproxy engine"])
def test_connections_that_are_cut_lose_nothing_and_do_nothing_twice(
    serve: Serve, application: str
) -> None:
    with serve.connect() as session:
        load = Load(session, workflows=100, steps=8)
        load.to_the_end(lambda: cut(serve.home, application), every=0.08, times=3)


def test_connections_that_were_cut_while_idle_are_not_used(serve: Serve) -> None:
    with serve.connect() as session:
        assert ended(session, start(session, "SELECT 1")).status == "completed"
        for application in ("durproxy step", "durproxy store"):
            assert cut(serve.home, application) > 0
        wait_until(lambda: sessions(serve.home, "durproxy step") == 0, "they are gone")
        begun = time.monotonic()
        assert ended(session, start(session, "SELECT 1")).status == "completed"
        assert time.monotonic() - begun < 4.0, "sooner than an engine looks by itself"
        assert not serve.events("instance.interrupted")


@pytest.mark.parametrize("bindir", list(BINDIRS))
def test_a_server_that_crashes_under_load(bindir: str) -> None:
    postgres = Postgres(BINDIRS[bindir])
    try:
        home = postgres.fresh_database()
        install(home.dsn)
        with home.connect() as owner:  # the cluster's default loses what was committed last
            owner.execute(f"ALTER DATABASE {home.name} SET synchronous_commit = on".encode())
        with closing(Serve(home, {}, {})) as serve, home.connect() as session:
            serve.wait_ready()
            session.execute("SET search_path = public, df")
            Load(session, workflows=60, steps=8)
            wait_until(lambda: _count(session) > 50, "it has begun")
            _crash(postgres)
            with home.connect() as after:
                wait_until(lambda: _unended(after) == 0, "all workflows complete", 60)
                assert _count(after) == 60 * 8
                assert _count(after, "DISTINCT (workflow, step)") == 60 * 8
    finally:
        postgres.stop()


def _crash(postgres: Postgres) -> None:
    pid_file = postgres.cluster.data / "postmaster.pid"
    os.kill(int(pid_file.read_text().splitlines()[0]), signal.SIGQUIT)
    postgres.cluster.stop()
    postgres.cluster.start()


def _count(session: psycopg.Connection, what: str = "*") -> int:
    row = session.execute(f"SELECT count({what}) FROM effects".encode()).fetchone()
    assert row is not None
    return int(row[0])


def _unended(session: psycopg.Connection) -> int:
    row = session.execute(
        "SELECT count(*) FROM df._instances WHERE status IN ('pending', 'running')"
    ).fetchone()
    assert row is not None
    return int(row[0])


# --- engines ---


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def test_an_engine_that_stood_still_beyond_its_lease_does_nothing_twice(
    serve_with: ServeWith,
) -> None:
    serve = serve_with(engines=2, lease=1.0, max_held=20)
    with serve.connect() as session:
        load = Load(session, workflows=200, steps=12)
        wait_until(lambda: _held(session) == 2, "both hold something")
        with stopped(serve.engine_pids()[0]):
            serve.wait_log("engine.taken_over", timeout=20)
            wait_until(load.is_completed, "the other one does it all", 30)
        # what it still had to say when it woke was refused, and it works on
        late = [start(session, "SELECT 1", "SELECT 2") for _ in range(20)]
        assert {ended(session, instance).status for instance in late} == {"completed"}
        load.assert_exact()


@pytest.mark.soak
def test_a_short_lease_does_not_make_engines_take_from_each_other(serve_with: ServeWith) -> None:
    serve = serve_with(engines=2, lease=1.0)
    with serve.connect() as session:
        assert ended(session, start(session, "SELECT pg_sleep(2)")).status == "completed"
    assert not serve.events("engine.taken_over")


def test_two_engines_share_the_load_and_one_takes_over_from_the_other(
    serve_with: ServeWith,
) -> None:
    serve = serve_with(engines=2, max_held=20)
    with serve.connect() as session:
        load = Load(session, workflows=60, steps=8)
        wait_until(lambda: _held(session) == 2, "both hold something")
        begun = time.monotonic()
        serve.kill_engine()
        serve.wait_log("engine.taken_over")
        assert time.monotonic() - begun < 4.0, "sooner than an engine looks by itself"
        wait_until(load.is_completed, "all workflows complete", 30)
        load.assert_exact()


def _held(session: psycopg.Connection) -> int:
    row = session.execute("SELECT count(DISTINCT owner) FROM df._instances").fetchone()
    assert row is not None
    return int(row[0])


def test_an_engine_that_drains_under_load_leaves_nothing_behind(serve_with: ServeWith) -> None:
    serve = serve_with()
    home = serve.home
    with serve.connect() as session:
        Load(session, workflows=60, steps=8)
        os.kill(serve.engine_pids()[0], signal.SIGTERM)
        serve.wait_log("engine.stopped")
        serve.wait_log("child.ended", kind="engine")
        wait_until(lambda: _unended(session) == 0, "the next engine does the rest", 30)
        assert _count(session, "DISTINCT (workflow, step)") == _count(session) == 60 * 8
    assert serve.stop() == 0
    with home.connect() as owner:
        assert owner.execute("SELECT * FROM df._engines").fetchall() == []


def test_deadlines_hold_also_before_an_engine_has_looked_around(
    home: Database, serve_with: ServeWith
) -> None:
    with home.connect() as owner:
        owner.execute("ALTER FUNCTION df._tick_1(uuid, text[]) RENAME TO _tick_0")
    serve = serve_with()
    with serve.connect() as session:
        late = session.execute("SELECT df.start(df.timeout('SELECT pg_sleep(60)', '300 ms'))")
        [(instance,)] = late.fetchall()
        assert ended(session, instance).sqlstate == "57014"
    assert serve.events("tick.failed")


def test_more_instances_than_there_is_room_for_wait_for_no_tick(serve_with: ServeWith) -> None:
    serve = serve_with(max_held=3, poll_interval=60.0)
    with serve.connect() as session:
        load = Load(session, workflows=30, steps=2)
        wait_until(load.is_completed, "all workflows complete", 15)
        load.assert_exact()


# --- steps and roles that do not behave ---


def test_a_step_that_kills_its_own_session_neither_spins_nor_stops_others(visitor: Visitor) -> None:
    with visitor.connect() as session:
        session.execute("CREATE SEQUENCE tries")
        begun = time.monotonic()
        suicidal = start(
            session, "SELECT pg_terminate_backend(pg_backend_pid()) FROM nextval('tries')"
        )
        for n in range(10):
            assert ended(session, start(session, f"SELECT {n}")).value == n
        wait_until(lambda: _tries(session) >= 5, "it is tried again")
        assert time.monotonic() - begun > 0.05 + 0.1 + 0.2 + 0.4
        session.execute("SELECT df.cancel(%s)", [suicidal])
        assert ended(session, suicidal).status == "cancelled"


def _tries(session: psycopg.Connection) -> int:
    row = session.execute("SELECT last_value FROM tries").fetchone()
    assert row is not None
    return int(row[0])


@pytest.mark.parametrize(
    ("shut", "open_again"),
    [
        ("NOLOGIN", "LOGIN"),
        pytest.param("PASSWORD 'other'", "PASSWORD '{password}'", marks=pytest.mark.soak),
    ],
)
def test_a_role_that_cannot_log_in_keeps_nobody_else_waiting(
    serve: Serve, shut: str, open_again: str
) -> None:
    role = serve.home.add_role()
    with serve.connect() as owner, serve.connect(role) as session:
        owner.execute("SELECT df.grant_usage(%s)", [role.name])
        _alter(serve.home, role.name, shut)
        # started before it was shut out, as far as df knows
        _alter(serve.home, role.name, "LOGIN")
        instances = [start(session, f"SELECT {n}") for n in range(30)]
        _alter(serve.home, role.name, shut)
        assert ended(owner, start(owner, "SELECT 1")).value == 1
        _alter(serve.home, role.name, open_again.format(password=role.password))
        assert [ended(session, instance, 30).value for instance in instances] == list(range(30))


def _alter(database: Database, role: str, change: str) -> None:
    with database.connect("postgres") as admin:
        admin.execute(f"ALTER ROLE {role} {change}".encode())


def test_instances_of_a_role_that_is_gone_fail_and_say_so(serve: Serve) -> None:
    role = serve.home.add_role()
    with serve.connect() as owner:
        owner.execute("SELECT df.grant_usage(%s)", [role.name])
        with serve.connect(role) as session:
            instance = start(session, "SELECT pg_sleep(0)", label="gone")
            sleeping = session.execute("SELECT df.start(df.sleep(1))").fetchone()
            ended(session, instance)
        owner.execute("SELECT df.revoke_usage(%s)", [role.name])
        with serve.home.connect("postgres") as admin:
            cut(serve.home, "durproxy step")
            admin.execute(f"DROP ROLE {role.name}".encode())
        assert sleeping is not None

        def error() -> str | None:
            row = owner.execute(
                "SELECT error ->> 'message' FROM df._instances WHERE id = %s", [sleeping[0]]
            ).fetchone()
            return None if row is None else row[0]

        assert "no longer exists" in (wait_until(error, "it fails") or "")


def test_an_open_transaction_that_cancels_many_keeps_no_engine_waiting(
    serve_with: ServeWith,
) -> None:
    serve = serve_with(poll_interval=0.5)
    with serve.connect() as session, serve.connect(autocommit=False) as canceller:
        instances = [start(session, "SELECT pg_sleep(0.3)", "SELECT 1/0") for _ in range(12)]
        for instance in instances:
            canceller.execute("SELECT df.cancel(%s)", [instance])
        begun = time.monotonic()
        for n in range(5):
            assert ended(session, start(session, f"SELECT {n}")).value == n
        assert time.monotonic() - begun < 10.0
        canceller.rollback()
        assert {ended(session, instance, 30).status for instance in instances} == {"failed"}


# --- what is cancelled is cancelled on the server ---


def test_a_cancelled_instances_statement_ends_on_the_server(visitor: Visitor) -> None:
    with visitor.connect() as session:
        instance = start(session, "SELECT pg_sleep(60)")
        wait_until(lambda: sleeping_steps(visitor) == 1, "it runs")
        session.execute("SELECT df.cancel(%s)", [instance])
        wait_until(lambda: sleeping_steps(visitor) == 0, "it ends", 1.0)
        assert ended(session, instance).status == "cancelled"
        assert ended(session, start(session, "SELECT 1")).value == 1


def test_the_losers_statement_in_a_race_ends_on_the_server(visitor: Visitor) -> None:
    with visitor.connect() as session:
        key = session.info.backend_pid
        session.execute(f"SELECT pg_advisory_lock({key})".encode())
        row = session.execute(
            "SELECT df.start(df.seq(df.race('SELECT pg_sleep(60)',"
            " %s::text), 'SELECT pg_sleep(0)'))",
            [f"SELECT pg_advisory_xact_lock({key})"],
        ).fetchone()
        assert row is not None
        wait_until(lambda: sleeping_steps(visitor) == 1, "the loser runs")
        session.execute(f"SELECT pg_advisory_unlock({key})".encode())
        wait_until(lambda: sleeping_steps(visitor) == 0, "the loser ends", 1.0)
        assert ended(session, row[0]).status == "completed"
