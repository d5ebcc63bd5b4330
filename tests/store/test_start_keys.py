"""df.start with a key: whoever comes second gets the first one's instance, in every order."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from tests.fix_postgres import Database
from tests.store.arena import Arena
from tests.store.asking import refusal, value

START = "SELECT df.start('SELECT 1', key => 'k')"


@pytest.fixture
def arena(home: Database) -> Iterator[Arena]:
    user = home.add_role()
    with home.connect() as owner:
        owner.execute("SELECT df.grant_usage(%s)", [user.name])
    with Arena(home, user) as arena:
        yield arena


@pytest.fixture
def first(arena: Arena) -> psycopg.Connection:
    return arena.session(arena.user)


@pytest.fixture
def second(arena: Arena) -> psycopg.Connection:
    return arena.session(arena.user)


def test_the_second_waits_for_the_first_and_gets_its_instance(
    arena: Arena, first: psycopg.Connection, second: psycopg.Connection
) -> None:
    with first.transaction():
        instance = value(first, START)
        waiting = arena.send(second, START)
        arena.wait_blocked(second)
    assert waiting.value(arena.patience) == instance
    assert arena.ask("SELECT count(*) FROM df._instances") == 1


def test_the_second_starts_when_the_first_rolls_back(
    arena: Arena, first: psycopg.Connection, second: psycopg.Connection
) -> None:
    with first.transaction(force_rollback=True):
        instance = value(first, START)
        waiting = arena.send(second, START)
        arena.wait_blocked(second)
    started = waiting.value(arena.patience)
    assert started != instance
    assert arena.ask("SELECT array_agg(id) FROM df._instances") == [started]


def test_a_snapshot_that_does_not_show_the_first_is_told_to_try_again(
    first: psycopg.Connection, second: psycopg.Connection
) -> None:
    second.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1")
    value(first, START)
    assert refusal(second, START).sqlstate == "40001"
    second.execute("ROLLBACK")
    assert value(second, START) == value(first, START)


def test_a_key_is_free_when_its_instance_is_deleted(
    arena: Arena, first: psycopg.Connection
) -> None:
    instance = value(first, START)
    arena.session().execute("DELETE FROM df._instances WHERE id = %s", [instance])
    assert value(first, START) != instance


def test_an_insert_by_hand_is_checked_too(first: psycopg.Connection) -> None:
    insert = """INSERT INTO df._own (graph, key, start_at)
        VALUES ('{"node_type":"SQL","query":"SELECT 1"}', %s, %s) RETURNING id"""
    value(first, insert, ["k", None])
    assert refusal(first, insert, ["k", None]).sqlstate == "23505"
    assert refusal(first, insert, ["", None]).sqlstate == "22023"
    assert refusal(first, insert, ["other", "-infinity"]).sqlstate == "22023"


def test_an_instance_of_the_future_is_not_claimed_by_a_signal(
    arena: Arena, first: psycopg.Connection
) -> None:
    start = "SELECT df.start('SELECT 1', start_at => now() + interval '1 day')"
    instance = value(first, start)
    first.execute("SELECT df.signal(%s, 'now')", [instance])
    engine = "00000000-0000-0000-0000-000000000001"
    claim = "SELECT count(*) FROM df._claim_one_1(%s, %s, 1::smallint)"
    assert value(arena.session(), claim, [engine, instance]) == 0
