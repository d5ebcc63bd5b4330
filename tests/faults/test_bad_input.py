"""Steps and users that do what they should not: refused or undone, and others notice nothing."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import timedelta
from itertools import zip_longest
from pathlib import Path

import psycopg
import pytest

from durproxy.schema.install import install
from tests.clock import travel
from tests.engine.steps import ended, run, start
from tests.fix_postgres import BINDIRS, Clusters, Postgres
from tests.fix_serve import Serve, ServeWith, Visitor
from tests.waiting import wait_until


def _value(session: psycopg.Connection, query: str, *values: object) -> object:
    row = session.execute(query.encode(), values).fetchone()
    return None if row is None else row[0]


# --- results ---


def test_a_result_that_is_too_large_fails_before_it_commits(serve_with: ServeWith) -> None:
    serve = serve_with(max_result_bytes=100_000)
    with serve.connect() as session:
        session.execute("CREATE TABLE effects (what text)")
        big = "INSERT INTO effects SELECT repeat('x', 1000) FROM generate_series(1, {}) RETURNING *"
        failed = run(session, big.format(200))
        assert failed.sqlstate == "54000"
        assert "larger than max_result_bytes, which is 100000" in failed.error["message"]
        assert _value(session, "SELECT count(*) FROM effects") == 0
        assert run(session, big.format(50)).status == "completed"


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_a_result_of_more_than_a_gigabyte_fails_and_says_why(serve: Serve) -> None:
    with serve.connect() as session:
        failed = ended(
            session,
            start(session, "SELECT repeat('x', 1000000) FROM generate_series(1, 1200)"),
            300,
        )
        assert failed.sqlstate == "54000"
        assert "max_result_bytes" in failed.error["message"]
        assert run(session, "SELECT 7").value == 7


# --- steps that do not end ---


def test_a_step_that_never_returns_is_ended_by_its_timeout(visitor: Visitor) -> None:
    with visitor.connect() as session:
        row = session.execute(
            "SELECT df.start(df.catch(df.timeout('SELECT pg_sleep(3600)', '200 ms'), 'SELECT 7'))"
        ).fetchone()
        assert row is not None
        assert ended(session, row[0]).value == 7
        wait_until(lambda: not _sleeps(visitor), "its statement ends on the server", 5)


def _sleeps(visitor: Visitor) -> bool:
    with visitor.database.connect("postgres") as admin:
        return bool(
            _value(
                admin,
                "SELECT count(*) > 0 FROM pg_stat_activity"
                " WHERE usename = %s AND wait_event = 'PgSleep'",
                visitor.role.name,
            )
        )


# --- the engine's own tables and functions ---


def test_an_owners_step_that_locks_our_tables_delays_the_others_and_no_more(serve: Serve) -> None:
    with serve.connect() as session:
        begun = time.monotonic()
        locks = start(
            session,
            "LOCK TABLE df._instances, df._checkpoints IN ACCESS EXCLUSIVE MODE;"
            " SELECT pg_sleep(1.5)",
        )
        with psycopg.connect(serve.dsn, autocommit=True) as other:
            assert run(other, "SELECT 7").value == 7
        assert time.monotonic() - begun < 15
        assert ended(session, locks).status == "completed"


@pytest.mark.parametrize(
    "step",
    [
        "LOCK TABLE df._instances IN ACCESS EXCLUSIVE MODE",
        "SELECT id FROM df._instances FOR UPDATE",
        "UPDATE df._instances SET status = 'completed'",
        "DELETE FROM df._checkpoints",
        "SELECT df._end_1('{sys_instance_id}', gen_random_uuid(), 'failed', NULL, 1, '', NULL)",
        "SELECT df._takeover_1(gen_random_uuid(), 10)",
        "SELECT df._release_1('{sys_instance_id}', gen_random_uuid(), now(), 'b')",
        "SELECT df._claim_one_1(gen_random_uuid(), '{sys_instance_id}', 1::smallint)",
    ],
)  # fmt: skip
def test_what_is_the_engines_is_refused_to_a_step(visitor: Visitor, step: str) -> None:
    assert run(visitor, step).sqlstate == "42501"


def test_the_one_function_that_a_step_may_call_wants_the_token_of_the_claim(
    visitor: Visitor,
) -> None:
    forged = (
        "SELECT df._finish_1('{sys_instance_id}', gen_random_uuid(), '{}', '{}', '{}', 2, '',"
        ' \'{"rows":[],"row_count":0}\', NULL, NULL, NULL, NULL)'
    )
    failed = run(visitor, forged, "SELECT 7")
    assert failed.sqlstate == "WF001"


# what a call by hand may try: the instance is another role's, the token a guess
_GUESSES = {
    "uuid": "gen_random_uuid()", "text": "''", "name": "''", "json": "'[]'", "jsonb": "'[]'",
    "integer": "1", "bigint": "0", "smallint": "1", "double precision": "1", "boolean": "true",
    "interval": "'0'", "timestamp with time zone": "now()", '"char"': "'e'", "record": "ROW(1)",
}  # fmt: skip
_OURS = r"""
    SELECT p.oid::regproc::text, p.prokind = 'p', p.proargnames,
        ARRAY(SELECT format_type(t, NULL)
              FROM unnest(p.proargtypes) WITH ORDINALITY AS a (t, n) ORDER BY n)
    FROM pg_proc p
    WHERE p.pronamespace = 'df'::regnamespace AND p.proname LIKE '\_%' AND p.prokind IN ('f', 'p')
      AND p.prorettype <> 'trigger'::regtype AND has_function_privilege(p.oid, 'EXECUTE')"""
_STATE = """
    SELECT (SELECT json_agg(i ORDER BY i.id) FROM df._instances i)::text,
        (SELECT json_agg(c ORDER BY c.instance_id, c.node) FROM df._checkpoints c)::text,
        (SELECT count(*) FROM df._signals), (SELECT count(*) FROM df._settings)"""


def test_what_a_role_calls_of_ours_by_hand_does_nothing_to_others(serve: Serve) -> None:
    hostile_role = serve.home.add_role()
    with serve.connect() as owner, serve.home.connect(hostile_role) as hostile:
        owner.execute("SELECT df.grant_usage(%s)", [hostile_role.name])
        row = owner.execute("SELECT df.start(df.wait_for_signal('go') ~> 'SELECT 7')").fetchone()
        assert row is not None
        waits, runs = row[0], start(owner, "SELECT pg_sleep(60)")
        at_rest = (
            "SELECT (SELECT ready_at = 'infinity' FROM df._instances WHERE id = %s)"
            " AND (SELECT owner IS NOT NULL FROM df._instances WHERE id = %s)"
        )
        wait_until(lambda: _value(owner, at_rest, waits, runs), "one waits and one runs")
        before = owner.execute(_STATE).fetchall()
        ours = hostile.execute(_OURS.encode()).fetchall()
        assert len(ours) > 20
        hostile.execute("SET statement_timeout = '1s'")
        for victim in (waits, runs):
            for name, is_procedure, names, types in ours:
                given = [
                    f"'{victim}'" if named == "p_instance" else _GUESSES.get(kind, "NULL")
                    for named, kind in zip_longest(names or (), types)
                    if kind is not None
                ]
                for arguments in (given, ["NULL"] * len(given)):
                    call = f"{name}({', '.join(arguments)})"
                    with suppress(psycopg.Error):
                        hostile.execute(f"{'CALL' if is_procedure else 'SELECT'} {call}".encode())
        assert owner.execute(_STATE).fetchall() == before
        owner.execute("SELECT df.signal(%s, 'go')", [waits])
        assert ended(owner, waits).value == 7
        owner.execute("SELECT df.cancel(%s)", [runs])
        assert ended(owner, runs).status == "cancelled"


# --- what a step leaves in its session ---


def test_the_next_instance_finds_nothing_of_what_a_step_has_set(serve_with: ServeWith) -> None:
    serve = serve_with(max_user_connections=1)
    with serve.connect() as session:
        serve.home.add_role()
        pid = "SELECT pg_backend_pid()"
        first = run(session, pid).value
        left = run(
            session,
            "SET search_path = nowhere; SET statement_timeout = '50 ms'; SET work_mem = '3MB';"
            " CREATE TEMP TABLE leftover (k int); SELECT pg_advisory_lock(4711); LISTEN something",
        )
        assert left.status == "completed"
        assert run(session, pid).value == first, "the same session"
        assert run(session, "SELECT pg_sleep(0.1)").status == "completed"
        found = run(
            session,
            "SELECT current_setting('search_path') AS path, current_setting('work_mem') AS mem,"
            " to_regclass('pg_temp.leftover') AS temp,"
            " (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory') AS locks,"
            " (SELECT count(*) FROM pg_listening_channels()) AS channels",
        ).rows[0]
        assert found["path"] != "nowhere"
        assert found["mem"] != "3MB"
        assert (found["temp"], found["locks"], found["channels"]) == (None, 0, 0)


def test_a_step_that_changes_its_role_does_so_for_itself_only(serve_with: ServeWith) -> None:
    serve = serve_with(max_user_connections=1)
    role = serve.home.add_role()
    with serve.connect() as session:
        with serve.home.connect("postgres") as admin:
            admin.execute(f"GRANT {role.name} TO {serve.home.role}".encode())
        set_role = f"SET ROLE {role.name}; SELECT current_user AS who"
        instance = ended(session, start(session, set_role, "SELECT current_user"))
        assert instance.value == serve.home.role
        assert run(session, "SELECT current_user").value == serve.home.role


def test_a_superusers_step_that_becomes_somebody_else_does_so_for_itself_only(
    serve_with: ServeWith,
) -> None:
    serve = serve_with(max_user_connections=1, enable_superuser_instances=True)
    root, other = serve.home.add_role("SUPERUSER"), serve.home.add_role()
    with serve.connect(root) as session:
        becomes = f"SET SESSION AUTHORIZATION {other.name}"
        assert run(session, becomes, "SELECT session_user").sqlstate == "42501"
        caught = ended(session, start(session, f"{becomes}; RESET SESSION AUTHORIZATION"))
        assert caught.status == "completed"
        assert run(session, "SELECT session_user").value == root.name
    with serve.connect(serve.home.add_role("NOINHERIT")) as stranger:
        with serve.connect() as owner:
            owner.execute("SELECT df.grant_usage(%s)", [stranger.info.user])
        assert run(stranger, f"SET SESSION AUTHORIZATION {root.name}").sqlstate == "42501"


def test_what_a_function_has_prepared_goes_when_its_session_idles(serve_with: ServeWith) -> None:
    serve = serve_with(max_user_connections=1)
    with serve.connect() as session:
        session.execute(
            "CREATE FUNCTION prepares() RETURNS int LANGUAGE plpgsql AS"
            " $$ BEGIN EXECUTE 'PREPARE kept AS SELECT 1'; RETURN pg_backend_pid(); END $$"
        )
        first = run(session, "SELECT prepares()").value
        with serve.home.connect("postgres") as admin:
            last = "SELECT query LIKE '%%DEALLOCATE%%' FROM pg_stat_activity WHERE pid = %s"
            wait_until(lambda: _value(admin, last, first), "its session is cleaned")
        assert run(session, "SELECT prepares()").value == first, "the same session"


# --- databases and disks that go away ---


def test_a_home_database_that_is_dropped_stops_nothing_but_itself(serve_with: ServeWith) -> None:
    serve = serve_with()
    with serve.connect() as session:
        start(session, "SELECT pg_sleep(60)")
    with serve.home.connect("postgres") as other:
        other.execute("SELECT 1")
    with psycopg.connect(serve.home.postgres.superuser_dsn, autocommit=True) as admin:
        admin.execute(f"DROP DATABASE {serve.home.name} WITH (FORCE)".encode())
    serve.wait_log("engine.life_lost")
    serve.wait_log("upstream.unreachable")
    assert not serve.exited()
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        serve.connect()
    # nothing is left that keeps it from ending
    assert serve.stop() == 0


@contextmanager
def _small_disk(postgres: Postgres, name: str) -> Iterator[Path]:
    """A tablespace of 32 MB, and where it lies; skips where nobody may mount one."""
    folder = Path("/dev/shm") / f"durproxy-{name}-{os.getpid()}"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", str(folder)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        folder.rmdir()
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.strip()}")
    data = postgres.cluster.data.stat()
    os.chown(folder, data.st_uid, data.st_gid)
    with psycopg.connect(postgres.superuser_dsn, autocommit=True) as admin:
        admin.execute(f"CREATE TABLESPACE {name} LOCATION '{folder}'".encode())
        try:
            yield folder
        finally:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)
            folder.rmdir()


def test_on_a_full_disk_what_cannot_be_written_waits_and_says_so(clusters: Clusters) -> None:
    postgres = clusters.get(next(iter(BINDIRS.values())))
    home = postgres.fresh_database()
    install(home.dsn)
    with (
        _small_disk(postgres, "small") as disk,
        closing(Serve(home, {"poll_interval": 0.5}, {})) as serve,
        home.connect("postgres") as admin,
    ):
        serve.wait_ready()
        with serve.connect() as session:
            session.execute("CREATE TABLE effects (k int)")
            admin.execute("ALTER TABLE df._checkpoints SET TABLESPACE small")
            steps = [f"INSERT INTO effects VALUES ({k})" for k in range(3)]
            ballast = disk / "ballast"
            _fill(ballast)
            waits = start(session, *steps)
            trouble = wait_until(lambda: _trouble(admin, waits), "it says why it waits", 30)
            assert trouble is not None
            assert "No space left" in trouble
            assert _value(session, "SELECT count(*) FROM effects") == 0
            ballast.unlink()
            assert ended(session, waits, 60).status == "completed"
            assert _value(session, "SELECT array_agg(k ORDER BY k) FROM effects") == [0, 1, 2]
            admin.execute("ALTER TABLE df._checkpoints SET TABLESPACE pg_default")
            admin.execute("ALTER TABLE effects SET TABLESPACE small")
            more = "INSERT INTO effects SELECT k FROM generate_series(1, 1000000) k"
            assert run(session, more).sqlstate == "53100"
            session.execute("DROP TABLE effects")
        admin.execute("CHECKPOINT")
        admin.execute("DROP TABLESPACE small")
    postgres.drop_database(home)


def _fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(65536)):
            pass


def _trouble(session: psycopg.Connection, instance: str) -> str | None:
    row = session.execute("SELECT trouble FROM df._instances WHERE id = %s", [instance]).fetchone()
    return None if row is None else row[0]


# --- clocks ---


def test_a_database_clock_that_jumps_moves_timers_and_kills_nobody(serve_with: ServeWith) -> None:
    serve = serve_with(engines=2, lease=2.0, poll_interval=0.5)
    with serve.connect() as session:
        [(now,)] = session.execute("SELECT clock_timestamp()").fetchall()
        row = session.execute("SELECT df.start(df.sleep(1800))").fetchone()
        assert row is not None
        sleeps = "SELECT ready_at > now() FROM df._instances"
        wait_until(lambda: _value(session, sleeps), "its timer is set")
        travel(session, now + timedelta(hours=1))
        assert ended(session, row[0]).status == "completed"
        for hours in (-3, 0):
            travel(session, now + timedelta(hours=hours))
            late = [start(session, "SELECT pg_sleep(0.1)") for _ in range(4)]
            assert {ended(session, instance).status for instance in late} == {"completed"}
        assert not serve.events("engine.taken_over")
        assert not serve.events("engine.life_lost")


@pytest.mark.parametrize(
    ("seconds", "limit", "hours", "how"),
    [
        (60, "1 h", 2, "failed"),
        pytest.param(3.5, "2 s", -1, "completed", marks=pytest.mark.soak),
    ],
    ids=["forward", "back"],
)
def test_the_deadline_of_a_step_in_flight_goes_by_a_clock_that_is_set(
    serve_with: ServeWith, seconds: float, limit: str, hours: int, how: str
) -> None:
    serve = serve_with(poll_interval=0.3)
    with serve.connect() as session:
        [(now,)] = session.execute("SELECT clock_timestamp()").fetchall()
        step = f"df.timeout('SELECT pg_sleep({seconds})', '{limit}')"
        row = session.execute(f"SELECT df.start({step})".encode()).fetchone()
        assert row is not None
        in_flight = "SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
        wait_until(lambda: _value(session, in_flight), "the step is in flight")
        travel(session, now + timedelta(hours=hours))
        assert ended(session, row[0]).status == how
        wait_until(lambda: not _value(session, in_flight), "it is over on the server")


def test_a_time_that_no_timestamp_holds_is_the_failure_of_its_node(serve: Serve) -> None:
    with serve.connect() as session:
        session.execute(
            "CREATE OR REPLACE FUNCTION df._clock() RETURNS timestamptz LANGUAGE sql VOLATILE"
            " AS $$ SELECT timestamptz '294276-12-31' $$"
        )
        for wait in ("df.sleep(interval '1 year')", "df.timeout('SELECT 1', '1 year')"):
            told = "SELECT '$error.message'"
            caught = f"SELECT df.start(df.catch({wait}, $told${told}$told$))"
            row = session.execute(caught.encode()).fetchone()
            assert row is not None
            assert ended(session, row[0]).value == "timestamp out of range"
