"""Several workers: what a cut-off one held, who comes first in a flood, cancels against the end."""

from __future__ import annotations

import threading
import time
from collections import Counter
from contextlib import closing, suppress

import psycopg

from tests.engine.steps import ended, start
from tests.faults.load import Load
from tests.faults.relay import Relay
from tests.fix_postgres import Database
from tests.fix_serve import ServeWith
from tests.waiting import wait_until

_LEASE = 2.0


def test_a_worker_behind_a_half_open_network_is_replaced_within_two_leases(
    serve_with: ServeWith, home: Database
) -> None:
    with closing(Relay("127.0.0.1", home.postgres.port)) as relay:
        owner = home.owner
        other = serve_with(lease=_LEASE, max_user_connections=3)
        cut_off = serve_with(
            lease=_LEASE,
            max_user_connections=3,
            upstream=f"host=127.0.0.1 port={relay.port} dbname={home.name} user={owner.name}"
            f" password={owner.password} sslmode=disable gssencmode=disable",
        )
        with home.connect() as session:
            session.execute("SET search_path = public, df")
            load = Load(session, workflows=40, steps=20)
            wait_until(lambda: _owners(session) == 2, "both hold something")
            relay.hold()
            begun = time.monotonic()
            other.wait_log("engine.taken_over", timeout=3 * _LEASE)
            assert time.monotonic() - begun < 2 * _LEASE
            wait_until(load.is_completed, "the other one does it all", 30)
            # it has noticed by itself, and begins anew as soon as it can
            cut_off.wait_log("engine.life_lost", timeout=3 * _LEASE)
            relay.go_on()
            late = [start(session, "SELECT 1") for _ in range(10)]
            assert {ended(session, instance).status for instance in late} == {"completed"}
            load.assert_exact()


def _owners(session: psycopg.Connection) -> int:
    row = session.execute("SELECT count(DISTINCT owner) FROM df._instances").fetchone()
    assert row is not None
    return int(row[0])


def test_a_flood_of_one_role_or_label_keeps_nobody_else_waiting(serve_with: ServeWith) -> None:
    serve = serve_with(max_user_connections=2)
    role = serve.home.add_role()
    with serve.connect() as session, serve.connect(role) as other:
        session.execute("SELECT df.grant_usage(%s)", [role.name])
        _flood(session, 1500, "SELECT pg_sleep(0.02)")
        wait_until(lambda: _unended(session) < 1495, "it is under way")
        labelled = [start(session, "SELECT 1", label=f"other {k}") for k in range(3)]
        others = [start(other, "SELECT 1") for _ in range(3)]
        assert {ended(session, instance).status for instance in labelled} == {"completed"}
        assert {ended(other, instance).status for instance in others} == {"completed"}
        assert _unended(session) > 1000, "they came last"
        session.execute("SELECT df.cancel(id) FROM df.instances WHERE label = 'flood'")


def test_long_steps_of_one_role_do_not_fill_a_worker(serve_with: ServeWith) -> None:
    serve = serve_with(max_user_connections=2, max_held=20)
    role = serve.home.add_role()
    with serve.connect() as session, serve.connect(role) as other:
        session.execute("SELECT df.grant_usage(%s)", [role.name])
        _flood(session, 30, "SELECT pg_sleep(60)")
        wait_until(lambda: _held(session) == 10, "it has its share")
        assert ended(other, start(other, "SELECT 7")).value == 7
        assert _held(session) == 10
        session.execute("SELECT df.cancel(id) FROM df.instances WHERE label = 'flood'")


def _flood(session: psycopg.Connection, number: int, step: str) -> None:
    session.execute(
        "SELECT df.start(%s::text, 'flood') FROM generate_series(1, %s)", [step, number]
    )


def _unended(session: psycopg.Connection) -> int:
    return _number(session, "status IN ('pending', 'running')")


def _held(session: psycopg.Connection) -> int:
    return _number(session, "owner IS NOT NULL")


def _number(session: psycopg.Connection, condition: str) -> int:
    row = session.execute(f"SELECT count(*) FROM df._instances WHERE {condition}".encode())
    [(number,)] = row.fetchall()
    return int(number)


def test_a_cancel_that_meets_the_end_finds_all_or_nothing(serve_with: ServeWith) -> None:
    serve = serve_with(engines=2)
    with serve.connect() as session:
        session.execute("CREATE TABLE effects (instance text)")
        step = "INSERT INTO effects SELECT '{sys_instance_id}' FROM pg_sleep(0.02)"
        rows = session.execute(
            "SELECT df.start(%s::text) FROM generate_series(1, 400)", [step]
        ).fetchall()
        instances = [instance for (instance,) in rows]
        cancellers = [
            threading.Thread(target=_cancel_all, args=(serve.dsn, instances[::-1][k::3]))
            for k in range(3)
        ]
        wait_until(lambda: _number(session, "status = 'completed'"), "the first has ended")
        for canceller in cancellers:
            canceller.start()
        for canceller in cancellers:
            canceller.join()
        wait_until(lambda: _unended(session) == 0, "all have ended", 30)
        found = Counter(
            session.execute(
                "SELECT i.status, (SELECT count(*) FROM effects e WHERE e.instance = i.id)"
                " FROM df._instances i"
            ).fetchall()
        )
        assert set(found) == {("completed", 1), ("cancelled", 0)}, found


def _cancel_all(dsn: str, instances: list[str]) -> None:
    with psycopg.connect(dsn, autocommit=True) as session:
        for instance in instances:
            with suppress(psycopg.errors.ObjectNotInPrerequisiteState):  # it has ended
                session.execute("SELECT df.cancel(%s)", [instance])
