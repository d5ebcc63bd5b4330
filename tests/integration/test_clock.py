"""Timers and schedules of next month, without waiting: tests set the clock that they go by."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial

import psycopg
import pytest

from tests.clock import travel
from tests.fix_serve import Serve, ServeWith
from tests.waiting import wait_until

pytestmark = pytest.mark.one_postgres


@pytest.fixture
def serve(serve_with: ServeWith) -> Serve:
    return serve_with(poll_interval=0.1)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def start(client: psycopg.Connection, expression: str) -> str:
    row = client.execute(f"SELECT df.start({expression})".encode()).fetchone()
    assert row is not None
    return str(row[0])


def waits_until(
    client: psycopg.Connection, instance: str, last: datetime | None = None
) -> datetime | None:
    """When the timer that it waits for is due; None before there is one later than `last`."""
    row = client.execute(
        "SELECT due FROM df._checkpoints WHERE instance_id = %s AND status = 'o'"
        " AND due > coalesce(%s::timestamptz, '-infinity')",
        [instance, last],
    ).fetchone()
    return None if row is None else row[0].astimezone(UTC)


SCHEDULES = [
    # over the end of a month, of a year, in February of a leap year
    ("0 0 1 * *", "2026-12-30 12:00", ["2027-01-01 00:00", "2027-02-01 00:00", "2027-03-01 00:00"]),
    ("59 23 31 * *", "2027-01-31 23:58", ["2027-01-31 23:59", "2027-03-31 23:59"]),
    ("0 12 29 feb *", "2027-03-01 00:00", ["2028-02-29 12:00", "2032-02-29 12:00"]),
    # names, lists, ranges, steps
    ("30 9 * * mon-fri", "2027-01-28 10:00", ["2027-01-29 09:30", "2027-02-01 09:30"]),
    ("15,45 */6 * jan,MAR *", "2027-01-31 18:30", ["2027-01-31 18:45", "2027-03-01 00:15"]),
    ("0-10/5 8 * * 7", "2027-01-30 00:00", ["2027-01-31 08:00", "2027-01-31 08:05"]),
    ("0 0 13 * fri", "2027-01-01 00:00", ["2027-01-08 00:00", "2027-01-13 00:00"]),
    # UTC, whatever the role says: no hour is left out or comes twice
    ("30 2 * * *", "2027-03-27 12:00", ["2027-03-28 02:30", "2027-03-29 02:30"]),
    ("30 1 * * *", "2027-10-30 12:00", ["2027-10-31 01:30", "2027-11-01 01:30"]),
]


def test_schedules_fire_when_they_match(serve: Serve) -> None:
    with serve.connect() as client:
        client.execute(f"ALTER ROLE {serve.home.role} SET timezone = 'Europe/Berlin'".encode())
        for cron, now, expected in SCHEDULES:
            travel(client, at(now))
            instance = start(client, f"df.loop(df.wait_for_schedule('{cron}') ~> 'SELECT 1')")
            last = None
            for due in map(at, expected):
                last = wait_until(
                    partial(waits_until, client, instance, last), f"the next time of {cron}"
                )
                assert last == due, cron
                travel(client, due + timedelta(seconds=1))
            client.execute("SELECT df.cancel(%s)", [instance])


def test_a_schedule_is_computed_when_it_is_reached(serve: Serve) -> None:
    with serve.connect() as client:
        travel(client, at("2027-01-31 23:00"))
        instance = start(
            client, "df.wait_for_signal('go') ~> df.wait_for_schedule('0 0 * * *') ~> 'SELECT 1'"
        )
        travel(client, at("2027-02-01 00:30"))
        client.execute("SELECT df.signal(%s, 'go')", [instance])
        due = wait_until(lambda: waits_until(client, instance), "it sleeps until the next day")
        assert due == at("2027-02-02 00:00")


def test_a_timer_of_a_month_fires_when_the_month_is_over_and_not_before(serve: Serve) -> None:
    month = timedelta(days=31)
    with serve.connect() as client:
        begun = at("2027-01-01 00:00")
        travel(client, begun)
        instance = start(client, f"df.sleep({int(month.total_seconds())}) ~> 'SELECT 1'")
        wait_until(lambda: waits_until(client, instance), "it sleeps")
        travel(client, begun + month - timedelta(hours=1))
        soon = start(client, "df.sleep(0) ~> 'SELECT 2'")  # an engine that has seen the new time
        client.execute("SELECT df.await_instance(%s, 20)", [soon])
        assert waits_until(client, instance) is not None
        travel(client, begun + month + timedelta(minutes=1))
        ended = client.execute("SELECT df.await_instance(%s, 20)", [instance]).fetchone()
        assert ended == ("completed",)


def test_only_the_owner_sets_the_clock(serve: Serve) -> None:
    user = serve.home.add_role()
    serve.home.psql(f"SELECT df.grant_usage('{user.name}')")
    with serve.connect(user) as client, pytest.raises(psycopg.errors.InsufficientPrivilege):
        travel(client, at("2027-01-01 00:00"))
