"""Quotas of roles: what df.start refuses, and that two transactions cannot share the last place."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from tests.fix_postgres import Database, Role
from tests.store.asking import refusal, value
from tests.store.conftest import Connect

START = "SELECT df.start('SELECT 1')"
KEYED = "SELECT df.start('SELECT 1', key => 'k')"

SetQuotas = Callable[..., bool]


@pytest.fixture
def quota(store: Database, user: Role) -> Iterator[SetQuotas]:
    """Sets the user's quota; without limits: none."""

    def set_quotas(**limits: int) -> bool:
        quotas = {user.name: limits} if limits else {}
        with store.connect() as owner:
            return value(owner, "SELECT df._set_quotas_1(%s)", [json.dumps(quotas)]) is None

    yield set_quotas
    set_quotas()  # the first call that takes all away wants another
    assert set_quotas()


def test_live_instances_are_limited(session: psycopg.Connection, quota: SetQuotas) -> None:
    first = value(session, START)  # there before the quota was
    assert quota(instances=2)
    value(session, START)
    refused = refusal(session, START)
    assert refused.sqlstate == "53400"
    assert (refused.message_primary or "").startswith('quota "instances" of role "role_')
    assert refused.message_detail == (
        "2 of its instances may be running, waiting or queued at a time."
    )
    session.execute("SELECT df.pause(%s)", [first])  # paused ones count
    assert refusal(session, START).sqlstate == "53400"
    session.execute("SELECT df.cancel(%s)", [first])
    assert value(session, START)


def test_what_is_rolled_back_does_not_count(connect: Connect, user: Role, quota: SetQuotas) -> None:
    assert quota(instances=1, starts=1)
    session = connect(user)
    session.autocommit = False
    value(session, START)
    session.rollback()
    value(session, START)
    session.commit()
    assert refusal(session, START).sqlstate == "53400"


@pytest.mark.parametrize("limit", ["instances", "queued", "starts"])
def test_two_transactions_cannot_both_take_the_last_place(
    connect: Connect, user: Role, quota: SetQuotas, limit: str
) -> None:
    assert quota(**{limit: 1})
    first, second = connect(user), connect(user)
    for session in (first, second):
        session.autocommit = False
        value(session, START)
    first.commit()
    with pytest.raises(psycopg.errors.ConfigurationLimitExceeded):
        second.commit()


def test_a_snapshot_does_not_hide_the_last_place_from_who_takes_it(
    connect: Connect, user: Role, quota: SetQuotas
) -> None:
    assert quota(instances=2)
    first, second = connect(user), connect(user)
    for session in (first, second):
        session.autocommit = False
        session.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        value(session, START)
        value(session, START)
    first.commit()
    with pytest.raises(psycopg.errors.SerializationFailure):
        second.commit()


def test_starts_in_savepoints_are_counted(
    session: psycopg.Connection, connect: Connect, user: Role, quota: SetQuotas
) -> None:
    assert quota(instances=4)
    other = connect(user)
    other.autocommit = False
    for _ in range(2):
        for statement in ("SAVEPOINT s", START, "RELEASE s", START):
            other.execute(statement.encode())
        other.commit()
    assert refusal(session, START).sqlstate == "53400"


def test_a_start_is_counted_beside_anothers_that_its_transaction_cancels(
    session: psycopg.Connection, connect: Connect, user: Role, quota: SetQuotas
) -> None:
    """The row that follows it is of this transaction then, but was not made by it."""
    assert quota(starts=3)
    other = connect(user)
    other.autocommit = False
    value(other, START)
    neighbour = value(session, START)
    value(other, "SELECT df.cancel(%s)", [neighbour])
    other.commit()
    value(session, START)
    assert refusal(session, START).sqlstate == "53400"


def test_who_is_slow_in_its_commit_stops_nobody(
    connect: Connect, user: Role, quota: SetQuotas
) -> None:
    assert quota(instances=3)
    slow, other = connect(user), connect(user)
    slow.autocommit = False
    value(slow, START)
    slow.execute("SET CONSTRAINTS ALL IMMEDIATE")  # as at commit, which then does not come
    value(other, START)
    value(slow, START)
    slow.rollback()


def test_a_row_by_hand_is_counted_like_a_start(
    session: psycopg.Connection, quota: SetQuotas
) -> None:
    assert quota(instances=3)
    by_hand = (
        'INSERT INTO df._own (graph) SELECT \'{"node_type":"SQL","query":"SELECT 1"}\'::json'
        " FROM generate_series(1, %s)"
    )
    assert refusal(session, by_hand, [4]).sqlstate == "53400"
    session.execute(by_hand.encode(), [3])


def test_starts_per_minute_count_when_they_were_made(
    session: psycopg.Connection, connect: Connect, user: Role, store: Database, quota: SetQuotas
) -> None:
    """Neither a transaction that began long ago nor one that has ended hides them."""
    value(session, START)  # before there are quotas
    assert quota(starts=2)
    ended = value(session, START)
    session.execute("SELECT df.cancel(%s)", [ended])
    value(session, START)
    assert refusal(session, START).message_detail == "It may start 2 in a minute."
    with store.connect() as owner:
        owner.execute(
            "UPDATE df._instances SET counted_at = counted_at - interval '1 minute' WHERE id = %s",
            [ended],
        )
    session.autocommit = False
    value(session, START)
    session.commit()
    assert refusal(session, START).sqlstate == "53400"
    session.rollback()
    with store.connect() as owner:
        counted = "SELECT count(counted_at) FROM df._instances WHERE submitted_by = %s::regrole"
        assert value(owner, counted, [user.name]) == 3


@pytest.mark.parametrize("quotas", [False, True], ids=["without quotas", "with quotas"])
def test_what_a_transaction_has_started_is_known_in_it(
    session: psycopg.Connection, quota: SetQuotas, quotas: bool
) -> None:
    """Nobody waits for it, and no start or signal outside takes it for committed."""
    if quotas:
        assert quota(instances=5, starts=5)
    for start, then in (
        (START, "SELECT df.await_instance(%s, 5)"),
        (KEYED, "SELECT df.start('SELECT 1', key => %s, transaction_mode => 'new')"),
        (START, "SELECT df.signal(%s, 'go', transaction_mode => 'new')"),
    ):
        with session.transaction(force_rollback=True):
            instance = value(session, start)
            refused = refusal(session, then, ["k" if start is KEYED else instance])
        assert refused.sqlstate == "55000"
        assert refused.message_primary == (
            f'instance "{instance}" was started in this transaction: commit first'
        )


def test_queued_ones_are_those_not_begun(
    session: psycopg.Connection, store: Database, quota: SetQuotas
) -> None:
    assert quota(queued=1)
    begun = value(session, START)
    assert refusal(session, START).sqlstate == "53400"
    with store.connect() as owner:
        owner.execute("UPDATE df._instances SET status = 'running' WHERE id = %s", [begun])
    value(session, START)


def test_nodes_are_counted_however_they_are_written(
    session: psycopg.Connection, quota: SetQuotas
) -> None:
    assert quota(nodes=3)
    value(session, "SELECT df.start('SELECT 1' ~> 'SELECT 2')")
    refused = refusal(session, "SELECT df.start('SELECT 1' ~> 'SELECT 2' ~> 'SELECT 3')")
    assert (refused.sqlstate, refused.message_detail) == ("53400", "It may have 3.")
    escaped = (
        '{"node_type":"THEN","left_node":{"node\\u005ftype":"SQL","query":"SELECT 1"},'
        '"right_node":{"node_type":"THEN","left_node":{"node_type":"SQL","query":"SELECT 1"},'
        '"right_node":{"node_type":"SQL","query":"SELECT 1"}}}'
    )
    refused = refusal(session, "INSERT INTO df._own (graph) VALUES (%s::json)", [escaped])
    assert refused.sqlstate == "53400"


def test_a_repeated_key_is_no_start(session: psycopg.Connection, quota: SetQuotas) -> None:
    assert quota(instances=1)
    keyed = "SELECT df.start('SELECT 1', key => 'order 7')"
    assert value(session, keyed) == value(session, keyed)


def test_everyones_quota_holds_for_what_a_roles_own_does_not_say(
    session: psycopg.Connection, store: Database, user: Role, quota: SetQuotas
) -> None:
    quotas = {"*": {"instances": 1, "nodes": 1}, user.name: {"instances": 2}}
    with store.connect() as owner:
        assert value(owner, "SELECT df._set_quotas_1(%s)", [json.dumps(quotas)]) is None
    value(session, START)
    value(session, START)
    assert refusal(session, START).sqlstate == "53400"
    assert refusal(session, "SELECT df.start('SELECT 1' ~> 'SELECT 2')").sqlstate == "53400"


def test_first_quotas_wait_for_no_open_start(
    connect: Connect, user: Role, session: psycopg.Connection, quota: SetQuotas
) -> None:
    """They hold at once, and for what was open, too, when that commits."""
    opened = connect(user)
    opened.autocommit = False
    value(opened, START)
    assert quota(instances=1)
    value(session, START)
    assert refusal(session, START).sqlstate == "53400"
    with pytest.raises(psycopg.errors.ConfigurationLimitExceeded):
        opened.commit()


def test_a_change_waits_for_nobody_who_is_slow_in_its_commit(
    connect: Connect, user: Role, session: psycopg.Connection, quota: SetQuotas
) -> None:
    assert quota(instances=2)
    slow = connect(user)
    slow.autocommit = False
    value(slow, START)
    slow.execute("SET CONSTRAINTS ALL IMMEDIATE")  # holds the role's lock, and goes on doing so
    assert quota(instances=1)
    slow.commit()
    assert refusal(session, START).sqlstate == "53400"
    assert quota(instances=2)
    value(session, START)


def test_what_was_noted_before_a_change_is_not_relied_on(
    session: psycopg.Connection, user: Role, store: Database, quota: SetQuotas
) -> None:
    """Between two quotas a role had none, and nothing of its use was noted."""
    assert quota(instances=9)
    value(session, START)
    quota()
    assert quota()
    with store.connect() as owner:
        assert value(owner, "SELECT last_value < 0 FROM df._quotas_in_force")
    for _ in range(2):
        value(session, START)
    assert quota(instances=4)
    value(session, START)
    assert refusal(session, START).sqlstate == "53400"


def test_who_holds_up_a_change_is_named(store: Database, quota: SetQuotas) -> None:
    with store.connect(autocommit=False) as other, store.connect() as owner:
        value(other, 'SELECT df._set_quotas_1(\'{"*": {"instances": 5}}\')')
        held_up = value(owner, "SELECT df._set_quotas_1('{}')")
        assert held_up == [other.info.backend_pid]
        other.rollback()
        assert quota(instances=1)


def test_calls_in_a_minute_are_counted_exactly(
    store: Database, connect: Connect, user: Role
) -> None:
    spend = "SELECT df._spend_call_1(%s::regrole, 5)"
    workers = [store.connect() for _ in range(4)]
    with ThreadPoolExecutor(4) as threads:
        waits = list(threads.map(lambda n: value(workers[n % 4], spend, [user.name]), range(20)))
    assert sorted(wait > 0 for wait in waits) == [False] * 5 + [True] * 15
    assert max(waits) <= 60
    owner = workers[0]
    owner.execute("UPDATE df._http_calls SET at = at - interval '1 minute'")
    assert value(owner, spend, [user.name]) == 0
    for worker in workers:
        worker.close()
    refused = refusal(connect(user), spend, [user.name])
    assert refused.sqlstate == "42501"
