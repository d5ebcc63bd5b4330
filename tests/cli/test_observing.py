"""What ``watch`` tells: everything that it has seen, once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durproxy.cli.observing import Attempt, Happening, Sight, Waiting, happenings, what_of
from durproxy.cli.unknown import near_ones

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


def attempt(number: int, status: str) -> Attempt:
    """One of node 00000002: it begins in its own second, and takes half of it."""
    began = BEGAN + timedelta(seconds=number)
    ended = None if status == "running" else began + timedelta(milliseconds=500)
    return Attempt("00000002", "SQL", f"~{number}", number + 1, status,
                   "no" if status == "failed" else None, began, ended, "SELECT 1")  # fmt: skip


@st.composite
def lives(draw: st.DrawFn) -> list[Sight]:
    """What somebody sees who looks now and then while attempts begin and end, one by one."""
    ends = draw(st.lists(st.sampled_from(["failed", "completed"]), min_size=1, max_size=6))
    moments: list[list[Attempt]] = [[]]
    for number, end in enumerate(ends):
        moments += [[*moments[-1], attempt(number, "running")]]
        moments += [[*moments[-1][:-1], attempt(number, end)]]
    waits = st.lists(st.sampled_from([Waiting("worker", None), Waiting("resume", "look")]),
                     max_size=2, unique=True).map(tuple)  # fmt: skip
    sights = [
        Sight(BEGAN + timedelta(seconds=n / 2), "running", None, "", tuple(seen), draw(waits))
        for n, seen in enumerate(moments)
        if draw(st.booleans())
    ]
    outcome = draw(st.sampled_from(["completed", "failed", "cancelled"]))
    last = Sight(BEGAN + timedelta(hours=1), outcome, "the end", "", tuple(moments[-1]), ())
    return [*sights, last]


def told_of(sights: Sequence[Sight]) -> list[Happening]:
    told: list[Happening] = []
    before = None
    for sight in sights:
        told += happenings(before, sight)
        before = sight
    return told


@given(lives())
def test_each_end_of_an_attempt_is_told_once_and_the_outcome_last(sights: list[Sight]) -> None:
    told = told_of(sights)
    ended = [h for h in told if h.event == "attempt" and h.status != "running"]
    assert [(h.path, h.status) for h in ended] == [(a.path, a.status) for a in sights[-1].attempts]
    assert max(Counter((h.path, h.status) for h in told if h.event == "attempt").values()) == 1
    assert (told[-1].event, told[-1].status, told[-1].detail) == (
        "status",
        sights[-1].status,
        "the end",
    )
    assert sum(h.event == "status" for h in told) == len({s.status for s in sights})


@given(lives())
def test_who_looks_again_without_a_change_is_told_nothing(sights: list[Sight]) -> None:
    for sight in sights:
        assert happenings(sight, replace(sight, at=BEGAN + timedelta(days=1))) == []


@pytest.mark.parametrize(
    ("query", "told"),
    [
        (None, ""),
        ("3600", "3600"),
        ("SELECT 1,\n       2", "SELECT 1, 2"),
        ('{"signal_name":"go","timeout_seconds":null}', "go"),
        ('{"url":"https://x.example/","method":"GET"}', "GET https://x.example/"),
    ],
)
def test_node_is_named_in_a_line(query: str | None, told: str) -> None:
    assert what_of(query) == told


def test_unknown_id_is_answered_with_the_label_or_the_ids_that_look_alike() -> None:
    known = [{"id": text, "label": label, "status": "running"} for text, label in
             [("1000002a", "nightly"), ("10000b15", None), ("1000002b", "nightly"),
              ("2f000001", "1000002")]]  # fmt: skip

    def near(given_id: str) -> list[str]:
        return [row["id"] for row in near_ones(given_id, known)]

    assert near("nightly") == ["1000002a", "1000002b"]
    assert near("1000002") == ["2f000001"], "a label that is just this comes first"
    assert near("10000") == ["1000002a", "10000b15", "1000002b"]
    assert near("1000002A ") == ["1000002a"]
    assert near("10000b51") == ["10000b15"], "two digits changed places"
    assert near("ffffffff") == []
    assert near("") == []
