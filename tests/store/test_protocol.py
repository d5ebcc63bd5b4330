"""Two sessions and the engine's protocol, one statement at a time: what may commit, and what not.

Nothing here sleeps: a session that must wait is seen waiting for a lock. Every rule of the protocol
that a test here guards is taken away once in ``test_protocol_mutations``, and must turn it red.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator

import psycopg
import pytest

from tests.fix_postgres import Database, Role
from tests.store.arena import CLAIM_ALL, Arena, Frame

ROOT = Frame(1)


@pytest.fixture
def arena(store: Database, add_user: Callable[[], Role]) -> Iterator[Arena]:
    with Arena(store, add_user()) as arena:
        yield arena


# --- the hold: cancel, takeover, release ---


def test_a_cancel_waits_for_a_step_that_is_committing(arena: Arena) -> None:
    worker, user = arena.claimed(), arena.session(arena.user)
    worker.session.execute("BEGIN")
    assert worker.finish((), 1) is None
    cancel = arena.send(user, arena.cancel(worker.instance))
    arena.wait_blocked(user)
    worker.session.execute("COMMIT")
    assert arena.ends(cancel) is None
    assert arena.status(worker.instance) == "cancelled"
    assert arena.rows(worker.instance, "d") == [(1, "")]
    assert worker.finish((), 2) == "WF001"


def test_nothing_commits_after_a_cancel(arena: Arena) -> None:
    worker = arena.claimed()
    assert worker.open((), 1) is None
    late = arena.other(worker)
    arena.session(arena.user).execute(arena.cancel(worker.instance).encode())
    assert late.finish((ROOT,), 2) == "WF001"
    assert late.refused(*late.finishing((), 1, decides="e")) == "WF001"
    assert late.refused("_fail_1", (), 2, "", '{"message":"late","sqlstate":"P0001"}') == "WF001"
    assert late.open((), 2) == "WF001"
    assert late.close((ROOT,)) == "WF001"
    assert late.refused("_next_1", (ROOT,), None) == "WF001"
    assert late.refused("_fire_1", (ROOT,), "{}") == "WF001"
    assert late.refused("_take_1", (ROOT,), "go") == "WF001"
    assert arena.status(worker.instance) == "cancelled"


OWING = ["df.finally('SELECT 1', 'SELECT 2')", "df.compensate('SELECT 1', 'SELECT 2')"]


@pytest.mark.parametrize("owing", OWING)
def test_a_cancel_of_what_may_owe_something_voids_the_token_and_leaves_it(
    arena: Arena, owing: str
) -> None:
    worker, user = arena.claimed(owing), arena.session(arena.user)
    assert worker.open((), 1, kind="FINALLY") is None
    assert worker.open((), 3, last=3, kind="SIGNAL", signal="go") is None
    user.execute(arena.cancel(worker.instance).encode())
    assert worker.finish((), 2) == "WF001"
    assert arena.status(worker.instance) == "running"
    assert arena.rows(worker.instance, "o") == [(1, "")]
    assert worker.claim()
    user.execute(f"SELECT df.cancel('{worker.instance}', 'again')".encode())  # changes nothing
    assert worker.finish((), 2, "!") is None
    asked = "SELECT ending ->> 'message' FROM df._instances WHERE id = %s"
    assert arena.ask(asked, worker.instance) == "Cancelled by user"


def test_a_cancel_of_what_has_not_begun_or_owes_nothing_ends_it(arena: Arena) -> None:
    user = arena.session(arena.user)
    for instance in (arena.started(OWING[0]), arena.claimed().instance):
        user.execute(arena.cancel(instance).encode())
        assert arena.status(instance) == "cancelled"


def test_a_step_that_meets_an_uncommitted_cancel_waits_and_is_refused(arena: Arena) -> None:
    worker, user = arena.claimed(), arena.session(arena.user)
    user.execute("BEGIN")
    user.execute(arena.cancel(worker.instance).encode())
    finish = worker.send(*worker.finishing((), 1))
    arena.wait_polling(worker.session)
    user.execute("COMMIT")
    assert arena.ends(finish) == "WF001"
    assert arena.rows(worker.instance, "d") == []


@pytest.mark.parametrize("decides", [None, "e"])
def test_a_step_that_meets_a_cancel_which_is_rolled_back_commits(
    arena: Arena, decides: str | None
) -> None:
    worker, user = arena.claimed(), arena.session(arena.user)
    user.execute("BEGIN")
    user.execute(arena.cancel(worker.instance).encode())
    finish = worker.send(*worker.finishing((), 1, decides=decides))
    arena.wait_polling(worker.session)
    user.execute("ROLLBACK")
    assert arena.ends(finish) is None
    assert arena.rows(worker.instance, "d") == [(1, "")]
    assert arena.status(worker.instance) == ("completed" if decides else "running")


def test_the_user_is_never_the_victim_of_a_deadlock_with_a_step(arena: Arena) -> None:
    worker, table = arena.claimed(), f"public.shared_{arena.user.name}"
    with arena.database.connect("postgres") as admin:
        admin.execute(f"CREATE TABLE {table} AS SELECT 0 AS n".encode())
        admin.execute(f"GRANT ALL ON {table} TO PUBLIC".encode())
        # the user's own look for a deadlock comes as soon as it waits
        admin.execute(f"ALTER ROLE {arena.user.name} SET deadlock_timeout = '200ms'".encode())
    user = arena.session(arena.user)
    worker.session.execute("BEGIN")
    worker.session.execute(f"UPDATE {table} SET n = n + 1".encode())
    user.execute("BEGIN")
    user.execute(arena.cancel(worker.instance).encode())
    update = arena.send(user, f"UPDATE {table} SET n = n + 1")
    arena.wait_blocked(user)
    begun = time.monotonic()
    assert worker.finish((), 1) == "55P03"
    assert time.monotonic() - begun < 0.9  # it would wait for a second if nobody waited for it
    worker.session.execute("ROLLBACK")
    assert arena.ends(update) is None
    user.execute("COMMIT")


def test_a_step_cannot_commit_after_a_takeover_or_a_release(arena: Arena) -> None:
    worker = arena.claimed()
    thief = arena.other(worker)
    assert thief.session.execute("SELECT df._takeover_1(%s, 10)", [worker.engine]).fetchone() == (
        1,
    )
    assert worker.finish((), 1) == "WF001"
    assert thief.claim()
    assert worker.finish((), 1) == "WF001"
    assert thief.finish((), 1) is None
    late = arena.other(thief)
    thief.release()
    assert late.finish((), 2) == "WF001"


def test_a_takeover_leaves_what_is_committing_for_its_next_look(arena: Arena) -> None:
    worker, thief = arena.claimed(), arena.session()
    worker.session.execute("BEGIN")
    assert worker.finish((), 1) is None
    takeover = arena.send(thief, "SELECT df._takeover_1(%s, 10)", worker.engine)
    assert takeover.value(arena.patience) == 0
    worker.session.execute("COMMIT")
    assert thief.execute("SELECT df._takeover_1(%s, 10)", [worker.engine]).fetchone() == (1,)


def test_every_claim_has_a_token_of_its_own(arena: Arena) -> None:
    worker = arena.claimed()
    first = worker.token
    worker.release("-infinity")
    assert worker.claim()
    assert worker.token != first
    worker.token, second = first, worker.token
    assert worker.finish((), 1) == "WF001"
    worker.token = second
    assert worker.finish((), 1) is None


# --- one outcome ---


def test_an_outcome_is_written_once(arena: Arena) -> None:
    worker = arena.claimed()
    error = '{"message":"no","sqlstate":"P0001"}'
    assert worker.finish((), 2) is None
    assert worker.finish((), 2) == "WF003"
    assert worker.refused("_fail_1", (), 2, "", error) == "WF003"
    assert worker.call("_fail_1", (), 3, "", error) is not None
    assert worker.finish((), 3) == "WF003"
    assert arena.rows(worker.instance, "d") == [(2, "")]
    assert arena.rows(worker.instance, "f") == [(3, "")]


def test_a_second_finish_that_comes_at_once_is_refused_too(arena: Arena) -> None:
    worker = arena.claimed()
    late = arena.other(worker)
    worker.session.execute("BEGIN")
    assert worker.finish((), 2) is None
    second = late.send(*late.finishing((), 2))
    arena.wait_blocked(late.session)
    worker.session.execute("COMMIT")
    assert arena.ends(second) == "WF003"


def test_a_step_that_ends_its_instance_ends_it_once(arena: Arena) -> None:
    worker = arena.claimed()
    late = arena.other(worker)
    worker.session.execute("BEGIN")
    assert worker.refused(*worker.finishing((), 1, decides="e")) is None
    second = late.send(*late.finishing((), 1, decides="e"))
    arena.wait_polling(late.session)
    worker.session.execute("COMMIT")
    assert arena.ends(second) == "WF001"
    assert arena.status(worker.instance) == "completed"


# --- scopes ---


def test_of_two_branches_that_finish_at_once_one_commits(arena: Arena) -> None:
    left = arena.claimed()
    right = arena.other(left)
    assert left.open((), 1) is None
    left.session.execute("BEGIN")
    assert left.refused(*left.finishing((ROOT,), 2, decides="r", winner=0)) is None
    second = right.send(*right.finishing((ROOT,), 3, decides="r", winner=1))
    arena.wait_blocked(right.session)
    left.session.execute("COMMIT")
    assert arena.ends(second) == "WF002"
    assert arena.rows(left.instance, "d") == [(1, ""), (2, "")]


def test_a_step_of_a_branch_that_lost_cannot_commit(arena: Arena) -> None:
    winner = arena.claimed()
    loser = arena.other(winner)
    assert winner.open((), 1) is None
    assert winner.refused(*winner.finishing((ROOT,), 2, decides="r", winner=0)) is None
    assert loser.finish((ROOT,), 4) == "WF002"
    assert loser.refused("_fail_1", (ROOT,), 4, "", "{}") == "WF002"
    assert loser.open((ROOT,), 4) == "WF002"


def test_a_race_that_closes_waits_for_a_step_that_is_committing_in_it(arena: Arena) -> None:
    step = arena.claimed()
    race = arena.other(step)
    assert step.open((), 1) is None
    step.session.execute("BEGIN")
    assert step.finish((ROOT,), 3) is None
    close = race.send(*race.closing((ROOT,)))
    arena.wait_blocked(race.session)
    step.session.execute("COMMIT")
    assert arena.ends(close) is None
    assert arena.rows(step.instance, "d") == [(1, ""), (3, "")]


@pytest.mark.parametrize("closed", [0, 1, 2])
def test_every_enclosing_scope_must_be_open(arena: Arena, closed: int) -> None:
    """Only the nearest would not do: an inner frame may have been opened just before."""
    worker = arena.claimed()
    frames = [Frame(1), Frame(2), Frame(3)]
    for depth, frame in enumerate(frames):
        assert worker.open(frames[:depth], frame.node) is None
    arena.session().execute(
        "UPDATE df._checkpoints SET status = 'd' WHERE instance_id = %s AND node = %s",
        [worker.instance, frames[closed].node],
    )
    assert worker.finish(frames, 4) == "WF002"
    assert worker.refused(*worker.finishing(frames, 4, decides="r", winner=0)) == "WF002"
    assert worker.refused("_fail_1", frames, 4, "", "{}") == "WF002"
    assert worker.open(frames, 4) == "WF002"
    assert worker.close(frames) == "WF002"
    assert worker.refused("_next_1", frames, None) == "WF002"
    assert worker.refused("_fire_1", frames, "{}") == "WF002"
    assert worker.refused("_take_1", frames, "go") == "WF002"


def test_a_wait_that_opens_while_the_race_around_it_closes_ends_with_it(arena: Arena) -> None:
    inner = arena.claimed()
    outer = arena.other(inner)
    assert inner.open((), 1) is None
    inner.session.execute("BEGIN")
    assert inner.open((ROOT,), 3, kind="SIGNAL", signal="go") is None
    close = outer.send(*outer.closing((ROOT,)))
    arena.wait_blocked(outer.session)
    inner.session.execute("COMMIT")
    assert arena.ends(close) is None
    assert arena.rows(inner.instance, "o") == []
    assert inner.finish((ROOT, Frame(3)), 4) == "WF002"


def test_a_late_open_does_not_bring_a_closed_scope_back(arena: Arena) -> None:
    worker = arena.claimed()
    assert worker.open((), 1) is None
    assert worker.open((), 1) is None  # opened twice: stays as it was
    assert worker.close((ROOT,)) is None
    assert worker.open((), 1) == "WF003"
    assert worker.finish((ROOT,), 2) == "WF002"


def test_a_scope_closes_once(arena: Arena) -> None:
    worker = arena.claimed()
    late = arena.other(worker)
    assert worker.open((), 1) is None
    worker.session.execute("BEGIN")
    assert worker.close((ROOT,)) is None
    second = late.send(*late.closing((ROOT,)))
    arena.wait_blocked(late.session)
    worker.session.execute("COMMIT")
    assert arena.ends(second) == "WF002"


@pytest.mark.parametrize("ends", ["close", "win", "expire"])
def test_a_scope_that_ends_ends_the_waits_inside_and_nothing_else(arena: Arena, ends: str) -> None:
    worker = arena.claimed()
    loop, deeper = Frame(2), Frame(5, ".0")
    assert worker.open((), 1, last=9, delay="-1 s") is None
    assert worker.open((ROOT,), 2, last=8, kind="LOOP") is None
    assert worker.open((ROOT, loop), 5, ".0", last=6, kind="RACE") is None
    assert worker.finish((ROOT, loop, deeper), 6, ".0") is None
    assert worker.open((ROOT, loop), 7, ".0", last=7, kind="SLEEP") is None
    assert worker.open((ROOT,), 8, "!~1", last=8, kind="SIGNAL", signal="go") is None
    assert worker.open((), 10, last=10, kind="SLEEP") is None  # beside the scope
    if ends == "close":
        assert worker.close((ROOT,)) is None
    elif ends == "win":
        assert worker.refused(*worker.finishing((ROOT,), 9, decides="r", winner=1)) is None
    else:
        assert worker.call("_expire_1", (ROOT,), '{"message":"late","sqlstate":"57014"}')
    assert arena.rows(worker.instance, "o") == [(2, ""), (5, ".0"), (8, "!~1"), (10, "")]
    done = {"close": [(1, "")], "win": [(1, "")], "expire": []}[ends]
    assert arena.rows(worker.instance, "d")[: len(done) + 1] == [*done, (6, ".0")]


# --- attempts ---

_FAILURE = '{"message":"failed","sqlstate":"40001"}'


def test_the_next_attempt_takes_away_the_rows_of_the_last_and_no_others(arena: Arena) -> None:
    worker = arena.claimed()
    assert worker.finish((), 11, "~0") is None
    for inside in ("~0", "~0.1", "~0:2", "~0!~0", "~0~1"):
        assert worker.finish((), 3, inside) is None
    assert worker.finish((), 3, "~01") is None
    worker.call("_retry_1", (), 2, "", 9, "RETRY", 0, "1 s", False, _FAILURE)
    assert arena.rows(worker.instance, "d") == [(3, "~01"), (11, "~0")]
    first = Frame(2, "", 1)
    assert worker.finish((first,), 3, "~1") is None
    assert worker.finish((first,), 3, "~10") is None
    worker.call("_retry_1", (), 2, "", 9, "RETRY", 1, "1 s", True, _FAILURE)
    assert arena.rows(worker.instance, "d") == [(3, "~01"), (3, "~10"), (11, "~0")]


def test_an_attempt_that_is_over_cannot_commit_nor_count_on(arena: Arena) -> None:
    worker = arena.claimed()
    late = arena.other(worker)
    arguments = "", 9, "RETRY"
    worker.call("_retry_1", (), 2, *arguments, 0, "0 s", False, _FAILURE)
    assert late.refused("_retry_1", (), 2, *arguments, 0, "0 s", False, _FAILURE) == "WF002"
    worker.call("_retry_1", (), 2, *arguments, 1, "0 s", False, _FAILURE)
    assert late.finish((Frame(2, "", 1),), 3, "~1") == "WF002"
    assert late.refused("_retry_1", (), 2, *arguments, 1, "0 s", False, _FAILURE) == "WF002"
    assert worker.finish((Frame(2, "", 2),), 3, "~2") is None


def test_jitter_keeps_at_least_half_of_a_pause(arena: Arena) -> None:
    seconds = []
    for _ in range(20):
        worker = arena.claimed()
        worker.call("_retry_1", (), 2, "", 9, "RETRY", 0, "100 s", True, _FAILURE)
        seconds.append(
            arena.ask(
                "SELECT extract(epoch FROM due - at)::float FROM df._checkpoints"
                " WHERE instance_id = %s",
                worker.instance,
            )
        )
    assert all(49 < pause <= 100 for pause in seconds)
    assert len(set(seconds)) > 1


def test_a_deadline_never_passes_early_and_passes_once(arena: Arena) -> None:
    worker = arena.claimed()
    assert worker.open((), 1, delay="1 h") is None
    assert worker.call("_expire_1", (ROOT,), _FAILURE) is False
    assert worker.finish((ROOT,), 2) is None
    assert worker.open((), 3, delay="-1 s") is None
    late = arena.other(worker)
    assert worker.call("_expire_1", (Frame(3),), _FAILURE) is True
    assert late.refused("_expire_1", (Frame(3),), _FAILURE) == "WF002"
    assert late.finish((Frame(3),), 4) == "WF002"
    assert arena.rows(worker.instance, "f") == [(3, "")]


# --- rounds ---


def test_a_late_step_of_an_old_round_is_refused_though_its_key_is_free_again(arena: Arena) -> None:
    worker = arena.claimed()
    late = arena.other(worker)
    assert worker.open((), 1) is None
    assert worker.finish((ROOT,), 2, ".0") is None
    worker.call("_next_1", (ROOT,), None)
    assert arena.rows(worker.instance, "d") == []
    assert late.finish((ROOT,), 2, ".0") == "WF002"
    assert late.open((ROOT,), 3, ".0") == "WF002"
    assert late.refused("_next_1", (ROOT,), None) == "WF002"
    assert late.close((ROOT,)) == "WF002"
    assert worker.finish((Frame(1, "", 1),), 2, ".1") is None


def test_the_next_round_waits_for_a_step_that_is_committing_in_this_one(arena: Arena) -> None:
    step = arena.claimed()
    loop = arena.other(step)
    assert step.open((), 1) is None
    step.session.execute("BEGIN")
    assert step.finish((ROOT,), 3, ".0") is None
    round_ = loop.send("_next_1", (ROOT,), None)
    arena.wait_blocked(loop.session)
    step.session.execute("COMMIT")
    assert arena.ends(round_) is None
    assert arena.rows(step.instance, "d") == []


def test_a_round_takes_away_its_own_rows_and_no_others(arena: Arena) -> None:
    worker = arena.claimed()
    assert worker.finish((), 11) is None
    assert worker.open((), 1, last=10) is None
    frame = Frame(1, "", 0)
    for round_ in range(11):
        frame = Frame(1, "", round_)
        path = f".{round_}"
        assert worker.finish((frame,), 2, path) is None
        assert worker.open((frame,), 3, path, last=5) is None
        assert worker.finish((frame, Frame(3, path)), 4, f"{path}.1") is None
        if round_ < 10:
            worker.call("_next_1", (frame,), None)
    # .1 is not a part of .10
    assert arena.rows(worker.instance, "d") == [(2, ".10"), (4, ".10.1"), (11, "")]
    assert arena.rows(worker.instance, "o") == [(1, ""), (3, ".10")]
    worker.call("_next_1", (frame,), None)
    assert arena.rows(worker.instance, "d") == [(11, "")]


# --- timers ---


def test_a_timer_never_fires_early_and_fires_once(arena: Arena) -> None:
    worker = arena.claimed()
    assert worker.open((), 1, kind="SLEEP", delay="1 hour") is None
    assert worker.call("_fire_1", (ROOT,), "{}") is False
    arena.session().execute(
        "UPDATE df._checkpoints SET due = clock_timestamp() WHERE instance_id = %s",
        [worker.instance],
    )
    assert worker.call("_fire_1", (ROOT,), '{"slept":true}') is True
    assert worker.refused("_fire_1", (ROOT,), "{}") == "WF002"


def test_a_timer_keeps_the_due_time_of_its_first_opening(arena: Arena) -> None:
    worker = arena.claimed()
    first = worker.call(*worker.opening((), 1, kind="SLEEP", delay="1 hour"))
    assert worker.call(*worker.opening((), 1, kind="SLEEP", delay="1 hour")) == first


# --- signals ---


def signal(arena: Arena, instance: str, data: str) -> str:
    return f"SELECT df.signal('{instance}', 'go', '{data}')"


def test_messages_come_in_order_and_once(arena: Arena) -> None:
    worker, user = arena.claimed(), arena.session(arena.user)
    for number in (1, 2):
        user.execute(signal(arena, worker.instance, str(number)).encode())
    taken = []
    for node in (1, 2, 3):
        assert worker.open((), node, last=node, kind="SIGNAL", signal="go") is None
        taken.append(worker.call("_take_1", (Frame(node),), "go"))
    assert [message and message["data"] for message in taken] == [1, 2, None]


def test_two_waits_never_take_the_same_message(arena: Arena) -> None:
    left, user = arena.claimed(), arena.session(arena.user)
    right = arena.other(left)
    user.execute(signal(arena, left.instance, "1").encode())
    for node in (1, 2):
        assert left.open((), node, last=node, kind="SIGNAL", signal="go") is None
    left.session.execute("BEGIN")
    assert left.call("_take_1", (Frame(1),), "go")["data"] == 1
    second = right.send("_take_1", (Frame(2),), "go")
    assert second.value(arena.patience) is None
    left.session.execute("ROLLBACK")
    assert right.call("_take_1", (Frame(2),), "go")["data"] == 1


def test_a_wait_whose_time_is_over_prefers_a_message_that_is_there(arena: Arena) -> None:
    worker, user = arena.claimed(), arena.session(arena.user)
    for node in (1, 2):
        assert worker.open((), node, last=node, kind="SIGNAL", signal="go", delay="0 s") is None
    user.execute(signal(arena, worker.instance, "1").encode())
    assert worker.call("_take_1", (Frame(1),), "go")["timed_out"] is False
    assert worker.call("_take_1", (Frame(2),), "go") == {
        "signal_name": "go",
        "timed_out": True,
        "data": None,
    }


@pytest.mark.parametrize("sent", ["before the open", "before the release"])
def test_a_message_that_is_there_makes_a_released_instance_claimable(
    arena: Arena, sent: str
) -> None:
    worker, user = arena.claimed(), arena.session(arena.user)
    if sent == "before the open":
        user.execute(signal(arena, worker.instance, "1").encode())
    assert worker.open((), 1, kind="SIGNAL", signal="go") is None
    if sent == "before the release":
        user.execute(signal(arena, worker.instance, "1").encode())
    worker.release()
    assert arena.ask(
        "SELECT ready_at <= clock_timestamp() FROM df._instances WHERE id = %s", worker.instance
    )


def test_a_message_that_comes_after_the_release_is_seen_by_the_next_look(arena: Arena) -> None:
    worker, user = arena.claimed(), arena.session(arena.user)
    assert worker.open((), 1, kind="SIGNAL", signal="go") is None
    user.execute("BEGIN")
    user.execute(signal(arena, worker.instance, "1").encode())
    worker.release()
    user.execute("COMMIT")
    signalled = arena.ask("SELECT signalled FROM df._tick_1(%s, '{}')", str(uuid.uuid4()))
    assert worker.instance in (signalled or [])
    assert worker.claim()
    assert worker.call("_take_1", (ROOT,), "go")["data"] == 1


# --- claiming ---


def test_a_claim_never_waits_and_takes_what_is_free(arena: Arena) -> None:
    busy, free = arena.started(), arena.started()
    user, engine = arena.session(arena.user), str(uuid.uuid4())
    user.execute("BEGIN")
    user.execute(arena.cancel(busy).encode())
    claim = arena.send(
        arena.session(),
        CLAIM_ALL,
        engine,
    )
    claimed = claim.value(arena.patience)
    user.execute("ROLLBACK")
    assert free in claimed
    assert busy not in claimed


def test_a_row_that_an_open_transaction_refers_to_can_be_claimed(arena: Arena) -> None:
    instance, session = arena.started(), arena.session()
    session.execute("BEGIN")
    session.execute("SELECT 1 FROM df._instances WHERE id = %s FOR KEY SHARE", [instance])
    claim = arena.send(
        arena.session(),
        CLAIM_ALL,
        str(uuid.uuid4()),
    )
    assert instance in claim.value(arena.patience)


def test_two_workers_never_claim_the_same_instance(arena: Arena) -> None:
    instance = arena.started()
    first, second = arena.session(), arena.session()
    first.execute("BEGIN")
    claim = "SELECT count(*) FROM df._claim_one_1(%s, %s, 1::smallint)"
    assert first.execute(claim, [str(uuid.uuid4()), instance]).fetchone() == (1,)
    other = arena.send(second, claim, str(uuid.uuid4()), instance)
    assert other.value(arena.patience) == 0
    first.execute("COMMIT")
    assert second.execute(claim, [str(uuid.uuid4()), instance]).fetchone() == (0,)


def test_a_worker_never_waits_for_a_users_transaction_when_it_gives_back(arena: Arena) -> None:
    worker, user = arena.claimed(), arena.session(arena.user)
    user.execute("BEGIN")
    user.execute(arena.cancel(worker.instance).encode())
    release = "SELECT df._release_1(%s, %s, 'infinity', 'w')"
    released = arena.send(worker.session, release, worker.instance, worker.token)
    assert arena.ends(released) == "55P03"
    gives_back = (
        ("SELECT df._reclaim_1(%s, %s)", worker.engine, [worker.instance]),
        ("SELECT df._takeover_1(%s, 10)", worker.engine),
        ("SELECT df._release_all_1(%s)", worker.engine),
    )
    for query, *params in gives_back:
        assert arena.send(worker.session, query, *params).value(arena.patience) == 0
    user.execute("ROLLBACK")
    # still its own, and the worker still known: somebody will find it
    assert arena.ask("SELECT owner::text FROM df._instances WHERE id = %s", worker.instance) == (
        worker.engine
    )
    assert arena.ask("SELECT count(*) FROM df._engines WHERE id = %s", worker.engine) == 1


def test_what_a_forgotten_worker_still_claimed_is_found(arena: Arena) -> None:
    """Its claim was under way when it was seen dead, and had nothing."""
    worker = arena.claimed()
    arena.session().execute("DELETE FROM df._engines WHERE id = %s", [worker.engine])
    others = arena.ask("SELECT others FROM df._tick_1(%s, '{}')", str(uuid.uuid4()))
    found = [other for other in others or [] if other["id"] == worker.engine]
    assert [(other["gone"], other["owns"]) for other in found] == [(True, True)]


# --- roles with settings of their own ---


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
def test_a_step_at_a_stricter_isolation_level_is_refused_after_a_cancel(
    arena: Arena, level: str
) -> None:
    worker, user = arena.claimed(), arena.session(arena.user)
    worker.session.execute(f"BEGIN ISOLATION LEVEL {level}".encode())
    worker.session.execute("SELECT 1")
    user.execute(arena.cancel(worker.instance).encode())
    assert worker.finish((), 1) == "40001"
    worker.session.execute("ROLLBACK")
    worker.session.execute(f"BEGIN ISOLATION LEVEL {level}".encode())
    assert worker.finish((), 1) == "WF001"
    worker.session.execute("ROLLBACK")


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
def test_of_two_branches_at_a_stricter_isolation_level_one_commits(
    arena: Arena, level: str
) -> None:
    left = arena.claimed()
    right = arena.other(left)
    assert left.open((), 1) is None
    for branch in (left, right):
        branch.session.execute(f"BEGIN ISOLATION LEVEL {level}".encode())
        branch.session.execute("SELECT 1")
    assert left.refused(*left.finishing((ROOT,), 2, decides="r", winner=0)) is None
    second = right.send(*right.finishing((ROOT,), 3, decides="r", winner=1))
    arena.wait_blocked(right.session)
    left.session.execute("COMMIT")
    assert arena.ends(second) == "40001"
    right.session.execute("ROLLBACK")
    assert right.refused(*right.finishing((ROOT,), 3, decides="r", winner=1)) == "WF002"


def test_a_token_is_all_that_finishing_takes_and_nothing_less(arena: Arena) -> None:
    worker = arena.claimed()
    user = arena.session(arena.user)
    finish = "SELECT df._finish_1(%s, %s, '{}', '{}', '{}', 1, '', '{}', NULL, NULL, NULL, NULL)"
    with pytest.raises(psycopg.Error) as raised:
        user.execute(finish, [worker.instance, str(uuid.uuid4())])
    assert raised.value.sqlstate == "WF001"
    user.execute(finish, [worker.instance, worker.token])
