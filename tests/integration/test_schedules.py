"""Schedules under running engines: one start for each match, whatever happens to the engines."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial

import psycopg
import pytest

from tests.clock import travel
from tests.fix_serve import Serve, ServeWith
from tests.store.asking import rows, value
from tests.waiting import wait_until

pytestmark = pytest.mark.one_postgres

NEXT = "SELECT next_at FROM df.schedules WHERE name = %s AND next_at > %s"
STARTED = "SELECT count(*) FROM df.instances WHERE label = %s"
ENDED = STARTED + " AND status = 'completed'"


@pytest.fixture
def serve(serve_with: ServeWith) -> Serve:
    return serve_with(engines=3, poll_interval=0.1)


@pytest.fixture
def client(serve: Serve) -> Iterator[psycopg.Connection]:
    with serve.connect() as connection:
        travel(connection, at("2027-03-27 12:00"))
        yield connection


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def next_match(client: psycopg.Connection, name: str, after: datetime) -> datetime:
    """Of the schedule, when its workflow waits for it."""

    def found() -> datetime | None:
        row = client.execute(NEXT.encode(), [name, after]).fetchone()
        return None if row is None else row[0].astimezone(UTC)

    due = wait_until(found, f"{name} waits for what comes after {after}")
    assert due is not None
    return due


def come_to(client: psycopg.Connection, due: datetime) -> None:
    travel(client, due + timedelta(seconds=1))


def test_each_match_starts_one_instance_whichever_engines_die(
    serve: Serve, client: psycopg.Connection
) -> None:
    client.execute("CREATE TABLE done (n serial)")
    client.execute("SELECT df.schedule('often', '*/10 * * * *', 'INSERT INTO done DEFAULT VALUES')")
    due = at("2027-03-27 12:00")
    for number in range(12):
        due = next_match(client, "often", due)
        assert due == at("2027-03-27 12:10") + number * timedelta(minutes=10)
        come_to(client, due)
        if number % 3 == 0:
            serve.kill_engine(number // 3 % len(serve.engine_pids()))
        wait_until(partial(has_run, client, number + 1), "it has run")
    assert value(client, "SELECT count(*) FROM done") == 12
    last = "SELECT last_at = %s::timestamptz OR last_at > %s FROM df.schedules"
    assert value(client, last, [due, due])


def test_matches_that_nobody_saw_start_one_instance(client: psycopg.Connection) -> None:
    client.execute("SELECT df.schedule('hourly', '0 * * * *', 'SELECT 1')")
    next_match(client, "hourly", at("2027-03-27 12:00"))
    travel(client, at("2027-03-27 18:30"))
    assert next_match(client, "hourly", at("2027-03-27 18:30")) == at("2027-03-27 19:00")
    wait_until(lambda: value(client, STARTED, ["hourly"]) == 1, "one has started")


def test_a_time_zone_with_its_changes(client: psycopg.Connection) -> None:
    client.execute("SELECT df.schedule('early', '30 2 * * *', 'SELECT 1', 'Europe/Berlin')")
    due = at("2027-03-27 12:00")
    expected = ["2027-03-28 01:00", "2027-03-29 00:30"]  # the first night has no half past two
    for text in expected:
        due = next_match(client, "early", due)
        assert due == at(text)
        come_to(client, due)
    travel(client, at("2027-10-30 12:00"))
    due = next_match(client, "early", at("2027-10-30 12:00"))
    for text in ("2027-10-31 00:30", "2027-10-31 01:30", "2027-11-01 01:30"):  # twice that night
        assert due == at(text)
        come_to(client, due)
        due = next_match(client, "early", due)


def has_run(client: psycopg.Connection, times: int) -> bool:
    return bool(value(client, ENDED, ["often"]) == times)


def overlapping(client: psycopg.Connection, overlap: str) -> tuple[str, datetime]:
    """The first of a schedule's instances, which still runs when the second match comes."""
    client.execute(
        "SELECT df.schedule('slow', '0 * * * *', df.wait_for_signal('end'), overlap => %s)",
        [overlap],
    )
    due = next_match(client, "slow", at("2027-03-27 12:00"))
    come_to(client, due)
    wait_until(lambda: value(client, STARTED, ["slow"]) == 1, "the first has started")
    first = str(value(client, "SELECT last_instance FROM df.schedules"))
    due = next_match(client, "slow", due)
    come_to(client, due)
    return first, due


def statuses(client: psycopg.Connection) -> list[str]:
    listed = "SELECT status FROM df.instances WHERE label = 'slow' ORDER BY id"
    return ["live" if s in ("pending", "running") else s for (s,) in rows(client, listed)]


def test_skip_leaves_out_what_would_overlap(client: psycopg.Connection) -> None:
    first, due = overlapping(client, "skip")
    due = next_match(client, "slow", due)
    assert statuses(client) == ["live"]
    client.execute("SELECT df.signal(%s, 'end')", [first])
    assert value(client, "SELECT df.await_instance(%s)", [first]) == "completed"
    come_to(client, due)
    wait_until(lambda: statuses(client) == ["completed", "live"], "the next one has started")


def test_allow_lets_them_overlap(client: psycopg.Connection) -> None:
    overlapping(client, "allow")
    wait_until(lambda: statuses(client) == ["live", "live"], "both run")


def test_cancel_ends_the_one_before(client: psycopg.Connection) -> None:
    overlapping(client, "cancel")
    wait_until(lambda: statuses(client) == ["cancelled", "live"], "the second runs alone")


def test_queue_starts_when_the_one_before_has_ended(client: psycopg.Connection) -> None:
    first, _ = overlapping(client, "queue")
    waits = "SELECT count(*) FROM df.waiting WHERE waits_for = 'condition'"
    wait_until(lambda: value(client, waits) == 1, "the second waits")
    assert statuses(client) == ["live"]
    client.execute("SELECT df.signal(%s, 'end')", [first])
    wait_until(lambda: statuses(client) == ["completed", "live"], "the second has started")


def test_unscheduled_is_over_and_what_it_has_started_goes_on(client: psycopg.Connection) -> None:
    first, due = overlapping(client, "skip")
    next_match(client, "slow", due)
    client.execute("SELECT df.unschedule('slow')")
    travel(client, due + timedelta(days=1))
    client.execute("SELECT df.signal(%s, 'end')", [first])
    assert value(client, "SELECT df.await_instance(%s)", [first]) == "completed"
    assert statuses(client) == ["completed"]


def test_a_start_that_fails_does_not_end_the_schedule(
    serve: Serve, client: psycopg.Connection
) -> None:
    role = serve.home.add_role()
    serve.home.psql(f"SELECT df.grant_usage('{role.name}')")
    with serve.connect(role) as user:
        user.execute("SELECT df.schedule('brief', '0 * * * *', 'SELECT 1')")
        due = next_match(user, "brief", at("2027-03-27 12:00"))
        serve.home.psql(f"REVOKE INSERT ON df._commands FROM {role.name}")
        come_to(client, due)
        due = next_match(user, "brief", due)
        history = "SELECT count(*) FROM df.history((SELECT instance_id FROM df.schedules))"
        assert value(user, history + " WHERE sqlstate = '42501'") == 1
        serve.home.psql(f"SELECT df.grant_usage('{role.name}')")
        come_to(client, due)
        wait_until(lambda: value(user, ENDED, ["brief"]) == 1, "it has run")
