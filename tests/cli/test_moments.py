"""Moments and durations: what is shown can be believed, what is read is what was meant."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durproxy.cli import moments

NOW = datetime(2026, 7, 1, 12, 0, tzinfo=UTC)
SECONDS = {"ms": 0.001, "s": 1, "min": 60, "h": 3600, "d": 86_400}
instants = st.datetimes(
    datetime(1990, 1, 1),
    datetime(2090, 1, 1),
    timezones=st.just(UTC),
)


@contextmanager
def zone(name: str) -> Iterator[None]:
    before = os.environ.get("TZ")
    os.environ["TZ"] = name
    time.tzset()
    try:
        yield
    finally:
        os.environ.pop("TZ") if before is None else os.environ.update(TZ=before)
        time.tzset()


@given(st.integers(0, 10**5), st.sampled_from("smhdSMHD"))
def test_time_ago_is_so_many_units_before_now(count: int, unit: str) -> None:
    ago = NOW - moments.parse_since(f"{count}{unit}", NOW)
    assert ago == count * {"s": timedelta(seconds=1), "m": timedelta(minutes=1),
                           "h": timedelta(hours=1), "d": timedelta(days=1),
                           "w": timedelta(weeks=1)}[unit.lower()]  # fmt: skip


@given(instants)
def test_json_moments_are_read_back_and_sort_as_text(moment: datetime) -> None:
    text = moments.as_json(moment)
    assert moments.parse_since(text, NOW) == moment
    later = moments.as_json(moment + timedelta(microseconds=1))
    assert text < later


@pytest.mark.parametrize("text", ["", "2", "h", "2 y", "yesterday", "2026-13-01", "9" * 9 + "w"])
def test_what_is_no_time_is_refused_with_its_words(text: str) -> None:
    with pytest.raises(ValueError, match="neither a time ago like 2h"):
        moments.parse_since(text, NOW)


def test_date_without_a_zone_is_local() -> None:
    with zone("Europe/Berlin"):
        assert moments.parse_since("2026-07-01", NOW) == datetime(2026, 6, 30, 22, tzinfo=UTC)


@given(st.floats(0, 10**8))
def test_duration_is_right_to_its_last_unit(seconds: float) -> None:
    shown = moments.show_duration(seconds).removeprefix("<").split()
    pairs = list(zip(shown[::2], shown[1::2], strict=True))
    assert 1 <= len(pairs) <= 2
    told = sum(float(number) * SECONDS[unit] for number, unit in pairs)
    smallest = 0.01 if seconds < 10 else SECONDS[pairs[-1][1]] if len(pairs) == 2 else 1
    coarse = {"d": 3600, "h": 60, "min": 1, "s": smallest, "ms": 0.001}[
        pairs[0][1]
    ]  # of the second unit
    assert abs(told - seconds) <= coarse


def test_zone_stands_in_the_heading_or_in_each_cell_where_it_differs() -> None:
    winter, summer = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 7, 1, tzinfo=UTC)
    with zone("Europe/Berlin"):
        assert moments.column("due", [summer, None]) == (
            "due (CEST)",
            ["2026-07-01 02:00:00", ""],
        )
        assert moments.column("due", [winter, summer]) == (
            "due",
            ["2026-01-01 01:00:00 CET", "2026-07-01 02:00:00 CEST"],
        )
        assert moments.show_moment(winter) == "2026-01-01 01:00:00 CET"
