"""Pausing, attempts and waits as the protocol's functions see them, one statement at a time."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from tests.fix_postgres import Database
from tests.store.arena import Arena, Worker
from tests.store.asking import refusal, rows, value

ERROR = '{"message":"no","sqlstate":"22012"}'
FREEING = {
    "released": "SELECT df._release_1(%(id)s, %(token)s, '-infinity', 'b')",
    "waiting": "SELECT df._release_1(%(id)s, %(token)s, 'infinity', 'w')",
    "put off": "SELECT df._release_1(%(id)s, %(token)s, '-infinity', 'l', 'no luck')",
    "its worker has drained": "SELECT df._release_all_1(%(engine)s)",
    "its worker lost it": "SELECT df._reclaim_1(%(engine)s, ARRAY[%(id)s])",
    "taken over": "SELECT df._takeover_1(%(engine)s, 10)",
}


@pytest.fixture
def arena(home: Database) -> Iterator[Arena]:
    user = home.add_role()
    with home.connect() as owner:
        owner.execute("SELECT df.grant_usage(%s)", [user.name])
    with Arena(home, user) as arena:
        yield arena


@pytest.fixture
def user(arena: Arena) -> psycopg.Connection:
    return arena.session(arena.user)


def step(worker: Worker) -> str:
    """A step that begins now, as df._run_1 runs it."""
    return f"""SELECT df._run_1('{worker.instance}', '{worker.token}', '{{}}', '{{}}', '{{}}',
        1, '', 'SELECT pg_sleep(0)', false, NULL, NULL, NULL, NULL, false, false)"""


@pytest.mark.parametrize("freeing", FREEING)
def test_however_a_paused_instance_is_freed_nobody_claims_it(
    arena: Arena, user: psycopg.Connection, freeing: str
) -> None:
    worker = arena.claimed()
    user.execute("SELECT df.signal(%s, 'a message')", [worker.instance])
    user.execute("SELECT df.pause(%s)", [worker.instance])
    names = {"id": worker.instance, "token": worker.token, "engine": worker.engine}
    worker.session.execute(FREEING[freeing].encode(), names)
    state = "SELECT owner IS NULL AND ready_at IS NULL FROM df._instances WHERE id = %s"
    assert arena.ask(state, worker.instance)
    assert not worker.claim()
    user.execute("SELECT df.resume(%s)", [worker.instance])
    assert worker.claim()


def test_one_that_is_resumed_while_its_worker_gives_it_back_is_ready_at_once(
    arena: Arena, user: psycopg.Connection
) -> None:
    worker = arena.claimed()
    user.execute("SELECT df.pause(%s), df.resume(%s)", [worker.instance, worker.instance])
    worker.session.execute(
        "SELECT df._release_1(%s, %s, '-infinity', 'b')", [worker.instance, worker.token]
    )
    assert worker.claim()


def test_why_the_engine_set_it_aside_is_kept(home: Database, user: psycopg.Connection) -> None:
    instance = value(user, "SELECT df.start('SELECT 1')")
    with home.connect() as owner:
        owner.execute(
            "UPDATE df._instances SET paused = 'set aside: kills', ready_at = NULL WHERE id = %s",
            [instance],
        )
    told = value(user, "SELECT df.pause(%s, 'a look')", [instance])
    assert told == f"Instance {instance} paused: set aside: kills"


def test_a_step_that_began_before_the_pause_finishes(
    arena: Arena, user: psycopg.Connection
) -> None:
    worker = arena.claimed()
    with worker.session.transaction():
        value(worker.session, "SELECT now()")
        user.execute("SELECT df.pause(%s)", [worker.instance])
        worker.session.execute(step(worker).encode())
    assert arena.rows(worker.instance, "d") == [(1, "")]


def test_a_step_that_began_after_the_pause_is_undone(
    arena: Arena, user: psycopg.Connection
) -> None:
    worker = arena.claimed()
    user.execute("SELECT df.pause(%s)", [worker.instance])
    assert refusal(worker.session, step(worker)).sqlstate == "WF005"
    user.execute("SELECT df.resume(%s)", [worker.instance])
    worker.session.execute(step(worker).encode())
    assert arena.rows(worker.instance, "d") == [(1, "")]


def test_what_cannot_be_undone_is_recorded_after_the_pause(
    arena: Arena, user: psycopg.Connection
) -> None:
    worker = arena.claimed()
    user.execute("SELECT df.pause(%s)", [worker.instance])
    assert worker.finish((), 1) is None


def test_a_paused_instance_may_end(arena: Arena, user: psycopg.Connection) -> None:
    worker = arena.claimed()
    user.execute("SELECT df.pause(%s)", [worker.instance])
    assert worker.refused(*worker.finishing((), 1, decides="e")) is None
    assert arena.status(worker.instance) == "completed"
    assert refusal(user, f"SELECT df.resume('{worker.instance}')").sqlstate == "55000"


def test_of_each_node_the_newest_hundred_failures_are_kept(
    arena: Arena, user: psycopg.Connection
) -> None:
    worker = arena.claimed()
    for attempt in range(120):
        worker.call("_fail_1", (), 1, f"~{attempt}", ERROR)
    worker.call("_fail_1", (), 2, "", ERROR)
    history = "SELECT min(attempt), max(attempt), count(*) FROM df.history(%s)"
    assert rows(user, history, [worker.instance]) == [(21, 120, 100)]


def test_an_attempt_began_when_its_step_did(arena: Arena, user: psycopg.Connection) -> None:
    worker = arena.claimed()
    worker.session.execute(
        "SELECT df._fail_1(%s, %s, '{}', '{}', '{}', 1, '', %s, 1.5)",
        [worker.instance, worker.token, ERROR],
    )
    history = "SELECT duration BETWEEN '1.5 s' AND '1.6 s', error, sqlstate FROM df.history(%s)"
    assert rows(user, history, [worker.instance]) == [(True, "no", "22012")]


def test_who_has_locked_an_instance_is_named(arena: Arena, user: psycopg.Connection) -> None:
    worker = arena.claimed()
    waiting = "SELECT waits_for, detail FROM df.waiting"
    assert rows(user, waiting) == []
    other = arena.session(arena.user)
    with other.transaction(force_rollback=True):
        other.execute("SELECT df.cancel(%s)", [worker.instance])
        locked = f"process {other.info.backend_pid} has locked its row"
        assert rows(user, waiting) == [("lock", locked)]
    assert rows(user, waiting) == []


def test_one_that_is_put_off_says_why(arena: Arena, user: psycopg.Connection) -> None:
    worker = arena.claimed()
    worker.session.execute(FREEING["put off"], {"id": worker.instance, "token": worker.token})
    waiting = "SELECT waits_for, detail, due >= since FROM df.waiting"
    assert rows(user, waiting) == [("another try", "no luck", True)]


def test_without_a_worker_that_is_said(arena: Arena, user: psycopg.Connection) -> None:
    arena.started()
    waiting = "SELECT waits_for, detail, since <= now() FROM df.waiting"
    assert rows(user, waiting) == [("worker", "no worker is running", True)]
    arena.session().execute("SELECT df._register_1(gen_random_uuid(), 1::smallint)")
    assert rows(user, waiting) == [("worker", None, True)]


def test_nobody_pauses_what_is_not_theirs(arena: Arena) -> None:
    instance = arena.started()
    stranger = arena.database.add_role()
    arena.session().execute("SELECT df.grant_usage(%s)", [stranger.name])
    session = arena.session(stranger)
    for function in ("pause", "resume", "rerun"):
        refused = refusal(session, f"SELECT df.{function}('{instance}')")
        assert refused.message_primary == f'instance "{instance}" not found or access denied'
    assert rows(session, "SELECT * FROM df.history(%s)", [instance]) == []
    assert rows(session, "SELECT * FROM df.waiting") == []
