"""When a cron expression matches next."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durproxy.engine.schedule import next_after
from durproxy.errors import LanguageError

THURSDAY = datetime(2026, 1, 1, 10, 30, 15, 500_000, tzinfo=UTC)


@pytest.mark.parametrize(
    ("cron", "due"),
    [
        ("* * * * *", "2026-01-01T10:31"),
        ("30 10 * * *", "2026-01-02T10:30"),
        ("0 5 * * *", "2026-01-02T05:00"),
        ("*/20 * * * *", "2026-01-01T10:40"),
        ("5/20 * * * *", "2026-01-01T10:45"),
        ("0 9-17/4 * * *", "2026-01-01T13:00"),
        ("0 0 * * mon", "2026-01-05T00:00"),
        ("0 0 * * MON-FRI", "2026-01-02T00:00"),
        ("0 0 * * 7", "2026-01-04T00:00"),
        ("0 0 * * sat,0", "2026-01-03T00:00"),
        ("0 0 1 feb,Jul *", "2026-02-01T00:00"),
        ("0 0 29 2 *", "2028-02-29T00:00"),
        ("0 0 13 * fri", "2026-01-02T00:00"),  # either day, as in every cron
        ("59 23 31 12 *", "2026-12-31T23:59"),
        ("  0\t5  * * * ", "2026-01-02T05:00"),
    ],
)
def test_the_next_match(cron: str, due: str) -> None:
    assert next_after(cron, THURSDAY) == datetime.fromisoformat(due).replace(tzinfo=UTC)


def test_a_match_right_now_is_not_the_next_one() -> None:
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    assert next_after("0 12 * * *", noon) == noon + timedelta(days=1)


@given(st.datetimes(datetime(2000, 1, 1), datetime(2090, 1, 1), timezones=st.just(UTC)))
def test_every_minute_is_the_next_whole_minute(now: datetime) -> None:
    due = next_after("* * * * *", now)
    assert due.second == due.microsecond == 0
    assert timedelta() < due - now <= timedelta(minutes=1)


@pytest.mark.parametrize(
    "cron", ["", "* * * *", "* * * * * *", "60 * * * *", "@daily", "x * * * *", "0 0 31 2 *"]
)
def test_what_has_no_next_match_is_refused(cron: str) -> None:
    with pytest.raises(LanguageError, match="Invalid cron expression"):
        next_after(cron, THURSDAY)


BERLIN_CHANGES = [
    # in spring there is no time from two to three, in autumn it comes twice
    ("30 2 * * *", "2027-03-27T12:00", ["2027-03-28T01:00", "2027-03-29T00:30"]),
    ("0 * * * *", "2027-03-27T23:30", ["2027-03-28T00:00", "2027-03-28T01:00"]),
    ("30 2 * * *", "2027-10-30T12:00", ["2027-10-31T00:30", "2027-10-31T01:30"]),
    ("0 0 * * *", "2027-10-30T12:00", ["2027-10-30T22:00", "2027-10-31T23:00"]),
    ("0 9 * * mon", "2027-07-01T00:00", ["2027-07-05T07:00"]),
]


@pytest.mark.parametrize(("cron", "now", "dues"), BERLIN_CHANGES)
def test_another_time_zone_and_its_changes(cron: str, now: str, dues: list[str]) -> None:
    at = datetime.fromisoformat(now).replace(tzinfo=UTC)
    for due in dues:
        at = next_after(cron, at, "Europe/Berlin")
        assert at == datetime.fromisoformat(due).replace(tzinfo=UTC)
        assert at.tzinfo is UTC


@pytest.mark.parametrize("zone", ["Mars/Olympus", "../UTC", "CEST", ""])
def test_a_time_zone_that_is_none(zone: str) -> None:
    with pytest.raises(LanguageError) as raised:
        next_after("* * * * *", THURSDAY, zone)
    assert raised.value.message == f'time zone "{zone}" not recognized'
